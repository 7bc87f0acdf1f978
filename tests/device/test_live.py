import asyncio
import random
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("bumble", reason="virtual air needs the extra `simulator`")

from lsemvae_edge.device import enrolment
from lsemvae_edge.device.errors import (
    BatteryEmptyError,
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


def test_what_is_recorded_equals_the_feed_bit_for_bit(run, radio_on, enrolment_file, watched):
    heart = simulate(Heart(), 5.0, 500.0, 1, ("I", "II"))

    async def main():
        feed = Feed(heart, ("I", "II"), 500.0, NV_PER_LSB / 1e6, ADC_BITS)
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(VirtualOpen6L(feed), ADDRESS, clock=10.0)
            enrolled = await enrolment.enrol(radio, ADDRESS)
            host.clock = 1.0
            seen = []
            async with LiveRecording(radio, enrolled, duration_s=1.5) as recording:
                await watched(recording, seen)
            return feed, enrolled, recording.record(), recording.record(0.5), seen

    feed, enrolled, record, last, seen = run(main(), 20.0)
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
    assert (last.started_at - record.started_at).total_seconds() == pytest.approx(record.duration_s - 0.5)
    assert np.array_equal(last.signal_mv, record.signal_mv[:, -250:])


def test_samples_of_another_recording_are_dropped(tiny, run, radio_on, watched):
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
            async with LiveRecording(radio, tiny.known(), duration_s=0.4) as recording:
                await watched(recording, [])
            return recording

    recording = run(main())
    assert recording.progress().counts["stray"] > 10
    assert not recording.record().gaps.any()


@pytest.mark.parametrize(("refusal", "reason"), [(1, "BUSY"), (2, "BROKEN")])
def test_a_recorder_that_refuses_to_start_says_why(tiny, run, radio_on, refusal, reason, watched):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            host.recorder.refuse = refusal
            with pytest.raises(RefusedError) as refused:
                async with LiveRecording(radio, tiny.known()) as recording:
                    await watched(recording, [])
            assert not host.connected
            with pytest.raises(UnusableRecordingError):
                recording.record()
            return refused.value.reason

    assert run(main()) == reason


def test_a_recorder_still_running_is_stopped_and_started_anew(tiny, run, radio_on, watched):
    class Stubborn(tiny.Recorder):
        def write(self, uuid, data):
            self.refuse = int(data[0] == 1 and not self.stopped)
            self.stopped = self.stopped or data[0] == 2
            return super().write(uuid, data)

        stopped = False

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(Stubborn(), ADDRESS)
            async with LiveRecording(radio, tiny.known(), duration_s=0.2) as recording:
                await watched(recording, [])
            return recording.record().n_samples

    assert run(main()) >= 100


def test_an_empty_battery_refuses_to_record_and_a_low_one_is_told(tiny, run, radio_on, until, watched):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            host.recorder.battery_percent = 4
            with pytest.raises(BatteryEmptyError):
                async with LiveRecording(radio, tiny.known()) as recording:
                    await watched(recording, [])
            host.recorder.battery_percent = 15
            async with LiveRecording(radio, tiny.known()) as recording:
                await until(lambda: recording.progress().state == "recording")
                return recording.progress()

    progress = run(main())
    assert progress.battery == 15
    assert "15 %: charge it" in progress.message


def test_the_wrong_recorder_is_never_started(tiny, run, radio_on, watched):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(serial="EVIL"), ADDRESS)
            with pytest.raises(WrongRecorderError):
                async with LiveRecording(radio, tiny.known()) as recording:
                    await watched(recording, [])
            assert not host.recorder.running

    run(main())


def test_an_error_comes_out_also_of_a_recording_that_nobody_watched(tiny, run, radio_on, monkeypatch):
    from lsemvae_edge.device.radio import Radio

    monkeypatch.setattr(Radio.connect, "__kwdefaults__", {**Radio.connect.__kwdefaults__, "within_s": 0.2})

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio, LiveRecording(radio, tiny.known()):
            await asyncio.sleep(0.5)

    with pytest.raises(NotInRangeError):
        run(main())


def test_the_end_of_a_recording_stops_the_recorder(tiny, run, radio_on, until):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), ADDRESS)
            async with LiveRecording(radio, tiny.known()) as recording:
                await until(lambda: recording.progress().seconds > 0.1)
                assert host.recorder.running
            await until(lambda: not host.connected)
            assert not host.recorder.running
            assert recording.progress().state == "ended"

    run(main())


def test_a_cancelled_recording_leaves_nothing_running(tiny, run, radio_on, until):
    rng = random.Random(3)

    async def once(radio):
        async with LiveRecording(radio, tiny.known()) as recording:
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


def test_a_recorder_that_only_answers_questions_is_asked(tiny, run, radio_on, monkeypatch, until):
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
            async with LiveRecording(radio, tiny.known()):
                await until(lambda: host.recorder.asked > 5)

    run(main())
