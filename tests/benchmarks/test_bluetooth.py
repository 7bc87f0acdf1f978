import json

import pytest

from lsemvae_edge.benchmarks import bluetooth
from lsemvae_edge.device.virtual import shelf


@pytest.mark.parametrize("day", [bluetooth.Day(0.02, 500.0, journal=True), bluetooth.Day(0.02, -500.0, journal=False)])
def test_nothing_is_lost_or_misplaced_in_the_short_form(day):
    said = []
    row = bluetooth.long_recording(day, said.append)
    assert row["broken"] == []
    assert row["received"]["samples"] == pytest.approx(36_000, abs=60)
    assert row["received"].get("missing", 0) == 0
    assert row["misplaced"] == 0 < row["samples_looked_at"]
    assert row["drift_error_ppm"] < 150
    assert row["clock"]["nominal_hz"] == 500.0
    assert (row["journal"] is not None) == day.journal
    if row["journal"]:
        assert row["journal"]["torn"] == 0
        assert row["journal"]["entries"] > 1800
    assert len(said) == 1
    json.dumps(row)


def test_a_sample_in_a_wrong_place_is_found():
    session = bluetooth.Session("open-6l", bluetooth.numbered("open-6l"))
    checks = bluetooth._Checks(session)
    session.run(2.0)
    checks.look()
    assert checks.misplaced == 0
    kept = session.intake._assembler._samples
    kept._kept[:, 100:120] = kept._kept[:, 200:220]
    checks.look()
    assert checks.misplaced == 20


def test_what_must_not_be_is_said():
    row = {"received": {"contradictory": 3}, "misplaced": 2, "parts": 2, "journal": {"torn": 1}}
    assert bluetooth._broken(row) == ["3 contradictory", "2 samples misplaced", "2 parts", "the journal is torn"]


@pytest.mark.parametrize("name", shelf.MADE)
def test_every_driver_is_measured(name):
    row = bluetooth.throughput(name, 5.0, times=1)
    assert row["driver"] == name
    assert row["messages"] > 5
    assert row["times_real_time"] > 1


def test_the_whole_measurement_names_days_drivers_and_faults(monkeypatch):
    monkeypatch.setattr(shelf, "MADE", {"open-6l": shelf.MADE["open-6l"]})
    monkeypatch.setattr(bluetooth, "THROUGHPUT_S", 1.0)
    figures = bluetooth.measure((bluetooth.Day(0.005, 0.0, journal=False),), lambda _: None)
    assert len(figures["days"]) == 1
    assert [row["driver"] for row in figures["throughput"]] == ["open-6l"]
    assert figures["broken"] == []
