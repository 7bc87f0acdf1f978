"""Each fault raises its own flag, the advice names the electrode, and the clean part is found."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsemvae_edge.errors import UnusableRecordingError
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.limits import QualityLimits
from lsemvae_edge.preprocess import condition, cut, default_spec
from lsemvae_edge.quality import Quality, assess
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.electrodes import add_noise, contact_loss, lead_off
from lsemvae_edge.synthetic.faults import SWAPS
from lsemvae_edge.synthetic.heart import Heart, simulate

SPEC = default_spec()
LIMITS = QualityLimits()
HEART = Heart()
RATE_TOLERANCE_BPM = 3.0


def judged(record: Record) -> Quality:
    return assess(record, condition(record, SPEC), SPEC, LIMITS)


def two_leads(seed: int = 0, duration_s: float = 10.0, heart: Heart = HEART, snr_db: float = 25.0) -> Record:
    """A simulated heart in leads I and II with noise (one without any is too smooth to be real)."""
    return add_noise(simulate(heart, duration_s, seed=seed, leads=("I", "II")), "white", snr_db, seed)


def six_leads(seed: int = 0) -> Record:
    return simulate(HEART, seed=seed, leads=LIMB_LEADS)


def with_lead(record: Record, name: str, change: np.ndarray) -> Record:
    signal = record.signal_mv.copy()
    signal[record.leads.index(name)] = change
    return replace(record, signal_mv=signal)


@pytest.mark.parametrize("snr_db", [20.0, 40.0])
def test_a_clean_heart_is_usable(snr_db: float) -> None:
    quality = judged(two_leads(snr_db=snr_db))
    assert quality.usable
    assert quality.advice is None
    assert quality.flags == ()
    assert set(quality.leads) == set(LIMB_LEADS)
    assert all(lead.usable for lead in quality.leads.values())
    assert quality.rhythm_reliable
    assert quality.heart_rate_bpm == pytest.approx(HEART.rate_bpm, abs=RATE_TOLERANCE_BPM)


def test_the_residual_is_not_available_with_two_measured_leads() -> None:
    assert judged(two_leads()).einthoven_residual is None
    assert judged(six_leads()).einthoven_residual == pytest.approx(0, abs=1e-5)


def test_fibrillation_stays_usable_with_a_rate() -> None:
    quality = judged(two_leads(heart=Heart(rate_bpm=90, atrial_fibrillation=True)))
    assert quality.usable
    assert quality.heart_rate_bpm == pytest.approx(90, rel=0.2)


@pytest.mark.parametrize("rate_bpm", [35.0, 50.0, 110.0, 160.0])
def test_slow_and_fast_hearts_are_no_quality_failure(rate_bpm: float) -> None:
    quality = judged(two_leads(heart=Heart(rate_bpm=rate_bpm)))
    assert quality.usable
    assert quality.heart_rate_bpm == pytest.approx(rate_bpm, rel=0.06)


@pytest.mark.parametrize("swap", SWAPS)
def test_a_swap_of_electrodes_is_not_a_matter_of_quality(swap: str) -> None:
    record = two_leads()
    assert judged(replace(record, signal_mv=(SWAPS[swap] @ record.signal_mv).astype(np.float32))).usable


@given(gain=st.floats(0.01, 100.0), seed=st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_the_verdict_on_relative_amplitudes_does_not_depend_on_gain(gain: float, seed: int) -> None:
    record = replace(two_leads(seed), amplitude="relative")
    scaled = replace(record, signal_mv=record.signal_mv * np.float32(gain))
    first, second = judged(record), judged(scaled)
    assert (first.usable, first.flags, first.start) == (second.usable, second.flags, second.start)


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_a_wrong_unit_is_seen_when_the_scale_is_calibrated(factor: float) -> None:
    record = two_leads()
    wrong = replace(record, signal_mv=record.signal_mv * np.float32(factor))
    quality = judged(wrong)
    assert not quality.usable
    assert "wrong_scale" in quality.flags
    assert "scale" in (quality.advice or "")
    assert "wrong_scale" not in judged(replace(wrong, amplitude="uncalibrated")).flags


@pytest.mark.parametrize(("electrode", "words"), [("RA", "Right hand"), ("LA", "Left hand"), ("LL", "Left leg")])
def test_a_loose_electrode_is_named(electrode: str, words: str) -> None:
    quality = judged(lead_off(two_leads(), electrode, seed=3))
    assert not quality.usable
    assert (quality.advice or "").startswith(words)


@pytest.mark.parametrize(("lead", "words"), [("I", "Left hand"), ("II", "Left leg")])
def test_noise_on_one_lead_points_to_its_electrode(lead: str, words: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, 5000)
    quality = judged(with_lead(two_leads(), lead, noise))
    assert not quality.usable
    assert (quality.advice or "").startswith(words)
    assert not quality.leads[lead].usable


@pytest.mark.parametrize("lead", ["I", "II"])
def test_a_flat_lead_is_flat(lead: str) -> None:
    quality = judged(with_lead(two_leads(), lead, np.zeros(5000)))
    assert not quality.usable
    assert "flat" in quality.leads[lead].flags


def test_a_clipped_lead_is_saturated() -> None:
    record = two_leads(snr_db=40)
    lead = record.signal_mv[1]
    quality = judged(with_lead(record, "II", np.minimum(lead, np.quantile(lead, 0.95))))
    assert not quality.usable
    assert "saturated" in quality.leads["II"].flags


def test_a_step_is_motion() -> None:
    record = two_leads()
    step = np.where(np.arange(5000) > 2500, 3.0, 0.0)
    quality = judged(with_lead(record, "II", record.signal_mv[1] + step))
    assert not quality.usable
    assert "motion" in quality.leads["II"].flags


def test_tense_muscles_are_told_apart() -> None:
    noise = np.random.default_rng(1).normal(0, 0.35, (2, 5000))
    record = two_leads()
    quality = judged(replace(record, signal_mv=(record.signal_mv + noise).astype(np.float32)))
    assert not quality.usable
    assert "muscle_noise" in quality.leads["I"].flags


@pytest.mark.parametrize("line_hz", [50, 60])
def test_mains_is_reported_and_only_refused_when_it_drowns_the_heart(line_hz: int) -> None:
    record = two_leads()
    tone = np.sin(2 * np.pi * line_hz * np.arange(5000) / 500)
    some = judged(replace(record, signal_mv=(record.signal_mv + 0.2 * tone).astype(np.float32)))
    assert some.usable
    assert "mains_present" in some.leads["I"].flags
    much = judged(replace(record, signal_mv=(record.signal_mv + 5 * tone).astype(np.float32)))
    assert not much.usable
    assert "mains" in much.leads["I"].flags


def test_wander_is_reported_and_only_refused_when_huge() -> None:
    record = two_leads()
    sway = np.sin(2 * np.pi * 0.15 * np.arange(5000) / 500)
    some = judged(replace(record, signal_mv=(record.signal_mv + 1.2 * sway).astype(np.float32)))
    assert some.usable
    assert "wander_present" in some.leads["I"].flags
    assert not judged(replace(record, signal_mv=(record.signal_mv + 20 * sway).astype(np.float32))).usable


def test_two_copies_of_a_lead_are_refused() -> None:
    record = two_leads()
    quality = judged(with_lead(record, "II", record.signal_mv[0]))
    assert not quality.usable
    assert "identical_leads" in quality.flags


def test_a_scaled_copy_of_a_lead_is_refused() -> None:
    record = two_leads()
    assert "identical_leads" in judged(with_lead(record, "II", 0.7 * record.signal_mv[0])).flags


def test_contradicting_leads_are_refused() -> None:
    record = six_leads()
    for name in LIMB_LEADS:
        quality = judged(with_lead(record, name, -record.signal_mv[record.leads.index(name)]))
        assert not quality.usable
        assert "leads_inconsistent" in quality.flags


@given(rate_bpm=st.floats(20, 220), seed=st.integers(0, 50), snr_db=st.floats(0, 40), fibrillation=st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_usable_has_an_average_beat(rate_bpm: float, seed: int, snr_db: float, fibrillation: bool) -> None:
    record = two_leads(seed, heart=Heart(rate_bpm=rate_bpm, atrial_fibrillation=fibrillation), snr_db=snr_db)
    conditioned = condition(record, SPEC)
    quality = assess(record, conditioned, SPEC, LIMITS)
    if quality.usable:
        assert quality.start is not None
        assert cut(conditioned, SPEC, quality.start).beat_at.size >= SPEC.beat.min_beats


def test_too_few_beats_that_resemble_each_other_are_refused_with_advice() -> None:
    record = two_leads()
    conditioned = condition(record, SPEC)
    demanding = replace(SPEC, beat=replace(SPEC.beat, min_beats=30))
    quality = assess(record, conditioned, demanding, LIMITS)
    assert not quality.usable
    assert quality.flags == ("few_alike_beats",)
    assert quality.failed_checks == ("min_beats",)
    assert (quality.advice or "").startswith("Too few heartbeats resemble each other")
    with pytest.raises(UnusableRecordingError, match="too few heartbeats"):
        cut(conditioned, demanding, quality.start or 0)


def test_the_clean_part_of_a_long_recording_is_found() -> None:
    record = lead_off(two_leads(duration_s=30.0), "LA", start_s=0.0, stop_s=14.0, seed=2)
    quality = judged(record)
    assert quality.usable
    assert quality.window_start_s is not None
    assert quality.window_start_s > 13.9


def test_no_window_touches_a_long_gap() -> None:
    record = contact_loss(two_leads(duration_s=30.0), 11.0, 13.0)
    quality = judged(record)
    assert quality.usable
    assert quality.window_start_s is not None
    assert quality.window_start_s > 13.0 or quality.window_start_s + SPEC.window_s < 11.0


def test_without_any_window_the_operator_is_told_that_contact_was_lost() -> None:
    quality = judged(contact_loss(two_leads(), 4.0, 6.0))
    assert not quality.usable
    assert quality.start is None
    assert quality.window_start_s is None
    assert quality.flags == ("no_window",)
    assert "Contact was lost" in (quality.advice or "")


def test_the_same_recording_gets_the_same_verdict() -> None:
    record = two_leads(4, duration_s=20.0)
    assert judged(record) == judged(record)
