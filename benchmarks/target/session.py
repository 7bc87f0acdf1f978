"""A session: a folder that keeps what was run, on what host, every raw sample, and the summary that follows from them.

========================  ==================================================================================
``host.json``             Facts of the machine when the session began (`lsemvae_edge.benchmarks.target.host`)
``samples.jsonl``         Every case, sample, fact and skipped thing, a line each, in the order it was measured
``log.txt``               What was said meanwhile
``summary.json``          Order statistics of each case and metric; follows from the two first files alone
========================  ==================================================================================

``bench-session-1.schema.json`` beside this file is the JSON schema of the summary, and of each line of the samples.
Every line is on its way to the disk before the next one is measured, so that a session that was killed can be read up
to its last whole line.

A *part* is one command (``latency``), a *case* is what it measured (one runtime with one file and so many threads), a
*metric* is a name that ends in its unit (``inference_ms``), a *repeat* is one process, or one round, of a case.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from lsemvae_edge import __version__
from lsemvae_edge.benchmarks import proof
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.statistics import median, quantile

SCHEMA = "lsemvae-edge/bench-session/1"
SCHEMA_FILE = Path(__file__).with_name("bench-session-1.schema.json")
HOST, SAMPLES, LOG, SUMMARY = "host.json", "samples.jsonl", "log.txt", "summary.json"
KINDS = {
    "about": "AboutLine",
    "case": "CaseLine",
    "sample": "SampleLine",
    "fact": "FactLine",
    "skipped": "SkippedLine",
    "end": "EndLine",
}
"""Kinds of lines, each with its definition in the schema."""
DONE = "done"
"""How a session ended that no error ended."""
HIGHER_IS_BETTER = ("_per_s", "_x_real_time", "auroc")
"""Ends of the names of metrics of which more is better; of all others, less."""

Json = Any
Say = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """What a part measured: plain facts that tell it from the other cases of the part."""

    part: str
    name: str
    facts: Mapping[str, Json]


@dataclass(frozen=True)
class Sample:
    """The values of one metric in one repeat of a case, in the order in which they were measured."""

    part: str
    case: str
    metric: str
    repeat: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class Skipped:
    """What a part could have measured and did not, and why."""

    part: str
    what: str
    reason: str


@dataclass
class Recorded:
    """All that a session folder says.

    ``facts`` are results that are no samples, by part and name: a count of multiply-adds, a table of AUROCs. ``ended``
    is `DONE`, the name of the error that ended the session, or None if it was killed or still runs; ``cut`` tells that
    half a line at the end was left out.
    """

    host: Mapping[str, Json]
    about: Mapping[str, Json] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    facts: dict[str, dict[str, Json]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    ended: str | None = None
    cut: bool = False

    def of(self, part: str, case: str, metric: str) -> list[Sample]:
        """Return the samples of one metric of one case, in order of time."""
        return [one for one in self.samples if (one.part, one.case, one.metric) == (part, case, metric)]


class Session:
    """Writes a session folder; a context manager whose end, also by an error, writes the summary.

    Parameters
    ----------
    folder : Path
        New or empty.
    host : mapping
        Facts of the machine, plain JSON values.
    bundles : sequence of Bundle
        What is measured; identifier and digest of each are kept.
    seed : int
        Of everything random.
    say : callable
        Told of progress, as the log is.

    Raises
    ------
    UsageError
        If the folder holds something, or is none.
    """

    def __init__(
        self, folder: Path, host: Mapping[str, Json], bundles: Sequence[Bundle], seed: int, say: Say = lambda _: None
    ) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is not an empty folder.", "Name a new one: a session is never added to.")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.seed = folder, seed
        self._say = say
        self._described: dict[tuple[str, str], Mapping[str, Json]] = {}
        (folder / HOST).write_text(json.dumps(host, indent=1) + "\n")
        self._stream = (folder / SAMPLES).open("w")
        self._log = (folder / LOG).open("w")
        self._write(
            "about",
            schema=SCHEMA,
            software_version=__version__,
            seed=seed,
            bundles=[
                {"id": bundle.spec.id, "sha256": bundle.sha256, "stand_in": bundle.spec.intended_use.stand_in}
                for bundle in bundles
            ],
            **proof.provenance(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None:
            self.say(f"ended by {type(error).__name__}: {error}")
        self._write("end", by=DONE if error is None else type(error).__name__)
        self._stream.close()
        self._log.close()
        write_summary(self.folder)

    def say(self, text: str) -> None:
        """Tell of progress, on the terminal and in the log."""
        self._log.write(f"{_now()} {text}\n")
        self._log.flush()
        self._say(text)

    def case(self, part: str, name: str, **facts: Json) -> str:
        """Describe a case before its first sample, and return its name.

        Raises
        ------
        ValueError
            If another case of the part has this name.
        """
        known = self._described.setdefault((part, name), facts)
        if known is facts:
            self._write("case", part=part, name=name, facts=facts)
        elif known != facts:
            raise ValueError(f"{part} has two cases {name!r}: {known} and {facts}")
        return name

    def sample(self, part: str, case: str, metric: str, repeat: int, values: float | Iterable[float]) -> None:
        """Keep the values of one metric in one repeat, to six significant digits: no clock here tells more.

        Raises
        ------
        ValueError
            If there are none, one is no number, or the case was not described.
        """
        if (part, case) not in self._described:
            raise ValueError(f"{part} has no case {case!r}: describe it first")
        listed = [float(f"{value:.6g}") for value in ([values] if isinstance(values, int | float) else values)]
        if not listed or not all(math.isfinite(value) for value in listed):
            raise ValueError(f"{part}, {case}: {metric} has no values, or one that is no number")
        self._write("sample", part=part, case=case, metric=metric, repeat=repeat, values=listed)

    def fact(self, part: str, name: str, value: Json) -> None:
        """Keep a result that is no sample; the last one of a name counts."""
        self._write("fact", part=part, name=name, value=value)

    def skip(self, part: str, what: str, reason: str) -> None:
        """Keep what was not measured, and why."""
        self._write("skipped", part=part, what=what, reason=reason)
        self.say(f"{part}: {what} skipped: {reason}")

    def _write(self, kind: str, **facts: Json) -> None:
        self._stream.write(json.dumps({"kind": kind, **facts}, allow_nan=False) + "\n")
        self._stream.flush()


def read(folder: Path) -> Recorded:
    """Read a session folder, up to its last whole line.

    Raises
    ------
    BadInputError
        If it is none, or a line of it is damaged.
    """
    where = ""
    try:
        facts = _parse((folder / HOST).read_bytes())
        if not isinstance(facts, dict):
            raise ValueError(f"{HOST} holds no facts")
        recorded = Recorded(facts)
        *lines, last = (folder / SAMPLES).read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            where = f", line {number}"
            _take(recorded, _checked(_parse(line)))
        recorded.cut = last != b""
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"{folder} is no session of `bench`{where}: {error}", "Name the folder of a session."
        ) from error
    if not recorded.about:
        raise BadInputError(f"{folder} holds no session: it ended before anything was kept.", "Measure again.")
    return recorded


def read_summary(folder: Path) -> dict[str, Json]:
    """Read the summary of a session as it was written, and hold it against its schema.

    Raises
    ------
    BadInputError
        If there is none, or it does not fit.
    """
    import fastjsonschema

    try:
        summary: dict[str, Json] = _parse((folder / SUMMARY).read_bytes())
        _validator()(summary)
    except (OSError, ValueError, fastjsonschema.JsonSchemaValueException) as error:
        raise BadInputError(
            f"{folder / SUMMARY} is no summary of a session: {error}",
            "Derive it anew: lsemvae-edge bench report FOLDER",
        ) from error
    return summary


def summarize(recorded: Recorded) -> dict[str, Json]:
    """Derive the summary: order statistics of each case and metric, facts and skipped things.

    ``spread`` is the range of the medians of the repeats over the median of them: how far a figure moves from one
    process to the next. It is None for one repeat.
    """
    parts: dict[str, dict[str, Json]] = {}
    for name in dict.fromkeys([*(case.part for case in recorded.cases), *recorded.facts]):
        parts[name] = {"cases": [], "facts": recorded.facts.get(name, {})}
    grouped: dict[tuple[str, str], dict[str, list[Sample]]] = {}
    for sample in recorded.samples:
        grouped.setdefault((sample.part, sample.case), {}).setdefault(sample.metric, []).append(sample)
    for case in recorded.cases:
        metrics = grouped.get((case.part, case.name), {})
        shown = {metric: statistics(samples) for metric, samples in metrics.items()}
        parts[case.part]["cases"].append({"name": case.name, "facts": dict(case.facts), "metrics": shown})
    skipped = [{"part": one.part, "what": one.what, "reason": one.reason} for one in recorded.skipped]
    ended = {"ended": recorded.ended, "cut": recorded.cut}
    return {**recorded.about, **ended, "host": dict(recorded.host), "parts": parts, "skipped": skipped}


def statistics(samples: Sequence[Sample]) -> dict[str, Json]:
    """Return count, median, 90th and 99th percentile, extremes, and the spread over repeats."""
    values = [value for sample in samples for value in sample.values]
    repeats: dict[int, list[float]] = {}
    for sample in samples:
        repeats.setdefault(sample.repeat, []).extend(sample.values)
    medians = [float(median(one)) for one in repeats.values()]
    middle = float(median(medians))
    return {
        "n": len(values),
        "repeats": len(repeats),
        "p50": float(median(values)),
        "p90": float(quantile(values, 0.9)),
        "p99": float(quantile(values, 0.99)),
        "min": min(values),
        "max": max(values),
        "spread": (max(medians) - min(medians)) / middle if len(medians) > 1 and middle else None,
    }


def write_summary(folder: Path) -> dict[str, Json]:
    """Derive the summary of a folder anew, write it whole, and return it."""
    summary = summarize(read(folder))
    draft = folder / f"{SUMMARY}.{os.getpid()}.part"
    draft.write_text(json.dumps(summary, indent=1) + "\n")
    draft.replace(folder / SUMMARY)
    return summary


def _parse(text: bytes) -> Json:
    return json.loads(text, parse_constant=_no_number)


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


@cache
def _validator(definition: str | None = None) -> Callable[[Json], Json]:
    """Return the validator of a summary, or of a definition in its schema, compiled from the schema as published."""
    import fastjsonschema

    schema = json.loads(SCHEMA_FILE.read_bytes())
    if definition is not None:
        schema = {**schema["definitions"][definition], **{key: schema[key] for key in ("$schema", "definitions")}}
    validator: Callable[[Json], Json] = fastjsonschema.compile(schema)
    return validator


def _checked(line: Json) -> dict[str, Json]:
    """Return a line that fits the schema's definition of its kind."""
    import fastjsonschema

    kind = line.get("kind") if isinstance(line, dict) else None
    if kind not in KINDS:
        raise ValueError(f"a line of kind {kind!r}")
    try:
        checked: dict[str, Json] = _validator(KINDS[kind])(line)
    except fastjsonschema.JsonSchemaValueException as error:
        raise ValueError(f"a line of kind {kind!r}: {error.message:.200}") from error
    return checked


def _take(recorded: Recorded, line: dict[str, Json]) -> None:
    kind = line.pop("kind")
    if bool(recorded.about) == (kind == "about"):
        raise ValueError("what was measured stands in its first line, and only there")
    match kind:
        case "about":
            recorded.about = line
        case "case":
            recorded.cases.append(Case(**line))
        case "sample":
            if not any((case.part, case.name) == (line["part"], line["case"]) for case in recorded.cases):
                raise ValueError(f"a sample of {line['part']}, {line['case']}, which is not described")
            recorded.samples.append(Sample(**{**line, "values": tuple(line["values"])}))
        case "fact":
            recorded.facts.setdefault(line["part"], {})[line["name"]] = line["value"]
        case "skipped":
            recorded.skipped.append(Skipped(**line))
        case "end":
            recorded.ended = line["by"]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
