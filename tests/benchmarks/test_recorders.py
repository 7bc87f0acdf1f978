"""Recordings played through recorders against the files themselves."""

import pytest

pytest.importorskip("torch", reason="the cohort is read by the extra `train`")

from dataclasses import replace

from lsemvae_edge.benchmarks import recorders
from lsemvae_edge.train import datasets


@pytest.fixture
def few(monkeypatch, simulated_entries):
    monkeypatch.setattr(recorders.datasets, "data_folder", lambda: None)
    monkeypatch.setattr(recorders.datasets, "entries", lambda _: simulated_entries)


@pytest.fixture
def simulated_entries(heart_record):
    def entry(number: int, fold: int, amplitude: str) -> datasets.Entry:
        return datasets.Entry(
            str(number), "made", str(number), fold, lambda: replace(heart_record(10.0), amplitude=amplitude)
        )

    return [entry(1, 9, "calibrated"), entry(2, 9, "relative"), entry(3, 8, "calibrated")]


def test_our_profile_changes_nothing_and_the_er3_coding_no_outcome(few):
    figures = recorders.measure(lambda _: None)
    assert figures["n"] == 2
    ours, er3 = figures["recorders"]["open-6l"], figures["recorders"]["lepu-6l"]
    assert ours["n"] == ours["equal_samples"] == ours["equal_logits"] == ours["same_outcome"] == 1
    assert er3["n"] == er3["same_outcome"] == 2
    assert er3["flips"] == []
