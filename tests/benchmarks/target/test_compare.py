"""Comparisons: what is refused, what belongs together, which way is worse, and the command."""

import argparse
import json

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.target import compare, session
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.cli.bench import compare as command
from lsemvae_edge.errors import ExitCode, OverBudgetError, UsageError

HOST = {
    "cpu": "Cortex-A76", "cores": {"logical": 4, "usable": 4}, "frequency": {"governor": "performance"},
    "memory": {"total_mb": 8454.1}, "versions": {"numpy": "2.4.6", "ai-edge-litert": "2.3.0"}, "emulator": None,
}  # fmt: skip
SHIPPED = bundles.default


def values(middle, rng, n=40):
    return middle * (1 + 0.01 * rng.gamma(1, 1, n)) * (1 + rng.normal(0, 0.004))


def record(folder, *, host=HOST, measured=(), slower=1.0, seed=0, n_repeats=10):
    """Write a session of latency, by default of two runtimes, all ``slower`` times as slow as they are."""
    rng = np.random.default_rng(seed)
    with Session(folder, host, measured or [SHIPPED()], seed=seed) as one:
        for runtime, middle in (("litert", 0.07), ("onnxruntime", 0.11)):
            facts = {"runtime": runtime, "size": "small", "precision": "int8", "threads": 1, "sha256": f"{seed:064d}"}
            name = one.case("latency", f"small int8 {runtime}", **facts)
            for repeat in range(n_repeats):
                one.sample("latency", name, "inference_ms", repeat, values(middle * slower, rng))
                one.sample("latency", name, "load_ms", repeat, values(3.0, rng, 1))
        name = one.case("path", "replay", runtime="litert")
        for repeat in range(n_repeats):
            one.sample("path", name, "records_per_s", repeat, values(170.0 / slower, rng))
    return session.read(folder)


@pytest.fixture
def before(tmp_path):
    return record(tmp_path / "a", seed=1)


def verdicts(found):
    return {(row.case, row.metric): row.verdict for row in found.rows}


def test_nothing_differs_between_two_sessions_of_the_same(before, tmp_path):
    found = compare.sessions(before, record(tmp_path / "b", seed=2))
    assert len(found.rows) == 5
    assert {row.verdict for row in found.rows} <= {"alike", "not told apart"}
    assert found.worse == []
    assert "recorded one after the other" in found.notes[0]


def test_a_slower_session_is_worse_in_times_and_in_rates_and_not_in_what_stayed(before, tmp_path):
    found = compare.sessions(before, record(tmp_path / "b", seed=2, slower=1.1))
    told = verdicts(found)
    assert told.pop(("small int8 litert", "load_ms")) in ("alike", "not told apart")
    assert told.pop(("small int8 onnxruntime", "load_ms")) in ("alike", "not told apart")
    assert set(told.values()) == {"worse"}
    rate = next(row for row in found.rows if row.metric == "records_per_s")
    assert rate.ratio == pytest.approx(1 / 1.1, rel=0.01)
    assert rate.low < 1 / 1.1 < rate.high
    backwards = compare.sessions(record(tmp_path / "c", seed=3, slower=1.1), before)
    assert sum(row.verdict == "better" for row in backwards.rows) == 3


def test_an_effect_of_no_interest_is_not_reported(before, tmp_path):
    found = compare.sessions(before, record(tmp_path / "b", seed=2, slower=1.1), smallest=0.15)
    assert verdicts(found)["small int8 litert", "inference_ms"] == "alike"


def test_what_is_not_looked_at_costs_no_power(before, tmp_path):
    other = record(tmp_path / "b", seed=2, slower=1.1)
    everything = compare.sessions(before, other)
    found = compare.sessions(before, other, parts=["latency"], metrics=["inference_ms"])
    assert [(row.part, row.metric) for row in found.rows] == [("latency", "inference_ms")] * 2
    whole = {(row.case, row.metric): row.p for row in everything.rows}
    assert all(row.p < whole[row.case, row.metric] for row in found.rows)
    with pytest.raises(UsageError, match="nothing to compare"):
        compare.sessions(before, other, metrics=["rumours"])


def test_few_repeats_decide_nothing(tmp_path):
    a, b = (record(tmp_path / name, seed=1, slower=slower, n_repeats=4) for name, slower in (("a", 1.0), ("b", 2.0)))
    assert {row.verdict for row in compare.sessions(a, b).rows} == {"too few repeats"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cpu": "Cortex-A72"}, "cpu: Cortex-A76 against Cortex-A72"),
        ({"cores": {"logical": 4, "usable": 2}}, "usable cores: 4 against 2"),
        ({"frequency": {"governor": "powersave"}}, "frequency governor: performance against powersave"),
        ({"memory": {"total_mb": 4000.0}}, "memory in MB: 8454.1 against 4000"),
        ({"emulator": "qemu-aarch64"}, "emulator: none known against qemu-aarch64"),
        ({"versions": {"numpy": "2.4.6", "ai-edge-litert": "2.1.0"}}, "ai-edge-litert release: 2.3.0 against 2.1.0"),
    ],
)  # fmt: skip
def test_unlike_hosts_are_refused_by_name_of_the_difference_unless_wanted(before, tmp_path, change, told):
    other = record(tmp_path / "b", host={**HOST, **change}, seed=2)
    with pytest.raises(UsageError) as refused:
        compare.sessions(before, other, unlike_bundles=True)
    assert told in refused.value.message
    assert "--unlike-hosts" in refused.value.next_step
    found = compare.sessions(before, other, unlike_hosts=True)
    assert found.unlike == (told,)
    assert told in compare.table(found)


def test_other_bundles_are_refused_unless_wanted_and_cases_still_find_each_other(before, tmp_path, dummy_bundle):
    made = dummy_bundle()
    other = record(tmp_path / "b", measured=[made], seed=2)
    with pytest.raises(UsageError) as refused:
        compare.sessions(before, other, unlike_hosts=True)
    assert SHIPPED().spec.id in refused.value.message
    assert made.sha256[:12] in refused.value.message
    found = compare.sessions(before, other, unlike_bundles=True)
    assert len(found.rows) == 5


def test_a_machine_that_changed_and_a_session_that_was_interrupted_are_told(tmp_path):
    for name, peak in (("a", 10.0), ("b", 8.0)):
        with Session(tmp_path / name, HOST, [SHIPPED()], seed=0) as one:
            one.case("ceilings", "conv2d int8", kind="conv2d int8")
            for repeat in range(6):
                one.sample("ceilings", "conv2d int8", "gmac_per_s", repeat, [peak, peak * 1.001])
    samples = tmp_path / "b" / session.SAMPLES
    samples.write_bytes(b"".join(samples.read_bytes().splitlines(keepends=True)[:-1]))
    found = compare.sessions(*(session.read(tmp_path / name) for name in ("a", "b")))
    assert found.notes[1] == "Session B did not end by itself (it was killed)."
    assert found.notes[2].startswith("The machine itself differs: conv2d int8, gmac_per_s is 0.800 times")


def test_two_runtimes_of_one_session_are_compared_repeat_by_repeat(before):
    found = compare.within(before, {"runtime": "litert"}, {"runtime": "onnxruntime"})
    assert found.paired
    row = next(row for row in found.rows if row.metric == "inference_ms")
    assert row.case == "small int8 onnxruntime over small int8 litert"
    assert (row.verdict, row.repeats) == ("worse", 10)
    assert row.ratio == pytest.approx(0.11 / 0.07, rel=0.02)


def test_two_bundles_of_one_session_are_matched_by_everything_else(tmp_path):
    with Session(tmp_path / "s", HOST, [SHIPPED()], seed=0) as one:
        for bundle, factor in (("old", 1.0), ("new", 1.2)):
            for runtime, middle in (("litert", 1.0), ("onnxruntime", 2.0)):
                name = one.case(
                    "latency", f"{bundle} {runtime}", bundle=bundle, runtime=runtime, file_bytes=len(bundle)
                )
                for repeat in range(6):
                    drift = 1 + repeat
                    one.sample(
                        "latency", name, "inference_ms", repeat, [middle * factor * drift, middle * factor * drift]
                    )
    found = compare.within(session.read(tmp_path / "s"), {"bundle": "old"}, {"bundle": "new"})
    assert [(row.case, round(row.ratio, 6), row.verdict) for row in found.rows] == [
        ("new litert over old litert", 1.2, "worse"),
        ("new onnxruntime over old onnxruntime", 1.2, "worse"),
    ]


def precisions(folder, names):
    """Write a session whose cases have these names, and no fact but the precision that stands in them."""
    with Session(folder, HOST, [SHIPPED()], seed=0) as one:
        for name in names:
            one.case("path", name, precision="fp32" if "fp32" in name else "int8", sha256="ab" * 32)
            for repeat in range(5):
                one.sample("path", name, "load_ms", repeat, [2.0, 2.1])
    return session.read(folder)


def test_names_tell_what_belongs_together_where_facts_do_not(tmp_path):
    recorded = precisions(tmp_path / "s", ["warm int8", "start", "warm fp32"])
    found = compare.within(recorded, {"precision": "int8"}, {"precision": "fp32"})
    assert [row.case for row in found.rows] == ["warm fp32 over warm int8"]
    assert found.notes == ("Left out: it cannot be told which case of side B belongs to path, start.",)


def test_of_a_digest_the_beginning_is_enough_and_not_less(tmp_path):
    recorded = precisions(tmp_path / "s", ["warm int8"])
    assert compare.chosen(recorded.cases, {"sha256": "abababab"}) == recorded.cases
    assert compare.chosen(recorded.cases, {"sha256": "abababa"}) == []
    assert compare.chosen(recorded.cases, {"name": "warm int"}) == []


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ({"runtime": "torch"}, {"runtime": "litert"}, "No case of the session has runtime=torch"),
        ({"runtime": "litert"}, {"precision": "int8"}, "on both sides"),
        ({"name": "replay"}, {"runtime": "onnxruntime"}, "no case in common"),
    ],
)
def test_sides_that_cannot_be_compared_are_refused_with_what_there_is(before, a, b, told):
    with pytest.raises(UsageError, match=told):
        compare.within(before, a, b)


def test_what_the_session_offers_is_said(before):
    with pytest.raises(UsageError) as refused:
        compare.within(before, {"runtime": "torch"}, {"runtime": "litert"})
    assert "runtime=litert|onnxruntime" in refused.value.next_step


def test_an_adjusted_p_is_never_below_what_one_metric_alone_would_give(before, tmp_path):
    found = compare.sessions(before, record(tmp_path / "b", seed=2, slower=1.05))
    alone = compare.ratios.holm([None])
    assert alone == [None]
    raw = []
    for row in found.rows:
        sides = [[list(sample.values) for sample in one.of(row.part, row.case, row.metric)] for one in
                 (before, session.read(tmp_path / "b"))]  # fmt: skip
        raw.append(compare.ratios.ratio(*sides, paired=False).p)
    assert [row.p for row in found.rows] == compare.ratios.holm(raw)


def called(*arguments):
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    return command.run(parser.parse_args(["compare", *map(str, arguments)]))


def test_the_command_prints_json_and_writes_a_result(before, tmp_path, capsys):
    record(tmp_path / "b", seed=2, slower=1.3)
    assert called(tmp_path / "a", tmp_path / "b", "--json", "--out", tmp_path / "out.json") == ExitCode.DONE
    printed = json.loads(capsys.readouterr().out)
    assert {row["verdict"] for row in printed["rows"] if row["metric"] == "inference_ms"} == {"worse"}
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["proof"] == "compare"
    assert written["rows"] == printed["rows"]


def test_the_command_fails_if_asked_to_and_names_the_figure(before, tmp_path, capsys):
    record(tmp_path / "b", seed=2, slower=1.3)
    with pytest.raises(OverBudgetError) as failed:
        called(tmp_path / "a", tmp_path / "b", "--fail-if-worse")
    assert (failed.value.code, "inference_ms" in failed.value.message) == (8, True)
    assert "| worse |" in capsys.readouterr().out
    assert called(tmp_path / "b", tmp_path / "a", "--fail-if-worse") == ExitCode.DONE


def test_the_command_compares_within_one_session(before, tmp_path, capsys):
    sides = ["--a", "runtime=litert", "--b", "runtime=onnxruntime"]
    assert called(tmp_path / "a", *sides, "--part", "latency", "--metric", "load_ms") == ExitCode.DONE
    printed = capsys.readouterr().out
    assert "| small int8 onnxruntime over small int8 litert | load_ms |" in printed
    assert "inference_ms" not in printed


@pytest.mark.parametrize(
    "arguments",
    [["a"], ["a", "a", "--a", "x=y"], ["a", "--a", "x=y"], [], ["a", "a", "--smallest", "0"], ["a", "--prove", "2"],
     ["--prove", "0"]],
)  # fmt: skip
def test_wrong_usage_is_refused(before, tmp_path, arguments, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        called(*arguments)
