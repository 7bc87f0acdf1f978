"""``kiosk update`` and ``kiosk roll-back`` as they are typed; environments here hold no wheels."""

import json
from pathlib import Path

import pytest

from lsemvae_edge.kiosk.updates import environment, machine, software, wheelhouse


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("LSEMVAE_EDGE_STORE", raising=False)
    monkeypatch.setenv(software.VARIABLE, str(tmp_path / "software"))
    monkeypatch.setattr(environment, "build", lambda folder, *_: Path(folder).mkdir())
    monkeypatch.setattr(environment, "try_out", lambda *_: 1)
    monkeypatch.setattr("os.geteuid", lambda: 0)


@pytest.fixture
def house(tmp_path):
    def make(version):
        path = tmp_path / version
        path.mkdir()
        name = f"lsemvae_edge-{version}-py3-none-any.whl"
        (path / name).write_bytes(version.encode())
        return wheelhouse.seal(path, {machine.python(): (name,)}, machine.processor()).path

    return make


def test_the_way_of_the_person_with_the_stick(cli, house):
    code, out, _ = cli("kiosk", "update", house("1.0"), "--json")
    assert code == 5
    assert "--unsigned" in json.loads(out)["next_step"]
    code, out, err = cli("kiosk", "update", house("1.1"), "--unsigned")
    assert code == 0
    assert "Software 1.1 (1.1-" in out
    assert "not signed" in out
    assert "The old one stays until the end" in err
    code, out, _ = cli("kiosk", "update", house("1.2"), "--unsigned", "--json")
    told = json.loads(out)
    assert (code, told["schema"], told["version"], told["changed"]) == (0, "lsemvae-edge/updated/1", "1.2", True)
    code, out, _ = cli("kiosk", "roll-back", "--json")
    assert (code, json.loads(out)["version"]) == (0, "1.1")
    code, _, err = cli("kiosk", "roll-back")
    assert code == 2
    assert "no earlier version" in err


def test_copies_of_the_records_are_removed_on_request(cli, tmp_path):
    copy = tmp_path / "data" / "lsemvae-edge" / "clinic.before-1.0-000000000000"
    copy.mkdir(parents=True)
    code, out, _ = cli("kiosk", "update", "--remove-backups", "--json")
    assert (code, json.loads(out)["count"]) == (0, 1)
    assert not copy.exists()


@pytest.mark.parametrize("arguments", [[], ["x", "--remove-backups"], ["nowhere"]])
def test_wrong_usage(cli, arguments):
    code, _, err = cli("kiosk", "update", *arguments)
    assert code == 2
    assert "heelhouse" in err


def test_a_32_bit_system_is_named(cli, house, monkeypatch):
    path = house("1.0")
    monkeypatch.setattr("platform.machine", lambda: "armv7l")
    monkeypatch.setattr("struct.calcsize", lambda code: 4)
    code, _, err = cli("kiosk", "update", path)
    assert code == 2
    assert "This is a 32-bit system (armv7l)." in err
    assert "64-bit Raspberry Pi OS" in err
