"""One request and what its answer means; no redirects, no proxies, bounded in time and size."""

import email.utils
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from lsemvae_edge import __version__
from lsemvae_edge.exchange.fhir import MEDIA_TYPE
from lsemvae_edge.language import mark
from lsemvae_edge.outbox.destination import Destination

Meaning = Literal["done", "later", "refused", "closed"]
"""The server has it; try again later; it will never take this one; nothing goes to this server until somebody acts."""

MAX_ANSWER_BYTES = 4 * 1024 * 1024
_MAX_TOLD = 300
_LATER = frozenset({408, 409, 423, 425, 429})
"""Of the 400s those that pass: 409 and 423 when another kiosk puts the same Patient at the same moment."""

NO_NETWORK = mark("There is no way to the FHIR server.")
NO_ANSWER = mark("The FHIR server did not answer in time.")
CUT = mark("The connection to the FHIR server was cut.")
NOT_FHIR = mark("What answered is no FHIR server; a network may ask for a sign-in first.")
NOT_BELIEVED = mark("The FHIR server's certificate is not signed by the authority that is believed, or has run out.")
NOT_YET_VALID = mark("The FHIR server's certificate is not valid yet: the clock of this machine may be wrong.")
REDIRECTED = mark("The FHIR server points to another address, which is not followed.")
NO_TOKEN = mark("The FHIR server does not accept the token.")
NOT_ALLOWED = mark("The FHIR server does not allow this token to store records.")
NO_BASE = mark("There is no FHIR server at this address.")
TOO_LONG = mark("The FHIR server's answer is too long.")
OVERLOADED = mark("The FHIR server cannot take records now.")


@dataclass(frozen=True)
class Answer:
    """What came of one request.

    Parameters
    ----------
    meaning : str
        One of `Meaning`.
    reason : str
        Why, in an English sentence; empty if done.
    status : int or None
        Of HTTP; None where no answer came.
    retry_after_s : float or None
        What the server asks to wait.
    server_time : str or None
        ``Date`` of the answer.
    versions : mapping
        Of each resource that was stored, as the server numbers them.
    """

    meaning: Meaning
    reason: str = ""
    status: int | None = None
    retry_after_s: float | None = None
    server_time: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def post(destination: Destination, transaction: Mapping[str, Any], request_id: str) -> Answer:
    """Send one transaction.

    Parameters
    ----------
    destination : Destination
    transaction : mapping
        A Bundle of type ``transaction``.
    request_id : str
        The same when it is sent again.

    Raises
    ------
    UsageError
        If token or certificate cannot be read.
    """
    content = json.dumps(transaction, ensure_ascii=False, allow_nan=False).encode()
    headers = {
        "Content-Type": f"{MEDIA_TYPE}; charset=utf-8",
        "Accept": MEDIA_TYPE,
        "Prefer": "return=minimal",
        "User-Agent": f"lsemvae-edge/{__version__}",
        "X-Request-Id": request_id,
        "Connection": "close",
    }
    token = destination.token()
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    context = destination.context()
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection(destination.host, destination.port, timeout=destination.timeout_s)
    else:
        connection = http.client.HTTPSConnection(
            destination.host, destination.port, timeout=destination.timeout_s, context=context
        )
    try:
        with _Deadline(connection, destination.timeout_s) as deadline:
            try:
                connection.request("POST", destination.path, content, headers)
                response = connection.getresponse()
                body = response.read(MAX_ANSWER_BYTES + 1)
            except (OSError, http.client.HTTPException) as error:
                return _failure(error, late=deadline.passed)
        if deadline.passed:
            return Answer("later", NO_ANSWER)
        if response.length and len(body) <= MAX_ANSWER_BYTES:
            return Answer("later", CUT)
        answer = _meaning(response.status, body, [entry["request"]["url"] for entry in transaction["entry"]])
        return replace(
            answer,
            status=response.status,
            retry_after_s=_retry_after_s(response),
            server_time=response.headers.get("Date"),
        )
    finally:
        connection.close()


class _Deadline:
    """Cuts a connection after a time, however slowly its bytes drip; a socket's own time-out begins anew with each."""

    def __init__(self, connection: http.client.HTTPConnection, seconds: float) -> None:
        self.passed = False
        self._connection = connection
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> "_Deadline":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _cut(self) -> None:
        self.passed = True
        sock = self._connection.sock
        if sock is not None:
            try:
                # The plain socket's method: the one of TLS would wait to say good-bye.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return


def _failure(error: Exception, *, late: bool) -> Answer:
    if isinstance(error, ssl.SSLCertVerificationError):
        # X509_V_ERR_CERT_NOT_YET_VALID: most often a clock that was not set, which passes by itself.
        if error.verify_code == 9:
            return Answer("later", NOT_YET_VALID)
        return Answer("closed", NOT_BELIEVED)
    if late or isinstance(error, TimeoutError):
        return Answer("later", NO_ANSWER)
    if isinstance(error, http.client.HTTPException | ConnectionResetError | BrokenPipeError | ssl.SSLError):
        return Answer("later", CUT)
    return Answer("later", NO_NETWORK)


def _meaning(status: int, body: bytes, urls: list[str]) -> Answer:
    if 300 <= status < 400:
        return Answer("closed", REDIRECTED)
    if status == 401:
        return Answer("closed", NO_TOKEN)
    if status == 403:
        return Answer("closed", NOT_ALLOWED)
    if status in _LATER or status >= 500:
        return Answer("later", OVERLOADED)
    if len(body) > MAX_ANSWER_BYTES:
        return Answer("later", TOO_LONG)
    found = _resource(body)
    if status in (200, 201):
        return _stored(found, urls)
    if status < 400:
        return Answer("later", NOT_FHIR)
    if found.get("resourceType") != "OperationOutcome" and status in (404, 405, 410):
        return Answer("closed", NO_BASE)
    return Answer("refused", f"The FHIR server refuses this record ({status}): {_outcome(found)}")


def _resource(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _stored(found: dict[str, Any], urls: list[str]) -> Answer:
    """Look whether an answer says of every single resource that it is stored; anything less is no receipt.

    FHIR wants all or none, but there are servers that say "200" and refuse one resource inside.
    """
    entries = found.get("entry")
    if found.get("resourceType") != "Bundle" or found.get("type") != "transaction-response":
        return Answer("later", NOT_FHIR)
    if not isinstance(entries, list) or len(entries) != len(urls):
        return Answer("later", NOT_FHIR)
    versions = {}
    for url, entry in zip(urls, entries, strict=True):
        response = entry.get("response") if isinstance(entry, dict) else None
        status = str(response.get("status", "")) if isinstance(response, dict) else ""
        if status[:3] in map(str, _LATER):
            return Answer("later", OVERLOADED)
        if status.startswith("4"):
            outcome = response.get("outcome") if isinstance(response, dict) else None
            words = _outcome(outcome if isinstance(outcome, dict) else {})
            return Answer("refused", f"The FHIR server refuses this record ({status[:3]}): {words}")
        if not status.startswith(("200", "201")):
            return Answer("later", OVERLOADED if status.startswith("5") else NOT_FHIR)
        versions[url] = str(response.get("etag", ""))[:64] if isinstance(response, dict) else ""
    return Answer("done", versions=versions)


def _outcome(found: dict[str, Any]) -> str:
    """Return what an OperationOutcome says, in one bounded line."""
    issues = found.get("issue")
    first = issues[0] if isinstance(issues, list) and issues and isinstance(issues[0], dict) else {}
    details = first.get("details")
    told = details.get("text") if isinstance(details, dict) else None
    words = str(told or first.get("diagnostics") or first.get("code") or "no reason given")
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in words).split())
    return f"{line[:_MAX_TOLD].rstrip('.')}."


def _retry_after_s(response: http.client.HTTPResponse) -> float | None:
    """Return the seconds of ``Retry-After``; a date counts from the server's own clock, for ours may not be set."""
    text = (response.headers.get("Retry-After") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    at, now = _date(text), _date(response.headers.get("Date") or "")
    if at is None:
        return None
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        found = email.utils.parsedate_to_datetime(text)
    except (ValueError, IndexError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
