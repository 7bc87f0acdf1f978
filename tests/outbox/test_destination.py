"""Who is believed, and what is never sent in clear: against a server with certificates of our own making."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.errors import LsemvaeError, UsageError
from lsemvae_edge.outbox import Destination, destination_of, send
from lsemvae_edge.outbox import client as client_module


@pytest.fixture
def one(store, making):
    store.append(making.attempt(making.noise()))
    return store


@pytest.fixture
def secure(serve, authority, tmp_path):
    """Function that starts a TLS server; returns it and its authority's certificate."""

    def start(**told):
        folder = tmp_path / "secure"
        ca = authority(folder, **told)
        server = serve("--tls", folder=folder)
        server.wants("abc.DEF-123")
        return server, ca

    return start


def test_over_tls_with_the_pinned_authority_and_the_token(one, secure, token_file):
    server, ca = secure()
    assert send(one, Destination(server.url, token_file, ca, site="Jiri", timeout_s=10)).sent == 1


def test_another_authority_is_refused_and_nothing_is_sent(one, secure, authority, tmp_path, token_file):
    server, _ = secure()
    other = authority(tmp_path / "other")
    report = send(one, Destination(server.url, token_file, other, timeout_s=10))
    assert (report.sent, report.waiting, report.closed) == (0, 1, True)
    assert report.reason == client_module.NOT_BELIEVED
    assert server.n_requests == 0


def test_the_systems_authorities_do_not_count_beside_a_pinned_one(secure):
    _, ca = secure()
    context = Destination("https://127.0.0.1/fhir", ca_file=ca).context()
    assert len(context.get_ca_certs()) == 1
    assert context.check_hostname


def test_without_a_pin_a_private_authority_is_refused(one, secure, token_file):
    server, _ = secure()
    assert send(one, Destination(server.url, token_file, timeout_s=10)).reason == client_module.NOT_BELIEVED


def test_a_certificate_of_another_server_is_refused(one, secure, token_file):
    server, ca = secure(host="127.0.0.9")
    assert send(one, Destination(server.url, token_file, ca, timeout_s=10)).reason == client_module.NOT_BELIEVED


def test_a_certificate_that_is_not_valid_yet_tells_of_the_clock_and_is_tried_again(one, secure, token_file):
    server, ca = secure(begins=datetime.now(UTC) + timedelta(days=3))
    report = send(one, Destination(server.url, token_file, ca, timeout_s=10))
    assert (report.closed, report.reason) == (False, client_module.NOT_YET_VALID)


def test_a_certificate_that_has_run_out_is_refused(one, secure, token_file):
    server, ca = secure(begins=datetime.now(UTC) - timedelta(days=300))
    assert send(one, Destination(server.url, token_file, ca, timeout_s=10)).reason == client_module.NOT_BELIEVED


def test_a_server_that_speaks_no_tls_gets_nothing(one, serve, token_file, authority, tmp_path):
    server, ca = serve(), authority(tmp_path / "ca")
    url = server.url.replace("http:", "https:")
    report = send(one, Destination(url, token_file, ca, timeout_s=5))
    assert (report.sent, report.waiting) == (0, 1)
    assert server.counts() == {}


@pytest.mark.parametrize(
    "url",
    [
        "http://fhir.example/r4", "http://10.0.0.1/fhir", "ftp://127.0.0.1/", "fhir.example", "", "https://",
        "https://user:secret@fhir.example/", "https://fhir.example/?a=b", "https://fhir.example/#x",
        "https://fhir.example:99999/", "https://fhir.example/a b", "https://fhir.example/\r\nX: y", "https://[::1/",
        "http://localhost.fhir.example/", "http://127.0.0.1.fhir.example/", "https://пример/",
    ],
)  # fmt: skip
def test_an_address_that_would_leak_is_refused_before_anything_is_sent(url, token_file):
    with pytest.raises(UsageError) as error:
        Destination(url, token_file)
    assert "secret" not in error.value.message


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/fhir", "http://localhost/fhir", "http://[::1]:80/"])
def test_on_this_machine_http_without_a_token_is_taken(url):
    assert Destination(url).context() is None


def test_to_another_machine_a_token_is_needed():
    with pytest.raises(UsageError, match="token"):
        Destination("https://fhir.example/r4")


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_is_refused(url):
    try:
        made = Destination(url, Path("token"))
    except LsemvaeError:
        return
    assert made.host
    assert 0 <= made.port < 65536
    assert made.is_local or made.context() is not None


def test_a_kiosks_settings_make_a_destination(tmp_path):
    from lsemvae_edge.kiosk.settings import FhirServer

    found = destination_of(FhirServer("https://fhir.example/r4", "/etc/token", "/etc/ca.pem"), "Jiri")
    assert found == Destination("https://fhir.example/r4", Path("/etc/token"), Path("/etc/ca.pem"), site="Jiri")
    assert destination_of(FhirServer("http://127.0.0.1/")) == Destination("http://127.0.0.1/")


def test_a_token_that_is_missing_is_refused(one, serve, tmp_path):
    server = serve()
    with pytest.raises(UsageError, match="cannot be read"):
        send(one, Destination(server.url, tmp_path / "none"))
    assert server.n_requests == 0


def test_a_token_that_others_can_read_is_refused(one, serve, token_file):
    server = serve()
    token_file.chmod(0o640)
    with pytest.raises(UsageError, match="Other users"):
        send(one, Destination(server.url, token_file))
    assert server.n_requests == 0


@pytest.mark.parametrize("content", ["", "a b", "abc\r\nX-Evil: 1", "tökén", "x" * 20_000, "\0"])
def test_a_file_that_holds_no_token_is_refused(content, token_file):
    token_file.write_text(content, newline="")
    with pytest.raises(UsageError, match="holds no token"):
        Destination("https://fhir.example/", token_file).token()


def test_a_folder_is_no_token(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError):
        Destination("https://fhir.example/", tmp_path / "folder").token()


def test_an_authority_that_is_none_is_refused(tmp_path, token_file):
    (tmp_path / "ca.pem").write_text("nonsense")
    with pytest.raises(UsageError, match="authority"):
        Destination("https://fhir.example/", token_file, tmp_path / "ca.pem").context()
