"""Stores, authorities, and a FHIR server in a process of its own."""

import importlib.util
import ipaddress
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lsemvae_edge.store import Store, StoreKey

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def making():
    """Module `making` of the tests of `exchange`, which makes attempts by hand."""
    name = "exchange_making"
    if name not in sys.modules:
        found = importlib.util.spec_from_file_location(name, HERE.parent / "exchange" / "making.py")
        sys.modules[name] = importlib.util.module_from_spec(found)
        found.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def store(tmp_path):
    key = StoreKey.create(tmp_path / "store.key")
    with Store.create(tmp_path / "clinic", key, kind="clinic") as made:
        yield made


@dataclass
class Server:
    """A server process and what it has."""

    folder: Path
    options: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen | None = None
    extra: dict = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{'https' if '--tls' in self.options else 'http'}://127.0.0.1:{self.port}/fhir"

    def start(self) -> "Server":
        command = [sys.executable, str(HERE / "fhir_server.py"), str(self.folder), str(self.port), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        return self

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def will(self, *faults: dict) -> None:
        """Say what it does wrong in the next requests."""
        (self.folder / "faults.json").write_text(json.dumps(faults))

    def wants(self, token: str) -> None:
        (self.folder / "token").write_text(token)

    def rows(self, sql: str) -> list[tuple]:
        connection = sqlite3.connect(self.folder / "fhir.sqlite")
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def counts(self) -> dict[str, int]:
        return dict(Counter(kind for (kind,) in self.rows("SELECT kind FROM resources")))

    def resources(self, kind: str) -> list[dict]:
        return [json.loads(body) for (body,) in self.rows(f"SELECT body FROM resources WHERE kind = '{kind}'")]

    @property
    def n_requests(self) -> int:
        return len(self.rows("SELECT 1 FROM requests"))


@pytest.fixture
def serve(tmp_path):
    """Function that starts a server; it is ended after the test."""
    started = []

    def start(*options: str, folder: Path | None = None) -> Server:
        folder = folder or tmp_path / "server"
        folder.mkdir(exist_ok=True)
        started.append(Server(folder, options))
        return started[-1].start()

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def authority():
    """Function that makes an authority and a server's certificate under it in a folder."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def pem(key) -> bytes:
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def certificate(subject, issuer, public_key, signer, *, ca, begins, names=()):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(signer, hashes.SHA256())

    def make(folder: Path, host="127.0.0.1", begins=None) -> Path:
        folder.mkdir(exist_ok=True)
        begins = begins or datetime.now(UTC) - timedelta(days=1)
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Tests' authority")])
        ca_begins = datetime.now(UTC) - timedelta(days=1)
        ca = certificate(name, name, ca_key.public_key(), ca_key, ca=True, begins=ca_begins)
        own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Tests' server")])
        names = [x509.IPAddress(ipaddress.ip_address(host))]
        leaf = certificate(own, name, key.public_key(), ca_key, ca=False, begins=begins, names=names)
        (folder / "key.pem").write_bytes(pem(key))
        (folder / "cert.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        return folder / "ca.pem"

    return make


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text("abc.DEF-123\n")
    return path
