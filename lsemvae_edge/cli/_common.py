"""What the commands share: the type of the subparsers, and JSON on a line."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from lsemvae_edge.errors import UsageError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = Any


def add_json(parser: argparse.ArgumentParser) -> None:
    """Give a command its ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of text")


def print_json(value: Any) -> None:
    """Print one object on one line."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False), flush=True)


def say(text: str) -> None:
    """Tell a person what is going on, apart from the result."""
    print(text, file=sys.stderr, flush=True)


def parse_options(given: list[str]) -> dict[str, str]:
    """Return ``KEY=VALUE`` arguments as a mapping.

    Raises
    ------
    UsageError
        If one of them is something else.
    """
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"An option is KEY=VALUE, not {text!r}.")
        found[key] = value
    return found
