"""What the full-precision models read: from a recording to twelve leads of one rate and length.

``reference`` is the published recipe, lead by lead, so that amplitude relations between leads are lost. ``edge`` is the
conditioning of the six-lead device with the chest leads beside it and one scale for the whole recording. ``beat`` is
the average beat of that, which the student reads.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, resample_poly, sosfilt, sosfilt_zi

from lsemvae_edge import preprocess
from lsemvae_edge.beats import align_beats, average_beat
from lsemvae_edge.errors import BadInputError, UnusableRecordingError, UsageError
from lsemvae_edge.leads import LIMB_LEADS, PRECORDIAL_LEADS, STANDARD_12, derive_limb_leads, solve_i_ii
from lsemvae_edge.record import Record
from lsemvae_edge.spec import PreprocessSpec

FLAT = 1e-9
"""What remains of a lead after filtering, over its largest raw value, at or below which it is rounding, not signal."""

EDGE_SAMPLES = 992
"""9.96 s at 300 Hz, the shortest recording of the six-lead device, gives 993 conditioned ones; a window takes 928."""
_CONDITIONING = ("max_bridge_s", "resampler", "band")


class Reason(StrEnum):
    """Why a recipe leaves a recording out, as reports count it."""

    LEADS = "leads missing"
    EMPTY_LEAD = "lead without a sample"
    FLAT_LEAD = "constant lead"
    SHORT = "recording too short"
    GAP = "long gap"
    RATE = "sampling rate too low"
    BEATS = "too few beats that resemble each other"


class RejectedError(BadInputError):
    """A recording that a recipe leaves out."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message, "Leave it out, or record it again.")
        self.reason = reason

    def __reduce__(self) -> tuple[type["RejectedError"], tuple[Reason, str]]:
        """Cross to another process whole."""
        return type(self), (self.reason, self.message)


@dataclass(frozen=True)
class InputRecipe(ABC):
    """From a recording to a model's input.

    Parameters
    ----------
    name : str
    fs_hz : float
        Rate of the result.
    n_samples : int
        Length of the result.
    leads : tuple of str
        Rows of the result.
    version : int
        Counts up when the numbers change.
    """

    name: str
    fs_hz: float
    n_samples: int
    leads: tuple[str, ...] = STANDARD_12
    version: int = 1

    @abstractmethod
    def apply(self, record: Record) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Turn a recording into a model's input.

        Parameters
        ----------
        record : Record
            Leads are found by name.

        Returns
        -------
        signal : array (12, n_samples), float32
            In ``leads`` order, without unit; zero where a lead is absent.
        present : array (12,) of bool

        Raises
        ------
        RejectedError
            If the recording is to be left out.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return all that decides the numbers, as plain JSON values."""
        return {**asdict(self), "leads": list(self.leads)}


@dataclass(frozen=True)
class ReferenceRecipe(InputRecipe):
    """The published preprocessing: 500 Hz, each lead high-passed, freed from mains and z-scored.

    Gaps are bridged by straight lines; then come a Butterworth high-pass and a moving average of one mains period,
    both forwards and backwards, as neurokit2's default cleaning has them, and a z-score over the recording. All twelve
    leads must be there; limb leads that algebra gives are derived. The first ``n_samples`` are read, at 500 Hz.

    Parameters
    ----------
    high_pass_hz : float
    order : int
        Of the Butterworth filter, once through.
    mains_hz : float
    """

    name: str = "reference"
    fs_hz: float = 500.0
    n_samples: int = 5000
    high_pass_hz: float = 0.5
    order: int = 5
    mains_hz: float = 50.0

    def apply(self, record: Record) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Turn a recording into a model's input; see `InputRecipe.apply`."""
        raw = _twelve(record)
        needed = int(np.ceil(self.n_samples * record.fs_hz / self.fs_hz))
        if raw.shape[1] < needed:
            raise RejectedError(
                Reason.SHORT,
                f"The recording lasts {record.duration_s:.2f} s; {self.n_samples / self.fs_hz:g} s are needed.",
            )
        bridged = _bridge(raw[:, :needed])
        size = np.abs(bridged).max(axis=1)
        clean = self.clean(_resampled(bridged, record.fs_hz, self.fs_hz)[:, : self.n_samples])
        deviation = clean.std(axis=1)
        _refuse_flat(deviation <= FLAT * size)
        signal = (clean - clean.mean(axis=1, keepdims=True)) / deviation[:, None]
        return signal.astype(np.float32), np.ones(len(self.leads), dtype=bool)

    def clean(self, signal: NDArray[np.float64]) -> NDArray[np.float64]:
        """Filter leads (n_leads, n_samples) at ``fs_hz``: high-pass, then moving average over a mains period."""
        sections, settled = _high_pass(self.order, self.high_pass_hz, self.fs_hz)
        high_passed = _both_ways(sections, settled, signal)
        period = int(self.fs_hz / self.mains_hz)
        # An average over one period, forwards and backwards.
        once = _moving_sum(_extended(high_passed, period - 1), period)
        return np.asarray(_moving_sum(once, period) / period**2)


@dataclass(frozen=True)
class EdgeRecipe(InputRecipe):
    """The device's conditioning, twelve leads wide: 125 Hz, its linear-phase band, one scale for the recording.

    Leads I and II are needed, or limb leads that give them; all six limb leads follow by algebra. A chest lead that is
    missing, flat or broken by a long gap is absent: zero, and not ``present``. The first ``n_samples`` of the
    conditioned signal are kept and divided by the root mean square over their six limb leads.
    """

    name: str = "edge"
    fs_hz: float = preprocess.DEFAULT_FS_HZ
    n_samples: int = EDGE_SAMPLES

    def apply(self, record: Record) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Turn a recording into a model's input; see `InputRecipe.apply`."""
        signal, present = _conditioned(record, self.n_samples, preprocess.default_spec())
        return _scaled(signal), present

    def to_dict(self) -> dict[str, Any]:
        """Return all that decides the numbers, the device's filters by their digest."""
        spec = asdict(preprocess.default_spec())
        return {**super().to_dict(), "conditioning_sha256": _digest({key: spec[key] for key in _CONDITIONING})}


@dataclass(frozen=True)
class BeatRecipe(InputRecipe):
    """The device's input, twelve leads wide: the average beat of the middle window, one scale for all leads.

    Leads are needed and may be absent as in `EdgeRecipe`.

    Parameters
    ----------
    spec : PreprocessSpec
        Another contract than the device's, to find out what it would cost; see `beat_recipe`.
    """

    name: str = "beat"
    fs_hz: float = preprocess.DEFAULT_FS_HZ
    n_samples: int = preprocess.default_spec().beat.n_samples
    spec: PreprocessSpec = field(default_factory=preprocess.default_spec)

    def apply(self, record: Record) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Turn a recording into a model's input; see `InputRecipe.apply`."""
        n_samples = round(EDGE_SAMPLES * self.fs_hz / preprocess.DEFAULT_FS_HZ)
        signal, present = _conditioned(record, n_samples, self.spec)
        begin = (n_samples - self.spec.window_samples) // 2
        window = signal[:, begin : begin + self.spec.window_samples]
        at = align_beats(window[:2], self.fs_hz, self.spec.beat)
        if at is None:
            raise RejectedError(Reason.BEATS, "The window has too few heartbeats that resemble each other.")
        beat = average_beat(window, at, self.spec.beat)
        beat[: len(LIMB_LEADS)] = derive_limb_leads(beat[0], beat[1])
        return _scaled(beat), present

    def to_dict(self) -> dict[str, Any]:
        """Return all that decides the numbers, the contract by its digest."""
        told = {key: value for key, value in super().to_dict().items() if key != "spec"}
        return {**told, "conditioning_sha256": _digest(asdict(self.spec))}


def beat_recipe(spec: PreprocessSpec) -> BeatRecipe:
    """Return the recipe of average beats under a contract."""
    return BeatRecipe(fs_hz=spec.fs_hz, n_samples=spec.beat.n_samples, spec=spec)


RECIPES: Mapping[str, InputRecipe] = MappingProxyType(
    {"reference": ReferenceRecipe(), "edge": EdgeRecipe(), "beat": BeatRecipe()}
)


def recipe(name: str) -> InputRecipe:
    """Return a recipe by name.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    if name not in RECIPES:
        raise UsageError(f"There is no recipe {name!r}.", f"Choose one of: {', '.join(RECIPES)}.")
    return RECIPES[name]


def from_dict(described: Mapping[str, Any]) -> InputRecipe:
    """Return the recipe that `InputRecipe.to_dict` described.

    Raises
    ------
    BadInputError
        If this software has no recipe that gives the same numbers.
    """
    known = RECIPES.get(str(described.get("name")))
    if known is not None:
        given = {key: described[key] for key in asdict(known) if key in described and key != "leads"}
        made = type(known)(**given)
        if made.to_dict() == dict(described) and made.version == known.version:
            return made
    raise BadInputError(
        f"This software has no recipe like {described.get('name')!r}, version {described.get('version')!r}.",
        "Prepare the data again.",
    )


def _twelve(record: Record) -> NDArray[np.float64]:
    """Stack the standard leads (12, n_samples) by name, deriving limb leads that are missing; gaps are NaN."""
    rows = {name: record.signal_mv[record.leads.index(name)] for name in STANDARD_12 if name in record.leads}
    if any(name not in rows for name in LIMB_LEADS):
        pair = solve_i_ii(rows)
        if pair is not None:
            rows = {**dict(zip(LIMB_LEADS, derive_limb_leads(pair[0], pair[1]), strict=True)), **rows}
    missing = [name for name in STANDARD_12 if name not in rows]
    if missing:
        raise RejectedError(Reason.LEADS, f"Lacks {', '.join(missing)}.")
    return np.stack([rows[name] for name in STANDARD_12]).astype(np.float64)


def _bridge(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bridge the gaps of each lead by straight lines, held at the ends; refuse empty and constant leads."""
    gaps = np.isnan(raw)
    if gaps.any():
        empty = np.asarray(gaps.all(axis=1))
        if empty.any():
            raise RejectedError(Reason.EMPTY_LEAD, f"No sample in {_names(empty)}.")
        raw = raw.copy()
        positions = np.arange(raw.shape[1])
        for lead, gap in zip(raw, gaps, strict=True):
            lead[gap] = np.interp(positions[gap], positions[~gap], lead[~gap])
    _refuse_flat(np.ptp(raw, axis=1) == 0)
    return raw


def _resampled(signal: NDArray[np.float64], fs_in_hz: float, fs_hz: float) -> NDArray[np.float64]:
    if fs_in_hz == fs_hz:
        return signal
    ratio = Fraction(fs_hz / fs_in_hz).limit_denominator(1024)
    return np.asarray(resample_poly(signal, ratio.numerator, ratio.denominator, axis=1, padtype="line"))


def _refuse_flat(flat: NDArray[np.bool_]) -> None:
    if flat.any():
        raise RejectedError(Reason.FLAT_LEAD, f"No signal in {_names(flat)}.")


def _names(chosen: NDArray[np.bool_]) -> str:
    return ", ".join(name for name, is_so in zip(STANDARD_12, chosen, strict=True) if is_so)


@lru_cache(maxsize=8)
def _high_pass(order: int, high_pass_hz: float, fs_hz: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return second-order sections (n_sections, 6), and their state (n_sections, 2) after a long constant one."""
    sections = np.asarray(butter(order, high_pass_hz, "highpass", output="sos", fs=fs_hz))
    return sections, np.asarray(sosfilt_zi(sections))


def _both_ways(
    sections: NDArray[np.float64], settled: NDArray[np.float64], signal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Do what scipy's ``sosfiltfilt`` does, with the filter's settled state computed once, not for each recording."""
    # scipy's own length of the extension: three times the number of coefficients of the filter as one fraction.
    reach = 3 * (2 * len(sections) + 1 - min((sections[:, 2] == 0).sum(), (sections[:, 5] == 0).sum()))
    signal = _extended(signal, reach)
    state = settled[:, None, :]
    for _ in range(2):
        signal, _ = sosfilt(sections, signal, axis=1, zi=state * signal[None, :, :1])
        signal = signal[:, ::-1]
    return signal[:, reach:-reach]


def _extended(signal: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Turn ``reach`` samples about each end point, so that a filter meets no step there."""
    before = 2 * signal[:, :1] - signal[:, reach:0:-1]
    after = 2 * signal[:, -1:] - signal[:, -2 : -reach - 2 : -1]
    return np.concatenate([before, signal, after], axis=1)


def _moving_sum(signal: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Sum ``width`` neighbours (n_leads, n - width + 1), by sums of two, four, eight."""
    n_out = signal.shape[1] - width + 1
    total, reach, power = np.zeros((len(signal), n_out)), 0, 1
    while True:
        if width & power:
            total += signal[:, reach : reach + n_out]
            reach += power
        if 2 * power > width:
            return total
        signal = signal[:, :-power] + signal[:, power:]
        power *= 2


def _conditioned(record: Record, n_samples: int, spec: PreprocessSpec) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Condition the leads of a recording (12, n_samples) as the device does, and say which are there."""
    if record.fs_hz < spec.resampler.min_input_hz:
        raise RejectedError(
            Reason.RATE,
            f"The recording has {record.fs_hz:g} samples a second; {spec.resampler.min_input_hz:g} are needed.",
        )
    pair = _pair(record, spec, n_samples)
    signal = np.zeros((len(STANDARD_12), n_samples))
    signal[: len(LIMB_LEADS)] = derive_limb_leads(pair[0], pair[1])
    present = np.zeros(len(STANDARD_12), dtype=bool)
    present[: len(LIMB_LEADS)] = True
    for name in PRECORDIAL_LEADS:
        lead = _chest(record, name, spec, n_samples)
        if lead is not None:
            row = STANDARD_12.index(name)
            signal[row], present[row] = lead, True
    return signal, present


def _scaled(signal: NDArray[np.float64]) -> NDArray[np.float32]:
    """Divide all leads by the root mean square over the limb leads."""
    scale = float(np.sqrt(np.mean(signal[: len(LIMB_LEADS)] ** 2)))
    return (signal / scale).astype(np.float32)


def _pair(record: Record, spec: PreprocessSpec, n_samples: int) -> NDArray[np.float64]:
    limb = record.limb()
    for name, lead in limb.items():
        if not np.isfinite(lead).any():
            raise RejectedError(Reason.EMPTY_LEAD, f"Lead {name} holds no sample.")
    if solve_i_ii(limb) is None:
        have = ", ".join(limb) or "none"
        raise RejectedError(Reason.LEADS, f"Two limb leads are needed; the recording has {have}.")
    try:
        conditioned = preprocess.condition(record, spec)
    except UnusableRecordingError as error:
        too_short = record.duration_s < spec.required_s
        raise RejectedError(Reason.SHORT if too_short else Reason.GAP, error.message) from error
    pair = conditioned.pair[:, :n_samples]
    if pair.shape[1] < n_samples:
        raise RejectedError(
            Reason.SHORT, f"{record.duration_s:.2f} s give {pair.shape[1]} samples; {n_samples} are needed."
        )
    if conditioned.excluded[:n_samples].any():
        raise RejectedError(Reason.GAP, "The limb leads have a gap too long to bridge.")
    if np.sqrt(np.mean(pair**2)) <= FLAT * max(np.nanmax(np.abs(lead)) for lead in limb.values()):
        raise RejectedError(Reason.FLAT_LEAD, "The limb leads are constant.")
    return pair


def _chest(record: Record, name: str, spec: PreprocessSpec, n_samples: int) -> NDArray[np.float64] | None:
    """Condition one chest lead (n_samples,), or None where it is as good as absent."""
    if name not in record.leads:
        return None
    row = record.leads.index(name)
    raw, gaps = record.signal_mv[row : row + 1].astype(np.float64), record.gaps[row]
    if gaps.all():
        return None
    filtered, excluded, _ = preprocess.band_limit(raw, gaps, record.fs_hz, spec)
    lead = filtered[0, :n_samples]
    if excluded[:n_samples].any() or np.sqrt(np.mean(lead**2)) <= FLAT * np.nanmax(np.abs(raw)):
        return None
    return lead


def _digest(described: Mapping[str, Any]) -> str:
    return sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
