"""Budgets: what a file of them must be, what breaks one, and that the failing figure is named."""

import argparse
import json

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.target import budgets, session, whole
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.cli.bench import check as command
from lsemvae_edge.errors import BadInputError, ExitCode, OverBudgetError

HEAD = 'schema = "lsemvae-edge/budgets/1"\n'
INT8 = """
[[budget]]
name = "int8 against fp32"
part = "latency"
metric = "inference_ms"
case = {precision = "int8"}
over = {precision = "fp32"}
same = ["runtime", "threads"]
at_most = 1.05
why = "int8 is what ships; it must not be slower than what it replaced."
"""
FILES = """
[[budget]]
name = "file"
part = "memory"
metric = "file_bytes"
case = {precision = "int8"}
over = {precision = "fp32"}
at_most = 0.5
why = "A quarter of the bits."
"""
ROOF = """
[[budget]]
name = "ceiling"
part = "work"
rows = "roofline"
metric = "fraction"
case = {size = "small"}
at_least = 0.3
why = "Below it, something else than arithmetic is paid for."
"""
ACROSS = """
[[budget]]
name = "beside the peer"
part = "path"
metric = "whole_ms"
case = {runtime = "litert"}
over = {part = "peers", role = "peer"}
at_most = 0.05
why = "What is promised."
"""


def record(folder, *, int8=0.07, fp32=0.10, n_repeats=8, fraction=0.4, spread=0.01, peer=100.0):
    rng = np.random.default_rng(0)
    with Session(folder, {}, [bundles.default()], seed=0) as one:
        for runtime in ("litert", "onnxruntime"):
            for precision, middle in (("int8", int8), ("fp32", fp32)):
                name = one.case("latency", f"{runtime} {precision}", runtime=runtime, precision=precision, threads=1)
                for repeat in range(n_repeats):
                    one.sample("latency", name, "inference_ms", repeat, middle * rng.normal(1, spread, 20))
        for precision, n_bytes in (("int8", 180_000), ("fp32", 600_000)):
            one.case("memory", precision, precision=precision, file_bytes=n_bytes)
        one.case("path", "litert", runtime="litert")
        one.case("peers", "reference", role="peer")
        for repeat in range(n_repeats):
            one.sample("path", "litert", "whole_ms", repeat, 4.0 * rng.normal(1, spread, 5))
            one.sample("peers", "reference", "whole_ms", repeat, peer * rng.normal(1, spread, 5))
        one.fact("work", "roofline", [{"size": "small", "fraction": fraction}, {"size": "base", "fraction": 0.1}])
    return session.read(folder)


def load(tmp_path, *texts):
    path = tmp_path / "budgets.toml"
    path.write_text(HEAD + "".join(texts))
    return budgets.load(path)


def test_a_session_within_budget_keeps_every_one(tmp_path):
    read = load(tmp_path, INT8, FILES, ROOF, ACROSS)
    rows = budgets.check(record(tmp_path / "s"), read)
    assert [(row.budget, row.case, row.state) for row in rows] == [
        ("int8 against fp32", "litert int8 over litert fp32", "kept"),
        ("int8 against fp32", "onnxruntime int8 over onnxruntime fp32", "kept"),
        ("file", "int8 over fp32", "kept"),
        ("ceiling", "small", "kept"),
        ("beside the peer", "litert over reference", "kept"),
    ]
    assert rows[0].value == pytest.approx(0.7, rel=0.02)
    assert rows[0].low < 0.7 < rows[0].high
    assert (rows[2].value, rows[2].low) == (pytest.approx(0.3), None)
    assert budgets.failed(rows, read, short=True) == []


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"int8": 0.12}, ["int8 against fp32", "int8 against fp32"]),
        ({"fraction": 0.2}, ["ceiling"]),
        ({"peer": 50.0}, ["beside the peer"]),
    ],
)
def test_a_session_over_budget_breaks_that_one(tmp_path, change, broken):
    read = load(tmp_path, INT8, FILES, ROOF, ACROSS)
    rows = budgets.check(record(tmp_path / "s", **change), read)
    assert [row.budget for row in budgets.failed(rows, read, short=False)] == broken


def test_what_noise_may_have_put_over_budget_is_told_and_breaks_nothing(tmp_path):
    read = load(tmp_path, INT8)
    rows = budgets.check(record(tmp_path / "s", int8=0.108, fp32=0.1, spread=0.6), read)
    assert all(row.low < 1.05 < row.high for row in rows)
    assert "within noise of it" in [row.state for row in rows]
    assert budgets.failed(rows, read, short=False) == []


def test_without_an_interval_the_value_decides(tmp_path):
    read = load(tmp_path, INT8)
    rows = budgets.check(record(tmp_path / "s", int8=0.12, n_repeats=2), read)
    assert {(row.state, row.low) for row in rows} == {("over", None)}


def test_what_was_not_measured_fails_where_the_short_run_should_have(tmp_path):
    read = load(tmp_path, INT8 + "short = true\n", ROOF)
    with Session(tmp_path / "s", {}, [], seed=0):
        pass
    rows = budgets.check(session.read(tmp_path / "s"), read)
    assert [row.state for row in rows] == ["not measured", "not measured"]
    assert budgets.failed(rows, read, short=False) == []
    assert [row.budget for row in budgets.failed(rows, read, short=True)] == ["int8 against fp32"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (INT8.replace("over = ", "under = "), "no 'under'"),
        (INT8.replace('over = {precision = "fp32"}\n', ""), "is no ratio"),
        (INT8.replace("at_most = 1.05\n", ""), "one bound"),
        (INT8 + "at_least = 0.1\n", "one bound"),
        (INT8.replace("1.05", '"much"'), "one bound"),
        (INT8.replace("why", "because"), "no 'because'"),
        (INT8.replace('part = "latency"\n', ""), "part"),
        (INT8 + INT8, "two budgets"),
        (INT8.replace("name =", "name"), "no file of budgets"),
    ],
)
def test_a_file_that_is_no_file_of_budgets_is_refused(tmp_path, text, told):
    with pytest.raises(BadInputError, match=told):
        load(tmp_path, text)


def test_another_schema_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "other.toml").write_text(INT8)
    for name in ("other.toml", "none.toml"):
        with pytest.raises(BadInputError, match="no file of budgets"):
            budgets.load(tmp_path / name)


def test_the_committed_budgets_are_ratios_with_reasons():
    read = budgets.load()
    assert len(read.budgets) >= 5
    assert any(budget.short for budget in read.budgets)
    assert set(read.short_run) <= {part.name for part in whole.PARTS}
    for budget in read.budgets:
        assert budget.over is not None or budget.figure.metric.endswith(budgets.RATIO_ENDS)
        assert len(budget.why) > 20


def called(*arguments):
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    return command.run(parser.parse_args(["check", *map(str, arguments)]))


def test_the_command_names_the_figure_that_is_over(tmp_path, capsys):
    record(tmp_path / "s", int8=0.2)
    load(tmp_path, INT8, FILES)
    with pytest.raises(OverBudgetError) as failed:
        called(tmp_path / "s", "--budgets", tmp_path / "budgets.toml")
    assert failed.value.code == ExitCode.OVER_BUDGET
    for word in ("int8 against fp32", "litert int8 over litert fp32", "at most 1.05"):
        assert word in failed.value.message
    printed = capsys.readouterr().out
    assert printed.count("| over |") == 2
    assert "| kept |" in printed


def test_the_command_passes_and_prints_json(tmp_path, capsys):
    record(tmp_path / "s")
    load(tmp_path, INT8, FILES)
    assert called(tmp_path / "s", "--budgets", tmp_path / "budgets.toml", "--json") == ExitCode.DONE
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["state"] for row in rows] == ["kept"] * 3


MEMORY = """
[[budget]]
name = "memory over numpy"
part = "memory"
metric = "peak_rss_mb"
case = {runtime = "litert", precision = "int8"}
over = {role = "floor", name = "numpy"}
at_most = 50.0
short = true
why = "Far more than it needs."
"""


def test_without_a_session_the_parts_that_the_file_names_are_measured(tmp_path, capsys):
    path = tmp_path / "budgets.toml"
    path.write_text(HEAD + 'short_run = ["memory"]\n' + MEMORY)
    kept = tmp_path / "kept"
    assert called("--budgets", path, "--out", kept, "--json") == ExitCode.DONE
    row = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (row["state"], row["budget"]) == ("kept", "memory over numpy")
    assert 1.0 < row["value"] < 50.0
    measured = session.read(kept)
    assert {case.part for case in measured.cases} == {"memory"}
    assert measured.about["bundles"][0]["id"] == bundles.default().spec.id


@pytest.mark.parametrize("parts", ['["memory", "rumours"]', '["rumours"]'])
def test_a_short_run_of_a_part_that_there_is_not_is_refused(tmp_path, parts):
    path = tmp_path / "budgets.toml"
    path.write_text(HEAD + f"short_run = {parts}\n" + MEMORY)
    with pytest.raises(BadInputError, match="rumours"):
        called("--budgets", path, "--out", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_short_run_that_did_not_measure_what_it_should_fails(tmp_path, capsys):
    path = tmp_path / "budgets.toml"
    path.write_text(HEAD + "short_run = []\n" + MEMORY)
    with pytest.raises(OverBudgetError, match="1 of 1 are not measured: memory over numpy"):
        called("--budgets", path)
    assert "| not measured |" in capsys.readouterr().out
