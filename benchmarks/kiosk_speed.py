"""How soon a kiosk answers, and what memory it needs; without a browser, whose share is measured apart.

From the last sample to the result: the server sends traces as they come, so the last of them before the result says
when the last sample was there, to `SLACK_MS`, which is added.
"""

import itertools
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

from lsemvae_edge import study_id
from lsemvae_edge.benchmarks.kills import ProofError, Say
from lsemvae_edge.benchmarks.kiosk_drive import Kiosk
from lsemvae_edge.errors import BadInputError

SLACK_MS = 40.0
"""The server looks for new samples so often."""
RESULT_MS, START_S = 300.0, 1.5
"""What is promised of the medians."""
_SETTLED_S = 3.0


def measure(times: int, say: Say) -> dict[str, Any]:
    """Start a kiosk so often, and screen so many invented persons with the last of them.

    Parameters
    ----------
    times : int
    say : callable

    Returns
    -------
    dict
        Medians, all single figures, and ``broken``: promises that did not hold.
    """
    with TemporaryDirectory(prefix="kiosk-speed-") as place:
        folder = Path(place)
        pages, states = [], []
        for _ in range(times):
            with Kiosk(folder) as kiosk:
                pages.append(round(kiosk.first_page_s, 3))
                states.append(round(kiosk.first_state_s, 3))
        say(f"first page after {median(pages):.2f} s, first state after {median(states):.2f} s")
        waits: list[float] = []
        outcomes: list[str] = []
        with Kiosk(folder) as kiosk:
            sleep(_SETTLED_S)
            idle_mb = memory_mb(kiosk.pid)
            recording_mb: list[float] = []
            for id in itertools.islice(study_ids(), 3 * times):
                if len(waits) == times:
                    break
                kiosk.visit(id)
                kiosk.act("begin")
                highest_mb = 0.0
                deadline = monotonic() + 60
                while monotonic() < deadline:
                    try:
                        event = kiosk.until(lambda state: state["screen"] in ("result", "retry", "failed"), 1.0)
                        break
                    except ProofError:
                        highest_mb = max(highest_mb, memory_mb(kiosk.pid))
                else:
                    raise ProofError(f"No result came; the kiosk shows {kiosk.state.get('screen')}.")
                recording_mb.append(highest_mb)
                if event.data["screen"] == "result":
                    waits.append(round(1e3 * (event.at_s - kiosk.last_trace_s) + SLACK_MS, 1))
                    outcomes.append(event.data["result"]["outcome"])
                    say(f"{len(waits)}: {waits[-1]} ms, {recording_mb[-1]} MB")
                kiosk.leave()
    if len(waits) < times:
        raise ProofError("Too few recordings ended in a result.")
    return {
        "times": times,
        "result_ms": {"median": round(median(waits), 1), "worst": max(waits), "each": waits},
        "outcomes": outcomes,
        "first_page_s": {"median": round(median(pages), 3), "worst": max(pages), "each": pages},
        "first_state_s": {"median": round(median(states), 3), "worst": max(states), "each": states},
        "server_pss_mb": {
            "idle": idle_mb,
            "recording_first": recording_mb[0],
            "recording_last": recording_mb[-1],
            "highest": max(recording_mb),
        },
        "broken": broken(median(waits), median(pages)),
    }


def broken(result_ms: float, start_s: float) -> list[str]:
    """Return which promises do not hold, from the medians."""
    found = []
    if result_ms > RESULT_MS:
        found.append(f"from the last sample to the result it took {result_ms} ms")
    if start_s > START_S:
        found.append(f"from the start to the first page it took {start_s} s")
    return found


def memory_mb(pid: int) -> float:
    """Return the proportional set size of a process and of those it started, in megabytes (10⁶ bytes)."""
    total = 0
    for one in (pid, *_children(pid)):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return round(total / 1e6, 1)


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def study_ids() -> Iterator[str]:
    """Yield valid study ids."""
    for number in itertools.count():
        with suppress(BadInputError):
            yield study_id.make(f"SPEED{number:04}")
