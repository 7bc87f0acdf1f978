"""``ModelSpec``: the one contract between training, kiosk and firmware.

Written once, at training, into a bundle's manifest; every later stage reads it.
Unknown or missing keys are refused, so that a newer contract is never half understood.
"""

import math
import re
import sys
import types
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from reprlib import repr as _short
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import ArrayLike

from lsemvae_edge.errors import BundleError
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.limits import QualityLimits

T = TypeVar("T")

# Contracts are shown to people: nothing may steer a terminal, turn a line around, or be half a character.
_UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class ResamplerSpec:
    """Polyphase resampling by a Kaiser-windowed sinc, whose taps follow from this formula.

    With the offset ``t`` in seconds of an input sample from the output instant and the cut-off
    ``fc = min(input rate, fs_hz) / 2``, the tap is ``sinc(2 fc t) * kaiser(t / half_width_s, beta)``
    for ``abs(t) < half_width_s``; the taps of one output sample are scaled to sum 1.
    """

    fs_hz: float
    half_width_s: float
    kaiser_beta: float
    min_input_hz: float


@dataclass(frozen=True)
class BandSpec:
    """Linear-phase FIR band-pass: symmetric, odd number of taps, at the model's rate."""

    low_hz: float
    high_hz: float
    taps: tuple[float, ...]


@dataclass(frozen=True)
class BeatSpec:
    """The average beat of a window, at the model's rate.

    Beats whose QRS complexes correlate by ``min_correlation`` with one of them are aligned, each moved by at most
    ``align_samples`` to where it agrees best with their mean, and averaged from ``before_samples`` before the centre
    of the QRS to ``after_samples`` after it. At least ``min_beats`` are needed.
    """

    before_samples: int
    after_samples: int
    align_samples: int
    min_correlation: float
    min_beats: int

    @property
    def n_samples(self) -> int:
        """Length of the average beat."""
        return self.before_samples + self.after_samples


@dataclass(frozen=True)
class PreprocessSpec:
    """From a recorder's samples to the model's input.

    ``max_bridge_s``: gaps up to this long are bridged by a straight line, longer ones exclude
    every window they touch. ``window_samples``: length of the window whose average beat the model reads.
    ``clip``: bound of the scaled input, in units of the beat's root mean square.
    """

    max_bridge_s: float
    resampler: ResamplerSpec
    band: BandSpec
    window_samples: int
    beat: BeatSpec
    clip: float

    @property
    def fs_hz(self) -> float:
        """The model's sampling rate in hertz."""
        return self.resampler.fs_hz

    @property
    def window_s(self) -> float:
        """Length of the analysed window in seconds."""
        return self.window_samples / self.resampler.fs_hz

    @property
    def context_s(self) -> float:
        """What the filters need on each side of the window, in seconds."""
        return self.resampler.half_width_s + (len(self.band.taps) - 1) / 2 / self.resampler.fs_hz

    @property
    def required_s(self) -> float:
        """Shortest recording that holds one window with its context, in seconds."""
        return self.window_s + 2 * self.context_s


@dataclass(frozen=True)
class AskedIf:
    """A task is asked only when another task's probability reaches a level."""

    task: str
    min_probability: float


@dataclass(frozen=True)
class Calibration:
    """Platt scaling: probability = sigmoid(slope * logit + intercept)."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class TaskSpec:
    """One question the model answers.

    ``classes`` are (negative, positive); ``output`` is the index of the logit of the positive one. A probability at
    or above ``upper`` gives the positive class, below ``lower`` the negative one, between them no answer.
    ``lead_baseline`` is what each lead of the model contributes to that logit on average over the training recordings.
    """

    name: str
    title: str
    role: Literal["primary", "secondary"]
    classes: tuple[str, str]
    output: int
    calibration: Calibration
    lower: float
    upper: float
    asked_if: AskedIf | None
    lead_baseline: tuple[float, ...]


@dataclass(frozen=True)
class GuardSpec:
    """A learned reason not to answer: a logit of the model at or above ``max_logit`` makes the result inconclusive."""

    kind: Literal["not_ecg", "electrode_swap"]
    output: int
    max_logit: float


@dataclass(frozen=True)
class LatentSpec:
    """Where the fused means of the training recordings lie, and how far from them a recording may lie.

    The distance is Mahalanobis's, which tells apart what a network was not trained on (Lee et al. 2018,
    arXiv:1807.03888): ``whitening`` (k, latent_dim) turns the training recordings' covariance around ``mean`` into the
    identity. At or above ``max_distance`` a recording is unlike all that the model learned from.
    """

    mean: tuple[float, ...]
    whitening: tuple[tuple[float, ...], ...]
    max_distance: float

    def __post_init__(self) -> None:
        size = len(self.mean)
        if not size or not self.whitening or any(len(row) != size for row in self.whitening):
            raise BundleError("The latent space's whitening does not fit its mean.")
        if not self.max_distance > 0:
            raise BundleError("The latent space's largest distance is not above zero.")

    def distance(self, mu: ArrayLike) -> float:
        """Return the distance of a fused mean (latent_dim,) from those of the training recordings.

        Raises
        ------
        BundleError
            If the model's latent space has another size.
        """
        values = np.asarray(mu, dtype=np.float64)
        if values.shape != (len(self.mean),):
            raise BundleError(f"The contract describes {len(self.mean)} latent values, the model gives {values.shape}.")
        return float(np.linalg.norm(np.asarray(self.whitening) @ (values - np.asarray(self.mean))))


@dataclass(frozen=True)
class IntendedUse:
    """Outside these limits a recording is shown, and not answered."""

    min_age_years: float
    min_heart_rate_bpm: float
    max_heart_rate_bpm: float
    stand_in: str | None


@dataclass(frozen=True)
class ModelSpec:
    """Everything a stage needs to know about the model beside its weights.

    ``leads`` are the rows of the input, ``accepted_lead_sets`` the sets of *available* (measured or recomputed)
    leads for which accuracy was measured; ``outputs`` names the logits in order. ``latent`` is None for a model whose
    latent space was not described; nothing is then called unfamiliar.
    """

    id: str
    leads: tuple[str, ...]
    accepted_lead_sets: tuple[tuple[str, ...], ...]
    preprocess: PreprocessSpec
    quality: QualityLimits
    outputs: tuple[str, ...]
    tasks: tuple[TaskSpec, ...]
    guards: tuple[GuardSpec, ...]
    latent: LatentSpec | None
    intended_use: IntendedUse

    def __post_init__(self) -> None:
        if self.leads != LIMB_LEADS:
            named, given = ", ".join(self.leads), ", ".join(LIMB_LEADS)
            raise BundleError(f"The contract names the leads {named}; the preprocessing gives {given}.")
        primaries = [task.name for task in self.tasks if task.role == "primary"]
        if len(primaries) != 1:
            raise BundleError(f"A model needs exactly one primary task, this one has {len(primaries)}.")
        names = {task.name for task in self.tasks}
        if len(names) != len(self.tasks):
            raise BundleError(f"Two tasks share a name among {', '.join(task.name for task in self.tasks)}.")
        for task in self.tasks:
            if not 0 <= task.output < len(self.outputs):
                raise BundleError(f"Task {task.name} reads logit {task.output} of {len(self.outputs)}.")
            if not 0.0 <= task.lower <= task.upper <= 1.0:
                raise BundleError(f"Task {task.name} has thresholds out of order.")
            if task.asked_if is not None and task.asked_if.task not in names - {task.name}:
                raise BundleError(f"Task {task.name} waits for an unknown task {task.asked_if.task}.")
            if len(task.lead_baseline) != len(self.leads):
                raise BundleError(
                    f"Task {task.name} has a baseline of {len(task.lead_baseline)} of {len(self.leads)} leads."
                )
        for guard in self.guards:
            if not 0 <= guard.output < len(self.outputs):
                raise BundleError(f"Guard {guard.kind} reads logit {guard.output} of {len(self.outputs)}.")
        taps = self.preprocess.band.taps
        if len(taps) % 2 == 0 or any(abs(a - b) > 1e-12 for a, b in zip(taps, reversed(taps), strict=True)):
            raise BundleError("The band filter is not a symmetric odd-length one.")

    @property
    def primary(self) -> TaskSpec:
        """The task whose outcome is the result."""
        return next(task for task in self.tasks if task.role == "primary")


def from_dict(cls: type[T], value: Any, where: str = "manifest") -> T:
    """Build a frozen dataclass from parsed JSON, strictly.

    Raises
    ------
    BundleError
        If a key is unknown or missing, or a value has another type than declared; names the place.
    """
    if not isinstance(value, dict):
        raise BundleError(f"{where} is not an object.")
    hints: dict[str, Any] = _hints(cls)  # type: ignore[arg-type]  # classes are hashable
    unknown, missing = sorted(set(value) - set(hints)), sorted(set(hints) - set(value))
    if unknown or missing:
        raise BundleError(f"{where}: unknown keys {_short(unknown)}, missing keys {_short(missing)}.")
    return cls(**{name: _convert(hint, value[name], f"{where}.{name}") for name, hint in hints.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value, where)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        (inner,) = [arg for arg in get_args(hint) if arg is not type(None)]
        return _convert(inner, value, where)
    if origin is Literal:
        if value not in get_args(hint):
            raise BundleError(f"{where} is {_short(value)}, not one of {get_args(hint)}.")
        return value
    if origin is tuple and isinstance(value, list):
        inner_hints = get_args(hint)
        if inner_hints[-1] is Ellipsis:
            # One by one, the rows of a whitening would cost as much as a screening.
            if inner_hints[0] is float and all(type(item) is float and math.isfinite(item) for item in value):
                return tuple(value)
            return tuple(_convert(inner_hints[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(inner_hints) != len(value):
            raise BundleError(f"{where} needs {len(inner_hints)} values, not {len(value)}.")
        return tuple(_convert(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(inner_hints, value, strict=True)))
    if origin is dict and isinstance(value, dict):
        return {str(key): _convert(get_args(hint)[1], item, f"{where}.{key:.100}") for key, item in value.items()}
    if hint is Any:
        return value
    if hint is float:
        # An integer may be too large for a float, which `isfinite` does not survive.
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            return float(value)
        raise BundleError(f"{where} is {_short(value)}, which is no finite number.")
    if isinstance(hint, type) and isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        if isinstance(value, str) and _UNPRINTABLE.search(value):
            raise BundleError(f"{where} holds control characters: {_short(value)}.")
        return value
    raise BundleError(f"{where} is {_short(value)}, which is not {hint}.")


@lru_cache(maxsize=64)
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}
