from dataclasses import replace

import numpy as np
import pytest

from lsemvae_edge.errors import UsageError
from lsemvae_edge.leads import LIMB_MATRIX, PRECORDIAL_LEADS, STANDARD_12
from lsemvae_edge.synthetic.heart import ECTOPIC_EARLY, Heart, random_heart, simulate

STILL = Heart(respiratory_sinus_arrhythmia=0, slow_variability=0, breathing_axis_deg=0, breathing_gain=0, wander_mv=0)


def r_peaks(record):
    """Peaks of the fast part of the limb leads, at least 250 ms apart."""
    fast = np.abs(np.diff(np.stack(list(record.limb().values())).astype(float), axis=1)).sum(axis=0)
    energy = np.convolve(fast, np.hanning(round(0.08 * record.fs_hz)), mode="same")
    peaks, reach = [], round(0.25 * record.fs_hz)
    for index in np.flatnonzero(energy > 0.5 * np.quantile(energy, 0.995)):
        if energy[index] == energy[max(index - reach, 0) : index + reach].max():
            peaks.append(index)
    return np.array(peaks)


def average_beat(record, before_s=0.3, after_s=0.5):
    peaks = r_peaks(record)
    before, after = round(before_s * record.fs_hz), round(after_s * record.fs_hz)
    inside = [p for p in peaks if p >= before and p + after < record.n_samples]
    return np.mean([record.signal_mv[:, p - before : p + after] for p in inside], axis=0), before


def test_recording_states_what_it_is():
    record = simulate(Heart(), 10, 500, seed=1)
    assert record.leads == STANDARD_12
    assert record.signal_mv.shape == (12, 5000)
    assert (record.origin, record.amplitude, record.started_at) == ("simulated", "calibrated", None)
    assert not record.gaps.any()


def test_same_seed_gives_same_recording_and_another_seed_another():
    assert simulate(Heart(), seed=4).sha256() == simulate(Heart(), seed=4).sha256()
    assert simulate(Heart(), seed=4).sha256() != simulate(Heart(), seed=5).sha256()


def test_limb_leads_obey_einthoven_and_goldberger():
    record = simulate(random_heart(np.random.default_rng(2)), seed=2)
    limb = record.signal_mv[:6]
    np.testing.assert_allclose(limb, LIMB_MATRIX @ limb[:2], atol=1e-6)


@pytest.mark.parametrize("rate_bpm", [45, 72, 130])
def test_rate_is_the_one_asked_for(rate_bpm):
    record = simulate(replace(STILL, rate_bpm=rate_bpm), 20, 500, seed=3)
    rr_s = np.diff(r_peaks(record)) / record.fs_hz
    assert 60 / rr_s.mean() == pytest.approx(rate_bpm, rel=0.02)
    assert rr_s.std() / rr_s.mean() < 0.02


def test_breathing_makes_the_rhythm_vary():
    calm = np.diff(r_peaks(simulate(STILL, 30, seed=1)))
    breathing = np.diff(r_peaks(simulate(Heart(respiratory_sinus_arrhythmia=0.08), 30, seed=1)))
    assert breathing.std() > 3 * calm.std()


@pytest.mark.parametrize("axis_deg", [-40, 0, 45, 90, 130])
def test_frontal_axis_of_qrs_is_the_one_asked_for(axis_deg):
    beat, at = average_beat(simulate(replace(STILL, qrs_axis_deg=axis_deg, q_ratio=0, s_ratio=0), seed=7))
    area = beat[:, at - 25 : at + 25].sum(axis=1)
    measured_deg = np.degrees(np.arctan2(2 / np.sqrt(3) * area[STANDARD_12.index("aVF")], area[0]))
    assert measured_deg == pytest.approx(axis_deg, abs=10)


def test_waves_come_in_order_with_normal_intervals():
    beat, at = average_beat(simulate(STILL, 20, 500, seed=5))
    lead = beat[1] - np.median(beat[1])
    r_mv, t_at = lead[at - 20 : at + 20].max(), at + 50 + int(lead[at + 50 : at + 225].argmax())
    p_at = int(lead[: at - 40].argmax())
    assert 0.6 < r_mv < 2.0
    assert 0.10 < (at - p_at) / 500 < 0.20
    assert 0.22 < (t_at - at) / 500 < 0.36
    assert 0.05 < lead[p_at] < 0.25
    assert 0.1 < lead[t_at] < 0.6


def test_chest_leads_progress_from_s_to_r():
    beat, at = average_beat(simulate(STILL, seed=6))
    qrs = beat[[STANDARD_12.index(name) for name in PRECORDIAL_LEADS], at - 30 : at + 30]
    ratio = qrs.max(axis=1) / -qrs.min(axis=1)
    assert ratio[0] < 0.6
    assert ratio[4] > 2
    assert ratio[0] < ratio[2] < ratio[4]


def test_right_hypertrophy_turns_the_axis_right_and_v1_upright():
    heart = replace(STILL, qrs_axis_deg=110, right_ratio=1.0)
    beat, at = average_beat(simulate(heart, seed=8))
    v1 = beat[STANDARD_12.index("V1"), at - 30 : at + 30]
    assert v1.max() > -v1.min()
    assert beat[0, at - 30 : at + 30].sum() < 0


def test_right_delay_widens_qrs_with_a_late_r_in_v1():
    plain, at = average_beat(simulate(STILL, seed=9))
    delayed, late_at = average_beat(simulate(replace(STILL, right_delay_ms=50), seed=9))
    v1 = STANDARD_12.index("V1")
    assert delayed[v1, late_at + 15 : late_at + 50].max() > plain[v1, at + 15 : at + 50].max() + 0.2


def test_atrial_fibrillation_is_irregular_and_has_no_p_wave():
    record = simulate(Heart(atrial_fibrillation=True), 60, seed=10)
    rr = np.diff(r_peaks(record))
    assert rr.std() / rr.mean() > 0.1
    assert simulate(Heart(atrial_fibrillation=True), seed=1).signal_mv.std() > 0.05


@pytest.mark.parametrize("fs_hz", [100, 250, 512.5, 1000])
def test_the_rate_of_sampling_does_not_change_the_heart(fs_hz):
    beat, at = average_beat(simulate(STILL, 20, fs_hz, seed=11))
    fine, fine_at = average_beat(simulate(STILL, 20, 500, seed=11))
    assert beat[1].max() == pytest.approx(fine[1].max(), rel=0.12)
    assert at / fs_hz == pytest.approx(fine_at / 500, abs=0.01)


def test_left_delay_widens_qrs_turns_t_and_takes_the_septal_q_away():
    plain, at = average_beat(simulate(replace(STILL, q_ratio=0.2), seed=9))
    delayed, late_at = average_beat(simulate(replace(STILL, q_ratio=0.2, left_delay_ms=50), seed=9))
    v6 = STANDARD_12.index("V6")

    def width_ms(beat, peak):
        return 2 * np.count_nonzero(beat[v6, peak - 40 : peak + 60] > 0.3 * beat[v6].max())

    assert width_ms(delayed, late_at) > width_ms(plain, at) + 20
    assert plain[v6, at + 100 : at + 200].mean() > 0.05
    assert delayed[v6, late_at + 100 : late_at + 200].mean() < -0.02
    onset = slice(-50, -10)
    assert plain[v6, at + onset.start : at + onset.stop].min() < -0.02
    assert delayed[v6, late_at - 60 : late_at - 10].min() > -0.02


def test_ectopic_beats_are_wide_come_early_and_leave_a_full_pause():
    record = simulate(replace(STILL, ectopic_share=0.15, rate_bpm=60), 60, seed=4)
    lead = record.signal_mv[STANDARD_12.index("III")]
    # Their slopes are too gentle for the search of R waves, which therefore finds the sinus beats about them.
    peaks = r_peaks(record)
    pauses = [at for at, rr in zip(peaks, np.diff(peaks) / 500, strict=False) if 1.9 < rr < 2.1]
    assert 3 <= len(pauses) <= 15
    for at in pauses:
        between = lead[at + 150 : at + 850]
        top = int(np.argmax(between))
        assert (top + 150) / 500 == pytest.approx(1 - ECTOPIC_EARLY, abs=0.08)
        half = 2 * np.count_nonzero(between[max(top - 60, 0) : top + 60] > between[top] / 2)
        assert half > 50


def test_a_blocked_p_wave_leaves_the_room_of_two_beats():
    rr = np.diff(r_peaks(simulate(replace(STILL, blocked_share=0.2, rate_bpm=60), 60, seed=5))) / 500
    beats = np.round(rr)
    np.testing.assert_allclose(rr / beats, 1.0, atol=0.08)
    assert 4 <= np.count_nonzero(beats >= 2) <= 20
    alone = simulate(replace(STILL, blocked_share=1.0), seed=5).signal_mv[1]
    assert 0.05 < alone.max() < 0.25


@pytest.mark.parametrize("shares", [(0.7, 0.7), (-0.1, 0.0)])
def test_shares_of_beats_without_meaning_are_refused(shares):
    with pytest.raises(UsageError, match="Shares"):
        Heart(ectopic_share=shares[0], blocked_share=shares[1])


def test_random_hearts_are_plausible():
    hearts = [random_heart(np.random.default_rng(seed)) for seed in range(40)]
    assert len(set(hearts)) == 40
    assert 60 < np.median([heart.rate_bpm for heart in hearts]) < 85
    for seed, heart in enumerate(hearts):
        limb = simulate(heart, 5, 250, seed=seed).signal_mv[:6]
        assert 0.2 < np.ptp(limb, axis=1).max() < 5


def test_an_impossible_rate_is_refused():
    with pytest.raises(UsageError):
        Heart(rate_bpm=0)
