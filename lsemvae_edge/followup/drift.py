"""Whether a kiosk's answers change over time: rates by week and recorder, without ids.

A count below `SMALLEST` could point to a person whom somebody saw come. Rows with fewer attempts are joined into one;
in the others small counts are withheld, and so many more that the rest does not give them away.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lsemvae_edge import decision
from lsemvae_edge.metrics import Interval, exact_interval
from lsemvae_edge.result import INCONCLUSIVE

if TYPE_CHECKING:
    from lsemvae_edge.store import Entry, Store

SCHEMA = "lsemvae-edge/drift/1"
SMALLEST = 5
NO_CLOCK = "clock not set"
FEW = "few attempts"
NOT_KNOWN = "not known"

OUTCOMES = ("present", "not_present", "inconclusive", "refused", "interrupted", "cancelled")
"""How an attempt ended; each attempt counts under one of them."""
REASONS: MappingProxyType[str, str] = MappingProxyType(
    {
        decision.NOT_ECG: "not_ecg",
        decision.UNFAMILIAR: "unfamiliar",
        decision.SWAP_CHECK: "electrode_swap",
        decision.BETWEEN: "between_thresholds",
        decision.RATE_UNKNOWN: "rate_unknown",
        decision.RATE_OUTSIDE: "rate_outside",
        decision.PACED: "paced",
        decision.TOO_YOUNG: "too_young",
        decision.LEADS_NOT_ACCEPTED: "leads_not_accepted",
    }
)
"""Why the model's answer was withheld; the first two say that a recording is unlike those it learned from."""


@dataclass(frozen=True)
class Share:
    """A count of all attempts of a row.

    Parameters
    ----------
    count : int or None
        None where it is withheld.
    share : Interval or None
        With its exact 95 % interval (Clopper-Pearson).
    """

    count: int | None
    share: Interval | None


@dataclass(frozen=True)
class Row:
    """What happened in one week with one recorder.

    Parameters
    ----------
    week : str
        ISO 8601, ``2026-W07``; `NO_CLOCK`, or `FEW` for weeks and recorders joined.
    recorder : str
    attempts : int or None
        None if even joined they are fewer than `SMALLEST`.
    models : tuple of str
        Ids of the models that answered.
    outcomes, reasons, flags : dict of str to Share
        By `OUTCOMES`; by `REASONS` or ``other``; by what quality noticed. The last two lack what did not occur.
    """

    week: str
    recorder: str
    attempts: int | None
    models: tuple[str, ...]
    outcomes: dict[str, Share]
    reasons: dict[str, Share]
    flags: dict[str, Share]


def report(store: "Store", *, smallest: int = SMALLEST) -> list[Row]:
    """Return a row for each week and recorder, weeks in order, those without a clock last.

    Parameters
    ----------
    store : Store
    smallest : int
        Counts below it are withheld; 1 withholds none, for eyes that may see the records anyway.
    """
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in store.attempts(newest_first=False):
        if not (entry.wiped or entry.damaged):
            groups.setdefault((_week(entry), _recorder(entry)), []).append(entry)
    joined = [entry for group in groups.values() if len(group) < smallest for entry in group]
    rows = [
        _row(week, recorder, group, smallest) for (week, recorder), group in groups.items() if len(group) >= smallest
    ]
    rows.sort(key=lambda row: (row.week == NO_CLOCK, row.week, row.recorder))
    if joined:
        rows.append(_row(FEW, "all of these", joined, smallest))
    return rows


def to_dict(row: Row) -> dict[str, Any]:
    """Return a row as plain JSON values under its schema."""
    return {
        "schema": SCHEMA,
        "week": row.week,
        "recorder": row.recorder,
        "attempts": row.attempts,
        "models": list(row.models),
        **{
            name: {key: _plain(share) for key, share in shares.items()}
            for name, shares in (("outcomes", row.outcomes), ("reasons", row.reasons), ("flags", row.flags))
        },
    }


def _row(week: str, recorder: str, entries: "list[Entry]", smallest: int) -> Row:
    total = len(entries)
    if total < smallest:
        return Row(week, recorder, None, (), {}, {}, {})
    outcomes: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
    reasons: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    models: set[str] = set()
    for entry in entries:
        outcomes[_outcome(entry.facts)] += 1
        result = entry.facts.get("result")
        if result is None:
            continue
        models.add(result["model"]["id"])
        if entry.facts["ended"] == "screened" and result["outcome"] == INCONCLUSIVE:
            reasons[_reason(result)] += 1
        flags.update(_flags(result))
    of_outcomes = _shares(outcomes, total, smallest, whole=True)
    of_reasons = _shares(reasons, total, smallest, whole=True)
    if of_outcomes[INCONCLUSIVE].count is None:
        # Reasons are a part of it, and would tell how many at least.
        of_reasons = dict.fromkeys(of_reasons, Share(None, None))
    return Row(
        week,
        recorder,
        total,
        tuple(sorted(models)),
        of_outcomes,
        of_reasons,
        _shares(flags, total, smallest, whole=False),
    )


def _shares(counts: Mapping[str, int], total: int, smallest: int, *, whole: bool) -> dict[str, Share]:
    """Turn counts into shares of all attempts; those of a ``whole`` add up to a number that is known."""
    hidden = {name for name, count in counts.items() if 0 < count < smallest}
    others = sorted((name for name in counts if counts[name] >= smallest), key=lambda name: counts[name], reverse=True)
    while whole and hidden and others and (len(hidden) < 2 or sum(counts[name] for name in hidden) < smallest):
        hidden.add(others.pop())
    return {
        name: Share(None, None) if name in hidden else Share(count, exact_interval(count, total))
        for name, count in counts.items()
    }


def _outcome(facts: Mapping[str, Any]) -> str:
    if facts["ended"] != "screened":
        return str(facts["ended"])
    outcome = str(facts["result"]["outcome"])
    return outcome if outcome in OUTCOMES else INCONCLUSIVE


def _reason(result: Mapping[str, Any]) -> str:
    # Of the primary task, which the result's outcome is of.
    for task in result["tasks"].values():
        if task["outcome"] == result["outcome"] and task["reason"]:
            return REASONS.get(task["reason"], "other")
    return "other"


def _flags(result: Mapping[str, Any]) -> Iterable[str]:
    quality = result["quality"]
    return {*quality["flags"], *(flag for lead in quality["leads"].values() for flag in lead["flags"])}


def _week(entry: "Entry") -> str:
    if entry.at is None:
        return NO_CLOCK
    year, week, _ = datetime.fromisoformat(entry.at).isocalendar()
    return f"{year}-W{week:02}"


def _recorder(entry: "Entry") -> str:
    return str((entry.facts["record"] or {}).get("device") or NOT_KNOWN)


def _plain(share: Share) -> dict[str, Any]:
    if share.count is None or share.share is None:
        return {"count": share.count, "share": None, "low": None, "high": None}
    return {
        "count": share.count,
        **{
            name: round(getattr(share.share, field), 4)
            for name, field in (("share", "value"), ("low", "low"), ("high", "high"))
        },
    }
