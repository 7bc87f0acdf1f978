"""A recorder of the open six-lead profile without hardware: what its firmware does, byte for byte."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.device.drivers import open6l as profile
from lsemvae_edge.device.events import ELECTRODES
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.recorder import Characteristic, Message, Property, Service, VirtualRecorder
from lsemvae_edge.errors import UsageError

NV_PER_LSB = 48.0
"""Nanovolts of a step unless said otherwise; 24 bits then reach +-402 mV, as ECG front ends do at a gain of six."""
ADC_BITS = 24
LIMIT_S = 600
"""A stream ends by itself after this long."""
LOW_BATTERY_PERCENT = 5

TEST_UV, TEST_MHZ = 2000, 1000
_SMALLEST_MTU = 23
_RESTING, _MEASURING, _TESTING = "resting", "measuring", "testing"
_TOUCHED = {name: 1 << bit for bit, name in enumerate(ELECTRODES)}


class VirtualOpen6L(VirtualRecorder):
    """A recorder whose converter runs as long as it is switched on.

    Parameters
    ----------
    feed : Feed
        Leads I and II at ``fs_hz``; it passes as time does, whether anybody listens or not.
    fs_hz : float
        Usual rate, a whole number. Where the profile has half of it, that is offered as well: every second sample is
        then sent, which no real front end would do without a filter.
    mv_per_lsb : float
        Step of the converter, the feed's.
    bits : int
        Of the converter, the feed's: at its ends a lead is saturated.
    serial : str
    seed : int
        Of the boot ids.

    Attributes
    ----------
    off : frozenset of str
        Electrodes without contact.
    tells_contact : bool
        Whether it detects contact at all.
    has_test, broken_test : bool
        Whether it has a test signal, and whether lead II of it is dead.
    faulty : bool
        Whether the front end fails to start.
    index : int
        Of the next sample, before it wraps.
    identified : int
        How often it blinked.
    """

    def __init__(
        self,
        feed: Feed,
        fs_hz: float = 500.0,
        *,
        mv_per_lsb: float = NV_PER_LSB / 1e6,
        bits: int = ADC_BITS,
        serial: str = "SIM00042",
        seed: int = 0,
    ) -> None:
        slowest, fastest = profile.FS_RANGE_HZ
        if fs_hz not in range(slowest, fastest + 1):
            raise UsageError(f"The open profile has whole rates from {slowest} to {fastest} Hz, not {fs_hz:g}.")
        self.serial, self.local_name = serial, f"Open-6L {serial[-4:]}"
        self.advertised = (profile.SERVICE,)
        self.services = (_table(),)
        self.off: frozenset[str] = frozenset()
        self.tells_contact = self.has_test = True
        self.broken_test = self.faulty = False
        self.identified = 0
        self._feed, self._base_hz = feed, int(fs_hz)
        self._limit = 2 ** (bits - 1)
        # Exact for any step that is a whole number of picovolts.
        self._nv_per_lsb = Fraction(mv_per_lsb * 1e6).limit_denominator(1000)
        self._rng = np.random.default_rng(seed)
        self._mtu = _SMALLEST_MTU
        self._boot = 0
        self.reboot()

    @property
    def rates_hz(self) -> tuple[int, ...]:
        """Rates it offers."""
        half = self._base_hz // 2
        is_offered = self._base_hz % 2 == 0 and half >= profile.FS_RANGE_HZ[0]
        return (self._base_hz, half) if is_offered else (self._base_hz,)

    def connected(self, mtu: int) -> None:
        """Agree on an MTU; what streams keeps its packets' size."""
        self._mtu = mtu

    def disconnected(self) -> None:
        """Stop streaming; the converter runs on."""
        self._rest()
        self._mtu = _SMALLEST_MTU

    def read(self, uuid: str) -> bytes:
        """Return Info."""
        return encode_info(self._info()) if uuid == profile.INFO else b""

    def write(self, uuid: str, data: bytes) -> Sequence[Message]:
        """Obey or refuse a command; return the reply, and before it what a stop still sends."""
        # A value without request id cannot be answered; the attribute protocol refuses it.
        if uuid != profile.CONTROL or len(data) < 2:
            return ()
        status = self._refusal(data)
        if status == "OK":
            return (*self._obey(data), _reply(data[0], data[1], status))
        return (_reply(data[0], data[1], status),)

    def advance(self, seconds: float) -> Sequence[Message]:
        """Convert as many samples as fit; return packets, clock marks, and word of a stream that ended."""
        self._now_us += seconds * 1e6
        self._due += seconds * self._fs_hz
        # Sums of ticks fall short of whole samples by rounding.
        n = int(self._due + 1e-6)
        self._due -= n
        messages: list[Message] = []
        while n > 0:
            n -= self._take(n, messages)
        return messages

    def reboot(self) -> None:
        """Begin anew, with another boot id."""
        self._boot = (self._boot + int(self._rng.integers(1, 2**32))) % 2**32
        self._now_us = self._due = 0.0
        self._begin_converting(self._base_hz)
        self._rest()

    def lose(self, n_samples: int) -> None:
        """Lose the next samples of a stream before they reach the radio."""
        if self._state != _RESTING:
            self._losing += n_samples

    def _begin_converting(self, fs_hz: int) -> None:
        """Start the converter; the index is set so that it stays in step with the clock."""
        self._fs_hz = fs_hz
        self.index = self._first_converted = int(self._now_us * fs_hz / 1e6 + 1e-6)
        self._converting_us = self._now_us
        self._due = 0.0

    def _rest(self) -> None:
        self._state, self._recording = _RESTING, 0
        self._held, self._held_off, self._dropped, self._losing = 0, 0, False, 0

    def _refusal(self, data: bytes) -> str:
        """Return the first reason against a command, in the profile's order, or OK."""
        opcode, request = data[0], data[1]
        starts = opcode in (profile.START, profile.TEST)
        if opcode not in (profile.START, profile.STOP, profile.IDENTIFY, profile.TEST):
            return "UNKNOWN_OPCODE"
        if request == 0 or len(data) != (profile.START_PARAMETERS.size if starts else 2):
            return "MALFORMED"
        if opcode == profile.TEST and not self.has_test:
            return "NOT_SUPPORTED"
        if not starts:
            return "OK"
        rate_hz = profile.START_PARAMETERS.unpack(data)[2]
        reasons = {
            "BUSY": self._state != _RESTING,
            "RATE_NOT_OFFERED": rate_hz not in self.rates_hz,
            "MTU_TOO_SMALL": self._mtu < profile.FULL_MTU and rate_hz > profile.SMALL_MTU_FS_HZ,
            "LOW_BATTERY": self.battery_percent < LOW_BATTERY_PERCENT,
            "FAULT": self.faulty,
        }
        return next((status for status, applies in reasons.items() if applies), "OK")

    def _obey(self, data: bytes) -> Sequence[Message]:
        opcode = data[0]
        if opcode == profile.IDENTIFY:
            self.identified += 1
        if opcode == profile.STOP:
            sent = self._flush()
            self._rest()
            return sent
        if opcode in (profile.START, profile.TEST):
            _, _, rate_hz, self._recording = profile.START_PARAMETERS.unpack(data)
            if rate_hz != self._fs_hz:
                self._begin_converting(rate_hz)
            self._state = _MEASURING if opcode == profile.START else _TESTING
            self._first = self._next_mark = self.index
            self._room = profile.packet_samples(rate_hz, self._mtu)
        return ()

    def _take(self, n: int, messages: list[Message]) -> int:
        """Take up to ``n`` samples, as many as nothing happens between; return how many."""
        if self._state == _RESTING:
            self.index += n
            return n
        end = self._first + LIMIT_S * self._fs_hz
        taken = min(n, end - self.index)
        if self._losing:
            messages += self._flush()
            taken = min(taken, self._losing)
            self._losing -= taken
            self._dropped = True
            self.index += taken
        else:
            if self.index >= self._next_mark:
                messages.append((profile.CLOCK, encode_clock(self.index, self._taken_us(self.index))))
                self._next_mark = self.index + self._fs_hz
            taken = min(taken, self._room - self._held, self._next_mark - self.index)
            self._held_off |= sum(_TOUCHED[name] for name in self.off)
            self._held += taken
            self.index += taken
            if self._held == self._room:
                messages += self._flush()
        if self.index >= end:
            messages += self._flush()
            messages.append(_reply(profile.STOP, 0, "TIME_LIMIT"))
            self._rest()
        return taken

    def _flush(self) -> list[Message]:
        """Send what is held."""
        if self._held == 0:
            return []
        first = self.index - self._held
        steps = self._samples(first, self._held)
        status = profile.DROPPED if self._dropped else 0
        if self.tells_contact and self._state == _MEASURING:
            status |= self._held_off | profile.CONTACT_KNOWN
        for row, bit in zip(steps, (profile.SATURATED_I, profile.SATURATED_II), strict=True):
            if np.any((row <= -self._limit) | (row >= self._limit - 1)):
                status |= bit
        self._held, self._held_off, self._dropped = 0, 0, False
        return [(profile.DATA, encode_data(self._recording, first, status, steps))]

    def _samples(self, first: int, n: int) -> NDArray[np.int32]:
        if self._state == _MEASURING:
            stride = self._base_hz // self._fs_hz
            return self._feed.steps(first * stride, n * stride)[:, ::stride]
        half_periods = (first + np.arange(n)) * (2 * TEST_MHZ / 1000) / self._fs_hz
        level = round(TEST_UV / 2 * 1000 / self._nv_per_lsb)
        wave = np.where(half_periods.astype(np.int64) % 2 == 0, level, -level)
        return np.stack([wave, wave * (not self.broken_test)]).astype(np.int32)

    def _taken_us(self, index: int) -> int:
        return round(self._converting_us + (index - self._first_converted) * 1e6 / self._fs_hz)

    def _info(self) -> profile.Info:
        return profile.Info(
            major=profile.MAJOR,
            minor=profile.MINOR,
            boot=self._boot,
            nv_numerator=self._nv_per_lsb.numerator,
            nv_denominator=self._nv_per_lsb.denominator,
            full_scale_uv=int(self._limit * self._nv_per_lsb / 1000),
            band_low_mhz=0,
            band_high_hz=self._base_hz * 262 // 1000,
            notch_hz=0,
            electrodes=sum(_TOUCHED.values()),
            features=profile.CAN_IDENTIFY
            | (profile.CAN_TEST if self.has_test else 0)
            | (profile.CAN_TELL_CONTACT if self.tells_contact else 0),
            test_uv=TEST_UV if self.has_test else 0,
            test_mhz=TEST_MHZ if self.has_test else 0,
            rates_hz=self.rates_hz,
            serial=self.serial,
        )


def encode_data(recording: int, index: int, status: int, steps: NDArray[np.int32]) -> bytes:
    """Make a packet of samples; ``steps`` has shape (2, n), and ``index`` wraps."""
    n = steps.shape[1]
    header = profile.DATA_HEADER.pack(profile.LAYOUT, recording, index % profile.INDEX_MODULUS, status, n)
    lower_three = np.ascontiguousarray(steps.T, dtype="<i4").view(np.uint8).reshape(-1, 4)[:, :3]
    return header + lower_three.tobytes()


def encode_clock(index: int, microseconds: int) -> bytes:
    """Make a clock mark."""
    return profile.CLOCK_MARK.pack(index % profile.INDEX_MODULUS, microseconds)


def encode_info(info: profile.Info) -> bytes:
    """Make Info."""
    head = profile.INFO_HEAD.pack(
        info.major,
        info.minor,
        info.boot,
        info.nv_numerator,
        info.nv_denominator,
        info.full_scale_uv,
        info.band_low_mhz,
        info.band_high_hz,
        info.notch_hz,
        info.electrodes,
        info.features,
        info.test_uv,
        info.test_mhz,
        len(info.rates_hz),
    )
    rates = b"".join(rate.to_bytes(2, "little") for rate in info.rates_hz)
    serial = info.serial.encode("ascii")
    return head + rates + bytes([len(serial)]) + serial


def encode_reply(opcode: int, request: int, status: str) -> bytes:
    """Make the answer to a command; ``status`` is one of `STATUSES`."""
    return profile.REPLY.pack(opcode, request, profile.STATUSES.index(status))


def _reply(opcode: int, request: int, status: str) -> Message:
    return profile.CONTROL, encode_reply(opcode, request, status)


def _table() -> Service:
    def row(uuid: str, *properties: Property) -> Characteristic:
        return Characteristic(uuid, frozenset(properties), encrypted=True)

    return Service(
        profile.SERVICE,
        (
            row(profile.DATA, "notify"),
            row(profile.CLOCK, "notify"),
            row(profile.INFO, "read"),
            row(profile.CONTROL, "write", "indicate"),
        ),
    )
