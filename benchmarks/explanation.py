"""What leads are worth, and what they say: loose electrodes, and each lead's contribution against two other measures.

In a recording with a loose electrode the beat is located by what is left. Rows ``located in: all leads`` hide leads
from the model only, as if the beats were known from elsewhere; rows ``located in: lead X`` also find, choose and
average the beats in that lead alone.

A lead set that ranks as well is not yet one to accept: in a single lead nobody can recognise swapped electrodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from lsemvae_edge import bundle as bundles
from lsemvae_edge import metrics, preprocess
from lsemvae_edge.beats import align_beats, average_beat
from lsemvae_edge.benchmarks import ledger
from lsemvae_edge.benchmarks.fits import Say
from lsemvae_edge.benchmarks.judging import difference, plain, ranked
from lsemvae_edge.benchmarks.table_files import Row
from lsemvae_edge.benchmarks.tables import NOT_WORSE
from lsemvae_edge.leads import LIMB_LEADS, LIMB_MATRIX, STANDARD_12
from lsemvae_edge.metrics import Interval
from lsemvae_edge.model import Student
from lsemvae_edge.quality.contact import leads_lost_with
from lsemvae_edge.quantize import weights
from lsemvae_edge.train import calibrate, datasets, distill
from lsemvae_edge.train.cohort import Cohort, load_cohort
from lsemvae_edge.train.recipes import recipe
from lsemvae_edge.train.saliency import integrated_gradients

TASKS = tuple(task.name for task in calibrate.TASKS)
CASES: Mapping[str, str | None] = MappingProxyType(
    {"all electrodes": None, "LA loose": "LA", "RA loose": "RA", "LL loose, or a recorder of lead I": "LL"}
)
"""The electrode that has no contact; a recorder of lead I alone has no left leg."""

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shares:
    """What each lead adds to a logit (n, 6), by the model's own account and by two others, and the patients (n,)."""

    contributions: Values
    gradients: Values
    deletion: Values
    patient: NDArray[np.str_]


def measure(*, final: bool, bundle: Path | None, say: Say) -> dict[str, list[Row]]:
    """Measure the float student of a bundle.

    Parameters
    ----------
    final : bool
        Also read fold 10 for the loose electrodes, and append its figures to the ledger.
    bundle : Path, optional
        By default the shipped one.
    say : callable

    Returns
    -------
    dict of str to list of dict
        ``electrodes`` and ``contributions``: rows.
    """
    judged = bundles.default() if bundle is None else bundles.load(bundle)
    student = weights.restore(judged.read(weights.WEIGHTS), judged.read(weights.CONFIG))
    folds = (metrics.VALIDATION_FOLD, *((metrics.TEST_FOLD,) if final else ()))
    listed = [entry for entry in datasets.entries(datasets.data_folder()) if entry.fold in folds]
    say(f"Conditioning {len(listed)} recordings")
    cohort, _ = load_cohort(listed, TASKS)
    rows = []
    for fold in folds:
        rows += [{"set": f"fold {fold}", **row} for row in electrodes(student, cohort.select(cohort.fold == fold))]
    if final:
        rows += [{"set": "folds 9-10", **row} for row in electrodes(student, cohort)]
        read = [plain(row) for row in rows if row["set"] != f"fold {metrics.VALIDATION_FOLD}"]
        ledger.append(judged, "leads", read)
    say("Integrated gradients on fold 9")
    validation = cohort.select(cohort.fold == metrics.VALIDATION_FOLD)
    return {"electrodes": rows, "contributions": contributions(student, validation)}


def recovered(measured: Sequence[str]) -> tuple[str, ...]:
    """Return the limb leads that follow from the measured ones by algebra, these among them."""
    known = LIMB_MATRIX[[LIMB_LEADS.index(name) for name in measured]]
    rank = np.linalg.matrix_rank(known)
    return tuple(
        name
        for name, row in zip(LIMB_LEADS, LIMB_MATRIX, strict=True)
        if np.linalg.matrix_rank(np.vstack([known, row])) == rank
    )


def electrodes(student: Student, cohort: Cohort) -> list[Row]:
    """Rank a cohort with what a loose electrode leaves, both tasks.

    Returns
    -------
    list of dict
        ``minus_six`` is the difference from all six leads on the same recordings; ``acceptable`` says whether its
        interval lies above -0.02. ``no_beats`` counts recordings in which the lead alone shows too few beats that
        resemble each other; they are left out of the row.
    """
    six = distill.predict(student, cohort).logits.numpy()
    rows: list[Row] = []
    for case, electrode in CASES.items():
        lost = frozenset() if electrode is None else leads_lost_with(electrode)
        left = tuple(name for name in LIMB_LEADS if name not in lost)
        told = {
            "case": case,
            "leads_left": ", ".join(left),
            "lost": ", ".join(name for name in LIMB_LEADS if name not in recovered(left)) or "none",
        }
        ways = {"all leads": (cohort, np.ones(len(cohort), dtype=bool))}
        if electrode is not None:
            ways[f"lead {left[0]}"] = located_alone(cohort, left[0])
        for located, (seen, kept) in ways.items():
            logits = distill.predict(student, seen, shown=left).logits.numpy()
            for column, task in enumerate(cohort.tasks):
                truth = seen.targets[:, column]
                worse = difference(truth, logits[:, column], six[kept, column], seen.patient) if electrode else None
                rows.append(
                    {
                        **told,
                        "located_in": located,
                        "no_beats": int((~kept).sum()),
                        "task": task,
                        **ranked(truth, logits[:, column], seen.patient),
                        "minus_six": worse,
                        "acceptable": None if worse is None else ("yes" if worse.low >= NOT_WORSE else "no"),
                    }
                )
    return rows


def located_alone(cohort: Cohort, lead: str) -> tuple[Cohort, NDArray[np.bool_]]:
    """Find, choose and average the beats again in one limb lead; the other leads become zero.

    Returns
    -------
    cohort : Cohort
        Recordings that have enough beats in that lead.
    kept : array (n,) of bool
        Which they are.
    """
    spec, fs_hz = preprocess.default_spec(), recipe("beat").fs_hz
    row = LIMB_LEADS.index(lead)
    begin = (cohort.pairs.shape[2] - spec.window_samples) // 2
    windows = cohort.limb_windows()[:, row, begin : begin + spec.window_samples].astype(np.float64)
    beats = np.zeros((len(cohort), len(STANDARD_12), spec.beat.n_samples), dtype=np.float32)
    kept = np.zeros(len(cohort), dtype=bool)
    for index, window in enumerate(windows):
        # A frontal vector that moves on one line only, as if lead aVF were silent.
        pair = np.stack([window, window / 2])
        at = align_beats(pair, fs_hz, spec.beat)
        if at is not None:
            beats[index, row], kept[index] = average_beat(pair, at, spec.beat)[0], True
    return replace(cohort, beats=beats).select(kept), kept


def contributions(student: Student, cohort: Cohort) -> list[Row]:
    """Compare the leads' contributions with integrated gradients and with deletion, both tasks.

    Contributions are less their mean over the recordings, as a result shows them. The other two are compared as they
    are and, which is the like for like, less their own mean. Six leads of rank 2 can share one cause in many ways, so
    that agreement need not be complete even between right answers.

    Returns
    -------
    list of dict
        ``spearman`` is the mean rank correlation over the six leads of a recording, with its interval over patients;
        ``same_top_lead`` how often the lead of the largest size is the same one, by chance one in six.
    """
    rows: list[Row] = []
    for column, task in enumerate(cohort.tasks):
        found = shares(student, cohort, column)
        own = _centred(found.contributions)
        for name, other in (("integrated gradients", found.gradients), ("deletion of the lead", found.deletion)):
            for form, values in (("as it is", other), ("less its mean", _centred(other))):
                rows.append(
                    {
                        "task": task,
                        "n": len(own),
                        "against": name,
                        "form": form,
                        **agreement(own, values, found.patient),
                    }
                )
        both = agreement(_centred(found.gradients), _centred(found.deletion), found.patient)
        against = "integrated gradients against deletion"
        rows.append({"task": task, "n": len(own), "against": against, "form": "less its mean", **both})
    return rows


def shares(student: Student, cohort: Cohort, column: int) -> Shares:
    """Say what each lead adds to one logit, in three ways; all leads must be there.

    Integrated gradients run from the flat line, summed over the lead's samples. Deletion is the logit less the one
    with the lead masked, the other leads in the scale that they had.
    """
    x, mask = (torch.cat(parts) for parts in zip(*distill.inputs(cohort), strict=True))
    n_leads = mask.shape[1]
    with torch.inference_mode():
        output = student.eval()(x, mask)
        logit = output.logits[:, column]
        own = output.contributions.reshape(len(x), n_leads, -1)[:, :, column]
        without = torch.stack([_hidden(student, x, mask, lead)[:, column] for lead in range(n_leads)], dim=1)

    def of_signal(signal: Tensor) -> Tensor:
        there = torch.ones(len(signal), n_leads)
        logits: Tensor = student(signal[:, :, None], there).logits
        return logits[:, column]

    found = integrated_gradients(of_signal, x[:, :, 0].numpy(), LIMB_LEADS)
    return Shares(
        own.numpy().astype(np.float64),
        found.attribution.sum(axis=2, dtype=np.float64),
        (logit[:, None] - without).numpy().astype(np.float64),
        cohort.patient,
    )


def agreement(one: Values, other: Values, patient: NDArray[np.str_]) -> Row:
    """Compare two accounts of the leads (n, n_leads), recording by recording."""
    each = spearman(one, other)
    same = np.abs(one).argmax(axis=1) == np.abs(other).argmax(axis=1)
    resamples = metrics.patient_bootstrap(patient)
    return {
        "spearman": _mean(each, resamples),
        "median_spearman": float(np.median(each)),
        "same_top_lead": _mean(same.astype(np.float64), resamples),
    }


def spearman(one: Values, other: Values) -> Values:
    """Rank correlation of the rows of two arrays (n, n_leads), ties by mean rank; 0 where a row is constant."""
    ranks = [rankdata(values, axis=1) for values in (one, other)]
    left, right = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    size = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    product = (left * right).sum(axis=1)
    return np.asarray(np.divide(product, size, out=np.zeros_like(product), where=size > 0))


def _hidden(student: Student, x: Tensor, mask: Tensor, lead: int) -> Tensor:
    x, mask = x.clone(), mask.clone()
    x[:, lead], mask[:, lead] = 0.0, 0.0
    logits: Tensor = student(x, mask).logits
    return logits


def _centred(values: Values) -> Values:
    return np.asarray(values - values.mean(axis=0))


def _mean(values: Values, resamples: Sequence[NDArray[np.intp]]) -> Interval:
    low, high = np.percentile([values[index].mean() for index in resamples], [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))
