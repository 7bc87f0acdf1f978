"""A Lepu ER3: no bond, polled, messages in several notifications; every sample as the electrodes saw it."""

import asyncio

from guest import check, fact, run
from stage import held, noise, recorded, stage, until

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
            await until(live, task, 4.0)
            origin, mtu = recorder.origin, recorder._mtu
            on.air.medium.drop_links()
            outcome = await task
        # Started again, an ER3 begins a new measurement, and that is a new part; otherwise the gap is sent again.
        parts = [*live.parts, live.record()]
        origins = [origin, recorder.origin][-len(parts) :]
        found = [
            held(part, recorder.feed, range(begun, begun + 1500), codec.MV_PER_LSB)
            for part, begun in zip(parts, origins, strict=True)
        ]
        fact(mtu=mtu, messages=recorder.n_messages, notifications=recorder.n_notifications, parts=len(parts))
        check(
            "it went on after a lost link",
            outcome == "done" and "reconnecting" in states,
            outcome=outcome,
            states=states,
        )
        check("every sample is as the electrodes saw it", all(one["n_wrong"] == 0 for one in found), found=found)
        check("none is missing", all(one["n_gap"] == 0 for one in found), found=found)
        check("messages span notifications", recorder.n_notifications > recorder.n_messages)
        check("notifications fill the MTU", recorder.longest == mtu - 3 == 244, longest=recorder.longest)


run(scenario)
