"""The adapter is switched off in the middle of a recording: a typed error, all is kept; on again, it works again."""

import asyncio
import time

from guest import check, fact, run
from stage import FS_HZ, enrolled, held, open_recorder, recorded, stage

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
            while live.progress().seconds < 5.0:
                await asyncio.sleep(0.1)
            kept_s = live.progress().seconds
            await on.daemon.power(False)
            off_s = time.monotonic()
            outcome = await asyncio.wait_for(task, GIVE_UP_S + 60.0)
            fact(gave_up_after_s=round(time.monotonic() - off_s, 1))
        check(
            "it ends with a typed error",
            outcome.startswith(("LinkLostError", "BluetoothUnavailableError")),
            outcome=outcome,
        )
        record = live.record()
        found = held(record, feed, recorder.sent[:50])
        check("all that was received before is kept", record.n_samples >= kept_s * FS_HZ, kept_s=kept_s, **found)
        check("every sample is as it was sent", found["n_wrong"] == 0, **found)
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
