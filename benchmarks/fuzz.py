"""Coverage-guided fuzzing of everything that takes bytes from outside: drivers, journals, recorder files.

Each target runs in a child process under atheris (libFuzzer), which keeps whatever input reaches new code and
changes it further. A target may raise this package's own errors and nothing else; the child is ended above
`RSS_LIMIT_MB`, or when one input takes longer than `TIMEOUT_S`.
"""

import contextlib
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsemvae_edge.errors import LsemvaeError

if TYPE_CHECKING:
    from lsemvae_edge.device.virtual.wire import Arrival

RSS_LIMIT_MB = 512
TIMEOUT_S = 10
MAX_INPUT_BYTES = 1024

Target = Callable[[bytes], None]

_CUT = struct.Struct("<BB")


def prove(names: list[str], runs: int, seed: int, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Run every target on ``runs`` inputs.

    Parameters
    ----------
    names : list of str
        Of `targets`.
    runs : int
        Inputs for each.
    seed : int
        Of the fuzzer.
    say : callable
        Told after each target.

    Yields
    ------
    dict
        After each target: ``inputs`` in all so far, ``failures`` in all, and a row for each target.
    """
    rows: list[dict[str, Any]] = []
    for name in names:
        rows.append(_run(name, runs, seed))
        row = rows[-1]
        state = row["failure"] or "nothing but typed errors"
        say(f"{name}: {row['inputs']} inputs, {row['found']} of them new paths, {row['peak_rss_mb']} MB; {state}")
        yield {
            "seed": seed,
            "inputs": sum(row["inputs"] for row in rows),
            "failures": sum(row["failure"] is not None for row in rows),
            "rows": list(rows),
        }


def targets() -> dict[str, Callable[[], Target]]:
    """Name every target with a function that makes it; making imports what is to be watched."""
    from lsemvae_edge.device import drivers

    made: dict[str, Callable[[], Target]] = {f"driver:{name}": _driver(name) for name in drivers.BUILT_IN}
    return {**made, "file:er3": _er3, "file:journal": _journal, "file:native": _native, "file:atc": _atc}


def seeds(name: str) -> Iterator[bytes]:
    """Yield valid inputs to begin from."""
    kind, _, what = name.partition(":")
    if kind == "driver":
        wire = _wire(what)
        uuids = list(wire.driver.description.notifies)
        arrivals = [arrival for arrival in _fed(wire) if arrival.uuid in uuids]
        for first in range(0, min(len(arrivals), 24), 4):
            yield b"".join(_notification(uuids, arrival) for arrival in arrivals[first : first + 4])
        yield from wire.reads.values()
    else:
        yield from _FILES[what]()


# Targets -------------------------------------------------------------------------------------------


def _driver(name: str) -> Callable[[], Target]:
    def make() -> Target:
        from lsemvae_edge.device.events import Frame

        wire = _wire(name)
        driver, uuids = wire.driver, wire.driver.description.notifies

        def run(data: bytes) -> None:
            _read(driver, data)
            decoder = driver.decoder(wire.stream)
            position = 0
            while position + _CUT.size <= len(data):
                which, length = _CUT.unpack_from(data, position)
                position += _CUT.size
                for event in decoder.feed(uuids[which % len(uuids)], data[position : position + length]):
                    if isinstance(event, Frame) and not (
                        event.signal_mv.dtype == np.float32
                        and event.signal_mv.shape[0] == len(wire.stream.leads)
                        and np.isfinite(event.signal_mv).all()
                    ):
                        raise AssertionError(f"{name} made a frame that is none: {event}")
                decoder.due()
                position += length

        return run

    return make


def _wire(name: str) -> Any:
    from lsemvae_edge.device import drivers
    from lsemvae_edge.device.drivers.kardia import START_VARIABLE
    from lsemvae_edge.device.virtual import shelf
    from lsemvae_edge.device.virtual.kardia import STAND_IN_COMMAND
    from lsemvae_edge.device.virtual.wire import Wire

    os.environ.setdefault(START_VARIABLE, STAND_IN_COMMAND.hex())
    return Wire(shelf.make(name, shelf.person(2.0, 0)), drivers.get(name))


def _read(driver: Any, data: bytes) -> None:
    with contextlib.suppress(LsemvaeError):
        driver.stream(dict.fromkeys(driver.description.reads, data), 247)


def _er3() -> Target:
    from lsemvae_edge.codecs import lepu

    # Also with a checksum that fits: no fuzzer finds one by itself, and what lies behind it is what is to be tried.
    return _typed(lepu.decode_file, lambda data: lepu.decode_file(_sealed_er3(data)))


def _journal() -> Target:
    from lsemvae_edge.codecs import journal
    from lsemvae_edge.device.replay import decoded

    return _typed(
        lambda data: decoded(journal.decode(data)), lambda data: decoded(journal.decode(_sealed_journal(data)))
    )


def _native() -> Target:
    from lsemvae_edge.formats import native

    return _typed(native.decode)


def _atc() -> Target:
    from lsemvae_edge.codecs import atc

    return _typed(atc.decode)


def _typed(*decoders: Callable[[bytes], object]) -> Target:
    def run(data: bytes) -> None:
        for decode in decoders:
            with contextlib.suppress(LsemvaeError):
                decode(data)

    return run


def _sealed_er3(data: bytes) -> bytes:
    from lsemvae_edge.codecs import lepu

    return lepu.sealed(data[:-20], len(data) // 1000)


def _sealed_journal(data: bytes) -> bytes:
    from lsemvae_edge.codecs import journal

    made, at = bytearray(journal.MAGIC), 0
    while at + 2 <= len(data):
        kind, length = data[at] % len(journal.KINDS), data[at + 1]
        content = data[at + 2 : at + 2 + length]
        made += journal.encode(journal.Entry(journal.KINDS[kind], at, content))
        at += 2 + length
    return bytes(made)


# Inputs to begin from --------------------------------------------------------------------------------


def _fed(wire: Any) -> Iterator[Any]:
    for arrival in wire.record(1.0):
        wire.decoder.feed(arrival.uuid, arrival.data)
        yield arrival


def _notification(uuids: list[str], arrival: "Arrival") -> bytes:
    return _CUT.pack(uuids.index(arrival.uuid), len(arrival.data)) + arrival.data


def _er3_files() -> Iterator[bytes]:
    from lsemvae_edge.codecs import lepu

    rng = np.random.default_rng(0)
    for n_channels, lead_type in ((4, 2), (8, 0)):
        walk = np.cumsum(rng.integers(-200, 200, (n_channels, 20)), axis=1).astype(np.int16)
        yield lepu.encode_file(walk, lead_type=lead_type)


def _journals() -> Iterator[bytes]:

    from lsemvae_edge.device.journal import JournalWriter

    wire = _wire("open-6l")
    with tempfile.TemporaryDirectory() as folder:
        journal = JournalWriter(Path(folder, "seed.lsej"))
        journal.header({"driver": "open-6l", "device": "seed", "id": "seed", "origin": "simulated"})
        journal.up(wire.stream, wire.reads, 247, None)
        journal.part(1)
        journal.counting("counts")
        for arrival in wire.record(0.1):
            journal.write(round(1e9 * arrival.at_s), arrival.uuid, arrival.data)
        journal.end()
        yield journal.path.read_bytes()


def _natives() -> Iterator[bytes]:
    from lsemvae_edge.device.simulator import record_demo
    from lsemvae_edge.formats import native

    yield native.encode(record_demo(duration_s=0.04))


def _atcs() -> Iterator[bytes]:
    yield b"ALIVE\0\0\0" + struct.pack("<I", 3)


_FILES: Mapping[str, Callable[[], Iterator[bytes]]] = {
    "er3": _er3_files,
    "journal": _journals,
    "native": _natives,
    "atc": _atcs,
}


# The child -------------------------------------------------------------------------------------------


_AFRESH = ("/bin/sh", "-c", '"$@"; exit $?', "sh")
"""Forks once more: a child keeps the peak memory of the process that forked it, and would be ended for that."""


def _run(name: str, runs: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, data in enumerate(seeds(name)):
            (corpus / f"seed-{number}").write_bytes(data)
        command = [
            *_AFRESH, sys.executable, "-m", __name__, name, str(corpus), f"-runs={runs}", f"-seed={seed}",
            f"-max_len={MAX_INPUT_BYTES}", f"-rss_limit_mb={RSS_LIMIT_MB}", f"-timeout={TIMEOUT_S}",
            f"-artifact_prefix={folder}/", "-print_final_stats=1", "-verbosity=0",
        ]  # fmt: skip
        # The child runs this package's own code with the interpreter that runs us.
        child = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        said = child.stdout + child.stderr
        found = {key: int(value) for key, value in re.findall(r"stat::(\w+):\s+(\d+)", said)}
        failure = None
        if child.returncode:
            inputs = [path.read_bytes().hex() for path in Path(folder).iterdir() if path.is_file()]
            failure = {"input": inputs[0] if inputs else None, "said": said[-2000:]}
    return {
        "target": name,
        "inputs": found.get("number_of_executed_units", 0),
        "found": found.get("new_units_added", 0),
        "peak_rss_mb": found.get("peak_rss_mb", 0),
        "failure": failure,
    }


def _main() -> None:
    import atheris

    name = sys.argv[1]
    with atheris.instrument_imports(include=["lsemvae_edge"]):
        import lsemvae_edge.codecs
        import lsemvae_edge.device.drivers  # noqa: F401 - imported here to be watched

        target = targets()[name]()
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    _main()
