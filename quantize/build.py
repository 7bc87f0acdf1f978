"""From a data folder to a bundle: fit, quantize, calibrate, prove, pack."""

import json
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import bundle as bundles
from lsemvae_edge import golden, metrics, preprocess
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.limits import QualityLimits
from lsemvae_edge.model import Student
from lsemvae_edge.quantize import litert, weights
from lsemvae_edge.quantize.card import card
from lsemvae_edge.runtime import Session
from lsemvae_edge.runtime.litert import open_model
from lsemvae_edge.spec import IntendedUse, ModelSpec
from lsemvae_edge.synthetic.heart import Heart, simulate
from lsemvae_edge.train import calibrate, datasets, distill, labels
from lsemvae_edge.train.cohort import Cohort, load_cohort
from lsemvae_edge.train.config_distill import DistillConfig
from lsemvae_edge.train.distill import GUARDS

GOLDEN = "golden.npz"
CALIBRATION_RECORDS = 500
VERSIONED_PACKAGES = ("numpy", "torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert")
ATTRIBUTION = "PTB-XL, Wagner et al. 2020, Sci Data 7:154, PhysioNet doi:10.13026/kfzx-aw45, CC BY 4.0"
# Largest logit difference that a runtime may show against the golden vectors of the reference kernels.
TOLERANCE = {"litert": 0.25, "tflite-runtime": 0.25, "onnxruntime": 0.5}

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


def build(folder: Path, out: Path, config: DistillConfig, say: Say) -> Bundle:
    """Train teachers and student, quantize and pack a bundle; fold 10 is never opened.

    Parameters
    ----------
    folder : Path
        Data folder, see `lsemvae_edge.train.datasets.entries`.
    out : Path
        New folder of the bundle.
    config : DistillConfig
    say : callable
        Told what is going on.
    """
    begun = time.process_time()
    usable = [entry for entry in datasets.entries(folder) if entry.fold != metrics.TEST_FOLD]
    say(f"Conditioning {len(usable)} recordings of folds 1-9")
    tasks = [task.name for task in calibrate.TASKS]
    taught = [entry for entry in usable if entry.fold < metrics.VALIDATION_FOLD]
    training, rejected = load_cohort(taught, tasks, same_band=True)
    chosen_by = [entry for entry in usable if entry.fold == metrics.VALIDATION_FOLD]
    validation, also_rejected = load_cohort(chosen_by, tasks)
    student = distill.distill(training, config, say=say)
    say("Converting and quantizing")
    int8_file = quantize(student, training, config.student.seed)
    say("Calibrating on fold 9")
    session = open_model(int8_file, litert.describe(int8_file, "int8"), "ai_edge_litert")
    of_training, of_validation = ask(session, training), ask(session, validation)
    baseline = of_training.contributions.mean(axis=0)
    contract = ModelSpec(
        id=f"lsemvae-edge-{config.student.size}-{sha256(int8_file).hexdigest()[:8]}",
        leads=LIMB_LEADS,
        accepted_lead_sets=(LIMB_LEADS,),
        preprocess=preprocess.default_spec(),
        quality=QualityLimits(),
        outputs=(*tasks, *GUARDS),
        tasks=calibrate.tasks(of_validation.logits, validation.targets, baseline),
        guards=calibrate.guards(of_validation.logits, validation.right_axis_like, len(tasks)),
        latent=calibrate.latent(of_training.mu, of_validation.mu),
        intended_use=IntendedUse(18.0, 40.0, 150.0, labels.STAND_IN),
    )
    scores = {"float": distill.predict(student, validation).logits.numpy(), "int8": of_validation.logits}
    measured = {name: validation_metrics(values, validation) for name, values in scores.items()}
    provenance = _provenance(config, training, validation, rejected | also_rejected)
    provenance["processor_seconds"] = round(time.process_time() - begun)
    files = {
        litert.FILE_NAME: int8_file,
        GOLDEN: golden_vectors(contract, int8_file),
        "card.md": card(contract, measured, provenance, len(int8_file)).encode(),
        **weights.dump(student),
    }
    return bundles.write(
        out,
        spec=contract,
        models=(litert.describe(int8_file, "int8"),),
        files=files,
        golden=GOLDEN,
        tolerance=TOLERANCE,
        metrics={"fold_9": measured, "risk_control": RISK_CONTROL},
        provenance=provenance,
    )


def anchor(name: str, bundle: Bundle) -> None:
    """Write the digest of a bundle beside the shipped bundles of this source tree."""
    path = Path(bundles.__file__).parent / "bundles" / "anchors.json"
    anchors = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**anchors, name: bundle.sha256}, indent=1) + "\n")


def quantize(student: Student, training: Cohort, seed: int) -> bytes:
    """Return the int8 file of a student; activation ranges come from the training recordings only."""
    return litert.to_int8(litert.to_tflite(student, training.beats.shape[2]), calibration_inputs(training, seed))


def calibration_inputs(training: Cohort, seed: int) -> NDArray[np.float32]:
    """Choose recordings for the activation ranges, both classes of the primary task alike (n, n_leads, n_samples)."""
    rng = np.random.default_rng(seed)
    half = CALIBRATION_RECORDS // 2
    truth = training.targets[:, 0]
    chosen = np.concatenate([rng.permutation(np.flatnonzero(truth == k))[:half] for k in (0, 1)])
    return model_inputs(training.select(np.sort(chosen)))


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


def golden_vectors(spec: ModelSpec, int8_file: bytes) -> bytes:
    """Known answers of every stage for two simulated hearts, one with a right axis, made with the reference kernels."""
    session = open_model(int8_file, litert.describe(int8_file, "int8"), "ai_edge_litert", reference_kernels=True)
    answers = []
    for seed, heart in enumerate((Heart(), Heart(qrs_axis_deg=125.0))):
        limb = simulate(heart, 10.0, golden.FS_HZ, seed).limb()
        raw_uv = np.rint(1000 * np.stack([limb["I"], limb["II"]])).astype(np.int16)
        answers.append(golden.answer(spec, raw_uv, session))
    return golden.packed({name: np.stack([answer[name] for answer in answers]) for name in answers[0]})


def _provenance(
    config: DistillConfig, training: Cohort, validation: Cohort, rejected: dict[str, str]
) -> dict[str, Any]:
    return {
        "command": f"lsemvae-edge train bundle --size {config.student.size}",
        "made_at": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "attribution": ATTRIBUTION,
        "licence": "weights and golden vectors: CC BY 4.0; code: Apache-2.0",
        "data": {
            "training": _described(training, "folds 1-8"),
            "validation": _described(validation, "fold 9: calibration and thresholds"),
            "rejected": rejected,
        },
        "distill": config.model_dump(mode="json"),
        "quantization": {"records": CALIBRATION_RECORDS, "from": "training folds", "seed": config.student.seed},
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in VERSIONED_PACKAGES},
        },
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
