"""The C library under libFuzzer with sanitizers: any order of calls, any samples, images changed under a right CRC."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from lsemvae_edge.benchmarks.fits import Say
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import BundleError, UsageError
from lsemvae_edge.quantize.firmware import boards, generate
from lsemvae_edge.quantize.firmware.folder import lay_out

_SLACK_S = 120
_STATS = re.compile(r"^stat::(\w+): +(\d+)", re.M)
_COVERED = re.compile(r"cov: (\d+) ft: (\d+)")


def fuzz(bundle: Bundle, work: Path, *, seconds: int, seed: int, tail: str = "fixed", say: Say) -> dict[str, Any]:
    """Build the folder's fuzzing target and run it.

    Parameters
    ----------
    bundle : Bundle
        With float weights.
    work : Path
        New folder for sources, corpus and whatever input failed.
    seconds, seed : int
    tail : str
        ``fixed`` or ``float``, of the model.
    say : callable

    Returns
    -------
    dict
        ``executions``, ``seconds``, ``edges`` and ``features`` covered, ``failure`` (what the sanitizer said) or None.

    Raises
    ------
    UsageError
        If there is no clang, or ``work`` exists.
    BundleError
        If the target does not build.
    """
    if lacking := [tool for tool in ("make", "clang") if shutil.which(tool) is None]:
        raise UsageError(
            f"Fuzzing C needs {' and '.join(lacking)}, not found here.", "On Debian: apt install make clang."
        )
    if work.exists():
        raise UsageError(f"{work} exists.", "Name a new folder.")
    folder = lay_out(generate.contents(generate.from_bundle(bundle)), work / "firmware")
    corpus = work / "corpus"
    corpus.mkdir()
    for rate in range(4):
        (corpus / f"heart{rate}").write_bytes(_heart(rate))
    say("Building the target")
    built = boards.run(["make", "-s", "-C", str(folder), f"TAIL={tail}", "BUILD=build", "build/fuzz"])
    if built.returncode:
        raise BundleError(f"The fuzzing target does not build: {built.stderr.strip():.500}.")
    target = folder / "build" / "fuzz"
    say(f"Fuzzing for {seconds} s")
    done = subprocess.run(  # noqa: S603  # just built
        [str(target), f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=512", "-len_control=0", "-timeout=30",
         # A child's high-water mark begins at that of the process that started it; the library has no heap to watch.
         "-rss_limit_mb=0",
         "-print_final_stats=1", f"-artifact_prefix={work}/", str(corpus)],
        capture_output=True,
        text=True,
        timeout=seconds + _SLACK_S,
        check=False,
    )  # fmt: skip
    stats = dict(_STATS.findall(done.stderr))
    covered = _COVERED.findall(done.stderr)
    edges, features = map(int, covered[-1]) if covered else (0, 0)
    return {
        "bundle": bundle.spec.id,
        "tail": tail,
        "seconds": seconds,
        "seed": seed,
        "executions": int(stats.get("number_of_executed_units", 0)),
        "edges": edges,
        "features": features,
        "failure": None if done.returncode == 0 else done.stderr[-4000:],
    }


def _heart(rate: int) -> bytes:
    """Return an input that pushes pulses like heartbeats until a window is whole, and runs; see ``test/fuzz.c``."""
    begin = bytes([0, rate, 0, 1, 0, 0, 0])
    push = bytes([0, 0x44]) + (6000).to_bytes(2, "big") + (400).to_bytes(4, "big") * 2 + b"\1"
    return begin + push + b"\6"
