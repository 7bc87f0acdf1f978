"""A recorder without hardware for a kiosk in another process, which does on the word what recorders do at times.

Run as ``python -m lsemvae_edge.benchmarks.kiosk_recorder [FILE]``; it prints one line of JSON, and then takes
one a line: ``off RA``, ``off RA LA``, ``contact``, ``silent``, ``on``.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsemvae_edge.device.virtual.host import Host
    from lsemvae_edge.device.virtual.open6l import VirtualOpen6L

ADDRESS = "C0:5E:C9:00:00:01"


async def serve(path: Path | None) -> None:
    """Be on the air until standard input ends."""
    from lsemvae_edge import formats
    from lsemvae_edge.device.virtual import shelf
    from lsemvae_edge.device.virtual.air import VirtualAir

    recorder: VirtualOpen6L = shelf.make("open-6l", None if path is None else formats.read(path))  # type: ignore[assignment]
    async with VirtualAir() as air:
        host = await air.add(recorder, ADDRESS)
        adapter = await air.serve("tcp-server:127.0.0.1:0")
        print(json.dumps({"address": ADDRESS, "adapter": adapter, "name": recorder.local_name}), flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode().split():
            _obey(line, recorder, host)
            print("done", flush=True)


def _obey(words: list[str], recorder: "VirtualOpen6L", host: "Host") -> None:
    match words:
        case ["off", *electrodes]:
            recorder.off = frozenset(electrodes)
        case ["contact"]:
            recorder.off = frozenset()
        case ["silent"]:
            host.switch(False)
        case ["on"]:
            host.switch(True)
        case _:
            raise ValueError(words)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
