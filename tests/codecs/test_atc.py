"""ATC bytes, built here block by block from AliveCor's description of the format."""

import struct
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsemvae_edge import formats
from lsemvae_edge.codecs import atc
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import LIMB_LEADS

IDS = (b"ecg ", b"ecg2", b"ecg3", b"ecg4", b"ecg5", b"ecg6")


def block(block_id: bytes, data: bytes) -> bytes:
    content = block_id + struct.pack("<I", len(data)) + data
    return content + struct.pack("<I", sum(content))


def info(date=b"2024-03-04T05:06:07.250+05:45", hardware=b"KardiaMobile 6L") -> bytes:
    fields = (date, b"UUID-OF-RECORDING", b"PHONE-UDID", b"Phone 9", b"App 5", hardware, b"Somewhere")
    return b"".join(text.ljust(size, b"\0") for text, size in zip(fields, (32, 40, 44, 32, 32, 32, 52), strict=True))


def fmt(encoding=1, fs_hz=300, resolution_nv=500, flags=0) -> bytes:
    return struct.pack("<BHHBH", encoding, fs_hz, resolution_nv, flags, 0)


def counts(n_leads=6, n_samples=900):
    return np.random.default_rng(3).integers(-4000, 4000, (n_leads, n_samples)).astype("<i2")


def ecg(samples) -> list[bytes]:
    return [block(block_id, row.tobytes()) for block_id, row in zip(IDS, samples, strict=False)]


def file_of(*blocks: bytes) -> bytes:
    return b"ALIVE\0\0\0" + struct.pack("<I", 4) + b"".join(blocks)


GOOD = file_of(block(b"info", info()), block(b"fmt ", fmt(flags=0x36)), *ecg(counts()), block(b"ann ", b"\1" * 16))


def test_six_leads_are_decoded():
    found = atc.decode(GOOD)
    assert (found.version, found.fs_hz, found.resolution_nv) == (4, 300, 500)
    assert tuple(found.samples) == LIMB_LEADS
    np.testing.assert_array_equal(np.stack(list(found.samples.values())), counts())
    assert found.info.phone_model == "Phone 9"


def test_flags_are_decoded():
    assert atc.decode(GOOD).filters == atc.AtcFilters(60, True, False, True, True, False)
    other = file_of(block(b"fmt ", fmt(flags=0x48)), *ecg(counts(1)))
    assert atc.decode(other).filters == atc.AtcFilters(50, False, True, False, False, True)


def test_the_record_is_in_millivolts_and_names_no_phone_or_place(tmp_path):
    (tmp_path / "x.bin").write_bytes(GOOD)
    record = formats.read(tmp_path / "x.bin")
    np.testing.assert_allclose(record.signal_mv, counts() * 500e-6, rtol=1e-6)
    assert (record.fs_hz, record.leads, record.amplitude) == (300.0, LIMB_LEADS, "calibrated")
    assert record.started_at == datetime(2024, 3, 4, 5, 6, 7, 250000, timezone(timedelta(hours=5, minutes=45)))
    assert dict(record.meta) == {"format": "atc", "id": "x", "device": "KardiaMobile 6L"}


def test_a_single_lead_file_is_read(tmp_path):
    (tmp_path / "x.atc").write_bytes(file_of(block(b"fmt ", fmt()), *ecg(counts(1))))
    record = formats.read(tmp_path / "x.atc")
    assert record.leads == ("I",)
    assert record.started_at is None


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        ((), "lacks"),
        ((block(b"fmt ", fmt()),), "no ECG samples"),
        ((*ecg(counts(1)), block(b"fmt ", fmt())), "before"),
        ((block(b"fmt ", fmt(encoding=2)), *ecg(counts(1))), "encoding 2"),
        ((block(b"fmt ", fmt(fs_hz=0)), *ecg(counts(1))), "zero"),
        ((block(b"fmt ", fmt(resolution_nv=0)), *ecg(counts(1))), "zero"),
        ((block(b"fmt ", b"\1"), *ecg(counts(1))), "short"),
        ((block(b"fmt ", fmt()), block(b"ecg ", b"abc")), "half"),
        ((block(b"fmt ", fmt()), *ecg(counts(1)), *ecg(counts(1))), "repeats"),
        ((block(b"fmt ", fmt()), b"ecg \xff\xff\xff\xff"), "cut short"),
    ],
)
def test_broken_files_are_named(blocks, says):
    with pytest.raises(BadInputError, match=says):
        atc.decode(file_of(*blocks))


def test_a_lead_without_samples_or_of_another_length_is_not_taken_as_good(tmp_path):
    path = tmp_path / "x.atc"
    path.write_bytes(file_of(block(b"fmt ", fmt()), block(b"ecg ", b"")))
    with pytest.raises(BadInputError, match="no samples"):
        formats.read(path)
    path.write_bytes(file_of(block(b"fmt ", fmt()), block(b"ecg ", b"ab"), block(b"ecg2", b"abcd")))
    with pytest.raises(BadInputError, match="lengths"):
        formats.read(path)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(at=st.integers(12, len(GOOD) - 1), bit=st.integers(0, 7))
def test_a_changed_bit_is_noticed(at, bit):
    """Every bit behind the file header stands under a checksum, or is one."""
    bad = bytearray(GOOD)
    bad[at] ^= 1 << bit
    with pytest.raises(BadInputError):
        atc.decode(bytes(bad))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(cut=st.integers(0, len(GOOD) - 1))
def test_a_cut_file_is_refused_unless_cut_between_blocks(cut):
    try:
        assert len(atc.decode(GOOD[:cut]).samples) in range(1, 7)
    except BadInputError as error:
        assert error.next_step
