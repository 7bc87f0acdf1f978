"""Whole numbers for a signal: exact to half a step, and the step as small as sixteen bits admit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.errors import UsageError
from lsemvae_edge.exchange.counts import count
from lsemvae_edge.formats.steps import LARGEST


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=50))
def test_counts_times_the_step_are_the_signal(values):
    signal = np.array([values], dtype=np.float32)
    found = count(signal)
    step = float(found.step)
    np.testing.assert_allclose(found.values * step, signal, atol=0.5001 * step, rtol=1e-6)
    assert np.abs(found.values.astype(int)).max() <= LARGEST


@pytest.mark.parametrize(("largest", "step"), [(0.0, "1E-7"), (3.2, "0.0001"), (3.3, "0.0002"), (20.0, "0.001")])
def test_the_step_is_the_smallest_that_holds_the_largest_value(largest, step):
    assert str(count(np.array([[largest, np.nan]])).step) == step


def test_gaps_are_zero_and_the_empty_signal_has_no_counts():
    assert count(np.array([[np.nan, 1.0]])).values[0, 0] == 0
    assert count(np.empty((2, 0))).values.shape == (2, 0)


def test_values_beyond_sixteen_bits_are_refused():
    with pytest.raises(UsageError):
        count(np.array([[1e9]]))
