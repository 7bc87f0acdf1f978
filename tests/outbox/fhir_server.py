"""A small, strict FHIR server in a process of its own, which keeps what it committed when it is killed.

Usage: fhir_server.py FOLDER PORT [--tls] [--validate] [--seed N]. In FOLDER: ``fhir.sqlite`` with the resources,
``token`` that it wants, ``cert.pem`` and ``key.pem``, and ``faults.json``, a list of what to do wrong next.
"""

import argparse
import json
import random
import sqlite3
import ssl
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BASE = "/fhir"
KINDS = {"Patient", "Device", "Observation", "DiagnosticReport", "RiskAssessment"}
TABLES = """
CREATE TABLE IF NOT EXISTS resources (kind TEXT, id TEXT, version INTEGER, body TEXT, PRIMARY KEY (kind, id));
CREATE TABLE IF NOT EXISTS requests (at REAL, request_id TEXT, fault TEXT, status INTEGER);
"""


class RefusedError(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20
    folder: Path
    validate = False
    draw: random.Random | None = None

    def do_POST(self) -> None:
        fault = self._fault()
        name = fault.get("do")
        if name == "cut_before":
            return self._cut()
        if name == "hang":
            time.sleep(fault.get("s", 30))
            return self._cut()
        try:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if name == "status":
                raise RefusedError(fault["status"], fault.get("words", "told to"))
            answer = self._transaction(body)
        except RefusedError as error:
            return self._refuse(error, fault)
        match name:
            case "cut_after":
                self._cut()
            case "slow":
                self._drip(json.dumps(answer).encode(), fault["s"])
            case "short":
                self.send_response(200)
                self.send_header("Content-Length", "9999")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())
                self.close_connection = True
            case "html":
                self._send(200, b"<html>Please sign in to this network</html>", {"Content-Type": "text/html"}, name)
            case "huge":
                self._send(200, b'{"a": "' + b"x" * fault["bytes"] + b'"}', {}, name)
            case "partly":
                answer["entry"][1]["response"] = fault["response"]
                self._send(200, json.dumps(answer).encode(), {}, name)
            case _:
                self._send(200, json.dumps(answer).encode(), {}, name)

    def _fault(self) -> dict:
        """Take the next fault from the list; with a seed, one at random."""
        if self.draw is not None:
            time.sleep(self.draw.random() * 0.02)
            return {"do": self.draw.choices(["", "cut_before", "cut_after", "status"], [8, 1, 2, 1])[0], "status": 503}
        path = self.folder / "faults.json"
        faults = json.loads(path.read_text()) if path.exists() else []
        if not faults:
            return {}
        path.write_text(json.dumps(faults[1:]))
        return faults[0]

    def _transaction(self, body: bytes) -> dict:
        if self.path.rstrip("/") != BASE:
            raise RefusedError(404, "no such place")
        token = self.folder / "token"
        if token.exists() and self.headers.get("Authorization") != f"Bearer {token.read_text().strip()}":
            raise RefusedError(401, "who are you?")
        if not self.headers.get("Content-Type", "").startswith("application/fhir+json"):
            raise RefusedError(415, "not FHIR's media type")
        bundle = json.loads(body)
        if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction":
            raise RefusedError(400, "not a transaction")
        if self.validate:
            from fhir.resources.R4B.bundle import Bundle

            Bundle.model_validate(bundle)
        return self._stored(bundle["entry"])

    def _stored(self, entries: list[dict]) -> dict:
        names = {}
        for entry in entries:
            resource = entry["resource"]
            kind, id = resource["resourceType"], resource["id"]
            if kind not in KINDS:
                raise RefusedError(422, f"no {kind} is taken here")
            if entry["request"] != {"method": "PUT", "url": f"{kind}/{uuid.UUID(id)}"}:
                raise RefusedError(400, "a resource is put under its own id")
            if entry["fullUrl"] in names:
                raise RefusedError(400, "bdl-7")
            names[entry["fullUrl"]] = f"{kind}/{id}"
        answers = []
        with sqlite3.connect(self.folder / "fhir.sqlite", timeout=30) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for entry in entries:
                resource = resolved(entry["resource"], names)
                row = (resource["resourceType"], resource["id"])
                found = connection.execute("SELECT version FROM resources WHERE kind = ? AND id = ?", row).fetchone()
                version = 1 if found is None else found[0] + 1
                connection.execute("REPLACE INTO resources VALUES (?, ?, ?, ?)", (*row, version, json.dumps(resource)))
                status = "201 Created" if found is None else "200 OK"
                answers.append({"response": {"status": status, "etag": f'W/"{version}"'}})
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}

    def _refuse(self, error: RefusedError, fault: dict) -> None:
        outcome = {
            "resourceType": "OperationOutcome",
            "issue": [{"severity": "error", "code": "processing", "diagnostics": str(error)}],
        }
        body = json.dumps(outcome).encode() if fault.get("fhir", True) else b"<html>404</html>"
        self._send(error.status, body, fault.get("headers", {}), fault.get("do"))

    def _send(self, status: int, body: bytes, headers: dict, fault: str | None) -> None:
        self._log(status, fault)
        self.send_response(status)
        for name, value in {"Content-Type": "application/fhir+json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self, body: bytes, seconds: float) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            for at in range(len(body)):
                self.wfile.write(body[at : at + 1])
                self.wfile.flush()
                time.sleep(seconds)
        except OSError:
            self.close_connection = True

    def _cut(self) -> None:
        self._log(0, "cut")
        self.close_connection = True
        self.connection.close()

    def _log(self, status: int, fault: str | None) -> None:
        with sqlite3.connect(self.folder / "fhir.sqlite", timeout=30) as connection:
            row = (time.time(), self.headers.get("X-Request-Id"), fault, status)
            connection.execute("INSERT INTO requests VALUES (?, ?, ?, ?)", row)

    def log_message(self, *_) -> None:
        return


def resolved(value, names: dict[str, str]):
    """Put the server's own names into the place of references within the transaction; no other reference is taken."""
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            if value["reference"] not in names:
                raise RefusedError(422, f"nothing is known of {value['reference']}")
            return {**value, "reference": names[value["reference"]]}
        return {key: resolved(inner, names) for key, inner in value.items()}
    return [resolved(inner, names) for inner in value] if isinstance(value, list) else value


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--seed", type=int)
    told = parser.parse_args()
    Handler.folder, Handler.validate = told.folder, told.validate
    Handler.draw = None if told.seed is None else random.Random(told.seed)
    with sqlite3.connect(told.folder / "fhir.sqlite") as connection:
        connection.executescript(TABLES)
    ThreadingHTTPServer.daemon_threads = True
    server = ThreadingHTTPServer(("127.0.0.1", told.port), Handler)
    if told.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(told.folder / "cert.pem", told.folder / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    sys.stdout.close()
    server.serve_forever()


if __name__ == "__main__":
    main()
