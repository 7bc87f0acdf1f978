"""Lepu's (Viatom's) recorders over Bluetooth: ER3, Lepod, M5 and M12 (leads I and II), ER1, ER2 and DuoEK (one lead).

They send only what was asked for. Layouts of the answers are those of the vendor's published headers and demo
apps; no recorder was at hand, so **hardware has to confirm them**. Known in public, and reflected here:

- ER3 and Lepod answer command 03 with 40 bytes of run parameters and a wave header; M5, M12 and older ER3 answer
  command 06 with 48 bytes and a shorter one. Which of the two a recorder speaks is found out by asking.
- The vendor's headers let a request carry the first sample wanted, its Android app sends none and notes that
  firmware does not resend yet. What arrives is therefore placed by the index it carries, whatever was asked for.
- The link is neither bonded nor encrypted. CRC-8 finds every burst of up to 8 bits; of other damage one frame in
  256 passes, unless the length or the delta code contradicts it.
"""

import struct
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from lsemvae_edge.codecs import lepu as codec
from lsemvae_edge.device.driver import Decoder, Description, Driver, Stream, Write
from lsemvae_edge.device.drivers._lepu import (
    ER1_FS_HZ,
    ER1_MV_PER_LSB,
    ER1_NO_CONTACT,
    ER1_RATE,
    ER1_RUN,
    ER1_WAVE,
    ERRORS,
    INDEX_MODULUS,
    INFO,
    LIVE_ER3,
    LIVE_M,
    NOTIFY,
    SERVICE,
    START,
    STOP,
    WRITE,
    Answer,
    er3_answer,
    i_and_ii,
    m_answer,
    millivolts,
)
from lsemvae_edge.device.errors import UnsupportedRecorderError
from lsemvae_edge.device.events import Battery, Contact, Damaged, Event, Frame, Reply
from lsemvae_edge.errors import BadInputError

_PATIENCE = 4
"""Calls of `due` without a byte received after which an answer is lost."""
_LOST_BEFORE_OTHER_WAY = 2
_LEARNING_ROUNDS = 3
_BACKLOG_S = 1.0
_FURTHEST_REPEAT = 10 * int(codec.FS_HZ)
"""What begins further back than this is no repetition: the recorder counts anew."""

_UNKNOWN_COMMAND = (0xFC, 0xFD)

_WAYS_TO_ASK = ((LIVE_ER3, True), (LIVE_M, True), (LIVE_ER3, False), (LIVE_M, False))
"""Command, and whether it says which sample is wanted first; tried in this order until one is answered."""


class LepuSixLead(Driver):
    """ER3, Lepod, M5 and M12: leads I and II; chest leads are left to files."""

    description = Description(
        name="lepu-6l",
        title="Lepu ER3, Lepod or M12",
        services=(SERVICE,),
        # Lepu's oximeters, scales and blood pressure meters advertise the same service.
        local_names=(r"ER3\b.*", r"Lepod.*", r"M5\b.*", r"M12\b.*"),
        notifies=(NOTIFY,),
        leads=("I", "II"),
        fs_hz=(codec.FS_HZ,),
        indexed=True,
        integrity=True,
        poll_s=0.25,
    )

    def stream(self, reads: Mapping[str, bytes], mtu: int, fs_hz: float | None = None) -> Stream:
        """Return the one stream there is.

        Raises
        ------
        UnsupportedRecorderError
            If another rate is wanted.
        """
        _check_rate(fs_hz, codec.FS_HZ, self.description.title)
        return Stream(codec.FS_HZ, ("I", "II"), codec.MV_PER_LSB, frame_s=0.5, index_modulus=INDEX_MODULUS)

    def decoder(self, stream: Stream) -> Decoder:
        """Make a decoder that asks, by either command."""
        return _SixLeadDecoder()

    def start(self, stream: Stream, recording: int) -> Sequence[Write]:
        """Start a measurement, and ask who is there: what is answered before that belongs to no recording.

        The second answer says for both whether the recorder obeyed.
        """
        return _write(codec.Packet(START)), _write(codec.Packet(INFO), request=INFO)

    def stop(self, stream: Stream) -> Sequence[Write]:
        """End the measurement."""
        return (_write(codec.Packet(STOP)),)


class LepuOneLead(Driver):
    """ER1, ER2 and DuoEK: one lead, called I; a chest-worn ER1 measures along its own axis.

    Their answers have no index: a lost one is known to be lost, but not how much it held.
    """

    description = Description(
        name="lepu-1l",
        title="Lepu ER1, ER2 or DuoEK",
        services=(SERVICE,),
        local_names=(r"ER1\b.*", r"(LP |LEPU-)?ER2\b.*", r"DuoEK.*", r"VBeat.*", r"HHM[123]\b.*"),
        notifies=(NOTIFY,),
        leads=("I",),
        fs_hz=(ER1_FS_HZ,),
        indexed=False,
        integrity=True,
        poll_s=0.25,
    )

    def stream(self, reads: Mapping[str, bytes], mtu: int, fs_hz: float | None = None) -> Stream:
        """Return the one stream there is.

        Raises
        ------
        UnsupportedRecorderError
            If another rate is wanted.
        """
        _check_rate(fs_hz, ER1_FS_HZ, self.description.title)
        return Stream(ER1_FS_HZ, ("I",), ER1_MV_PER_LSB, frame_s=0.5)

    def decoder(self, stream: Stream) -> Decoder:
        """Make a decoder that asks."""
        return _OneLeadDecoder()

    def start(self, stream: Stream, recording: int) -> Sequence[Write]:
        """Ask who is there: what is answered before that belongs to no recording."""
        return (_write(codec.Packet(INFO), request=INFO),)


class _LepuDecoder(Decoder):
    """One request at a time; a lost answer is asked for again.

    `due` is asked both by the clock and after every notification. Calls that follow a notification neither count
    as waiting nor ask, unless the recorder has more than it sent: that keeps the pace of the clock.
    """

    def __init__(self) -> None:
        self._frames = codec.Reassembler()
        self._asked: int | None = None
        self._sequence = self._waited = 0
        self._heard = self._more = self._gave_up = False
        self._percent: int | None = None
        self._refusal: str | None = None

    def feed(self, uuid: str, data: bytes) -> Sequence[Event]:
        """Decode one notification."""
        if uuid != NOTIFY:
            return [Damaged("an unknown characteristic", len(data))]
        self._heard = True
        found = self._frames.flush() if self._gave_up else []
        self._gave_up = False
        events: list[Event] = []
        for item in [*found, *self._frames.feed(data)]:
            events += self._events(item)
        return events

    def due(self) -> Sequence[Write]:
        """Ask for the next samples, if nothing else is awaited."""
        heard, self._heard = self._heard, False
        if self._asked is not None:
            self._waited += not heard
            if self._waited < _PATIENCE:
                return ()
            self._gave_up = True
            self._unanswered()
        elif heard and not self._more:
            return ()
        self._more = False
        self._sequence = (self._sequence + 1) % 255
        request = self._request()
        self._asked, self._waited = request.command, 0
        return (_write(request),)

    def _events(self, item: codec.Packet | codec.Junk) -> list[Event]:
        if isinstance(item, codec.Junk):
            self._lost()
            return [Damaged(item.reason, item.n_bytes)]
        error = _error(item)
        if item.command == INFO:
            self._learn()
            refusal, self._refusal = self._refusal or error, None
            return [Reply(INFO, refusal)]
        if item.command in (START, STOP):
            # M5 and M12 measure by themselves; whether they know these commands is not published.
            if item.command == START and item.kind not in _UNKNOWN_COMMAND:
                self._refusal = error
            return []
        if not self._awaits(item.command):
            self._lost()
            return [Damaged("an answer to nothing asked", len(item.payload))]
        self._asked = None
        if error is not None:
            self._refused()
            return [Damaged(f"a refusal: {error}", len(item.payload))]
        try:
            return self._answered(item)
        except (BadInputError, struct.error) as fault:
            self._lost()
            return [Damaged(str(fault), len(item.payload))]

    def _battery(self, percent: int) -> list[Event]:
        if percent == self._percent or percent > 100:
            return []
        self._percent = percent
        return [Battery(percent)]

    @abstractmethod
    def _request(self) -> codec.Packet:
        """Return what to ask."""

    @abstractmethod
    def _awaits(self, command: int) -> bool:
        """Whether an answer to this command may come now."""

    @abstractmethod
    def _answered(self, packet: codec.Packet) -> list[Event]:
        """Decode an answer; raises `BadInputError` or `struct.error` on what cannot be one."""

    @abstractmethod
    def _learn(self) -> None:
        """Let the next answer tell where the present is; what it holds is older than the recording."""

    def _lost(self) -> None:
        """Take notice that bytes were lost."""

    def _refused(self) -> None:
        """Take notice that a request was refused."""

    def _unanswered(self) -> None:
        """Take notice that a request got no answer."""
        self._lost()


class _SixLeadDecoder(_LepuDecoder):
    def __init__(self) -> None:
        super().__init__()
        self._way = self._failures = 0
        self._understood = False
        self._wanted = self._rounds = 0
        self._learning = True
        self._framed = self._dropped = False
        self._measurement = b""

    def _request(self) -> codec.Packet:
        command, says_index = _WAYS_TO_ASK[self._way]
        payload = struct.pack("<I", self._wanted) if says_index else b""
        return codec.Packet(command, payload, sequence=self._sequence)

    def _awaits(self, command: int) -> bool:
        # Every answer says where it belongs, so that a late or repeated one does no harm.
        return command in (LIVE_ER3, LIVE_M)

    def _refused(self) -> None:
        self._failures = _LOST_BEFORE_OTHER_WAY
        self._unanswered()

    def _unanswered(self) -> None:
        self._failures += 1
        if not self._understood and self._failures >= _LOST_BEFORE_OTHER_WAY:
            self._way, self._failures = (self._way + 1) % len(_WAYS_TO_ASK), 0

    def _learn(self) -> None:
        self._learning, self._rounds, self._wanted = True, 0, 0

    def _answered(self, packet: codec.Packet) -> list[Event]:
        answer = er3_answer(packet.payload) if packet.command == LIVE_ER3 else m_answer(packet.payload)
        signal_mv = i_and_ii(answer)
        self._understood = True
        events = self._battery(answer.percent)
        if not answer.n:
            events.append(Contact(answer.off))
        if self._learning:
            self._learned(answer)
            return events
        self._follow(answer)
        behind = (self._wanted - answer.first) % INDEX_MODULUS
        skipped = min(behind, answer.n) if behind < INDEX_MODULUS // 2 else 0
        if skipped < answer.n:
            first = (answer.first + skipped) % INDEX_MODULUS
            events.append(Frame(signal_mv[:, skipped:], index=first, off=answer.off, dropped=self._dropped))
            self._wanted = (answer.first + answer.n) % INDEX_MODULUS
            self._framed, self._dropped = True, False
            self._more = answer.n >= _BACKLOG_S * codec.FS_HZ
        return events

    def _follow(self, answer: Answer) -> None:
        """Notice that the recorder counts anew: another measurement, or an index far back."""
        behind = (self._wanted - answer.first) % INDEX_MODULUS
        jumped_back = answer.n and _FURTHEST_REPEAT + answer.n < behind < INDEX_MODULUS // 2
        if answer.measurement != self._measurement or jumped_back:
            self._measurement, self._wanted = answer.measurement, answer.first
            self._dropped |= self._framed

    def _learned(self, answer: Answer) -> None:
        """Take the end of the first answer as the present, unless the recorder says that it measured for longer."""
        self._measurement = answer.measurement
        end, present = answer.first + answer.n, int(answer.seconds * codec.FS_HZ)
        self._rounds += 1
        if end + _BACKLOG_S * codec.FS_HZ < present < INDEX_MODULUS and self._rounds < _LEARNING_ROUNDS:
            self._wanted, self._more = present, True
        else:
            self._wanted, self._learning = end % INDEX_MODULUS, False


class _OneLeadDecoder(_LepuDecoder):
    def __init__(self) -> None:
        super().__init__()
        self._learning, self._dropped = True, False

    def _request(self) -> codec.Packet:
        return codec.Packet(LIVE_ER3, bytes([ER1_RATE]), sequence=self._sequence)

    def _awaits(self, command: int) -> bool:
        # Without an index, a repeated answer would put samples where they do not belong.
        return command == LIVE_ER3 and self._asked is not None

    def _learn(self) -> None:
        self._learning = True

    def _lost(self) -> None:
        self._dropped = True

    def _answered(self, packet: codec.Packet) -> list[Event]:
        _, percent, _, status = ER1_RUN.unpack_from(packet.payload)
        (n,) = ER1_WAVE.unpack_from(packet.payload, ER1_RUN.size)
        data = packet.payload[ER1_RUN.size + ER1_WAVE.size :]
        # Firmware may send its whole buffer, of which the first n samples are new.
        if len(data) < 2 * n:
            raise BadInputError(f"an answer with {len(data)} bytes for {n} samples")
        off = frozenset({"RA", "LA"}) if status & 0x0F in ER1_NO_CONTACT else frozenset[str]()
        events = self._battery(percent)
        if not n:
            events.append(Contact(off))
        elif not self._learning:
            signal_mv = millivolts(np.frombuffer(data, "<i2", n).reshape(1, n), ER1_MV_PER_LSB)
            events.append(Frame(signal_mv, off=off, dropped=self._dropped))
            self._dropped = False
        self._learning = False
        return events


def _error(packet: codec.Packet) -> str | None:
    return None if packet.kind == codec.OK else ERRORS.get(packet.kind, f"error {packet.kind:#04x}")


def _write(packet: codec.Packet, request: int | None = None) -> Write:
    return Write(WRITE, codec.encode_frame(packet), request=request)


def _check_rate(fs_hz: float | None, offered_hz: float, title: str) -> None:
    if fs_hz is not None and fs_hz != offered_hz:
        raise UnsupportedRecorderError(
            f"{title} records at {offered_hz:g} Hz, not at {fs_hz:g} Hz.", "Ask for no rate."
        )
