"""``kiosk``: a machine is set up by options alone, again without harm, and secrets are in no argument."""

import io
import json
from dataclasses import asdict

import pytest

from lsemvae_edge.cli import main
from lsemvae_edge.cli.kiosk import _secrets, check
from lsemvae_edge.errors import ExitCode, UsageError
from lsemvae_edge.kiosk import machine, operators, printing, settings, unit_files
from lsemvae_edge.store import places

PASSPHRASE = "four words at random"
PIN = "8291"


@pytest.fixture(autouse=True)
def machine_of_a_test(tmp_path, monkeypatch):
    """A machine with nothing on it, and nobody at its terminal."""
    for name in ("LSEMVAE_EDGE_STORE", "LSEMVAE_EDGE_STORE_KEY", "LSEMVAE_EDGE_KIOSK", "LSEMVAE_EDGE_OPERATORS",
                 "LSEMVAE_EDGE_SIGN_IN_PAUSES", "LSEMVAE_EDGE_PASSPHRASE_FILE", "CREDENTIALS_DIRECTORY"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("CUPS_SERVER", str(tmp_path / "no-cups"))
    monkeypatch.setattr("sys.stdin", io.StringIO())


@pytest.fixture
def secret(tmp_path):
    """Function that puts a secret into a file."""

    def write(text, name="secret"):
        path = tmp_path / name
        path.write_text(f"{text}\nsecond line\n")
        return path

    return write


@pytest.fixture
def set_up(cli, secret):
    """Function that sets the machine up."""

    def run(*more):
        return cli("kiosk", "setup", "--passphrase-file", secret(PASSPHRASE), "--supervisor", "anju",
                   "--pin-file", secret(PIN, "pin"), "--json", *more)  # fmt: skip

    return run


def test_setup_makes_everything_by_options_alone(set_up, monkeypatch, secret):
    code, out, _ = set_up("--language", "ne", "--site", "Health post", "--printer", "none")
    assert code == ExitCode.DONE
    told = json.loads(out)
    assert (told["store_made"], told["key_protected"], told["supervisor"]) == (True, True, "ANJU")
    assert settings.read().language == "ne"
    assert settings.read().site == "Health post"
    assert operators.verify("ANJU", PIN).role == "supervisor"
    monkeypatch.setenv("LSEMVAE_EDGE_PASSPHRASE_FILE", str(secret(PASSPHRASE)))
    with places.open_store("clinic") as store:
        assert store.kind == "clinic"
    assert places.key_path().stat().st_mode & 0o077 == 0


def test_setup_again_changes_only_what_is_named(set_up, cli):
    set_up("--language", "ne", "--site", "Health post")
    key = places.key_path().read_bytes()
    code, out, _ = cli("kiosk", "setup", "--site", "Hospital", "--json")
    told = json.loads(out)
    assert (code, told["store_made"], told["supervisor"]) == (ExitCode.DONE, False, None)
    assert (told["language"], told["site"]) == ("ne", "Hospital")
    assert places.key_path().read_bytes() == key
    assert operators.codes() == ("ANJU",)


def test_setup_that_is_told_too_little_says_which_option_is_missing(cli, secret):
    code, _, err = cli("kiosk", "setup")
    assert (code, "--passphrase-file FILE or --no-passphrase" in err) == (ExitCode.USAGE, True)
    assert not places.store_folder("clinic").exists()
    code, _, err = cli("kiosk", "setup", "--no-passphrase")
    assert (code, "--supervisor CODE" in err) == (ExitCode.USAGE, True)
    code, out, err = cli("kiosk", "setup", "--supervisor", "anju", "--pin-file", secret(PIN))
    assert code == ExitCode.DONE
    assert "WITHOUT passphrase" in out
    assert "rotate-key" in err


def test_a_short_passphrase_is_refused_before_anything_is_made(cli, secret):
    code, _, err = cli("kiosk", "setup", "--passphrase-file", secret("short"), "--supervisor", "a", "--pin-file", "-")
    assert (code, "at least 12 characters" in err) == (ExitCode.USAGE, True)
    assert not places.key_path().exists()


def test_a_store_whose_key_is_gone_is_never_given_another(set_up, cli):
    set_up()
    places.key_path().unlink()
    code, _, err = cli("kiosk", "setup")
    assert (code, "its key" in err) == (ExitCode.STORE, True)
    assert not places.key_path().exists()


def test_setup_asks_in_a_terminal(monkeypatch, cli, tmp_path):
    answers = iter([PASSPHRASE, PASSPHRASE, PIN, PIN])
    monkeypatch.setattr(_secrets, "is_asked", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    monkeypatch.setattr("builtins.input", lambda _: "anju")
    code, out, _ = cli("kiosk", "setup")
    assert (code, "with passphrase" in out) == (ExitCode.DONE, True)
    assert operators.verify("ANJU", PIN)


def test_what_is_typed_twice_must_agree(monkeypatch):
    answers = iter(["1234", "1235"])
    monkeypatch.setattr(_secrets, "is_asked", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    with pytest.raises(UsageError, match="differ"):
        _secrets.read("PIN", None, "--pin-file")


def test_a_pin_comes_from_standard_input_or_a_file_and_from_no_argument(cli, monkeypatch, secret):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PIN}\n"))
    assert cli("kiosk", "operators", "add", "bimal", "--supervisor", "--pin-file", "-")[0] == ExitCode.DONE
    assert operators.verify("BIMAL", PIN)
    assert cli("kiosk", "operators", "pin", "bimal", "--pin-file", secret("5017"))[0] == ExitCode.DONE
    assert operators.verify("BIMAL", "5017")
    assert cli("kiosk", "operators", "add", "gita", "--pin", PIN)[0] == ExitCode.USAGE
    code, _, err = cli("kiosk", "operators", "add", "gita")
    assert (code, "--pin-file" in err) == (ExitCode.USAGE, True)
    assert (
        cli("kiosk", "operators", "pin", "bimal", "--pin-file", secret("x", "f").parent / "none")[0] == ExitCode.USAGE
    )


def test_operators_are_listed_and_removed(cli, secret):
    assert "nobody has to sign in" in cli("kiosk", "operators", "list")[1].lower()
    cli("kiosk", "operators", "add", "anju", "--supervisor", "--pin-file", secret(PIN))
    cli("kiosk", "operators", "add", "bimal", "--pin-file", secret(PIN))
    _, out, _ = cli("kiosk", "operators", "list", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["code"], row["role"]) for row in rows] == [("ANJU", "supervisor"), ("BIMAL", "operator")]
    assert PIN not in out
    assert cli("kiosk", "operators", "remove", "bimal")[0] == ExitCode.DONE
    assert operators.codes() == ("ANJU",)
    assert cli("kiosk", "operators", "remove", "nobody")[0] == ExitCode.USAGE


def test_settings_of_every_kind_are_read_from_text(cli):
    code, out, _ = cli(
        "kiosk", "settings", "language=ne", "languages=en, ne", "site=Health post", "check_character=no", "attempts=2",
        "idle_lock_s=90.5", "printer=Laser", "retention_days=365", "fhir.url=https://fhir.example/r4",
        "fhir.token_file=/etc/token", "--json",
    )  # fmt: skip
    assert code == ExitCode.DONE
    found = settings.read()
    assert (found.language, found.languages, found.site) == ("ne", ("en", "ne"), "Health post")
    assert (found.check_character, found.attempts, found.idle_lock_s) == (False, 2, 90.5)
    assert (found.printer, found.retention_days) == ("Laser", 365)
    assert found.fhir == settings.FhirServer("https://fhir.example/r4", "/etc/token")
    assert json.loads(out)["schema"] == "lsemvae-edge/kiosk-settings/1"
    assert cli("kiosk", "settings", "printer=none", "retention_days=none", "fhir=none")[0] == ExitCode.DONE
    assert (settings.read().printer, settings.read().retention_days, settings.read().fhir) == (None, None, None)


@pytest.mark.parametrize(
    "change",
    ["attempts=three", "attempts=99", "check_character=perhaps", "idle_lock_s=inf", "idle_lock_s=nan", "language=xx",
     "schema=other", "nothing=1", "fhir.token_file=/etc/token", "fhir.other=1", "study_id_pattern=[", "attempts=none",
     "no-equals"],
)  # fmt: skip
def test_what_is_no_setting_changes_nothing(cli, change):
    cli("kiosk", "settings", "site=Before")
    assert cli("kiosk", "settings", "site=After", change)[0] == ExitCode.USAGE
    assert settings.read() == settings.Settings(site="Before")


def test_settings_are_listed_as_they_are_written(cli):
    _, out, _ = cli("kiosk", "settings")
    listed = dict(line.split(None, 1) for line in out.splitlines() if len(line.split(None, 1)) == 2)
    assert listed["languages"] == "en,ne,hi,es,fr"
    assert listed["check_character"] == "yes"
    assert listed["printer"] == "none"
    changes = [f"{name}={value}" for name, value in listed.items()]
    assert cli("kiosk", "settings", *changes)[0] == ExitCode.DONE
    assert settings.read() == settings.Settings()


def test_units_are_written_for_the_settings_of_this_machine(cli, tmp_path):
    code, out, _ = cli("kiosk", "units", "--out", tmp_path / "etc", "--program", "/opt/x/lsemvae-edge", "--json")
    paths = [json.loads(line)["path"] for line in out.splitlines()]
    assert (code, len(paths)) == (ExitCode.DONE, 5)
    unit = (tmp_path / "etc/systemd/system/lsemvae-edge-kiosk.service").read_text()
    assert "ExecStart=/opt/x/lsemvae-edge screen" in unit
    assert "IPAddressDeny=any" in unit
    cli("kiosk", "settings", "fhir.url=https://fhir.example/r4")
    cli("kiosk", "units", "--out", tmp_path / "etc", "--passphrase-file", "/media/key/passphrase")
    unit = (tmp_path / "etc/systemd/system/lsemvae-edge-kiosk.service").read_text()
    assert "IPAddressDeny=any" not in unit
    assert "LoadCredential=lsemvae-edge-passphrase:/media/key/passphrase" in unit


def test_root_writes_units_for_the_settings_of_the_kiosks_own_user(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(unit_files, "SETTINGS", tmp_path / "kiosk.json")
    unit = tmp_path / "etc/systemd/system/lsemvae-edge-kiosk.service"
    server = settings.FhirServer("https://fhir.example/r4")
    (tmp_path / "kiosk.json").write_text(json.dumps(asdict(settings.Settings(fhir=server))))
    (tmp_path / "kiosk.json").chmod(0o600)
    cli("kiosk", "units", "--out", tmp_path / "etc")
    assert "IPAddressDeny=any" not in unit.read_text()
    cli("kiosk", "units", "--out", tmp_path / "etc", "--no-network")
    assert "IPAddressDeny=any" in unit.read_text()


def test_units_need_a_folder(cli, tmp_path):
    assert cli("kiosk", "units")[0] == ExitCode.USAGE
    (tmp_path / "file").write_text("")
    assert cli("kiosk", "units", "--out", tmp_path / "file")[0] == ExitCode.USAGE


def test_check_names_what_it_finds_and_is_content_with_nothing(cli, monkeypatch):
    cli("kiosk", "settings", "printer=Laser")
    code, out, _ = cli("kiosk", "check", "--topic", "printer", "--topic", "units", "--json")
    rows = {row["topic"]: row["findings"] for row in map(json.loads, out.splitlines())}
    assert code == ExitCode.DEVICE
    assert set(rows) == {"printer", "units"}
    assert any("CUPS does not run" in finding for finding in rows["printer"])
    monkeypatch.setattr(printing, "check", lambda queue: [])
    monkeypatch.setattr(machine, "findings", list)
    monkeypatch.setattr(machine, "screen_findings", list)
    monkeypatch.setitem(check._TOPICS, "units", list)
    code, out, _ = cli("kiosk", "check")
    assert (code, out.count("nothing to put right")) == (ExitCode.DONE, 4)


def test_check_tells_a_key_without_passphrase_from_one_with(cli, secret, set_up):
    def found():
        out = cli("kiosk", "check", "--topic", "machine", "--json")[1]
        return " ".join(json.loads(out)["findings"])

    assert "There is no store yet" in found()
    set_up()
    assert "passphrase" not in found()


def test_a_browser_without_an_address_file_is_wrong_usage():
    assert main(["kiosk", "browser"]) == ExitCode.USAGE
