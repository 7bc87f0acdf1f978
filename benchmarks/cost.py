"""What a kiosk feels: process start to printed result, peak memory, preprocessing; paired in one run, as ratios."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from lsemvae_edge import preprocess
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.heart import Heart, simulate


@dataclass(frozen=True)
class Cost:
    """One command, or one function, over several paired runs."""

    what: str
    runs: int
    median_ms: float
    min_ms: float
    max_ms: float
    ratio: float | None
    peak_mb: float | None


def start(recording: Path, runs: int) -> list[Cost]:
    """Time ``screen FILE`` beside ``python -c "import numpy"``, in turn, as whole processes.

    Parameters
    ----------
    recording : Path
        File to screen.
    runs : int
        Counted runs of each, after one that is not counted.
    """
    script = Path(sys.executable).parent / "lsemvae-edge"
    commands = {
        "import numpy": [sys.executable, "-c", "import numpy"],
        f"screen {recording.name}": [str(script), "screen", str(recording)],
    }
    measured: dict[str, list[tuple[float, float]]] = {what: [] for what in commands}
    for number in range(runs + 1):
        for what, command in commands.items():
            taken = _process(command)
            if number:
                measured[what].append(taken)
    reference = next(iter(measured))
    floor = [wall for wall, _ in measured[reference]]
    return [
        _cost(
            what,
            [wall for wall, _ in values],
            None if what == reference else floor,
            max(peak for _, peak in values),
        )
        for what, values in measured.items()
    ]


def preprocessing(runs: int) -> list[Cost]:
    """Time our preprocessing of a 10-s six-lead recording beside neurokit2's cleaning of the same leads.

    The peer is left out where it is not installed.
    """
    record = simulate(Heart(), 10.0, 500.0, 1, ("I", "II", "III", "aVR", "aVL", "aVF"))
    spec = preprocess.default_spec()
    ours: Callable[[], object] = lambda: preprocess.apply(record, spec)  # noqa: E731 - two alike, one line each
    try:
        import neurokit2
    except ImportError:
        return [_cost("preprocess.apply", _calls([ours], runs)[0], None, None)]
    peer: Callable[[], object] = lambda: _clean_all(neurokit2.ecg_clean, record)  # noqa: E731
    peer_ms, our_ms = _calls([peer, ours], runs)
    return [_cost("neurokit2.ecg_clean", peer_ms, None, None), _cost("preprocess.apply", our_ms, peer_ms, None)]


def table(costs: Sequence[Cost]) -> str:
    """Print costs as Markdown."""
    lines = ["| what | runs | median ms | min | max | ratio to the first (median of pairs) | peak MB |"]
    lines.append("|---|---|---|---|---|---|---|")
    for cost in costs:
        ratio = f"{cost.ratio:.3f}" if cost.ratio is not None else "-"
        peak = f"{cost.peak_mb:.0f}" if cost.peak_mb is not None else "-"
        times = f"{cost.median_ms:.2f} | {cost.min_ms:.2f} | {cost.max_ms:.2f}"
        lines.append(f"| {cost.what} | {cost.runs} | {times} | {ratio} | {peak} |")
    return "\n".join(lines)


def _clean_all(clean: Callable[..., object], record: Record) -> None:
    for lead in record.signal_mv:
        clean(lead, sampling_rate=int(record.fs_hz))


def _process(command: Sequence[str]) -> tuple[float, float]:
    """Return wall milliseconds and peak resident megabytes of one finished process."""
    begun = perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603
    assert child.stdout is not None
    child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall_ms = 1e3 * (perf_counter() - begun)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    return wall_ms, usage.ru_maxrss / 1024


def _calls(functions: Sequence[Callable[[], object]], runs: int) -> list[list[float]]:
    measured: list[list[float]] = [[] for _ in functions]
    for number in range(runs + 3):
        for values, function in zip(measured, functions, strict=True):
            begun = perf_counter()
            function()
            if number >= 3:
                values.append(1e3 * (perf_counter() - begun))
    return measured


def _cost(what: str, ms: Sequence[float], reference: Sequence[float] | None, peak_mb: float | None) -> Cost:
    ratio = None if reference is None else float(np.median(np.array(ms) / np.array(reference)))
    return Cost(what, len(ms), statistics.median(ms), min(ms), max(ms), ratio, peak_mb)
