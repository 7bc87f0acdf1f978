"""Badges: the figures of the summary, the kind of machine, and nothing that could be taken for markup."""

import argparse
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lsemvae_edge.benchmarks.target import badges, session
from lsemvae_edge.benchmarks.target.badges import Badge
from lsemvae_edge.benchmarks.target.report_view import View
from lsemvae_edge.cli.bench import badge as command
from lsemvae_edge.errors import BadInputError

CHECKOUT = Path(__file__).parents[3]
SVG = "{http://www.w3.org/2000/svg}"


def texts(path):
    return [one.text for one in ElementTree.parse(path).getroot().iter(f"{SVG}text")]


def p50(view, part, metric):
    case = next(case for case in view.summary["parts"][part]["cases"] if case["facts"]["runtime"] == "litert")
    return case["metrics"][metric]["p50"]


def test_figures_are_the_summary_s(synthetic, tmp_path):
    view = View(session.read(synthetic))
    written = {path.stem: path for path in badges.write(view, tmp_path)}
    for name, part, metric in (
        ("inference", "latency", "inference_ms"),
        ("whole-path", "path", "whole_ms"),
        ("cold-start", "path", "start_to_result_ms"),
        ("peak-memory", "memory", "peak_rss_mb"),
    ):
        figure = texts(written[name])[1].split()[0]
        assert float(figure) == pytest.approx(p50(view, part, metric), rel=0.006)
    assert texts(written["model-size"]) == ["model size", "178 kB · LiteRT int8"]


def test_the_readme_shows_figures_of_the_committed_session(tmp_path):
    view = View(session.read(CHECKOUT / "benchmarks/results/target/example"))
    written = {path.name: path.read_bytes() for path in badges.write(view, tmp_path)}
    shown = {path.name: path.read_bytes() for path in (CHECKOUT / "docs/badges").glob("*.svg")}
    assert shown
    assert shown.items() <= written.items()


def test_a_figure_that_depends_on_the_machine_names_it(synthetic):
    made = badges.badges(View(session.read(synthetic)))
    assert [badge.file for badge in made if "aarch64, 4 cores" not in badge.figure] == ["model-size"]


def test_a_board_is_named_without_its_revision(synthetic_of, tmp_path):
    folder = synthetic_of(tmp_path / "pi", {"board": "Raspberry Pi 4 Model B Rev 1.4"}, parts=["latency"])
    (made,) = badges.badges(View(session.read(folder)))
    assert made.figure.endswith("· Raspberry Pi 4 Model B")


def test_a_virtual_machine_is_called_one(synthetic_of, tmp_path):
    host = {"virtual_machine": "kvm", "architecture": "x86_64", "cores": {"usable": 2}}
    (made,) = badges.badges(View(session.read(synthetic_of(tmp_path / "vm", host, parts=["latency"]))))
    assert made.figure.endswith("· virtual x86-64, 2 cores")


def test_markup_in_a_text_stays_text():
    root = ElementTree.fromstring(badges.draw(Badge("x", 'a<b>"&', "<script>1</script> ms")))
    assert [one.text for one in root.iter(f"{SVG}text")] == ['a<b>"&', "<script>1</script> ms"]
    assert root.get("aria-label") == 'a<b>"&: <script>1</script> ms'


def test_a_session_without_figures_is_refused(synthetic_of, tmp_path):
    with pytest.raises(BadInputError, match="no figure for a badge"):
        badges.badges(View(session.read(synthetic_of(tmp_path / "none", parts=["energy"]))))


def test_command_prints_the_files(synthetic, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    options = parser.parse_args(["badge", str(synthetic), "--out", str(tmp_path)])
    assert options.run(options) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / f"{name}.svg") for name in ("inference", "whole-path", "cold-start", "peak-memory", "model-size")
    ]
