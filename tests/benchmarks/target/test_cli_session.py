"""Commands that measure into a session: the folder, what is printed, and what is refused."""

import argparse
import json
import re
from pathlib import Path

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.target import path as paths
from lsemvae_edge.benchmarks.target import session
from lsemvae_edge.cli import main
from lsemvae_edge.cli.bench import _session
from lsemvae_edge.errors import ExitCode

FEW = ["--runtime", "litert", "--precision", "int8", "--repeats", "2"]


def test_latency_prints_a_table_and_leaves_a_session(capsys, tmp_path):
    out = tmp_path / "session"
    assert main(["bench", "latency", *FEW, "--runs", "5", "--seed", "7", "--out", str(out)]) == ExitCode.DONE
    printed = capsys.readouterr().out
    assert "LiteRT int8" in printed
    assert printed.strip().splitlines()[-1] == str(out)
    recorded = session.read(out)
    assert recorded.ended == session.DONE
    assert recorded.about["seed"] == 7
    assert recorded.about["bundles"][0]["sha256"] == bundles.default().sha256
    assert recorded.host["cpu"]
    assert session.read_summary(out) == session.summarize(recorded)


def test_json_is_the_summary_and_nothing_else(capsys, tmp_path):
    out = tmp_path / "session"
    assert main(["bench", "memory", *FEW, "--json", "--out", str(out)]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out) == session.read_summary(out)


def test_the_folder_is_named_by_part_and_time_unless_it_is_named(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "energy", "--runtime", "litert", "--quick", "--repeats", "1", "--window", "0.1"]) == 0
    (folder,) = (tmp_path / "runs/bench").iterdir()
    assert re.fullmatch(r"energy-\d{8}T\d{6}", folder.name)
    assert str(Path("runs/bench") / folder.name) in capsys.readouterr().out


def test_sustained_takes_minutes_and_a_recording(capsys, tmp_path):
    recording, out = paths.made(tmp_path / "heart.lser", 3), tmp_path / "session"
    told = ["bench", "sustained", *FEW[:4], "--minutes", "0.01", "--recording", str(recording), "--out", str(out)]
    assert main(told) == ExitCode.DONE
    assert "Minute by minute" in capsys.readouterr().out
    assert len(session.read(out).facts["sustained"]["curve"]) == 1


def test_several_bundles_are_measured_in_one_session(capsys, tmp_path):
    given = [text for _ in range(2) for text in ("--bundle", str(bundles.default().path))]
    parser = argparse.ArgumentParser()
    _session.add_options(parser)
    assert [bundle.sha256 for bundle in _session.bundles_of(parser.parse_args(given))] == [bundles.default().sha256] * 2
    assert [bundle.sha256 for bundle in _session.bundles_of(parser.parse_args([]))] == [bundles.default().sha256]


def test_a_folder_that_holds_something_is_refused(capsys, tmp_path):
    (tmp_path / "note").write_text("mine")
    assert main(["bench", "latency", *FEW, "--out", str(tmp_path)]) == ExitCode.USAGE
    assert "is not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (["latency", "--runtime", "tensorrt"], "Unknown runtime 'tensorrt'"),
        (["latency", "--precision", "int4"], "Nothing of what was asked for can run here"),
        (["energy", "--meter", "nothing"], "Unknown meter 'nothing'"),
        (["energy", "--meter", "ina2xx:hwmon99"], "The kernel knows no hwmon99"),
    ],
)
def test_what_is_not_there_is_a_usage_error_that_names_it(capsys, tmp_path, told, said):
    assert main(["bench", *told, "--out", str(tmp_path / "session")]) == ExitCode.USAGE
    assert said in capsys.readouterr().err
    assert session.read(tmp_path / "session").ended == "UsageError"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (["latency", "--threads", "1,0"], "a whole number from 1 is needed, not '0'"),
        (["latency", "--repeats", "0"], "a whole number from 1 is needed, not '0'"),
        (["latency", "--runs", "some"], "a whole number from 1 is needed, not 'some'"),
        (["sustained", "--minutes", "0"], "minutes, more than 0 and up to 10080, are needed"),
        (["sustained", "--minutes", "nan"], "not 'nan'"),
        (["energy", "--window", "-1"], "seconds, more than 0 and up to 600, are needed"),
        (["energy", "--window", "x"], "not 'x'"),
    ],
)
def test_amounts_that_make_no_sense_are_refused(capsys, told, said):
    assert main(["bench", *told]) == ExitCode.USAGE
    assert said in capsys.readouterr().err
