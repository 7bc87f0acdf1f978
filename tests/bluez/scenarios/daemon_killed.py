"""bluetoothd is killed in the middle of a recording and started again: it goes on, and what was received is kept."""

import asyncio
import time

from guest import check, fact, run
from stage import FS_HZ, enrolled, gap_runs, held, open_recorder, recorded, stage, until

from lsemvae_edge.device.live import LiveRecording

DOWN_S = 5.0


async def scenario() -> None:
    async with stage() as on:
        recorder, feed = open_recorder()
        _, known = await enrolled(on, recorder)
        recorder.sent.clear()
        states: list[str] = []
        live = LiveRecording(on.radio, known, give_up_s=90.0)
        async with live:
            task = asyncio.create_task(recorded(live, states))
            await until(live, task, 5.0)
            on.daemon.kill()
            killed_s, kept_s = time.monotonic(), live.progress().seconds
            while live.progress().state == "recording":
                await asyncio.sleep(0.02)
            fact(noticed_after_s=round(time.monotonic() - killed_s, 2), state=live.progress().state)
            await asyncio.sleep(DOWN_S)
            check(
                "while it is down, it is looked for",
                live.progress().state in ("reconnecting", "no_signal"),
                states=states,
            )
            await on.daemon.start()
            restarted_s = time.monotonic()
            while live.progress().state != "recording" and not task.done():
                await asyncio.sleep(0.1)
            fact(resumed_after_s=round(time.monotonic() - restarted_s, 2))
            await asyncio.sleep(3.0)
            live.stop()
            outcome = await task
        record = live.record()
        found = held(record, feed, recorder.sent[:50])
        runs = gap_runs(record)
        check("it went on", outcome == "done" and states.count("recording") >= 2, outcome=outcome, states=states)
        check("all that was received before is kept", record.n_samples >= kept_s * FS_HZ, kept_s=kept_s, **found)
        check("every sample is as it was sent", found["n_wrong"] == 0, **found)
        check("one gap", len(runs) == 1, runs=runs)
        fact(gap_s=[(end - begin) / FS_HZ for begin, end in runs], parts=len(live.parts))


run(scenario)
