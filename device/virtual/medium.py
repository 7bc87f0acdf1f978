"""The air between virtual controllers, with everything that goes wrong on it.

A real link layer sends again until the supervision time-out and loses nothing silently: what is lost is lost in a
queue of the recorder or of the host. `Faults` shows what then arrives.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bumble import hci, ll
from bumble.controller import Connection, Controller
from bumble.core import PhysicalTransport
from bumble.link import LocalLink

DEFAULT_RSSI_DBM = -50
_ATT_CHANNEL = b"\x04\x00"
_NOTIFICATION = 0x1B
_BASIC_HEADER = 4
_VALUE_AT = _BASIC_HEADER + 3
"""L2CAP length and channel, then opcode and handle; the notified value begins here."""


@dataclass
class Faults:
    """What happens to notifications on their way; may be changed while they travel.

    Parameters
    ----------
    loss : float
        Probability that a notification is lost.
    burst : int
        How many are lost in a row once one is.
    duplicate, swap, corrupt, cut : float
        Probability that one arrives twice, after its successor, with one byte changed, or without its end.
    interval_s : float
        Connection interval: what is sent waits for the next multiple of it. 0 delivers at once.
    silent : bool
        Notifications are swallowed while the link itself stays up, as when a daemon or a firmware hangs.
    """

    loss: float = 0.0
    burst: int = 1
    duplicate: float = 0.0
    swap: float = 0.0
    corrupt: float = 0.0
    cut: float = 0.0
    interval_s: float = 0.0
    silent: bool = False


@dataclass
class _Lane:
    """What is on its way from one controller to another, in order."""

    waiting: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = field(default_factory=deque)
    timer: asyncio.Handle | None = None
    held: bytes | None = None
    burst_left: int = 0


class Medium(LocalLink):
    """A shared medium with seeded faults.

    Parameters
    ----------
    seed : int
        Two media with the same seed and traffic fail alike.
    supervision_s : float
        Nothing heard for so long ends a connection.
    """

    def __init__(self, seed: int = 0, supervision_s: float = 4.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.faults = Faults()
        self.supervision_s = supervision_s
        self.rssi_dbm: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        self.seen: Callable[[bytes, str], None] | None = None
        """Told of every notified value and its fate; for those who must know what was lost."""
        self._random = random.Random(seed)  # noqa: S311  # faults, not secrets
        self._lanes: dict[tuple[int, str], _Lane] = {}
        self._dark: asyncio.TimerHandle | None = None
        self._supervision: asyncio.TimerHandle | None = None

    @property
    def dark(self) -> bool:
        """Whether nothing passes at all."""
        return self._dark is not None

    def black_out(self, seconds: float) -> None:
        """Let nothing pass for a while; connections end when it lasts longer than the supervision time-out."""
        self.light()
        loop = asyncio.get_running_loop()
        self._dark = loop.call_later(seconds, self.light)
        self._supervision = loop.call_later(self.supervision_s, self.drop_links)

    def light(self) -> None:
        """End a black-out."""
        for timer in (self._dark, self._supervision):
            if timer is not None:
                timer.cancel()
        if self._dark is not None:
            self._drop_widows()
        self._dark = self._supervision = None

    def drop_links(self, reason: int = hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR) -> None:
        """End every connection at both ends, as a supervision time-out does."""
        self._forget()
        for controller in list(self.controllers):
            for connection in list(controller.le_connections.values()):
                controller.on_le_disconnected(connection, reason)

    def close(self) -> None:
        """Drop what is on its way."""
        self.light()
        self._forget()

    def send_acl_data(
        self,
        sender_controller: Controller,
        destination_address: hci.Address,
        transport: PhysicalTransport,
        data: bytes,
    ) -> None:
        """Carry data, or do to it what the faults say."""
        connection = sender_controller.le_connections.get(destination_address)
        to = self.find_le_controller(destination_address)
        if connection is None or to is None:
            return
        # LocalLink names the sender's random address; a controller that connects from its public one is then unknown.
        lane = self._lane(sender_controller, destination_address)
        for arriving in self._fate(lane, data):
            self._carry(lane, to.on_link_acl_data, connection.self_address, transport, arriving)

    def send_ll_control_pdu(
        self, sender_address: hci.Address, receiver_address: hci.Address, packet: ll.ControlPdu
    ) -> None:
        """Carry a link-layer message behind the data already sent."""
        sender, to = self.find_le_controller(sender_address), self.find_le_controller(receiver_address)
        if sender is None or to is None or self.dark:
            return
        self._carry(self._lane(sender, receiver_address), self._control, to, sender_address, packet)

    def send_advertising_pdu(self, sender_controller: Controller, packet: ll.AdvertisingPdu) -> None:
        """Carry an advertisement to all others."""
        if not self.dark:
            super().send_advertising_pdu(sender_controller, packet)

    def _fate(self, lane: _Lane, data: bytes) -> list[bytes]:
        """Return what arrives when this was sent."""
        if self.dark:
            self.counts["dark"] += 1
            return []
        if data[2:4] != _ATT_CHANNEL or len(data) < _VALUE_AT or data[_BASIC_HEADER] != _NOTIFICATION:
            return [data]
        arriving, fate = self._notification(lane, data)
        self.counts[fate] += 1
        if self.seen is not None:
            self.seen(data[_VALUE_AT:], fate)
        if lane.held is not None and fate != "swapped":
            arriving, lane.held = [*arriving, lane.held], None
        return arriving

    def _notification(self, lane: _Lane, data: bytes) -> tuple[list[bytes], str]:
        faults, chance = self.faults, self._random.random
        if faults.silent:
            return [], "silent"
        if lane.burst_left or chance() < faults.loss:
            lane.burst_left = (lane.burst_left or faults.burst) - 1
            return [], "lost"
        if chance() < faults.duplicate:
            return [data, data], "doubled"
        if chance() < faults.swap and lane.held is None:
            lane.held = data
            return [], "swapped"
        if chance() < faults.corrupt and len(data) > _VALUE_AT:
            altered = bytearray(data)
            altered[self._random.randrange(_VALUE_AT, len(data))] ^= self._random.randrange(1, 256)
            return [bytes(altered)], "corrupted"
        if chance() < faults.cut:
            kept = data[: _VALUE_AT + (len(data) - _VALUE_AT) // 2]
            return [(len(kept) - _BASIC_HEADER).to_bytes(2, "little") + kept[2:]], "cut"
        return [data], "carried"

    def _carry(self, lane: _Lane, deliver: Callable[..., Any], *arguments: Any) -> None:
        loop = asyncio.get_running_loop()
        lane.waiting.append((deliver, arguments))
        if lane.timer is not None:
            return
        if self.faults.interval_s:
            events = int(loop.time() / self.faults.interval_s) + 1
            lane.timer = loop.call_at(events * self.faults.interval_s, self._deliver, lane)
        else:
            lane.timer = loop.call_soon(self._deliver, lane)

    def _deliver(self, lane: _Lane) -> None:
        lane.timer = None
        arrived, lane.waiting = lane.waiting, deque()
        for deliver, arguments in arrived:
            deliver(*arguments)

    @staticmethod
    def _control(to: Controller, sender_address: hci.Address, packet: ll.ControlPdu) -> None:
        if sender_address in to.le_connections:
            to.on_ll_control_pdu(sender_address, packet)

    def _lane(self, sender: Controller, destination: hci.Address) -> _Lane:
        return self._lanes.setdefault((id(sender), str(destination)), _Lane())

    def _forget(self) -> None:
        for lane in self._lanes.values():
            if lane.timer is not None:
                lane.timer.cancel()
        self._lanes.clear()

    def _drop_widows(self) -> None:
        """End connections whose other end was closed during a black-out and could not be told."""
        for controller in list(self.controllers):
            for connection in list(controller.le_connections.values()):
                if not self._has_peer(connection):
                    controller.on_le_disconnected(connection, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)

    def _has_peer(self, connection: Connection) -> bool:
        return any(
            other.self_address == connection.peer_address and other.peer_address == connection.self_address
            for controller in self.controllers
            for other in controller.le_connections.values()
        )


class FixedController(Controller):
    """bumble's virtual controller (0.0.236) with the gaps filled that were found by running it.

    A cancelled connect ends in Connection Complete with an error, without which a connect that timed out never
    returns and every later one is refused. A scan response carries the advertiser's scan-response data instead of its
    advertising data once more. Reset forgets connections, advertising and scanning. Signal strength is the medium's.
    """

    def __init__(self, name: str, medium: Medium, host_source: Any = None, host_sink: Any = None) -> None:
        super().__init__(name, host_source, host_sink, link=medium)
        self.medium = medium

    def on_hci_le_create_connection_cancel_command(
        self, _command: hci.HCI_LE_Create_Connection_Cancel_Command
    ) -> hci.HCI_StatusReturnParameters:
        """End the pending connect (Bluetooth Core 5.4, Vol 4 Part E, 7.8.13)."""
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        ended = hci.HCI_LE_Connection_Complete_Event(
            status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
            connection_handle=0,
            role=hci.Role.CENTRAL,
            peer_address_type=pending.peer_address.address_type,
            peer_address=pending.peer_address,
            connection_interval=0,
            peripheral_latency=0,
            supervision_timeout=0,
            central_clock_accuracy=0,
        )
        asyncio.get_running_loop().call_soon(self.send_hci_packet, ended)
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)

    def on_hci_reset_command(self, _command: hci.HCI_Reset_Command) -> hci.HCI_StatusReturnParameters:
        """Be as after power-up (Bluetooth Core 5.4, Vol 4 Part E, 7.3.2)."""
        self.quiet()
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)

    def quiet(self) -> None:
        """Leave every connection, stop advertising and scanning."""
        for connection in list(self.le_connections.values()):
            reason = hci.HCI_ErrorCode.REMOTE_DEVICE_TERMINATED_CONNECTION_DUE_TO_POWER_OFF_ERROR
            connection.send_ll_control_pdu(ll.TerminateInd(reason))
        self.le_connections.clear()
        self.pending_le_connection = None
        self.le_scan_enable = False
        self.le_legacy_advertiser.stop()
        for advertising in self.advertising_sets.values():
            advertising.stop()
        self.advertising_sets.clear()

    def on_le_disconnected(self, connection: Connection, reason: int) -> None:
        """Tell the host once."""
        if self.le_connections.get(connection.peer_address) is connection:
            super().on_le_disconnected(connection, reason)

    def send_hci_packet(self, packet: hci.HCI_Packet) -> None:
        """Mend advertising reports on their way to the host."""
        if isinstance(packet, hci.HCI_LE_Extended_Advertising_Report_Event):
            kind = hci.HCI_LE_Extended_Advertising_Report_Event.EventType.SCAN_RESPONSE
            for extended in packet.reports:
                self._mend(extended, bool(extended.event_type & kind))
            packet = hci.HCI_LE_Extended_Advertising_Report_Event(packet.reports)
        elif isinstance(packet, hci.HCI_LE_Advertising_Report_Event):
            scan_response = hci.HCI_LE_Advertising_Report_Event.EventType.SCAN_RSP
            for legacy in packet.reports:
                self._mend(legacy, legacy.event_type == scan_response)
            packet = hci.HCI_LE_Advertising_Report_Event(packet.reports)
        super().send_hci_packet(packet)

    def _mend(self, report: Any, is_response: bool) -> None:
        report.rssi = self.medium.rssi_dbm.get(report.address.to_string(False), DEFAULT_RSSI_DBM)
        if is_response:
            report.data = _scan_response(self.medium, report.address)


def _scan_response(medium: Medium, address: hci.Address) -> bytes:
    for controller in medium.controllers:
        for advertising in controller.advertising_sets.values():
            if advertising.enabled and advertising.address == address:
                return bytes(advertising.scan_response_data)
        legacy = controller.le_legacy_advertiser
        if legacy.enabled and legacy.address == address:
            return bytes(legacy.scan_response_data)
    return b""
