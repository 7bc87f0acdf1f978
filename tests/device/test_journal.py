import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from lsemvae_edge.codecs.journal import Entry, Torn
from lsemvae_edge.device import journal
from lsemvae_edge.device.driver import Stream
from lsemvae_edge.device.journal import JournalWriter, opened
from lsemvae_edge.errors import BadInputError, StoreError

STREAM = Stream(500.0, ("I", "II"), 0.001, 0.04, boot=9)
DATA, CLOCK = "06bc0002-b3d0-4fde-ad9a-423ad5ddf3fb", "06bc0003-b3d0-4fde-ad9a-423ad5ddf3fb"


def begun(path, **options):
    writer = JournalWriter(path, **options)
    writer.header({"driver": "open-6l"})
    return writer


def entries(path):
    with opened(path) as found:
        return list(found)


def test_everything_comes_back_in_order(tmp_path):
    writer = begun(tmp_path / "a.lsej")
    writer.up(STREAM, {CLOCK: b"\x01\x02"}, 247, 500.0)
    writer.part(3)
    writer.counting("starting")
    writer.counting("counts")
    writer.write(5, DATA, b"one")
    writer.write(6, CLOCK, b"two")
    writer.write(7, DATA, b"three")
    writer.polled()
    writer.lost()
    writer.end()
    found = entries(tmp_path / "a.lsej")
    assert [one.kind for one in found] == [
        "header", "up", "part", "counting", "counting", "source", "data", "source", "data", "data", "polled", "lost",
        "end",
    ]  # fmt: skip
    assert found[0].values()["driver"] == "open-6l"
    assert found[1].values() == {"mtu": 247, "fs_hz": 500.0, "reads": {CLOCK: "0102"}, "boot": 9}
    assert found[2].values()["recording"] == 3
    assert [one.content for one in found[3:5]] == [b"\x00", b"\x01"]
    assert found[5].content == b"\x00" + DATA.encode()
    assert found[6] == Entry("data", 5, b"\x00one")
    assert found[8:10] == [Entry("data", 6, b"\x01two"), Entry("data", 7, b"\x00three")]


def test_nobody_else_can_read_it_and_nothing_is_overwritten(tmp_path):
    begun(tmp_path / "a.lsej").end()
    assert (tmp_path / "a.lsej").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="File exists"):
        JournalWriter(tmp_path / "a.lsej")
    with pytest.raises(StoreError) as refused:
        JournalWriter(tmp_path / "absent" / "a.lsej")
    assert "Free space" in refused.value.next_step


def test_an_end_is_written_once(tmp_path):
    writer = begun(tmp_path / "a.lsej")
    writer.end()
    writer.end()
    writer.write(1, DATA, b"late")
    assert [one.kind for one in entries(tmp_path / "a.lsej")] == ["header", "end"]


def test_every_entry_is_handed_over_at_once(tmp_path):
    writer = begun(tmp_path / "a.lsej", sync_s=1e9)
    for number in range(20):
        writer.write(number, DATA, bytes([number]))
        assert entries(tmp_path / "a.lsej")[-1].content == bytes([0, number])
    writer.end()


def test_the_disk_is_told_by_another_thread_and_never_waited_for(tmp_path, monkeypatch):
    synced, may_end = [], threading.Event()

    def slow(descriptor):
        assert may_end.wait(10.0)
        synced.append(descriptor)

    monkeypatch.setattr(journal.os, "fdatasync", slow)
    writer = begun(tmp_path / "a.lsej", sync_s=0.0)
    for number in range(50):
        writer.write(number, DATA, b"x")
    assert not synced
    may_end.set()
    writer.end()
    assert 2 <= len(synced) <= 3


def test_a_full_disk_is_told_once_and_leaves_whole_entries(tmp_path, monkeypatch):
    writer = begun(tmp_path / "a.lsej", sync_s=1e9)
    writer.write(1, DATA, b"before")
    left = [30]
    original = os.write

    def full(descriptor, data):
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = original(descriptor, data[: left[0]])
        left[0] -= done
        return done

    monkeypatch.setattr(journal.os, "write", full)
    writer.write(2, DATA, b"fits")
    with pytest.raises(StoreError, match="No space left") as told:
        writer.write(3, DATA, b"does not fit")
    assert "Free space" in told.value.next_step
    assert writer.is_failed
    writer.write(4, DATA, b"not heard of")
    writer.end()
    monkeypatch.undo()
    assert [one.content[1:] for one in entries(tmp_path / "a.lsej") if one.kind == "data"] == [b"before", b"fits"]


def test_a_disk_that_fails_behind_our_back_is_told(tmp_path, monkeypatch):
    def broken(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(journal.os, "fdatasync", broken)
    writer = begun(tmp_path / "a.lsej")
    with pytest.raises(StoreError, match="Input/output error"):
        writer.end()
    writer.end()


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="no journal"), opened(tmp_path / "absent"):
        pass
    with pytest.raises(BadInputError, match="no journal"), opened(tmp_path):
        pass
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(BadInputError, match="Cannot read"), opened(tmp_path / "empty"):
        pass
    (tmp_path / "text").write_bytes(b"I,II\n1,2\n")
    with pytest.raises(BadInputError, match="does not begin"):
        entries(tmp_path / "text")


def test_an_error_of_the_reader_stays_what_it_is(tmp_path):
    begun(tmp_path / "a.lsej").end()

    def read():
        with opened(tmp_path / "a.lsej") as found:
            next(found)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        read()


CHILD = """
import sys
from pathlib import Path
from lsemvae_edge.device.journal import JournalWriter
writer = JournalWriter(Path(sys.argv[1]), sync_s=0.01)
writer.header({"driver": "open-6l"})
number = 0
while True:
    number += 1
    writer.write(number, "06bc0002-b3d0-4fde-ad9a-423ad5ddf3fb", number.to_bytes(4, "little") * 30)
    sys.stdout.buffer.write(number.to_bytes(4, "little"))
    sys.stdout.buffer.flush()
"""


def test_what_was_acknowledged_is_there_after_a_kill_at_any_moment(tmp_path):
    rng = random.Random(7)
    for turn in range(5):
        path = tmp_path / f"{turn}.lsej"
        with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE) as child:
            told = child.stdout.read(4)
            time.sleep(rng.uniform(0.0, 0.1))
            os.kill(child.pid, signal.SIGKILL)
            told += child.stdout.read()
        acknowledged = int.from_bytes(told[: len(told) // 4 * 4][-4:], "little")
        found = entries(path)
        numbers = [one.at_ns for one in found if isinstance(one, Entry) and one.kind == "data"]
        assert acknowledged >= 1
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= acknowledged
        assert not any(isinstance(one, Torn) for one in found[:-1])
