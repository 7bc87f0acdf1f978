import asyncio
import random
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("bumble", reason="virtual air needs the extra `simulator`")

from lsemvae_edge.device import enrolment, live, presence
from lsemvae_edge.device.enrolment import Enrolled
from lsemvae_edge.device.errors import (
    BatteryEmptyError,
    LinkLostError,
    NotInRangeError,
    RefusedError,
    WrongRecorderError,
)
from lsemvae_edge.device.live import LiveRecording
from lsemvae_edge.device.virtual.air import VirtualAir
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.open6l import ADC_BITS, NV_PER_LSB, VirtualOpen6L
from lsemvae_edge.errors import UnusableRecordingError
from lsemvae_edge.synthetic.heart import Heart, simulate

ADDRESS = "C0:11:22:33:44:55"


def known(serial="T001", driver="tiny"):
    return Enrolled(ADDRESS, driver, "Tiny", serial, False, "2026-01-01T00:00:00+00:00", True)


async def until(condition, limit_s=8.0):
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)


async def watched(recording, seen):
    """Read the progress to its end, so that errors come out; keep the states in the order they came."""
    async for progress in recording:
        if not seen or seen[-1].state != progress.state:
            seen.append(progress)


def positions(record):
    """Index modulo 1000 of every sample of the tiny recorder, -1 where there is none."""
    return np.where(record.gaps[0], -1, np.nan_to_num(np.rint(record.signal_mv[0] * 1000), nan=-1)).astype(int)


def counts_on(record):
    """Whether every sample that was received stands where the recorder counted it."""
    found = positions(record)
    got = np.flatnonzero(found >= 0)
    return bool(np.all((found[got] - found[got[0]] - (got - got[0])) % 1000 == 0))


def test_what_is_recorded_equals_the_feed_bit_for_bit(run, radio_on, enrolment_file):
    heart = simulate(Heart(), 5.0, 500.0, 1, ("I", "II"))

    async def main():
        feed = Feed(heart, ("I", "II"), 500.0, NV_PER_LSB / 1e6, ADC_BITS)
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(VirtualOpen6L(feed), ADDRESS)
            enrolled = await enrolment.enrol(radio, ADDRESS)
            seen = []
            async with LiveRecording(radio, enrolled, duration_s=1.5) as recording:
                await watched(recording, seen)
            return feed, enrolled, recording.record(), seen

    feed, enrolled, record, seen = run(main(), 20.0)
    assert record.leads == ("I", "II")
    assert record.n_samples >= 750
    assert not record.gaps.any()
    whole = (feed.steps(0, feed.n_samples) * (NV_PER_LSB / 1e6)).astype(np.float32)
    whole = np.concatenate([whole, whole], axis=1)
    starts = np.flatnonzero(
        np.all(np.lib.stride_tricks.sliding_window_view(whole, 50, 1) == record.signal_mv[:, None, :50], axis=(0, 2))
    )
    assert any(np.array_equal(whole[:, k : k + record.n_samples], record.signal_mv) for k in starts)
    assert [progress.state for progress in seen] == ["connecting", "recording", "ended"]
    assert record.origin == "simulated"
    assert len(record.meta["id"]) == 32
    assert record.meta["clock_set"] is True
    assert enrolled.serial in record.meta["device"]
    assert record.started_at is not None


def test_lost_packets_are_gaps_exactly_where_they_were_lost(tiny, run, radio_on):
    async def main():
        async with VirtualAir(seed=2) as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), ADDRESS)
            fates = []
            air.medium.seen = lambda value, fate: fates.append((int.from_bytes(value[:4], "little"), fate))
            async with LiveRecording(radio, known(), duration_s=3.0) as recording:
                await until(lambda: recording.progress().state == "recording" and len(fates) > 3)
                air.faults.loss = 0.05
                await watched(recording, [])
            return recording.record(), fates

    record, fates = run(main(), 20.0)
    lost = {index for index, fate in fates if fate == "lost"}
    first = int(positions(record)[0])
    origin = next(index for index, fate in fates if fate == "carried" and index % 1000 == first)
    expected = np.zeros(record.n_samples, bool)
    for index in lost:
        expected[max(index - origin, 0) : max(index - origin + 10, 0)] = True
    assert lost
    assert np.array_equal(record.gaps[0], expected)
    assert counts_on(record)


def test_a_lost_link_is_resumed_and_its_gap_is_known(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), ADDRESS)
            seen = []
            async with LiveRecording(radio, known()) as recording:
                reading = asyncio.create_task(watched(recording, seen))
                await until(lambda: recording.progress().seconds > 0.3)
                air.medium.drop_links()
                await until(lambda: recording.progress().state == "reconnecting")
                before_s = recording.progress().seconds
                await until(lambda: recording.progress().seconds > before_s + 0.3)
                recording.stop()
                await reading
            return recording, seen

    recording, seen = run(main(), 20.0)
    record = recording.record()
    assert [progress.state for progress in seen] == ["connecting", "recording", "reconnecting", "recording", "ended"]
    assert 0 < record.gaps[0].sum() < record.n_samples // 2
    assert counts_on(record)
    assert not recording.parts
    assert seen[2].message.startswith("The link to the recorder is lost.")


def test_a_recorder_that_falls_silent_is_given_up_and_found_again(tiny, run, radio_on, monkeypatch):
    monkeypatch.setattr(live, "DEAD_S", 1.0)

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), ADDRESS)
            seen = []
            async with LiveRecording(radio, known()) as recording:
                reading = asyncio.create_task(watched(recording, seen))
                await until(lambda: recording.progress().seconds > 0.2)
                air.faults.silent = True
                await until(lambda: recording.progress().state == "no_signal")
                assert 0.5 <= recording.progress().silent_s < 1.0
                await until(lambda: recording.progress().state == "reconnecting")
                air.faults.silent = False
                before_s = recording.progress().seconds
                await until(lambda: recording.progress().seconds > before_s + 0.2)
                recording.stop()
                await reading
            return recording.record(), [progress.state for progress in seen]

    record, states = run(main(), 20.0)
    assert states == ["connecting", "recording", "no_signal", "reconnecting", "recording", "ended"]
    assert record.gaps[0].sum() >= 0.9 * 500
    assert counts_on(record)


def test_a_recorder_that_does_not_come_back_is_an_error_that_keeps_what_was_received(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, known(), give_up_s=0.6) as recording:
                await until(lambda: recording.progress().seconds > 0.2)
                host.switch(False)
                with pytest.raises(LinkLostError):
                    await watched(recording, [])
            return recording.record()

    assert run(main(), 20.0).n_samples >= 100


def test_after_ten_seconds_away_samples_count_only_if_it_is_the_same_person(tiny, run, radio_on, monkeypatch):
    monkeypatch.setattr(presence, "SAME_PERSON_S", 0.4)
    monkeypatch.setattr(presence, "ANSWER_S", 5.0)

    async def away(recording, host):
        host.recorder.off = 1
        await until(lambda: recording.progress().state == "same_person")
        host.recorder.off = 0
        seconds = recording.progress().seconds
        await asyncio.sleep(0.2)
        assert recording.progress().seconds == seconds

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, known()) as recording:
                await until(lambda: recording.progress().seconds > 0.2)
                await away(recording, host)
                recording.confirm(True)
                same_s = recording.progress().seconds
                await until(lambda: recording.progress().seconds > same_s + 0.3)
                assert not recording.parts
                resumed = recording.record()
                await away(recording, host)
                recording.confirm(False)
                await until(lambda: recording.progress().part == 1 and recording.progress().seconds > 0.2)
            return recording, resumed

    recording, resumed = run(main(), 20.0)
    assert counts_on(resumed)
    assert resumed.gaps[0].any()
    assert len(recording.parts) == 1
    other = recording.record()
    assert not other.gaps.any()
    assert other.meta["part"] == 1
    assert recording.progress().counts["held"] > 0


def test_no_answer_means_another_person(tiny, run, radio_on, monkeypatch):
    monkeypatch.setattr(presence, "SAME_PERSON_S", 0.3)
    monkeypatch.setattr(presence, "ANSWER_S", 0.3)

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, known()) as recording:
                recording.confirm(True)  # nobody asked
                await until(lambda: recording.progress().seconds > 0.2)
                host.recorder.off = 1
                await until(lambda: recording.progress().state == "same_person")
                host.recorder.off = 0
                await until(lambda: recording.progress().part == 1 and recording.progress().seconds > 0.2)
            return len(recording.parts)

    assert run(main()) == 1


def test_a_recorder_that_restarted_begins_a_new_part(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, known()) as recording:
                await until(lambda: recording.progress().seconds > 0.3)
                await host.reboot()
                await until(lambda: recording.progress().part == 1 and recording.progress().seconds > 0.1)
            return recording

    recording = run(main())
    assert [part.meta["part"] for part in recording.parts] == [0]
    assert counts_on(recording.parts[0])
    assert counts_on(recording.record())


def test_samples_of_another_recording_are_dropped(tiny, run, radio_on):
    class Babbler(tiny.Recorder):
        """Sends each frame a second time, under another recording's number."""

        def frame(self):
            return super().frame()[:4] + bytes([self.recording ^ 1]) + super().frame()[5:]

        def advance(self, seconds):
            return [
                message for one in super().advance(seconds) for message in (one, (one[0], tiny_frame(self, one[1])))
            ]

    def tiny_frame(recorder, data):
        return data[:4] + bytes([recorder.recording]) + data[5:]

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(Babbler(), ADDRESS)
            async with LiveRecording(radio, known(), duration_s=0.4) as recording:
                await watched(recording, [])
            return recording

    recording = run(main())
    assert recording.progress().counts["stray"] > 10
    assert not recording.record().gaps.any()


@pytest.mark.parametrize(("refusal", "reason"), [(1, "BUSY"), (2, "BROKEN")])
def test_a_recorder_that_refuses_to_start_says_why(tiny, run, radio_on, refusal, reason):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            host.recorder.refuse = refusal
            with pytest.raises(RefusedError) as refused:
                async with LiveRecording(radio, known()) as recording:
                    await watched(recording, [])
            assert not host.connected
            with pytest.raises(UnusableRecordingError):
                recording.record()
            return refused.value.reason

    assert run(main()) == reason


def test_a_recorder_still_running_is_stopped_and_started_anew(tiny, run, radio_on):
    class Stubborn(tiny.Recorder):
        def write(self, uuid, data):
            self.refuse = int(data[0] == 1 and not self.stopped)
            self.stopped = self.stopped or data[0] == 2
            return super().write(uuid, data)

        stopped = False

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(Stubborn(), ADDRESS)
            async with LiveRecording(radio, known(), duration_s=0.2) as recording:
                await watched(recording, [])
            return recording.record().n_samples

    assert run(main()) >= 100


def test_an_empty_battery_refuses_to_record_and_a_low_one_is_told(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            host.recorder.battery_percent = 4
            with pytest.raises(BatteryEmptyError):
                async with LiveRecording(radio, known()) as recording:
                    await watched(recording, [])
            host.recorder.battery_percent = 15
            async with LiveRecording(radio, known()) as recording:
                await until(lambda: recording.progress().state == "recording")
                return recording.progress()

    progress = run(main())
    assert progress.battery == 15
    assert "15 %: charge it" in progress.message


def test_lost_contact_is_told_by_electrode(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, known()) as recording:
                host.recorder.off = 1
                await until(lambda: recording.progress().off)
                return recording.progress()

    progress = run(main())
    assert progress.off == {"RA"}
    assert progress.message == "No contact: RA. Moisten the skin and hold the electrodes."


def test_the_wrong_recorder_is_never_started(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(serial="EVIL"), ADDRESS)
            with pytest.raises(WrongRecorderError):
                async with LiveRecording(radio, known()) as recording:
                    await watched(recording, [])
            assert not host.recorder.running

    run(main())


def test_an_error_comes_out_also_of_a_recording_that_nobody_watched(tiny, run, radio_on, monkeypatch):
    from lsemvae_edge.device.radio import Radio

    monkeypatch.setattr(Radio.connect, "__kwdefaults__", {**Radio.connect.__kwdefaults__, "within_s": 0.2})

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio, LiveRecording(radio, known()):
            await asyncio.sleep(0.5)

    with pytest.raises(NotInRangeError):
        run(main())


def test_the_end_of_a_recording_stops_the_recorder(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, known()) as recording:
                await until(lambda: recording.progress().seconds > 0.1)
                assert host.recorder.running
            await until(lambda: not host.connected)
            assert not host.recorder.running
            assert recording.progress().state == "ended"

    run(main())


def test_a_cancelled_recording_leaves_nothing_running(tiny, run, radio_on):
    rng = random.Random(3)

    async def once(radio):
        async with LiveRecording(radio, known()) as recording:
            async for _ in recording:
                pass

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            for _ in range(15):
                task = asyncio.create_task(once(radio))
                await asyncio.sleep(rng.uniform(0.0, 0.3))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await until(lambda: not host.connected)
                assert not host.recorder.running

    run(main(), 20.0)


def test_what_overflows_a_slow_reader_is_a_gap_and_counted(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air, backlog=8) as radio:
            await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, known()) as recording:
                await until(lambda: recording.progress().seconds > 0.1)
                original = recording._attend

                async def asleep(*_):
                    await asyncio.sleep(0.4)
                    recording._attend = original
                    return True

                recording._attend = asleep
                await until(lambda: recording.progress().seconds > 0.7)
            return recording

    recording = run(main())
    assert recording.progress().counts["overflow"] > 0
    assert recording.record().gaps[0].any()
    assert counts_on(recording.record())


def test_duplicates_and_packets_out_of_order_change_nothing(tiny, run, radio_on):
    async def main():
        async with VirtualAir(seed=4) as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), ADDRESS)
            air.faults.duplicate = 0.3
            async with LiveRecording(radio, known(), duration_s=1.0) as recording:
                await watched(recording, [])
            return recording.record()

    record = run(main())
    assert not record.gaps.any()
    assert counts_on(record)


def test_a_recorder_that_only_answers_questions_is_asked(tiny, run, radio_on, monkeypatch):
    from lsemvae_edge.device.driver import Write

    monkeypatch.setattr(tiny.Driver, "description", replace(tiny.Driver.description, poll_s=0.03))
    decoder = tiny.Driver().decoder(None)
    monkeypatch.setattr(type(decoder), "due", lambda self: [Write(tiny.control, bytes([9, 9, 0]))])

    class Polled(tiny.Recorder):
        asked = 0

        def write(self, uuid, data):
            if data[0] != 9:
                return super().write(uuid, data)
            self.asked += 1
            return []

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(Polled(), ADDRESS)
            async with LiveRecording(radio, known()):
                await until(lambda: host.recorder.asked > 5)

    run(main())
