"""The comparer's proof: that its sides do the work they are said to do, and when it calls a promise broken."""

import argparse
import json
from functools import partial
from pathlib import Path

import pytest

from lsemvae_edge import runtime
from lsemvae_edge.benchmarks.target import session, slowed
from lsemvae_edge.cli.bench import compare as command
from lsemvae_edge.errors import ExitCode, OverBudgetError


@pytest.mark.parametrize("inferences", [10, 11])
def test_a_batch_is_as_many_inferences_as_it_says(monkeypatch, inferences):
    shapes = []
    opened = runtime.open_session

    class Counted:
        def __init__(self, bundle):
            self.session = opened(bundle)

        def run(self, signal):
            shapes.append(signal.shape)
            return self.session.run(signal)

    monkeypatch.setattr(runtime, "open_session", Counted)
    run = slowed.batch(**slowed.side("A", inferences).task["arguments"])
    assert shapes == []
    run()
    run()
    assert len(shapes) == 2 * inferences


def test_the_slowed_side_does_a_tenth_more_and_the_other_pairs_are_alike(monkeypatch, tmp_path):
    begun = []

    class Told(slowed.Worker):
        def __init__(self, candidate):
            begun.append((candidate.name, candidate.task["arguments"]["inferences"]))
            super().__init__(candidate)

    monkeypatch.setattr(slowed, "Worker", Told)
    for kind in (slowed.SAME, slowed.SLOWED):
        slowed.record(tmp_path / kind, kind, seed=1, repeats=1, rounds=1)
    assert sorted(begun[:2]) == [("A", 10), ("B", 10)]
    assert sorted(begun[2:]) == [("A", 10), ("B", 11)]


def test_a_pair_is_a_session_of_two_sides_with_all_their_batches(tmp_path):
    recorded = slowed.record(tmp_path / "pair", slowed.SLOWED, seed=1, repeats=2, rounds=2)
    assert recorded == session.read(tmp_path / "pair")
    for side in ("A", "B"):
        samples = recorded.of(slowed.PART, side, slowed.METRIC)
        assert [(sample.repeat, len(sample.values)) for sample in samples] == [
            (repeat, 2 * slowed.BATCHES) for repeat in range(2)
        ]
        assert len(recorded.of(slowed.PART, side, "load_ms")) == 2
    assert all(cpu["A"] > 0 and cpu["B"] > 0 for cpu in recorded.facts[slowed.PART].values())


def test_too_few_repeats_find_nothing_and_the_command_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(slowed, "prove", partial(slowed.prove, repeats=2, rounds=1))
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    options = parser.parse_args(["compare", "--prove", "1", "--out", str(tmp_path / "comparer.json"), "--json"])
    with pytest.raises(OverBudgetError, match="only 0 of 1 slowed pairs") as failed:
        command.run(options)
    assert failed.value.code == ExitCode.OVER_BUDGET
    written = json.loads((tmp_path / "comparer.json").read_text())
    assert sorted(row["kind"] for row in written["rows"]) == ["same", "slowed"]
    assert {row["verdict"] for row in written["rows"]} == {"too few repeats"}
    assert json.loads(capsys.readouterr().out)["broken"] == written["broken"]


@pytest.mark.parametrize(
    ("pairs", "false", "found", "n_broken"),
    [(20, 1, 18, 0), (20, 2, 18, 1), (20, 0, 17, 1), (20, 3, 3, 2), (10, 1, 10, 1), (40, 2, 36, 0)],
)
def test_a_promise_is_broken_beyond_one_false_report_or_two_misses_in_twenty(pairs, false, found, n_broken):
    assert len(slowed.broken({"pairs": pairs, "false_reports": false, "found": found})) == n_broken


def test_the_committed_proof_keeps_what_is_promised():
    figures = json.loads((Path(__file__).parents[3] / "benchmarks/results/target/comparer.json").read_text())
    assert figures["pairs"] == 20
    assert figures["broken"] == slowed.broken(figures) == []
    assert sum(row["kind"] == "slowed" and row["verdict"] == "worse" for row in figures["rows"]) == figures["found"]
    assert sum(row["kind"] == "same" and bool(row["reported"]) for row in figures["rows"]) == figures["false_reports"]
