import json
import sys

import numpy as np
import pytest

from lsemvae_edge.device.clock import MAX_POINTS, Envelope, RateFit

FS_HZ = 500.0


def arrivals(duration_s, ppm=0.0, interval_s=0.03, held_up=0.05, seed=0, frame=20):
    """Yield the ends of frames and when they arrive: at a connection event, and some much later."""
    rng = np.random.default_rng(seed)
    for end in range(frame, int(duration_s * FS_HZ), frame):
        taken_s = end / (FS_HZ * (1 + ppm / 1e6))
        late_s = rng.exponential(0.3) if rng.random() < held_up else 0.0
        yield end, 700.0 + (np.floor(taken_s / interval_s) + 1) * interval_s + 0.004 + late_s


def fitted(*args, **kwargs):
    fit = RateFit(FS_HZ)
    for end, at_s in arrivals(*args, **kwargs):
        fit.arrived(end, at_s)
    return fit


@pytest.mark.parametrize("ppm", [-500, -100, 0, 100, 500])
@pytest.mark.parametrize("seed", range(3))
def test_drift_is_measured_and_the_nominal_rate_stays(ppm, seed):
    fit = fitted(600.0, ppm, seed=seed)
    assert fit.facts()["drift_ppm"] == pytest.approx(ppm, abs=25)
    assert fit.fs_hz == FS_HZ


@pytest.mark.parametrize(("ppm", "rate_hz"), [(20_000, 510.0), (-20_000, 490.0), (2400, 501.2)])
def test_a_rate_that_is_another_one_is_used_rounded(ppm, rate_hz):
    fit = fitted(60.0, ppm)
    assert fit.fs_hz == rate_hz
    assert fit.facts()["nominal_hz"] == FS_HZ


def test_nothing_is_believed_before_twenty_seconds():
    fit = fitted(19.0, 20_000)
    assert fit.measured_hz is None
    assert fit.fs_hz == FS_HZ
    assert fit.facts()["drift_ppm"] is None


def test_a_fit_that_is_unsure_changes_no_rate():
    rng = np.random.default_rng(1)
    for _ in range(20):
        fit = RateFit(FS_HZ)
        for end in range(500, 11_500, 500):
            fit.arrived(end, end / FS_HZ + rng.uniform(0.0, 0.4))
        assert fit.fs_hz == FS_HZ


def test_a_pause_in_which_nothing_was_sampled_for_us_does_not_bend_the_line():
    fit = RateFit(FS_HZ)
    for end, at_s in arrivals(400.0, 300):
        if 100_000 <= end < 110_000:
            fit.pause()
            continue
        fit.arrived(end, at_s)
    assert fit.facts()["drift_ppm"] == pytest.approx(300, abs=20)


def test_a_few_seconds_without_a_timely_arrival_do_not_bend_the_line():
    fit = RateFit(FS_HZ)
    for end, at_s in arrivals(300.0):
        fit.arrived(end, at_s + (3.0 if 50_000 <= end < 55_000 or end > 147_000 else 0.0))
    assert fit.facts()["drift_ppm"] == pytest.approx(0, abs=30)


def test_memory_stays_over_a_day():
    fit = RateFit(FS_HZ)
    for second in range(86_400):
        fit.arrived((second + 1) * 500, (second + 1) * 1.0002)
    envelope = fit._envelope
    assert envelope.n_points <= MAX_POINTS
    assert envelope.span_s == pytest.approx(86_400, rel=0.02)
    assert sys.getsizeof(envelope._points) < 10_000
    assert fit.facts()["drift_ppm"] == pytest.approx(-200, abs=0.1)


def test_jitter_is_the_mean_delay_beyond_the_earliest():
    fit = RateFit(FS_HZ)
    for turn, end in enumerate(range(20, 30_000, 20)):
        fit.arrived(end, end / FS_HZ + (0.0, 0.010, 0.020)[turn % 3])
    assert fit.facts()["jitter_ms"] == pytest.approx(10.0, abs=0.5)


def test_drift_over_hours_is_no_jitter():
    fit = RateFit(FS_HZ)
    for end in range(100, 10_000_000, 100):
        fit.arrived(end, end / FS_HZ * 1.0005 + (0.004 if end % 200 else 0.0))
    assert fit.facts()["jitter_ms"] == pytest.approx(2.0, abs=0.5)


def test_the_recorders_own_clock_gives_a_rate_too():
    fit = RateFit(FS_HZ)
    for second in range(40):
        fit.mark(second * 501 + 7, float(second))
    assert fit.facts()["by_its_own_clock_hz"] == 501.0


def test_marks_before_the_index_wrapped_do_not_count():
    fit = RateFit(FS_HZ)
    for index, at_s in ((2**32 - 500, 100.0), (0, 101.0), (15_000, 131.0)):
        fit.mark(index, at_s)
    assert fit.facts()["by_its_own_clock_hz"] == 500.0


def test_facts_are_plain_values():
    assert json.loads(json.dumps(fitted(60.0, 20_000).facts())) == fitted(60.0, 20_000).facts()


def test_an_envelope_that_forgets_follows_a_change():
    envelope = Envelope(1.0, 30, forgets=True)
    for second in range(200):
        envelope.add(float(second), 0.001 * max(second - 100, 0))
    line = envelope.line()
    assert envelope.n_points == 30
    assert line.slope == pytest.approx(0.001)
    assert line.offset_s + line.slope * 199 == pytest.approx(0.099)
