"""ER3 files as records."""

import numpy as np
import pytest

from lsemvae_edge import formats
from lsemvae_edge.codecs import lepu
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.synthetic.heart import drawn, simulate

LEADS = {
    0: ("V6", "I", "II", "V1", "V2", "V3", "V4", "V5"),
    1: ("V5", "I", "II", "V1"),
    2: ("I", "II", "V1"),
    3: ("II",),
    4: ("I",),
    5: ("I", "II"),
    6: ("V5", "I", "II"),
    7: ("V5", "I", "II", "V1"),
}


def steps(n_channels: int, n_samples: int = 2000) -> np.ndarray:
    rows = np.random.default_rng(1).integers(-300, 300, (n_channels, n_samples)).cumsum(axis=1)
    return np.clip(rows, -32768, 32766).astype(np.int16)


def written(path, samples, lead_type=2):
    path.write_bytes(lepu.encode_file(samples, lead_type))
    return path


@pytest.mark.parametrize("lead_type", LEADS)
def test_each_lead_type_gives_the_leads_that_the_vendor_names(tmp_path, lead_type):
    samples = steps(len(lepu.LEAD_TYPES[lead_type]))
    record = formats.read(written(tmp_path / "W20240111145412", samples, lead_type))
    assert (record.leads, record.fs_hz, record.amplitude, record.origin) == (
        LEADS[lead_type],
        250.0,
        "calibrated",
        "file",
    )
    for lead, row in zip(record.leads, record.signal_mv, strict=True):
        raw = samples[lepu.LEAD_TYPES[lead_type].index(lead)]
        np.testing.assert_array_equal(row, (raw * 0.00244).astype(np.float32))
        np.testing.assert_array_equal(np.rint(row / 0.00244), raw)
    unnamed = [f"channel {n}" for n, lead in enumerate(lepu.LEAD_TYPES[lead_type], 1) if lead is None]
    assert record.meta.get("ignored_channels", []) == unnamed
    assert record.meta["format"] == "er3"
    assert record.meta["id"] == "W20240111145412"


def test_a_simulated_heart_comes_back_within_half_a_step(tmp_path):
    rng = np.random.default_rng(2)
    heart = simulate(drawn(rng), 30.0, 250.0, rng, ("V5", "I", "II", "V1"))
    raw = np.rint(heart.signal_mv / 0.00244).astype(np.int16)
    record = formats.read(written(tmp_path / "heart", raw, lead_type=1))
    np.testing.assert_allclose(record.signal_mv, heart.signal_mv, atol=0.00122 + 1e-5)
    assert not record.gaps.any()


def test_a_lead_without_contact_is_a_gap_and_a_lead_that_never_had_any_is_left_out(tmp_path):
    samples = steps(4)
    samples[1, 100:200] = 0x7FFF
    samples[3] = 0x7FFF
    record = formats.read(written(tmp_path / "x", samples))
    assert record.leads == ("I", "II")
    assert np.flatnonzero(record.gaps[0]).tolist() == list(range(100, 200))
    assert not record.gaps[1].any()
    assert record.meta["ignored_channels"] == ["channel 1", "V1 (no samples)"]
    samples[1:3] = 0x7FFF
    with pytest.raises(BadInputError, match="no samples"):
        formats.read(written(tmp_path / "x", samples))


def test_every_changed_bit_and_every_cut_is_refused(tmp_path):
    path = written(tmp_path / "x", steps(4, 20))
    good = path.read_bytes()
    unprotected = {*range(len(good) - 20, len(good) - 16), *range(len(good) - 14, len(good) - 4)}
    for at in set(range(len(good))) - unprotected:
        for bit in range(8):
            bad = bytearray(good)
            bad[at] ^= 1 << bit
            path.write_bytes(bad)
            with pytest.raises(BadInputError):
                formats.read(path)
    for length in range(1, len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(BadInputError):
            formats.read(path)


def test_files_are_not_written_and_take_no_hints(tmp_path, make_record):
    with pytest.raises(UsageError, match="read but not written"):
        formats.write(make_record(), tmp_path / "x.er3")
    with pytest.raises(UsageError, match="state their own"):
        formats.read(written(tmp_path / "x", steps(4)), fs_hz=250.0)


def test_more_than_a_day_is_refused(tmp_path, monkeypatch):
    assert lepu.MAX_SAMPLES == 24 * 3600 * 250
    monkeypatch.setattr(lepu, "MAX_SAMPLES", 1999)
    with pytest.raises(BadInputError, match="more than 1999"):
        formats.read(written(tmp_path / "x", steps(4, 2000)))
