"""What a driver is: a description, and pure functions from bytes to events and from wishes to bytes.

A driver holds no state, no radio and no clock. Whoever writes one subclasses `Driver` and `Decoder`, holds it
against `lsemvae_edge.device.conformance`, and names it under the entry-point group ``lsemvae_edge.drivers``
(``docs/drivers.md``).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.device.errors import NotOfferedError
from lsemvae_edge.device.events import Event
from lsemvae_edge.record import Amplitude

GATT_HEADER_BYTES = 3
"""What the attribute protocol takes of the MTU in a notification (Bluetooth Core 5.4, Vol 3 Part F, 3.4.7.1)."""


@dataclass(frozen=True)
class Description:
    """What is known of a kind of recorder before one is met.

    Parameters
    ----------
    name : str
        Short name, as in journals and on the command line.
    title : str
        Name for people.
    services : tuple of str
        Service UUIDs (128 bit, lower case) it advertises; one is enough.
    local_names : tuple of str
        Regular expressions that an advertised name must match whole; empty when services are enough. With
        both, both must fit.
    reads : tuple of str
        Characteristics to read after connecting, in this order.
    notifies : tuple of str
        Characteristics to subscribe to, in this order, before anything is written.
    leads : tuple of str
        Leads it measures, as far as known.
    fs_hz : tuple of float
        Sampling rates it offers, as far as known; the usual one first.
    indexed : bool
        Every frame says where its samples belong, so that loss is known exactly.
    integrity : bool
        Altered bytes are found out, by a checksum or by an encrypted link.
    needs_bond : bool
        It speaks over an encrypted, bonded link alone.
    min_mtu : int
        Smallest attribute MTU at which it can stream.
    poll_s : float, optional
        How often `Decoder.due` is asked, for recorders that send only what was asked for.
    opt_in : bool
        Never chosen by discovery unless asked for by name.
    can_identify, can_test : bool
        It can blink; it can put a known signal on its inputs.
    """

    name: str
    title: str
    services: tuple[str, ...]
    notifies: tuple[str, ...]
    leads: tuple[str, ...]
    fs_hz: tuple[float, ...]
    indexed: bool
    integrity: bool
    local_names: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    needs_bond: bool = False
    min_mtu: int = 23
    poll_s: float | None = None
    opt_in: bool = False
    can_identify: bool = False
    can_test: bool = False


@dataclass(frozen=True)
class Stream:
    """What one recorder will send, known once its characteristics were read.

    Parameters
    ----------
    fs_hz : float
        Nominal sampling rate.
    leads : tuple of str
        Rows of `Frame.signal_mv`.
    mv_per_lsb : float
        Millivolts of one step of the converter.
    frame_s : float
        Usual time from one frame to the next; silence of several of these is a dead link.
    amplitude : {"calibrated", "uncalibrated", "relative"}
        Whether the scale is known to be millivolts.
    index_modulus : int, optional
        `Frame.index` counts modulo this; None where frames carry no index.
    clock_modulus_s : float, optional
        `Frame.device_time_s` counts modulo this; None where there is no device time.
    boot : int, optional
        Differs after every start of the recorder, where it tells.
    serial, firmware : str, optional
        As the recorder states them.
    settings : mapping
        What the driver itself needs to know again; plain JSON values.
    """

    fs_hz: float
    leads: tuple[str, ...]
    mv_per_lsb: float
    frame_s: float
    amplitude: Amplitude = "calibrated"
    index_modulus: int | None = None
    clock_modulus_s: float | None = None
    boot: int | None = None
    serial: str | None = None
    firmware: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes for a characteristic.

    Parameters
    ----------
    uuid : str
        The characteristic.
    data : bytes
        At most what one attribute write holds.
    response : bool
        Written with response.
    request : int, optional
        Number under which a `Reply` will answer; None when no answer is awaited.
    """

    uuid: str
    data: bytes
    response: bool = True
    request: int | None = None


class Decoder(ABC):
    """Turns the notifications of one connection into events; a new one is made for every connection.

    Stateless where the protocol allows it. Whatever is kept (half a message, the next offset) is bounded.
    """

    @abstractmethod
    def feed(self, uuid: str, data: bytes) -> Sequence[Event]:
        """Decode one notification of a characteristic; never raises, bad bytes become `Damaged`."""

    def due(self) -> Sequence[Write]:
        """Return what to ask for next; asked every `Description.poll_s` seconds, and after every `feed`."""
        return ()


class Driver(ABC):
    """One kind of recorder."""

    description: ClassVar[Description]

    @abstractmethod
    def stream(self, reads: Mapping[str, bytes], mtu: int, fs_hz: float | None = None) -> Stream:
        """Understand what was read from the recorder.

        Parameters
        ----------
        reads : mapping of characteristic UUID to bytes
            Content of ``description.reads``; one that the recorder lacks is absent.
        mtu : int
            Attribute MTU of the connection.
        fs_hz : float, optional
            Rate wanted; by default the usual one that this MTU carries.

        Raises
        ------
        UnsupportedRecorderError
            If the recorder speaks a version, a rate or a scale that this driver does not know.
        """

    @abstractmethod
    def decoder(self, stream: Stream) -> Decoder:
        """Make a decoder for one connection."""

    def start(self, stream: Stream, recording: int) -> Sequence[Write]:
        """Return what starts the stream; ``recording`` (0 to 255) is what the recorder shall call it."""
        return ()

    def stop(self, stream: Stream) -> Sequence[Write]:
        """Return what ends the stream."""
        return ()

    def identify(self) -> Sequence[Write]:
        """Return what makes the recorder show itself.

        Raises
        ------
        NotOfferedError
            If it cannot.
        """
        raise NotOfferedError(self.description.title, "show which one it is")

    def test(self, stream: Stream, recording: int) -> Sequence[Write]:
        """Return what starts a stream of the recorder's own test signal; ended by `stop`.

        Raises
        ------
        NotOfferedError
            If it has none.
        """
        raise NotOfferedError(self.description.title, "test itself")

    def judge_test(self, stream: Stream, signal_mv: NDArray[np.float32]) -> str | None:
        """Return what is wrong with a second or more of the test signal, shape (n_leads, n); None if nothing is."""
        raise NotOfferedError(self.description.title, "test itself")
