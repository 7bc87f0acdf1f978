"""WFDB against PhysioNet's own package, both ways, and damage that its reader would let pass."""

import datetime as dt
import struct

import numpy as np
import pytest

from lsemvae_edge import formats
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.record import Record


@pytest.fixture
def oracle():
    return pytest.importorskip("wfdb", reason="the oracle package wfdb is not installed")


def write_oracle(oracle, folder, storage, n_samples=1001, n_signals=3, **more):
    bits = {"80": 8, "212": 12, "24": 24, "32": 32}.get(storage, 16)
    top = 2 ** (bits - 1)
    digital = np.random.default_rng(1).integers(-top + 1, top, (n_samples, n_signals))
    oracle.wrsamp(
        "rec", fs=500, units=["mV", "uV", "V"][:n_signals], sig_name=["I", "II", "V1"][:n_signals], d_signal=digital,
        fmt=[storage] * n_signals, adc_gain=[200.0, 1.5, 20000.0][:n_signals], baseline=[0, 12, -3][:n_signals],
        write_dir=str(folder), **more,
    )  # fmt: skip
    return digital


@pytest.mark.parametrize("storage", ["16", "24", "32", "80", "212"])
@pytest.mark.parametrize("n_samples", [1000, 1001])
def test_each_storage_format_reads_as_the_oracle_reads_it(storage, n_samples, oracle, tmp_path):
    write_oracle(oracle, tmp_path, storage, n_samples)
    expected = oracle.rdrecord(str(tmp_path / "rec")).p_signal.T * np.array([[1.0], [1e-3], [1e3]])
    record = formats.read(tmp_path / "rec.hea")
    assert record.leads == ("I", "II", "V1")
    assert (record.fs_hz, record.amplitude) == (500.0, "calibrated")
    np.testing.assert_allclose(record.signal_mv, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("storage", "n_bytes"), [("61", 1200), ("160", 1200), ("310", 800), ("311", 800)])
@pytest.mark.parametrize("short", [0, 1, 2])
def test_storage_formats_the_oracle_only_reads(storage, n_bytes, short, oracle, tmp_path):
    raw = np.random.default_rng(5).integers(0, 256, n_bytes, dtype=np.uint8)
    if storage == "311":
        raw[3::4] &= 0x3F  # the two bits that hold nothing
    (tmp_path / "rec.dat").write_bytes(raw.tobytes())
    (tmp_path / "rec.hea").write_text(
        f"rec 1 500 {600 - short}\nrec.dat {storage} 100(3)/mV\n".replace("/mV", "/mV 16 0 0 0 0 I")
    )
    expected = oracle.rdrecord(str(tmp_path / "rec")).p_signal.T
    assert expected.shape == (1, 600 - short)
    np.testing.assert_allclose(formats.read(tmp_path / "rec.hea").signal_mv, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("storage", "missing"), [("16", -32768), ("212", -2048), ("80", -128), ("24", -(2**23))])
def test_the_missing_value_is_a_gap_as_for_the_oracle(storage, missing, oracle, tmp_path):
    digital = np.full((90, 2), 7)
    digital[10:20, 1] = missing
    oracle.wrsamp(
        "rec", fs=500, units=["mV"] * 2, sig_name=["I", "II"], d_signal=digital, fmt=[storage] * 2,
        adc_gain=[100.0] * 2, baseline=[0] * 2, write_dir=str(tmp_path),
    )  # fmt: skip
    expected = np.isnan(oracle.rdrecord(str(tmp_path / "rec")).p_signal.T)
    assert expected.sum() == 10
    np.testing.assert_array_equal(formats.read(tmp_path / "rec").gaps, expected)


def test_the_oracle_reads_what_is_written(oracle, make_record, tmp_path):
    gaps = np.zeros((12, 1500), bool)
    gaps[3, 5:9] = True
    record = make_record(n_leads=12, gaps=gaps)
    formats.write(record, tmp_path / "rec.hea")
    found = oracle.rdrecord(str(tmp_path / "rec"))
    raw = oracle.rdrecord(str(tmp_path / "rec"), physical=False)
    assert tuple(found.sig_name) == record.leads
    assert (found.fs, found.units[0]) == (300, "mV")
    assert dt.datetime.combine(found.base_date, found.base_time) == record.started_at
    assert raw.calc_checksum() == raw.checksum
    np.testing.assert_allclose(found.p_signal.T, record.signal_mv, atol=6e-5)


def test_skewed_signals_are_aligned_as_by_the_oracle(oracle, tmp_path):
    frames = np.arange(20, dtype="<i2").reshape(10, 2)
    (tmp_path / "rec.dat").write_bytes(frames.tobytes())
    (tmp_path / "rec.hea").write_text(
        "rec 2 250 10\nrec.dat 16 10/mV 16 0 0 90 0 I\nrec.dat 16:3 10/mV 16 0 7 0 0 II\n"
    )
    record = formats.read(tmp_path / "rec.hea")
    np.testing.assert_allclose(record.signal_mv[1, :7], frames[3:, 1] / 10)
    assert record.gaps[1].tolist() == [False] * 7 + [True] * 3
    expected = oracle.rdrecord(str(tmp_path / "rec")).p_signal.T
    np.testing.assert_allclose(record.signal_mv, expected, rtol=1e-6)


def test_signals_with_several_samples_a_frame_keep_their_rate(tmp_path):
    frames = np.arange(40, dtype="<i2").reshape(10, 4)
    (tmp_path / "rec.dat").write_bytes(frames.tobytes())
    (tmp_path / "rec.hea").write_text(
        "rec 2 250 10\nrec.dat 16x3 1/mV 16 0 0 0 0 I\nrec.dat 16 1/mV 16 0 3 210 0 ABP\n".replace(
            "0 0 0 0 I", "0 0 570 0 I"
        )
    )
    record = formats.read(tmp_path / "rec.hea")
    assert (record.fs_hz, record.n_samples) == (750.0, 30)
    np.testing.assert_array_equal(record.signal_mv[0], frames[:, :3].reshape(-1))


def challenge_record(folder, text_after="#Age: 74\n#Sex: Male\n#Dx: 59118001\n", n_signals=12, n_samples=500):
    """A record as the CinC Challenges 2020 and 2021 publish them: a MATLAB 4 file behind a WFDB header."""
    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")[:n_signals]
    counts = np.random.default_rng(0).integers(-2000, 2000, (n_signals, n_samples)).astype("<i2")
    prefix = struct.pack("<5I", 30, n_signals, n_samples, 0, 4) + b"val\0"
    (folder / "A0001.mat").write_bytes(prefix + counts.T.tobytes())
    lines = [f"A0001 {n_signals} 500 {n_samples} 12-May-2020 12:33:59"]
    for lead, row in zip(leads, counts, strict=True):
        checksum = int(row.sum()) % 65536
        checksum -= 65536 if checksum > 32767 else 0  # the C library writes it signed
        lines.append(f"A0001.mat 16+24 1000/mV 16 0 {row[0]} {checksum} 0 {lead}")
    (folder / "A0001.hea").write_text("\n".join(lines) + "\n" + text_after)
    return counts


@pytest.mark.parametrize("given", ["A0001.hea", "A0001.mat", "A0001"])
def test_challenge_records_are_read_by_any_of_their_names(given, tmp_path):
    counts = challenge_record(tmp_path)
    record = formats.read(tmp_path / given)
    np.testing.assert_allclose(record.signal_mv, counts / 1000, rtol=1e-6)
    assert record.started_at == dt.datetime(2020, 5, 12, 12, 33, 59)
    assert dict(record.meta) == {"format": "wfdb", "id": "A0001", "age_years": 74.0, "sex": "male"}


@pytest.mark.parametrize(
    ("comment", "age"), [("# age: 81", 81.0), ("#Age: NaN", None), ("#Age: Unknown", None), ("#Age: 300", 90.0)]
)
def test_ages_in_comments(comment, age, tmp_path):
    challenge_record(tmp_path, comment)
    assert formats.read(tmp_path / "A0001.hea").meta.get("age_years") == age


@pytest.mark.parametrize(
    ("gain", "amplitude", "first"),
    [
        ("1000/mV", "calibrated", 0.5),
        ("1000(100)/mV", "calibrated", 0.4),
        ("1e3/uV", "calibrated", 0.0005),
        ("1000", "calibrated", 0.5),  # the format's own default unit
        ("0", "uncalibrated", 2.5),
        ("0/mV", "uncalibrated", 2.5),
        ("1000/bogus", "uncalibrated", 0.5),
        ("1000/mmHg", "uncalibrated", 0.5),
    ],
)
def test_gains_and_units(gain, amplitude, first, tmp_path):
    (tmp_path / "r.dat").write_bytes(np.array([500, 1, 2, 3], "<i2").tobytes())
    (tmp_path / "r.hea").write_text(f"r 1 500 4\nr.dat 16 {gain} 16 0 500 506 0 I\n")
    record = formats.read(tmp_path / "r.hea")
    assert record.amplitude == amplitude
    assert record.signal_mv[0, 0] == np.float32(first)


def test_a_header_may_leave_much_out(tmp_path):
    (tmp_path / "r.dat").write_bytes(np.arange(10, dtype="<i2").tobytes())
    (tmp_path / "r.hea").write_text("# a comment first\r\nr 2\r\nr.dat 16\r\nr.dat 16 100/mV 12 0 1 25 0 II\r\n")
    record = formats.read(tmp_path / "r.hea")
    assert (record.fs_hz, record.n_samples, record.leads) == (250.0, 5, ("II",))


def test_zeros_in_every_checksum_state_nothing(tmp_path):
    (tmp_path / "r.dat").write_bytes(np.arange(5, 15, dtype="<i2").tobytes())
    (tmp_path / "r.hea").write_text("r 2 500 5\nr.dat 16 100/mV 16 0 0 0 0 I\nr.dat 16 100/mV 16 0 0 0 0 II\n")
    assert formats.read(tmp_path / "r.hea").n_samples == 5


def test_a_changed_sample_is_noticed(make_record, tmp_path):
    formats.write(make_record(), tmp_path / "r.hea")
    data = bytearray((tmp_path / "r.dat").read_bytes())
    data[2001] ^= 1
    (tmp_path / "r.dat").write_bytes(data)
    with pytest.raises(BadInputError, match="checksum"):
        formats.read(tmp_path / "r.hea")


def test_a_wrong_first_value_is_noticed(tmp_path):
    (tmp_path / "r.dat").write_bytes(np.array([5, 6], "<i2").tobytes())
    (tmp_path / "r.hea").write_text("r 1 500 2\nr.dat 16 100/mV 16 0 4 11 0 I\n")
    with pytest.raises(BadInputError, match="checksum"):
        formats.read(tmp_path / "r.hea")


def test_a_missing_companion_is_named(make_record, tmp_path):
    formats.write(make_record(), tmp_path / "r.hea")
    (tmp_path / "r.dat").rename(tmp_path / "other.dat")
    with pytest.raises(BadInputError, match=r"r\.dat is missing"):
        formats.read(tmp_path / "r.hea")
    with pytest.raises(BadInputError, match="header"):
        formats.read(tmp_path / "other.dat")


def test_a_cut_signal_file_is_refused(make_record, tmp_path):
    formats.write(make_record(), tmp_path / "r.hea")
    (tmp_path / "r.dat").write_bytes((tmp_path / "r.dat").read_bytes()[:-1])
    with pytest.raises(BadInputError, match="cut short"):
        formats.read(tmp_path / "r.hea")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("r/3 2 500 100\nr1 50\nr2 50\n", "segments"),
        ("r 2 500 2\nr.dat 16 100/mV 16 0 5 11 0 I\n", "cut short"),
        ("r 1 500 2\n../r.dat 16 100/mV\n", "outside"),
        ("r 1 500 2\n/etc/passwd 16 100/mV\n", "outside"),
        ("r 1 500 2\n. 16 100/mV\n", "outside"),
        ("r 1 500 2\nr.dat 516 100/mV 16 0 5 11 0 I\n", "storage format 516"),
        ("r 1 500 2\nr.dat 16 lots/mV 16 0 5 11 0 I\n", "gain"),
        ("r 1 500 2\nr.dat 16 100/mV 16 0 x 11 0 I\n", "number"),
        ("r 1 500 2\nr.dat 16x0 100/mV 16 0 5 11 0 I\n", "without samples"),
        ("r 1 0 2\nr.dat 16 100/mV 16 0 5 11 0 I\n", "plausible"),
        ("r 1 500 999999999999\nr.dat 16 100/mV 16 0 5 11 0 I\n", "hours"),
        ("r 1 500 2\nr.dat 16+99 100/mV 16 0 5 11 0 I\n", "cut short"),
        ("r 0 500 2\n", "0 signals"),
    ],
)
def test_broken_headers_are_named(header, says, tmp_path):
    (tmp_path / "r.dat").write_bytes(np.array([5, 6], "<i2").tobytes())
    (tmp_path / "r.hea").write_text(header)
    with pytest.raises(BadInputError, match=says):
        formats.read(tmp_path / "r.hea")


def test_names_wfdb_does_not_allow_are_refused(make_record, tmp_path):
    with pytest.raises(UsageError, match="letters"):
        formats.write(make_record(), tmp_path / "visit 7.hea")
    with pytest.raises(UsageError, match="large"):
        formats.write(Record(np.full((1, 3), 1e12), 300.0, ("I",)), tmp_path / "r.hea")
