"""A journal gives the recording again, whatever happened during it."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from lsemvae_edge.benchmarks.bluetooth import Session, numbered
from lsemvae_edge.codecs.journal import MAGIC, Entry, decode, encode, encode_values
from lsemvae_edge.device.assembler import BARRIER_S
from lsemvae_edge.device.errors import UnknownRecorderError
from lsemvae_edge.device.journal import JournalWriter
from lsemvae_edge.device.presence import ANSWER_S, SAME_PERSON_S
from lsemvae_edge.device.replay import decoded, replay
from lsemvae_edge.device.virtual import shelf
from lsemvae_edge.errors import BadInputError


def begun(tmp_path, name, **options):
    return Session(name, journal=JournalWriter(tmp_path / "a.lsej"), keep_s=3600.0, **options)


def replayed(tmp_path):
    return replay(tmp_path / "a.lsej")


def assert_equal(live, again):
    np.testing.assert_array_equal(again.signal_mv, live.signal_mv)
    np.testing.assert_array_equal(again.gaps, live.gaps)
    assert (again.fs_hz, again.leads, again.amplitude, again.origin) == (
        live.fs_hz,
        live.leads,
        live.amplitude,
        live.origin,
    )
    same = ("device", "id", "clock_set", "part", "clock")
    assert {key: again.meta[key] for key in same} == {key: live.meta[key] for key in same}
    # Live goes by the wall clock of now, and simulated time runs ahead of it.
    assert abs(again.started_at - live.started_at) < timedelta(seconds=30)


@pytest.mark.parametrize("name", shelf.MADE)
def test_live_and_replay_give_the_same_record(tmp_path, name):
    session = begun(tmp_path, name)
    session.run(8.0)
    live = session.end()
    assert live.duration_s > 6.0
    (again,) = replayed(tmp_path)
    assert_equal(live, again)
    assert again.origin == "simulated"
    assert again.meta["received"]["samples"] == session.intake.all_counts()["samples"]


def test_a_lost_link_is_replayed(tmp_path):
    session = begun(tmp_path, "open-6l")
    session.run(3.0)
    session.link_lost()
    session.pass_by(2.0)
    session.link_up()
    session.run(3.0)
    live = session.end()
    (again,) = replayed(tmp_path)
    assert again.gaps.any(axis=0).sum() == pytest.approx(1000, abs=50)
    assert_equal(live, again)


def test_a_restart_begins_a_part_in_both(tmp_path):
    session = begun(tmp_path, "open-6l")
    session.run(3.0)
    session.recorder.reboot()
    session.link_lost()
    session.link_up()
    session.run(4.0)
    live = [session.end(), *session.intake.parts]
    again = replayed(tmp_path)
    assert [part.meta["part"] for part in again] == [0, 1]
    assert_equal(live[1], again[0])
    assert_equal(live[0], again[1])


def test_a_new_count_without_a_new_link_begins_a_part_in_both(tmp_path):
    session = begun(tmp_path, "movesense")
    session.run(3.0)
    session.recorder.reboot()
    session._start()
    session.run(4.0)
    live = [session.end(), *session.intake.parts]
    again = replayed(tmp_path)
    assert len(again) == len(live) == 2
    assert_equal(live[1], again[0])
    assert_equal(live[0], again[1])


@pytest.mark.parametrize("is_same", [True, False])
def test_samples_held_back_from_a_doubtful_person_stay_out(tmp_path, is_same):
    session = begun(tmp_path, "open-6l")
    session.run(3.0)
    session.recorder.off = frozenset({"RA"})
    session.run(SAME_PERSON_S + 1)
    assert session.intake.is_in_question
    session.recorder.off = frozenset()
    session.run(2.0)
    session.intake.confirm(is_same)
    now_s = session._begun_s + session.elapsed_s
    if session.intake.is_another_person(now_s):
        session.intake.halting()
        session._command(session.driver.stop(session.stream))
        session.intake.begin_part()
        session._start()
    session.run(3.0)
    live = [*session.intake.parts, session.end()]
    again = replayed(tmp_path)
    assert len(again) == len(live) == (1 if is_same else 2)
    for one, other in zip(live, again, strict=True):
        assert_equal(one, other)
    assert again[0].gaps.any()
    assert ANSWER_S > 2.0


def test_a_torn_end_costs_the_last_entry_and_is_told(tmp_path):
    session = begun(tmp_path, "open-6l")
    session.run(3.0)
    live = session.end()
    path = tmp_path / "a.lsej"
    path.write_bytes(path.read_bytes()[:-100])
    (again,) = replayed(tmp_path)
    assert 0 < live.n_samples - again.n_samples <= 60
    np.testing.assert_array_equal(again.signal_mv, live.signal_mv[:, : again.n_samples])
    assert again.meta["torn_bytes"] > 0


def data_entries(path):
    return [one for one in decode(path.read_bytes()) if one.kind == "data"]


def altered(path, entry):
    """Alter one byte of an entry."""
    whole = bytearray(path.read_bytes())
    at = bytes(whole).index(encode(entry))
    whole[at + 20] ^= 1
    path.write_bytes(bytes(whole))


def test_damage_in_the_middle_ends_a_part_and_what_follows_is_read(tmp_path):
    session = begun(tmp_path, "open-6l", record=numbered("open-6l"))
    session.run(6.0)
    live = session.end()
    path = tmp_path / "a.lsej"
    altered(path, data_entries(path)[75])
    before, after = replayed(tmp_path)
    assert before.n_samples + after.n_samples == live.n_samples - 20
    np.testing.assert_array_equal(before.signal_mv, live.signal_mv[:, : before.n_samples])
    np.testing.assert_array_equal(after.signal_mv, live.signal_mv[:, -after.n_samples :])
    assert "torn_bytes" not in before.meta
    assert after.meta["torn_bytes"] > 0


@pytest.mark.parametrize("hidden", ["held", "counts", "part"])
def test_damage_never_lets_in_whom_it_hid(tmp_path, hidden):
    session = begun(tmp_path, "open-6l", record=numbered("open-6l"))
    session.run(3.0)
    session.recorder.off = frozenset({"RA", "LA", "LL"})
    session.run(SAME_PERSON_S + 1)
    session.recorder.off = frozenset()
    session.run(2.0)
    session.intake.confirm(True)
    assert not session.intake.is_another_person(session._begun_s + session.elapsed_s)
    session.run(3.0)
    live = session.end()
    path = tmp_path / "a.lsej"
    marks = [one for one in decode(path.read_bytes()) if one.kind == "counting"]
    held = next(at for at, one in enumerate(marks) if one.content == b"\x02")
    if hidden == "part":
        path.write_bytes(path.read_bytes().replace(encode(marks[held + 1]), encode_values("part", 1, {"recording": 2})))
    else:
        altered_mark = marks[held if hidden == "held" else held + 1]
        whole = path.read_bytes()
        path.write_bytes(whole.replace(encode(altered_mark), b"\xff" * len(encode(altered_mark))))
    shown = {value for part in replayed(tmp_path) for value in np.rint(part.signal_mv[0][~part.gaps[0]] * 1e6).tolist()}
    allowed = set(np.rint(live.signal_mv[0][~live.gaps[0]] * 1e6).tolist())
    assert shown <= allowed
    assert shown


def header(**values):
    return encode_values("header", 1, {"driver": "open-6l", "id": "x", "origin": "live", **values})


@pytest.mark.parametrize(
    "rest",
    [
        [encode(Entry("data", 2, b"\x00abc"))],
        [encode(Entry("counting", 2, b"\x01"))],
        [encode_values("up", 2, {"mtu": "large", "reads": {}})],
        [encode_values("up", 2, {"mtu": 247, "reads": {"x": "no hex"}})],
        [encode_values("up", 2, {"mtu": 247, "reads": {"x": 5}})],
        [encode_values("part", 2, {})],
        [header()],
    ],
)
def test_a_journal_that_contradicts_itself_is_refused(rest):
    with pytest.raises(BadInputError, match="contradicts itself"):
        decoded(decode(MAGIC + header() + b"".join(rest)))


def test_a_journal_of_an_unknown_driver_names_the_known_ones():
    with pytest.raises(UnknownRecorderError, match="elsewhere"):
        decoded(decode(MAGIC + header(driver="elsewhere")))


def test_a_journal_without_samples_has_no_parts():
    assert decoded(decode(MAGIC + header())) == []


def test_a_start_without_a_part_is_that_of_the_header(tmp_path):
    session = begun(tmp_path, "polar-h10")
    session.run(3.0)
    session.end()
    entries = []
    for one in decode((tmp_path / "a.lsej").read_bytes()):
        if one.kind == "header":
            one = replace(one, content=header(driver="polar-h10", started_at="2026-05-06T07:08:09+00:00")[11:-4])
        entries.append(replace(one, content=b'{"recording":1,"began_at":"never"}') if one.kind == "part" else one)
    (again,) = decoded(entries)
    assert again.started_at.isoformat() == "2026-05-06T07:08:09+00:00"
    assert BARRIER_S > 0
