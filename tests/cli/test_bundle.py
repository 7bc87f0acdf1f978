"""``bundle``: keys, signatures, trust, on the command line."""

import io
import json
import stat

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge import formats, trust


@pytest.fixture
def site(tmp_path, rewritten):
    """A site's own version 2 of the shipped bundle."""
    shipped = bundles.default()
    return rewritten(shipped, tmp_path / "site", version=shipped.manifest.version + 1).path


@pytest.fixture
def recording(heart_record, tmp_path):
    return formats.write(heart_record(12.0), tmp_path / "heart.csv")


def test_the_way_of_a_deployer(cli, site, recording, tmp_path):
    name = tmp_path / "hospital"
    code, out, err = cli("bundle", "keygen", "--out", name, "--json")
    assert code == 0
    made = json.loads(out)
    assert made["schema"] == "lsemvae-edge/key/1"
    assert made["encrypted"] is False
    assert "whoever can read it can sign" in err
    assert stat.S_IMODE((tmp_path / "hospital.pem").stat().st_mode) == 0o600

    code, out, err = cli("screen", recording, "--bundle", site, "--json")
    assert code == 0
    assert json.loads(out)["model"]["trust"] == "unsigned"
    assert "nobody vouches for where it comes from" in err

    code, out, _ = cli("bundle", "sign", site, "--key", f"{name}.pem", "--json")
    assert code == 0
    assert json.loads(out)["key"] == made["key"]
    assert json.loads(out)["sha256"] == bundles.load(site).sha256
    code, out, err = cli("screen", recording, "--bundle", site, "--json")
    assert json.loads(out)["model"]["trust"] == "unknown_key"
    assert made["key"] in err

    code, out, _ = cli("bundle", "trust", f"{name}.pub", "--name", "District hospital", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["restricts"] is True
    assert found["keys"] == [{"key": made["key"], "name": "District hospital"}]
    code, out, err = cli("screen", recording, "--bundle", site, "--json")
    assert code == 0
    assert err == ""
    assert json.loads(out)["model"]["trust"] == "signed"
    assert json.loads(cli("bundle", "trust", "--list", "--json")[1])["accepted"] == {
        bundles.load(site).manifest.name: 2
    }


def test_screening_with_the_shipped_bundle_asks_no_store(cli, recording, monkeypatch, tmp_path):
    monkeypatch.setenv(trust.VARIABLE, str(tmp_path / "absent.json"))
    code, out, err = cli("screen", recording, "--json")
    assert code == 0
    assert err == ""
    assert json.loads(out)["model"]["trust"] == "shipped"


def test_an_older_version_is_taken_only_when_the_operator_goes_back(cli, site, recording, tmp_path, rewritten):
    older = rewritten(bundles.load(site), tmp_path / "older", version=1).path
    cli("bundle", "keygen", "--out", tmp_path / "k")
    for path in (site, older):
        assert cli("bundle", "sign", path, "--key", tmp_path / "k.pem")[0] == 0
    assert cli("bundle", "trust", tmp_path / "k.pub")[0] == 0
    assert cli("screen", recording, "--bundle", site)[0] == 0
    code, out, _ = cli("screen", recording, "--bundle", older, "--json")
    assert code == 5
    assert "older than version 2" in json.loads(out)["message"]
    assert f"bundle trust --roll-back {older}" in json.loads(out)["next_step"]
    code, out, _ = cli("bundle", "trust", "--roll-back", older)
    assert code == 0
    assert "Version 1" in out
    assert cli("screen", recording, "--bundle", older)[0] == 0


def test_a_passphrase_comes_from_a_file(cli, site, tmp_path):
    (tmp_path / "words").write_text("open sesame\nsecond line\n")
    (tmp_path / "other").write_text("open barley\n")
    (tmp_path / "empty").write_text("\n")
    code, _, err = cli("bundle", "keygen", "--out", tmp_path / "k", "--passphrase-file", tmp_path / "words")
    assert code == 0
    assert err == ""
    key = ("bundle", "sign", site, "--key", tmp_path / "k.pem")
    assert cli(*key, "--passphrase-file", tmp_path / "words")[0] == 0
    for file, words in (("other", "not opened"), ("empty", "holds no passphrase"), ("absent", "cannot be read")):
        code, out, _ = cli(*key, "--passphrase-file", tmp_path / file, "--json")
        assert code == 2
        assert words in json.loads(out)["message"]
    code, out, _ = cli(*key, "--json")
    assert code == 2
    assert "is encrypted" in json.loads(out)["message"]


def test_a_passphrase_is_asked_for_twice_on_a_terminal(cli, tmp_path, monkeypatch):
    said = iter(["one", "two", "", "same", "same", "same"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(said))
    monkeypatch.setattr("sys.stdin", type("Terminal", (io.StringIO,), {"isatty": lambda self: True})())
    for _ in range(2):
        assert cli("bundle", "keygen", "--out", tmp_path / "k", "--passphrase")[0] == 2
    assert cli("bundle", "keygen", "--out", tmp_path / "k", "--passphrase")[0] == 0
    site = tmp_path / "site"
    bundles.pack(site, {name: bundles.default().read(name) for name in bundles.default().manifest.files})
    (site / "manifest.json").write_bytes(bundles.default().raw_manifest())
    assert cli("bundle", "sign", site, "--key", tmp_path / "k.pem")[0] == 0


def test_a_passphrase_is_not_asked_for_without_a_terminal(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("secret\nsecret\n"))
    code, out, _ = cli("bundle", "keygen", "--out", tmp_path / "k", "--passphrase", "--json")
    assert code == 2
    assert "--passphrase-file" in json.loads(out)["next_step"]
    assert not (tmp_path / "k.pem").exists()


def test_a_key_is_not_written_over(cli, tmp_path):
    assert cli("bundle", "keygen", "--out", tmp_path / "k")[0] == 0
    before = (tmp_path / "k.pem").read_bytes()
    assert cli("bundle", "keygen", "--out", tmp_path / "k")[0] == 2
    assert (tmp_path / "k.pem").read_bytes() == before


def test_a_digest_or_a_bundle_is_pinned(cli, site, tmp_path):
    digest = bundles.load(site).sha256
    code, out, _ = cli("bundle", "trust", site, "--json")
    assert code == 0
    assert json.loads(out)["pins"] == [{"name": f"{bundles.load(site).manifest.name} version 2", "sha256": digest}]
    code, out, _ = cli("bundle", "trust", digest.upper(), "--name", "ours")
    assert code == 0
    assert f"digest {digest}  ours" in out
    assert json.loads(cli("verify", site, "--json")[1])["standing"] == {"kind": "pinned", "name": "ours", "key": None}
    code, out, _ = cli("bundle", "trust", "--remove", digest[:10])
    assert code == 0
    assert f"{digest} is no longer trusted" in out
    assert "every whole bundle is taken" in out


def test_a_damaged_bundle_is_neither_signed_nor_pinned(cli, site, tmp_path):
    cli("bundle", "keygen", "--out", tmp_path / "k")
    (site / "card.md").write_bytes((site / "card.md").read_bytes()[::-1])
    for arguments in (("sign", site, "--key", tmp_path / "k.pem"), ("trust", site), ("trust", "--roll-back", site)):
        code, out, _ = cli("bundle", *arguments, "--json")
        assert code == 5
        assert "card.md" in json.loads(out)["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("trust",),
        ("trust", "no such thing"),
        ("trust", "ab" * 32, "--list"),
        ("trust", "--list", "--name", "x"),
        ("trust", "ab" * 32, "--name", "two\nlines"),
        ("trust", "--remove", "abc"),
        ("keygen",),
        ("sign", "somewhere"),
    ],
)
def test_wrong_usage_is_2(cli, arguments):
    code, out, _ = cli("bundle", *arguments, "--json")
    assert code == 2
    assert json.loads(out)["code"] == 2


def test_show_says_what_a_bundle_is_also_one_that_is_refused(cli, site, tmp_path):
    shipped = bundles.default()
    code, out, _ = cli("bundle", "show", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["schema"] == "lsemvae-edge/bundle-facts/1"
    assert (found["bundle"], found["version"], found["sha256"]) == (shipped.spec.id, 1, shipped.sha256)
    assert found["standing"] == {"kind": "shipped", "name": None, "key": None, "reason": None}
    assert found["models"][0]["sha256"] == shipped.manifest.files[found["models"][0]["path"]].sha256
    assert found["stand_in"] == shipped.spec.intended_use.stand_in
    assert found["licence"] == shipped.manifest.licence

    assert "not signed" in cli("bundle", "show", site)[1]
    cli("bundle", "trust", "ab" * 32)
    code, out, _ = cli("bundle", "show", site, "--json")
    assert code == 0
    assert json.loads(out)["standing"]["kind"] == "refused"
    code, out, _ = cli("bundle", "show", site)
    assert code == 0
    assert "refused here: The bundle is not signed" in out
    assert shipped.manifest.licence in out


def test_a_damaged_store_stops_every_command_that_asks_it(cli, site, recording):
    trust.store_path().parent.mkdir(parents=True)
    trust.store_path().write_text("{")
    for arguments in (("screen", recording, "--bundle", site), ("verify", site), ("bundle", "trust", "--list")):
        code, out, _ = cli(*arguments, "--json")
        assert code == 5
        assert "is damaged" in json.loads(out)["message"]


def test_an_archive_goes_the_same_way(cli, recording, tmp_path, rewritten):
    archive = rewritten(bundles.default(), tmp_path / "site.zip", version=2).path
    cli("bundle", "keygen", "--out", tmp_path / "k")
    assert cli("bundle", "sign", archive, "--key", tmp_path / "k.pem")[0] == 0
    assert cli("bundle", "trust", tmp_path / "k.pub")[0] == 0
    assert json.loads(cli("screen", recording, "--bundle", archive, "--json")[1])["model"]["trust"] == "signed"
    assert "signed by k" in cli("verify", archive)[1]
