"""EDF against edfio's own writer and reader."""

import datetime as dt

import numpy as np
import pytest

from lsemvae_edge import formats
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.record import Record

edfio = pytest.importorskip("edfio", reason="EDF is read through edfio")


def signal(label, data, fs_hz=200.0, unit="mV"):
    return edfio.EdfSignal(np.asarray(data, float), fs_hz, label=label, physical_dimension=unit)


def wave(n=2000, seed=0):
    return np.random.default_rng(seed).normal(0, 0.5, n)


def test_what_edfio_writes_is_read(tmp_path):
    data = {"ECG I": wave(seed=1), "EKG II": 1000 * wave(seed=2), "V1": wave(seed=3) / 1000, "Resp": wave()}
    units = ("mV", "uV", "V", "L")
    patient = edfio.Patient(code="SECRET1", sex="F", birthdate=dt.date(1951, 5, 2), name="Ann_Person")
    edf = edfio.Edf(
        [signal(label, values, unit=unit) for (label, values), unit in zip(data.items(), units, strict=True)],
        patient=patient,
        recording=edfio.Recording(startdate=dt.date(2021, 5, 1), equipment_code="Recorder_6L"),
        starttime=dt.time(12, 30, 1),
    )
    edf.write(tmp_path / "a.edf")
    record = formats.read(tmp_path / "a.edf")
    assert record.leads == ("I", "II", "V1")
    assert record.fs_hz == 200.0
    assert record.amplitude == "calibrated"
    assert record.started_at == dt.datetime(2021, 5, 1, 12, 30, 1)
    assert dict(record.meta) == {
        "format": "edf", "id": "a", "sex": "female", "age_years": 69.0, "device": "Recorder 6L",
        "ignored_channels": ["Resp"],
    }  # fmt: skip
    for row, scale, found in zip(record.signal_mv, (1, 1e-3, 1e3), edf.signals, strict=False):
        np.testing.assert_allclose(row, found.data * scale, rtol=1e-5, atol=1e-6)


def test_edfio_reads_what_is_written(make_record, tmp_path):
    gaps = np.zeros((6, 1500), bool)
    gaps[1, 300:330] = gaps[:, 600:] = True
    record = make_record(gaps=gaps)
    edf = edfio.read_edf(formats.write(record, tmp_path / "a.edf"))
    assert edf.labels == tuple(f"ECG {lead}" for lead in record.leads)
    assert edf.is_continuous
    assert {item.physical_dimension for item in edf.signals} == {"mV"}
    assert edf.startdatetime == record.started_at
    np.testing.assert_allclose(edf.signals[0].data[:600], record.signal_mv[0, :600], atol=6e-5)
    assert (edf.signals[1].digital[300:330] == -32768).all()
    found = [(item.onset, item.duration, item.text) for item in edf.annotations if item.text.startswith("gap: ")]
    assert found == [(1.0, 0.1, "gap: II"), (2.0, 3.0, "gap: all leads")]


def test_the_lowest_value_is_a_sample_in_files_from_elsewhere(tmp_path):
    digital = np.array([-32768, 0, 32767, 5] * 100, np.int16)
    low = edfio.EdfSignal.from_digital(
        digital, 200.0, label="I", physical_dimension="mV", physical_range=(-3.2768, 3.2767)
    )
    edfio.Edf([low]).write(tmp_path / "a.edf")
    record = formats.read(tmp_path / "a.edf")
    assert not record.gaps.any()
    assert record.signal_mv.min() == np.float32(-3.2768)


@pytest.mark.parametrize("unit", ["", "counts", "mmHg"])
def test_a_dimension_that_is_no_voltage_is_not_calibrated(unit, tmp_path):
    edfio.Edf([signal("I", wave(), unit=unit)]).write(tmp_path / "a.edf")
    assert formats.read(tmp_path / "a.edf").amplitude == "uncalibrated"


def test_leads_at_another_rate_than_the_limb_leads_are_listed(tmp_path):
    edfio.Edf([signal("I", wave()), signal("V1", wave(4000), 400.0), signal("SpO2", wave(100), 10.0)]).write(
        tmp_path / "a.edf"
    )
    record = formats.read(tmp_path / "a.edf")
    assert record.leads == ("I",)
    assert record.meta["ignored_channels"] == ["SpO2", "V1 (other rate, length or unit)"]


def test_limb_leads_at_different_rates_are_refused(tmp_path):
    edfio.Edf([signal("I", wave()), signal("II", wave(4000), 400.0)]).write(tmp_path / "a.edf")
    with pytest.raises(BadInputError, match="different sampling rates"):
        formats.read(tmp_path / "a.edf")


def test_an_anonymised_date_is_no_date(make_record, tmp_path):
    edfio.Edf([signal("I", wave())]).write(tmp_path / "a.edf")
    assert formats.read(tmp_path / "a.edf").started_at is None
    assert formats.read(formats.write(make_record(started_at=None), tmp_path / "b.edf")).started_at is None


def test_a_discontinuous_file_is_refused(make_record, tmp_path):
    data = formats.write(make_record(started_at=None), tmp_path / "a.edf").read_bytes()
    broken = data.replace(b"EDF+C", b"EDF+D", 1)
    (tmp_path / "b.edf").write_bytes(broken)
    assert formats.read(tmp_path / "b.edf").n_samples == 1500  # called D, but without a break
    (tmp_path / "c.edf").write_bytes(broken.replace(b"+3\x14\x14", b"+7\x14\x14", 1))
    with pytest.raises(BadInputError, match="discontinuous"):
        formats.read(tmp_path / "c.edf")


@pytest.mark.parametrize("cut", [1, 2, 1000, -10, -3000])
def test_a_cut_file_is_refused(cut, tmp_path):
    edfio.Edf([signal("I", wave()), signal("II", wave())]).write(tmp_path / "a.edf")
    data = (tmp_path / "a.edf").read_bytes()
    (tmp_path / "a.edf").write_bytes(data[:-cut] if cut > 0 else data[:100] if cut == -10 else data[:300])
    with pytest.raises(BadInputError, match=r"cut short|not a recording"):
        formats.read(tmp_path / "a.edf")


def test_claims_beyond_a_day_are_refused(tmp_path):
    edfio.Edf([signal("I", wave())]).write(tmp_path / "a.edf")
    data = bytearray((tmp_path / "a.edf").read_bytes())
    data[244:252] = b"99999999"
    (tmp_path / "a.edf").write_bytes(data)
    with pytest.raises(BadInputError, match="hours"):
        formats.read(tmp_path / "a.edf")


def test_what_edf_cannot_hold_is_refused(tmp_path):
    for samples in (np.full((1, 10), 1e9), np.zeros((1, 0))):
        with pytest.raises(UsageError, match="EDF"):
            formats.write(Record(samples, 300.0, ("I",)), tmp_path / "a.edf")
