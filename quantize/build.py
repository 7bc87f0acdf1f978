"""From a quantized student to a bundle: thresholds, forms, proofs, card, known answers."""

import json
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import bundle as bundles
from lsemvae_edge import golden, metrics, preprocess
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.limits import QualityLimits
from lsemvae_edge.manifest import Quantization
from lsemvae_edge.model import Student
from lsemvae_edge.quantize import forms, gates, parity, sbom, scheme, weights
from lsemvae_edge.quantize.card import card
from lsemvae_edge.quantize.reference import FloatStudent, TorchSession
from lsemvae_edge.quantize.targets import Job, Target, choose, tflite
from lsemvae_edge.runtime import Session
from lsemvae_edge.runtime.litert import open_model
from lsemvae_edge.spec import IntendedUse, ModelSpec
from lsemvae_edge.synthetic.heart import Heart, simulate
from lsemvae_edge.train import calibrate, datasets, distill, labels
from lsemvae_edge.train.cohort import Cohort, load_cohort
from lsemvae_edge.train.distill import GUARDS

GOLDEN = "golden.npz"
CARD = "card.md"
FAMILY = "lsemvae-edge"
VERSIONED_PACKAGES = ("numpy", "torch", "torchao", "litert-torch", "ai-edge-quantizer", "ai-edge-litert", "executorch",
                      "onnx", "onnxscript", "onnxruntime")  # fmt: skip
PTB_XL = sbom.DataSet(
    "PTB-XL",
    "1.0.3",
    "CC-BY-4.0",
    "https://doi.org/10.13026/kfzx-aw45",
    "Wagner et al. 2020, Sci Data 7:154, PhysioNet",
)
ATTRIBUTION = "PTB-XL, Wagner et al. 2020, Sci Data 7:154, PhysioNet doi:10.13026/kfzx-aw45, CC BY 4.0"
LICENCE = "CC-BY-4.0"
RUNTIMES = ("litert", "tflite-runtime", "onnxruntime", "executorch")
# Largest logit difference from the known answers: int8 ones are the reference kernels' of LiteRT, and optimised
# kernels may differ by a step a layer; floating-point ones are torch's. docs/quantization.md has what was measured.
TOLERANCE = {
    "int8": dict.fromkeys(RUNTIMES, 0.15),
    "fp32": dict.fromkeys(RUNTIMES, 0.0001),
}

RISK_CONTROL = {
    "method": "Learn then Test, arXiv:2110.01052, fixed sequence",
    "missed_at_most": calibrate.MISSED,
    "false_alarms_at_most": calibrate.FALSE_ALARMS,
    "delta": calibrate.DELTA,
    "chosen_on": "fold 9",
    "holds_for": "exchangeable recordings only",
}

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Lessons:
    """Folds 1-8 to learn from, fold 9 to choose by, and the recordings that no model could read, with the reason."""

    training: Cohort
    validation: Cohort
    rejected: dict[str, str]


@dataclass(frozen=True, eq=False)
class Quantized:
    """A student and the rounding that it was fitted to; ``notes`` say what was done and why."""

    student: Student
    quantization: Quantization
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Asked:
    """What a model says of a cohort's average beats.

    Parameters
    ----------
    logits : array (n, n_outputs)
    mu : array (n, latent_dim)
    contributions : array (n, n_leads, n_outputs)
    """

    logits: NDArray[np.float32]
    mu: NDArray[np.float32]
    contributions: NDArray[np.float32]


def load(folder: Path, say: Say) -> Lessons:
    """Read folds 1-9 of a data folder; fold 10 is never opened."""
    usable = [entry for entry in datasets.entries(folder) if entry.fold != metrics.TEST_FOLD]
    say(f"Conditioning {len(usable)} recordings of folds 1-9")
    tasks = [task.name for task in calibrate.TASKS]
    taught = [entry for entry in usable if entry.fold < metrics.VALIDATION_FOLD]
    training, rejected = load_cohort(taught, tasks, same_band=True)
    chosen_by = [entry for entry in usable if entry.fold == metrics.VALIDATION_FOLD]
    validation, also_rejected = load_cohort(chosen_by, tasks)
    return Lessons(training, validation, rejected | also_rejected)


def assemble(
    made: Quantized,
    lessons: Lessons,
    out: Path,
    *,
    name: str,
    told: Mapping[str, Any],
    say: Say,
    version: int = 1,
    targets: Sequence[Target] | None = None,
) -> Bundle:
    """Convert a student, set thresholds on fold 9 by its int8 form, prove all forms on every recording, and pack them.

    Parameters
    ----------
    made : Quantized
    lessons : Lessons
    out : Path
        New folder of the bundle, or archive ending in ``.zip``.
    name : str
        Family of the bundle.
    told : mapping
        Where the student comes from, for the provenance.
    say : callable
    version : int
    targets : sequence of Target, optional
        By default the int8 TFLite form alone, which the kiosk runs.

    Raises
    ------
    QuantizationError
        If a form breaks a gate; nothing is written.
    """
    student, quantization = made.student, made.quantization
    say("Converting, and setting thresholds on fold 9")
    int8_file = kiosk_file(student, quantization, lessons.training.beats.shape[2])
    session = open_kiosk_file(int8_file)
    of_training, of_validation = ask(session, lessons.training), ask(session, lessons.validation)
    held_out, stored = lessons.validation, weights.dump(student)
    identity = f"{name}-{sha256(stored[weights.WEIGHTS]).hexdigest()[:8]}"
    contract = contract_of(identity, of_training, of_validation, held_out)
    converted = forms.convert(student, contract, quantization, targets or choose(["tflite"], ["int8"]))
    say("Comparing all forms on every recording of folds 1-9")
    everyday = parity.everyday(np.concatenate([model_inputs(lessons.training), model_inputs(held_out)]))
    agreed = forms.prove(converted, student, contract, quantization, everyday)
    scores = {"float": distill.predict(student, held_out).logits.numpy(), "int8": of_validation.logits}
    known = ~np.isnan(held_out.targets[:, 0])
    before, after = (metrics.auroc(held_out.targets[known, 0], values[known, 0]) for values in scores.values())
    gates.check_ranking("int8", before, after, gates.Bounds())
    measured = {form: validation_metrics(values, held_out) for form, values in scores.items()}
    provenance = _provenance({**told, "quantization": list(made.notes)}, lessons)
    files = {
        **converted.files,
        **stored,
        GOLDEN: golden_vectors(contract, student, int8_file),
        CARD: card(
            contract,
            measured,
            provenance,
            {path: len(content) for path, content in converted.files.items()},
            licence=LICENCE,
            attribution=ATTRIBUTION,
        ).encode(),
    }
    return bundles.write(
        out,
        files={**files, sbom.FILE_NAME: bill(name, version, files, provenance)},
        name=name,
        version=version,
        spec=contract,
        models=converted.models,
        quantization=quantization,
        golden=GOLDEN,
        tolerance=TOLERANCE,
        metrics={"fold_9": measured, "agreement": agreed, "risk_control": RISK_CONTROL},
        provenance=provenance,
        licence=LICENCE,
        attribution=ATTRIBUTION,
    )


def contract_of(identity: str, of_training: Asked, of_validation: Asked, validation: Cohort) -> ModelSpec:
    """Return the contract of a model with calibration, thresholds, guards and latent space as its answers set them."""
    tasks = [task.name for task in calibrate.TASKS]
    return ModelSpec(
        id=identity,
        leads=LIMB_LEADS,
        accepted_lead_sets=(LIMB_LEADS,),
        preprocess=preprocess.default_spec(),
        quality=QualityLimits(),
        outputs=(*tasks, *GUARDS),
        tasks=calibrate.tasks(of_validation.logits, validation.targets, of_training.contributions.mean(axis=0)),
        guards=calibrate.guards(of_validation.logits, validation.right_axis_like, len(tasks)),
        latent=calibrate.latent(of_training.mu, of_validation.mu),
        intended_use=IntendedUse(18.0, 40.0, 150.0, labels.STAND_IN),
    )


def anchor(name: str, bundle: Bundle) -> None:
    """Write the digest of a bundle beside the shipped bundles of this source tree."""
    path = Path(bundles.__file__).parent / "bundles" / "anchors.json"
    anchors = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**anchors, name: bundle.sha256}, indent=1) + "\n")


def quantize(student: Student, training: Cohort, seed: int) -> bytes:
    """Return the int8 TFLite form of a student, without a contract; ranges come from the training recordings only."""
    quantization = scheme.calibrate(student, scheme.calibration_inputs(training, seed), seed)
    return kiosk_file(student, quantization, training.beats.shape[2])


def kiosk_file(student: Student, quantization: Quantization, n_samples: int) -> bytes:
    """Return the int8 TFLite form of a student, without a contract."""
    return tflite.convert(Job(student, n_samples, quantization, ""))


def open_kiosk_file(content: bytes, *, reference_kernels: bool = False) -> Session:
    """Open an int8 TFLite form, as a kiosk runs it or with the reference kernels."""
    return open_model(content, tflite.INT8.model, "ai_edge_litert", reference_kernels=reference_kernels)


def model_inputs(cohort: Cohort) -> NDArray[np.float32]:
    """Return what the six-lead model reads of a cohort (n, n_leads, n_samples)."""
    return np.concatenate([x[:, :, 0].numpy() for x, _ in distill.inputs(cohort)])


def ask(session: Session, cohort: Cohort) -> Asked:
    """Run a cohort's average beats through an open session, one by one."""
    outputs = [session.run(signal) for signal in model_inputs(cohort)]
    return Asked(
        np.stack([output.logits for output in outputs]),
        np.stack([output.mu for output in outputs]),
        np.stack([output.contributions for output in outputs]),
    )


def ask_torch(student: Student, cohort: Cohort) -> Asked:
    """Ask a student in floating point about a cohort's average beats."""
    said = distill.predict(student, cohort)
    contributions = said.contributions.reshape(len(cohort), student.config.n_leads, -1)
    return Asked(said.logits.numpy(), said.mu.numpy(), contributions.numpy())


def every_input(say: Say) -> NDArray[np.float32]:
    """Return the model inputs of every recording of the data folder (n, n_leads, n_samples), without any label."""
    folder = datasets.data_folder()
    listed = [*datasets.entries(folder), *datasets.other_recorders(folder)]
    say(f"Conditioning {len(listed)} recordings")
    return model_inputs(load_cohort(listed, [])[0])


def validation_metrics(logits: NDArray[np.float32], cohort: Cohort) -> dict[str, Any]:
    """AUROC and average precision of the tasks with 95 % intervals over patients, also by sex and age band."""
    report: dict[str, Any] = {}
    for column, name in enumerate(cohort.tasks):
        truth = cohort.targets[:, column]
        report[name] = {
            group: _ranking(truth[rows], logits[rows, column], cohort.patient[rows])
            for group, rows in groups(cohort, ~np.isnan(truth)).items()
        }
    return report


def groups(cohort: Cohort, among: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Return the recordings of everybody, of each sex, and of each age band, by name."""
    age = cohort.age_years
    return {
        "all": among,
        "female": among & (cohort.sex == "female"),
        "male": among & (cohort.sex == "male"),
        "under 50": among & (age < 50),
        "50 to 69": among & (age >= 50) & (age < 70),
        "70 and over": among & (age >= 70),
    }


def _ranking(truth: NDArray[np.float32], logits: NDArray[np.float32], patient: NDArray[np.str_]) -> dict[str, Any]:
    resamples = metrics.patient_bootstrap(patient)
    values: dict[str, Any] = {"n": len(truth), "positive": int(truth.sum())}
    for metric in (metrics.auroc, metrics.average_precision):
        interval = metrics.with_interval(metric, truth, logits, resamples)
        values[metric.__name__] = interval and {key: round(v, 4) for key, v in asdict(interval).items()}
    return values


def golden_vectors(spec: ModelSpec, student: Student, int8_file: bytes) -> bytes:
    """Known answers of every stage for two simulated hearts, one with a right axis.

    Those of int8 come from LiteRT's reference kernels, those in floating point from torch.
    """
    sessions: dict[str, golden.Runs] = {
        "int8": open_kiosk_file(int8_file, reference_kernels=True),
        "fp32": TorchSession(FloatStudent(student)),
    }
    answers = []
    for seed, heart in enumerate((Heart(), Heart(qrs_axis_deg=125.0))):
        limb = simulate(heart, 10.0, golden.FS_HZ, seed).limb()
        raw_uv = np.rint(1000 * np.stack([limb["I"], limb["II"]])).astype(np.int16)
        answers.append(golden.answer(spec, raw_uv, sessions))
    return golden.packed({name: np.stack([answer[name] for answer in answers]) for name in answers[0]})


def bill(name: str, version: int, files: Mapping[str, bytes], provenance: Mapping[str, Any]) -> bytes:
    """Return the bill of materials of a bundle that was made from PTB-XL."""
    return sbom.sbom(
        name=name,
        version=version,
        licence=LICENCE,
        files=files,
        libraries={library: found for library, found in provenance["versions"].items() if library != "python"},
        data=(PTB_XL,),
        made_on=datetime.fromisoformat(provenance["made_at"]).date(),
    )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that make bundles."""
    return {"python": platform.python_version(), **sbom.versions(VERSIONED_PACKAGES)}


def _provenance(told: Mapping[str, Any], lessons: Lessons) -> dict[str, Any]:
    return {
        "made_at": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "data": {
            "training": _described(lessons.training, "folds 1-8"),
            "validation": _described(lessons.validation, "fold 9: calibration and thresholds"),
            "rejected": lessons.rejected,
        },
        "versions": versions(),
        **told,
    }


def _described(cohort: Cohort, what: str) -> dict[str, Any]:
    return {
        "what": what,
        "records": len(cohort),
        "patients": len(np.unique(cohort.patient)),
        "positives": {task: int((cohort.targets[:, i] == 1).sum()) for i, task in enumerate(cohort.tasks)},
        "record_ids_sha256": sha256(",".join(sorted(cohort.record_id)).encode()).hexdigest(),
    }


def _commit() -> str | None:
    """Return the source tree's commit, or None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
