"""From a data folder to a bundle: fit, quantize, calibrate, prove, pack."""

import json
import platform
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lsemvae_edge import bundle as bundles
from lsemvae_edge import golden, metrics, preprocess
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.limits import QualityLimits
from lsemvae_edge.model import Student, channels_last
from lsemvae_edge.quantize import litert, weights
from lsemvae_edge.quantize.card import card
from lsemvae_edge.runtime import Session
from lsemvae_edge.runtime.litert import open_model
from lsemvae_edge.spec import IntendedUse, ModelSpec, PreprocessSpec
from lsemvae_edge.synthetic.heart import Heart, simulate
from lsemvae_edge.train import augment, calibrate, datasets, labels
from lsemvae_edge.train.baseline import fit_baseline
from lsemvae_edge.train.cohort import Cohort, load_cohort
from lsemvae_edge.train.fit import OUTPUTS, FitConfig, fit, predict

GOLDEN = "golden.npz"
CALIBRATION_RECORDS = 500
VERSIONED_PACKAGES = ("numpy", "torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert")
ATTRIBUTION = "PTB-XL, Wagner et al. 2020, Sci Data 7:154, PhysioNet doi:10.13026/kfzx-aw45, CC BY 4.0"
# Largest logit difference that a runtime may show against the golden vectors of the reference kernels.
TOLERANCE = {"litert": 0.25, "tflite-runtime": 0.25, "onnxruntime": 0.5}

Say = Callable[[str], None]


def build(folder: Path, out: Path, config: FitConfig, say: Say) -> Bundle:
    """Train, quantize and pack the ``small`` bundle; fold 10 is never opened.

    Parameters
    ----------
    folder : Path
        Data folder, see `lsemvae_edge.train.datasets.entries`.
    out : Path
        New folder of the bundle.
    config : FitConfig
    say : callable
        Told what is going on.
    """
    spec = preprocess.default_spec()
    usable = [entry for entry in datasets.entries(folder) if entry.fold != metrics.TEST_FOLD]
    say(f"Conditioning {len(usable)} recordings of folds 1-9")
    taught = [entry for entry in usable if entry.fold < metrics.VALIDATION_FOLD]
    training, rejected = load_cohort(taught, spec, same_band=True)
    chosen_by = [entry for entry in usable if entry.fold == metrics.VALIDATION_FOLD]
    validation, also_rejected = load_cohort(chosen_by, spec)

    def progress(epoch: int, loss: float) -> None:
        say(f"epoch {epoch + 1}: loss {loss:.4f}")

    say("Fitting the teacher, a plain CNN")
    teacher = fit_baseline(training, spec, config.seed, progress)
    say("Fitting the student")
    student = fit_student(training, spec, config, teacher, progress)
    say("Converting and quantizing")
    int8_file = quantize(student, training, spec, config.seed)
    say("Calibrating on fold 9")
    logits = run_int8(int8_file, validation.pairs, spec)
    contract = ModelSpec(
        id=f"lsemvae-edge-small-{sha256(int8_file).hexdigest()[:8]}",
        leads=LIMB_LEADS,
        accepted_lead_sets=(LIMB_LEADS,),
        preprocess=spec,
        quality=QualityLimits(),
        outputs=OUTPUTS,
        tasks=calibrate.tasks(logits, validation),
        guards=calibrate.guards(logits, validation),
        intended_use=IntendedUse(18.0, 40.0, 150.0, labels.STAND_IN),
    )
    scores = {"float": predict(student, validation.pairs, spec), "int8": logits}
    measured = {name: validation_metrics(values, validation) for name, values in scores.items()}
    provenance = _provenance(config, training, validation, rejected | also_rejected)
    files = {
        litert.FILE_NAME: int8_file,
        GOLDEN: golden_vectors(contract, int8_file),
        "card.md": card(contract, measured, provenance).encode(),
        **weights.dump(student),
    }
    return bundles.write(
        out,
        spec=contract,
        models=(litert.describe(int8_file, "int8"),),
        files=files,
        golden=GOLDEN,
        tolerance=TOLERANCE,
        metrics={"fold_9": measured},
        provenance=provenance,
    )


def anchor(name: str, bundle: Bundle) -> None:
    """Write the digest of a bundle beside the shipped bundles of this source tree."""
    path = Path(bundles.__file__).parent / "bundles" / "anchors.json"
    anchors = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**anchors, name: bundle.sha256}, indent=1) + "\n")


def fit_student(
    training: Cohort,
    spec: PreprocessSpec,
    config: FitConfig,
    teacher: nn.Module,
    progress: Callable[[int, float], None] | None = None,
) -> Student:
    """Fit a ``small`` student that also learns from a teacher."""
    torch.manual_seed(config.seed)
    fitted = fit(channels_last(Student()), training, spec, config, teacher, progress)
    assert isinstance(fitted, Student)
    return fitted


def quantize(student: Student, training: Cohort, spec: PreprocessSpec, seed: int) -> bytes:
    """Return the int8 file of a student; activation ranges come from the training recordings only."""
    return litert.to_int8(litert.to_tflite(student, spec.window_samples), calibration_inputs(training, spec, seed))


def calibration_inputs(training: Cohort, spec: PreprocessSpec, seed: int) -> NDArray[np.float32]:
    """Choose recordings for the activation ranges, both classes of the primary task alike (n, n_leads, n_samples)."""
    rng = np.random.default_rng(seed)
    half = CALIBRATION_RECORDS // 2
    chosen = np.concatenate([rng.permutation(np.flatnonzero(training.right_heart == k))[:half] for k in (0, 1)])
    start = (training.pairs.shape[2] - spec.window_samples) // 2
    window = training.pairs[np.sort(chosen), :, start : start + spec.window_samples]
    return augment.to_input(torch.from_numpy(window), spec.clip)[:, :, 0].numpy()


def run_int8(file: bytes, pairs: NDArray[np.float32], spec: PreprocessSpec, start: int = 0) -> NDArray[np.float32]:
    """Return logits (n, n_outputs) of an int8 file through LiteRT, as the kiosk runs it."""
    return logits_of(open_model(file, litert.describe(file, "int8"), "ai_edge_litert"), pairs, spec, start)


def logits_of(
    session: Session, pairs: NDArray[np.float32], spec: PreprocessSpec, start: int = 0
) -> NDArray[np.float32]:
    """Return logits (n, n_outputs) of an open session for the window of each recording that begins at ``start``."""
    inputs = augment.to_input(torch.from_numpy(pairs[:, :, start : start + spec.window_samples]), spec.clip)
    return np.stack([session.run(signal).logits for signal in inputs[:, :, 0].numpy()])


def validation_metrics(logits: NDArray[np.float32], cohort: Cohort) -> dict[str, Any]:
    """AUROC and average precision of both tasks with 95 % intervals over patients."""
    report = {}
    for column, (name, truth) in enumerate(
        (("right_heart_pattern", cohort.right_heart), ("heart_side", cohort.heart_side))
    ):
        asked = truth >= 0
        resamples = metrics.patient_bootstrap(cohort.patient[asked])
        values: dict[str, Any] = {"n": int(asked.sum()), "positive": int(truth[asked].sum())}
        for metric in (metrics.auroc, metrics.average_precision):
            interval = metrics.with_interval(metric, truth[asked], logits[asked, column], resamples)
            values[metric.__name__] = interval and {key: round(v, 4) for key, v in asdict(interval).items()}
        report[name] = values
    return report


def golden_vectors(spec: ModelSpec, int8_file: bytes) -> bytes:
    """Known answers of every stage for two simulated hearts, one with a right axis, made with the reference kernels."""
    session = open_model(int8_file, litert.describe(int8_file, "int8"), "ai_edge_litert", reference_kernels=True)
    answers = []
    for seed, heart in enumerate((Heart(), Heart(qrs_axis_deg=125.0))):
        limb = simulate(heart, 10.0, golden.FS_HZ, seed).limb()
        raw_uv = np.rint(1000 * np.stack([limb["I"], limb["II"]])).astype(np.int16)
        answers.append(golden.answer(spec, raw_uv, session))
    return golden.packed({name: np.stack([answer[name] for answer in answers]) for name in answers[0]})


def _provenance(config: FitConfig, training: Cohort, validation: Cohort, rejected: dict[str, str]) -> dict[str, Any]:
    return {
        "command": "lsemvae-edge train bundle",
        "made_at": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "attribution": ATTRIBUTION,
        "licence": "weights and golden vectors: CC BY 4.0; code: Apache-2.0",
        "data": {
            "training": _described(training, "folds 1-8"),
            "validation": _described(validation, "fold 9: calibration and thresholds"),
            "rejected": rejected,
        },
        "fit": config.model_dump(),
        "quantization": {"records": CALIBRATION_RECORDS, "from": "training folds", "seed": config.seed},
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
        "positives": {
            "right_heart_pattern": int((cohort.right_heart == 1).sum()),
            "heart_side": int((cohort.heart_side == 1).sum()),
        },
        "record_ids_sha256": sha256(",".join(sorted(cohort.record_id)).encode()).hexdigest(),
    }


def _commit() -> str | None:
    """Return the source tree's commit, or None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
