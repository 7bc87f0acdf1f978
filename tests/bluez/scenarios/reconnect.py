"""The link breaks twice: found again over the old bond, with the gap known to the sample."""

import asyncio

from guest import check, fact, run
from stage import FS_HZ, enrolled, gap_runs, held, open_recorder, recorded, stage, until

from lsemvae_edge.device.live import LiveRecording

SECONDS = 20.0


async def scenario() -> None:
    async with stage() as on:
        recorder, feed = open_recorder()
        host, known = await enrolled(on, recorder)
        recorder.sent.clear()
        states: list[str] = []
        live = LiveRecording(on.radio, known, duration_s=SECONDS)
        async with live:
            task = asyncio.create_task(recorded(live, states))
            for _ in range(2):
                await until(live, task, live.progress().seconds + 4.0)
                # At the recorder's end and at ours, as after a supervision time-out.
                on.air.medium.drop_links()
                while host.connected:
                    await asyncio.sleep(0.1)
                while live.progress().state != "recording" and not task.done():
                    await asyncio.sleep(0.1)
            outcome = await task
        record = live.record()
        found = held(record, feed, recorder.sent[:50])
        runs = gap_runs(record)
        check("it went on", outcome == "done" and states.count("recording") == 3, outcome=outcome, states=states)
        check("every sample is as it was sent", found["n_wrong"] == 0, **found)
        check("one gap for each break, and no other", len(runs) == 2, runs=runs)
        packets = {first: 0 for first in recorder.sent}
        inside = [first for first in packets if any(b <= first - found["first"] < e for b, e in runs)]
        fact(gaps_s=[(end - begin) / FS_HZ for begin, end in runs], sent_into_a_gap=len(inside))
        check("what was sent while connected is lost at most at the edges", len(inside) <= 4, inside=inside)
        check("the old bond was used", bool(known.bonded) and not host.pairing)
        check("one part", live.progress().part == 0 and not live.parts)


run(scenario)
