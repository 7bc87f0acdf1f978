"""Notifications that no recorder sends, and how much a decoder has kept of them."""

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from lsemvae_edge.device.driver import Driver
from lsemvae_edge.device.virtual.recorder import Message

LONG = 600
"""Bytes, more than any attribute value holds."""

_STRANGER = "00000000-0000-0000-0000-00000000dead"


def nonsense(driver: Driver, good: Sequence[Message], n: int, seed: int) -> Iterator[Message]:
    """Make ``n`` bad notifications: short, long, noise, and good ones cut, extended, flipped and mixed up."""
    rng = random.Random(seed)  # noqa: S311  # no secret depends on it
    places = (*driver.description.notifies, _STRANGER)
    made = 0
    for uuid in places:
        for data in (b"", *(bytes([k]) for k in range(256)), bytes(LONG), b"\xff" * LONG):
            if made < n:
                yield uuid, data
                made += 1
    for _ in range(n - made):
        uuid = rng.choice(places)
        if not good or rng.random() < 0.3:
            yield uuid, rng.randbytes(rng.choice((2, 5, 10, 20, 60, 244)))
            continue
        place, data = rng.choice(good)
        yield (place if rng.random() < 0.9 else uuid), _spoilt(rng, data)


def _spoilt(rng: random.Random, data: bytes) -> bytes:
    kind = rng.randrange(5)
    if kind == 0 or not data:
        return data
    if kind == 1:
        return data[: rng.randrange(len(data))]
    if kind == 2:
        return data + rng.randbytes(rng.randrange(1, 20))
    spoilt = bytearray(data)
    for _ in range(1 if kind == 3 else 8):
        # Headers are where a decoder can be misled.
        at = rng.randrange(min(len(data), 24) if rng.random() < 0.5 else len(data))
        spoilt[at] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def kept_bytes(thing: Any, seen: set[int] | None = None) -> int:
    """Count the bytes that can be reached from a decoder, without what all share: classes, modules, functions."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, type | ModuleType | FunctionType):
        return 0
    seen.add(id(thing))
    size = sys.getsizeof(thing)
    if isinstance(thing, np.ndarray):
        base = 0 if thing.base is None else kept_bytes(thing.base, seen)
        return size + base
    inside: list[Any] = []
    if isinstance(thing, Mapping):
        inside += [*thing.keys(), *thing.values()]
    elif hasattr(thing, "__iter__") and hasattr(thing, "__len__") and not isinstance(thing, str | bytes | bytearray):
        inside += list(thing)
    inside += vars(thing).values() if hasattr(thing, "__dict__") else ()
    slots = (name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ()))
    inside += [getattr(thing, name) for name in slots if hasattr(thing, name)]
    return size + sum(kept_bytes(part, seen) for part in inside)
