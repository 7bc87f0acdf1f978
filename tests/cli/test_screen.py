"""``screen`` on the command line: exit codes, one object a line, and words for every kind of bad file."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge import formats
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.record import Record

SCRIPT = Path(sys.executable).parent / "lsemvae-edge"
OUTCOMES = {"present", "not_present", "inconclusive"}


@pytest.fixture(scope="module")
def folder(heart_record, tmp_path_factory) -> Path:
    """A recording in several formats, and files with everything wrong that a file can have."""
    made = tmp_path_factory.mktemp("recordings")
    good = heart_record(12.0, leads=LIMB_LEADS)
    formats.write(good, made / "good.csv")
    formats.write(good, made / "good.lser")
    formats.write(heart_record(12.0, leads=("II",)), made / "one_lead.csv")
    formats.write(heart_record(3.0), made / "three_seconds.csv")
    formats.write(heart_record(30.0, fs_hz=50.0), made / "fifty_hz.csv")
    native = (made / "good.lser").read_bytes()
    (made / "truncated.lser").write_bytes(native[: len(native) // 2])
    (made / "wrong_digest.lser").write_bytes(native[:-1] + bytes([native[-1] ^ 1]))
    for name in ("wrong_checksum", "cut_signal", "no_companion"):
        formats.write(good, made / f"{name}.hea")
    signal = bytearray((made / "wrong_checksum.dat").read_bytes())
    signal[2000] ^= 1
    (made / "wrong_checksum.dat").write_bytes(signal)
    (made / "cut_signal.dat").write_bytes((made / "cut_signal.dat").read_bytes()[:-600])
    (made / "no_companion.dat").unlink()
    (made / "empty.edf").write_bytes(b"")
    (made / "random.dcm").write_bytes(np.random.default_rng(1).bytes(5000))
    (made / "nan_only.csv").write_text("# fs_hz: 500\nI (mV),II (mV)\n" + "nan,nan\n" * 6000)
    (made / "letter.txt").write_text("Dear colleague,\nthank you for this patient.\n")
    (made / "nothing").mkdir()
    (made / "deep").mkdir()
    (made / "deep" / "inside").mkdir()
    return made


BAD_FILES = {
    "truncated.lser": 3,
    "wrong_digest.lser": 3,
    "wrong_checksum.hea": 3,
    "cut_signal.hea": 3,
    "no_companion.hea": 3,
    "empty.edf": 3,
    "random.dcm": 3,
    "nan_only.csv": 3,
    "letter.txt": 3,
    "fifty_hz.csv": 3,
    "nothing": 3,
    "deep": 3,
    "absent.csv": 3,
}


# One recording ------------------------------------------------------------------------------------


def test_a_result_is_at_most_four_lines_without_a_probability(cli, folder):
    code, out, err = cli("screen", folder / "good.csv")
    assert code == 0
    assert err == ""
    assert 1 <= len(out.splitlines()) <= 4
    assert out.startswith(("Pattern seen", "Pattern not seen", "No answer"))
    assert "robab" not in out
    assert "%" not in out
    _, as_json, _ = cli("screen", folder / "good.csv", "--json")
    probability = json.loads(as_json)["tasks"]["right_heart_pattern"]["probability"]
    assert not any(f"{probability:.{digits}f}" in out for digits in (2, 3))


def test_json_is_one_object_and_nothing_else(cli, folder):
    code, out, err = cli("screen", folder / "good.csv", "--json")
    assert code == 0
    assert err == ""
    (line,) = out.splitlines()
    result = json.loads(line)
    assert result["schema"] == "lsemvae-edge/screening-result/1"
    assert result["outcome"] in OUTCOMES
    assert result["record"]["id"] == "good"
    assert result["record"]["origin"] == "file"


def test_the_format_of_the_file_does_not_change_the_outcome(cli, folder):
    results = [json.loads(cli("screen", folder / name, "--json")[1]) for name in ("good.csv", "good.lser")]
    assert results[0]["tasks"] == results[1]["tasks"]


def test_three_seconds_are_said_to_be_too_few(cli, folder):
    code, out, err = cli("screen", folder / "three_seconds.csv")
    assert code == 4
    assert err == ""
    assert out.startswith("No answer")
    assert "Record 7 more seconds." in out
    assert len(out.splitlines()) <= 4


@pytest.mark.parametrize("name", ["three_seconds.csv", "one_lead.csv"])
def test_what_quality_refuses_is_still_a_result(cli, folder, name):
    code, out, _ = cli("screen", folder / name, "--json")
    assert code == 4
    result = json.loads(out)
    assert result["outcome"] == "inconclusive"
    assert result["quality"]["usable"] is False
    assert result["quality"]["advice"]
    assert [task["probability"] for task in result["tasks"].values()] == [None, None]


def test_a_model_that_abstains_still_ends_with_0(cli, folder):
    code, out, _ = cli("screen", folder / "good.csv", "--age", "9", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["outcome"] == "inconclusive"
    assert result["tasks"]["right_heart_pattern"]["probability"] is not None
    code, out, _ = cli("screen", folder / "good.csv", "--pacemaker", "--json")
    assert code == 0
    assert json.loads(out)["outcome"] == "inconclusive"


def test_no_pacemaker_stands_above_the_file(cli, heart_record, tmp_path):
    paced = replace(heart_record(12.0), meta={"pacemaker": True})
    path = formats.write(paced, tmp_path / "paced.lser")
    assert "pacemaker" in json.loads(cli("screen", path, "--json")[1])["tasks"]["right_heart_pattern"]["reason"]
    reason = json.loads(cli("screen", path, "--no-pacemaker", "--json")[1])["tasks"]["right_heart_pattern"]["reason"]
    assert "pacemaker" not in (reason or "")


def test_a_csv_without_rate_or_unit_takes_them_from_the_command(cli, heart_record, tmp_path):
    signal = heart_record(12.0).signal_mv
    path = tmp_path / "plain.csv"
    path.write_text("I,II\n" + "".join(f"{a:.6f},{b:.6f}\n" for a, b in signal.T))
    code, _, err = cli("screen", path)
    assert code == 3
    assert "--fs" in err
    code, out, _ = cli("screen", path, "--fs", "500", "--units", "mV", "--json")
    assert code == 0
    assert json.loads(out)["record"]["amplitude"] == "calibrated"
    assert json.loads(cli("screen", path, "--fs", "500", "--json")[1])["record"]["amplitude"] == "uncalibrated"


# Bad files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "expected"), BAD_FILES.items())
def test_a_bad_file_is_an_error_with_a_next_step(cli, folder, name, expected):
    code, out, err = cli("screen", folder / name)
    assert code == expected
    assert out == ""
    message, next_step = err.splitlines()
    assert message.startswith("lsemvae-edge: ")
    assert message.endswith(".")
    assert next_step.endswith(".")


@pytest.mark.parametrize(("name", "expected"), BAD_FILES.items())
def test_a_bad_file_is_an_error_object_in_json(cli, folder, name, expected):
    code, out, err = cli("screen", folder / name, "--json")
    assert code == expected
    assert err == ""
    (line,) = out.splitlines()
    error = json.loads(line)
    assert error["schema"] == "lsemvae-edge/error/1"
    assert error["code"] == expected
    assert error["message"]
    assert error["next_step"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_companion.hea", "no_companion.dat"),
        ("wrong_checksum.hea", "checksum"),
        ("empty.edf", "empty"),
        ("fifty_hz.csv", "50 samples a second"),
        ("nothing", "without recordings"),
        ("deep", "without recordings"),
        ("absent.csv", "absent.csv"),
    ],
)
def test_the_message_names_what_is_wrong(cli, folder, name, words):
    assert words in cli("screen", folder / name)[2]


# Several recordings -------------------------------------------------------------------------------


def test_several_files_give_one_object_a_line_and_the_highest_code(cli, folder):
    names = ["good.csv", "three_seconds.csv", "empty.edf", "good.lser"]
    code, out, _ = cli("screen", *[folder / name for name in names], "--json")
    assert code == 4
    objects = [json.loads(line) for line in out.splitlines()]
    assert [found["schema"].rsplit("/", 2)[1] for found in objects] == [
        "screening-result", "screening-result", "error", "screening-result",
    ]  # fmt: skip
    assert objects[2]["code"] == 3
    assert objects[2]["path"].endswith("empty.edf")
    code, _, _ = cli("screen", folder / "good.csv", folder / "empty.edf", "--json")
    assert code == 3


def test_several_files_in_words_are_told_apart_by_their_paths(cli, folder):
    code, out, err = cli("screen", folder / "good.csv", folder / "empty.edf")
    assert code == 3
    assert err == ""
    assert f"{folder / 'good.csv'}:" in out
    assert f"{folder / 'empty.edf'}:" in out


def test_a_folder_screens_each_recording_once(cli, heart_record, tmp_path):
    record = heart_record(12.0)
    formats.write(record, tmp_path / "a.csv")
    formats.write(record, tmp_path / "b.hea")
    assert (tmp_path / "b.dat").is_file()
    (tmp_path / ".hidden").write_text("not a recording")
    code, out, _ = cli("screen", tmp_path, "--json")
    assert code == 0
    assert [json.loads(line)["record"]["id"] for line in out.splitlines()] == ["a", "b"]


def test_a_folder_leaves_out_no_recording_that_shares_its_name_with_a_wfdb_header(cli, heart_record, tmp_path):
    formats.write(heart_record(12.0), tmp_path / "visit.hea")
    formats.write(heart_record(12.0, seed=5), tmp_path / "visit.csv")
    code, out, _ = cli("screen", tmp_path, "--json")
    assert code == 0
    assert len({json.loads(line)["record"]["sha256"] for line in out.splitlines()}) == 2


def test_the_loaded_model_is_used_for_all(cli, folder, monkeypatch):
    from lsemvae_edge import runtime

    opened = []
    real = runtime.open_session

    def counted(*arguments):
        opened.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(runtime, "open_session", counted)
    assert cli("screen", folder / "good.csv", folder / "good.lser", "--runtime", "litert")[0] == 0
    assert len(opened) == 1


# Reports and demonstrations -----------------------------------------------------------------------


def test_out_leaves_json_and_a_page(cli, folder, tmp_path):
    out_folder = tmp_path / "new" / "results"
    code, out, err = cli("screen", folder / "good.csv", "--out", out_folder, "--json")
    assert code == 0
    assert "Report:" in err
    page, as_json = sorted(out_folder.iterdir(), key=lambda path: path.suffix, reverse=True)
    assert page.read_bytes().startswith(b"%PDF")
    assert page.stem == as_json.stem
    assert json.loads(as_json.read_text(encoding="utf-8")) == json.loads(out)


def test_a_refused_recording_leaves_its_report_too(cli, folder, tmp_path):
    assert cli("screen", folder / "three_seconds.csv", "--out", tmp_path)[0] == 4
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".pdf"}


def test_a_report_that_cannot_be_written_is_a_store_error(cli, folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = cli("screen", folder / "good.csv", "--out", tmp_path / "file")
    assert code == 7
    assert "could not be written" in err


def test_a_demonstration_says_that_it_is_one(cli):
    code, out, _ = cli("screen", "--demo")
    assert code == 0
    assert "DEMONSTRATION: simulated signal, not a person's recording" in out.splitlines()[0]
    result = json.loads(cli("screen", "--demo", "--json")[1])
    assert result["record"]["origin"] == "demo"
    assert any("Simulated recording" in note for note in result["wording"]["notes"])


def test_a_demonstration_has_a_red_band_on_its_page(cli, tmp_path):
    pymupdf = pytest.importorskip("pymupdf", reason="the page is read back with PyMuPDF, of the extra `dev`")
    assert cli("screen", "--demo", "--out", tmp_path)[0] == 0
    (page,) = pymupdf.open(next(tmp_path.glob("*.pdf")))
    assert "DEMONSTRATION" in page.get_text()
    red = [shape for shape in page.get_drawings() if shape["fill"] and shape["fill"][0] > 0.6 > 3 * shape["fill"][1]]
    assert any(shape["rect"].width > 0.9 * page.rect.width for shape in red)


def test_a_seed_is_a_person(cli):
    shas = [json.loads(cli("screen", "--demo", "--seed", seed, "--json")[1])["record"]["sha256"] for seed in (1, 1, 2)]
    assert shas[0] == shas[1] != shas[2]


# Wrong usage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["screen"],
        ["screen", "--demo", "a.csv"],
        ["screen", "a.csv", "--unknown"],
        ["screen", "a.csv", "--age", "old"],
        ["screen", "--demo", "--runtime", "abacus"],
        ["nonsense"],
        [],
        ["export", "--format", "c++", "--out", "x"],
        ["bench"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_in_words_and_in_json(cli, arguments):
    code, out, err = cli(*arguments)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 2
    code, out, err = cli(*arguments, "--json")
    assert code == 2
    assert err == ""
    error = json.loads(out)
    assert (error["schema"], error["code"]) == ("lsemvae-edge/error/1", 2)
    assert error["next_step"]


def test_a_unit_for_a_format_that_states_its_own_is_wrong_usage(cli, folder):
    assert cli("screen", folder / "good.lser", "--units", "mV")[0] == 2


# Bundles and runtimes -----------------------------------------------------------------------------


def test_a_tampered_bundle_is_refused(cli, folder, tmp_path):
    shipped = bundles.default()
    for name in ("manifest.json", *shipped.manifest.files):
        (tmp_path / name).write_bytes((shipped.path / name).read_bytes())
    assert cli("screen", folder / "good.csv", "--bundle", tmp_path)[0] == 0
    model = tmp_path / shipped.manifest.models[0].path
    model.write_bytes(model.read_bytes()[:-1] + b"\x00\x00")
    code, out, _ = cli("screen", folder / "good.csv", "--bundle", tmp_path, "--json")
    assert code == 5
    assert json.loads(out)["code"] == 5
    (tmp_path / "extra.py").write_text("print('run me')")
    code, _, err = cli("screen", folder / "good.csv", "--bundle", tmp_path)
    assert code == 5
    assert "extra.py" in err


def test_no_bundle_at_a_path_is_5(cli, folder, tmp_path):
    code, _, err = cli("screen", folder / "good.csv", "--bundle", tmp_path / "absent")
    assert code == 5
    assert "absent" in err


def test_a_runtime_that_cannot_run_the_bundle_says_what_to_do(cli, folder):
    code, out, err = cli("screen", folder / "good.csv", "--runtime", "onnxruntime")
    assert code == 5
    assert out == ""
    assert "tflite" in err
    assert "lsemvae-edge export --format onnx" in err


def test_a_model_that_fails_while_it_runs_is_5(cli, folder, monkeypatch):
    from lsemvae_edge.runtime import litert

    class Broken:
        def __init__(self, interpreter):
            self._interpreter = interpreter

        def __getattr__(self, name):
            return getattr(self._interpreter, name)

        def invoke(self):
            raise RuntimeError("Input tensor 19 lacks data")

    real = litert.LiteRTSession.__init__
    monkeypatch.setattr(litert.LiteRTSession, "__init__", lambda self, it, *rest: real(self, Broken(it), *rest))
    code, out, _ = cli("screen", folder / "good.csv", "--json")
    assert code == 5
    assert json.loads(out)["code"] == 5


def test_a_runtime_that_is_not_installed_says_what_to_install(cli, folder, monkeypatch):
    from lsemvae_edge.runtime import session

    monkeypatch.setattr(session, "find_spec", lambda name: None)
    code, out, _ = cli("screen", folder / "good.csv", "--json")
    assert code == 5
    assert "pip install" in json.loads(out)["next_step"]


# As a program -------------------------------------------------------------------------------------


def test_the_installed_program_screens(folder):
    done = subprocess.run([SCRIPT, "screen", folder / "good.csv", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["outcome"] in OUTCOMES
    assert done.stderr == ""


def test_a_console_of_few_characters_does_not_stop_it(heart_record, tmp_path):
    path = formats.write(heart_record(12.0), tmp_path / "हृदय-ä.csv")
    narrow = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    absent = path.with_name("ö.csv")
    done = subprocess.run([SCRIPT, "screen", path, absent], capture_output=True, env=narrow, check=False)
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr
    assert b"Heart rate" in done.stdout


@pytest.mark.parametrize(("name", "expected"), [("good.csv", 0), ("absent.csv", 3)])
@pytest.mark.parametrize("form", [["--json"], []], ids=["json", "words"])
def test_a_reader_that_goes_away_does_not_make_it_crash(folder, name, expected, form):
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [SCRIPT, "screen", folder / name, *form]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered)
    program.stdout.close()
    error = program.stderr.read()
    program.stderr.close()
    assert b"Traceback" not in error
    assert b"Exception ignored" not in error
    assert program.wait() in {0, expected}


def test_a_recording_of_noise_gets_no_answer(cli, tmp_path):
    noise = np.random.default_rng(2).normal(0, 0.5, (2, 6000)).astype(np.float32)
    path = formats.write(Record(noise, 500.0, ("I", "II")), tmp_path / "noise.csv")
    code, out, _ = cli("screen", path)
    assert code == 4
    assert out.startswith("No answer")
