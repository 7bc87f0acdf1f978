"""JSON of files that nobody vouches for yet: bounded in size and depth, and with one meaning for every reader."""

import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from lsemvae_edge.errors import BundleError

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def parse(raw: bytes, what: str, next_step: str | None = None) -> Any:
    """Return the value that a JSON text holds.

    Parameters
    ----------
    raw : bytes
        UTF-8.
    what : str
        How messages name the text, at the head of a sentence.
    next_step : str, optional
        See `BundleError`.

    Raises
    ------
    BundleError
        If it is larger than `MAX_BYTES`, nested deeper than `MAX_DEPTH`, no JSON by RFC 8259 (NaN and Infinity are
        none), or an object in it names a key twice.
    """
    if len(raw) > MAX_BYTES:
        raise BundleError(f"{what} is larger than {MAX_BYTES // 1024 // 1024} MB.", next_step)
    if _depth(raw) > MAX_DEPTH:
        raise BundleError(f"{what} is nested deeper than {MAX_DEPTH} levels.", next_step)
    try:
        return json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except _TwiceError as error:
        raise BundleError(f"{what} names the key {error.args[0]!r:.100} twice in one object.", next_step) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{what} is not readable JSON.", next_step) from error


class _TwiceError(ValueError):
    pass


def _depth(raw: bytes) -> int:
    """Count the open brackets outside strings, up to one more than what is allowed; cheap before anything is built."""
    depth = deepest = 0
    for bracket in _STRING.sub(b"", raw).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > deepest:
            deepest = depth
            if deepest > MAX_DEPTH:
                break
    return deepest


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(key)
        found[key] = value
    return found


def _no_number(constant: str) -> NoReturn:
    raise ValueError(constant)
