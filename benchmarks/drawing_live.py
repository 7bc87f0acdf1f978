"""What live drawing costs: the real program, six leads at 500 Hz, and a browser whose processor is slowed down.

Main-thread time per frame, frames that were dropped, and the memory of browser and program, sampled as long as it runs;
frames are counted only while traces are live. Of a run that is long enough it is judged whether memory stays flat.
"""

import math
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsemvae_edge.benchmarks import kiosk_browser

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession, Page

SLOWER = 4.0
"""A Raspberry Pi 4 takes about four times as long for JavaScript as the cores of a build server."""
SAMPLE_S = 10.0
FRAME_MS = 1000 / 60
DROPPED_MS = 1.5 * FRAME_MS
"""Between two frames: longer, and the screen was not redrawn in time."""
LONGEST_PART_S = 590.0
"""The recorder ends a stream after ten minutes by itself, as the profile says; then another recording begins."""
FLAT_MB_PER_MIN = 0.25
"""Steepest rise of a memory that counts as flat: a day of fifty recordings of a minute would leave 13 MB behind."""
JUDGED_MIN = 5.0
"""Caches fill in the first minutes; shorter runs are not judged."""
LIVE_SHARE = 0.99
"""Of all looks at the traces, two a second: a busy machine may hold them up for a moment, and the page then says so."""
_FLAT = {"server_rss_mb": "the server's memory", "heap_mb": "the page's heap"}
"""The share of common memory, PSS, also changes with what other programs do."""

COUNT = """() => {
  const counts = {frames: 0, dropped: 0, longest_ms: 0, last: 0, looks: 0, live: 0, on: false};
  globalThis.counts = counts;
  const next = (now) => {
    if (counts.on && counts.last) {
      const passed = now - counts.last;
      counts.frames += 1;
      if (passed > DROPPED_MS) counts.dropped += Math.round(passed / FRAME_MS) - 1;
      if (passed > counts.longest_ms) counts.longest_ms = passed;
      if (counts.frames % 30 === 0) {
        counts.looks += 1;
        if (document.querySelector(".traces:not(.stale)")) counts.live += 1;
      }
    }
    counts.last = counts.on ? now : 0;
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
}""".replace("DROPPED_MS", str(DROPPED_MS)).replace("FRAME_MS", str(FRAME_MS))


def measure(
    minutes: float, size: tuple[int, int], slower: float, told: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Record for so long, and return the figures.

    Parameters
    ----------
    minutes : float
        Of live traces.
    size : (int, int)
        Of the screen, in pixels.
    slower : float
        By which the browser's main thread is slowed down.
    told : callable
        Hears how it goes.

    Returns
    -------
    dict
        Plain JSON values: ``frames``, ``dropped``, ``main_thread_ms_per_frame`` (median, p95 and worst of samples of
        10 s), ``heap_mb``, ``server_rss_mb``, ``memory_pss_mb`` and others (first, last, highest, slope of the second
        half), all in MB of 10⁶ bytes; ``live_share`` of all looks at the traces; ``recordings``; ``judged``: whether it
        was long enough; ``broken``: what does not hold.
    """
    with tempfile.TemporaryDirectory() as folder:
        played = _restless(Path(folder) / "restless.lser")
        settings = {"recording_limit_s": 60.0 * minutes + 120.0, "idle_lock_s": 86400.0, "attempts": 10}
        with (
            kiosk_browser.Recorder(played) as recorder,
            kiosk_browser.Kiosk(Path(folder) / "kiosk", recorder, settings) as kiosk,
            kiosk_browser.browser() as browser,
        ):
            context = browser.new_context(viewport={"width": size[0], "height": size[1]})
            page = context.new_page()
            page.goto(kiosk.address)
            kiosk_browser.to_waiting(page)
            assert kiosk.process is not None
            samples = _sampled(page, kiosk.process.pid, 60.0 * minutes, slower, told)
    setting = {"minutes": minutes, "size": list(size), "slower": slower, "fs_hz": 500, "leads": 6}
    figures = {**setting, "recordings": int(samples[-1]["part"]) + 1, **_summary(samples)}
    return {**figures, "judged": minutes >= JUDGED_MIN, "broken": broken(figures)}


def broken(figures: dict[str, Any]) -> list[str]:
    """Return what does not hold: traces that were not live throughout and, in long runs, memory that grows."""
    found = []
    if figures["live_share"] < LIVE_SHARE:
        found.append(f"of all looks {100 * (1 - figures['live_share']):.1f} % found no live traces")
    if figures["minutes"] >= JUDGED_MIN:
        for name, called in _FLAT.items():
            slope = figures[name]["slope_mb_per_min"]
            if slope > FLAT_MB_PER_MIN:
                found.append(f"{called} grew by {slope} MB a minute, and {FLAT_MB_PER_MIN:g} are allowed")
    return found


def slope(at_min: Sequence[float], values: Sequence[float]) -> float:
    """Return the median slope over all pairs (Theil-Sen), which single outliers do not move; 0 of fewer than two.

    Parameters
    ----------
    at_min : sequence of float
        Rising times, in minutes.
    values : sequence of float
    """
    pairs = combinations(zip(at_min, values, strict=True), 2)
    slopes = [(later - earlier) / (after - before) for (before, earlier), (after, later) in pairs]
    return float(np.median(slopes)) if slopes else 0.0


def pss_mb(pids: Iterable[int]) -> float:
    """Return the memory of processes, what they share counted once, in MB."""
    total_kb = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kb * 1024 / 1e6


def family(root: int) -> set[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _restless(path: Path) -> Path:
    """Write a heart behind so much noise that no window of it is ever clean, so the recording does not end itself."""
    from lsemvae_edge import formats
    from lsemvae_edge.device.virtual import shelf
    from lsemvae_edge.synthetic.electrodes import add_noise

    noisy = add_noise(shelf.person(60.0, 1), "muscle", -15.0, 1)
    return formats.write(replace(noisy, origin="simulated"), path)


def _sampled(
    page: "Page", server: int, seconds: float, slower: float, told: Callable[[str], None]
) -> list[dict[str, float]]:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    browser = _browser_of(server)
    samples: list[dict[str, float]] = []
    n_parts = math.ceil(seconds / LONGEST_PART_S)
    page.evaluate(COUNT)
    began, live_s = time.monotonic(), 0.0
    for part in range(n_parts):
        if part:
            page.get_by_test_id("cancel").click()
            page.get_by_test_id("screen-waiting").wait_for()
        _begin(page)
        session.send("Emulation.setCPUThrottlingRate", {"rate": slower})
        page.evaluate("counts.on = true")
        begun = time.monotonic()
        samples.append(_sample(page, session, server, browser) | {"part": part, "live_s": live_s})
        while (passed := time.monotonic() - begun) < seconds / n_parts:
            page.wait_for_timeout(1000 * min(SAMPLE_S, seconds / n_parts - passed + 0.1))
            sample = _sample(page, session, server, browser)
            samples.append(sample | {"part": part, "live_s": live_s + time.monotonic() - begun})
            told(
                f"{samples[-1]['live_s']:.0f} s: {sample['frames']:.0f} frames, server {sample['server_pss_mb']:.1f} MB"
            )
        page.evaluate("counts.on = false")
        session.send("Emulation.setCPUThrottlingRate", {"rate": 1})
        live_s = samples[-1]["live_s"]
    return [sample | {"at_s": sample["at_s"] - began} for sample in samples]


def _begin(page: "Page") -> None:
    kiosk_browser.to_recording(page, f"DRAW{time.time_ns() % 10**8}")
    page.locator(".traces:not(.stale)").wait_for()


def _sample(page: "Page", session: "CDPSession", server: int, browser: int) -> dict[str, float]:
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    counts = page.evaluate("counts")
    statm = Path(f"/proc/{server}/statm").read_text().split()
    return {
        "at_s": time.monotonic(),
        "frames": counts["frames"],
        "dropped": counts["dropped"],
        "longest_ms": counts["longest_ms"],
        "looks": counts["looks"],
        "live": counts["live"],
        "task_s": metrics["TaskDuration"],
        "script_s": metrics["ScriptDuration"],
        "heap_mb": metrics["JSHeapUsedSize"] / 1e6,
        "server_rss_mb": int(statm[1]) * resource.getpagesize() / 1e6,
        "server_pss_mb": pss_mb([server]),
        "browser_pss_mb": pss_mb(family(browser)),
    }


def _browser_of(server: int) -> int:
    """Return the browser that this process started: the one among our children that is Chromium."""
    for pid in family(os.getpid()) - {os.getpid(), server}:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        is_first = not any(part.startswith(b"--type=") for part in command)
        if is_first and b"chrom" in command[0] and any(part.startswith(b"--headless") for part in command):
            return pid
    raise RuntimeError("the browser was not found among the processes of this one")


def _summary(samples: list[dict[str, float]]) -> dict[str, Any]:
    # Between two recordings other screens are shown.
    neighbours = [(before, after) for before, after in pairwise(samples) if before["part"] == after["part"]]
    costs, scripts = (
        [
            1000 * (after[name] - before[name]) / max(after["frames"] - before["frames"], 1)
            for before, after in neighbours
        ]
        for name in ("task_s", "script_s")
    )
    last = samples[-1]
    together = [one["server_pss_mb"] + one["browser_pss_mb"] for one in samples]
    return {
        "frames": int(last["frames"]),
        "dropped": int(last["dropped"]),
        "longest_frame_ms": round(last["longest_ms"], 1),
        "frames_per_s": round(last["frames"] / last["live_s"], 2),
        "live_share": round(last["live"] / last["looks"], 4) if last["looks"] else 0.0,
        "main_thread_ms_per_frame": _spread(costs),
        "script_ms_per_frame": _spread(scripts),
        "heap_mb": _course(samples, [one["heap_mb"] for one in samples]),
        "server_rss_mb": _course(samples, [one["server_rss_mb"] for one in samples]),
        "server_pss_mb": _course(samples, [one["server_pss_mb"] for one in samples]),
        "browser_pss_mb": _course(samples, [one["browser_pss_mb"] for one in samples]),
        "memory_pss_mb": _course(samples, together),
        "samples": [{name: round(value, 3) for name, value in one.items()} for one in samples],
    }


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {
        "median": round(float(np.median(values)), 3),
        "p95": round(float(np.percentile(values, 95)), 3),
        "worst": round(max(values), 3),
    }


def _course(samples: list[dict[str, float]], values: list[float]) -> dict[str, float]:
    """Return how a figure went; the slope is that of the second half, since caches fill in the first."""
    half_s = samples[-1]["at_s"] / 2
    second = [(one["at_s"] / 60, value) for one, value in zip(samples, values, strict=True) if one["at_s"] >= half_s]
    return {
        "first": round(values[0], 1),
        "last": round(values[-1], 1),
        "highest": round(max(values), 1),
        "slope_mb_per_min": round(slope(*zip(*second, strict=True)), 3),
    }
