"""A Lepu ER3: no bond, polled, messages in several notifications; every sample as the electrodes saw it."""

import asyncio

from guest import check, fact, run
from stage import gap_runs, held, noise, recorded, stage

from lsemvae_edge.codecs import lepu as codec
from lsemvae_edge.device import enrolment
from lsemvae_edge.device.live import LiveRecording
from lsemvae_edge.device.virtual.lepu import VirtualEr3

ADDRESS = "C0:11:22:33:44:99"
SECONDS = 10.0


class Counted(VirtualEr3):
    """Counts its messages, and the notifications they take."""

    n_messages = n_notifications = longest = 0

    def _sent(self, request, answer):
        notifications = super()._sent(request, answer)
        self.n_messages += 1
        self.n_notifications += len(notifications)
        self.longest = max(self.longest, *(len(data) for _, data in notifications))
        return notifications


async def scenario() -> None:
    async with stage() as on:
        recorder = Counted(noise(("V5", "I", "II", "V1"), codec.FS_HZ))
        await on.air.add(recorder, ADDRESS)
        known = await enrolment.enrol(on.radio, ADDRESS)
        check("it is enrolled without a bond", known.driver == "lepu-6l" and not known.bonded, known=known)
        live = LiveRecording(on.radio, known, duration_s=SECONDS)
        states: list[str] = []
        async with live:
            task = asyncio.create_task(recorded(live, states))
            while live.progress().seconds < 4.0 and not task.done():
                await asyncio.sleep(0.1)
            on.air.medium.drop_links()
            outcome = await task
        record = live.record()
        found = held(record, recorder.feed, range(recorder.n_taken), codec.MV_PER_LSB)
        fact(
            mtu=recorder._mtu,
            messages=recorder.n_messages,
            notifications=recorder.n_notifications,
            gaps=gap_runs(record),
        )
        check(
            "it went on after a lost link",
            outcome == "done" and states.count("recording") >= 2,
            outcome=outcome,
            states=states,
        )
        check("every sample is as the electrodes saw it", found["n_wrong"] == 0, **found)
        check("what the broken link cost was sent again", found["n_gap"] == 0, **found)
        check("messages span notifications", recorder.n_notifications > recorder.n_messages)
        check(
            "notifications fill the MTU",
            recorder.longest == recorder._mtu - 3 == 244 or not recorder._mtu,
            longest=recorder.longest,
        )


run(scenario)
