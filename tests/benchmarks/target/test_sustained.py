"""Sustained load: each minute is kept beside what the machine said, and drift is told with an interval."""

import os
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.target import report_part, sensors, session, sustained
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session

MINUTE_S = 0.3


@pytest.fixture
def measured(tmp_path):
    """Function that keeps the shipped bundle busy for short minutes: what the session holds."""

    def run(minutes=2.0, every_core=False, **more):
        plan = Plan([bundles.default()], minutes=minutes, **more)
        with Session(tmp_path / "session", {}, plan.bundles, 4) as one:
            sustained.measure(one, plan, every_core, MINUTE_S)
        return session.read(tmp_path / "session")

    return run


def test_every_minute_has_its_values_and_its_row(measured, monkeypatch, tmp_path):
    monkeypatch.setattr(sustained, "LOAD_S", 0.05)
    recorded = measured(minutes=4.5)
    (case,) = recorded.cases
    assert case.facts["precision"] == "int8"
    assert case.facts["every_core"] is False
    alone, whole = (recorded.of("sustained", case.name, metric) for metric in ("inference_ms", "whole_ms"))
    # Half a minute at the end is one too.
    assert [sample.repeat for sample in alone] == [sample.repeat for sample in whole] == [0, 1, 2, 3, 4]
    curve = recorded.facts["sustained"]["curve"]
    assert [row["minute"] for row in curve] == [0, 1, 2, 3, 4]
    for row, inferences, paths in zip(curve, alone, whole, strict=True):
        assert row["p50_ms"] == pytest.approx(np.median(inferences.values), rel=1e-5)
        assert row["p99_ms"] == pytest.approx(np.quantile(inferences.values, 0.99), rel=1e-5)
        assert row["whole_p50_ms"] == pytest.approx(np.median(paths.values), rel=1e-5)
        assert row["inferences"] > len(inferences.values)
        assert len(inferences.values) % sustained.KEPT == 0
    drifts = recorded.facts["sustained"]["drift"]
    assert [row["what"] for row in drifts] == ["inference_ms", "whole_ms"]
    assert all(row["change_percent"]["low"] <= row["change_percent"]["high"] for row in drifts)
    shown = report_part.tables(tmp_path / "session", "sustained")
    assert "Drift from the first minute to the last" in shown
    assert "Minute by minute" in shown


def test_throttling_and_a_low_supply_are_told_in_the_minute_in_which_they_were(measured, monkeypatch):
    monkeypatch.setattr(sustained, "READ_EVERY_S", float("inf"))
    words = iter([0x0, 0x0, 0x50005, 0x50000, 0x50000])
    celsius, low = iter([50.0, 81.5, 70.0]), iter([False, True, False])
    monkeypatch.setattr(sensors, "throttled", lambda: sensors.decoded(hex(next(words))))
    monkeypatch.setattr(sensors, "temperature_c", lambda: next(celsius))
    monkeypatch.setattr(sensors, "frequency_mhz", lambda: 1500.0)
    monkeypatch.setattr(sensors, "under_voltage", lambda: next(low))
    facts = measured(minutes=3).facts["sustained"]
    assert [row["throttled"] for row in facts["curve"]] == [False, True, False]
    assert [row["throttled_by"] for row in facts["curve"]] == [None, ["under-voltage", "throttled"], None]
    assert [row["under_voltage"] for row in facts["curve"]] == [False, True, False]
    assert [row["temperature_c"] for row in facts["curve"]] == [50.0, 81.5, 70.0]
    assert facts["throttled_before"]["since_start"] == []
    assert facts["throttled_after"]["since_start"] == ["under-voltage", "throttled"]


def test_what_the_machine_does_not_tell_is_null_and_not_good(measured, monkeypatch):
    for name in ("throttled", "temperature_c", "frequency_mhz", "under_voltage"):
        monkeypatch.setattr(sensors, name, lambda: None)
    (row,) = measured(minutes=0.5).facts["sustained"]["curve"]
    assert {row[name] for name in ("cpu_mhz", "temperature_c", "throttled", "throttled_by", "under_voltage")} == {None}


def test_a_session_that_is_cut_short_keeps_the_minutes_before(tmp_path, monkeypatch):
    told = []

    def pull(one, text):
        told.append(text)
        if "minute 2" in text:
            raise KeyboardInterrupt

    monkeypatch.setattr(Session, "say", pull)
    plan = Plan([bundles.default()], minutes=5)
    with pytest.raises(KeyboardInterrupt), Session(tmp_path / "session", {}, plan.bundles, 4) as one:
        sustained.measure(one, plan, minute_s=0.1)
    recorded = session.read(tmp_path / "session")
    assert len(recorded.facts["sustained"]["curve"]) == 2
    assert recorded.ended == "KeyboardInterrupt"


def test_every_core_is_kept_busy_and_this_process_keeps_its_own(measured, monkeypatch):
    usable = sorted(os.sched_getaffinity(0))
    pinned = []
    kept = sustained.Worker

    def noting(candidate):
        if threading.current_thread() is not threading.main_thread():
            pinned.append(sorted(os.sched_getaffinity(0)))
        return kept(candidate)

    monkeypatch.setattr(sustained, "Worker", noting)
    recorded = measured(minutes=1, every_core=True)
    assert recorded.cases[0].facts["every_core"] is True
    assert sorted(pinned) == [[core] for core in usable[:-1]]
    assert sorted(os.sched_getaffinity(0)) == usable


def test_drift_is_found_with_its_sign_through_noise_and_bad_minutes():
    rng = np.random.default_rng(1)
    minute = np.arange(30)
    noise = rng.normal(0, 0.5, 30)
    noise[[4, 17]] += 60
    for slope in (0.2, -0.2):
        change = sustained.drift(100 + slope * minute + noise, rng)
        assert change["value"] == pytest.approx(100 * slope * 29 / 100, abs=1.0)
        assert change["low"] <= change["value"] <= change["high"]
        assert change["low"] * change["high"] > 0
    level = sustained.drift(100 + noise, rng)
    assert level["low"] < 0 < level["high"]


def test_few_minutes_tell_no_drift():
    assert sustained.drift([1.0, 2.0, 3.0], np.random.default_rng(1)) is None


def test_a_runtime_that_screen_does_not_run_goes_without_the_path(tmp_path):
    """A TFLite file through an interpreter of another environment."""
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    chosen = sustained._chosen

    def through_another(one, plan):
        return replace(chosen(one, plan), python=str(other))

    with pytest.MonkeyPatch.context() as patch, Session(tmp_path / "session", {}, [], 4) as one:
        patch.setattr(sustained, "_chosen", through_another)
        sustained.measure(one, Plan([bundles.default()], minutes=1), minute_s=0.1)
    recorded = session.read(tmp_path / "session")
    assert {sample.metric for sample in recorded.samples} == {"inference_ms"}
    assert [skipped.what for skipped in recorded.skipped] == ["the whole path"]
