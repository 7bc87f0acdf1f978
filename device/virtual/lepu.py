"""Lepu's recorders without hardware: an ER3 (or M12) with four channels, and an ER1 with one."""

import struct
from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.codecs import lepu as codec
from lsemvae_edge.device.driver import GATT_HEADER_BYTES
from lsemvae_edge.device.drivers import _lepu as layout
from lsemvae_edge.device.events import ELECTRODES
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.recorder import Characteristic, Message, Service, VirtualRecorder
from lsemvae_edge.record import Record

HISTORY_S = 10.0
"""How far back an ER3 can send again."""
ANSWER_SAMPLES = 500
"""Most samples of each channel in one answer of an ER3."""
ER1_BUFFER = 300
"""Samples an ER1 keeps until it is asked."""

IDLE, RECORDING = 0, 3
_ER1_WAITING, _ER1_RECORDING = 0, 2
_NOT_SUPPORTED = 0xFD
_WHOLE_MTU = 23
_BITS = 16
_LOSES = {"RA": ("I", "II"), "LA": ("I",), "LL": ("II",), "RL": ("I", "II")}
_INFO = struct.Struct("<cII8s3xHH7xH4xB18s4x")


class _VirtualLepu(VirtualRecorder):
    """The frames of the link, the clock, and the electrodes."""

    def __init__(self, feed: Feed, fs_hz: float, history: int, name: str, serial: str) -> None:
        self.local_name, self.serial = name, serial
        self.advertised = (layout.SERVICE,)
        writes = Characteristic(layout.WRITE, frozenset({"write", "write-without-response"}))
        self.services = (Service(layout.SERVICE, (writes, Characteristic(layout.NOTIFY, frozenset({"notify"})))),)
        self.off: set[str] = set()
        self._feed, self._fs_hz, self._kept = feed, fs_hz, history
        self._mtu = _WHOLE_MTU
        self._requests = codec.Reassembler()
        self._clock_s, self._taken = 0.0, 0
        self._history: NDArray[np.int16] = np.zeros((len(feed.leads), 0), np.int16)
        self.reboot()

    def connected(self, mtu: int) -> None:
        self._mtu = mtu
        self._requests = codec.Reassembler()

    def disconnected(self) -> None:
        self._requests = codec.Reassembler()

    def read(self, uuid: str) -> bytes:
        return b""

    def write(self, uuid: str, data: bytes) -> Sequence[Message]:
        messages: list[Message] = []
        for request in self._requests.feed(data) if uuid == layout.WRITE else ():
            if isinstance(request, codec.Packet):
                messages += self._sent(request, self._obeyed(request))
        return messages

    def advance(self, seconds: float) -> Sequence[Message]:
        self._clock_s += seconds
        taken = int(self._clock_s * self._fs_hz + 1e-6)
        first = max(self._taken, taken - self._kept)
        new = self._feed.steps(first, taken - first).astype(np.int16)
        for electrode in self.off:
            new[[row for row, lead in enumerate(self._feed.leads) if lead in _LOSES[electrode]]] = codec.NO_CONTACT
        self._history = np.concatenate([self._history, new], axis=1)[:, -self._kept :]
        self._taken = taken
        return ()

    def reboot(self) -> None:
        self._clock_s, self._taken = 0.0, 0
        self._history = np.zeros((len(self._feed.leads), 0), np.int16)

    def _sent(self, request: codec.Packet, answer: bytes | None) -> list[Message]:
        kind = _NOT_SUPPORTED if answer is None else codec.OK
        frame = codec.encode_frame(codec.Packet(request.command, answer or b"", kind, request.sequence))
        room = self._mtu - GATT_HEADER_BYTES
        return [(layout.NOTIFY, frame[at : at + room]) for at in range(0, len(frame), room)]

    def _obeyed(self, request: codec.Packet) -> bytes | None:
        if request.command == layout.INFO:
            serial = self.serial.encode()[:18]
            return _INFO.pack(b"A", 0x010100, 0x010000, b"40020000", 0x8610, 0x0100, 512, len(serial), serial)
        return self._answer(request)

    @abstractmethod
    def _answer(self, request: codec.Packet) -> bytes | None:
        """Return an answer's payload; None for a command that is not known."""


class VirtualEr3(_VirtualLepu):
    """An ER3 with a five-electrode cable, or an M12.

    Parameters
    ----------
    record : Record
        What the electrodes see.
    speaks : {"er3", "m"}
        Which command and layout it knows. The second measures from the start and knows no start command.
    resends : bool
        Sends what is asked for; otherwise what is new since the last answer, as known firmware does.
    coding : {0, 1}
        Raw samples or differences, for ``"er3"``.
    """

    def __init__(
        self,
        record: Record,
        *,
        speaks: Literal["er3", "m"] = "er3",
        resends: bool = True,
        coding: int = layout.DELTAS,
        serial: str = "2204170001",
    ) -> None:
        self._speaks, self._resends, self._coding = speaks, resends, coding
        self.lead_type = 2
        self._n_measurements = 0
        feed = Feed(record, ("V5", "I", "II", "V1"), codec.FS_HZ, codec.MV_PER_LSB, _BITS)
        name = f"{'ER3' if speaks == 'er3' else 'M12'} {serial[-4:]}"
        super().__init__(feed, codec.FS_HZ, int(HISTORY_S * codec.FS_HZ), name, serial)

    @property
    def feed(self) -> Feed:
        """What the electrodes see."""
        return self._feed

    @property
    def origin(self) -> int:
        """Sample of the feed at which this measurement began: its index 0."""
        return self._origin

    def reboot(self) -> None:
        """Start anew; an M12 measures at once."""
        super().reboot()
        self._begin()
        self._measuring = self._speaks == "m"

    def _begin(self) -> None:
        self._n_measurements += 1
        self._origin = self._sent_up_to = self._taken
        minutes, second = divmod(int(self._clock_s) + self._n_measurements, 60)
        self._began = struct.pack("<H5B", 2026, 1, 1, minutes // 60 % 24, minutes % 60, second)

    def _answer(self, request: codec.Packet) -> bytes | None:
        if self._speaks == "er3" and request.command in (layout.START, layout.STOP):
            if request.command == layout.START:
                self._begin()
            self._measuring = request.command == layout.START
            return b""
        if request.command != (layout.LIVE_ER3 if self._speaks == "er3" else layout.LIVE_M):
            return None
        first, samples = self._wanted(request.payload)
        seconds = (self._taken - self._origin) // int(codec.FS_HZ) if self._measuring else 0
        bits = sum(1 << bit for bit, name in enumerate(ELECTRODES) if name in self.off)
        deltas = codec.encode_deltas(samples)
        if self._speaks == "m":
            # Told by lead: I without LA, II without LL, both without RA.
            bits = bits >> 1 & 3 | (3 if "RA" in self.off else 0)
            run = layout.M_RUN.pack(self.battery_percent, seconds, self._began, self.lead_type, bits)
            return run + layout.M_WAVE.pack(first, samples.shape[1]) + deltas
        status = RECORDING if self._measuring else IDLE
        run = layout.ER3_RUN.pack(status, self._began, seconds, 0, self.battery_percent, 1, self.lead_type, bits)
        data = deltas if self._coding == layout.DELTAS else samples.T.astype("<i2").tobytes()
        return run + layout.ER3_WAVE.pack(self._coding << 4, first, samples.shape[1]) + data

    def _wanted(self, payload: bytes) -> tuple[int, NDArray[np.int16]]:
        """Return index and samples to send; index 0 in a request means that nothing was received yet."""
        if not self._measuring:
            return 0, self._history[:, :0]
        (wanted,) = struct.unpack("<I", payload) if len(payload) == 4 else (0,)
        oldest = max(self._taken - self._history.shape[1], self._origin)
        if self._resends:
            newest = max(self._taken - ANSWER_SAMPLES, self._origin)
            start = self._origin + wanted if wanted else newest
        else:
            start = self._sent_up_to
        start = min(max(start, oldest), self._taken)
        end = min(start + ANSWER_SAMPLES, self._taken)
        self._sent_up_to = end
        held = self._taken - self._history.shape[1]
        return start - self._origin, self._history[:, start - held : end - held]


class VirtualEr1(_VirtualLepu):
    """An ER1, ER2 or DuoEK: measures while there is contact, sends what is new since it was asked last.

    Parameters
    ----------
    record : Record
        What the electrodes see.
    """

    def __init__(self, record: Record, *, serial: str = "2109080001") -> None:
        feed = Feed(record, ("I",), layout.ER1_FS_HZ, layout.ER1_MV_PER_LSB, _BITS)
        super().__init__(feed, layout.ER1_FS_HZ, ER1_BUFFER, f"ER1 {serial[-4:]}", serial)

    @property
    def feed(self) -> Feed:
        """What the electrodes see."""
        return self._feed

    @property
    def n_taken(self) -> int:
        """Samples taken since it was switched on."""
        return self._taken

    def _answer(self, request: codec.Packet) -> bytes | None:
        if request.command != layout.LIVE_ER3:
            return None
        samples, self._history = self._history, self._history[:, :0]
        status = _ER1_WAITING if self.off else _ER1_RECORDING
        run = layout.ER1_RUN.pack(0, self.battery_percent, int(self._clock_s), status)
        return run + layout.ER1_WAVE.pack(samples.shape[1]) + samples.astype("<i2").tobytes()
