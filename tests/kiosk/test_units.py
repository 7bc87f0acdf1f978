"""Unit files are filled in whole, taken by systemd, harden what they start, and are missed when they are not there."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lsemvae_edge.errors import UsageError
from lsemvae_edge.kiosk import machine, unit_files

SERVICES = ("lsemvae-edge-kiosk.service", "lsemvae-edge-browser.service", "lsemvae-edge-terminal.service")
MAX_EXPOSURE = {"lsemvae-edge-kiosk.service": 2.5, "lsemvae-edge-terminal.service": 2.5,
                "lsemvae-edge-browser.service": 5.0}  # fmt: skip
"""Of ten, by systemd's own count; Chromium's sandbox needs what the others are denied."""
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


@pytest.fixture
def files():
    return unit_files.filled_in(starting=Path("/usr/bin/true"), under="/usr/bin/env --")


@pytest.fixture
def written(files, tmp_path):
    unit_files.write(files, tmp_path)
    return tmp_path


def text_of(files, name):
    return next(text for path, text in files.items() if path.name == name)


def lines_of(files, name):
    return text_of(files, name).splitlines()


def test_every_shipped_file_is_written_and_filled_in(files):
    shipped = {path.name for path in (Path(unit_files.__file__).parent / "units").iterdir()}
    assert shipped == set(unit_files.TEMPLATES)
    assert len(files) == len(unit_files.TEMPLATES)
    assert [path for path, text in files.items() if "@PROGRAM@" in text or "@COMPOSITOR@" in text] == []
    assert all(text.count("@CREDENTIAL@") + text.count("@NETWORK@") == 0 for text in files.values())


@needs_systemd
def test_systemd_takes_every_unit_without_a_word(written):
    units = [str(written / "systemd/system" / name) for name in SERVICES]
    done = subprocess.run([ANALYZE, "verify", *units], capture_output=True, text=True, check=False, timeout=120)
    ours = [line for line in done.stderr.splitlines() if "lsemvae-edge" in line]
    assert (done.returncode, ours) == (0, [])


@needs_systemd
def test_systemd_finds_a_misspelled_setting(written):
    unit = written / "systemd/system" / SERVICES[0]
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystm=strict"))
    done = subprocess.run([ANALYZE, "verify", str(unit)], capture_output=True, text=True, check=False, timeout=120)
    assert "ProtectSystm" in done.stderr


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_exposure_stays_low(written, name):
    done = subprocess.run(
        [ANALYZE, "security", "--offline=true", "--no-pager", str(written / "systemd/system" / name)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if "Overall exposure level" in line]
    if not found:
        pytest.skip(f"this systemd does not examine files: {done.stderr.strip()[:100]}")
    assert float(found[0].split(":")[1].split()[0]) <= MAX_EXPOSURE[name]


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_of_a_person_reaches_swap_core_files_or_other_users(files, name):
    lines = lines_of(files, name)
    for line in ("MemorySwapMax=0", "LimitCORE=0", "UMask=0077", "PrivateTmp=yes", "ProtectSystem=strict",
                 "NoNewPrivileges=yes", "Restart=always", "StartLimitIntervalSec=0"):  # fmt: skip
        assert line in lines, line
    assert any(line.startswith("MemoryMax=") for line in lines)


def test_the_browser_reaches_this_machine_alone_and_not_the_records(files):
    lines = lines_of(files, "lsemvae-edge-browser.service")
    assert {"IPAddressDeny=any", "IPAddressAllow=localhost", "InaccessiblePaths=-/var/lib/lsemvae-edge"} <= set(lines)
    user = next(line for line in lines if line.startswith("User="))
    assert user not in lines_of(files, "lsemvae-edge-kiosk.service")
    assert "StandardError=null" in lines


def test_the_screen_of_the_terminal_never_goes_to_the_journal(files):
    lines = lines_of(files, "lsemvae-edge-terminal.service")
    assert "StandardError=tty" in lines
    assert not any("journal" in line for line in lines if line.startswith("Standard"))


@pytest.mark.parametrize("name", [SERVICES[0], SERVICES[2]])
def test_the_watchdog_waits_for_a_program_that_reports(files, name):
    lines = lines_of(files, name)
    assert {"Type=notify", "NotifyAccess=main"} <= set(lines)
    assert any(line.startswith("WatchdogSec=") for line in lines)


def test_the_address_is_written_where_only_the_browser_may_look(files):
    (line,) = [line for line in lines_of(files, SERVICES[0]) if line.startswith("StandardOutput=")]
    place = Path(line.rsplit(":", 1)[1])
    assert f"--address-file {place}" in text_of(files, SERVICES[1])
    tmpfiles = next(text for path, text in files.items() if path.parts[0] == "tmpfiles.d")
    assert f"d {place.parent} 0750 root lsemvae-edge-page -" in tmpfiles


def test_without_a_server_the_kiosk_reaches_this_machine_alone():
    alone = unit_files.filled_in(with_network=False)
    for name in (SERVICES[0], SERVICES[2]):
        assert {"IPAddressDeny=any", "IPAddressAllow=localhost"} <= set(lines_of(alone, name))
    assert "IPAddressDeny=any" not in lines_of(unit_files.filled_in(), SERVICES[0])


def test_a_passphrase_comes_as_a_credential(files):
    from lsemvae_edge.store import places

    given = unit_files.filled_in(passphrase_file=Path("/media/key/passphrase"))
    assert unit_files.CREDENTIAL == places.CREDENTIAL
    assert f"LoadCredential={places.CREDENTIAL}:/media/key/passphrase" in lines_of(given, SERVICES[0])
    assert "LoadCredential" not in text_of(files, SERVICES[0])


@pytest.mark.parametrize("path", ["relative", "/with space", "/with%specifier", "/with$variable", "/with\nline"])
def test_a_path_that_a_unit_would_read_otherwise_is_refused(path):
    with pytest.raises(UsageError):
        unit_files.filled_in(starting=Path(path))


def test_what_is_missing_changed_or_starts_nothing_is_found(tmp_path):
    assert len(unit_files.findings(tmp_path)) == len(unit_files.TEMPLATES)
    unit_files.write(unit_files.filled_in(starting=Path("/usr/bin/true"), under="/usr/bin/env"), tmp_path)
    assert unit_files.findings(tmp_path) == []
    unit = tmp_path / "systemd/system" / SERVICES[0]
    unit.write_text(unit.read_text().replace("LimitCORE=0\n", ""))
    (found,) = unit_files.findings(tmp_path)
    assert "not the one of this version" in found
    unit_files.write(unit_files.filled_in(starting=Path("/opt/nowhere/lsemvae-edge"), under="/usr/bin/env"), tmp_path)
    assert all("/opt/nowhere/lsemvae-edge" in found for found in unit_files.findings(tmp_path))
    assert len(unit_files.findings(tmp_path)) == len(SERVICES)


def test_files_are_readable_by_systemd_and_no_draft_stays(written):
    paths = [path for path in written.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o644}
    assert not [path for path in paths if path.name.startswith(".")]


def test_a_file_in_the_place_of_a_folder_is_an_error(files, tmp_path):
    (tmp_path / "systemd").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        unit_files.write(files, tmp_path)


@pytest.mark.parametrize(
    ("swaps", "count"),
    [
        ("Filename Type Size Used Priority\n", 0),
        ("Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n", 0),
        ("Filename Type Size Used Priority\n/var/swap file 102396 0 -2\n", 1),
        ("Filename Type Size Used Priority\n/dev/dm-900 partition 1 0 -2\n/var/swap file 1 0 -3\n", 2),
    ],
)
def test_swap_on_a_disk_in_clear_is_found(monkeypatch, tmp_path, swaps, count):
    (tmp_path / "swaps").write_text(swaps)
    monkeypatch.setattr(machine, "SWAPS", tmp_path / "swaps")
    assert len(machine._swap()) == count


@pytest.mark.parametrize(("pattern", "count"), [("core\n", 1), ("|/bin/false\n", 0), ("/var/core.%p\n", 1)])
def test_core_files_on_a_disk_are_found(monkeypatch, tmp_path, pattern, count):
    (tmp_path / "pattern").write_text(pattern)
    monkeypatch.setattr(machine, "CORE_PATTERN", tmp_path / "pattern")
    assert len(machine._cores()) == count
