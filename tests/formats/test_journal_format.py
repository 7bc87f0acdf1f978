"""Journals as files, and the way by which other packages offer formats."""

from importlib.metadata import EntryPoint, entry_points

import numpy as np
import pytest

from lsemvae_edge import formats
from lsemvae_edge.benchmarks.bluetooth import Session
from lsemvae_edge.device import journal_format
from lsemvae_edge.device.journal import JournalWriter
from lsemvae_edge.errors import BadInputError, UsageError


@pytest.fixture
def offered(monkeypatch):
    """Function that makes these entry points the only ones."""

    def offer(*values):
        points = [EntryPoint(f"format{number}", value, formats.GROUP) for number, value in enumerate(values)]
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points if group == formats.GROUP else [])
        formats._offered.cache_clear()

    yield offer
    formats._offered.cache_clear()


@pytest.fixture
def journal(tmp_path):
    """A journal of two parts, the second one longer; and what was kept of that."""
    session = Session("open-6l", journal=JournalWriter(tmp_path / "visit.lsej"))
    session.run(1.0)
    session.recorder.reboot()
    session.link_lost()
    session.link_up()
    session.run(3.0)
    return tmp_path / "visit.lsej", session.end()


def test_this_package_offers_its_journal():
    (point,) = [point for point in entry_points(group=formats.GROUP) if point.name == "journal"]
    assert point.load() is journal_format.FORMAT


def test_the_longest_part_of_a_journal_is_read(journal, offered):
    path, live = journal
    offered("lsemvae_edge.device.journal_format:FORMAT")
    record = formats.read(path)
    np.testing.assert_array_equal(record.signal_mv, live.signal_mv)
    assert (record.origin, record.fs_hz, record.leads) == ("simulated", 500.0, ("I", "II"))
    assert record.meta["format"] == "journal"
    assert record.meta["id"] == "visit"
    assert record.meta["device"].startswith("Open six-lead recorder")


def test_a_journal_states_its_own_rate(journal, offered):
    offered("lsemvae_edge.device.journal_format:FORMAT")
    with pytest.raises(UsageError, match="state their own"):
        formats.read(journal[0], fs_hz=250.0)


def test_a_journal_without_samples_is_no_recording(tmp_path, offered):
    offered("lsemvae_edge.device.journal_format:FORMAT")
    writer = JournalWriter(tmp_path / "a.lsej")
    writer.header({"driver": "open-6l", "id": "x", "origin": "live"})
    writer.end()
    with pytest.raises(BadInputError, match="no samples"):
        formats.read(tmp_path / "a.lsej")


def test_a_damaged_journal_is_refused_as_a_journal(tmp_path, offered):
    offered("lsemvae_edge.device.journal_format:FORMAT")
    (tmp_path / "a.lsej").write_bytes(b"LSEJ\x01" + bytes(40))
    with pytest.raises(BadInputError, match="no header"):
        formats.read(tmp_path / "a.lsej")


def test_without_the_room_that_reads_journals_one_is_not_recognised(journal, offered):
    offered()
    with pytest.raises(BadInputError, match="not a recording in a known format"):
        formats.read(journal[0])


@pytest.mark.parametrize("absent", ["lsemvae_edge.no_such_module:FORMAT", "lsemvae_edge.device.journal_format:ABSENT"])
def test_a_format_that_cannot_be_loaded_is_named_and_leaves_the_others_alone(tmp_path, journal, offered, absent):
    offered(absent)
    with pytest.raises(UsageError, match="format0 cannot be loaded"):
        formats.read(journal[0])
    formats.write(journal[1], tmp_path / "a.lser")
    assert formats.read(tmp_path / "a.lser").n_samples == journal[1].n_samples
    (tmp_path / "a.csv").write_text("I,II\n" + "0.1,0.2\n" * 100)
    assert formats.read(tmp_path / "a.csv", units="mV", fs_hz=100.0).n_samples == 100


def test_what_is_offered_must_be_a_format(journal, offered):
    offered("lsemvae_edge.device.journal_format:read")
    with pytest.raises(UsageError, match="is no Format"):
        formats.read(journal[0])
