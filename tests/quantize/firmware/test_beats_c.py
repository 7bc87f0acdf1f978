"""The C library's beats and model input against Python's: on the same samples all is equal, whatever the window."""

import ctypes
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lsemvae_edge import bundle as bundles
from lsemvae_edge import preprocess
from lsemvae_edge.beats import Beats, align_beats, average_beat, find_beats, frontal_vector, typical_beats
from lsemvae_edge.golden import FS_HZ as GOLDEN_FS_HZ
from lsemvae_edge.leads import derive_limb_leads
from lsemvae_edge.quantize.firmware.host import MAX_BEATS, Library
from lsemvae_edge.quantize.firmware.vectors import HALF_MICROVOLTS_PER_MV, half_microvolts
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.electrodes import add_noise
from lsemvae_edge.synthetic.faults import SWAPS
from lsemvae_edge.synthetic.heart import random_heart, simulate
from lsemvae_edge.synthetic.not_ecg import NOT_ECG
from lsemvae_edge.train import datasets

MODEL = bundles.default().spec
SPEC, LIMITS = MODEL.preprocess, MODEL.quality
FS_HZ, N = SPEC.fs_hz, SPEC.window_samples


def as_kept(correlation: float) -> float:
    """Return a bound as the image keeps it, with 16 fractional bits."""
    return round(65536 * correlation) / 65536


BEAT = replace(SPEC.beat, min_correlation=as_kept(SPEC.beat.min_correlation))
STEPS = 256
"""Of the model's input in one root mean square."""
ENVELOPE_UNIT = np.sqrt(11 * 3 / 2) * HALF_MICROVOLTS_PER_MV * 4096
"""Of C's envelope in one of Python's, which is a mean of 11 samples, has the factor 2/3 and no fractional bits."""
RELATIVE_MV = 0.7
"""What the 99th percentile of a recording of unknown scale becomes, so that its QRS is about a millivolt."""
DATA = os.environ.get("LSEMVAE_EDGE_DATA")
WINDOW_BYTES = 8192
"""More than ``lsemvae_window`` has; its leads come first."""


@dataclass(frozen=True, eq=False)
class Found:
    """Beats of one window and what is made of them.

    Parameters
    ----------
    alike, averaged : array (n_beats, n_beats) of bool
        Whether two beats resemble each other enough for the quality check, and for the average.
    typical, aligned : array of int
        Places of the averaged beats before and after they are aligned; empty if there are too few.
    input : array (n_leads, n_samples) of int or None
        None without typical beats, or if their average is flat.
    """

    at: np.ndarray
    envelope: np.ndarray
    height: float
    doubt: float
    alike: np.ndarray
    averaged: np.ndarray
    typical: np.ndarray
    aligned: np.ndarray
    input: np.ndarray | None


C_BEATS = np.dtype(
    [
        ("count", np.uint32),
        ("at", np.uint16, MAX_BEATS),
        ("envelope", np.uint32, N),
        ("height", np.uint32),
        ("doubt", np.int32),
        ("alike", np.uint64, MAX_BEATS),
        ("averaged", np.uint64, MAX_BEATS),
    ],
    align=True,
)


def by_c(library: Library, window: np.ndarray) -> Found:
    c, image = library.c, ctypes.c_void_p(library.image)
    room, beats = np.zeros(WINDOW_BYTES // 2, dtype=np.int16), np.zeros((), dtype=C_BEATS)
    room[: 2 * N] = window.ravel()
    c.lsemvae_find_beats(at(room), at(room[N:]), image, at(beats))
    places = np.zeros(MAX_BEATS, dtype=np.uint16)
    count = c.lsemvae_typical_beats(at(beats), at(places))
    typical = places[:count].astype(int)
    made = np.zeros((library.leads, BEAT.n_samples), dtype=np.int16)
    full = False
    if count:
        c.lsemvae_align_beats(at(room), at(places), count)
        full = bool(c.lsemvae_average_beat(at(room), at(places), count, at(made)))
    n = int(beats["count"])
    return Found(
        beats["at"][:n].astype(int),
        beats["envelope"] / ENVELOPE_UNIT,
        float(beats["height"]) / ENVELOPE_UNIT,
        int(beats["doubt"]) / 65536,
        bits(beats["alike"][:n]),
        bits(beats["averaged"][:n]),
        typical,
        places[:count].astype(int),
        made.astype(int) if full else None,
    )


def by_python(pair_mv: np.ndarray) -> Found:
    beats = find_beats(frontal_vector(pair_mv), FS_HZ)
    typical, aligned = typical_beats(beats, FS_HZ, BEAT), align_beats(pair_mv, FS_HZ, BEAT)
    none = np.empty(0, dtype=int)
    return Found(
        beats.at,
        beats.envelope,
        beats.height,
        beats.doubt,
        beats.similarity >= as_kept(LIMITS.min_beat_correlation),
        beats.similarity >= BEAT.min_correlation,
        none if typical is None else typical,
        none if aligned is None else aligned,
        None if aligned is None else input_of(pair_mv, aligned),
    )


def input_of(pair_mv: np.ndarray, places: np.ndarray) -> np.ndarray | None:
    """Model input in steps, in double precision up to the rounding."""
    beat = average_beat(pair_mv, places, BEAT)
    six = derive_limb_leads(beat[0], beat[1])
    scale = np.sqrt(np.mean(six**2))
    return np.rint(STEPS * np.clip(six / scale, -SPEC.clip, SPEC.clip)).astype(int) if scale > 0 else None


def check_equal(c: Found, python: Found) -> None:
    """Everything is the same, but that a value of the input within rounding of a half may go either way."""
    np.testing.assert_array_equal(c.at, python.at)
    np.testing.assert_allclose(c.envelope, python.envelope, rtol=1e-6, atol=1e-6)
    assert c.height == pytest.approx(python.height, rel=1e-6, abs=1e-6)
    assert c.doubt == pytest.approx(python.doubt, rel=1e-6, abs=2 / 65536)
    np.testing.assert_array_equal(c.alike, python.alike)
    np.testing.assert_array_equal(c.averaged, python.averaged)
    np.testing.assert_array_equal(c.typical, python.typical)
    np.testing.assert_array_equal(c.aligned, python.aligned)
    assert (c.input is None) == (python.input is None)
    if c.input is not None and python.input is not None:
        assert np.abs(c.input - python.input).max() <= 1
        assert np.mean(c.input != python.input) < 0.01


def level(found: Found) -> bool:
    """Whether peaks are as high as each other or as their neighbours: C takes the first, and Python any by rounding."""
    envelope = found.envelope
    top = np.flatnonzero((envelope[1:-1] >= envelope[:-2]) & (envelope[1:-1] >= envelope[2:])) + 1
    top = top[envelope[top] > 0.04 * found.height]
    beside = (envelope[top] == envelope[top - 1]) | (envelope[top] == envelope[top + 1])
    return bool(beside.any()) or np.unique(envelope[top]).size < top.size


def check_window(library: Library, window: np.ndarray) -> None:
    c = by_c(library, window)
    assume(not level(c))
    check_equal(c, by_python(in_mv(window)))


def in_mv(window: np.ndarray) -> np.ndarray:
    return window / HALF_MICROVOLTS_PER_MV


def windowed(record: Record, start: int = 0) -> np.ndarray:
    """Leads I and II of one window as Python's preprocessing gives them, in millivolts."""
    return preprocess.condition(record, SPEC).pair[:, start : start + N]


def heart(seed: int, snr_db: float = 25.0, noise: str = "white") -> np.ndarray:
    record = simulate(random_heart(np.random.default_rng(seed)), 10.0, 250.0, seed, ("I", "II"))
    return windowed(add_noise(record, noise, snr_db, seed))


Bump = tuple[int, float, float, float]
"""Samples since the one before, height in tenths of a millivolt, width in samples, axis in radians."""


def bumps(told: list[Bump], seed: int, noise: float = 0.02) -> np.ndarray:
    """Return a window with bumps one behind the other, on noise of some millivolts."""
    pair, t, place = np.random.default_rng(seed).normal(0, noise, (2, N)), np.arange(N), 0
    for gap, height, width, angle in told:
        place += gap
        pair += (height / 10 * np.exp(-0.5 * ((t - place) / width) ** 2)) * [[np.cos(angle)], [np.sin(angle)]]
    return half_microvolts(pair)


def any_bumps(rng: np.random.Generator) -> list[Bump]:
    """Of any kind, also at the edges and on each other."""
    return [
        (int(rng.integers(8, 221)), rng.integers(-40, 41), rng.choice([1.5, 2.5, 6.0]), rng.uniform(0, 3))
        for _ in range(rng.integers(1, 41))
    ]


def rhythm(rng: np.random.Generator) -> list[Bump]:
    """Beats of which some are low, and some are followed by a wave."""
    base, told = rng.integers(60, 160), []
    for _ in range(14):
        told.append((int(base + rng.integers(-6, 7)), rng.integers(4, 40) if rng.random() < 0.3 else 40, 2.5, 0.5))
        if rng.random() < 0.3:
            told.append((int(rng.integers(26, 58)), rng.integers(8, 40), 3.8, 0.9))
    return told


def pause(rng: np.random.Generator) -> list[Bump]:
    """Beats with a long pause in which there is a low one."""
    low = int(rng.integers(20, 281))
    gaps = [60, *rng.integers(80, 100, 2).tolist(), low, 300 - low, 90]
    return [(gap, 40 if k != 3 else rng.integers(12, 24), 2.5, 0.5) for k, gap in enumerate(gaps)]


TRAINS = {"any": any_bumps, "rhythm": rhythm, "pause": pause}


@pytest.fixture(scope="module")
def library(firmware) -> Library:
    """The library that stops at undefined behaviour."""
    return firmware.library("small", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")


def test_the_struct_is_the_headers(firmware, numbers_of_c) -> None:
    folder = firmware.folder("small")
    expressions = [f"offsetof(lsemvae_beats, {name})" for name in C_BEATS.names]
    found = numbers_of_c(folder, "sizeof(lsemvae_beats)", *expressions, "sizeof(lsemvae_window) <= 8192")
    assert found == [C_BEATS.itemsize, *(C_BEATS.fields[name][1] for name in C_BEATS.names), 1]


# Golden vectors and real recordings -------------------------------------------------------------


def test_golden_vectors_have_the_same_beats_and_input(library, firmware) -> None:
    made = firmware.firmware("small")
    assert len(made.known_uv) > 0
    for raw_uv in made.known_uv:
        pair = windowed(Record(raw_uv.astype(np.float32) / np.float32(1000), GOLDEN_FS_HZ, ("I", "II")))
        c, python = by_c(library, half_microvolts(pair)), by_python(pair)
        np.testing.assert_array_equal(c.at, python.at)
        np.testing.assert_array_equal(c.aligned, python.aligned)
        conditioned = preprocess.Conditioned(pair, np.zeros(N, dtype=bool), 0, FS_HZ)
        quantized = made.model.quantized(preprocess.cut(conditioned, SPEC).signal)
        assert np.abs(c.input - quantized).max() <= 1


@dataclass(frozen=True, eq=False)
class Real:
    """Windows of real recordings in millivolts, and what C and Python make of them."""

    pairs: list[np.ndarray]
    by_c: list[Found]
    by_python: list[Found]


@pytest.fixture(scope="module")
def real(library) -> Real:
    if not DATA:
        pytest.skip("LSEMVAE_EDGE_DATA is not set: no real recordings here")
    folder = Path(DATA)
    pairs = []
    for entry in [*datasets.entries(folder)][::16] + [*datasets.other_recorders(folder)][::2]:
        record = entry.load()
        if record.duration_s < SPEC.required_s:
            continue
        pair = windowed(record)
        pairs.append(pair if record.amplitude == "calibrated" else pair * RELATIVE_MV / np.quantile(np.abs(pair), 0.99))
    return Real(pairs, [by_c(library, half_microvolts(pair)) for pair in pairs], [by_python(pair) for pair in pairs])


def test_on_the_samples_that_c_sees_real_recordings_are_equal(real) -> None:
    assert len(real.pairs) > 300
    assert np.mean([found.input is not None for found in real.by_c]) > 0.9
    for pair, found in zip(real.pairs, real.by_c, strict=True):
        check_equal(found, by_python(in_mv(half_microvolts(pair))))


def test_rounding_to_half_microvolts_seldom_moves_a_beat_of_a_real_recording(real) -> None:
    # Where the envelope is level at its top, a quarter of a microvolt decides which sample is the highest.
    both = list(zip(real.by_c, real.by_python, strict=True))
    assert np.mean([np.array_equal(c.at, python.at) for c, python in both]) >= 0.965
    alike = [(c, python) for c, python in both if np.array_equal(c.aligned, python.aligned)]
    assert len(alike) >= 0.985 * len(both)
    apart = [np.abs(c.input - python.input).max() for c, python in alike if c.input is not None]
    assert max(apart) <= 2
    assert np.mean(np.array(apart) <= 1) >= 0.985


# Made windows -----------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.sampled_from(["white", "muscle", "mains50", "wander", "motion"]), st.integers(-9, 30))
@settings(max_examples=60, deadline=None)
def test_simulated_hearts_are_equal_however_noisy(library, seed, noise, snr_db) -> None:
    window = half_microvolts(heart(seed, snr_db, noise))
    check_window(library, window)


@pytest.mark.parametrize("kind", NOT_ECG)
def test_what_is_no_ecg_is_equal_too(library, kind) -> None:
    checked = 0
    for seed in range(6):
        rng = np.random.default_rng([seed, *kind.encode()])
        signal = NOT_ECG[kind](rng, 2500, 250.0) + rng.normal(0, 0.1, (2, 2500))
        window = half_microvolts(windowed(Record(signal.astype(np.float32), 250.0, ("I", "II"))))
        c = by_c(library, window)
        if not level(c):
            check_equal(c, by_python(in_mv(window)))
            checked += 1
    assert checked >= 3


@given(st.sampled_from(sorted(TRAINS)), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_bumps_of_any_height_and_distance_are_equal(library, kind, seed) -> None:
    check_window(library, bumps(TRAINS[kind](np.random.default_rng(seed)), seed))


def test_of_level_peaks_the_first_is_taken(library) -> None:
    ramps = np.zeros((2, N), dtype=np.int16)
    for k in range(6):
        place = 100 + 120 * k
        ramps[:, place : place + 20] = 64 * np.arange(20)
        ramps[:, place + 20 : place + 100] = 16 * np.arange(80)[::-1]
    c = by_c(library, ramps)
    assert c.at.size == 6
    assert (c.envelope[c.at] == c.envelope[c.at + 1]).all()
    assert (c.envelope[c.at] > c.envelope[c.at - 1]).all()


def test_as_many_beats_as_fit_are_kept_apart(library) -> None:
    c = by_c(library, bumps([(16, 10, 1.5, 0.5), *[(25, 10, 1.5, 0.5)] * 36], 0, noise=0.0))
    assert 35 <= c.at.size <= MAX_BEATS
    assert np.diff(c.at).min() >= 25
    assert c.alike.all()


def test_silence_and_a_single_step_have_no_input(library) -> None:
    flat = np.zeros((2, N), dtype=np.int16)
    step = flat.copy()
    step[:, 400:] = 1000
    for window in (flat, flat + 32767, step):
        c = by_c(library, window.astype(np.int16))
        assert c.typical.size == 0
        assert c.input is None
    silent = by_c(library, flat)
    assert (silent.at.size, silent.height, silent.doubt) == (0, 0.0, 1.0)


def test_an_average_without_shape_is_flat(library) -> None:
    room, made = np.full(WINDOW_BYTES // 2, 5, dtype=np.int16), np.zeros((6, BEAT.n_samples), dtype=np.int16)
    places = np.array([100, 200, 300], dtype=np.uint16)
    assert library.c.lsemvae_average_beat(at(room), at(places), 3, at(made)) == 0


@pytest.mark.parametrize("count", [3, MAX_BEATS])
@pytest.mark.parametrize("kind", ["noise", "rails", "opposed", "impulse", "least"])
def test_the_whole_range_of_samples_fits(library, kind, count) -> None:
    rng = np.random.default_rng(count)
    window = np.zeros((2, N), dtype=np.int16)
    if kind == "noise":
        window[:] = rng.integers(-32768, 32768, (2, N))
    elif kind == "rails":
        window[:] = rng.choice([-32768, 32767], (2, N))
    elif kind == "opposed":
        window[:] = np.where(np.arange(N) // 20 % 2, 32767, -32768) * np.array([[1], [-1]]) - [[0], [1]]
    elif kind == "impulse":
        window[:, 400] = 32767, -32768
    else:
        window[0, 400] = 1
    places = np.resize([400, 410, 390], count).astype(np.uint16)
    room, made = np.zeros(WINDOW_BYTES // 2, dtype=np.int16), np.zeros((6, BEAT.n_samples), dtype=np.int16)
    room[: 2 * N] = window.ravel()
    by_c(library, window)
    assert library.c.lsemvae_average_beat(at(room), at(places), count, at(made)) == 1
    wanted = input_of(in_mv(window), places.astype(int))
    assert np.abs(made - wanted).max() <= 1
    assert np.abs(made).max() <= SPEC.clip * STEPS
    library.c.lsemvae_align_beats(at(room), at(places), count)
    assert np.abs(places - np.resize([400, 410, 390], count)).max() <= BEAT.align_samples


# What must change nothing -----------------------------------------------------------------------


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("seed", range(5))
def test_swapped_electrodes_move_no_beat_at_all(library, swap, seed) -> None:
    window = half_microvolts(heart(seed)).astype(int)
    swapped = SWAPS[swap] @ window
    assert np.abs(swapped).max() < 32767
    plain, other = by_c(library, window), by_c(library, swapped)
    assert plain.typical.size >= BEAT.min_beats
    np.testing.assert_array_equal(other.envelope, plain.envelope)
    np.testing.assert_array_equal(other.averaged, plain.averaged)
    np.testing.assert_array_equal(other.aligned, plain.aligned)
    assert other.doubt == plain.doubt


@pytest.mark.parametrize("seed", range(5))
def test_a_common_gain_changes_no_step_of_the_input(library, seed) -> None:
    window = half_microvolts(heart(seed)).astype(int)
    plain = by_c(library, window)
    assert plain.input is not None
    for gain in (-1, 2, 4, 7):
        other = by_c(library, gain * window)
        np.testing.assert_array_equal(other.aligned, plain.aligned)
        assert np.abs(other.input - np.sign(gain) * plain.input).max() <= (0 if gain != 7 else 1)


@given(st.integers(0, MAX_BEATS), st.floats(0, 1), st.integers(0, 2**32 - 1))
@settings(max_examples=80)
def test_the_dominant_group_is_pythons(library, n, share, seed) -> None:
    rng = np.random.default_rng(seed)
    alike = rng.random((n, n)) < share
    alike |= alike.T
    told = np.zeros(MAX_BEATS, dtype=np.uint64)
    told[:n] = (alike * (np.uint64(1) << np.arange(n, dtype=np.uint64))).sum(axis=1, dtype=np.uint64)
    beats = Beats(np.arange(n), np.empty(0), 0.0, 0.0, alike.astype(float))
    library.c.lsemvae_dominant.restype = ctypes.c_uint64
    found = np.uint64(library.c.lsemvae_dominant(at(told), n))
    np.testing.assert_array_equal(np.flatnonzero(bits(np.array([found]), MAX_BEATS)[0]), beats.dominant(0.5))


def bits(told: np.ndarray, n: int | None = None) -> np.ndarray:
    place = np.arange(told.size if n is None else n, dtype=np.uint64)
    return (told[:, None] >> place & np.uint64(1)).astype(bool)


def at(values: np.ndarray) -> ctypes.c_void_p:
    return values.ctypes.data_as(ctypes.c_void_p)
