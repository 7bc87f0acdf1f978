"""Catalogues hold everything that people read, and finished English sentences are found again in them."""

import importlib.util
import json
import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge import bundle as bundles
from lsemvae_edge import decision, preprocess, quality
from lsemvae_edge.device import errors as device_errors
from lsemvae_edge.device.progress import Progress, message
from lsemvae_edge.errors import DeviceError, LsemvaeError, StoreError, UnusableRecordingError
from lsemvae_edge.language import (
    FOLDER,
    LANGUAGES,
    REVIEWED,
    can_be_found,
    get,
)
from lsemvae_edge.quality.contact import ELECTRODE_ADVICE
from lsemvae_edge.record import Record
from lsemvae_edge.result import TaskResult

ROOT = Path(__file__).parent.parent
TRANSLATED = sorted(set(LANGUAGES) - {"en"})
in_each_language = pytest.mark.parametrize("code", TRANSLATED)
FILLINGS = st.text(
    st.characters(categories=["Lu", "Ll", "Nd"], include_characters="-:,'%() "), min_size=1, max_size=20
).filter(lambda text: text.strip() == text and text)


@pytest.fixture(scope="module")
def catalogues():
    """The script `.ci/catalogues` as a module."""
    pytest.importorskip("babel", reason="catalogues are made with Babel, of the extra `dev`")
    loader = SourceFileLoader("catalogues", str(ROOT / ".ci" / "catalogues"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("catalogues", loader))
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def strings(catalogues):
    """Everything that people read, collected anew from the sources."""
    return catalogues.collect()


# Catalogues


@in_each_language
def test_every_string_is_translated_with_the_same_fields(catalogues, strings, code):
    assert catalogues.faults(strings, catalogues.read(code)) == []


@in_each_language
def test_compiled_catalogues_are_those_of_the_translations(catalogues, code):
    folder = FOLDER / code / "LC_MESSAGES"
    assert (folder / "lsemvae_edge.mo").read_bytes() == catalogues.mo(catalogues.read(code))
    read = {message.id: message.string for message in catalogues.read(code) if message.id}
    assert get(code).strings == read


def test_the_template_is_what_the_sources_say(catalogues, strings):
    assert (FOLDER / "lsemvae_edge.pot").read_bytes() == catalogues.po(catalogues.template(strings))


@in_each_language
def test_a_catalogue_that_no_speaker_has_reviewed_says_so(code):
    head = (FOLDER / code / "LC_MESSAGES" / "lsemvae_edge.po").read_text("utf-8").split("msgid", 1)[0]
    assert ("MADE BY MACHINE" in head) == (code not in REVIEWED)


@pytest.mark.parametrize(
    ("suffix", "source", "found"),
    [
        ("python", 'X = mark("One.")\nlanguage("Two {n}.", n=1)\nself._mark("none")', ["One.", "Two {n}."]),
        ("python", 'language("Yes." if x else "No.")', ["Yes.", "No."]),
        (
            "python",
            "raise BadInputError(f\"Lead {name!r} has {n:d} gap{'s' if n > 1 else ''} of {self.most_s:.1f} s.\")",
            ["Lead {name} has {n} gaps of {most_s} s.", "Lead {name} has {n} gap of {most_s} s."],
        ),
        ("python", 'raise BadInputError(f"{what} cannot {do}.", NEXT or "Look again.")', ["Look again."]),
        ("javascript", 'say(t("Hold {n}.", { n: 1 }));\nt(variable);', ["Hold {n}."]),
        ("html", '<p data-text="Please wait.">x</p><button aria-label="x">', ["Please wait."]),
    ],
)
def test_strings_are_found_in_sources(catalogues, suffix, source, found):
    assert sorted(getattr(catalogues, f"_{suffix}")(source, True)) == sorted(found)


def test_a_missing_fuzzy_or_differently_filled_translation_is_a_fault(catalogues):
    catalogue = catalogues.Catalog(locale="es")
    catalogue.add("Same {n}.", "Igual {n}.")
    catalogue.add("Fuzzy.", "Borroso.", flags=["fuzzy"])
    catalogue.add("Field {n}.", "Campo {m}.")
    catalogue.add("Gone.", "Ido.")
    texts = {text: ["a.py"] for text in ("Same {n}.", "Fuzzy.", "Field {n}.", "New.")}
    faults = catalogues.faults(texts, catalogue)
    assert [fault.split(":")[0].split(" (")[0] for fault in faults] == [
        "fuzzy", "other fields", "not translated", "no longer said",
    ]  # fmt: skip


def test_importing_the_languages_loads_no_catalogue_tools():
    code = "import sys, lsemvae_edge.language as l; l.get('hi'); print('babel' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# Sentences


def is_translated(text, code):
    return get(code).sentence(text) != text


@in_each_language
@given(data=st.data())
def test_filled_in_sentences_are_found_again(code, data):
    language = get(code)
    templates = sorted(text for text in language.strings if "{" in text and can_be_found(text))
    template = data.draw(st.sampled_from(templates))
    # What is filled in does not itself spell a part of another sentence.
    values = {name: data.draw(FILLINGS) for name in re.findall(r"\{(\w+)\}", template)}
    translated = {name: language.sentence(value) for name, value in values.items()}
    assert language.sentence(template.format(**values)) == language(template, **translated)


@in_each_language
def test_sentences_after_one_another_are_all_translated(code):
    language = get(code)
    reason, advice = decision.BETWEEN, decision.REFER_OR_REPEAT
    assert language.sentence(f"{reason} {advice}") == f"{language(reason)} {language(advice)}"
    short = "The recording lasts 5.2 s; 9.0 s are needed. Record 4 more seconds."
    assert language.sentence(short) == " ".join(
        (
            language(
                "The recording lasts {duration_s} s; {required_s} s are needed.", duration_s="5.2", required_s="9.0"
            ),
            language("Record {seconds} more seconds.", seconds="4"),
        )
    )


@in_each_language
@pytest.mark.parametrize("text", ["KTM cannot fly.", "Something else. Record again.", "{", "", "a: b."])
def test_what_is_not_known_stays_english(code, text):
    assert get(code).sentence(text) == text


@in_each_language
def test_what_was_filled_in_is_never_filled_in_again(code):
    text = "Pattern seen: {stand_in} {0} {{"
    assert get(code).sentence(text).endswith("{stand_in} {0} {{")


@pytest.mark.parametrize("code", ["en", "xx"])
def test_english_is_the_language_where_there_is_no_other(code):
    language = get(code)
    assert (language.code, language.strings) == ("en", {})
    assert language.sentence("Record again.") == language("Record again.") == "Record again."
    assert language("Attempt {n} of {of}", n=1, of=3) == "Attempt 1 of 3"


# Everything that is composed where it happens


@in_each_language
def test_every_wording_is_translated(code):
    spec = bundles.default().spec
    reasons = [value for name, value in vars(decision).items() if name.isupper() and isinstance(value, str)]
    outcomes = [TaskResult(outcome, 0.5, None) for outcome in spec.primary.classes]
    outcomes += [
        TaskResult("inconclusive", 0.5, reason) for reason in reasons if reason.endswith(".") and "{" not in reason
    ]
    sides = [TaskResult(side, 0.5, None) for side in spec.tasks[1].classes]
    said = set()
    for at, outcome in enumerate(outcomes):
        results = dict(zip([task.name for task in spec.tasks], (outcome, sides[at % 2]), strict=True))
        wording = decision.word(spec, results, None, confirmed_swap=at % 2 == 0, simulated=at % 3 == 0)
        said |= {wording.headline, wording.advice, *wording.notes}
    assert len(said) > 20
    assert [text for text in said if not is_translated(text, code)] == []


@in_each_language
def test_all_advice_of_quality_is_translated(code):
    advice = [*quality.assessment._ADVICE.values(), *ELECTRODE_ADVICE.values()]
    assert [text for text in advice if not is_translated(text, code)] == []


def unusable_recordings():
    spec = preprocess.default_spec()
    signal = np.ones((2, 500), np.float32)
    for samples, leads, gaps in (
        (signal, ("I", "II"), None),
        (signal[:, :100], ("I", "II"), None),
        (signal[:1], ("II",), None),
        (np.full((2, 6000), np.nan, np.float32), ("I", "II"), None),
    ):
        record = Record(samples, 500.0, leads, gaps)
        with pytest.raises(UnusableRecordingError) as caught:
            preprocess.condition(record, spec)
        yield f"{caught.value.message} {caught.value.next_step}"


@in_each_language
def test_why_a_recording_is_unusable_is_translated(code):
    assert [text for text in unusable_recordings() if not is_translated(text, code)] == []


@in_each_language
def test_progress_is_translated(code):
    states = ("connecting", "recording", "no_signal", "reconnecting", "same_person", "ended")
    said = [message(Progress(state), "HandECG") for state in states]
    said += [
        message(Progress("recording", off=frozenset({"RA", "LL"})), ""),
        message(Progress("recording", battery=5), ""),
    ]
    assert [text for text in said if not is_translated(text, code)] == []


RECORDER = "HandECG 12 (C0:FF:EE:00:00:01)"
DEVICE_ERRORS = [
    device_errors.BluetoothUnavailableError("no adapter"),
    device_errors.NotInRangeError(RECORDER, 12.0),
    device_errors.NoneEnrolledError(()),
    device_errors.NoneEnrolledError((RECORDER, "another"), 12.0),
    device_errors.SeveralInRangeError((RECORDER, "another")),
    device_errors.NotEnrolledError(RECORDER),
    device_errors.UnknownRecorderError(RECORDER, ("polar", "lepu")),
    device_errors.WrongRecorderError(RECORDER, "serial 1", "serial 2"),
    device_errors.PairingError(RECORDER, "it is busy"),
    device_errors.ConnectionFailedError(RECORDER, 3, "it is busy"),
    device_errors.LinkLostError(RECORDER, 10.0),
    device_errors.RefusedError(RECORDER, "start recording", "busy"),
    device_errors.BatteryEmptyError(RECORDER, 3),
    device_errors.NoContactError(("RA", "LL"), 10.0),
    device_errors.SelfTestError(RECORDER, "no test signal came"),
]


@in_each_language
@pytest.mark.parametrize("error", DEVICE_ERRORS, ids=lambda error: type(error).__name__)
def test_errors_of_recorders_are_translated(code, error):
    assert is_translated(error.message, code)
    assert is_translated(error.next_step, code)


def test_no_kind_of_recorder_error_is_forgotten():
    kinds = {kind for kind in vars(device_errors).values() if isinstance(kind, type) and issubclass(kind, DeviceError)}
    # These say what a driver tells them; their next steps are translated.
    told = {DeviceError, device_errors.UnsupportedRecorderError, device_errors.NotOfferedError}
    assert {type(error) for error in DEVICE_ERRORS} == kinds - told


@in_each_language
def test_next_steps_that_errors_bring_are_translated(code):
    steps = {kind.default_next_step for kind in (LsemvaeError, DeviceError, StoreError, UnusableRecordingError)}
    assert [step for step in steps if not is_translated(step, code)] == []


@in_each_language
def test_the_page_is_given_its_strings_as_json(code):
    given_strings = json.loads(json.dumps(get(code).strings))
    assert given_strings["Attempt {n} of {of}"] == get(code)("Attempt {n} of {of}")
    assert "" not in given_strings
