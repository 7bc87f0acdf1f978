"""Boards that a kiosk may run on, and what others published of them: for reference, never among what was measured.

``boards.toml`` beside this file holds the figures, each with its source.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lsemvae_edge.benchmarks.target.session import Json

FILE = Path(__file__).with_name("boards.toml")


@dataclass(frozen=True)
class Source:
    """Where figures stand."""

    title: str
    url: str


@dataclass(frozen=True)
class Figure:
    """A published time of another model: what, milliseconds, with which software, and where it stands."""

    what: str
    ms: float
    with_: str
    source: Source


@dataclass(frozen=True)
class Board:
    """What a board is.

    Parameters
    ----------
    name : str
    model : str
        How the text begins by which the board names itself.
    processor, caches, int8, memory, supply : str
        ``caches`` is empty where no source tells them; ``int8``: the instructions that decide how quick int8 is.
    ghz : float
    linux_memory_mb : float or None
        What Linux has of the memory, in MB (10⁶ bytes), where a source tells it.
    sources : tuple of Source
        Of all that.
    published : tuple of Figure
    """

    name: str
    model: str
    processor: str
    ghz: float
    caches: str
    int8: str
    memory: str
    supply: str
    linux_memory_mb: float | None
    sources: tuple[Source, ...]
    published: tuple[Figure, ...]


@cache
def boards() -> tuple[Board, ...]:
    """Return all boards that are described."""
    told = tomllib.loads(FILE.read_text())
    sources = {name: Source(**facts) for name, facts in told["sources"].items()}
    return tuple(_board(facts, sources) for facts in told["board"])


def of_host(facts: Mapping[str, Json]) -> Board | None:
    """Return the description of the board that a session was measured on; None for another machine.

    Parameters
    ----------
    facts : mapping
        Of the host, as a session keeps them.
    """
    named = str(facts.get("board") or "")
    # "Raspberry Pi 4" also begins a Compute Module's name only if that names itself so; the longest name wins.
    alike = [board for board in boards() if named == board.model or named.startswith(f"{board.model} ")]
    return max(alike, key=lambda board: len(board.model), default=None)


def rows(board: Board) -> list[tuple[str, str]]:
    """Return what a board is, as pairs of texts."""
    memory = f"; {board.linux_memory_mb:.1f} MB (10⁶ bytes)" if board.linux_memory_mb else ""
    found = [
        ("processor", f"{board.processor}, {board.ghz:g} GHz"),
        ("caches", board.caches),
        ("int8", board.int8),
        ("memory", board.memory + memory),
        ("supply", board.supply),
    ]
    return [(name, text) for name, text in found if text]


def markdown(board: Board) -> str:
    """Return a board as Markdown, each figure with its source."""
    lines = [f"### {board.name}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in rows(board)]
    lines += ["", f"From: {'; '.join(_link(source) for source in board.sources)}", ""]
    lines += ["| Published by others | ms | With | Source |", "|---|---:|---|---|"]
    lines += [f"| {one.what} | {one.ms:g} | {one.with_} | {_link(one.source)} |" for one in board.published]
    return "\n".join(lines)


def _link(source: Source) -> str:
    return f"[{source.title}]({source.url})"


def _board(facts: Mapping[str, Json], sources: Mapping[str, Source]) -> Board:
    kilobytes = facts.get("linux_memory_kb")
    return Board(
        name=facts["name"],
        model=facts["model"],
        processor=facts["processor"],
        ghz=float(facts["ghz"]),
        caches=facts.get("caches", ""),
        int8=facts["int8"],
        memory=facts["memory"],
        supply=facts["supply"],
        linux_memory_mb=None if kilobytes is None else kilobytes * 1024 / 1e6,
        sources=tuple(sources[name] for name in facts["from"]),
        published=tuple(
            Figure(one["what"], float(one["ms"]), one["with"], sources[one["source"]]) for one in facts["published"]
        ),
    )
