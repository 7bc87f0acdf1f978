"""``kiosk clock`` as it is typed on a machine that nothing set."""

import json

import pytest

from lsemvae_edge.errors import ExitCode
from lsemvae_edge.kiosk import machine
from lsemvae_edge.kiosk.updates import audit
from lsemvae_edge.store import clock, places
from lsemvae_edge.store.clock_evidence import ERROR_LIMIT_US, Sources


@pytest.fixture(autouse=True)
def _unset(tmp_path, monkeypatch):
    monkeypatch.setenv(clock.VARIABLE, str(tmp_path / "clock.json"))
    monkeypatch.setenv(places.FOLDER_VARIABLE, str(tmp_path / "stores"))
    monkeypatch.setenv(places.KEY_VARIABLE, str(tmp_path / "keys" / "store.key"))
    nothing = tmp_path / "nothing"
    monkeypatch.setattr(clock, "_SOURCES", Sources(lambda: ERROR_LIMIT_US, nothing, nothing, nothing))
    monkeypatch.setattr(clock, "_known", {})


def test_a_clock_that_nothing_set_is_said_with_what_to_do(cli):
    code, out, err = cli("kiosk", "clock")
    assert code == ExitCode.DEVICE
    assert "Not set: nothing has set it" in out
    assert "timedatectl set-time" in err
    assert any("counts as not set" in sentence for sentence in machine.findings())
    code, _, err = cli("kiosk", "clock", "--right")
    assert (code, "Add --yes" in err) == (ExitCode.USAGE, True)


def test_an_operator_says_that_it_is_right_and_the_log_keeps_it(cli):
    places.create_store().close()
    code, out, _ = cli("kiosk", "clock", "--right", "--yes")
    assert (code, "compared with a watch by an operator" in out) == (0, True)
    code, out, _ = cli("kiosk", "clock", "--json")
    assert (code, json.loads(out)["by"], json.loads(out)["set"]) == (0, "operator", True)
    assert not any("counts as not set" in sentence for sentence in machine.findings())
    with places.open_store("clinic") as store:
        assert audit.settle(store) == 1
        (note,) = store.entries(kinds=(audit.CLOCK,))
    assert note.clock_set
    assert note.facts["operator"].startswith("cli:")
