"""From a journal to the recording again, with the driver of today."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lsemvae_edge.codecs.journal import COUNTING, Counting, Entry, Torn, decode
from lsemvae_edge.device import drivers
from lsemvae_edge.device.assembler import Assembler
from lsemvae_edge.device.driver import Decoder, Stream
from lsemvae_edge.device.events import Event, Frame
from lsemvae_edge.device.journal import opened
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.record import Origin, Record


def replay(journal: Path | bytes) -> list[Record]:
    """Decode a journal.

    Parameters
    ----------
    journal : Path or bytes
        Its file; or what is in it, as `lsemvae_edge.store.Unfinished` holds it.

    Returns
    -------
    list of Record
        Its parts that hold samples, in order. ``meta["torn_bytes"]`` of the last one says how much of the journal could
        not be read. Damage in its middle ends a part, because what it hid may have been the change to another person.

    Raises
    ------
    BadInputError
        If it is no journal, or contradicts itself.
    UnknownRecorderError, UnsupportedRecorderError
        If no driver of today reads it.
    """
    if isinstance(journal, bytes):
        return decoded(decode(journal))
    with opened(journal) as entries:
        return decoded(entries)


def decoded(entries: Iterable[Entry | Torn]) -> list[Record]:
    """Decode the entries of a journal; see `replay`."""
    player = _Player()
    for entry in entries:
        if isinstance(entry, Torn):
            player.torn(entry.n_bytes)
        else:
            player.take(entry)
    return player.records()


class _Player:
    def __init__(self) -> None:
        self._header: dict[str, Any] = {}
        self._done: list[Record] = []
        self._sources: dict[int, str] = {}
        self._assembler: Assembler | None = None
        self._stream: Stream | None = None
        self._decoder: Decoder | None = None
        self._part: dict[str, Any] = {}
        self._part_s = 0.0
        self._torn_bytes = 0
        self._runs = self._held = False
        self._is_unsure = False
        """Whether samples count at all was perhaps told in bytes that are gone."""
        self._has_restarted = False

    def take(self, entry: Entry) -> None:
        at_s = entry.at_ns / 1e9
        match entry.kind:
            case "header" if self._header:
                raise _contradiction()
            case "header":
                self._header = _checked(entry.values(), {"driver": str, "id": str, "origin": str})
                self._driver = drivers.get(self._header["driver"])
            case "up":
                self._link_up(_checked(entry.values(), {"mtu": int, "reads": dict}), at_s)
            case "part":
                self._begin_part(_checked(entry.values(), {"recording": int}), at_s)
            case "counting":
                self._counting(COUNTING[entry.content[0]], at_s)
            case "source":
                self._sources[entry.content[0]] = entry.content[1:].decode("ascii", "replace")
            case "data":
                self._data(self._sources.get(entry.content[0], ""), entry.content[1:], at_s)
            case "polled" if self._decoder is not None:
                self._decoder.due()
            case "lost" if self._assembler is not None:
                self._assembler.link_lost(at_s)

    def torn(self, n_bytes: int) -> None:
        self._finish()
        self._torn_bytes += n_bytes
        self._is_unsure = True
        if self._stream is not None:
            self._decoder = self._driver.decoder(self._stream)

    def records(self) -> list[Record]:
        self._finish()
        if self._torn_bytes and self._done:
            last = self._done[-1]
            self._done[-1] = replace(last, meta={**last.meta, "torn_bytes": self._torn_bytes})
        return self._done

    def _link_up(self, told: dict[str, Any], at_s: float) -> None:
        try:
            reads = {str(uuid): bytes.fromhex(data) for uuid, data in told["reads"].items()}
            stream = self._driver.stream(reads, told["mtu"], told.get("fs_hz"))
        except (TypeError, ValueError, AttributeError) as error:
            raise _contradiction() from error
        self._stream, self._decoder, self._runs = stream, self._driver.decoder(stream), False
        self._is_unsure = False
        if self._assembler is not None and not self._assembler.link_up(stream, at_s):
            self._finish()

    def _begin_part(self, told: dict[str, Any], at_s: float) -> None:
        # A restart was found here as it was then; the part that it began is this one.
        is_found = self._has_restarted and told["recording"] == self._part.get("recording")
        self._has_restarted = False
        if self._is_unsure:
            self._assembler = None
        elif not is_found:
            self._finish()
        self._part, self._part_s = told, at_s

    def _counting(self, whether: Counting, at_s: float) -> None:
        if self._stream is None:
            raise _contradiction()
        if whether == "counts" and self._is_unsure:
            # They had not counted since something that is gone.
            self._assembler = None
        self._is_unsure = False
        if whether == "starting":
            self._runs = False
            self._decoder = self._driver.decoder(self._stream)
            return
        self._runs, self._held = True, whether == "held"
        if self._assembler is None:
            return
        if self._held:
            self._assembler.link_lost(at_s)
        elif not self._assembler.link_up(self._stream, at_s):
            self._finish()

    def _data(self, uuid: str, data: bytes, at_s: float) -> None:
        if self._decoder is None or self._stream is None:
            raise _contradiction()
        for event in self._decoder.feed(uuid, data):
            if not self._held and (self._runs or not isinstance(event, Frame)):
                self._add(event, self._stream, at_s)

    def _add(self, event: Event, stream: Stream, at_s: float) -> None:
        if self._assembler is None:
            recording, indexed = self._part.get("recording"), self._driver.description.indexed
            self._assembler = Assembler(stream, recording=recording, keep_s=None, indexed=indexed)
            self._assembler.link_up(stream, at_s)
        if not self._assembler.add(event, at_s):
            self._finish()
            self._has_restarted = True

    def _finish(self) -> None:
        """Keep the part under way, if it holds samples."""
        assembler, self._assembler = self._assembler, None
        if assembler is None or not assembler.seconds:
            return
        origin: Origin = "simulated" if self._header["origin"] == "simulated" else "live"
        meta = {name: self._header.get(name) for name in ("device", "id", "clock_set")}
        if by := self._header.get("clock_set_by"):
            meta["clock_set_by"] = by
        meta |= {"part": len(self._done), "received": dict(assembler.counts)}
        self._done.append(assembler.record(meta=meta, started_at=self._start_of(assembler), origin=origin))

    def _start_of(self, assembler: Assembler) -> datetime | None:
        began_at = _time(self._part.get("began_at"))
        if began_at is None or assembler.began_s is None:
            return began_at or _time(self._header.get("started_at"))
        return began_at + timedelta(seconds=assembler.began_s - self._part_s)


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
