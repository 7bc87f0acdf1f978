"""The integer numbers of the C library: exact where they say so, and without undefined behaviour at the ends."""

import ctypes
import math
from fractions import Fraction
from zlib import crc32

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lsemvae_edge.quantize.firmware.host import Library

U64 = st.integers(0, 2**64 - 1)
"""Hypothesis draws small ones as often as large ones."""
SATURATED = 2**31 - 1
LONGEST = 928
"""Nothing longer than a window is sorted."""

values = st.one_of(U64, st.integers(0, 63).flatmap(lambda bits: st.integers(0, 2 << bits)))


@pytest.fixture(scope="module")
def c(firmware) -> ctypes.CDLL:
    """The library that stops at undefined behaviour."""
    library: Library = firmware.library("small", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    made = library.c
    for name, result, arguments in (
        ("root", ctypes.c_uint32, [ctypes.c_uint64]),
        ("div", ctypes.c_int64, [ctypes.c_int64] * 2),
        ("ratio", ctypes.c_int32, [ctypes.c_uint64] * 2),
        ("cosine", ctypes.c_int32, [ctypes.c_uint32]),
        ("crc32", ctypes.c_uint32, [ctypes.c_char_p, ctypes.c_size_t]),
    ):
        function = getattr(made, f"lsemvae_{name}")
        function.restype, function.argtypes = result, arguments
    return made


@given(values)
@example(2**64 - 1)
@example((2**32 - 1) ** 2)
@example((2**32 - 1) ** 2 - 1)
@settings(max_examples=400)
def test_a_root_is_the_whole_part_of_the_true_one(c, value) -> None:
    assert c.lsemvae_root(value) == math.isqrt(value)


@given(st.integers(0, 2**32 - 1))
def test_the_root_of_a_square_is_exact_and_changes_just_there(c, root) -> None:
    assert c.lsemvae_root(root * root) == root
    if root:
        assert c.lsemvae_root(root * root - 1) == root - 1


@given(st.integers(-(2**63), 2**63 - 1), st.one_of(st.integers(1, 1000), st.integers(1, 2**63 - 1)))
@example(-(2**63), 1)
@example(2**63 - 1, 1)
@example(2**63 - 1, 2)
@example(-(2**63), 2**63 - 1)
@settings(max_examples=400)
def test_division_rounds_to_nearest_and_halves_away_from_zero(c, numerator, denominator) -> None:
    wanted = math.floor(abs(Fraction(numerator, denominator)) + Fraction(1, 2))
    assert c.lsemvae_div(numerator, denominator) == (-wanted if numerator < 0 else wanted)


@given(st.integers(-(2**30), 2**30), st.integers(1, 2**30))
def test_division_is_odd_and_a_half_leaves_zero(c, whole, half) -> None:
    assert c.lsemvae_div(-whole, half) == -c.lsemvae_div(whole, half)
    assert c.lsemvae_div(half * (2 * whole + 1), 2 * half) == whole + (1 if whole >= 0 else 0)


@given(values, values)
@example(0, 0)
@example(1, 0)
@example(2**64 - 1, 2**64 - 1)
@example(2**64 - 2, 2**64 - 1)
@example(32768, 1)
@example(2**64 - 1, 2**49)
@settings(max_examples=400)
def test_a_ratio_has_16_fractional_bits_and_saturates(c, numerator, denominator) -> None:
    found = c.lsemvae_ratio(numerator, denominator)
    if denominator == 0:
        assert found == (SATURATED if numerator else 0)
        return
    exact = Fraction(numerator << 16, denominator)
    assert min(exact, SATURATED) - 1 < found <= min(exact + 1, SATURATED)
    if denominator < 2**48:
        assert found == min(math.floor(exact), SATURATED)


@pytest.mark.parametrize("kind", ["i32", "u32"])
@given(data=st.data())
@settings(max_examples=80)
def test_sorting_is_numpys(c, kind, data) -> None:
    ends = (-(2**31), 2**31 - 1) if kind == "i32" else (0, 2**32 - 1)
    near = st.integers(max(ends[0], -2), 2)
    drawn = data.draw(st.one_of(st.lists(st.integers(*ends), max_size=120), st.lists(near, max_size=120)))
    check_sorted(c, kind, np.array(drawn, dtype=np.int32 if kind == "i32" else np.uint32))


@pytest.mark.parametrize("kind", ["i32", "u32"])
@pytest.mark.parametrize("n", [1, 2, 699, 700, 701, 702, LONGEST])
def test_a_whole_window_is_sorted_whatever_its_order(c, kind, n) -> None:
    dtype = np.dtype(np.int32 if kind == "i32" else np.uint32)
    rng, ends = np.random.default_rng(n), np.iinfo(dtype)
    wild = rng.integers(ends.min, ends.max, n, dtype=dtype, endpoint=True)
    rising = np.sort(wild)
    for order in (wild, rising, rising[::-1], np.repeat(wild[:1], n), wild % 3, np.roll(rising, 1)):
        check_sorted(c, kind, order.astype(dtype))


def check_sorted(c: ctypes.CDLL, kind: str, drawn: np.ndarray) -> None:
    beyond = np.array([7, 5, 3], dtype=drawn.dtype)
    room = np.concatenate([drawn, beyond])
    getattr(c, f"lsemvae_sort_{kind}")(room.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(drawn.size))
    np.testing.assert_array_equal(room[: drawn.size], np.sort(drawn))
    np.testing.assert_array_equal(room[drawn.size :], beyond)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=400)
def test_cosine_is_the_true_one_to_one_in_ten_thousand(c, turn) -> None:
    assert abs(c.lsemvae_cosine(turn) - 32767 * math.cos(2 * math.pi * turn / 2**32)) < 1e-4 * 32767


@given(st.integers(0, 2**32 - 1))
def test_cosine_is_even_and_half_a_turn_turns_its_sign(c, turn) -> None:
    assert c.lsemvae_cosine(-turn % 2**32) == c.lsemvae_cosine(turn)
    assert c.lsemvae_cosine((turn + 2**31) % 2**32) == -c.lsemvae_cosine(turn)


def test_cosine_is_exact_at_quarter_turns_and_falls_between(c) -> None:
    assert [c.lsemvae_cosine(k << 30) for k in range(4)] == [32767, 0, -32767, 0]
    falling = [c.lsemvae_cosine(turn) for turn in range(0, 2**31, 2**31 // 4096)]
    assert (np.diff(falling) <= 0).all()


@given(st.binary(max_size=300))
@example(b"123456789")
@example(b"")
def test_the_checksum_is_that_of_zlib(c, told) -> None:
    assert c.lsemvae_crc32(told, len(told)) == crc32(told)


def test_an_image_is_checked_by_it(c, firmware) -> None:
    data = firmware.firmware("small").image
    covered = data.tobytes()[data.dtype.fields["layout"][1] :]
    assert c.lsemvae_crc32(covered, len(covered)) == int(data["crc"])


def test_samples_in_a_time_are_rounded_as_python_rounds(firmware, numbers_of_c) -> None:
    times_ms = [*range(0, 140, 4), 200, 360, 450, 2000, 9996]
    found = numbers_of_c(firmware.folder("small"), *(f"LSEMVAE_SAMPLES({ms}u)" for ms in times_ms))
    assert found == [round(Fraction(ms * 125, 1000)) for ms in times_ms]
