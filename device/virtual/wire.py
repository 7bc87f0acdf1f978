"""A virtual recorder and a driver joined in memory: no radio, no clock, as fast as the processor goes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lsemvae_edge.device.driver import Driver, Stream, Write
from lsemvae_edge.device.virtual.recorder import Message, VirtualRecorder

MTU = 247


@dataclass(frozen=True, slots=True)
class Arrival:
    """One notification: when it arrived, in seconds since the wire was laid, and what it was."""

    at_s: float
    uuid: str
    data: bytes


class Wire:
    """The way between one recorder and one driver.

    Parameters
    ----------
    recorder : VirtualRecorder
    driver : Driver
    mtu : int
    fs_hz : float, optional
        Rate to ask for.
    """

    def __init__(self, recorder: VirtualRecorder, driver: Driver, mtu: int = MTU, fs_hz: float | None = None) -> None:
        self.recorder, self.driver = recorder, driver
        recorder.connected(mtu)
        has = {row.uuid for service in recorder.services for row in service.characteristics}
        self.reads = {uuid: recorder.read(uuid) for uuid in driver.description.reads if uuid in has}
        self.stream: Stream = driver.stream(self.reads, mtu, fs_hz)
        self.decoder = driver.decoder(self.stream)
        self.now_s = 0.0

    def record(self, duration_s: float, recording: int = 1, tick_s: float = 0.02) -> Iterator[Arrival]:
        """Start, let time pass, stop; yield what arrives. The caller feeds `decoder` with it."""
        yield from self._sent(self.driver.start(self.stream, recording))
        end_s = self.now_s + duration_s
        poll_s = self.driver.description.poll_s
        polled_s = self.now_s
        while self.now_s < end_s - 1e-9:
            if poll_s is not None and self.now_s >= polled_s:
                polled_s += poll_s
                yield from self._sent(self.decoder.due())
            self.now_s += tick_s
            yield from self._arrived(self.recorder.advance(tick_s))
        yield from self._sent(self.driver.stop(self.stream))

    def _sent(self, writes: Iterable[Write]) -> Iterator[Arrival]:
        for write in writes:
            yield from self._arrived(self.recorder.write(write.uuid, write.data))

    def _arrived(self, messages: Iterable[Message]) -> Iterator[Arrival]:
        for uuid, data in messages:
            yield Arrival(self.now_s, uuid, data)
