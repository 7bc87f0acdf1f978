"""The native format keeps everything, bit for bit, and notices any change."""

from datetime import UTC, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lsemvae_edge import formats
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.formats import native
from lsemvae_edge.record import Record

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "Resp", "MLII")

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=45))])),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=5).filter(lambda key: not key.startswith("$")), inner, max_size=3),
    ),
    max_leaves=6,
)


@st.composite
def records(draw):
    leads = draw(st.lists(st.sampled_from(LEADS), min_size=1, max_size=4, unique=True))
    shape = (len(leads), draw(st.integers(0, 40)))
    return Record(
        signal_mv=draw(hnp.arrays(np.float32, shape, elements=st.floats(width=32))),
        fs_hz=draw(st.floats(1e-3, 1e6)),
        leads=tuple(leads),
        gaps=draw(st.none() | hnp.arrays(bool, shape)),
        started_at=draw(
            st.none() | st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-3))]))
        ),
        meta=draw(st.dictionaries(st.text(max_size=5).filter(lambda key: not key.startswith("$")), values, max_size=3)),
        amplitude=draw(st.sampled_from(["calibrated", "uncalibrated", "relative"])),
        origin=draw(st.sampled_from(["live", "file", "demo", "simulated"])),
    )


@settings(max_examples=80, deadline=None, derandomize=True)
@given(records())
def test_every_field_comes_back_bit_for_bit(record):
    back = native.decode(native.encode(record))
    assert back.signal_mv.tobytes() == record.signal_mv.tobytes()
    assert back.gaps.tobytes() == record.gaps.tobytes()
    assert back.meta == record.meta
    assert (back.fs_hz, back.leads, back.amplitude, back.origin) == (
        record.fs_hz, record.leads, record.amplitude, record.origin,
    )  # fmt: skip
    assert back.started_at == record.started_at
    assert (back.started_at and back.started_at.utcoffset()) == (record.started_at and record.started_at.utcoffset())
    assert back.sha256() == record.sha256()


def test_not_a_number_in_meta_comes_back():
    record = Record(np.zeros((1, 2), np.float32), 100.0, ("I",), meta={"x": float("nan"), "n": np.float32(0.25)})
    meta = native.decode(native.encode(record)).meta
    assert np.isnan(meta["x"])
    assert meta["n"] == 0.25


def test_every_single_bit_matters(make_record):
    data = native.encode(make_record(20))
    for at in range(len(data)):
        with pytest.raises(BadInputError):
            native.decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(BadInputError):
            native.decode(data[:at])


def test_a_newer_version_asks_for_an_update(make_record):
    data = bytearray(native.encode(make_record(20)))
    data[4] = 2
    with pytest.raises(BadInputError) as caught:
        native.decode(bytes(data))
    assert "Update" in caught.value.next_step


@pytest.mark.parametrize("meta", [{"x": object()}, {"x": b"bytes"}, {"$x": 1}, {"x": {1: 2}}])
def test_meta_that_json_cannot_keep_is_refused(meta, tmp_path):
    record = Record(np.zeros((1, 2), np.float32), 100.0, ("I",), meta=meta)
    with pytest.raises(UsageError):
        formats.write(record, tmp_path / "x.lser")
