"""``devices`` and ``screen --device`` on the command line, against a virtual recorder in another process."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bleak", reason="recorders need the extra `device`")
pytest.importorskip("bumble", reason="virtual recorders need the extra `simulator`")

from lsemvae_edge import formats

SCRIPT = Path(sys.executable).parent / "lsemvae-edge"
STARTS_WITHIN_S = 60


class Simulated:
    """A recorder in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        command = [SCRIPT, "devices", "simulate", "--port", "0", "--json", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        ready, _, _ = select.select([self.process.stdout], [], [], STARTS_WITHIN_S)
        assert ready, "the simulator said nothing"
        self.facts = json.loads(self.process.stdout.readline())

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@pytest.fixture(scope="module")
def simulated():
    recorder = Simulated()
    yield recorder
    recorder.end()


@pytest.fixture(scope="module")
def place(simulated, tmp_path_factory) -> dict[str, str]:
    """Environment of an operator who uses that recorder, and has enrolled nothing yet."""
    home = tmp_path_factory.mktemp("operator")
    return {
        **os.environ,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "LSEMVAE_EDGE_ADAPTER": simulated.facts["adapter"],
    }


@pytest.fixture
def run(place):
    def call(*arguments: object) -> tuple[int, list[dict], str]:
        command = [str(SCRIPT), *map(str, arguments), "--json"]
        done = subprocess.run(
            command, env=place, capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL
        )
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    return call


@pytest.fixture(scope="module")
def enrolled(simulated, place) -> dict:
    command = [str(SCRIPT), "devices", "enrol", simulated.facts["address"], "--json"]
    done = subprocess.run(command, env=place, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


def test_before_anything_is_enrolled_nothing_is_recorded_from(simulated, tmp_path):
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    environment = {**os.environ, **home, "LSEMVAE_EDGE_ADAPTER": simulated.facts["adapter"]}
    command = [str(SCRIPT), "screen", "--device", "auto", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    error = json.loads(done.stdout)
    assert done.returncode == error["code"] == 6
    assert "devices enrol" in error["next_step"]


def test_a_scan_lists_the_recorder_with_its_driver(simulated, run):
    code, (found,), _ = run("devices", "scan", "--seconds", "2")
    assert code == 0
    (row,) = [row for row in found["recorders"] if row["address"] == simulated.facts["address"]]
    assert row["driver"] == "open-6l"
    assert row["name"] == simulated.facts["name"]


def test_enrolling_tests_the_recorder_and_remembers_it(enrolled, simulated, run):
    assert enrolled["simulated"] is True
    assert enrolled["bonded"] is True
    assert enrolled["serial"]
    code, (listed,), _ = run("devices", "list")
    assert code == 0
    assert [recorder["address"] for recorder in listed["recorders"]] == [simulated.facts["address"]]


def test_info_says_what_the_recorder_is(enrolled, simulated, run):
    code, (facts,), _ = run("devices", "info", simulated.facts["address"])
    assert code == 0
    assert facts["serial"] == enrolled["serial"]
    assert facts["leads"] == ["I", "II"]
    assert facts["simulated"] is True


def test_a_recording_lands_in_a_file_and_its_journal_gives_it_again(enrolled, run, tmp_path):
    out = tmp_path / "heart.lser"
    code, (facts,), _ = run("devices", "record", "--seconds", "4", "--out", out, "--keep-journal")
    assert code == 0
    record = formats.read(out)
    assert record.origin == facts["origin"] == "simulated"
    assert 4.0 <= record.duration_s < 6.0
    assert not record.gaps.any()
    again = tmp_path / "again.lser"
    code, _, _ = run("devices", "replay", tmp_path / "heart.lser.lsej", "--out", again)
    assert code == 0
    replayed = formats.read(again)
    assert replayed.fs_hz == record.fs_hz
    shared = min(record.n_samples, replayed.n_samples)
    np.testing.assert_array_equal(replayed.signal_mv[:, :shared], record.signal_mv[:, :shared])
    assert formats.read(tmp_path / "heart.lser.lsej").sha256() == replayed.sha256()


def test_screening_from_a_recorder_stops_when_the_window_is_good(enrolled, run, place):
    code, (result,), said = run("screen", "--device", "auto")
    assert code == 0, said
    assert result["record"]["origin"] == "simulated"
    assert result["record"]["leads_measured"] == ["I", "II"]
    assert result["quality"]["usable"] is True
    assert result["record"]["duration_s"] < 30
    assert not list(Path(place["XDG_STATE_HOME"]).rglob("*.lsej")), "the journal of a finished screening is removed"


def test_an_unknown_address_is_refused(enrolled, run):
    code, (error,), _ = run("screen", "--device", "C0:00:00:00:00:01")
    assert code == error["code"] == 6
    assert "not enrolled" in error["message"]


def test_a_forgotten_recorder_is_not_recorded_from(run, simulated, place, tmp_path, enrolled):
    store = Path(place["XDG_CONFIG_HOME"]) / "lsemvae-edge" / "recorders.json"
    kept = store.read_bytes()
    try:
        assert run("devices", "forget", simulated.facts["address"])[0] == 0
        code, (error,), _ = run("devices", "record", "--out", tmp_path / "none.lser")
        assert code == error["code"] == 6
        assert not (tmp_path / "none.lser").exists()
    finally:
        store.write_bytes(kept)


def test_the_simulator_ends_with_an_interrupt():
    assert Simulated("--driver", "polar-h10").end() == 130


def test_every_driver_is_listed_with_what_it_promises(cli):
    code, out, _ = cli("devices", "drivers", "--json")
    assert code == 0
    rows = {row["name"]: row for row in map(json.loads, out.splitlines())}
    assert rows["open-6l"]["sample_index"]
    assert rows["open-6l"]["integrity"]
    assert not rows["kardia-6l"]["sample_index"]
    assert rows["kardia-6l"]["opt_in"]


def test_a_driver_is_held_against_the_kit(cli):
    code, out, _ = cli("devices", "check-driver", "open-6l", "--json")
    assert code == 0
    assert json.loads(out)["findings"] == []


def test_an_adapter_that_nobody_serves_is_a_device_error(cli):
    code, out, _ = cli("devices", "scan", "--adapter", "tcp:127.0.0.1:1", "--json")
    assert code == 6
    assert "simulate" in json.loads(out)["next_step"]
