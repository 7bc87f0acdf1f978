"""The sections of a report, one for each thing measured: drawings, tables, and what is missing with its reason."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from types import ModuleType

from lsemvae_edge.benchmarks.target.report_answer import points
from lsemvae_edge.benchmarks.target.report_document import Block, Code, Figure, Items, NotMeasured, Table, Text
from lsemvae_edge.benchmarks.target.report_tables import listed, mapped, medians, spread
from lsemvae_edge.benchmarks.target.report_view import View
from lsemvae_edge.benchmarks.target.session import Json

Part = Callable[[View], Iterator[Block]]

NO_PLOTS = "they need matplotlib: pip install 'lsemvae-edge[train]', then lsemvae-edge bench report SESSION"
STAGES = ("decode_ms", "quality_ms", "preprocess_ms", "inference_ms", "decision_ms", "json_ms", "whole_ms")
COLD = ("start_ms", "import_ms", "load_ms", "first_run_ms")
JUDGED = (
    "size", "runtime", "precision", "set", "task", "n", "positive", "answered", "auroc", "sensitivity_answered",
    "specificity_answered", "brier_skill", "ece", "outcomes_unlike_the_first",
)  # fmt: skip
"""Of a row of accuracy, what a page holds; the summary has all."""
MEMORY = ("peak_rss_mb", "steady_rss_mb", "pss_mb", "uss_mb")


def accuracy(view: View) -> Iterator[Block]:
    """Show AUROC against cost, and every row of accuracy through the exported files."""
    found = points(view)
    yield from _drawn(view, "limits", lambda plots: plots.pareto(found), len(found) > 1)
    rows = view.facts("accuracy").get("rows") or []
    yield from _tables(listed(rows, "Accuracy of the exported files, each through its own runtime", JUDGED))
    yield from _absent(view, "accuracy", "Accuracy")


def latency(view: View) -> Iterator[Block]:
    """Show inference alone."""
    yield from _drawn(
        view, "", lambda plots: plots.distributions(view, "latency"), bool(view.cases("latency", "inference_ms"))
    )
    yield from _tables(
        spread(view, "latency", "inference_ms", "Inference alone, batch of one"),
        medians(view, "latency", COLD, "A fresh process until its first inference, medians", ("file",)),
    )
    yield from _absent(view, "latency", "Latency")


def path(view: View) -> Iterator[Block]:
    """Show the whole path, its stages, and the start of a process."""
    there = bool(view.cases("path"))
    yield from _drawn(view, "", lambda plots: plots.stages(view), there)
    yield from _drawn(view, "", lambda plots: plots.cold_start(view), there)
    yield from _tables(
        spread(view, "path", "whole_ms", "Whole path, file to JSON, model loaded"),
        medians(view, "path", STAGES, "Stages of the whole path, medians"),
        spread(view, "path", "start_to_result_ms", "Process start to first result"),
        medians(view, "path", COLD, "Parts of the start, medians of fresh processes", having="start_to_result_ms"),
        spread(view, "path", "records_per_s", "An archive replayed, recordings a second"),
    )
    yield from _absent(view, "path", "The whole path")


def memory(view: View) -> Iterator[Block]:
    """Show the memory of a process, and the sizes of files and arenas."""
    yield from _drawn(view, "", lambda plots: plots.memory(view), bool(view.cases("memory")))
    yield from _tables(
        medians(view, "memory", MEMORY, "Memory of a process, and sizes", ("file_bytes", "arena_bytes", "arena_note")),
    )
    yield from _absent(view, "memory", "Memory")


def sustained(view: View) -> Iterator[Block]:
    """Show latency over minutes of load, beside frequency and temperature."""
    curve = view.facts("sustained").get("curve") or []
    yield from _drawn(view, "", lambda plots: plots.sustained(view), bool(curve))
    yield from _tables(
        spread(view, "sustained", "inference_ms", "Inference under sustained load; a repeat is a minute"),
        spread(view, "sustained", "whole_ms", "The whole path under sustained load; a repeat is a minute"),
        listed(view.facts("sustained").get("drift") or [], "Drift from the first minute to the last"),
        listed(curve, "Minute by minute"),
    )
    yield from _absent(view, "sustained", "Sustained load")


def energy(view: View) -> Iterator[Block]:
    """Show energy for each inference, if there was a meter."""
    yield from _tables(
        listed(view.facts("energy").get("rows") or [], "Energy of one inference, power at rest subtracted"),
        spread(view, "energy", "inference_mj", "Energy of one inference, by repeat"),
        medians(view, "energy", ("idle_mw", "load_mw"), "Power at rest and under load"),
    )
    yield from _absent(view, "energy", "Energy")


def limits(view: View) -> Iterator[Block]:
    """Show measured ceilings, the models' work, and what fraction of a ceiling each reaches."""
    work = view.facts("work")
    there = bool(work.get("roofline")) and bool(view.cases("ceilings"))
    yield from _drawn(view, "limits", lambda plots: plots.roofline(view), there)
    yield from _tables(
        spread(view, "ceilings", "gmac_per_s", "Ceilings of computing on this host"),
        spread(view, "ceilings", "gb_per_s", "Ceilings of memory on this host"),
        listed(work.get("roofline") or [], "Multiply-adds a second against the ceiling"),
        listed(work.get("models") or [], "Work of each model"),
        listed(work.get("profile") or [], "Where the time goes: each operator alone, in turn with the whole"),
    )
    yield from _absent(view, "ceilings", "Ceilings")
    yield from _absent(view, "work", "Work of the models")


def peers(view: View) -> Iterator[Block]:
    """Show peers measured in turn with ours, with ratios and AUROCs."""
    facts = view.facts("peers")
    yield from _drawn(
        view, "", lambda plots: plots.distributions(view, "peers"), bool(view.cases("peers", "inference_ms"))
    )
    yield from _tables(
        listed(facts.get("ratios") or [], "Ratios within one run", cards=True),
        medians(
            view,
            "peers",
            ("inference_ms", "whole_ms", "load_ms", "peak_rss_mb"),
            "Medians",
            ("file_bytes", "threads", "role"),
        ),
        spread(view, "peers", "inference_ms", "Inference, one recording at a time"),
        listed(facts.get("auroc") or [], "AUROC of each, and where it is from"),
    )
    yield from _absent(view, "peers", "Peers")


def preprocessing(view: View) -> Iterator[Block]:
    """Show preprocessing and reading beside other libraries, and how far their results agree."""
    facts = view.facts("preprocessing")
    yield from _tables(
        listed(facts.get("ratios") or [], "Ratios within one run", cards=True),
        spread(view, "preprocessing", "clean_ms", "Cleaning a 10-s six-lead recording"),
        spread(view, "preprocessing", "read_ms", "Reading a recording"),
        *_facts(facts, "Agreement with the others", "agreement"),
    )
    yield from _absent(view, "preprocessing", "Preprocessing")


def ingest(view: View) -> Iterator[Block]:
    """Show how fast Bluetooth packets become a recording."""
    yield from _tables(
        medians(
            view, "ingest", ("frames_per_s", "x_real_time"), "Decoding and assembly of one recorder's packets, medians"
        ),
    )
    yield from _absent(view, "ingest", "Ingest")


def confined(view: View) -> Iterator[Block]:
    """Show what fits under the limits of a small board."""
    cases = view.cases("confined")
    metrics = list(dict.fromkeys(metric for case in cases for metric in case["metrics"]))
    extra = [name for name in dict.fromkeys(fact for case in cases for fact in case["facts"]) if name != "name"]
    yield from _tables(
        medians(view, "confined", metrics, "Under limits of memory and processor", extra),
        *_facts(view.facts("confined"), "Does it fit?", "fits"),
    )
    yield from _absent(view, "confined", "Limited runs")


PARTS: tuple[tuple[str, Part], ...] = (
    ("Accuracy", accuracy),
    ("Latency of inference", latency),
    ("Whole path and cold start", path),
    ("Memory and size", memory),
    ("Sustained load", sustained),
    ("Energy", energy),
    ("What the machine could do at most", limits),
    ("Peers in the same run", peers),
    ("Preprocessing", preprocessing),
    ("Bluetooth ingest", ingest),
    ("Within the limits of a small board", confined),
)
"""Headings of a report, in order, and what writes below them."""
BY_NAME: Mapping[str, Part] = {part.__name__: part for _, part in PARTS} | {"ceilings": limits, "work": limits}
"""What writes of a part of a session."""


def not_measured(view: View) -> Iterator[Block]:
    """List everything that was skipped."""
    skipped = [(one["part"], one["what"], one["reason"]) for one in view.summary["skipped"]]
    if skipped:
        yield Table(
            "What could have been measured and was not", ("part", "what", "reason"), tuple(dict.fromkeys(skipped))
        )
    else:
        yield Text("Nothing was skipped.")


def repeat(view: View) -> Iterator[Block]:
    """Say how to make such a session, and what lies in its folder."""
    whole = view.facts("whole")
    yield Code(whole.get("command") or "lsemvae-edge bench report --out FOLDER")
    yield Items(
        (
            "samples.jsonl holds every value of every repeat in the order in which it was measured, none left out; "
            "summary.json follows from it, and this report from both.",
            f"Seed {view.summary['seed']}. One recording at a time, as a device works. The same code runs for accuracy "
            "and for speed. Warm-up runs are not counted. A repeat is a fresh process, or a round in which every "
            "candidate has its turn.",
            "p50, p90 and p99 are of all values of all repeats. Spread is the range of the repeats' medians over their "
            "median: how far a figure moves from one process to the next. MB is 10⁶ bytes.",
            "lsemvae-edge bench compare A B says which differences between two sessions are beyond noise, and refuses "
            "unlike hosts.",
        )
    )
    seconds = whole.get("seconds") or {}
    if seconds:
        rows = tuple((name, f"{took:.0f}") for name, took in {**seconds, "all": sum(seconds.values())}.items())
        yield Table("How long each part took (s)", ("part", "seconds"), rows)


def undrawn() -> Iterator[Block]:
    """Say so if nothing can be drawn here."""
    if _plots("") is None:
        yield NotMeasured("Figures", NO_PLOTS, "not drawn")


def _drawn(view: View, module: str, draw: Callable[[ModuleType], Figure | None], there: bool) -> Iterator[Block]:
    """Draw if that is wanted, and there is something to draw and something to draw with."""
    plots = _plots(module) if there and view.draws else None
    figure = draw(plots) if plots else None
    if figure is not None:
        yield figure


def _plots(module: str) -> ModuleType | None:
    try:
        return import_module("lsemvae_edge.benchmarks.target.report_plots" + (f"_{module}" if module else ""))
    except ImportError:
        return None


def _tables(*tables: Table | None) -> Iterator[Block]:
    yield from (table for table in tables if table is not None)


def _absent(view: View, part: str, what: str) -> Iterator[Block]:
    """Say that a part is missing, or what in it was skipped."""
    if not view.measured(part):
        yield NotMeasured(what, view.why_not(part))
    else:
        skipped = [one for one in view.summary["skipped"] if one["part"] == part]
        yield from (NotMeasured(one["what"], one["reason"]) for one in skipped)


def _facts(facts: Mapping[str, Json], caption: str, name: str) -> Iterator[Table | None]:
    """Show a fact that is a list of objects, one object, or a single thing."""
    found = facts.get(name)
    if isinstance(found, list) and found and isinstance(found[0], dict):
        yield listed(found, caption)
    elif isinstance(found, dict):
        yield mapped(found, caption)
    else:
        yield mapped({name: found}, caption)
