"""The top of a report: the answer in five lines, each beside what the reference classifier needs and both AUROCs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lsemvae_edge.benchmarks.target.report_document import DASH, Block, NotMeasured, Table, Text
from lsemvae_edge.benchmarks.target.report_view import Case, View, label, number, quantity, size, value
from lsemvae_edge.benchmarks.target.session import Json

NO_AUROC = "not measured"


@dataclass(frozen=True)
class Line:
    """One line of the answer: its name there and on a badge, and the metric: ours of a part, theirs among the peers."""

    what: str
    badge: str
    part: str
    metric: str


LINES = (
    Line("Inference", "inference", "latency", "inference_ms"),
    Line("Whole path, file to result", "whole path", "path", "whole_ms"),
    Line("Cold start to first result", "cold start", "path", "start_to_result_ms"),
    Line("Peak memory", "peak memory", "memory", "peak_rss_mb"),
    Line("Size of the model file", "model size", "memory", "file_bytes"),
)


@dataclass(frozen=True)
class Point:
    """A model in one runtime: what it costs, and how good it is (AUROC with its 95 % interval)."""

    name: str
    ours: bool
    latency_ms: float | None
    file_bytes: float | None
    auroc: float
    low: float | None
    high: float | None


def answer(view: View) -> Iterator[Block]:
    """Say in five lines what a buyer asks first."""
    reference = reference_case(view)
    both = (auroc(view, ours_case(view)), auroc(view, reference))
    accuracies = NO_AUROC if set(both) == {NO_AUROC} else " / ".join(both)
    rows, missing = [], []
    for line in LINES:
        case = default_case(view, line)
        if case is None:
            missing.append(NotMeasured(line.what, view.why_not(line.part)))
            continue
        theirs = figure(reference, line.metric) if reference else DASH
        rows.append((line.what, figure(case, line.metric), theirs, _ratio(view, reference, line.metric), accuracies))
    if rows:
        yield Table(
            f"{_default_name(view)}, one recording at a time",
            ("what", "measured", "reference classifier", "reference ÷ measured", "AUROC, measured / reference"),
            tuple(rows),
            cards=True,
        )
    if rows and reference is not None:
        yield Text(
            "Ratios are taken within one run of the peers, ours and theirs in turn; they need not equal the quotient "
            "of the columns beside them, for ours is measured once more, and longer, in its own part."
        )
    yield from missing
    if reference is None:
        yield NotMeasured("The reference classifier", view.why_not("peers"))


def default_case(view: View, line: Line) -> Case | None:
    """Return the case that a line of the answer is about."""
    if line.metric.endswith("_bytes"):
        case = view.default(line.part, "peak_rss_mb")
        return case if case and case["facts"].get(line.metric) is not None else None
    return view.default(line.part, line.metric)


def ours_case(view: View) -> Case | None:
    """Return our own default case among the peers."""
    return view.default("peers", "inference_ms")


def reference_case(view: View) -> Case | None:
    """Return the reference LS-EMVAE classifier among the peers."""
    found = [case for case in view.cases("peers") if case["facts"].get("role") == "peer"]
    return next((case for case in found if "reference" in case["name"].lower()), None)


def points(view: View) -> list[Point]:
    """Return every case among the peers whose AUROC is known."""
    found = []
    for case in view.cases("peers"):
        row = auroc_row(view, case)
        if row is not None:
            ours = case["facts"].get("role") == "ours"
            costs = value(case, "inference_ms"), case["facts"].get("file_bytes")
            found.append(Point(case["name"], ours, *costs, row["auroc"], row.get("low"), row.get("high")))
    return found


def figure(case: Case | None, metric: str) -> str:
    """Print a figure of a case: of many values, median and 99th percentile; of a file, its size."""
    if case is None:
        return DASH
    if metric.endswith("_bytes"):
        return size(case["facts"].get(metric))
    found = case["metrics"].get(metric)
    if found is None:
        return DASH
    if found["n"] > found["repeats"]:
        return f"{quantity(found['p50'], metric)} (p99 {quantity(found['p99'], metric)})"
    return quantity(found["p50"], metric)


def auroc(view: View, case: Case | None) -> str:
    """Print the AUROC of a case among the peers."""
    row = auroc_row(view, case)
    return f"{row['auroc']:.3f}" if row else NO_AUROC


def auroc_row(view: View, case: Case | None) -> Mapping[str, Json] | None:
    """Return the row of AUROC that belongs to a case among the peers."""
    if case is None:
        return None
    rows: Sequence[Mapping[str, Json]] = view.facts("peers").get("auroc") or []
    return next((row for row in rows if row.get("name") == case["name"] and row.get("auroc") is not None), None)


def _default_name(view: View) -> str:
    part, metric = ("latency", "inference_ms") if view.cases("latency") else ("path", "whole_ms")
    case = view.default(part, metric)
    if case is None:
        return "The default model"
    names = [bundle["id"] for bundle in view.summary["bundles"]][:1]
    return ", ".join([*names, label(case, view.cases(part))])


def _ratio(view: View, reference: Case | None, metric: str) -> str:
    """Print how many times more the reference needs: with its interval where the peers give one."""
    for row in view.facts("peers").get("ratios") or []:
        if reference and row.get("peer") == reference["name"] and row.get("metric", row.get("what")) == metric:
            interval = "" if row.get("low") is None else f" ({number(row['low'])} to {number(row['high'])})"
            return f"{number(row['ratio'])} ×{interval}"
    theirs, own = _plain(reference, metric), _plain(ours_case(view), metric)
    return f"{number(theirs / own)} ×" if theirs and own else DASH


def _plain(case: Case | None, metric: str) -> float | None:
    return case["facts"].get(metric) if case and metric.endswith("_bytes") else value(case, metric)
