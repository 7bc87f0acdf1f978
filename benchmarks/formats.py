"""Every form of a model in one table: size, insides, how far it lies from floating point, and how it ranks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks import ledger, table_files
from lsemvae_edge.benchmarks.judging import difference, plain, ranked
from lsemvae_edge.benchmarks.table_files import Row, to_markdown
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.quantize import build, forms, parity, release
from lsemvae_edge.quantize.parity import Agreement, Said
from lsemvae_edge.quantize.reference import FloatStudent, QuantizedStudent
from lsemvae_edge.quantize.targets import targets
from lsemvae_edge.train import calibrate, datasets
from lsemvae_edge.train.cohort import Cohort, load_cohort

EAGER = "torch, floating point"
REFERENCE = "torch, rounding written out"
FORMS = (
    "bundle",
    "form",
    "bytes",
    "operators",
    "int8_layers",
    "delegates",
    "stated",
    "p99.9",
    "worst",
    "from_reference_p99.9",
    "from_reference_worst",
    "latent_worst",
    "flipped",
    "recordings",
    "positive",
    "auroc",
    "auroc_difference",
)
PAIRS = ("bundle", "form", "other", "n", "p99.9", "worst", "flipped")
RANKS = ("form", "recordings", "positive", "auroc", "auroc_difference", "flipped")


@dataclass(frozen=True, eq=False)
class Recordings:
    """All recordings of a data folder, and those that ranking is judged on."""

    cohort: Cohort
    judged: NDArray[np.bool_]
    told: str


def load(final: bool) -> Recordings:
    """Read every recording; labels are looked at on fold 9, with ``final`` on folds 9 and 10."""
    folder = datasets.data_folder()
    listed = [*datasets.entries(folder), *datasets.other_recorders(folder)]
    cohort, _ = load_cohort(listed, [task.name for task in calibrate.TASKS])
    folds = (metrics.VALIDATION_FOLD, metrics.TEST_FOLD) if final else (metrics.VALIDATION_FOLD,)
    ours = np.isin(cohort.source, (datasets.TWELVE_LEAD, datasets.LIMB_ONLY))
    return Recordings(cohort, np.isin(cohort.fold, folds) & ours, "folds 9-10" if final else "fold 9")


def measure(bundles: Sequence[Bundle], recordings: Recordings, *, final: bool, say: build.Say) -> list[Row]:
    """Convert each bundle's student to every form that can be made here, and compare.

    Parameters
    ----------
    bundles : sequence of Bundle
        With float weights and a quantization.
    recordings : Recordings
    final : bool
        Whether fold 10 is among them; appended to the ledger.
    say : callable

    Returns
    -------
    list of dict
        One row a form, the two in torch first, then one a pair of forms, which has ``other``.
    """
    rows = []
    for bundle in bundles:
        say(f"Converting {bundle.spec.id}")
        of_bundle = _rows(bundle, recordings)
        if final:
            figures = [
                {name: row[name] for name in RANKS if name in row} for row in map(plain, of_bundle) if "auroc" in row
            ]
            ledger.append(bundle, "formats", figures)
        rows += of_bundle
    return rows


def table(rows: Sequence[Row]) -> str:
    """Print rows as two tables: every form beside floating point, and every form beside every other."""
    parts = (
        ("Every form; differences in logits from floating point", FORMS, [row for row in rows if "other" not in row]),
        ("Every form beside every other", PAIRS, [row for row in rows if "other" in row]),
    )
    return "\n\n".join(f"### {title}\n\n{to_markdown(some, columns)}" for title, columns, some in parts)


def _rows(bundle: Bundle, recordings: Recordings) -> list[Row]:
    student, spec, quantization = release.restored(bundle), bundle.spec, bundle.manifest.quantization
    chosen = [one for one in targets() if one.in_bundle and not (one.not_supported or one.missing)]
    made = forms.convert(student, spec, quantization, chosen)
    asked = parity.everyday(build.model_inputs(recordings.cohort))
    said = {EAGER: parity.said_by_torch(spec, FloatStudent(student), asked)}
    if quantization is not None:
        said[REFERENCE] = parity.said_by_torch(spec, QuantizedStudent(student, quantization), asked)
    sessions = {target: target.open(made.content[target], target.model) for target in chosen}
    exact = {"fp32": said[EAGER], "int8": said.get(REFERENCE, said[EAGER])}
    rows = [_compared(bundle, form, one, said[EAGER], None, recordings) for form, one in said.items()]
    answered = {target: parity.said_by_session(spec, session, asked) for target, session in sessions.items()}
    for target, answers in answered.items():
        anatomy = target.inspect(made.content[target])
        compared = _compared(bundle, target.name, answers, said[EAGER], exact[target.precision], recordings)
        inside = {
            "bytes": len(made.content[target]),
            "operators": sum(anatomy.operators.values()),
            "int8_layers": f"{anatomy.int8_layers} of {anatomy.int8_layers + anatomy.float_layers}",
            "delegates": anatomy.delegates,
            "stated": ", ".join(f"{name} {value}" for name, value in anatomy.stated.items()),
        }
        rows.append({**compared, **inside})
    for (one, other), apart in parity.pairs({target.name: answers for target, answers in answered.items()}).items():
        rows.append({"bundle": bundle.spec.id, "form": one, "other": other, **_apart(apart)})
    return rows


def _apart(apart: Agreement) -> Row:
    return {
        "n": apart.n,
        "p99.9": _few(apart.tail),
        "worst": _few(apart.worst),
        "latent_worst": _few(apart.latent),
        "flipped": f"{apart.flipped} ({apart.flips:.2%})",
    }


def _compared(
    bundle: Bundle, form: str, said: Said, eager: Said, reference: Said | None, recordings: Recordings
) -> Row:
    judged, cohort = recordings.judged, recordings.cohort
    truth, patient = cohort.targets[judged, 0], cohort.patient[judged]
    figures = ranked(truth, said.logits[judged, 0], patient)
    row: Row = {
        "bundle": bundle.spec.id,
        "form": form,
        **_apart(parity.agreement(said, eager)),
        "recordings": f"{figures['n']} of {recordings.told}",
        "positive": figures["positive"],
        "auroc": figures["auroc"],
        "auroc_difference": None
        if said is eager
        else difference(truth, said.logits[judged, 0], eager.logits[judged, 0], patient),
    }
    if reference is not None:
        kernels = parity.agreement(said, reference)
        row |= {"from_reference_p99.9": _few(kernels.tail), "from_reference_worst": _few(kernels.worst)}
    return row


def _few(value: float) -> str:
    """Print a difference that may be a tenth or a millionth."""
    return f"{value:.2g}"


def write(rows: Sequence[Row], folder: Path) -> None:
    """Keep the rows as CSV and as Markdown."""
    table_files.write(folder, "formats", rows)
