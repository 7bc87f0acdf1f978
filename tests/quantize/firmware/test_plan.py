"""The arena's plan."""

from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.quantize.firmware.plan import ALIGN, Buffer, plan

BUFFERS = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=12).map(
    lambda found: [Buffer(f"b{k}", size, min(a, b), max(a, b)) for k, (size, a, b) in enumerate(found)]
)


@given(BUFFERS)
def test_what_lives_at_once_lies_apart_and_inside(buffers: list[Buffer]) -> None:
    made = plan(buffers)
    for buffer in buffers:
        at = made.offsets[buffer.name]
        assert at % ALIGN == 0
        assert at + buffer.size <= made.size
        for other in buffers:
            if other is not buffer and buffer.meets(other) and buffer.size and other.size:
                there = made.offsets[other.name]
                assert at + buffer.size <= there or there + other.size <= at


@given(BUFFERS)
def test_no_plan_is_smaller_than_its_fullest_step_or_larger_than_all_side_by_side(buffers: list[Buffer]) -> None:
    made = plan(buffers)
    fullest = max(sum(one.size for one in buffers if one.first <= step <= one.last) for step in range(9))
    assert fullest <= made.size <= sum(one.size + ALIGN for one in buffers)


def test_buffers_that_never_meet_share_bytes() -> None:
    made = plan([Buffer("early", 100, 0, 1), Buffer("late", 80, 2, 3)])
    assert made.offsets == {"early": 0, "late": 0}
    assert made.size == 104
