"""The measurement of preparing measures what it says."""

import json

import pytest

pytest.importorskip("pyarrow", reason="preparing needs the extra `train`")
pytest.importorskip("neurokit2", reason="the peer is in the extra `dev`")

from lsemvae_edge.benchmarks import preparing, proof
from lsemvae_edge.cli import main
from lsemvae_edge.errors import ExitCode


def test_rates_are_of_the_same_records_and_paired(capsys):
    assert main(["bench", "prepare", "--records", "3", "--rounds", "2", "--json"]) == ExitCode.DONE
    peer, recipe, whole = json.loads(capsys.readouterr().out)["throughput"]
    assert peer["what"] == "neurokit2.ecg_clean"
    assert peer["ratio"] is None
    for rate in (peer, recipe, whole):
        assert (rate["records"], rate["rounds"]) == (3, 2)
        assert rate["records_per_s"] > 0
    for rate in (recipe, whole):
        assert 0 < rate["ratio_low"] <= rate["ratio"] <= rate["ratio_high"]


def test_memory_is_that_of_a_preparation_of_so_many_recordings():
    (row,) = preparing.memory([4], 1, print)
    assert row.records == 4
    assert row.main_mb > 20
    assert "| 4 |" in preparing.memory_table([row])


def test_a_result_file_says_when_and_of_which_commit(tmp_path):
    proof.write(tmp_path / "new" / "one.json", "a proof", {"kills": 3})
    found = json.loads((tmp_path / "new" / "one.json").read_text())
    assert found["proof"] == "a proof"
    assert found["kills"] == 3
    assert found["date"].startswith("20")
    assert {"commit", "uncommitted_changes", "machine"} <= found.keys()
