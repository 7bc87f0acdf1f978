"""From a journal to the recording again, with the driver of today."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from lsemvae_edge.codecs.journal import COUNTING, MAX_SOURCES, Counting, Entry, Torn
from lsemvae_edge.device import drivers
from lsemvae_edge.device.assembler import Assembler
from lsemvae_edge.device.driver import Decoder, Stream
from lsemvae_edge.device.events import Frame
from lsemvae_edge.device.journal import opened
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.record import Origin, Record


def replay(path: Path) -> list[Record]:
    """Decode a journal.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of Record
        Its parts that hold samples, in order. ``meta["torn_bytes"]`` says how much of a journal's end could not be
        read, for one that was not ended in order.

    Raises
    ------
    BadInputError
        If it is no journal, or contradicts itself.
    UnknownRecorderError, UnsupportedRecorderError
        If no driver of today reads it.
    """
    with opened(path) as entries:
        return decoded(entries)


def decoded(entries: Iterable[Entry | Torn]) -> list[Record]:
    """Decode the entries of a journal; see `replay`."""
    player = _Player()
    for entry in entries:
        if isinstance(entry, Torn):
            player.torn_bytes = entry.n_bytes
        else:
            player.take(entry)
    return player.records()


class _Player:
    def __init__(self) -> None:
        self.torn_bytes = 0
        self._header: dict[str, Any] = {}
        self._done: list[Record] = []
        self._sources: dict[int, str] = {}
        self._assembler: Assembler | None = None
        self._stream: Stream | None = None
        self._decoder: Decoder | None = None
        self._part: dict[str, Any] = {}
        self._counts = False

    def take(self, entry: Entry) -> None:
        at_s = entry.at_ns / 1e9
        match entry.kind:
            case "header":
                self._header = _checked(entry.values(), {"driver": str, "id": str, "origin": str})
                self._driver = drivers.get(self._header["driver"])
            case "up":
                self._link_up(_checked(entry.values(), {"mtu": int, "reads": dict}), at_s)
            case "part":
                self._finish()
                self._part = _checked(entry.values(), {"recording": int})
            case "counting":
                self._counting(COUNTING[entry.content[0]], at_s)
            case "source" if len(self._sources) <= MAX_SOURCES:
                self._sources[entry.content[0]] = entry.content[1:].decode("ascii", "replace")
            case "data":
                self._data(self._sources.get(entry.content[0], ""), entry.content[1:], at_s)
            case "lost" if self._assembler is not None:
                self._assembler.link_lost(at_s)

    def records(self) -> list[Record]:
        self._finish()
        return self._done

    def _link_up(self, told: dict[str, Any], at_s: float) -> None:
        try:
            reads = {str(uuid): bytes.fromhex(data) for uuid, data in told["reads"].items()}
            stream = self._driver.stream(reads, told["mtu"], told.get("fs_hz"))
        except (TypeError, ValueError, AttributeError) as error:
            raise _contradiction() from error
        self._stream, self._decoder, self._counts = stream, self._driver.decoder(stream), False
        if self._assembler is not None and not self._assembler.link_up(stream, at_s):
            self._finish()

    def _counting(self, whether: Counting, at_s: float) -> None:
        if self._stream is None:
            raise _contradiction()
        self._counts = whether == "counts"
        if whether == "starting":
            self._decoder = self._driver.decoder(self._stream)
        elif whether == "held" and self._assembler is not None:
            self._assembler.link_lost(at_s)
        elif self._assembler is not None:
            self._assembler.link_up(self._stream, at_s)

    def _data(self, uuid: str, data: bytes, at_s: float) -> None:
        if self._decoder is None or self._stream is None:
            raise _contradiction()
        for event in self._decoder.feed(uuid, data):
            if isinstance(event, Frame) and not self._counts:
                continue
            if self._assembler is None:
                self._assembler = Assembler(
                    self._stream,
                    recording=self._part.get("recording"),
                    keep_s=None,
                    indexed=self._driver.description.indexed,
                )
                self._assembler.link_up(self._stream, at_s)
            if not self._assembler.add(event, at_s):
                self._finish()

    def _finish(self) -> None:
        if self._assembler is not None and self._assembler.seconds:
            origin: Origin = self._header["origin"] if self._header["origin"] in ("live", "simulated") else "live"
            meta = {name: self._header.get(name) for name in ("device", "id", "clock_set")}
            torn = {"torn_bytes": self.torn_bytes} if self.torn_bytes else {}
            told = self._part.get("began_at") or self._header.get("started_at")
            self._done.append(
                self._assembler.record(
                    meta={**meta, "part": len(self._done), **torn}, started_at=_time(told), origin=origin
                )
            )
        self._assembler = None


def _checked(values: dict[str, Any], kinds: dict[str, type]) -> dict[str, Any]:
    if any(not isinstance(values.get(name), kind) for name, kind in kinds.items()):
        raise _contradiction()
    return values


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _contradiction() -> BadInputError:
    return BadInputError("The journal contradicts itself.", "It was not written by lsemvae-edge; record again.")
