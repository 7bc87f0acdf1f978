"""The whole: every part has its turn whatever becomes of the others, and a defect is told from a lack."""

import argparse
import sys
from types import ModuleType

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.target import report, session, whole
from lsemvae_edge.benchmarks.target.report_document import to_markdown
from lsemvae_edge.benchmarks.target.report_view import View
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.benchmarks.target.whole import Part, Plan
from lsemvae_edge.cli.bench import report as command
from lsemvae_edge.errors import (
    BadInputError,
    LsemvaeError,
    MissingExtraError,
    RuntimeUnavailableError,
    UsageError,
)


@pytest.fixture
def part_of(monkeypatch):
    """Function that makes a part whose module measures by a given function."""

    def make(name, measure):
        module = ModuleType(f"part_{name}")
        module.measure = measure
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return Part(name, module.__name__, lambda found, opened, plan: found.measure(opened, plan))

    return make


@pytest.fixture
def measured(tmp_path):
    """Function that measures parts in a new session: what broke, and what the session holds."""

    def run(*parts):
        plan = Plan([bundles.default()])
        with Session(tmp_path / "session", {}, plan.bundles, 1) as opened:
            defects = whole.measure(opened, plan, parts)
        return defects, session.read(tmp_path / "session")

    return run


def well(opened, plan):
    opened.case("good", "one")
    opened.sample("good", "one", "load_ms", 0, len(plan.bundles))


def raising(error):
    def measure(opened, plan):
        raise error

    return measure


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("no"), BadInputError("a file is damaged"), RuntimeUnavailableError("it died")]
)
def test_a_defect_is_named_kept_and_stops_nothing(part_of, measured, error):
    defects, recorded = measured(part_of("bad", raising(error)), part_of("good", well))
    assert [(one.part, one.what) for one in defects] == [("bad", f"{type(error).__name__}: {error}")]
    assert recorded.samples[0].values == (1.0,)
    assert recorded.ended == session.DONE
    (skipped,) = recorded.skipped
    assert skipped.part == "bad"
    assert str(error) in skipped.reason
    assert set(recorded.facts["whole"]["seconds"]) == {"bad", "good"}
    text = to_markdown(report.compose(View(recorded)), str)
    assert "A part of the toolkit failed: bad" in text


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MissingExtraError("Drawing", "train"), "lsemvae-edge[train]"),
        (UsageError("No data.", "Set the variable."), "Set the variable."),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "the package torch is not installed"),
    ],
)
def test_a_lack_is_no_defect(part_of, measured, error, told):
    defects, recorded = measured(part_of("lacking", raising(error)), part_of("good", well))
    assert not defects
    assert [told in one.reason for one in recorded.skipped] == [True]


def test_a_module_of_ours_that_is_absent_is_a_defect(measured):
    defects, _ = measured(Part("gone", "lsemvae_edge.benchmarks.target.gone", lambda *_: None))
    assert [one.part for one in defects] == ["gone"]


def test_an_interrupt_ends_the_session_and_keeps_what_was_measured(part_of, tmp_path):
    parts = [part_of("good", well), part_of("long", raising(KeyboardInterrupt()))]
    with (
        pytest.raises(KeyboardInterrupt),
        Session(tmp_path / "s", {}, [bundles.default()], 1) as opened,
    ):
        whole.measure(opened, Plan([bundles.default()]), parts)
    recorded = session.read(tmp_path / "s")
    assert recorded.ended == "KeyboardInterrupt"
    assert len(recorded.samples) == 1


@pytest.fixture
def asked():
    """Function that parses the command's words."""

    def parse(*words):
        parser = argparse.ArgumentParser()
        command.add(parser.add_subparsers())
        return parser.parse_args(["report", *map(str, words)])

    return parse


def test_command_measures_and_reports(asked, tmp_path, capsys):
    words = ("--only", "latency", "--runtime", "litert", "--repeats", 2, "--runs", 3, "--out", tmp_path / "s")
    options = asked(*words)
    assert options.run(options) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "s" / name) for name in ("report.html", "report.md")]
    recorded = session.read(tmp_path / "s")
    (taken,) = [[one.values for one in recorded.samples if one.metric == "inference_ms"]]
    assert [len(values) for values in taken] == [3, 3]
    told = recorded.facts["whole"]["command"]
    assert told == (
        "lsemvae-edge bench report --out FOLDER --only latency --seed 0 --repeats 2 --runs 3 "
        "--runtime litert --threads 1"
    )
    assert told in (tmp_path / "s" / "report.md").read_text()


def test_command_fails_after_all_was_written_if_a_part_broke(asked, part_of, tmp_path, monkeypatch):
    parts = (part_of("bad", raising(ZeroDivisionError("no"))), part_of("good", well))
    monkeypatch.setattr(whole, "PARTS", parts)
    options = asked("--out", tmp_path / "s")
    with pytest.raises(LsemvaeError, match=r"bad \(ZeroDivisionError: no\)"):
        options.run(options)
    assert "good" in (tmp_path / "s" / session.SUMMARY).read_text()
    assert "A part of the toolkit failed" in (tmp_path / "s" / "report.html").read_text()


def test_command_knows_its_parts(asked, tmp_path):
    options = asked("--only", "latency,luck", "--out", tmp_path / "s")
    with pytest.raises(UsageError, match="no part luck"):
        options.run(options)
    assert not (tmp_path / "s").exists()
