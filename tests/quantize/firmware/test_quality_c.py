"""The C quality check against Python's: every measure, every flag, and never a yes where Python says no to noise."""

import ctypes
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.beats import find_beats, frontal_vector
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.preprocess import condition
from lsemvae_edge.quality import Quality, assess
from lsemvae_edge.quality.contact import LeadMeasures, measure_leads
from lsemvae_edge.quality.shape import Shape, measure
from lsemvae_edge.quantize.firmware import image
from lsemvae_edge.quantize.firmware.host import SHAPE, Library, Recorder
from lsemvae_edge.record import Record
from lsemvae_edge.statistics import median, quantile
from lsemvae_edge.synthetic.electrodes import add_noise
from lsemvae_edge.synthetic.faults import SPOILED
from lsemvae_edge.synthetic.heart import Heart, random_heart, simulate
from lsemvae_edge.synthetic.not_ecg import NOT_ECG
from lsemvae_edge.train import datasets

MODEL = bundles.default().spec
SPEC, LIMITS = MODEL.preprocess, MODEL.quality
DATA = os.environ.get("LSEMVAE_EDGE_DATA")
PV_PER_LSB = 100_000
UNUSABLE = 1
UNKNOWN = -(2**31)
SATURATED = 2**31 - 1
FLAGS = ("wrong_scale", "identical_leads", "not_an_ecg", "rate_implausible", "few_alike_beats", "rhythm_unreliable")
LEAD_FLAGS = (
    "flat", "saturated", "lead_off", "motion", "muscle_noise", "wander", "mains", "wander_present", "mains_present",
)  # fmt: skip
ADVICE = (
    "none", "wrong_scale", "identical_leads", "flat", "saturated", "mains", "motion", "wander", "muscle_noise",
    "lead_off", "rate", "not_an_ecg", "few_alike_beats",
)  # fmt: skip


@dataclass(frozen=True)
class Both:
    """What Python and C say of the same window."""

    quality: Quality
    shape: Shape
    result: Any
    pair_mv: np.ndarray
    pair_c: np.ndarray

    @property
    def usable(self) -> bool:
        return self.result.state != UNUSABLE

    @property
    def flags(self) -> set[str]:
        return {name for bit, name in enumerate(FLAGS) if self.result.flags >> bit & 1}

    def lead_flags(self, lead: str) -> set[str]:
        told = self.result.lead_flags[LIMB_LEADS.index(lead)]
        return {name for bit, name in enumerate(LEAD_FLAGS) if told >> bit & 1}

    @property
    def advice(self) -> str:
        return ADVICE[self.result.advice]


def ask(library: Library, record: Record, pv_per_lsb: int = PV_PER_LSB, blob: bytes | None = None) -> Both:
    """Give the first seconds of a recording to Python, and the window that it judges to C."""
    limb = record.limb()
    n = int(np.ceil(SPEC.required_s * record.fs_hz))
    steps = np.rint(np.stack([limb["I"], limb["II"]])[:, :n].astype(np.float64) / (pv_per_lsb * 1e-9))
    seen = Record((steps * pv_per_lsb * 1e-9).astype(np.float32), record.fs_hz, ("I", "II"), amplitude=record.amplitude)
    conditioned = condition(seen, SPEC)
    quality = assess(seen, conditioned, SPEC, LIMITS)
    assert quality.start is not None
    pair = conditioned.pair[:, quality.start : quality.start + SPEC.window_samples]
    recorder = Recorder(library, int(seen.fs_hz), pv_per_lsb, uncalibrated=seen.amplitude != "calibrated", blob=blob)
    samples, at = steps.astype(np.int32), n - round(0.1 * seen.fs_hz)
    recorder.push(samples[0, :at], samples[1, :at])
    while not recorder.ready or recorder.run().first_sample < conditioned.first + quality.start:
        recorder.push(samples[0, at : at + 1], samples[1, at : at + 1])
        at += 1
    result = recorder.run()
    assert result.first_sample == conditioned.first + quality.start
    return Both(quality, shape_of(pair), result, pair, recorder.window())


def shape_of(pair: np.ndarray) -> Shape:
    vector = frontal_vector(pair)
    with np.errstate(invalid="ignore", divide="ignore"):
        return measure(vector, find_beats(vector, SPEC.fs_hz), SPEC.fs_hz, LIMITS.min_beat_correlation)


def value_of(result: Any, name: str) -> float:
    value = getattr(result.shape, name)
    if name == "n_beats":
        return float(value)
    return float("nan") if value == UNKNOWN else value / 65536


def differences(rows: list[Both], name: str) -> np.ndarray:
    """Relative differences of a measure; 0 where they are small or both are beyond what C can tell."""
    found = []
    for row in rows:
        python, c = np.maximum(0.0, getattr(row.shape, name)), value_of(row.result, name)
        alike = np.isnan(python) and np.isnan(c)
        if alike or abs(python - c) <= 2e-3 or min(python, c) > 32767:
            found.append(0.0)
        else:
            found.append(abs(python - c) / max(abs(python), 1e-9))
    return np.nan_to_num(np.array(found), nan=np.inf)


def hearts(n: int, fs_hz: float = 500.0) -> list[Record]:
    rng = np.random.default_rng(9)
    return [simulate(random_heart(rng), 10.0, fs_hz, seed, ("I", "II")) for seed in range(n)]


def of_noise(kind: str, seed: int, fs_hz: float = 250.0) -> Record:
    signal = NOT_ECG[kind](np.random.default_rng([seed, *kind.encode()]), int(10 * fs_hz), fs_hz)
    return Record(signal.astype(np.float32), fs_hz, ("I", "II"), amplitude="calibrated")


@pytest.fixture(scope="module")
def library(firmware) -> Library:
    return firmware.library("small")


@pytest.fixture(scope="module")
def normal(library) -> list[Both]:
    return [ask(library, add_noise(record, "white", 25, seed)) for seed, record in enumerate(hearts(60))]


@pytest.fixture(scope="module")
def on_c_samples(library, normal) -> list[Both]:
    """Python asked about the rounded samples that C sees, so that nothing but arithmetic differs."""
    noise = [ask(library, of_noise(kind, 0)) for kind in ("ppg", "pink_noise", "double_pulses", "speech", "chirp")]
    return [replace(row, shape=shape_of(row.pair_c / 2000)) for row in [*normal, *noise]]


# Measures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPE)
def test_every_measure_of_a_heart_is_pythons(normal, name) -> None:
    # Where two shifts of a beat fit equally well, rounding may choose the other one, on few windows.
    found = differences(normal, name)
    assert np.quantile(found, 0.9) <= 0.01
    assert np.median(found) <= 0.001


@pytest.mark.parametrize("name", SHAPE)
def test_on_the_samples_that_c_sees_every_measure_is_pythons(on_c_samples, name) -> None:
    assert differences(on_c_samples, name).max() <= 0.01


def test_the_size_of_a_qrs_is_pythons(library, normal) -> None:
    library.c.lsemvae_qrs_size.restype = ctypes.c_uint32
    for row in normal[:20]:
        length = np.hypot(*frontal_vector(row.pair_c.astype(np.float64)))
        found, beats = find_beats(frontal_vector(row.pair_c / 2000), SPEC.fs_hz), np.zeros(1024, dtype=np.int64)
        sizes = [quantile(length, 0.99), median([length[at - 12 : at + 13].max() for at in found.at])]
        for size in sizes:
            assert library.c.lsemvae_qrs_size(at(row.pair_c), at(beats)) == pytest.approx(16 * size, rel=1e-3)
            leads = row.pair_c
            library.c.lsemvae_find_beats(at(leads[0]), at(leads[1]), ctypes.c_void_p(library.image), at(beats))


def test_the_window_is_pythons(normal) -> None:
    assert max(np.abs(row.pair_c / 2000 - row.pair_mv).max() for row in normal) < 0.00026


def test_hearts_are_usable_and_their_rate_is_pythons(normal) -> None:
    for row in normal:
        assert row.usable == row.quality.usable
        assert row.quality.heart_rate_bpm is not None
        assert row.result.heart_rate_tenths == pytest.approx(10 * row.quality.heart_rate_bpm, abs=0.51)
    assert np.mean([row.usable for row in normal]) > 0.8


def test_what_cannot_be_measured_is_unknown_and_passes_no_check(library, firmware) -> None:
    unbounded = with_limits(firmware, **dict.fromkeys(SHAPE[1:], (UNKNOWN, SATURATED)), n_beats_low=0, n_beats_high=40)
    silence = Record(np.zeros((2, 5000), np.float32), 500.0, ("I", "II"), amplitude="calibrated")
    assert "not_an_ecg" in ask(library, silence, blob=unbounded).flags
    row = ask(library, silence)
    unknown = {"qrs_s", "residual", "after", "after_snr", "coherence", "roundness", "asymmetry"}
    assert {name for name in SHAPE if getattr(row.result.shape, name) == UNKNOWN} == unknown
    assert not row.usable
    assert "not_an_ecg" in row.flags
    assert row.result.heart_rate_tenths == 0


def test_beats_that_repeat_to_the_bit_are_no_heart(library) -> None:
    beat = simulate(random_heart(np.random.default_rng(0)), 10.0, 500.0, 0, ("I", "II")).signal_mv[:, 1000:1400]
    record = Record(np.tile(beat - beat[:, :1], 13), 500.0, ("I", "II"), amplitude="calibrated")
    row = ask(library, record)
    assert row.result.shape.after_snr == SATURATED
    assert not row.usable
    assert not row.quality.usable


# Verdicts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fs_hz", [125.0, 300.0])
def test_what_is_no_ecg_is_never_usable_in_c_alone(library, fs_hz) -> None:
    rows = [(kind, ask(library, of_noise(kind, seed, fs_hz))) for kind in NOT_ECG for seed in range(3)]
    assert [kind for kind, row in rows if row.usable and not row.quality.usable] == []
    assert np.mean([row.usable == row.quality.usable for _, row in rows]) >= 0.99


def test_noise_on_a_heart_is_judged_alike(library) -> None:
    rows = [
        ask(library, add_noise(record, kind, snr_db, seed))
        for seed, record in enumerate(hearts(12))
        for kind in ("white", "muscle", "mains50", "wander", "motion")
        for snr_db in (-12, -3, 6, 15)
    ]
    assert 0.2 < np.mean([row.quality.usable for row in rows]) < 0.95
    assert np.mean([row.usable == row.quality.usable for row in rows]) >= 0.985
    # Not of the mains: Python also looks for those of 60 Hz.
    told = [
        {*row.quality.leads[lead].flags} & {*LEAD_FLAGS[:6]} == row.lead_flags(lead) & {*LEAD_FLAGS[:6]}
        for row in rows
        for lead in LIMB_LEADS
    ]
    assert np.mean(told) >= 0.99


@pytest.mark.parametrize("name", ["thousandth", "one_lead_repeated", "lead_of_noise", "two_times"])
def test_spoiled_hearts_are_judged_alike(library, name) -> None:
    rows = [ask(library, SPOILED[name](np.random.default_rng(n), record)) for n, record in enumerate(hearts(12))]
    assert [row.usable for row in rows] == [row.quality.usable for row in rows]


def test_full_scale_nonsense_is_refused_without_undefined_behaviour(firmware) -> None:
    flags = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    trapping = firmware.library("small", *flags)
    rng, t = np.random.default_rng(5), np.arange(SPEC.window_samples)
    ends = np.array([-32768, 32767], dtype=np.int16)
    windows = [
        rng.integers(-32768, 32768, (2, t.size)),
        ends[rng.integers(0, 2, (2, t.size))],
        np.stack([ends[t // 13 % 2], ends[1 - t // 13 % 2]]),
        np.stack([ends[t // 40 % 2], ends[1 - t // 40 % 2]]),
        np.where(t % 60 < 10, np.array([[32767], [-32768]]), rng.integers(-200, 200, (2, t.size))),
        np.tile(ends[:, None], t.size),
        rng.integers(-1, 2, (2, t.size)),
        np.where(t == 500, 32767, np.zeros((2, t.size))),
    ]
    for pair in windows:
        for uncalibrated in (0, 1):
            result = judged(trapping, np.asarray(pair, dtype=np.int16), rng, uncalibrated)
            assert result.state == UNUSABLE
            assert result.advice != 0


# Flags ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clean() -> Record:
    return add_noise(hearts(1)[0], "white", 30, 1)


def spoil(record: Record, *, lead: int = 0, fs_hz: float = 500.0, **how: float) -> Record:
    signal, t = record.signal_mv.astype(np.float64), np.arange(record.n_samples) / fs_hz
    if "held_s" in how:
        signal[lead, (t >= 4) & (t < 4 + how["held_s"])] = signal[lead, int(4 * fs_hz)]
    if "clip_mv" in how:
        signal[lead] = np.clip(signal[lead], -how["clip_mv"], how["clip_mv"])
    if "mains_mv" in how:
        signal[lead] += how["mains_mv"] * np.sin(2 * np.pi * 50 * t)
    if "wander_mv" in how:
        signal[lead] += how["wander_mv"] * np.sin(2 * np.pi * 0.13 * t)
    if "shift_mv" in how:
        signal[lead] += how["shift_mv"] * (t > 5)
    return replace(record, signal_mv=(how.get("gain", 1.0) * signal).astype(np.float32))


@pytest.mark.parametrize(
    ("how", "lead_flag", "advice"),
    [
        ({"held_s": 0.9}, "flat", "flat"),
        ({"clip_mv": 0.15}, "saturated", "saturated"),
        ({"mains_mv": 4.0}, "mains", "mains"),
        ({"mains_mv": 0.4}, "mains_present", "none"),
        ({"wander_mv": 6.0}, "wander", "wander"),
        ({"wander_mv": 1.5}, "wander_present", "none"),
        ({"shift_mv": 8.0}, "motion", "motion"),
    ],
)
def test_what_is_wrong_with_a_lead_is_named(library, clean, how, lead_flag, advice) -> None:
    row = ask(library, spoil(clean, **how))
    assert lead_flag in row.quality.leads["I"].flags
    assert lead_flag in row.lead_flags("I")
    assert row.usable == row.quality.usable
    if advice == "none":
        assert row.advice == "none"
    else:
        assert not row.usable
        assert row.advice == advice


def test_a_good_heart_has_no_flag(library, clean) -> None:
    row = ask(library, clean)
    assert row.usable
    assert row.advice == "none"
    assert row.flags == set()
    assert all(row.lead_flags(lead) == set() for lead in LIMB_LEADS)


def test_a_wrong_scale_is_named_if_the_scale_was_told(library, clean) -> None:
    for gain in (0.02, 30.0):
        row = ask(library, spoil(clean, gain=gain))
        assert (row.advice, row.usable, row.quality.usable) == ("wrong_scale", False, False)
    told_nothing = replace(spoil(clean, gain=0.1), amplitude="relative")
    assert ask(library, told_nothing, 10_000).usable
    lost_in_rounding = replace(spoil(clean, gain=0.002), amplitude="relative")
    assert ask(library, lost_in_rounding, 1000).advice == "wrong_scale"
    too_large = replace(spoil(clean, gain=60.0), amplitude="relative")
    assert ask(library, too_large).advice == "wrong_scale"


def test_a_lead_that_leaves_the_range_is_saturated(library, clean) -> None:
    row = ask(library, spoil(clean, shift_mv=40.0))
    assert not row.usable
    assert "saturated" in row.lead_flags("I")
    assert "saturated" not in row.lead_flags("II")


def test_copied_leads_are_named(library, clean) -> None:
    for copy in (1.0, -1.0, 0.5):
        pair = np.stack([clean.signal_mv[0], copy * clean.signal_mv[0]])
        row = ask(library, replace(clean, signal_mv=pair))
        assert "identical_leads" in row.flags
        assert row.advice == "identical_leads"
        assert not row.quality.usable


def test_a_lead_of_which_nothing_raw_is_known_is_flat(library, clean) -> None:
    pair = ask(library, clean).pair_c
    flat = LEAD_FLAGS.index("flat")
    for n_blocks, expected in ((1, 1), (2, 0), (14, 0)):
        assert [judged(library, pair, n_blocks=n_blocks).lead_flags[lead] >> flat & 1 for lead in (0, 1)] == [
            expected
        ] * 2


def test_the_bounds_are_the_images(library, firmware, clean) -> None:
    bound = (-(2**31) + 1, 0)
    for name in set(SHAPE) - {"n_beats"}:
        row = ask(library, clean, blob=with_limits(firmware, **{name: bound}))
        assert not row.usable, name
        assert "not_an_ecg" in row.flags
        assert row.advice == ("identical_leads" if name == "rank_one" else "not_an_ecg")
    assert "rate_implausible" in ask(library, clean, blob=with_limits(firmware, rate_high_tenths=400)).flags
    assert "rate_implausible" in ask(library, clean, blob=with_limits(firmware, rate_low_tenths=2000)).flags
    assert "not_an_ecg" in ask(library, clean, blob=with_limits(firmware, n_beats_low=30, n_beats_high=40)).flags
    assert ask(library, clean, blob=with_limits(firmware, max_rhythm_doubt=-1)).flags == {"rhythm_unreliable"}


def with_limits(firmware: Any, **limits: Any) -> bytes:
    """Return the image with other bounds."""
    data = firmware.firmware("small").image.copy()
    for name, value in limits.items():
        data["limits"][name] = value
    data["crc"] = crc32(data.tobytes()[data.dtype.fields["layout"][1] :])
    return image.blob(data)


@pytest.mark.parametrize(
    ("name", "limit", "flag"),
    [
        ("unexplained", "max_unexplained", "lead_off"),
        ("jump", "max_jump", "motion"),
        ("hiss", "max_hiss", "muscle_noise"),
    ],
)
def test_every_measure_of_a_filtered_lead_is_pythons(library, firmware, name, limit, flag) -> None:
    records = [
        add_noise(add_noise(hearts(1)[0], "white", 20, 1), "wander", 0, 6),
        # So fast that more than half of the window is within a beat.
        add_noise(simulate(Heart(rate_bpm=190), 10.0, 500.0, 4, ("I", "II")), "muscle", 15, 5),
    ]
    for record in records:
        row = ask(library, record)
        for lead, found in measured_leads(record, row).items():
            value = 65536 * getattr(found, name)
            at_least, at_most = (with_limits(firmware, **{limit: round(value * k)}) for k in (0.99, 1.01))
            assert has_flag(ask_c(library, record, row, at_least), lead, flag)
            assert not has_flag(ask_c(library, record, row, at_most), lead, flag)


@pytest.mark.parametrize(
    ("name", "limit", "flag", "how", "tolerance"),
    [
        # By other half seconds than Python's; the size without what the band filter takes away.
        ("mains", "max_mains", "mains", {"mains_mv": 0.3}, 0.03),
        ("wander", "max_wander", "wander", {"wander_mv": 1.0}, 0.1),
        ("held_s", "max_held_ms", "flat", {"held_s": 0.4}, 0.02),
        ("rail_s", "max_rail_ms", "saturated", {"clip_mv": 0.2}, 0.1),
        ("size", "min_lead_size", "flat", {}, 0.1),
    ],
)
def test_every_measure_of_a_raw_lead_is_pythons(library, firmware, clean, name, limit, flag, how, tolerance) -> None:
    record = spoil(clean, **how)
    row = ask(library, record)
    value = (1000 if limit.endswith("_ms") else 65536) * getattr(measured_leads(record, row)["I"], name)
    below, above = (with_limits(firmware, **{limit: round(value * (1 + sign * tolerance))}) for sign in (-1, 1))
    assert has_flag(ask_c(library, record, row, below), "I", flag) == (name != "size")
    assert has_flag(ask_c(library, record, row, above), "I", flag) == (name == "size")


def has_flag(result: Any, lead: str, flag: str) -> bool:
    return bool(result.lead_flags[LIMB_LEADS.index(lead)] >> LEAD_FLAGS.index(flag) & 1)


def measured_leads(record: Record, row: Both) -> dict[str, LeadMeasures]:
    """Measure the leads of the window as Python does, its filtered samples as C rounds them."""
    pair, fs_hz = row.pair_c / 2000, SPEC.fs_hz
    vector = frontal_vector(pair)
    beats = find_beats(vector, fs_hz)
    length = np.hypot(*vector)
    size = float(median([length[max(0, at - 12) : at + 13].max() for at in beats.at]))
    assert row.quality.window_start_s is not None
    first, n = round(row.quality.window_start_s * record.fs_hz), round(SPEC.window_s * record.fs_hz)
    raw = {name: lead[first : first + n].astype(np.float64) for name, lead in record.limb().items()}
    raw = {name: np.rint(lead * 1e4) / 1e4 for name, lead in raw.items()}
    return measure_leads(raw, record.fs_hz, pair, beats, fs_hz, size)


def ask_c(library: Library, record: Record, row: Both, blob: bytes) -> Any:
    """Ask C alone about the window that was judged before, with other bounds."""
    n = int(np.ceil(SPEC.required_s * record.fs_hz))
    samples = np.rint(record.signal_mv[:, :n].astype(np.float64) * 1e4).astype(np.int32)
    recorder = Recorder(library, int(record.fs_hz), PV_PER_LSB, blob=blob)
    for at in range(n - 50, n + 1):
        recorder.push(*(samples[:, :at] if at == n - 50 else samples[:, at - 1 : at]))
        if recorder.ready and recorder.run().first_sample == row.result.first_sample:
            return recorder.run()
    raise AssertionError


# Real recordings --------------------------------------------------------------------------------


@pytest.mark.skipif(not DATA, reason="LSEMVAE_EDGE_DATA is not set: no real recordings here")
def test_real_recordings_are_measured_and_judged_alike(library) -> None:
    folder = Path(DATA or "")
    listed = [*datasets.entries(folder)][::40] + [*datasets.other_recorders(folder)][::12]
    rates = set(np.asarray(firmware_rates(library)))
    records = [record for entry in listed if (record := entry.load()).fs_hz in rates]
    rows = [ask(library, record, 1_000_000) for record in records]
    assert len(rows) > 90
    assert np.mean([row.usable == row.quality.usable for row in rows]) >= 0.99
    for name in SHAPE:
        found = differences(rows, name)
        assert np.quantile(found, 0.97) <= 0.01, name
        assert np.median(found) <= 0.001, name


def firmware_rates(library: Library) -> list[int]:
    rates = ctypes.POINTER(ctypes.c_uint32)()
    library.c.lsemvae_rates.restype = ctypes.c_size_t
    return list(rates[: library.c.lsemvae_rates(ctypes.byref(rates))])


# The struct of a window -------------------------------------------------------------------------


def judged(
    library: Library,
    pair: np.ndarray,
    rng: np.random.Generator | None = None,
    uncalibrated: int = 0,
    n_blocks: int = 14,
) -> Any:
    """Judge a window that no recorder gave, with random raw measures or none."""
    n = SPEC.window_samples
    n_kept = n * 2 // int(SPEC.fs_hz)
    kind = np.dtype(
        [
            ("lead", "<i2", (2, n)),
            ("first_sample", "<u4"),
            ("clipped", "<u4"),
            ("blocks", np.dtype([("nv", "<i4", 4), ("samples", "<u2", 4)]), (2, n_kept)),
            ("n_blocks", "<u4"),
        ]
    )
    window = np.zeros((), dtype=kind)
    window["lead"], window["n_blocks"], window["clipped"] = pair, n_blocks, rng is not None
    if rng is not None:
        window["blocks"]["nv"] = rng.integers(-(2**31), 2**31, (2, n_kept, 4))
        window["blocks"]["nv"][..., 3] &= 2**31 - 1
        window["blocks"]["samples"] = rng.integers(0, 2**16, (2, n_kept, 4))
    beats, scratch = np.zeros(1024, dtype=np.int64), np.zeros(n, dtype=np.int64)
    config = np.array([250, 1000, 50, uncalibrated, 0, 0], dtype=np.uint32)
    result = library.result()
    c, image_at = library.c, ctypes.c_void_p(library.image)
    lead = window["lead"]
    c.lsemvae_find_beats(at(lead[0]), at(lead[1]), image_at, at(beats))
    c.lsemvae_judge(at(window), at(beats), at(config), image_at, at(scratch), ctypes.byref(result))
    return result


def at(values: np.ndarray) -> ctypes.c_void_p:
    return values.ctypes.data_as(ctypes.c_void_p)
