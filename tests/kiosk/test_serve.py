"""The kiosk as a program."""

import http.client
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lsemvae_edge.errors import UsageError
from lsemvae_edge.kiosk import instance, serve

SCRIPT = Path(sys.executable).parent / "lsemvae-edge"
STARTS_WITHIN_S = 60


@pytest.fixture
def place(tmp_path):
    """Environment of a machine without a display, on which nothing was set up."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return {
        **kept,
        "HOME": str(tmp_path),
        **{name: str(tmp_path / name) for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")},
    }


@pytest.fixture
def started(place):
    """Function that starts a kiosk without a browser, and returns the process and its page's address."""
    running = []

    def start(*arguments):
        command = [SCRIPT, "screen", *arguments, "--ui", "web", "--no-browser"]
        process = subprocess.Popen(command, env=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        ready, _, _ = select.select([process.stdout], [], [], STARTS_WITHIN_S)
        assert ready, "the kiosk said nothing"
        return process, process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.communicate()


class Page:
    def __init__(self, address):
        self.port = int(address.split(":")[2].split("/")[0])
        answer = self._ask("GET", f"/k/{address.split('/k/')[1]}", {})
        self.cookie = answer.getheader("set-cookie").split(";")[0]
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.connection.request("GET", "/events?tab=t", headers={"Cookie": self.cookie})
        self.lines = iter(self.connection.getresponse())

    def _ask(self, method, path, headers, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer

    def act(self, act, **values):
        headers = {
            "Cookie": self.cookie,
            "Content-Type": "application/json",
            "Origin": f"http://127.0.0.1:{self.port}",
        }
        return self._ask("POST", "/act", headers, json.dumps({"tab": "t", "act": act, **values})).status

    def until(self, *screens):
        name = None
        for raw in self.lines:
            line = raw.decode().strip()
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: ") and name == "state":
                state = json.loads(line[6:])
                if state["screen"] in screens:
                    return state
        return None


def run(place, *arguments):
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(
        command, env=place, capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL
    )


def test_a_demonstration_prints_its_address_and_serves_until_it_is_ended(started, place):
    process, address = started("--demo")
    assert address.startswith("http://127.0.0.1:")
    page = Page(address)
    state = page.until("waiting")
    assert "DEMONSTRATION" in state["band"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.stderr.read() == ""


def test_a_demonstration_goes_to_a_result_that_is_in_the_store_of_demonstrations(started, place):
    _, address = started("--demo")
    page = Page(address)
    page.until("waiting")
    for act, values in (
        ("start", {}),
        ("identify", {"text": "TEST1B"}),
        ("about", {"consent": True, "age_band": "40-64", "pacemaker": "no"}),
    ):
        assert page.act(act, **values) == 200
    page.until("hold")
    assert page.act("begin") == 200
    shown = page.until("result", "retry")["result"]
    assert shown["simulated"]
    listed = run(place, "records", "list", "--store", "demo", "--json")
    (entry,) = [json.loads(line) for line in listed.stdout.splitlines()]
    assert entry["seq"] == shown["seq"]


def test_a_kiosk_that_is_ended_in_the_middle_keeps_what_was_recorded(started, place):
    process, address = started("--demo")
    page = Page(address)
    page.until("waiting")
    page.act("start")
    page.act("identify", text="TEST1B")
    page.act("about", consent=True, age_band="40-64", pacemaker="no")
    page.until("hold")
    page.act("begin")
    while not (page.until("recording")["recording"]["seconds"] > 1.0):
        pass
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    listed = run(place, "records", "list", "--store", "demo", "--json")
    (entry,) = [json.loads(line) for line in listed.stdout.splitlines()]
    assert entry["ended"] == "cancelled"


def test_a_second_kiosk_is_refused(started, place):
    started("--demo")
    done = run(place, "screen", "--demo", "--ui", "web", "--no-browser")
    assert done.returncode == 2
    assert "running on this machine already" in done.stderr


def test_without_a_display_and_without_a_terminal_the_choices_are_told(place):
    done = run(place, "screen")
    assert done.returncode == 2
    for choice in ("--ui web --no-browser", "--ui terminal"):
        assert choice in done.stderr


def test_a_clinic_that_was_not_set_up_is_told_how(place):
    done = run(place, "screen", "--ui", "web", "--no-browser")
    assert done.returncode == 7
    assert "kiosk setup" in done.stderr


@pytest.mark.parametrize("arguments", [["x.edf", "--ui", "web"], ["--device", "auto", "--ui", "web"], ["--json"]])
def test_what_makes_no_sense_together_is_refused(place, arguments):
    assert run(place, "screen", *arguments).returncode == 2


def test_a_port_that_is_taken_is_an_error(started, place):
    _, address = started("--demo")
    with pytest.raises(UsageError, match="port"):
        serve._listening(int(address.split(":")[2].split("/")[0]))


def test_one_kiosk_at_a_time_also_after_a_kill(tmp_path):
    holding = (
        "import sys, time, pathlib\n"
        "from lsemvae_edge.kiosk import instance\n"
        "with instance.only(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", holding, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match="already"), instance.only(tmp_path):
        pass
    process.kill()
    process.communicate()
    with instance.only(tmp_path):
        pass


def test_the_kiosks_start_notes_what_was_installed_while_it_was_off(place, started, monkeypatch):
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, place[name])
    from lsemvae_edge.kiosk.updates import audit
    from lsemvae_edge.store import places

    for name in (places.FOLDER_VARIABLE, places.KEY_VARIABLE):
        monkeypatch.delenv(name, raising=False)
        place.pop(name, None)
    places.create_store().close()
    with audit.changing(audit.BUNDLE, {"act": "install", "before": "a", "after": "b"}, operator="cli:t"):
        pass
    _, address = started()
    assert address.startswith("http://127.0.0.1:")
    with places.open_store("clinic") as store:
        (note,) = store.entries(kinds=(audit.BUNDLE,))
    assert (note.facts["after"], note.facts["finished"], note.facts["operator"]) == ("b", True, "cli:t")
