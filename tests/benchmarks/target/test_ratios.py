"""Ratios with intervals: Student's distribution against scipy, coverage, false reports and power over seeded draws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.benchmarks.target import ratios

stats = pytest.importorskip("scipy.stats", reason="the oracle comes with the extra `train`")


def drawn(rng, factor, n, paired, spread=0.007, bursts=0.1):
    """Draw repeats of both sides: a process's own level, bursts of other work in some, and what drifts meanwhile."""
    sides = [[], []]
    for _ in range(n):
        drift = rng.normal(0, 0.3) if paired else 0.0
        for side, level in enumerate((0.0, math.log(factor))):
            log = drift + level + rng.normal(0, spread)
            if rng.random() < bursts / 2:
                log += rng.uniform(0.1, 0.5)
            sides[side].append(list(np.exp(log + rng.gamma(1, 0.03, 60))))
    return sides


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 11, 12, 40, 101])
def test_students_distribution_is_that_of_scipy(df):
    for t in (-2.5, 0.0, 0.3, 1.0, 2.3, 9.0, 60.0):
        assert ratios.both_tails_of_t(t, df) == pytest.approx(2 * stats.t.sf(t, df), abs=1e-12)
    for level in (0.5, 0.95, 0.999):
        assert ratios.quantile_of_t(level, df) == pytest.approx(stats.t.ppf(0.5 + level / 2, df), rel=1e-9)


@given(st.lists(st.none() | st.floats(0, 1), max_size=8))
def test_holms_adjustment_is_the_definition(p_values):
    found = ratios.holm(p_values)
    told = [p for p in p_values if p is not None]
    for p, adjusted in zip(p_values, found, strict=True):
        if p is None:
            assert adjusted is None
            continue
        # The largest, over all that are as small or smaller, of what is left to test times that p.
        smaller = sorted(one for one in told if one <= p)
        wanted = max(min(1.0, (len(told) - rank) * one) for rank, one in enumerate(smaller))
        assert adjusted >= p
        assert adjusted == pytest.approx(wanted) or told.count(p) > 1


@pytest.mark.parametrize("paired", [True, False])
def test_the_same_is_hardly_ever_reported_and_a_tenth_more_nearly_always(paired):
    rng = np.random.default_rng(20)
    outcomes = {factor: [ratios.ratio(*drawn(rng, factor, 12, paired), paired=paired) for _ in range(60)]
                for factor in (1.0, 1.03, 1.1)}  # fmt: skip
    reported = {factor: sum(one.p < 0.05 for one in found) for factor, found in outcomes.items()}
    assert reported[1.0] == 0
    assert reported[1.03] <= 3  # exactly at the smallest effect: one in twenty by design
    assert reported[1.1] >= 55
    for factor, found in outcomes.items():
        assert sum(one.low <= factor <= one.high for one in found) >= 55


def test_drift_falls_out_of_pairs_and_not_of_what_was_measured_apart():
    rng = np.random.default_rng(3)
    a, b = drawn(rng, 1.1, 12, paired=True)
    together, apart = (ratios.ratio(a, b, paired=paired) for paired in (True, False))
    assert together.p < 0.001
    assert together.high - together.low < 0.05
    assert apart.high - apart.low > 5 * (together.high - together.low)


def test_a_thousand_values_of_one_process_are_one_witness():
    rng = np.random.default_rng(4)
    # Each process has a level of its own; values of one process hardly differ.
    few, many = ([[[float(np.exp(level + rng.normal(0, 0.001))) for _ in range(n)] for level in rng.normal(0, 0.1, 6)]
                  for _ in range(2)] for n in (3, 1000))  # fmt: skip
    widths = []
    for a, b in (few, many):
        found = ratios.ratio(a, b, paired=False)
        widths.append(math.log(found.high / found.low))
    assert widths[1] > 0.1
    assert 0.2 < widths[1] / widths[0] < 5


def test_one_burst_does_not_move_a_ratio():
    a = [[1.0, 1.01, 0.99]] * 7
    b = [[1.0, 1.0, 1.0]] * 6 + [[9.0, 9.0, 9.0]]
    assert ratios.ratio(a, b, paired=True).value == pytest.approx(1.0)


@pytest.mark.parametrize("paired", [True, False])
def test_swapped_sides_give_the_inverse(paired):
    a, b = drawn(np.random.default_rng(5), 1.2, 9, paired)
    found, inverse = ratios.ratio(a, b, paired=paired), ratios.ratio(b, a, paired=paired)
    assert found.value * inverse.value == pytest.approx(1.0)
    assert found.low * inverse.high == pytest.approx(1.0, rel=0.02)


def test_medians_of_resamples_are_drawn_from_the_distribution_they_have():
    values = np.sort(np.random.default_rng(6).gamma(2, 1, 41))
    rng = np.random.default_rng(7)
    direct = ratios._medians([values], np.zeros((20000, 1), dtype=np.int64), rng)[:, 0]
    plain = np.median(rng.choice(values, (20000, len(values))), axis=1)
    assert stats.ks_2samp(direct, plain).statistic < 0.02


@pytest.mark.parametrize("paired", [True, False])
def test_few_repeats_have_a_value_and_no_interval(paired):
    found = ratios.ratio([[1.0]] * 4, [[2.0]] * 4, paired=paired)
    assert (found.value, found.low, found.high, found.p, found.repeats) == (2.0, None, None, None, 4)


def test_values_that_never_vary_are_told_apart_or_are_the_same():
    assert ratios.ratio([[2.0]] * 5, [[2.0]] * 5, paired=False).p == 1.0
    differing = ratios.ratio([[2.0]] * 5, [[3.0]] * 5, paired=False)
    assert (differing.p, differing.low, differing.high) == (0.0, pytest.approx(1.5), pytest.approx(1.5))


def test_there_is_no_ratio_to_nothing_and_no_pair_without_a_partner():
    assert ratios.ratio([[0.0]] * 5, [[1.0]] * 5, paired=False) is None
    with pytest.raises(ValueError, match="cannot be paired"):
        ratios.ratio([[1.0]] * 5, [[1.0]] * 4, paired=True)
