"""Ways to round one student beside each other: ranges, equalisation, layers in floating point, further training."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lsemvae_edge import metrics
from lsemvae_edge.manifest import Quantization
from lsemvae_edge.model import Student
from lsemvae_edge.quantize import parity, qat, scheme, search
from lsemvae_edge.quantize.build import model_inputs
from lsemvae_edge.quantize.equalize import equalized
from lsemvae_edge.quantize.reference import FloatStudent, QuantizedStudent
from lsemvae_edge.spec import ModelSpec
from lsemvae_edge.train.cohort import Cohort

MOMENTUM = 0.99
"""Of the moving average."""

Way = tuple[str, Student, Quantization]
Measure = Callable[[Tensor], tuple[float, float]]


@dataclass(frozen=True)
class Row:
    """One way to round: how far it lies from the student as it was given, in floating point, and how well it ranks.

    Parameters
    ----------
    way : str
    float_layers : int
        How many layers with weights stay in floating point.
    rms : float
        Of the differences of all logits on the validation recordings.
    agreement, everywhere : Agreement
        On the validation recordings, and on the training recordings as well.
    auroc : float
        Of the primary task on the validation recordings.
    """

    way: str
    float_layers: int
    rms: float
    agreement: parity.Agreement
    everywhere: parity.Agreement
    auroc: float


def compare(
    student: Student, spec: ModelSpec, training: Cohort, validation: Cohort, bound: float, seed: int = 0
) -> Iterator[Row]:
    """Round a student in many ways and compare each with floating point.

    Parameters
    ----------
    student : Student
        Not equalised.
    spec : ModelSpec
        Whose outcomes count.
    training, validation : Cohort
        Ranges and further training come from the former.
    bound : float
        Share of the outcomes of both that may change before a search leaves more layers in floating point.
    seed : int

    Yields
    ------
    Row
        In the reference; the first is floating point itself.
    """
    everybody = parity.everyday(np.concatenate([model_inputs(validation), model_inputs(training)]))
    exact = parity.said_by_torch(spec, FloatStudent(student), everybody)
    of_validation = slice(len(validation))
    known = ~np.isnan(validation.targets[:, 0])
    truth = validation.targets[known, 0].astype(np.int64)

    def row(way: str, said: parity.Said, float_layers: int) -> Row:
        held_out, wanted = _part(said, of_validation), _part(exact, of_validation)
        apart = held_out.logits.astype(np.float64) - wanted.logits
        return Row(
            way=way,
            float_layers=float_layers,
            rms=float(np.sqrt(np.square(apart).mean())),
            agreement=parity.agreement(held_out, wanted),
            everywhere=parity.agreement(said, exact),
            auroc=metrics.auroc(truth, held_out.logits[known, 0]),
        )

    def rounded(of: Student, quantization: Quantization) -> parity.Said:
        return parity.said_by_torch(spec, QuantizedStudent(of, quantization), everybody)

    def loss_of(of: Student) -> search.Loss:
        return lambda quantization: parity.agreement(rounded(of, quantization), exact).flips

    yield row("floating point", exact, len(search.more_bytes(student)))
    for way, of, quantization in _ways(student, training, loss_of, bound, seed):
        in_float = len(set(quantization.float_layers) & set(search.more_bytes(of)))
        yield row(way, rounded(of, quantization), in_float)


def table(rows: list[Row]) -> str:
    """Write rows as a Markdown table."""
    lines = [
        "| way | layers in floating point | rms | mean | p99.9 | worst | latent, worst "
        "| outcomes changed | of all recordings | AUROC |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        apart = one.agreement
        figures = (one.rms, apart.mean, apart.tail, apart.worst, apart.latent)
        lines.append(
            f"| {one.way} | {one.float_layers} | {' | '.join(f'{value:.3f}' for value in figures)} | "
            f"{apart.flipped} of {apart.n} | {one.everywhere.flipped} of {one.everywhere.n} | {one.auroc:.4f} |"
        )
    return "\n".join(lines)


def with_ranges(
    quantization: Quantization, student: Student, calibration: NDArray[np.float32], of: Measure
) -> Quantization:
    """Return a quantization whose ranges were measured in another way.

    Parameters
    ----------
    quantization : Quantization
    student : Student
    calibration : array (n, n_leads, n_samples)
    of : callable
        From an activation (n, ...) to its range.
    """
    given = scheme.activations(student, calibration)
    steps = {name: scheme.step_of(*of(values)) for name, values in given.items() if name != scheme.SIGNAL}
    return replace(quantization, activations=quantization.activations | steps)


def widest(values: Tensor) -> tuple[float, float]:
    """Return the smallest and the largest value."""
    return float(values.min()), float(values.max())


def quantile(share: float) -> Measure:
    """Return a measure that leaves out what is further off than a share of all values, on each side that there is."""

    def measured(values: Tensor) -> tuple[float, float]:
        flat = values.numpy().ravel()
        return (float(np.quantile(flat, 1 - share)) if flat.min() < 0 else 0.0), float(np.quantile(flat, share))

    return measured


def moving_average(values: Tensor) -> tuple[float, float]:
    """Return the exponential moving average, recording by recording, of the smallest and the largest value."""
    low, high = widest(values[:1])
    for one in values[1:]:
        low = MOMENTUM * low + (1 - MOMENTUM) * float(one.min())
        high = MOMENTUM * high + (1 - MOMENTUM) * float(one.max())
    return low, high


def _ways(
    student: Student, training: Cohort, loss_of: Callable[[Student], search.Loss], bound: float, seed: int
) -> Iterator[Way]:
    calibration = scheme.calibration_inputs(training, seed)
    everything = scheme.calibrate(student, calibration, seed, ())
    usual = scheme.calibrate(student, calibration, seed)
    yield "everything rounded", student, everything
    yield "first convolutions in floating point (F)", student, usual
    for name, measure in (
        ("widest range", widest),
        ("99.99 % of values", quantile(0.9999)),
        ("99.9 % of values", quantile(0.999)),
        ("moving average", moving_average),
    ):
        yield f"F, {name}", student, with_ranges(usual, student, calibration, measure)
    balanced = {"weights": equalized(student), "activations": equalized(student, calibration)}
    for name, even in balanced.items():
        yield f"F, equalised by {name}", even, scheme.calibrate(even, calibration, seed)
    even = balanced["activations"]
    steps = scheme.calibrate(even, calibration, seed)
    found = search.search(even, steps, calibration, loss_of(even), bound)
    yield "F, equalised by activations, search", even, found.quantization
    config = qat.QatConfig(seed=seed)
    yield "F, trained on", *qat.train(student, training, usual, config)
    yield "F, equalised by activations, trained on", *qat.train(even, training, steps, config)
    narrow = with_ranges(usual, student, calibration, quantile(0.999))
    yield "F, 99.9 % of values, trained on", *qat.train(student, training, narrow, config)


def _part(said: parity.Said, rows: slice) -> parity.Said:
    return parity.Said(said.logits[rows], said.mu[rows], said.outcomes[rows])
