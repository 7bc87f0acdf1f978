"""Reports: a function of the session, whole, readable without a network, and open about what is missing."""

import argparse
import json
import re
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from lsemvae_edge.benchmarks.target import report, report_html, session
from lsemvae_edge.benchmarks.target.report_document import Figure, Table, Text, to_markdown
from lsemvae_edge.benchmarks.target.report_parts import PARTS
from lsemvae_edge.benchmarks.target.report_view import View, label, number, size, unit
from lsemvae_edge.cli.bench import report as command
from lsemvae_edge.errors import BadInputError

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Elements of a page with their attributes; fails on tags that do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def written(synthetic, tmp_path_factory):
    pytest.importorskip("matplotlib", reason="drawings need the extra `train`")
    return report.write(synthetic, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(written):
    return Page(written.html.read_text())


def test_the_same_session_gives_the_same_bytes(written, synthetic, tmp_path):
    again = report.write(synthetic, tmp_path)
    for one, other in zip(
        (written.markdown, written.html, *written.figures), (again.markdown, again.html, *again.figures), strict=True
    ):
        assert one.read_bytes() == other.read_bytes()


def test_page_fetches_nothing_and_runs_nothing(written, page):
    text = written.html.read_text()
    assert "script" not in {tag for tag, _ in page.elements}
    assert not [value for _, attributes in page.elements for name, value in attributes.items() if name.startswith("on")]
    addresses = [
        value for _, attributes in page.elements for name, value in attributes.items() if name.endswith(("href", "src"))
    ]
    assert addresses
    assert all(address.startswith("#") for address in addresses)
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert "@import" not in text
    assert page.of("meta")[1]["content"].startswith("default-src 'none'")


def test_every_reference_within_the_page_has_one_target(written, page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    text = written.html.read_text()
    wanted = {value[1:] for value in re.findall(r'href="(#[^"]+)"', text)} | set(re.findall(r"url\(#([^)]+)\)", text))
    wanted |= {name for _, attributes in page.elements for name in attributes.get("aria-labelledby", "").split()}
    assert wanted <= set(ids)


def test_figures_have_title_and_description_and_scale(written, page):
    drawings = [attributes for attributes in page.of("svg") if attributes.get("role") == "img"]
    assert len(drawings) == len(written.figures) == 8
    assert all("viewbox" in one and "width" not in one and len(one["aria-labelledby"].split()) == 2 for one in drawings)
    assert len(page.of("desc")) == len(drawings)


def test_tables_have_captions_and_scopes(page):
    assert len(page.of("caption")) == len(page.of("table")) > 15
    assert {one.get("scope") for one in page.of("th")} == {"col", "row"}


def test_strings_of_a_session_are_never_markup(page, written):
    assert "Raspberry <invented>" in "".join(page.words)
    assert "invented" not in {tag for tag, _ in page.elements}
    markdown = written.markdown.read_text()
    assert r"Raspberry \<invented\>" in markdown
    assert r"no meter: name one with --meter \| \<none\>" in markdown


def test_markdown_shows_the_same_tables_and_figures(written, page):
    markdown = written.markdown.read_text()
    captions = [caption.replace("_", r"\_") for caption in captions_of(page)]
    assert captions
    assert all(f"*{caption}*" in markdown for caption in captions)
    links = re.findall(r"!\[.*\]\((.+?)\)\n", markdown)
    assert [written.markdown.parent / link for link in links] == list(written.figures)
    for path in written.figures:
        ElementTree.parse(path)


def test_answer_gives_each_figure_with_ratio_and_both_aurocs(synthetic):
    document = report.compose(View(session.read(synthetic)))
    (table,) = [block for block in section(document, "The answer") if isinstance(block, Table)]
    rows = {row[0]: row[1:] for row in table.rows}
    assert len(rows) == 5
    assert {row[-1] for row in rows.values()} == {"0.834 / 0.810"}
    summary = json.loads((synthetic / session.SUMMARY).read_text())
    found = next(
        case["metrics"]["inference_ms"]
        for case in summary["parts"]["latency"]["cases"]
        if (case["facts"]["runtime"], case["facts"]["precision"]) == ("litert", "int8")
    )
    assert rows["Inference"][0] == f"{number(found['p50'])} ms (p99 {number(found['p99'])} ms)"
    # The ratio of the run, with its interval, not the quotient of two columns.
    assert rows["Inference"][2] == "258 × (250 to 264)"
    assert rows["Size of the model file"][:3] == ("178 kB", "492 MB", "2,764 ×")


@pytest.mark.parametrize("left", [(), ("latency",), ("peers",), ("sustained",), ("accuracy",)])
def test_whatever_is_missing_is_said_to_be(synthetic_of, tmp_path, left):
    document = report.compose(View(session.read(synthetic_of(tmp_path / "part", parts=left))))
    for title, _ in PARTS:
        assert section(document, title), title
    text = to_markdown(document, lambda figure: figure.name)
    assert "Preprocessing: not measured: this session did not run it" in text
    if "latency" not in left:
        assert "Inference: not measured" in text
        assert "Latency: not measured" in text


def test_without_matplotlib_tables_stand_and_the_lack_is_named(synthetic, monkeypatch):
    pytest.importorskip("matplotlib")
    with_drawings = report.compose(View(session.read(synthetic)))
    for name in [name for name in sys.modules if "report_plots" in name or name.endswith("benchmarks.drawing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    document = report.compose(View(session.read(synthetic)))
    assert not list(document.figures())
    assert tables(document) == tables(with_drawings)
    assert "not drawn: they need matplotlib" in to_markdown(document, str)


def test_warnings_tell_what_speaks_against_a_figure(synthetic_of, tmp_path):
    host = {
        "virtual_machine": "kvm",
        "container": "docker",
        "emulator": "qemu-aarch64-static",
        "limits": {"cpus": 1.0, "memory_mb": 512.0},
        "load_average": [3.0, 1.0, 1.0],
        "cores": {"usable": 2, "logical": 2},
        "frequency": {"governor": "ondemand"},
        "throttled": {"bits": "0x50005", "now": ["under-voltage"], "since_start": ["under-voltage", "throttled"]},
        "under_voltage": True,
    }
    document = report.compose(View(session.read(synthetic_of(tmp_path / "bad", host, parts=["sustained"]))))
    told = " ".join(item for block in section(document, "Before you believe a figure") for item in block.items)
    for word in (
        "kvm", "docker", "emulated (qemu-aarch64-static)", "1 processors, 512 MB", "busy",
        "3.00 processes on 2 cores", "ondemand", "under-voltage, throttled", "voltage was too low",
        "throttled during the sustained load, first in minute 9",
        "right-heart pattern, not pulmonary hypertension",
    ):  # fmt: skip
        assert word in told


def test_a_session_that_ended_early_says_so(synthetic, tmp_path):
    for name in (session.HOST, session.SAMPLES):
        (tmp_path / name).write_bytes((synthetic / name).read_bytes())
    lines = (tmp_path / session.SAMPLES).read_text().splitlines()
    (tmp_path / session.SAMPLES).write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    text = to_markdown(report.compose(View(session.read(tmp_path))), str)
    assert "killed before its end" in text


def test_ids_of_two_drawings_do_not_meet():
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt">'
        '<metadata/><defs><path id="g"/></defs><use xlink:href="#g" clip-path="url(#g)"/></svg>'
    )
    inlined = report_html.inline(Figure("one", "T<", "D", svg))
    root = ElementTree.fromstring(inlined)
    assert 'id="one-g"' in inlined
    assert "#one-g" in inlined
    assert 'url(#one-g)"' in inlined
    assert "metadata" not in inlined
    assert root[0].text == "T<"
    assert root.get("width") is None


def test_a_table_refuses_a_row_of_another_length():
    with pytest.raises(ValueError, match="3 cells under 2 columns"):
        Table("x", ("a", "b"), (("1", "2", "3"),))


@pytest.mark.parametrize(
    ("found", "printed"),
    [
        (0.12345, "0.123"),
        (0.09996, "0.100"),
        (9.996, "10.0"),
        (1234.5, "1,234"),
        (0.0, "0"),
        (999.96, "1,000"),
        (None, "–"),
    ],
)
def test_numbers_have_three_digits(found, printed):
    assert number(found) == printed


def test_sizes_are_of_powers_of_ten():
    assert [size(n) for n in (12, 177_912, 492_000_000, 1_500_000_000)] == ["12 B", "178 kB", "492 MB", "1.50 GB"]


def test_units_follow_from_names():
    names = ("inference_ms", "gmac_per_s", "gb_per_s", "records_per_s", "x_real_time", "peak_rss_mb", "auroc")
    assert [unit(name) for name in names] == ["ms", "GMAC/s", "GB/s", "1/s", "× real time", "MB", ""]


def test_cases_are_told_apart_by_what_differs():
    def case(name, **facts):
        return {"name": name, "facts": facts, "metrics": {}}

    one = case("a", runtime="litert", precision="int8", size="small", threads=1)
    other = case("b", runtime="litert", precision="int8", size="base", threads=2)
    assert label(one, [one]) == "LiteRT int8"
    assert label(one, [one, other]) == "small, LiteRT int8, 1 thread"
    twin = case("c", **one["facts"], file="another")
    assert [label(each, [one, twin]) for each in (one, twin)] == ["a", "c"]


def test_command_writes_the_report_of_a_session(synthetic, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    options = parser.parse_args(["report", str(synthetic), "--out", str(tmp_path)])
    assert options.run(options) == 0
    assert str(tmp_path / "report.html") in capsys.readouterr().out
    assert (tmp_path / "report.md").exists()


def test_command_refuses_a_folder_without_a_session(tmp_path):
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    options = parser.parse_args(["report", str(tmp_path)])
    with pytest.raises(BadInputError, match="no session"):
        options.run(options)


def section(document, title):
    return next(one.blocks for one in document.sections if one.title == title)


def tables(document):
    return [block for one in document.sections for block in one.blocks if isinstance(block, Table | Text)]


def captions_of(page):
    text = "\n".join(page.words)
    assert text
    return [attributes["aria-label"] for tag, attributes in page.elements if attributes.get("role") == "region"]


def test_a_known_board_is_shown_beside_its_published_figures_and_another_is_not(synthetic_of, tmp_path):
    for board, shown in (("Raspberry Pi 5 Model B Rev 1.0", True), ("another board", False)):
        text = report.write(synthetic_of(tmp_path / board, host={"board": board})).markdown.read_text()
        assert ("Published by others of other models" in text) == shown
