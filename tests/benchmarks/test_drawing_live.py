"""Live drawing is measured while traces are live, and memory that grows is found; times are measured, not judged."""

import random

import pytest

from lsemvae_edge.benchmarks import drawing_live, kiosk_browser
from lsemvae_edge.cli import main
from lsemvae_edge.errors import ExitCode


def made(minutes=10.0, server=lambda at_min: 70.0, heap=lambda at_min: 2.5, live=1.0):
    """Figures of a series that was made: a sample every ten seconds, in two parts."""
    samples = []
    for number in range(round(6 * minutes) + 1):
        at_s, noise = 10.0 * number, random.Random(number).uniform(-0.3, 0.3)
        samples.append(
            {
                "at_s": at_s, "live_s": at_s, "part": int(number > 3 * minutes), "frames": 600.0 * number,
                "dropped": 0, "longest_ms": 20.0, "looks": 20 * number, "live": 20 * number * live,
                "task_s": 3.0 * number, "script_s": 1.0 * number, "heap_mb": heap(at_s / 60) + noise,
                "server_pss_mb": 70.0, "server_rss_mb": server(at_s / 60) + noise, "browser_pss_mb": 400.0,
            }
        )  # fmt: skip
    return {"minutes": minutes, **drawing_live._summary(samples)}


def test_the_slope_is_that_of_most_pairs_whatever_a_few_do():
    at_min = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert drawing_live.slope(at_min, [1.0, 1.5, 2.0, 2.5, 3.0, 3.5]) == pytest.approx(0.5)
    assert drawing_live.slope(at_min, [1.0, 1.5, 90.0, 2.5, 3.0, 3.5]) == pytest.approx(0.5, abs=0.01)
    assert drawing_live.slope([0.0], [1.0]) == 0.0


def test_memory_that_settles_and_stays_is_flat():
    assert drawing_live.broken(made(server=lambda at_min: 70.0 + 10.0 * min(at_min, 3.0))) == []


@pytest.mark.parametrize(
    ("leak", "finding"),
    [
        ({"server": lambda at_min: 70.0 + 0.4 * at_min}, "the server's memory grew by 0.4"),
        ({"heap": lambda at_min: 2.5 + 0.4 * at_min}, "the page's heap grew by 0.4"),
        ({"server": lambda at_min: 70.0 + 5.0 * max(0.0, at_min - 6.0)}, "the server's memory grew"),
    ],
)
def test_memory_that_leaks_is_found(leak, finding):
    (found,) = drawing_live.broken(made(**leak))
    assert finding in found


def test_a_short_run_is_not_judged_but_must_be_live():
    leaking = made(minutes=2.0, server=lambda at_min: 70.0 + 5 * at_min)
    assert drawing_live.broken(leaking) == []
    (found,) = drawing_live.broken(made(minutes=2.0, live=0.5))
    assert "no live traces" in found


def test_what_lies_between_two_recordings_is_not_counted_as_drawing():
    figures = made()
    assert figures["main_thread_ms_per_frame"]["worst"] == pytest.approx(5.0)


@pytest.mark.parametrize("words", [["--size", "wide"], ["--minutes", "0"], ["--slower", "0.5"]])
def test_senseless_wishes_are_refused(words):
    assert main(["bench", "drawing", *words]) == ExitCode.USAGE


@pytest.mark.slow
def test_two_recordings_are_measured_one_after_the_other(monkeypatch):
    if kiosk_browser.chromium() is None:
        pytest.skip("Chromium is not installed")
    monkeypatch.setattr(drawing_live, "LONGEST_PART_S", 4.0)
    figures = drawing_live.measure(0.1, (800, 480), 1.0)
    assert figures["recordings"] == 2
    assert figures["live_share"] >= drawing_live.LIVE_SHARE
    assert not figures["judged"]
    assert figures["broken"] == []
    assert figures["frames"] > 30
    assert all(figures[name]["highest"] > 1 for name in ("heap_mb", "server_pss_mb", "browser_pss_mb"))
