"""Asks CUPS how a queue or a job stands: two operations of the Internet Printing Protocol (RFC 8010, RFC 8011).

The command `lpstat` cannot tell a job that was printed from one that was cancelled, and answers in the language of the
system; the protocol has numbers for both.
"""

import getpass
import http.client
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from lsemvae_edge.errors import DeviceError
from lsemvae_edge.language import mark

SERVER_VARIABLE = "CUPS_SERVER"
"""Environment variable of CUPS: path of a socket, or ``host:port``."""
SOCKETS = ("/run/cups/cups.sock", "/var/run/cups/cups.sock")
PORT = 631
WITHIN_S = 5.0
MAX_BYTES = 1 << 18

NO_CUPS = mark("The printing service CUPS does not run.")
NO_CUPS_STEP = mark("Start it: `systemctl enable --now cups`; the result is kept and can be printed later.")
STRANGE = mark("The printing service gave an answer that cannot be read.")
STRANGE_STEP = mark("Restart it: `systemctl restart cups`.")

Value = int | bool | str
_GET_JOB, _GET_PRINTER = 0x0009, 0x000B
_NOT_FOUND = 0x0406
_OPERATION, _END = 0x01, 0x03
_INTEGER, _BOOLEAN, _ENUM = 0x21, 0x22, 0x23
_NAME, _KEYWORD, _URI, _CHARSET, _LANGUAGE = 0x42, 0x44, 0x45, 0x47, 0x48


class NoCupsError(DeviceError):
    """CUPS is not there or does not answer."""

    def __init__(self) -> None:
        super().__init__(NO_CUPS, NO_CUPS_STEP)


def job(number: int) -> dict[str, list[Value]] | None:
    """Return how a job stands; None if CUPS does not know it (any more).

    Raises
    ------
    DeviceError
        If CUPS does not run, or answers what is no answer.
    """
    wanted = ("job-state", "job-state-reasons", "job-printer-state-message", "job-printer-state-reasons")
    return _ask(_GET_JOB, "job-uri", f"ipp://localhost/jobs/{number}", "/jobs/", wanted)


def printer(queue: str) -> dict[str, list[Value]] | None:
    """Return how a queue stands; None if there is no such queue.

    Raises
    ------
    DeviceError
        If CUPS does not run, or answers what is no answer.
    """
    wanted = ("printer-state", "printer-state-reasons", "printer-state-message", "printer-is-accepting-jobs")
    return _ask(_GET_PRINTER, "printer-uri", f"ipp://localhost/printers/{queue}", f"/printers/{queue}", wanted)


def request(operation: int, target: str, uri: str, wanted: Sequence[str]) -> bytes:
    """Return the bytes of a request for some attributes of one object."""
    parts = [
        (_CHARSET, "attributes-charset", "utf-8"),
        (_LANGUAGE, "attributes-natural-language", "en"),
        (_URI, target, uri),
        (_NAME, "requesting-user-name", getpass.getuser()),
        *[(_KEYWORD, "" if at else "requested-attributes", name) for at, name in enumerate(wanted)],
    ]
    body = b"".join(bytes([tag]) + _counted(name.encode()) + _counted(value.encode()) for tag, name, value in parts)
    return b"\x01\x01" + operation.to_bytes(2, "big") + (1).to_bytes(4, "big") + bytes([_OPERATION]) + body + b"\x03"


def parse(answer: bytes) -> tuple[int, dict[str, list[Value]]]:
    """Read an answer: its status, and the attributes by name.

    Raises
    ------
    DeviceError
        If the bytes are no such answer.
    """
    if len(answer) < 9:
        raise DeviceError(STRANGE, STRANGE_STEP)
    status, at = int.from_bytes(answer[2:4], "big"), 8
    found: dict[str, list[Value]] = {}
    current = ""
    while at < len(answer):
        tag = answer[at]
        at += 1
        if tag == _END:
            return status, found
        if tag < 0x10:
            current = ""
            continue
        name, at = _taken(answer, at)
        value, at = _taken(answer, at)
        current = name.decode("utf-8", "replace") or current
        if current:
            found.setdefault(current, []).append(_value(tag, value))
    raise DeviceError(STRANGE, STRANGE_STEP)


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket of this machine."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=WITHIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _ask(operation: int, target: str, uri: str, path: str, wanted: Sequence[str]) -> dict[str, list[Value]] | None:
    connection = _connection()
    try:
        connection.request("POST", path, request(operation, target, uri, wanted), {"Content-Type": "application/ipp"})
        response = connection.getresponse()
        answer = response.read(MAX_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise NoCupsError from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise DeviceError(STRANGE, STRANGE_STEP)
    status, found = parse(answer)
    if status == _NOT_FOUND:
        return None
    if status >= 0x0100:
        raise DeviceError(STRANGE, STRANGE_STEP)
    return found


def _connection() -> http.client.HTTPConnection:
    server = os.environ.get(SERVER_VARIABLE, "")
    if not server:
        server = next((path for path in SOCKETS if Path(path).is_socket()), f"localhost:{PORT}")
    if server.startswith("/"):
        return _Connection(server)
    # CUPS takes a version behind the address: host:631/version=1.1.
    address = server.partition("/")[0]
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        host, port = address, str(PORT)
    return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=WITHIN_S)


def _counted(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _taken(answer: bytes, at: int) -> tuple[bytes, int]:
    size = int.from_bytes(answer[at : at + 2], "big")
    end = at + 2 + size
    if at + 2 > len(answer) or end > len(answer):
        raise DeviceError(STRANGE, STRANGE_STEP)
    return answer[at + 2 : end], end


def _value(tag: int, value: bytes) -> Value:
    if tag in (_INTEGER, _ENUM):
        return int.from_bytes(value, "big", signed=True)
    if tag == _BOOLEAN:
        return any(value)
    return value.decode("utf-8", "replace")
