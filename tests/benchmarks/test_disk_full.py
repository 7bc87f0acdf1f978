"""Short forms of ``bench disk-full``: a full disk at the points where a person's record is at stake."""

import pytest

from lsemvae_edge.benchmarks import disk_full
from lsemvae_edge.cli import main
from lsemvae_edge.errors import ExitCode, StoreError, UsageError


@pytest.fixture
def measured():
    def measure(*points, step=32768, file_system=disk_full.TMPFS):
        try:
            return disk_full.measure(lambda _: None, points, step, file_system)
        except UsageError as error:
            pytest.skip(error.message)

    return measure


def test_nothing_earlier_is_lost_and_it_works_again_after_space_is_freed(measured):
    figures = measured("journal", "attempt", "audit", "amendment", "wipe", "restart")
    assert figures["findings"] == []
    for name, point in figures["points"].items():
        assert point["refused"] >= 1, name
        assert point["enough_bytes"] is not None, name


def test_keys_and_settings_say_that_there_is_no_space(measured):
    figures = measured("key", "settings", "new store")
    assert figures["findings"] == []
    assert all(point["messages"] for point in figures["points"].values())


def test_it_is_so_on_a_disk_with_a_journal_too(measured):
    figures = measured("attempt", "restart", "key", file_system=disk_full.EXT4)
    assert figures["file_system"] == "ext4"
    assert figures["findings"] == []
    assert all(point["refused"] and point["enough_bytes"] is not None for point in figures["points"].values())


@pytest.mark.parametrize("left", [0, 5000, 300_000])
def test_so_much_is_left_as_was_asked_for(tmp_path, monkeypatch, left):
    class Volume:
        f_frsize = 4096

        @property
        def f_bavail(self):
            return 256 - (tmp_path / "filler").stat().st_blocks // 8

    monkeypatch.setattr(disk_full.os, "statvfs", lambda _: Volume())
    disk_full._fill(tmp_path / "filler", tmp_path, left)
    assert left <= disk_full._free(tmp_path) < left + 2 * 4096


class Silent:
    """Stands for a kiosk whose write point fails in a way that says nothing."""

    def __init__(self, error):
        self.error = error

    def __call__(self, kiosk):
        raise self.error


@pytest.mark.parametrize(
    ("error", "finding"),
    [
        (OSError(28, "No space left on device"), "instead of a typed error"),
        (StoreError("Something went wrong.", "Try again."), "does not say that the disk is full"),
    ],
)
def test_an_unclear_error_is_a_finding(monkeypatch, error, finding):
    monkeypatch.setitem(disk_full.POINTS, "attempt", Silent(error))
    findings: list[str] = []
    disk_full._tried("attempt", None, "here", findings)
    assert finding in findings[0]


def test_half_an_exported_file_is_a_finding(tmp_path):
    (tmp_path / "whole.json").write_text("{}")
    (tmp_path / "whole.pdf").write_bytes(b"%PDF-1.3 ... %%EOF\n")
    assert disk_full._half_files(tmp_path) == []
    (tmp_path / "half.json").write_text('{"a": ')
    (tmp_path / "half.pdf").write_bytes(b"%PDF-1.3 ...")
    assert len(disk_full._half_files(tmp_path)) == 2


def test_an_unknown_point_is_refused(capsys):
    assert main(["bench", "disk-full", "--point", "cake"]) == ExitCode.USAGE
    assert "attempt" in capsys.readouterr().err
