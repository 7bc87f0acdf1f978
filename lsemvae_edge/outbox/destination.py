"""Where results go, and who is believed to be there."""

import ipaddress
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from lsemvae_edge.container import open_plain
from lsemvae_edge.errors import UsageError
from lsemvae_edge.language import mark

_MAX_TOKEN_BYTES = 16_384
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""``b64token`` of RFC 6750, section 2.1."""
_FIX_URL = mark("Correct the address of the FHIR server in the kiosk's settings.")


@dataclass(frozen=True)
class Destination:
    """A FHIR server.

    Parameters
    ----------
    url : str
        Base address of the server, ``https://…``; ``http://`` on this machine alone.
    token_file : Path or None
        File with a bearer token, readable by its owner alone. None on this machine alone.
    ca_file : Path or None
        Certificate (PEM) of the one authority that is believed; None for the system's.
    site : str
        Name of the place within which study ids are unique.
    timeout_s : float
        So long one answer may take, from connecting to its last byte.

    Raises
    ------
    UsageError
        If the address is none, or would send a person's record in clear or without a token.
    """

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    site: str = ""
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        parts = self._parts()
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise UsageError("The FHIR server's address must begin with https:// and name a server.", _FIX_URL)
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise UsageError("The FHIR server's address must hold neither a name, a password nor a query.", _FIX_URL)
        if not self.is_local:
            if parts.scheme != "https":
                raise UsageError("Records are sent to another machine through https:// alone.", _FIX_URL)
            if self.token_file is None:
                raise UsageError(
                    "Records are sent to another machine with a token alone.",
                    "Name the token's file in the kiosk's settings.",
                )

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        host = self._parts().hostname or ""
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def host(self) -> str:
        """Name or address of the server."""
        return self._parts().hostname or ""

    @property
    def port(self) -> int:
        """Port of the server."""
        parts = self._parts()
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def path(self) -> str:
        """Path of the server's base, to which transactions go."""
        return self._parts().path or "/"

    def context(self) -> ssl.SSLContext | None:
        """Return what a server's certificate is checked with; None where nothing leaves this machine by http.

        Raises
        ------
        UsageError
            If the authority's certificate cannot be read.
        """
        if self._parts().scheme == "http":
            return None
        if self.ca_file is None:
            return ssl.create_default_context()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"The authority's certificate {self.ca_file} cannot be read.",
                "Bring the certificate (PEM) of the authority that signed the FHIR server's.",
            ) from error
        return context

    def token(self) -> str | None:
        """Return the bearer token as the file holds it now.

        Raises
        ------
        UsageError
            If there is no such file, others can read it, or it holds no token.
        """
        if self.token_file is None:
            return None
        try:
            file = open_plain(self.token_file)
        except OSError as error:
            raise UsageError(
                f"The token {self.token_file} cannot be read: {error.strerror}.", "Bring the FHIR server's token."
            ) from error
        if file is None:
            raise UsageError(f"The token {self.token_file} is not a plain file.", "Bring the FHIR server's token.")
        with file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                raise UsageError(
                    f"Other users can use the token {self.token_file}.", f"Run `chmod 600 {self.token_file}`."
                )
            raw = file.read(_MAX_TOKEN_BYTES + 1)
        text = raw.decode("latin-1").strip()
        if len(raw) > _MAX_TOKEN_BYTES or not _TOKEN.fullmatch(text):
            raise UsageError(f"The file {self.token_file} holds no token.", "Bring the FHIR server's token.")
        return text

    def _parts(self) -> SplitResult:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError as error:
            raise UsageError("The FHIR server's address is none.", _FIX_URL) from error
        if any(sign.isspace() or not sign.isprintable() for sign in self.url) or not self.url.isascii():
            raise UsageError("The FHIR server's address holds signs that none has.", _FIX_URL)
        return parts


class Server(Protocol):
    """What a kiosk's settings say of a FHIR server."""

    @property
    def url(self) -> str:
        """Base address."""

    @property
    def token_file(self) -> str | None:
        """File with a bearer token."""

    @property
    def ca_file(self) -> str | None:
        """Certificate of the one authority that is believed."""


def destination_of(server: Server, site: str = "") -> Destination:
    """Return the destination that a kiosk's settings describe.

    Parameters
    ----------
    server : Server
    site : str
        Name of the place within which study ids are unique.

    Raises
    ------
    UsageError
        See `Destination`.
    """
    return Destination(
        server.url,
        token_file=None if server.token_file is None else Path(server.token_file),
        ca_file=None if server.ca_file is None else Path(server.ca_file),
        site=site,
    )
