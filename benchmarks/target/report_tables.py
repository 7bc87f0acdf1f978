"""Tables of a report: order statistics of a metric, medians of several, and lists of facts as they were kept."""

from collections.abc import Mapping, Sequence

from lsemvae_edge.benchmarks.target.report_document import DASH, Table
from lsemvae_edge.benchmarks.target.report_view import View, label, number, share, size, title, unit, value
from lsemvae_edge.benchmarks.target.session import Json

SHARES = ("fraction", "share", "answered", "sensitivity", "specificity", "coverage")
"""Ends of the names of facts that are shares of one."""
HEADINGS = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "brier": "Brier",
    "ece": "ECE",
    "macs": "multiply-adds",
    "int8_macs": "of them int8",
    "fp32_macs": "of them fp32",
    "intensity_mac_per_byte": "multiply-adds a byte",
    "gmac_per_s": "reached (GMAC/s)",
    "ceiling_gmac_per_s": "ceiling (GMAC/s)",
}


def spread(view: View, part: str, metric: str, caption: str) -> Table | None:
    """Return order statistics of one metric, a row a case; None if no case has it."""
    cases = view.cases(part, metric)
    if not cases:
        return None
    rows = []
    for case in cases:
        found = case["metrics"][metric]
        figures = [number(found[name]) for name in ("p50", "p90", "p99", "max")]
        rows.append(
            (
                label(case, cases),
                *figures,
                share(found["spread"]),
                f"{found['repeats']} × {found['n'] // found['repeats']}",
            )
        )
    columns = ("case", "p50", "p90", "p99", "max", "spread of repeats", "repeats × values")
    return Table(f"{caption} ({unit(metric)})" if unit(metric) else caption, columns, tuple(rows))


def medians(
    view: View, part: str, metrics: Sequence[str], caption: str, extra: Sequence[str] = (), having: str | None = None
) -> Table | None:
    """Return medians of several metrics, a row a case (that has ``having``), then facts named by ``extra``."""
    shown = [metric for metric in metrics if view.cases(part, metric)]
    cases = [case for case in view.cases(part) if any(metric in case["metrics"] for metric in shown)]
    cases = [case for case in cases if having is None or having in case["metrics"]]
    shown = [metric for metric in shown if any(metric in case["metrics"] for case in cases)]
    if not cases:
        return None
    facts = [name for name in extra if any(case["facts"].get(name) is not None for case in cases)]
    columns = ("case", *(_heading(metric) for metric in shown), *(_heading(name) for name in facts))
    rows = tuple(
        (
            label(case, cases),
            *(number(value(case, metric)) for metric in shown),
            *(cell(name, case["facts"].get(name)) for name in facts),
        )
        for case in cases
    )
    return Table(caption, columns, rows)


def listed(
    rows: Sequence[Mapping[str, Json]], caption: str, columns: Sequence[str] = (), cards: bool = False
) -> Table | None:
    """Return facts that are kept as a list of objects; without columns named, all that hold something."""
    found = columns or list(dict.fromkeys(name for row in rows for name in row))
    shown = [name for name in found if any(row.get(name) not in (None, "", [], {}) for row in rows)]
    if not rows or not shown:
        return None
    return Table(
        caption,
        tuple(_heading(name) for name in shown),
        tuple(tuple(cell(name, row.get(name)) for name in shown) for row in rows),
        cards,
    )


def mapped(facts: Mapping[str, Json], caption: str) -> Table | None:
    """Return single facts as a table of two columns."""
    plain = [(name, fact) for name, fact in facts.items() if fact not in (None, "", [], {})]
    if not plain:
        return None
    return Table(caption, ("fact", "value"), tuple((_heading(name), cell(name, fact)) for name, fact in plain))


def cell(name: str, found: Json) -> str:
    """Print a fact as its name says: bytes as a size, shares as percentages, an interval with its ends."""
    match found:
        case None:
            return DASH
        case bool():
            return "yes" if found else "no"
        case {"value": middle, "low": low, "high": high}:
            return f"{middle:.3f} ({low:.3f} to {high:.3f})"
        case dict():
            return (
                "; ".join(f"{_heading(key)} {cell(key, part)}" for key, part in found.items() if part is not None)
                or DASH
            )
        case list() | tuple():
            return ", ".join(cell(name, part) for part in found) or DASH
        case int() | float() if name.endswith("bytes"):
            return size(found)
        case int() | float() if name.endswith(SHARES) and 0 <= found <= 1:
            return share(found)
        case int():
            return f"{found:,}" if abs(found) >= 10_000 else str(found)
        case float() if "auroc" in name:
            return f"{found:.3f}"
        case float():
            return number(found)
        case _:
            return str(found)


def _heading(name: str) -> str:
    if name in HEADINGS:
        return HEADINGS[name]
    text = title(name)
    return f"{text} ({unit(name)})" if unit(name) else text.removesuffix(" bytes") if name.endswith("_bytes") else text
