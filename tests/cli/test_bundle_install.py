"""``bundle install`` and ``bundle current``, as the person with the stick types them."""

import json
import shutil

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.kiosk.updates import bundles as installed


@pytest.fixture(autouse=True)
def _own_data(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def stick(cli, tmp_path, rewritten):
    """A stick with version 2 of the shipped bundle, signed by a key that the machine trusts."""
    name = tmp_path / "hospital"
    cli("bundle", "keygen", "--out", name)
    cli("bundle", "trust", f"{name}.pub", "--name", "District hospital")

    def put(version):
        bundle = rewritten(bundles.default(), tmp_path / "stick" / f"v{version}", version=version)
        cli("bundle", "sign", bundle.path, "--key", f"{name}.pem")
        return bundle.path

    put(2)
    return tmp_path / "stick", put


def test_the_way_of_the_person_with_the_stick(cli, stick):
    folder, put = stick
    code, out, _ = cli("bundle", "current")
    assert code == 0
    assert "version 1" in out
    assert "ships with this software" in out

    code, out, err = cli("bundle", "install", folder)
    assert (code, err) == (0, "")
    assert "In use: lsemvae-edge-small version 2" in out
    assert "signed by District hospital" in out
    assert "Known answers came out as they should, on litert" in out
    assert "from its next start" in out

    shutil.rmtree(folder / "v2")
    put(3)
    code, out, _ = cli("bundle", "install", folder, "--json")
    told = json.loads(out)
    assert (code, told["schema"], told["version"]) == (0, "lsemvae-edge/bundle-installed/1", 3)
    assert (told["changed"], told["runtime"], told["standing"]["kind"]) == (True, "litert", "signed")
    assert bundles.load(told["path"]).sha256 == told["sha256"]

    code, out, _ = cli("bundle", "install", "--roll-back")
    assert code == 0
    assert "version 2" in out
    code, out, _ = cli("bundle", "current", "--json")
    assert (code, json.loads(out)["version"], json.loads(out)["previous"]) == (0, 2, told["sha256"])

    code, out, _ = cli("bundle", "install", "--shipped")
    assert code == 0
    assert "version 1" in out


def test_several_bundles_on_a_stick_are_a_question(cli, stick):
    folder, put = stick
    put(3)
    code, _, err = cli("bundle", "install", folder)
    assert code == 2
    assert "several bundles" in err
    assert cli("bundle", "install", folder / "v3")[0] == 0


def test_an_empty_stick_and_a_refused_bundle_say_so(cli, stick, tmp_path, rewritten):
    empty = tmp_path / "empty"
    empty.mkdir()
    code, _, err = cli("bundle", "install", empty)
    assert code == 2
    assert "There is no bundle in" in err
    rewritten(bundles.default(), empty / "unsigned", version=5)
    code, out, _ = cli("bundle", "install", empty, "--json")
    assert code == 5
    assert "not signed" in json.loads(out)["message"]
    assert "version 1" in cli("bundle", "current")[1]


def test_a_manifest_outside_the_published_schema_is_refused(cli, stick, monkeypatch):
    from lsemvae_edge.cli import verify
    from lsemvae_edge.errors import BundleError

    def refuse(bundle):
        raise BundleError("The manifest does not fit the schema of bundles.")

    monkeypatch.setattr(verify, "check_schema", refuse)
    code, _, err = cli("bundle", "install", stick[0])
    assert code == 5
    assert "schema of bundles" in err
    assert not installed.folder().exists()


@pytest.mark.parametrize("arguments", [[], ["--shipped", "--roll-back"], ["x", "--shipped"], ["--roll-back"]])
def test_wrong_usage_changes_nothing(cli, arguments):
    code, _, err = cli("bundle", "install", *arguments)
    assert code == 2
    assert "lsemvae-edge bundle install" in err
    assert not (installed.folder() / "current.json").exists()


def test_a_damaged_bundle_in_use_is_exit_5(cli, stick):
    folder, _ = stick
    cli("bundle", "install", folder)
    next(installed.current().path.glob("*.tflite")).unlink()
    code, out, _ = cli("bundle", "current", "--json")
    assert code == 5
    assert "--roll-back" in json.loads(out)["next_step"]
