"""bluetoothd is killed and stays away: a typed error in time, and everything received before is kept."""

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
            on.daemon.kill()
            killed_s, kept_s = time.monotonic(), live.progress().seconds
            outcome = await asyncio.wait_for(task, GIVE_UP_S + 60.0)
            fact(gave_up_after_s=round(time.monotonic() - killed_s, 1))
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
            check("a scan without a daemon is refused", False)
        except BluetoothUnavailableError as error:
            check("a scan without a daemon is refused", True, error=str(error), next_step=error.next_step)
        await on.daemon.start()
        check("with a daemon again, it is found", known.address in {one.address for one in await on.radio.scan(5.0)})


run(scenario)
