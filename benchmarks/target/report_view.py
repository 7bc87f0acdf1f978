"""A session as a report reads it: which case is the default one, what a case is called, how a number is printed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lsemvae_edge.benchmarks.target.report_document import DASH
from lsemvae_edge.benchmarks.target.session import Json, Recorded, summarize
from lsemvae_edge.runtime.session import ENGINES

Case = Mapping[str, Any]
"""A case of the summary: ``name``, ``facts``, ``metrics``."""

TITLES = {
    "litert": "LiteRT",
    "tflite-runtime": "tflite-runtime",
    "onnxruntime": "ONNX Runtime",
    "executorch": "ExecuTorch",
    "executorch.runtime": "ExecuTorch in Python",
    "torch": "PyTorch",
}
UNITS = {
    "gmac_per_s": "GMAC/s",
    "gb_per_s": "GB/s",
    "_per_s": "1/s",
    "_x_real_time": "× real time",
    "x_real_time": "× real time",
    "_ms": "ms",
    "_us": "µs",
    "_mb": "MB",
    "_mj": "mJ",
    "_mw": "mW",
    "_mhz": "MHz",
    "_c": "°C",
}
NAMES = {
    "inference_ms": "inference",
    "start_ms": "start of Python",
    "import_ms": "import",
    "load_ms": "load",
    "first_run_ms": "first run",
    "decode_ms": "read the file",
    "quality_ms": "quality",
    "preprocess_ms": "preprocessing",
    "decision_ms": "decision",
    "json_ms": "JSON",
    "whole_ms": "whole path",
    "start_to_result_ms": "start to result",
    "records_per_s": "recordings a second",
    "peak_rss_mb": "peak RSS",
    "steady_rss_mb": "steady RSS",
    "pss_mb": "PSS",
    "uss_mb": "USS",
    "x_real_time": "times real time",
    "frames_per_s": "frames a second",
    "gmac_per_s": "computing",
    "gb_per_s": "memory",
}


class View:
    """A session's summary, with the questions a report asks of it.

    Parameters
    ----------
    recorded : Recorded
    draws : bool
        Whether drawings are wanted.
    """

    def __init__(self, recorded: Recorded, draws: bool = True) -> None:
        self.recorded = recorded
        self.draws = draws
        self.summary = summarize(recorded)
        self.host: Mapping[str, Json] = self.summary["host"]

    def measured(self, part: str) -> bool:
        """Return whether a part left anything but excuses."""
        return part in self.summary["parts"]

    def cases(self, part: str, metric: str | None = None) -> list[Case]:
        """Return the cases of a part, in the order of the session; with a metric named, those that have it."""
        found = self.summary["parts"].get(part, {}).get("cases", [])
        return [case for case in found if metric is None or metric in case["metrics"]]

    def facts(self, part: str) -> Mapping[str, Json]:
        """Return the facts of a part."""
        facts: Mapping[str, Json] = self.summary["parts"].get(part, {}).get("facts", {})
        return facts

    def why_not(self, part: str) -> str:
        """Return why a part, or a thing in it, is missing."""
        reasons = [one["reason"] for one in self.summary["skipped"] if one["part"] == part]
        return "; ".join(dict.fromkeys(reasons)) or "this session did not run it"

    def default(self, part: str, metric: str) -> Case | None:
        """Return the case that a user gets who chooses nothing: the preferred runtime, int8, the fewest threads.

        Of several bundles it is the first that the session names.
        """
        order = [engine.name for engine in ENGINES]
        first = [bundle["id"] for bundle in self.summary["bundles"][:1]]

        def rank(case: Case) -> tuple[Any, ...]:
            facts = case["facts"]
            runtime = facts.get("runtime")
            return (
                facts.get("bundle", first[0] if first else None) not in first,
                order.index(runtime) if runtime in order else len(order),
                facts.get("precision") != "int8",
                facts.get("threads") or 1,
            )

        ours = [case for case in self.cases(part, metric) if case["facts"].get("role") in (None, "ours")]
        return min(ours, key=rank, default=None)


def label(case: Case, among: Sequence[Case]) -> str:
    """Name a case by what tells it from the others: runtime, precision, and size and threads where they differ."""
    text = _short(case, among)
    return text if sum(_short(other, among) == text for other in among) < 2 else str(case["name"])


def _short(case: Case, among: Sequence[Case]) -> str:
    facts = case["facts"]
    if not facts.get("runtime") or not facts.get("precision") or "role" in facts:
        return str(case["name"])
    parts = [TITLES.get(facts["runtime"], facts["runtime"]), facts["precision"]]
    if len(_known(among, "size")) > 1 and facts.get("size"):
        parts.insert(0, f"{facts['size']},")
    if len(_known(among, "threads")) > 1 and facts.get("threads"):
        parts[-1] += ","
        parts.append(count(facts["threads"], "thread"))
    return " ".join(parts)


def _known(cases: Sequence[Case], fact: str) -> set[Json]:
    return {case["facts"][fact] for case in cases if case["facts"].get(fact) is not None}


def count(n: int, thing: str) -> str:
    """Print how many there are of a thing."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def value(case: Case | None, metric: str, statistic: str = "p50") -> float | None:
    """Return one figure of a case, or None."""
    found = (case or {}).get("metrics", {}).get(metric)
    return None if found is None else found[statistic]


def unit(metric: str) -> str:
    """Return the unit that a metric's name ends in, or nothing."""
    ends = [end for end in UNITS if metric.endswith(end)]
    return UNITS[max(ends, key=len)] if ends else ""


def title(metric: str) -> str:
    """Return a metric in words, without its unit."""
    if metric in NAMES:
        return NAMES[metric]
    ends = [end for end in UNITS if metric.endswith(end)]
    stem = metric[: -len(max(ends, key=len))] if ends else metric
    return (stem or metric).replace("_", " ")


def number(found: float | None) -> str:
    """Print three significant digits, without an exponent."""
    if found is None:
        return DASH
    if found == 0 or not math.isfinite(found):
        return f"{found:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(found))))
    # Rounding may have made one digit more of it: 9.996 is 10.0.
    rounded = round(found, digits)
    digits = max(0, 2 - math.floor(math.log10(abs(rounded)))) if rounded else digits
    return f"{rounded:,.{digits}f}"


def quantity(found: float | None, name: str) -> str:
    """Print a figure with its unit."""
    return DASH if found is None else f"{number(found)} {unit(name)}".strip()


def size(n_bytes: float | None) -> str:
    """Print a size in kB, MB or GB of 10³, 10⁶ and 10⁹ bytes."""
    if n_bytes is None:
        return DASH
    for scale, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= scale:
            return f"{number(n_bytes / scale)} {name}"
    return f"{n_bytes:.0f} B"


def share(found: float | None) -> str:
    """Print a share as a percentage."""
    return DASH if found is None else f"{100 * found:.1f} %"
