"""The adapter is switched off in the middle of a recording: all is kept, and it ends typed or, once reset, goes on."""

import asyncio
import time

from guest import check, fact, run
from stage import FS_HZ, enrolled, held, open_recorder, recorded, stage, until

from lsemvae_edge.device.errors import BluetoothUnavailableError
from lsemvae_edge.device.live import LiveRecording

GIVE_UP_S = 12.0


async def scenario() -> None:
    async with stage() as on:
        recorder, feed = open_recorder()
        _, known = await enrolled(on, recorder)
        recorder.sent.clear()
        live = LiveRecording(on.radio, known, give_up_s=GIVE_UP_S)
        async with live:
            task = asyncio.create_task(recorded(live))
            await until(live, task, 5.0)
            kept_s = live.progress().seconds
            await on.daemon.power(False)
            off_s = time.monotonic()
            while live.progress().state == "recording" and not task.done():
                await asyncio.sleep(0.1)
            while live.progress().state != "recording" and not task.done():
                await asyncio.sleep(0.1)
            fact(ended_or_resumed_after_s=round(time.monotonic() - off_s, 1))
            await asyncio.sleep(3.0)
            resumed = not task.done()
            live.stop()
            outcome = await task
        # The radio resets an adapter that fails three times, which switches it on.
        typed = outcome.startswith(("LinkLostError", "BluetoothUnavailableError"))
        check("it goes on, or ends with a typed error", outcome == "done" if resumed else typed, outcome=outcome)
        record = live.record()
        found = held(record, feed, recorder.sent[:50])
        check("all that was received before is kept", record.n_samples >= kept_s * FS_HZ, kept_s=kept_s, **found)
        check("every sample is as it was sent", found["n_wrong"] == 0, **found)
        await on.daemon.power(False)
        try:
            await on.radio.scan(1.0)
            check("a scan with the adapter off is refused", False)
        except BluetoothUnavailableError as error:
            check("a scan with the adapter off is refused", True, error=str(error), next_step=error.next_step)

        await on.daemon.power(True)
        recorder.sent.clear()
        live = LiveRecording(on.radio, known, duration_s=3.0)
        async with live:
            outcome = await recorded(live)
        check(
            "switched on again, it is recorded from",
            outcome == "done" and live.record().n_samples >= 3 * FS_HZ,
            outcome=outcome,
        )


run(scenario)
