import asyncio
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("bumble", reason="virtual air needs the extra `simulator`")

from lsemvae_edge.device import live, presence
from lsemvae_edge.device.errors import LinkLostError, WrongRecorderError
from lsemvae_edge.device.events import Frame
from lsemvae_edge.device.journal import JournalWriter
from lsemvae_edge.device.live import LiveRecording
from lsemvae_edge.device.replay import replay
from lsemvae_edge.device.virtual.air import VirtualAir
from lsemvae_edge.errors import StoreError

ADDRESS = "C0:11:22:33:44:55"


def test_lost_packets_are_gaps_exactly_where_they_were_lost(tiny, run, radio_on, until, watched):
    async def main():
        async with VirtualAir(seed=2) as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), ADDRESS)
            fates = []
            air.medium.seen = lambda value, fate: fates.append((int.from_bytes(value[:4], "little"), fate))
            async with LiveRecording(radio, tiny.known(), duration_s=2.0) as recording:
                await until(lambda: recording.progress().state == "recording" and len(fates) > 3)
                air.faults.loss = 0.05
                await watched(recording, [])
            return recording.record(), fates

    record, fates = run(main(), 20.0)
    lost = {index for index, fate in fates if fate == "lost"}
    first = int(tiny.positions(record)[0])
    origin = next(index for index, fate in fates if fate == "carried" and index % 1000 == first)
    expected = np.zeros(record.n_samples, bool)
    for index in lost:
        expected[max(index - origin, 0) : max(index - origin + 10, 0)] = True
    assert lost
    assert np.array_equal(record.gaps[0], expected)
    assert tiny.counts_on(record)


def test_a_lost_link_is_resumed_and_its_gap_is_known(tiny, run, radio_on, until, watched):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), ADDRESS)
            seen = []
            async with LiveRecording(radio, tiny.known()) as recording:
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
    assert tiny.counts_on(record)
    assert not recording.parts
    assert seen[2].message.startswith("The link to the recorder is lost.")


def test_a_recorder_that_falls_silent_is_given_up_and_found_again(tiny, run, radio_on, monkeypatch, until, watched):
    monkeypatch.setattr(live, "DEAD_S", 1.0)

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), ADDRESS)
            seen = []
            async with LiveRecording(radio, tiny.known()) as recording:
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
    assert tiny.counts_on(record)


def test_a_recorder_that_stays_away_is_an_error_that_keeps_what_was_received(tiny, run, radio_on, until, watched):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, tiny.known(), give_up_s=0.6) as recording:
                await until(lambda: recording.progress().seconds > 0.2)
                host.switch(False)
                with pytest.raises(LinkLostError):
                    await watched(recording, [])
            return recording.record()

    assert run(main(), 20.0).n_samples >= 100


def test_after_ten_seconds_away_samples_count_only_if_it_is_the_same_person(tiny, run, radio_on, monkeypatch, until):
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
            async with LiveRecording(radio, tiny.known()) as recording:
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
    assert tiny.counts_on(resumed)
    assert resumed.gaps[0].any()
    assert len(recording.parts) == 1
    other = recording.record()
    assert not other.gaps.any()
    assert other.meta["part"] == 1
    assert recording.progress().counts["held"] > 0


def test_no_answer_means_another_person(tiny, run, radio_on, monkeypatch, until):
    monkeypatch.setattr(presence, "SAME_PERSON_S", 0.3)
    monkeypatch.setattr(presence, "ANSWER_S", 0.3)

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, tiny.known()) as recording:
                recording.confirm(True)  # nobody asked
                await until(lambda: recording.progress().seconds > 0.2)
                host.recorder.off = 1
                await until(lambda: recording.progress().state == "same_person")
                host.recorder.off = 0
                await until(lambda: recording.progress().part == 1 and recording.progress().seconds > 0.2)
            return len(recording.parts)

    assert run(main()) == 1


def test_a_recorder_that_restarted_begins_a_new_part(tiny, run, radio_on, until):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, tiny.known()) as recording:
                await until(lambda: recording.progress().seconds > 0.3)
                await host.reboot()
                await until(lambda: recording.progress().part == 1 and recording.progress().seconds > 0.1)
            return recording

    recording = run(main())
    assert [part.meta["part"] for part in recording.parts] == [0]
    assert tiny.counts_on(recording.parts[0])
    assert tiny.counts_on(recording.record())


def test_lost_contact_is_told_by_electrode(tiny, run, radio_on, until):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, tiny.known()) as recording:
                host.recorder.off = 1
                await until(lambda: recording.progress().off)
                return recording.progress()

    progress = run(main())
    assert progress.off == {"RA"}
    assert progress.message == "No contact: RA. Moisten the skin and hold the electrodes."


def test_what_overflows_a_slow_reader_is_a_gap_and_counted(tiny, run, radio_on, until):
    async def main():
        async with VirtualAir() as air, radio_on(air, backlog=8) as radio:
            await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, tiny.known()) as recording:
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
    assert tiny.counts_on(recording.record())


def test_duplicates_and_packets_out_of_order_change_nothing(tiny, run, radio_on, watched):
    async def main():
        async with VirtualAir(seed=4) as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), ADDRESS)
            air.faults.duplicate = 0.3
            async with LiveRecording(radio, tiny.known(), duration_s=1.0) as recording:
                await watched(recording, [])
            return recording.record()

    record = run(main())
    assert not record.gaps.any()
    assert tiny.counts_on(record)


def test_a_stream_that_the_recorder_ends_by_itself_is_started_anew(tiny, run, radio_on, until):
    class Limited(tiny.Recorder):
        starts = 0

        def write(self, uuid, data):
            self.starts += data[0] == 1
            return super().write(uuid, data)

        def advance(self, seconds):
            sent = super().advance(seconds)
            if self.running and self.starts == 1 and self.index > 500:
                self.running = False
                sent.append((tiny.control, bytes([77, 2])))
            return sent

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(Limited(), ADDRESS)
            async with LiveRecording(radio, tiny.known()) as recording:
                await until(lambda: host.recorder.starts == 2)
                before_s = recording.progress().seconds
                await until(lambda: recording.progress().seconds > before_s + 0.2)
            return recording

    recording = run(main())
    assert tiny.counts_on(recording.record())
    assert not recording.parts


def test_a_black_out_that_ends_the_connection_is_survived(tiny, run, radio_on, until):
    async def main():
        async with VirtualAir(supervision_s=0.2) as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, tiny.known()) as recording:
                await until(lambda: recording.progress().seconds > 0.2)
                air.medium.black_out(0.5)
                await until(lambda: recording.progress().state == "reconnecting")
                before_s = recording.progress().seconds
                await until(lambda: recording.progress().seconds > before_s + 0.2)
            return recording

    recording = run(main())
    assert recording.record().gaps[0].sum() >= 0.3 * tiny.fs_hz
    assert tiny.counts_on(recording.record())


def test_stop_ends_the_search_for_a_lost_recorder_without_an_error(tiny, run, radio_on, until, watched):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, tiny.known()) as recording:
                await until(lambda: recording.progress().seconds > 0.2)
                host.switch(False)
                await until(lambda: recording.progress().state == "reconnecting")
                recording.stop()
                await watched(recording, [])
            return recording

    recording = run(main(), 5.0)
    assert recording.progress().state == "ended"
    assert recording.record().n_samples >= 100


def test_another_recorder_that_answers_in_the_meantime_ends_the_recording(tiny, run, radio_on, until, watched):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, tiny.known()) as recording:
                await until(lambda: recording.progress().seconds > 0.2)
                host.recorder.serial = "EVIL"
                air.medium.drop_links()
                with pytest.raises(WrongRecorderError):
                    await watched(recording, [])
            assert not host.recorder.running

    run(main())


def test_a_driver_without_replies_or_numbers_takes_nothing_from_before_its_start(
    tiny, run, radio_on, until, monkeypatch
):
    monkeypatch.setattr(presence, "SAME_PERSON_S", 0.3)
    plain = tiny.Driver()

    class Numberless(type(plain.decoder(None))):
        def feed(self, uuid, data):
            return [replace(e, recording=None) for e in super().feed(uuid, data) if isinstance(e, Frame)]

    def unanswered(write):
        return lambda *arguments: [replace(one, request=None) for one in write(plain, *arguments[1:])]

    monkeypatch.setattr(tiny.Driver, "decoder", lambda *_: Numberless())
    monkeypatch.setattr(tiny.Driver, "start", unanswered(tiny.Driver.start))
    monkeypatch.setattr(tiny.Driver, "stop", unanswered(tiny.Driver.stop))

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, tiny.known()) as recording:
                await until(lambda: recording.progress().seconds > 0.2)
                host.recorder.off = 1
                await until(lambda: recording.progress().state == "same_person")
                host.recorder.off = 0
                restarted = []
                write = host.recorder.write
                host.recorder.write = lambda u, d: restarted.append((d[0], host.recorder.index)) or write(u, d)
                recording.confirm(False)
                await until(lambda: recording.progress().part == 1 and recording.progress().seconds > 0.2)
            return restarted, recording.record()

    restarted, record = run(main())
    (_, began) = next(call for call in restarted if call[0] == 1)
    assert tiny.positions(record)[0] == began % 1000
    assert not record.gaps.any()


def test_a_recorder_that_counts_anew_without_leaving_begins_a_new_part(tiny, run, radio_on, until):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            host.recorder.index = 1_000_000
            async with LiveRecording(radio, tiny.known()) as recording:
                await until(lambda: recording.progress().seconds > 0.2)
                host.recorder.index = 0
                await until(lambda: recording.progress().part == 1 and recording.progress().seconds > 0.2)
            return recording

    recording = run(main())
    assert len(recording.parts) == 1
    assert tiny.counts_on(recording.parts[0])
    assert tiny.counts_on(recording.record())
    assert recording.record().n_samples < 1000


def test_the_journal_decodes_to_the_same_parts_through_loss_reconnect_and_another_person(
    tiny, run, radio_on, until, monkeypatch, tmp_path
):
    monkeypatch.setattr(presence, "SAME_PERSON_S", 0.4)
    path = tmp_path / "live.lsej"

    async def away(recording, host, same):
        host.recorder.off = 1
        await until(lambda: recording.progress().state == "same_person")
        host.recorder.off = 0
        await asyncio.sleep(0.1)
        recording.confirm(same)
        await until(lambda: recording.progress().state == "recording")
        seconds = recording.progress().seconds
        await until(lambda: recording.progress().seconds > seconds + 0.2)

    async def main():
        async with VirtualAir(seed=9) as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            air.faults.loss = air.faults.duplicate = 0.05
            async with LiveRecording(radio, tiny.known(), journal=JournalWriter(path)) as recording:
                await until(lambda: recording.progress().seconds > 0.3)
                air.medium.drop_links()
                await until(lambda: recording.progress().state == "reconnecting")
                await until(lambda: recording.progress().state == "recording")
                await until(lambda: recording.progress().counts["reconnects"] == 1)
                await away(recording, host, True)
                await away(recording, host, False)
                await host.reboot()
                await until(lambda: recording.progress().part == 2 and recording.progress().seconds > 0.2)
            return recording

    recording = run(main(), 20.0)
    parts, replayed = [*recording.parts, recording.record()], replay(path)
    assert len(parts) == len(replayed) == 3
    for part, again in zip(parts, replayed, strict=True):
        assert np.array_equal(part.signal_mv, again.signal_mv, equal_nan=True)
        assert (part.fs_hz, part.leads, part.origin) == (again.fs_hz, again.leads, again.origin)
        assert [part.meta[name] for name in ("device", "id", "clock_set", "part")] == [
            again.meta[name] for name in ("device", "id", "clock_set", "part")
        ]


def test_a_journal_that_cannot_be_written_ends_the_recording_and_frees_the_recorder(
    tiny, run, radio_on, until, watched, tmp_path
):
    class Full(JournalWriter):
        is_full = False

        def write(self, at_ns, uuid, data):
            if self.is_full:
                raise StoreError("The journal cannot be written.")
            super().write(at_ns, uuid, data)

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            journal = Full(tmp_path / "live.lsej")
            async with LiveRecording(radio, tiny.known(), journal=journal) as recording:
                await until(lambda: recording.progress().seconds > 0.2)
                journal.is_full = True
                with pytest.raises(StoreError):
                    await watched(recording, [])
            assert not host.connected
            return recording.record()

    assert run(main()).n_samples >= 100
