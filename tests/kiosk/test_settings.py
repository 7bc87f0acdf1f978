"""The settings of a kiosk: read strictly, written whole."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.errors import UsageError
from lsemvae_edge.kiosk import settings
from lsemvae_edge.kiosk.settings import FhirServer, Settings


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "kiosk.json"
    monkeypatch.setenv(settings.VARIABLE, str(path))
    return path


def written(path, text):
    path.write_text(text)
    path.chmod(0o600)


def test_without_a_file_the_defaults_hold(file):
    assert settings.read() == Settings()


def test_what_is_changed_is_read_again(file):
    server = FhirServer("https://fhir.example/R4", "token", None)
    settings.update(lambda now: replace(now, language="ne", site="Jiri", fhir=server))
    assert settings.read() == replace(Settings(), language="ne", site="Jiri", fhir=server)
    assert file.stat().st_mode & 0o077 == 0


def test_a_file_may_list_what_differs_alone(file):
    written(file, json.dumps({"attempts": 2}))
    assert settings.read() == replace(Settings(), attempts=2)


@pytest.mark.parametrize(
    "told",
    [
        {"unheard_of": 1},
        {"language": "xx"},
        {"language": "fr", "languages": ["en"]},
        {"study_id_pattern": "("},
        {"attempts": 0},
        {"attempts": 11},
        {"attempts": "3"},
        {"result_clears_s": 61},
        {"recording_limit_s": -1},
        {"schema": "lsemvae-edge/kiosk/2"},
        {"fhir": {"url": 1}},
        [],
        None,
    ],
)
def test_what_makes_no_sense_is_refused_with_a_next_step(file, told):
    written(file, json.dumps(told))
    with pytest.raises(UsageError) as caught:
        settings.read()
    assert "kiosk setup" in caught.value.next_step


def test_a_file_that_others_can_write_is_refused(file):
    written(file, "{}")
    file.chmod(0o666)
    with pytest.raises(UsageError, match="other users"):
        settings.read()


@given(content=st.binary(max_size=200))
def test_any_content_is_settings_or_a_plain_error(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "kiosk.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(settings.VARIABLE, str(path))
        try:
            assert isinstance(settings.read(), Settings)
        except UsageError as error:
            assert error.next_step
