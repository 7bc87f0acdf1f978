"""Cleaning and reading of a recording by this package and by others, and how far their results agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import formats, preprocess
from lsemvae_edge.benchmarks.target.session import Json
from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.leads import LIMB_LEADS, derive_limb_leads
from lsemvae_edge.record import Record
from lsemvae_edge.spec import PreprocessSpec, ResamplerSpec
from lsemvae_edge.synthetic.heart import drawn, simulate

Array = NDArray[np.float64]
Run = Callable[[], Any]

HEARTS = 20
REAL = 50
BAND_HZ = (1.0, 8.0)
"""Where neurokit2's moving average over a mains period and our flat band let the same through."""
LONGEST_DELAY = 15
EDGE = 20
"""Samples at each end that the band's own filter spoils."""


def clean_by_us(recording: str, much: Literal["all", "filters", "each lead"]) -> Run:
    """Return our cleaning of a recording.

    Parameters
    ----------
    recording : str
    much : {"all", "filters", "each lead"}
        All of preprocessing, up to the model's input; resampling and band alone, of leads I and II, from which the
        others follow; or these of each of six leads by itself.
    """
    record, spec = formats.read(Path(recording)), preprocess.default_spec()
    if much == "all":
        return lambda: preprocess.apply(record, spec)
    if much == "filters":
        return lambda: _six_conditioned(record, spec)
    signal, gaps = _six(record), np.asarray(record.gaps.any(axis=0))
    return lambda: preprocess.band_limit(signal, gaps, record.fs_hz, spec)


def clean_by_neurokit2(recording: str) -> Run:
    """Return neurokit2's default cleaning of six leads, one after the other, as it is made for one."""
    from neurokit2 import ecg_clean

    record = formats.read(Path(recording))
    signal, fs_hz = _six(record), int(record.fs_hz)
    return lambda: [ecg_clean(lead, sampling_rate=fs_hz) for lead in signal]


def clean_by_scipy(recording: str) -> Run:
    """Return our filters of six leads by scipy's functions, all leads at once."""
    record, spec = formats.read(Path(recording)), preprocess.default_spec()
    signal, cleaner = _six(record), ByScipy(record.fs_hz, spec)
    return lambda: cleaner.clean(signal)


def read_by_us(recording: str) -> Run:
    """Return our reading of a file."""
    path = Path(recording)
    return lambda: formats.read(path)


def read_by_wfdb(recording: str) -> Run:
    """Return wfdb's reading of a record, in physical units, without the ending of its header."""
    from wfdb import rdrecord

    return lambda: rdrecord(recording)


@dataclass(frozen=True, eq=False)
class _Filter:
    taps: Array
    skip: int
    up: int
    down: int


class ByScipy:
    """Our resampler and band by scipy's filters, their coefficients from the formula in `ResamplerSpec` alone."""

    def __init__(self, fs_hz: float, spec: PreprocessSpec) -> None:
        self._filter = _polyphase(fs_hz, spec.resampler)
        self._band = np.asarray(spec.band.taps)
        self._reach = int(np.ceil(spec.resampler.half_width_s * fs_hz))

    def clean(self, signal: Array) -> Array:
        """Clean leads (n_leads, n_samples); only what neither filter had to invent samples for is returned."""
        from scipy.signal import lfilter, upfirdn

        one = self._filter
        first = -(-(self._reach - 1) * one.up // one.down)
        last = ((signal.shape[1] - 1 - self._reach) * one.up + one.up - 1) // one.down
        resampled = upfirdn(one.taps, signal, one.up, one.down, axis=1)[:, one.skip + first : one.skip + last + 1]
        return np.asarray(lfilter(self._band, [1.0], resampled, axis=1)[:, self._band.size - 1 :])


def agreement(real: bool) -> list[dict[str, Json]]:
    """Compare what comes out, on simulated hearts and, if ``real``, on recordings of fold 9.

    Returns
    -------
    list of dict
        A row for each library and kind of recording: with scipy the worst difference in mV, with neurokit2 the lowest
        and the middle correlation of the two outputs in `BAND_HZ`, its delay removed.
    """
    sets = {f"{HEARTS} simulated hearts, six leads": _hearts()}
    if real:
        sets[f"{REAL} recordings of fold 9, leads I and II"] = _recordings()
    rows: list[dict[str, Json]] = []
    for name, records in sets.items():
        rows += [_with_scipy(name, records), _with_neurokit2(name, records)]
    return [row for row in rows if row]


def _with_scipy(name: str, records: Sequence[Record]) -> dict[str, Json]:
    spec = preprocess.default_spec()
    worst = 0.0
    for record in records:
        mine = _conditioned(record, spec)
        theirs = ByScipy(record.fs_hz, spec).clean(_six(record) if len(mine) > 2 else record.signal_mv.astype(float))
        worst = max(worst, float(np.abs(mine - theirs).max()))
    return {"with": "scipy, our coefficients", "on": name, "worst_difference": worst, "stated": "at most 1e-5"}


def _with_neurokit2(name: str, records: Sequence[Record]) -> dict[str, Json]:
    from neurokit2 import ecg_clean
    from scipy.signal import butter, sosfiltfilt

    spec = preprocess.default_spec()
    band = butter(3, BAND_HZ, "bandpass", fs=spec.fs_hz, output="sos")
    found, delays = [], []
    for record in records:
        conditioned = preprocess.condition(record, spec)
        step = record.fs_hz / spec.fs_hz
        at = np.rint((conditioned.first + np.arange(conditioned.pair.shape[1])) * step).astype(int)
        mine = _conditioned(record, spec)
        raw = _six(record) if len(mine) > 2 else record.signal_mv.astype(float)
        for lead, own in zip(raw, mine, strict=True):
            theirs = sosfiltfilt(band, ecg_clean(lead, sampling_rate=int(record.fs_hz))[at])
            best = max((_alike(sosfiltfilt(band, own), theirs, delay), delay) for delay in _delays())
            found.append(best[0])
            delays.append(abs(best[1]))
    return {
        "with": "neurokit2",
        "on": name,
        "leads": len(found),
        "lowest_correlation": float(np.min(found)),
        "middle_correlation": float(np.median(found)),
        "longest_delay_ms": 1e3 * max(delays) / spec.fs_hz,
        "band_hz": "1 to 8",
        "stated": "above 0.99",
    }


def _delays() -> range:
    return range(-LONGEST_DELAY, LONGEST_DELAY + 1)


def _alike(mine: Array, theirs: Array, delay: int) -> float:
    return float(np.corrcoef(mine[EDGE:-EDGE], theirs[EDGE + delay : theirs.size - EDGE + delay])[0, 1])


def _conditioned(record: Record, spec: PreprocessSpec) -> Array:
    """Return what we make of a recording's leads: of six if it has them, else of I and II."""
    if all(name in record.leads for name in LIMB_LEADS):
        return _six_conditioned(record, spec)
    return preprocess.condition(record, spec).pair


def _six_conditioned(record: Record, spec: PreprocessSpec) -> Array:
    return derive_limb_leads(*preprocess.condition(record, spec).pair)


def _six(record: Record) -> Array:
    return np.stack([record.signal_mv[record.leads.index(name)] for name in LIMB_LEADS]).astype(np.float64)


def _hearts() -> list[Record]:
    return [simulate(drawn(np.random.default_rng(seed)), 10.0, 500.0, seed, LIMB_LEADS) for seed in range(HEARTS)]


def _recordings() -> list[Record]:
    """Read recordings of fold 9 without gaps, cut to leads I and II."""
    from lsemvae_edge.benchmarks.target import cohorts

    found = []
    for one in cohorts.of_project(final=False).recordings:
        try:
            record = one.load()
        except LsemvaeError:
            continue
        if record.leads == ("I", "II") and not record.gaps.any():
            found.append(record)
        if len(found) == REAL:
            break
    return found


def _polyphase(fs_hz: float, spec: ResamplerSpec) -> _Filter:
    from scipy.special import i0

    ratio = Fraction(spec.fs_hz / fs_hz).limit_denominator(1024)
    up, down = ratio.numerator, ratio.denominator
    reach = int(np.ceil(spec.half_width_s * fs_hz))
    offset_s = (reach * up - np.arange(2 * reach * up)) / (up * fs_hz)
    inside = np.abs(offset_s) < spec.half_width_s
    window = i0(spec.kaiser_beta * np.sqrt(np.where(inside, 1 - (offset_s / spec.half_width_s) ** 2, 0)))
    taps = np.sinc(min(fs_hz, spec.fs_hz) * offset_s) * window * inside
    for phase in range(up):
        taps[phase::up] /= taps[phase::up].sum()
    # Zeros before the taps make their centre fall on an output sample.
    centre = taps.size // 2
    padded = np.concatenate([np.zeros(-centre % down), taps])
    return _Filter(padded, (centre + -centre % down) // down, up, down)
