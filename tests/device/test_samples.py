import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.device.samples import BLANKED, MISSING, RECEIVED, Samples, Written


def at(first, n):
    """Sample k is k in the first lead and k + 0.5 in the second."""
    k = np.arange(first, first + n, dtype=np.float32)
    return np.stack([k, k + 0.5])


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 90), st.integers(1, 40)),
        st.tuples(st.just("put"), st.integers(-120, -1), st.integers(1, 60)),
        st.tuples(st.just("blank"), st.integers(-120, 10), st.integers(0, 60)),
    ),
    max_size=60,
)


@given(steps, st.sampled_from([None, 1, 30, 100, 5000]))
def test_positions_hold_what_was_put_there(steps, capacity):
    """Against a dictionary."""
    samples, model, end = Samples(2, capacity, 7), {}, 7
    for what, offset, n in steps:
        first = end + offset
        oldest = 7 if capacity is None else max(7, end - capacity)
        if what == "append":
            samples.append(first, at(first, n))
            model |= {k: RECEIVED for k in range(first, first + n)}
            end = first + n
        elif what == "blank":
            places = range(max(first, oldest), min(first + n, end))
            assert samples.blank(first, first + n) == sum(model.get(k) == RECEIVED for k in places)
            model |= {k: BLANKED for k in places}
        else:
            places = range(max(first, oldest), min(first + n, end))
            written = samples.put(first, at(first, n))
            if not places:
                assert written == Written(refused=n)
                continue
            new = [k for k in places if model.get(k, MISSING) == MISSING]
            new += range(max(end, places.stop), first + n)
            assert written.new == len(new)
            assert written.same == sum(model.get(k) == RECEIVED for k in places)
            assert written.other == 0
            assert written.new + written.same + written.refused == n
            model |= dict.fromkeys(new, RECEIVED)
            end = max(end, first + n)
        assert (samples.first, samples.end) == (7, end)
    first, newest = samples.newest()
    assert first == samples.oldest == (7 if capacity is None else max(7, end - capacity))
    expected = np.full((2, end - first), np.nan, np.float32)
    for k in range(first, end):
        if model.get(k) == RECEIVED:
            expected[:, k - first] = at(k, 1)[:, 0]
    np.testing.assert_array_equal(newest, expected)
    np.testing.assert_array_equal(samples.newest(5)[1], expected[:, -5:])


def test_what_contradicts_is_not_kept_at_all():
    samples = Samples(2, None, 0)
    samples.append(0, at(0, 10))
    samples.append(20, at(20, 10))
    wrong = at(5, 20)
    wrong[1, 2] += 1
    assert samples.put(5, wrong) == Written(same=9, other=1, refused=10)
    assert np.isnan(samples.newest()[1][:, 10:20]).all()


@pytest.mark.parametrize("capacity", [None, 50])
def test_what_comes_out_is_a_copy(capacity):
    samples = Samples(2, capacity, 0)
    samples.append(0, at(0, 10))
    samples.newest()[1][:] = 0
    np.testing.assert_array_equal(samples.newest()[1], at(0, 10))
