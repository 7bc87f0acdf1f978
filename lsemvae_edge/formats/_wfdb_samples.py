"""WFDB signal files: bytes to integers for each storage format."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Decoder = Callable[[NDArray[np.uint8], int], NDArray[Any]]


@dataclass(frozen=True)
class Storage:
    """How a WFDB storage format keeps its samples.

    Parameters
    ----------
    missing : int
        The value that stands for a sample that was not received.
    n_bytes : callable
        Bytes that a number of samples takes.
    decode : callable
        Bytes (uint8, at least that many) and number of samples to integers (n_samples,).
    """

    missing: int
    n_bytes: Callable[[int], int]
    decode: Decoder


def _plain(dtype: str, offset: int = 0) -> Decoder:
    size = np.dtype(dtype).itemsize

    def decode(raw: NDArray[np.uint8], n_samples: int) -> NDArray[Any]:
        values = np.frombuffer(raw[: n_samples * size].tobytes(), dtype)
        return values.astype(np.int32) - offset if offset else values

    return decode


def _decode_24(raw: NDArray[np.uint8], n_samples: int) -> NDArray[Any]:
    triples = raw[: 3 * n_samples].reshape(-1, 3).astype(np.int32)
    return _signed(triples[:, 0] | triples[:, 1] << 8 | triples[:, 2] << 16, 24)


def _decode_212(raw: NDArray[np.uint8], n_samples: int) -> NDArray[Any]:
    """Two 12-bit samples in three bytes; the middle byte holds the high nibbles, the first sample's below."""
    b = _grouped(raw, 3)
    pairs = np.stack([b[:, 0] | (b[:, 1] & 0x0F) << 8, b[:, 2] | (b[:, 1] & 0xF0) << 4], axis=1)
    return _signed(pairs.reshape(-1)[:n_samples], 12)


def _decode_310(raw: NDArray[np.uint8], n_samples: int) -> NDArray[Any]:
    """Three 10-bit samples in two 16-bit words: each word's bits 1-10, and bits 11-15 of both for the third."""
    b = _grouped(raw, 4)
    low, high = b[:, 0] | b[:, 1] << 8, b[:, 2] | b[:, 3] << 8
    triples = np.stack([low >> 1 & 0x3FF, high >> 1 & 0x3FF, low >> 11 | high >> 11 << 5], axis=1)
    return _signed(triples.reshape(-1)[:n_samples], 10)


def _decode_311(raw: NDArray[np.uint8], n_samples: int) -> NDArray[Any]:
    """Three 10-bit samples in the low 30 bits of a 32-bit word, the first lowest."""
    b = _grouped(raw, 4)
    word = b[:, 0] | b[:, 1] << 8 | b[:, 2] << 16 | (b[:, 3] & 0x3F) << 24
    triples = np.stack([word & 0x3FF, word >> 10 & 0x3FF, word >> 20 & 0x3FF], axis=1)
    return _signed(triples.reshape(-1)[:n_samples], 10)


def _grouped(raw: NDArray[np.uint8], size: int) -> NDArray[np.int32]:
    """Rows of ``size`` bytes, the last filled with zeros."""
    filled = np.zeros(-(-raw.size // size) * size, dtype=np.int32)
    filled[: raw.size] = raw
    return filled.reshape(-1, size)


def _signed(values: NDArray[np.int32], bits: int) -> NDArray[np.int32]:
    half = 1 << (bits - 1)
    return (values ^ half) - half


def _fixed(size: int) -> Callable[[int], int]:
    return lambda n: n * size


STORAGES: Mapping[str, Storage] = {
    "16": Storage(-(1 << 15), _fixed(2), _plain("<i2")),
    "24": Storage(-(1 << 23), _fixed(3), _decode_24),
    "32": Storage(-(1 << 31), _fixed(4), _plain("<i4")),
    "61": Storage(-(1 << 15), _fixed(2), _plain(">i2")),
    "80": Storage(-(1 << 7), _fixed(1), _plain("u1", offset=1 << 7)),
    "160": Storage(-(1 << 15), _fixed(2), _plain("<u2", offset=1 << 15)),
    "212": Storage(-(1 << 11), lambda n: -(-n * 3 // 2), _decode_212),
    # The second of three samples lies in the second word, so two take as many bytes as three.
    "310": Storage(-(1 << 9), lambda n: n // 3 * 4 + n % 3 * 2, _decode_310),
    "311": Storage(-(1 << 9), lambda n: -(-n * 4 // 3), _decode_311),
}
"""By the number that stands in the header."""
