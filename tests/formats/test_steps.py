"""One rule for the size of a count, whatever the format."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.formats import steps

POWERS = range(-7, 4)


@given(st.floats(0.0, 1.6e8))
def test_the_step_holds_the_value_and_the_one_below_it_does_not(largest):
    step = steps.smallest(largest, POWERS)
    assert step is not None
    assert largest <= steps.LARGEST * float(step)
    allowed = sorted(Decimal(digit).scaleb(power) for power in POWERS for digit in (1, 2, 5))
    below = allowed[: allowed.index(step)]
    assert not below or largest > steps.LARGEST * float(below[-1])


@pytest.mark.parametrize(
    ("largest", "powers", "step"),
    [
        (0.0, POWERS, "0.0000001"),
        (0.0, range(-5, 3), "0.00001"),
        (32767 * 5e2, range(-5, 3), "500"),
        (32767 * 5.001e2, range(-5, 3), None),
        (float("inf"), POWERS, None),
        (float("nan"), POWERS, None),
    ],
)
def test_a_format_bounds_its_steps(largest, powers, step):
    assert steps.smallest(largest, powers) == (None if step is None else Decimal(step))
