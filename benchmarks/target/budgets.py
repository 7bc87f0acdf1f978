"""Budgets: ratios between figures of one session that must not grow, from ``budgets.toml``.

A budget is never a time: a ratio of two figures of one session holds on any machine. It is broken only if the whole
interval of the ratio lies beyond it, so that a busy machine breaks none by chance.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from lsemvae_edge.benchmarks.target import ratios
from lsemvae_edge.benchmarks.target.compare import as_text, has
from lsemvae_edge.benchmarks.target.session import Json, Recorded
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.statistics import median

SCHEMA = "lsemvae-edge/budgets/1"
FILE = Path(__file__).parent.parent / "budgets.toml"
RATIO_ENDS = ("fraction", "ratio")
"""Ends of the names of figures that are ratios already, and need nothing to be put over."""

State = Literal["kept", "over", "within noise of it", "not measured"]


@dataclass(frozen=True)
class Figure:
    """Where a figure stands: a metric of the cases of a part that have these facts, or a number among their facts.

    With ``rows`` it is a number in a list of objects that the part keeps as a fact of that name, and ``facts`` choose
    among the objects.
    """

    part: str
    metric: str
    facts: Mapping[str, str]
    rows: str | None = None

    @property
    def what(self) -> str:
        """Name it in words."""
        told = [f"{name}={value}" for name, value in self.facts.items()]
        return " ".join([self.part, *([self.rows] if self.rows else []), *told, self.metric])


@dataclass(frozen=True)
class Budget:
    """A ratio that must stay in its bounds.

    ``same`` names the facts in which a figure and what it is put over must agree. ``short`` tells that the short run
    measures it, and that it is a failure there if it is absent.
    """

    name: str
    figure: Figure
    over: Figure | None
    same: tuple[str, ...]
    at_most: float | None
    at_least: float | None
    short: bool
    why: str

    @property
    def bound(self) -> str:
        """Say the bound in words."""
        return f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"


@dataclass(frozen=True)
class Budgets:
    """A file of budgets; ``short_run`` names the parts of `bench report` that a short run measures."""

    short_run: tuple[str, ...]
    budgets: tuple[Budget, ...]


@dataclass(frozen=True)
class Check:
    """A budget held against one case; value and interval are None where it was not measured."""

    budget: str
    bound: str
    case: str
    value: float | None
    low: float | None
    high: float | None
    state: State
    why: str

    def to_dict(self) -> dict[str, Json]:
        """Return it as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Found:
    """One value of a figure: its case, the facts of it, and its repeats by number."""

    case: str
    facts: Mapping[str, Json]
    repeats: Mapping[int, Sequence[float]]

    @property
    def value(self) -> float:
        return float(median([median(values) for values in self.repeats.values()]))


def load(path: Path = FILE) -> Budgets:
    """Read a file of budgets.

    Raises
    ------
    BadInputError
        If it is none, or a budget is no ratio or has no bound.
    """
    try:
        found = tomllib.loads(path.read_text())
        if found.get("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        read = Budgets(tuple(found.get("short_run", ())), tuple(_budget(entry) for entry in found["budget"]))
        names = [budget.name for budget in read.budgets]
        if len(set(names)) < len(names):
            raise ValueError("two budgets have one name")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path} is no file of budgets: {error}", "See docs/benchmarks.md, Budgets.") from error
    return read


def check(recorded: Recorded, budgets: Budgets) -> list[Check]:
    """Hold a session against budgets.

    Returns
    -------
    list of Check
        A row for every case that a budget speaks of, or one that says that it was not measured.
    """
    return [row for budget in budgets.budgets for row in _checks(recorded, budget)]


def failed(rows: Sequence[Check], budgets: Budgets, *, short: bool) -> list[Check]:
    """Return what is over budget, and of a short run also what it should have measured and did not."""
    expected = {budget.name for budget in budgets.budgets if budget.short} if short else set()
    return [row for row in rows if row.state == "over" or (row.state == "not measured" and row.budget in expected)]


def table(rows: Sequence[Check]) -> str:
    """Print checks as Markdown."""
    lines = ["| budget | case | ratio | interval | bound | |", "|---|---|---|---|---|---|"]
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.4g}"
        interval = "-" if row.low is None else f"{row.low:.4g} to {row.high:.4g}"
        lines.append(f"| {row.budget} | {row.case} | {value} | {interval} | {row.bound} | {row.state} |")
    return "\n".join(lines)


def _budget(entry: Mapping[str, Json]) -> Budget:
    known = {"name", "part", "metric", "case", "rows", "over", "same", "at_most", "at_least", "short", "why"}
    if unknown := entry.keys() - known:
        raise ValueError(f"a budget has no {min(unknown)!r}")
    name, why = str(entry["name"]), str(entry["why"])
    figure = Figure(str(entry["part"]), str(entry["metric"]), _facts(entry.get("case", {})), entry.get("rows"))
    over = _over(entry["over"], figure) if "over" in entry else None
    if over is None and not figure.metric.endswith(RATIO_ENDS):
        raise ValueError(f"{name!r} is no ratio: it needs `over`")
    at_most, at_least = entry.get("at_most"), entry.get("at_least")
    if (at_most is None) == (at_least is None) or not _is_number(at_least if at_most is None else at_most):
        raise ValueError(f"{name!r} needs one bound, a number: at_most or at_least")
    return Budget(name, figure, over, tuple(entry.get("same", ())), at_most, at_least, bool(entry.get("short")), why)


def _over(given: Mapping[str, Json], figure: Figure) -> Figure:
    place = {"part": figure.part, "metric": figure.metric, "rows": None}
    facts = {name: fact for name, fact in given.items() if name not in place}
    return Figure(facts=_facts(facts), **{name: given.get(name, default) for name, default in place.items()})


def _facts(given: Mapping[str, Json]) -> dict[str, str]:
    return {name: as_text(fact) for name, fact in given.items()}


def _checks(recorded: Recorded, budget: Budget) -> list[Check]:
    rows = []
    for found in _values(recorded, budget.figure):
        if budget.over is None:
            rows.append(_against_bound(budget, found.case, ratios.Ratio(found.value, None, None, None, 1, False)))
            continue
        for other in _values(recorded, budget.over):
            if all(found.facts.get(name) == other.facts.get(name) for name in budget.same):
                ratio = _ratio(other, found)
                if ratio is not None:
                    rows.append(_against_bound(budget, _over_what(budget, found, other), ratio))
    if rows:
        return rows
    what = " over ".join(figure.what for figure in (budget.figure, budget.over) if figure is not None)
    return [Check(budget.name, budget.bound, what, None, None, None, "not measured", budget.why)]


def _over_what(budget: Budget, found: _Found, other: _Found) -> str:
    assert budget.over is not None
    if found.case != other.case:
        return f"{found.case} over {other.case}"
    return f"{found.case}, {budget.figure.metric} over {budget.over.metric}"


def _ratio(under: _Found, found: _Found) -> ratios.Ratio | None:
    """Return the ratio of two figures, repeat by repeat where both have the same repeats."""
    paired = under.repeats.keys() == found.repeats.keys()
    sides = [[one.repeats[number] for number in sorted(one.repeats)] for one in (under, found)]
    return ratios.ratio(sides[0], sides[1], paired=paired)


def _against_bound(budget: Budget, case: str, ratio: ratios.Ratio) -> Check:
    # Without an interval the value decides.
    low, high = (ratio.value if end is None else end for end in (ratio.low, ratio.high))
    if budget.at_most is not None:
        beyond, surely = ratio.value > budget.at_most, low > budget.at_most
    else:
        assert budget.at_least is not None
        beyond, surely = ratio.value < budget.at_least, high < budget.at_least
    state: State = "over" if surely else "within noise of it" if beyond else "kept"
    return Check(budget.name, budget.bound, case, ratio.value, ratio.low, ratio.high, state, budget.why)


def _values(recorded: Recorded, figure: Figure) -> list[_Found]:
    if figure.rows is not None:
        listed = recorded.facts.get(figure.part, {}).get(figure.rows, [])
        fitting = [row for row in listed if has(row, figure.facts) and _is_number(row.get(figure.metric))]
        return [_Found(_named(row), row, {0: [float(row[figure.metric])]}) for row in fitting]
    found = []
    for case in recorded.cases:
        facts = {"name": case.name, **case.facts}
        if case.part != figure.part or not has(facts, figure.facts):
            continue
        repeats: dict[int, list[float]] = {}
        for sample in recorded.of(case.part, case.name, figure.metric):
            repeats.setdefault(sample.repeat, []).extend(sample.values)
        if not repeats and _is_number(case.facts.get(figure.metric)):
            repeats[0] = [float(case.facts[figure.metric])]
        if repeats:
            found.append(_Found(case.name, facts, repeats))
    return found


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _named(row: Mapping[str, Json]) -> str:
    return " ".join(as_text(fact) for fact in row.values() if isinstance(fact, str)) or "the only one"
