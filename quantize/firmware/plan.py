"""Where buffers lie in the arena: those that are never alive together share bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALIGN = 8


@dataclass(frozen=True)
class Buffer:
    """Bytes that must survive from one step to another, both included."""

    name: str
    size: int
    first: int
    last: int

    def meets(self, other: "Buffer") -> bool:
        """Whether both are alive at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """Offsets of buffers, each aligned to `ALIGN`, and the bytes that hold them all."""

    offsets: Mapping[str, int]
    size: int


def plan(buffers: Sequence[Buffer]) -> Plan:
    """Place buffers greedily, the largest first, each at the lowest offset that no living neighbour covers.

    The greedy order by size is the usual one for inference arenas (Pisarchyk and Lee 2020, arXiv:2001.03288).
    """
    placed: list[tuple[Buffer, int]] = []
    for buffer in sorted(buffers, key=lambda one: -one.size):
        offset = 0
        for other, at in sorted(placed, key=lambda one: one[1]):
            if buffer.meets(other) and offset + buffer.size > at:
                offset = max(offset, aligned(at + other.size))
        placed.append((buffer, offset))
    return Plan(
        {buffer.name: offset for buffer, offset in placed},
        aligned(max((offset + buffer.size for buffer, offset in placed), default=0)),
    )


def aligned(size: int) -> int:
    """Round up to a multiple of `ALIGN`."""
    return -(-size // ALIGN) * ALIGN
