"""One quantization, given to every format: which activations are rounded, and in which steps.

Weights are symmetric int8 with one scale for each output channel; activations are affine int8 with one step for each
tensor. Ranges are measured once, in torch, as the widest over a calibration set; every exporter is handed the same
numbers, so that formats differ by how their kernels round and by nothing else.
"""

from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsemvae_edge.errors import UsageError
from lsemvae_edge.manifest import CalibrationSet, Quantization, Step
from lsemvae_edge.model import Student, fold_batch_norm
from lsemvae_edge.model.student import LeadEncoder
from lsemvae_edge.train.cohort import Cohort
from lsemvae_edge.train.distill import inputs

SIGNAL = "signal"
LOW, HIGH = -128, 127
WEIGHT_LIMIT = 127
"""Weights are symmetric: -127 to 127."""
RECORDS = 1000
HEADROOM = 1.1
"""How much further than the calibration set a layer may go before it is cut off: other recordings go further."""
DRAWN_FROM = "training folds, half of them positive in the primary task where there are as many"


def layer_names(student: Student) -> list[str]:
    """Return the names of the layers whose outputs are rounded, in order: ``encoder0.conv1`` … ``encoder5.logvar``."""
    depth = len(student.config.channels)
    layers = [*(f"conv{k + 1}" for k in range(depth)), "pool", "mu", "logvar"]
    return [f"encoder{i}.{layer}" for i in range(student.config.n_leads) for layer in layers]


def first_convolutions(student: Student) -> tuple[str, ...]:
    """Return the layers that stay in floating point unless told otherwise: those that read the signal.

    An average beat in units of its root mean square keeps most of its detail within a few of 256 steps, so that
    rounding it costs more than all other rounding together; these layers hold under a hundredth of the weights.
    """
    return tuple(f"encoder{i}.conv1" for i in range(student.config.n_leads))


def calibration_inputs(training: Cohort, seed: int) -> NDArray[np.float32]:
    """Choose recordings for the activation ranges, both classes of the primary task alike (n, n_leads, n_samples)."""
    rng = np.random.default_rng(seed)
    truth = training.targets[:, 0]
    chosen = np.concatenate([rng.permutation(np.flatnonzero(truth == k))[: RECORDS // 2] for k in (0, 1)])
    part = training.select(np.sort(chosen))
    return np.concatenate([x[:, :, 0].numpy() for x, _ in inputs(part)])


def calibrate(
    student: Student, calibration: NDArray[np.float32], seed: int, float_layers: tuple[str, ...] | None = None
) -> Quantization:
    """Measure the steps of a student's activations.

    Parameters
    ----------
    student : Student
    calibration : array (n, n_leads, n_samples)
        Model inputs of training recordings, all leads present. Whatever a mask hides lies inside their ranges.
    seed : int
        With which they were drawn.
    float_layers : tuple of str, optional
        Layers to leave in floating point, see `layer_names`; by default `first_convolutions`.

    Raises
    ------
    UsageError
        If a layer is named that the student does not have.
    """
    known = layer_names(student)
    if unknown := sorted(set(float_layers or ()) - set(known)):
        raise UsageError(f"The student has no layer {unknown[0]}.", f"Its layers are {known[0]} to {known[-1]}.")
    return Quantization(
        method="ptq",
        calibration=CalibrationSet(
            sha256(np.ascontiguousarray(calibration, dtype="<f4").tobytes()).hexdigest(),
            len(calibration),
            DRAWN_FROM,
            seed,
        ),
        activations={
            name: step_of(*_with_headroom(name, float(values.min()), float(values.max())))
            for name, values in activations(student, calibration).items()
        },
        float_layers=first_convolutions(student) if float_layers is None else float_layers,
    )


@torch.inference_mode()
def activations(student: Student, signals: NDArray[np.float32]) -> dict[str, Tensor]:
    """Run a student in floating point and keep what its layers give, rectified where a rectifier follows.

    Parameters
    ----------
    student : Student
    signals : array (n, n_leads, n_samples)

    Returns
    -------
    dict of str to Tensor (n, channels, ...)
        ``signal`` and the names of `layer_names`.
    """
    folded = fold_batch_norm(student)
    kept: dict[str, Tensor] = {SIGNAL: torch.from_numpy(signals)[:, :, None]}
    for i, encoder in enumerate(folded.encoders):
        assert isinstance(encoder, LeadEncoder)
        x = kept[SIGNAL][:, i : i + 1]
        number = 0
        for layer in encoder.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                number += 1
                kept[f"encoder{i}.conv{number}"] = x
        pooled = torch.flatten(encoder.pool(x), 1)
        kept[f"encoder{i}.pool"] = pooled
        kept[f"encoder{i}.mu"], kept[f"encoder{i}.logvar"] = encoder.mu(pooled), encoder.logvar(pooled)
    return kept


def _with_headroom(name: str, low: float, high: float) -> tuple[float, float]:
    """Widen a range; the signal's is bounded by its clipping."""
    return (low, high) if name == SIGNAL else (HEADROOM * low, HEADROOM * high)


def step_of(low: float, high: float) -> Step:
    """Return the step whose 256 values cover a range and hold zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    # Kept as a single-precision number, which is what every format stores.
    scale = float(np.float32(max(high - low, 1e-6) / (HIGH - LOW)))
    return Step(scale, int(np.clip(round(LOW - low / scale), LOW, HIGH)))


def range_of(step: Step) -> tuple[float, float]:
    """Return the smallest and the largest value that a step can tell."""
    return step.scale * (LOW - step.zero_point), step.scale * (HIGH - step.zero_point)


def weight_scales(weight: Tensor) -> Tensor:
    """Return the scale of each output channel (n_out,) of a weight (n_out, ...)."""
    return weight.detach().abs().flatten(1).amax(dim=1).clamp(min=1e-8) / WEIGHT_LIMIT
