"""The station: from an act to what is on disk and on the screen."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from lsemvae_edge.device.errors import LinkLostError, NotInRangeError
from lsemvae_edge.errors import LsemvaeError, StoreError, UsageError
from lsemvae_edge.kiosk import defects
from lsemvae_edge.synthetic.electrodes import add_noise
from lsemvae_edge.visit import Attempt, Visit


def go(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def kept(store):
    return list(store.attempts(newest_first=False))


def test_a_result_is_shown_after_it_is_on_disk_and_is_what_is_there(
    station_of, player, played, live_heart, stores, visit_to, until
):
    async def visit():
        async with station_of(player(played(live_heart()))) as station:
            await visit_to(station)
            await station.act("begin")
            return await until(station, "result", "retry")

    state = go(visit())
    (entry,) = kept(stores["clinic"])
    shown = state["result"]
    assert state["screen"] == "result"
    assert shown["seq"] == entry.seq
    assert shown["study_id"] == entry.facts["visit"]["study_id"] == "ABCD1"
    assert shown["outcome"] == entry.facts["result"]["outcome"]
    assert (shown["attempt"], shown["of"]) == (1, 3)
    assert shown["recording"] == entry.facts["result"]["record"]["id"]
    stored = stores["clinic"].read(entry.seq)
    assert stored.attempt.record.sha256() == entry.facts["result"]["record"]["sha256"]


def test_a_result_that_cannot_be_saved_is_not_shown(
    station_of, player, played, live_heart, stores, visit_to, until, monkeypatch
):
    def full(attempt):
        raise StoreError("The disk is full.", "Free space.")

    async def visit():
        async with station_of(player(played(live_heart()))) as station:
            await visit_to(station)
            monkeypatch.setattr(stores["clinic"], "append", full)
            await station.act("begin")
            return await until(station, "failed", "result", "retry")

    state = go(visit())
    assert state["screen"] == "failed"
    assert state["result"] is None
    assert state["message"] == {"message": "The disk is full.", "next_step": "Free space."}


def test_a_lost_link_is_kept_as_an_interrupted_attempt_and_can_be_tried_again(
    station_of, player, played, live_heart, stores, visit_to, until
):
    async def visit():
        broken = played(live_heart(4.0), LinkLostError("Recorder A", 60.0))
        async with station_of(player(broken, played(live_heart()))) as station:
            await visit_to(station)
            await station.act("begin")
            failed = await until(station, "failed")
            await station.act("retry")
            await station.act("begin")
            return failed, await until(station, "result", "retry")

    failed, state = go(visit())
    first, second = kept(stores["clinic"])
    assert failed["result"] is None
    assert "silent" in failed["message"]["message"]
    assert (first.facts["ended"], first.facts["number"]) == ("interrupted", 1)
    assert stores["clinic"].read(first.seq).attempt.record.duration_s == pytest.approx(4.0, abs=1.0)
    assert second.facts["number"] == state["result"]["attempt"] == 2
    assert first.facts["visit"]["id"] == second.facts["visit"]["id"]


def test_a_recorder_that_is_not_found_costs_no_attempt(station_of, player, played, live_heart, visit_to, until):
    async def visit():
        source = player(NotInRangeError("Recorder A", 10.0), played(live_heart()))
        async with station_of(source, attempts=1) as station:
            await visit_to(station)
            await station.act("begin")
            await until(station, "failed")
            await station.act("retry")
            await station.act("begin")
            return await until(station, "result", "retry")

    assert go(visit())["result"]["attempt"] == 1


def test_noise_is_refused_with_advice_and_retries_are_bounded(
    station_of, player, played, live_heart, stores, visit_to, until
):
    noisy = add_noise(live_heart(12.0), "muscle", -15, 1)

    async def visit():
        async with station_of(player(*(played(noisy) for _ in range(3))), recording_limit_s=11.0) as station:
            await visit_to(station)
            seen = []
            for attempt in range(3):
                await station.act("begin")
                seen.append(await until(station, "retry", "result"))
                if attempt < 2:
                    await station.act("retry")
            with pytest.raises(UsageError):
                await station.act("retry")
            return seen

    first, _, last = go(visit())
    assert first["screen"] == "retry"
    assert first["result"]["outcome"] == "inconclusive"
    assert first["result"]["advice"]
    assert last["screen"] == "result"
    assert "refer" in last["result"]["advice"]
    assert not last["result"]["can_retry"]
    assert [entry.facts["ended"] for entry in kept(stores["clinic"])] == ["refused"] * 3


def test_what_is_cancelled_is_kept_as_cancelled(station_of, player, played, live_heart, stores, visit_to, until):
    async def visit():
        async with station_of(player(played(live_heart(), pause_s=0.2))) as station:
            await visit_to(station)
            await station.act("begin")
            async with asyncio.timeout(10):
                while not (station.state()["recording"] or {}).get("seconds"):
                    await asyncio.sleep(0.05)
            await station.act("cancel")
            return station.state()

    state = go(visit())
    (entry,) = kept(stores["clinic"])
    assert (state["screen"], state["visit"], state["recording"]) == ("waiting", None, None)
    assert entry.facts["ended"] == "cancelled"


def test_simulated_recordings_are_kept_apart_and_carry_the_band(
    station_of, player, played, live_heart, stores, visit_to, until
):
    async def visit():
        heart = replace(live_heart(), origin="simulated")
        async with station_of(player(played(heart), simulated=True)) as station:
            await visit_to(station)
            hold = station.state()
            await station.act("begin")
            return hold, await until(station, "result", "retry")

    hold, state = go(visit())
    assert "SIMULATED" in hold["band"]
    assert "SIMULATED" in state["band"]
    assert state["result"]["simulated"]
    assert kept(stores["clinic"]) == []
    assert len(kept(stores["demo"])) == 1


def test_an_id_used_today_is_asked_about_and_a_repeat_goes_on_with_the_visit(
    station_of, player, played, live_heart, stores, visit_to, until
):
    async def visit():
        async with station_of(player(played(live_heart()), played(live_heart(seed=3)))) as station:
            await visit_to(station)
            await station.act("begin")
            await until(station, "result", "retry")
            await station.act("next")
            await station.act("start")
            await station.act("identify", text="abcd1")
            asked = station.state()
            await station.act("repeat")
            await until(station, "hold")
            await station.act("begin")
            return asked, await until(station, "result", "retry")

    asked, state = go(visit())
    first, second = kept(stores["clinic"])
    assert asked["screen"] == "repeat_or_other"
    assert state["result"]["attempt"] == 2
    assert first.facts["visit"]["id"] == second.facts["visit"]["id"]


def test_waiting_and_locked_screens_show_no_person(station_of, player, played, live_heart, visit_to, until):
    async def visit():
        async with station_of(player(played(live_heart()))) as station:
            await visit_to(station)
            await station.act("begin")
            await until(station, "result", "retry")
            await station.act("lock")
            locked = station.state()
            await station.act("unlock")
            again = station.state()
            await station.act("next")
            return locked, again, station.state()

    locked, again, waiting = go(visit())
    for state in (locked, waiting):
        assert "ABCD1" not in str(state)
        assert (state["result"], state["visit"], state["recording"]) == (None, None, None)
    assert again["result"]["study_id"] == "ABCD1"


def test_while_locked_nothing_can_be_done(station_of, player):
    async def visit():
        async with station_of(player()) as station:
            await station.act("start")
            await station.act("lock")
            with pytest.raises(UsageError, match="locked"):
                await station.act("identify", text="ABCD1")

    go(visit())


def test_an_act_on_a_screen_that_is_gone_does_nothing(station_of, player):
    async def visit():
        async with station_of(player()) as station:
            old = station.version
            await station.act("start", version=old)
            with pytest.raises(UsageError, match="changed"):
                await station.act("back", version=old)
            assert station.flow.screen == "identify"
            await station.act("back", version=station.version)

    go(visit())


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("nothing", {}),
        ("__init__", {}),
        ("choose", {"address": "BB:BB"}),
        ("begin", {}),
        ("start", {"more": 1}),
        ("identify", {"text": "?"}),
        ("set_language", {"code": "xx"}),
        ("confirm_same", {"same": True}),
        ("confirm_same", {"same": "yes"}),
        ("print", {}),
        ("start", {"self": 1}),
        ("identify", {}),
        ("identify", {"text": ["ABCD1"]}),
        ("set_language", {"code": {}}),
        ("retry", {"electrodes_confirmed": 1}),
        ("corrections", {}),
        ("correct", {"visit": "0", "text": "ABCD1"}),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(station_of, player, name, values):
    async def visit():
        async with station_of(player()) as station:
            with pytest.raises(LsemvaeError):
                await station.act(name, **values)
            return station.state()

    assert go(visit())["screen"] == "waiting"


class Operators:
    def __init__(self, *supervisors):
        self.supervisors = set(supervisors)

    def codes(self):
        return ("AB", "CD")

    def is_supervisor(self, code):
        return code in self.supervisors

    def verify(self, code, pin):
        if (code, pin) not in {("AB", "2580"), ("CD", "1470")}:
            raise UsageError("The code and the PIN do not belong together.", "Type it again.")
        return SimpleNamespace(code=code)


def test_operators_sign_in_switch_and_are_named_in_what_is_kept(
    station_of, player, played, live_heart, stores, visit_to, until
):
    async def visit():
        async with station_of(player(played(live_heart())), operators=Operators()) as station:
            assert station.state()["screen"] == "sign_in"
            with pytest.raises(UsageError):
                await station.act("start")
            with pytest.raises(UsageError, match="PIN"):
                await station.act("sign_in", operator="AB", pin="0000")
            await station.act("sign_in", operator="AB", pin="2580")
            await visit_to(station)
            await station.act("sign_in", operator="CD", pin="1470")
            assert station.state()["screen"] == "waiting"
            await visit_to(station, "EFGH2")
            await station.act("begin")
            await until(station, "result", "retry")

    go(visit())
    (entry,) = kept(stores["clinic"])
    assert entry.facts["visit"]["operator"] == "CD"
    notes = [(note.kind, note.facts["operator"]) for note in stores["clinic"].entries(kinds={"sign_in"})]
    assert notes == [("sign_in", "AB"), ("sign_in", "CD")]


def test_another_language_is_in_every_sentence_and_english_beside_the_result(
    station_of, player, played, live_heart, visit_to, until
):
    async def visit():
        async with station_of(player(played(live_heart()))) as station:
            await visit_to(station)
            await station.act("begin")
            english = await until(station, "result", "retry")
            await station.act("set_language", code="ne")
            return english, station.state()

    english, nepali = go(visit())
    assert english["result"]["headline_en"] is None
    assert nepali["result"]["headline"] != english["result"]["headline"]
    assert nepali["result"]["headline_en"] == english["result"]["headline"]
    assert nepali["result"]["advice_en"] == english["result"]["advice"]


def test_whoever_types_keeps_the_page_open_and_loses_no_hint(station_of, player):
    async def visit():
        async with station_of(player()) as station:
            await station.act("start")
            with pytest.raises(LsemvaeError):
                await station.act("identify", text="?")
            station.flow._touched_s -= 119
            version = station.version
            await station.act("touch", version=0)
            assert not station.flow.tick()
            assert station.version == version
            return station.state()

    assert go(visit())["message"] is not None


def test_a_locked_page_says_that_a_recording_goes_on_and_not_whose(
    station_of, player, played, live_heart, visit_to, until
):
    async def visit():
        async with station_of(player(played(live_heart(), pause_s=0.05))) as station:
            await visit_to(station)
            await station.act("begin")
            await station.act("lock")
            locked = station.state()
            await station.act("unlock")
            await until(station, "result", "retry")
            await station.act("lock")
            return locked, station.state()

    during, after = go(visit())
    assert during["is_recording"]
    assert not after["is_recording"]
    assert "ABCD1" not in str(during)


def test_the_person_whose_turn_it_is_stands_on_every_screen_that_asks_about_them(station_of, player):
    async def visit():
        async with station_of(player()) as station:
            await station.act("start")
            before = station.state()
            await station.act("identify", text="abcd1")
            return before, station.state()

    before, about = go(visit())
    assert before["visit"] is None
    assert about["visit"] == {"study_id": "ABCD1", "attempt": 1, "of": 3}


def test_seen_once_counts_for_the_visit_and_the_words_agree(
    station_of, player, played, live_heart, visit_to, until, monkeypatch
):
    async def visit():
        noisy = add_noise(live_heart(12.0), "muscle", -15, 1)
        async with station_of(player(played(noisy)), recording_limit_s=11.0) as station:
            await visit_to(station)
            station.flow._seen = True
            await station.act("begin")
            return await until(station, "result", "retry")

    shown = go(visit())["result"]
    assert shown["outcome"] == "present"
    assert shown["headline"].startswith("Pattern seen")
    assert "earlier attempt" in shown["advice"]


def test_loose_electrodes_are_named_in_words(station_of, player, played, live_heart, visit_to):
    async def visit():
        loose = played(live_heart(), pause_s=0.1, off=frozenset({"LA", "LL"}))
        async with station_of(player(loose)) as station:
            await visit_to(station)
            await station.act("begin")
            async with asyncio.timeout(10):
                while not (station.state()["recording"] or {}).get("seconds"):
                    await asyncio.sleep(0.02)
            return station.state()["recording"], station.state("es")["recording"]

    english, spanish = go(visit())
    assert english["instruction"].startswith("No contact: Left hand, Left leg.")
    assert english["contact"] == {"RA": "ok", "LA": "off", "LL": "off"}
    assert english["lead_state"]["II"] == "off"
    assert "Left" not in spanish["instruction"]


def test_a_defect_inside_an_act_is_not_taken_for_a_wrong_request(station_of, player, monkeypatch):
    def broken(text):
        raise TypeError("ABCD1")

    async def visit():
        async with station_of(player()) as station:
            await station.act("start")
            monkeypatch.setattr(station.records, "earlier", broken)
            with pytest.raises(TypeError):
                await station.act("identify", text="ABCD1")

    go(visit())


def test_after_a_defect_the_recording_is_kept_and_nobody_waits_for_ever(
    station_of, player, played, live_heart, stores, visit_to, until, monkeypatch, caplog
):
    from lsemvae_edge import screening

    def broken(*_, **__):
        raise ValueError("ABCD1 breaks it")

    async def visit():
        async with station_of(player(played(live_heart()), played(live_heart()))) as station:
            await visit_to(station)
            with monkeypatch.context() as patch:
                patch.setattr(screening, "screen", broken)
                await station.act("begin")
                failed = await until(station, "failed")
            await station.act("retry")
            await station.act("begin")
            return failed, await until(station, "result", "retry")

    failed, state = go(visit())
    first, _ = kept(stores["clinic"])
    assert failed["message"]["message"] == first.facts["detail"] == defects.DEFECT
    assert (first.facts["ended"], first.facts["number"]) == ("interrupted", 1)
    assert stores["clinic"].read(first.seq).attempt.record.duration_s > 8.0
    assert state["result"]["attempt"] == 2
    assert "ValueError" in caplog.text
    assert "ABCD1" not in caplog.text


@pytest.fixture
def wrong_id(station_of, player, played, live_heart, visit_to, until):
    """Function that records two visits as AB, a supervisor, and hands the station on its waiting screen on."""

    async def run(then, operators, *, simulated=False):
        source = player(played(live_heart()), played(live_heart(seed=3)), simulated=simulated)
        async with station_of(source, operators=operators) as station:
            await station.act("sign_in", operator="AB", pin="2580")
            for study_id in ("WRONG1", "OTHER2"):
                await visit_to(station, study_id)
                await station.act("begin")
                await until(station, "result", "retry")
                await station.act("next")
            return await then(station)

    return run


def test_a_supervisor_corrects_a_wrong_id_and_the_first_one_stays_in_the_record(wrong_id, stores):
    async def correct(station):
        await station.act("corrections")
        listed = station.state()
        await station.act("correct", visit=listed["visits"][1]["visit"], text="right1")
        corrected = station.state()
        await station.act("back")
        return listed, corrected, station.state()

    listed, corrected, after = go(wrong_id(correct, Operators("AB")))
    assert listed["is_supervisor"]
    assert [one["study_id"] for one in listed["visits"]] == ["OTHER2", "WRONG1"]
    second = corrected["visits"][1]
    assert (second["study_id"], second["first_study_id"], second["attempts"]) == ("RIGHT1", "WRONG1", 1)
    assert corrected["visits"][0] == listed["visits"][0]
    assert after["screen"] == "waiting"
    assert "RIGHT1" not in str(after)
    entry, other = kept(stores["clinic"])
    assert entry.facts["visit"]["study_id"] == "RIGHT1"
    assert entry.facts["original_study_id"] == "WRONG1"
    assert other.facts["original_study_id"] is None
    (amendment,) = stores["clinic"].entries(kinds={"amendment"})
    assert (amendment.facts["operator"], amendment.facts["before"]) == ("AB", "WRONG1")
    (looked,) = stores["clinic"].entries(kinds={"corrections"})
    assert looked.facts["operator"] == "AB"
    assert stores["clinic"].verify().ok


def test_an_operator_who_is_no_supervisor_corrects_nothing_whatever_their_page_sends(wrong_id, stores):
    operators = Operators("CD")

    async def correct(station):
        visit = next(iter(stores["clinic"].attempts())).facts["visit"]["id"]
        assert not station.state()["is_supervisor"]
        for name, values in (("corrections", {}), ("correct", {"visit": visit, "text": "RIGHT1"})):
            with pytest.raises(UsageError, match="supervisor"):
                await station.act(name, **values)
        await station.act("sign_in", operator="CD", pin="1470")
        await station.act("corrections")
        # Whoever is no supervisor any more cannot go on with what they have before them.
        operators.supervisors.clear()
        with pytest.raises(UsageError, match="supervisor"):
            await station.act("correct", visit=visit, text="RIGHT1")

    go(wrong_id(correct, operators))
    assert list(stores["clinic"].entries(kinds={"amendment"})) == []


def test_only_a_visit_of_today_gets_another_id_and_only_a_good_one(wrong_id, stores):
    async def correct(station):
        visit = next(iter(stores["clinic"].attempts())).facts["visit"]["id"]
        with pytest.raises(UsageError):
            await station.act("correct", visit=visit, text="RIGHT1")
        await station.act("corrections")
        for chosen, text in ((visit, "?"), (visit, "OTHER2"), ("0" * 32, "RIGHT1")):
            with pytest.raises(LsemvaeError):
                await station.act("correct", visit=chosen, text=text)
        await station.act("lock")
        locked = station.state()
        with pytest.raises(UsageError, match="locked"):
            await station.act("correct", visit=visit, text="RIGHT1")
        await station.act("unlock", pin="2580")
        again = station.state()
        await station.act("sign_in", operator="CD", pin="1470")
        return locked, again, station.state()

    locked, again, other = go(wrong_id(correct, Operators("AB")))
    assert list(stores["clinic"].entries(kinds={"amendment"})) == []
    assert locked["visits"] == []
    assert again["screen"] == "corrections"
    assert (other["screen"], other["visits"]) == ("waiting", [])


def test_what_a_simulated_recorder_recorded_is_corrected_where_it_is_kept(wrong_id, stores):
    async def correct(station):
        await station.act("corrections")
        await station.act("correct", visit=station.state()["visits"][1]["visit"], text="RIGHT1")

    go(wrong_id(correct, Operators("AB"), simulated=True))
    assert [entry.facts["visit"]["study_id"] for entry in kept(stores["demo"])] == ["RIGHT1", "OTHER2"]


def test_a_correction_that_was_cut_is_finished_the_second_time(stores, wrong_id, monkeypatch):
    async def correct(station):
        store, seqs = stores["clinic"], [entry.seq for entry in kept(stores["clinic"])]
        visit = store.read(seqs[0]).entry.facts["visit"]
        for number in (2, 3):
            store.append(Attempt(Visit(**visit), number, "cancelled", None, None))
        await station.act("corrections")
        real, done = store.amend, []

        def full(seq, **facts):
            if done:
                raise StoreError("The disk is full.", "Free space.")
            done.append(real(seq, **facts))

        with monkeypatch.context() as patch:
            patch.setattr(store, "amend", full)
            with pytest.raises(StoreError):
                await station.act("correct", visit=visit["id"], text="RIGHT1")
        await station.act("correct", visit=visit["id"], text="RIGHT1")
        return station.state()["visits"]

    visits = go(wrong_id(correct, Operators("AB")))
    assert [one["study_id"] for one in visits] == ["RIGHT1", "OTHER2"]
    amended = sorted(entry.facts["seq"] for entry in stores["clinic"].entries(kinds={"amendment"}))
    assert len(amended) == len(set(amended)) == 3
