"""Two sessions, or two things in one: which figures differ beyond noise.

Two sessions are compared only if their hosts and bundles are alike, unless that is what one wants to compare. Within
one session, things that were measured in turn are compared repeat by repeat, so that whatever the machine did
meanwhile falls on both.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from lsemvae_edge.benchmarks.target import host, ratios
from lsemvae_edge.benchmarks.target.session import DONE, HIGHER_IS_BETTER, Case, Json, Recorded, Sample
from lsemvae_edge.errors import UsageError
from lsemvae_edge.statistics import median

IDENTITY = ("bundle", "sha256", "file")
"""Facts of a case that tell which bundle it is of, and not what was done with it."""
SHORTEST_DIGEST = 8
"""Characters of a digest that are taken for all of it."""
CEILINGS = "ceilings"
"""The part that measures the machine alone."""

APART = (
    "The sessions were recorded one after the other: what the machine did differently meanwhile is in the ratios, not "
    "in the intervals. To tell a small difference, record both in one session."
)

Verdict = Literal["worse", "better", "alike", "not told apart", "too few repeats"]
Facts = Mapping[str, str]


@dataclass(frozen=True)
class Difference:
    """One metric of one case on both sides.

    ``a`` and ``b`` are medians of the repeats' medians; ``ratio`` is how many times ``a`` is ``b``, with its interval.
    ``p`` is adjusted for all metrics of the comparison. *Worse* and *better* are beyond noise and beyond the smallest
    effect; *alike* means that the whole interval lies within it, *not told apart* that the repeats do not decide.
    """

    part: str
    case: str
    metric: str
    a: float
    b: float
    ratio: float
    low: float | None
    high: float | None
    p: float | None
    repeats: int
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """All metrics that both sides have, and what to know before one believes them."""

    paired: bool
    smallest: float
    rows: tuple[Difference, ...]
    unlike: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def worse(self) -> list[Difference]:
        """What is worse on side ``b``, beyond noise."""
        return [row for row in self.rows if row.verdict == "worse"]

    def to_dict(self) -> dict[str, Json]:
        """Return it as plain JSON values."""
        return asdict(self)


def sessions(
    a: Recorded,
    b: Recorded,
    *,
    smallest: float = ratios.SMALLEST,
    parts: Collection[str] = (),
    metrics: Collection[str] = (),
    unlike_hosts: bool = False,
    unlike_bundles: bool = False,
) -> Comparison:
    """Compare two sessions, each recorded by itself.

    Parameters
    ----------
    a, b : Recorded
    smallest : float
        Differences below it are of no interest: 0.03 is 3 %.
    parts, metrics : collection of str
        Look at these alone; none named means all. The fewer are looked at, the smaller a difference can be found.
    unlike_hosts, unlike_bundles : bool
        Compare although hosts, or bundles, differ; the differences are told all the same.

    Raises
    ------
    UsageError
        If they are unlike, or have nothing in common.
    """
    hosts, bundles = host.likeness(a.host, b.host), _other_bundles(a, b)
    _refuse(hosts, unlike_hosts, "hosts")
    _refuse(bundles, unlike_bundles, "bundles")
    matched, untold = _matched(a.cases, b.cases, IDENTITY)
    rows = _rows(a, b, matched, paired=False, smallest=smallest, parts=parts, metrics=metrics)
    notes = [APART, *untold, *_unended("Session A", a), *_unended("Session B", b)]
    for row in rows:
        if row.part == CEILINGS and row.verdict in ("worse", "better"):
            notes.append(f"The machine itself differs: {row.case}, {row.metric} is {row.ratio:.3f} times as much in B.")
    return Comparison(False, smallest, tuple(rows), tuple(hosts + bundles), tuple(notes))


def within(
    recorded: Recorded,
    a: Facts,
    b: Facts,
    *,
    smallest: float = ratios.SMALLEST,
    parts: Collection[str] = (),
    metrics: Collection[str] = (),
) -> Comparison:
    """Compare two things that one session measured in turn, repeat by repeat.

    Parameters
    ----------
    recorded : Recorded
    a, b : mapping of str to str
        Facts of the cases of each side, as text; ``name`` and ``part`` stand for a case's name and part.
    smallest, parts, metrics
        See `sessions`.

    Raises
    ------
    UsageError
        If no case fits, or none of one side has a counterpart on the other.
    """
    ours, theirs = (chosen(recorded.cases, facts) for facts in (a, b))
    for facts, cases in ((a, ours), (b, theirs)):
        if not cases:
            raise UsageError(f"No case of the session has {_told(facts)}.", _known(recorded))
    renamed = [(text, b[name]) for name, text in a.items() if name in b]
    matched, untold = _matched(ours, theirs, {*a, *b, *IDENTITY}, renamed)
    if overlapping := [one.name for one, other in matched if one is other]:
        raise UsageError(f"{overlapping[0]} is on both sides.", "Name facts by which the sides differ.")
    rows = _rows(recorded, recorded, matched, paired=True, smallest=smallest, parts=parts, metrics=metrics)
    notes = untold + _unended("The session", recorded)
    return Comparison(True, smallest, tuple(rows), (), tuple(notes))


def chosen(cases: Iterable[Case], facts: Facts) -> list[Case]:
    """Return the cases that have all of some facts, compared as text; ``name`` and ``part`` are facts, too."""
    return [case for case in cases if has({"name": case.name, "part": case.part, **case.facts}, facts)]


def has(told: Mapping[str, Json], facts: Facts) -> bool:
    """Return whether all of some facts, given as text, are among those told; of a digest its beginning is enough."""
    return all(name in told and _is(name, as_text(told[name]), text) for name, text in facts.items())


def _is(name: str, told: str, text: str) -> bool:
    return told == text or (name == "sha256" and len(text) >= SHORTEST_DIGEST and told.startswith(text))


def as_text(fact: Json) -> str:
    """Return a fact as it is written on a command line."""
    return str(fact).lower() if isinstance(fact, bool) else str(fact)


def table(comparison: Comparison) -> str:
    """Print a comparison as Markdown, what is beyond noise first, and its notes."""
    order: list[Verdict] = ["worse", "better", "not told apart", "too few repeats", "alike"]
    lines = ["| part | case | metric | A | B | B / A | interval | p | |", "|---|---|---|---|---|---|---|---|---|"]
    for row in sorted(comparison.rows, key=lambda row: order.index(row.verdict)):
        interval = "-" if row.low is None else f"{row.low:.3f} to {row.high:.3f}"
        p = "-" if row.p is None else f"{row.p:.3f}"
        what = f"{row.part} | {row.case} | {row.metric}"
        lines.append(f"| {what} | {row.a:.4g} | {row.b:.4g} | {row.ratio:.3f} | {interval} | {p} | {row.verdict} |")
    told = [f"Unlike: {text}." for text in comparison.unlike] + list(comparison.notes)
    beyond = sum(row.verdict in ("worse", "better") for row in comparison.rows)
    lines += ["", f"{beyond} of {len(comparison.rows)} differ beyond noise and by more than {comparison.smallest:.0%}."]
    return "\n".join([*lines, *told])


def _refuse(differences: Sequence[str], wanted: bool, what: str) -> None:
    if differences and not wanted:
        raise UsageError(
            f"The two sessions are of unlike {what}: {'; '.join(differences)}.",
            f"If that is what you want to compare, add --unlike-{what}.",
        )


def _unended(what: str, recorded: Recorded) -> list[str]:
    return [] if recorded.ended == DONE else [f"{what} did not end by itself ({recorded.ended or 'it was killed'})."]


def _other_bundles(a: Recorded, b: Recorded) -> list[str]:
    ours, theirs = ({bundle["sha256"]: bundle["id"] for bundle in one.about["bundles"]} for one in (a, b))
    if ours.keys() == theirs.keys():
        return []
    told = [", ".join(f"{name} ({sha256[:12]})" for sha256, name in side.items()) or "none" for side in (ours, theirs)]
    return [f"bundles: {told[0]} against {told[1]}"]


def _matched(
    ours: Iterable[Case], theirs: Iterable[Case], ignored: Iterable[str], renamed: Iterable[tuple[str, str]] = ()
) -> tuple[list[tuple[Case, Case]], list[str]]:
    """Return the cases that belong together, and in words those of which it cannot be told.

    Cases with the same facts do, but for facts that are ignored and for sizes. Where several have the same, names
    decide, after what is ``renamed`` in those of our side.

    Raises
    ------
    UsageError
        If nothing is on both sides.
    """
    left, swaps = set(ignored), tuple(renamed)
    sides: list[dict[tuple[str, str], list[Case]]] = [{}, {}]
    for side, cases in zip(sides, (ours, theirs), strict=True):
        for case in cases:
            side.setdefault(_common(case, left), []).append(case)
    found, untold = [], []
    for place, mine in sides[0].items():
        yours = sides[1].get(place, [])
        if len(mine) == len(yours) == 1:
            found.append((mine[0], yours[0]))
            continue
        by_name = {case.name: case for case in yours}
        for case in mine if yours else ():
            if other := by_name.get(case.name) or by_name.get(_renamed(case.name, swaps)):
                found.append((case, other))
            else:
                untold.append(f"Left out: it cannot be told which case of side B belongs to {case.part}, {case.name}.")
    if not found:
        raise UsageError("The two sides have no case in common.", "Compare the same part, runtime, size and threads.")
    return found, untold


def _common(case: Case, left: Collection[str]) -> tuple[str, str]:
    """Return what cases that belong together have in common: part and facts, but for some and for sizes."""
    facts = {name: fact for name, fact in case.facts.items() if name not in left and not name.endswith("_bytes")}
    return case.part, repr(sorted(facts.items(), key=lambda pair: pair[0]))


def _renamed(name: str, swaps: Iterable[tuple[str, str]]) -> str:
    for old, new in swaps:
        name = name.replace(old, new)
    return name


def _rows(
    a: Recorded,
    b: Recorded,
    matched: Sequence[tuple[Case, Case]],
    *,
    paired: bool,
    smallest: float,
    parts: Collection[str],
    metrics: Collection[str],
) -> list[Difference]:
    raw: list[tuple[Difference, bool]] = []
    for ours, theirs in matched:
        if parts and ours.part not in parts:
            continue
        sides = [_by_metric(one, case) for one, case in ((a, ours), (b, theirs))]
        for metric in (name for name in sides[0] if name in sides[1]):
            if not metrics or metric in metrics:
                raw += _row(ours, theirs, metric, sides[0][metric], sides[1][metric], paired, smallest)
    if not raw:
        raise UsageError("There is nothing to compare.", "Name other parts and metrics, or none.")
    adjusted = ratios.holm([row.p for row, _ in raw])
    return [
        Difference(**{**asdict(row), "p": p, "verdict": _verdict(row, p, more_is_better, smallest)})
        for (row, more_is_better), p in zip(raw, adjusted, strict=True)
    ]


def _row(
    ours: Case, theirs: Case, metric: str, a: list[Sample], b: list[Sample], paired: bool, smallest: float
) -> list[tuple[Difference, bool]]:
    """Return one metric's row, p not adjusted, and whether more of it is better; nothing where it has no ratio."""
    repeats = [_repeats(side) for side in (a, b)]
    if paired:
        common = [number for number in repeats[0] if number in repeats[1]]
        repeats = [{number: side[number] for number in common} for side in repeats]
    values = [list(side.values()) for side in repeats]
    found = ratios.ratio(values[0], values[1], paired=paired, smallest=smallest) if all(values) else None
    if found is None:
        return []
    name = ours.name if ours.name == theirs.name else f"{theirs.name} over {ours.name}"
    middle = [float(median([median(one) for one in side])) for side in values]
    row = Difference(
        ours.part, name, metric, middle[0], middle[1], found.value, found.low, found.high, found.p, found.repeats,
        "not told apart",
    )  # fmt: skip
    return [(row, metric.endswith(HIGHER_IS_BETTER))]


def _verdict(row: Difference, p: float | None, more_is_better: bool, smallest: float) -> Verdict:
    if row.low is None or row.high is None or p is None:
        return "too few repeats"
    if p < 1 - ratios.LEVEL:
        return "better" if (row.ratio > 1) == more_is_better else "worse"
    within_it = row.low >= 1 / (1 + smallest) and row.high <= 1 + smallest
    return "alike" if within_it else "not told apart"


def _by_metric(recorded: Recorded, case: Case) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for sample in recorded.samples:
        if (sample.part, sample.case) == (case.part, case.name):
            found.setdefault(sample.metric, []).append(sample)
    return found


def _repeats(samples: Iterable[Sample]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for sample in samples:
        found.setdefault(sample.repeat, []).extend(sample.values)
    return found


def _told(facts: Facts) -> str:
    return ", ".join(f"{name}={value}" for name, value in facts.items()) or "no facts"


def _known(recorded: Recorded) -> str:
    values: dict[str, set[str]] = {}
    for case in recorded.cases:
        for name, fact in {"part": case.part, **case.facts}.items():
            if isinstance(fact, str | int | bool):
                values.setdefault(name, set()).add(as_text(fact))
    told = "; ".join(f"{name}={'|'.join(sorted(found))}" for name, found in values.items() if len(found) > 1)
    return f"It has: {told}." if told else "Its cases differ in no fact."
