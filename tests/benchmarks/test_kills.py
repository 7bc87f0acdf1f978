"""Killed and resumed work ends as if nothing had happened; the full proof is ``bench kills``."""

import random
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="preparing needs the extra `train`")
pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge.benchmarks import kills
from lsemvae_edge.benchmarks.kills import ProofError, Subject, different_files, kill_and_resume, prove
from lsemvae_edge.cli import main
from lsemvae_edge.errors import ExitCode

COUNT = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1]); folder.mkdir(exist_ok=True)
for number in range(5):
    step = folder / str(number)
    if not step.exists():
        time.sleep(0.1)
        begun = folder.with_suffix(".begun")
        begun.write_text({text})
        begun.replace(step)
"""


def counting(text="str(number)"):
    """Five steps of a tenth of a second, each of which is there whole or not at all."""
    return Subject(
        command=lambda folder: [sys.executable, "-c", COUNT.format(text=text), str(folder)],
        finished=lambda folder: (folder / "4").is_file(),
        progress=lambda folder: len(list(folder.glob("*"))),
        differences=different_files,
    )


@pytest.mark.slow
def test_a_preparation_killed_twice_gives_the_same_shards(tmp_path):
    found = prove(kills.preparation(n_records=150, shard_size=10), 2, 1, tmp_path, print)
    assert found["kills"] == 2
    assert found["different"] == 0
    assert len(list((tmp_path / "undisturbed" / "shards").glob("*.arrow"))) == 15


def test_every_kill_is_counted_and_every_folder_compared(tmp_path):
    found = prove(counting(), 4, 0, tmp_path, print)
    assert found["kills"] == 4 == sum(len(trial["kills"]) for trial in found["trials"])
    assert found["different"] == 0


def test_a_result_that_depends_on_the_run_is_found(tmp_path):
    found = prove(counting("str(time.time())"), 1, 0, tmp_path, print)
    assert found["different"] == len(found["trials"])
    assert "0: other bytes" in found["trials"][0]["differences"]


def test_a_command_that_fails_by_itself_is_no_proof(tmp_path):
    failing = [sys.executable, "-c", "raise SystemExit(3)"]
    with pytest.raises(ProofError, match="exit code 3"):
        kill_and_resume(failing, lambda: True, 1, 0, longest_s=100.0)
    with pytest.raises(ProofError, match="exit code 3"):
        kill_and_resume(failing, lambda: True, 0, 0, longest_s=0.0)
    with pytest.raises(ProofError, match="not done"):
        kill_and_resume([sys.executable, "-c", ""], lambda: False, 0, random.Random(0), longest_s=1.0)


def test_folders_are_compared_by_name_and_byte(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name / "shards").mkdir(parents=True)
        (tmp_path / name / "shards" / "0").write_bytes(b"same")
        (tmp_path / name / "report.json").write_text(name)
    assert different_files(tmp_path / "one", tmp_path / "other") == []
    (tmp_path / "other" / "shards" / "0").write_bytes(b"else")
    (tmp_path / "one" / "more").write_text("")
    assert different_files(tmp_path / "one", tmp_path / "other") == [
        "more: in one folder only",
        f"{Path('shards') / '0'}: other bytes",
    ]


@pytest.mark.parametrize("wrong", [["--what", "cake"], ["--what", "prepare", "--times", "0"]])
def test_wrong_usage_is_said(wrong, capsys):
    assert main(["bench", "kills", *wrong]) == ExitCode.USAGE
    assert capsys.readouterr().err
