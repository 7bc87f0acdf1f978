"""DICOM General ECG: re-read by pydicom, by our own reader, and by dicom3tools' verifier of the standard's tables."""

import io
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from lsemvae_edge import exchange, formats
from lsemvae_edge.errors import UsageError
from lsemvae_edge.exchange.resampled import within
from lsemvae_edge.leads import STANDARD_12
from lsemvae_edge.record import Record

pydicom = pytest.importorskip("pydicom", reason="DICOM is written through pydicom")


@pytest.fixture
def made(kept, making):
    """Function that exports a recording and reads the dataset back."""

    def one(record, **told):
        content = exchange.export(kept(making.attempt(record)), "dicom", **told)
        return pydicom.dcmread(io.BytesIO(content))

    return one


def test_it_is_a_general_ecg_of_a_pseudonym(made, making):
    found = made(making.record(), site=making.SITE)
    assert found.SOPClassUID == found.file_meta.MediaStorageSOPClassUID == pydicom.uid.GeneralECGWaveformStorage
    assert (found.Modality, found.PatientID, found.IssuerOfPatientID) == ("ECG", making.STUDY_ID, making.SITE)
    assert str(found.PatientName) == found.PatientBirthDate == found.PatientSex == ""
    assert found.PatientIdentityRemoved == "YES"
    assert "OperatorsName" not in found
    assert len(found.SOPInstanceUID) <= 64
    assert pydicom.uid.UID(found.SOPInstanceUID).is_valid


def test_pydicom_decodes_the_millivolts(made, making):
    record = making.record(leads=("I", "II", "V3"))
    found = made(record)
    np.testing.assert_allclose(found.waveform_array(0).T, record.signal_mv, atol=1e-4)
    (group,) = found.WaveformSequence
    assert (group.SamplingFrequency, group.WaveformOriginality) == (500, "ORIGINAL")
    units = [channel.ChannelSensitivityUnitsSequence[0].CodeValue for channel in group.ChannelDefinitionSequence]
    assert units == ["mV"] * 3


def test_lead_codes_are_those_of_cid_3001(made, making):
    from pydicom.sr.codedict import codes

    (group,) = made(making.record(leads=STANDARD_12)).WaveformSequence
    sources = [channel.ChannelSourceSequence[0] for channel in group.ChannelDefinitionSequence]
    known = {code.value: code.meaning for code in (getattr(codes.cid3001, name) for name in codes.cid3001.dir())}
    for name, source in zip(STANDARD_12, sources, strict=True):
        assert source.CodingSchemeDesignator == "MDC"
        assert known[source.CodeValue] == source.CodeMeaning
        assert name in source.CodeMeaning


def test_absent_leads_are_left_out_and_lost_ones_too_and_nothing_is_filled_with_zeros(made, making):
    record = making.with_gap(making.with_gap(making.record(leads=("I", "II", "V1")), 0, 5000, lead=2), 50, 90)
    found = made(record)
    (group,) = found.WaveformSequence
    assert [channel.ChannelLabel for channel in group.ChannelDefinitionSequence] == ["Lead I", "Lead II"]
    padding = int.from_bytes(group.WaveformPaddingValue, "little", signed=True)
    counts = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 2)
    assert padding == -32768
    assert np.array_equal((counts == padding).T, record.gaps[:2])
    assert group.NumberOfWaveformChannels == 2


def test_without_calibration_there_is_no_sensitivity_and_it_is_said(made, making):
    found = made(making.record(amplitude="relative"))
    for channel in found.WaveformSequence[0].ChannelDefinitionSequence:
        assert "ChannelSensitivity" not in channel
        assert "ChannelSensitivityUnitsSequence" not in channel
        assert channel.ChannelStatus == "UNCALIBRATED"
    definitions = [channel.to_json() for channel in found.WaveformSequence[0].ChannelDefinitionSequence]
    assert "mV" not in "".join(definitions)
    assert any("no millivolts" in note.UnformattedTextValue for note in found.WaveformAnnotationSequence)


@pytest.mark.parametrize(("fs_hz", "new_hz"), [(100.0, 200.0), (125.0, 250.0), (130.0, 260.0), (2000.0, 1000.0)])
def test_other_rates_are_resampled_and_marked(fs_hz, new_hz, made, making):
    record = making.record(fs_hz=fs_hz, duration_s=12.0)
    found = made(record)
    (group,) = found.WaveformSequence
    assert (group.SamplingFrequency, group.WaveformOriginality) == (new_hz, "DERIVED")
    assert any(f"Resampled from {fs_hz:g} Hz" in note.UnformattedTextValue for note in found.WaveformAnnotationSequence)
    signal = found.waveform_array(0).T
    later_s = (formats_time(found) - record.started_at).total_seconds()
    at_s = later_s + np.arange(signal.shape[1]) / new_hz
    # Where an old sample stands at the same moment, the new one is the same but for what the filter takes.
    old = np.rint(at_s * fs_hz).astype(int)
    same = np.abs(at_s * fs_hz - old) < 1e-3
    assert same.sum() > 500
    assert np.corrcoef(signal[0][same], record.signal_mv[0][old[same]])[0, 1] > 0.995


def formats_time(found) -> datetime:
    return datetime.strptime(found.AcquisitionDateTime, "%Y%m%d%H%M%S.%f%z")


def test_resampling_widens_a_gap_by_the_filters_reach_and_bridges_nothing(making):
    record = making.with_gap(making.record(fs_hz=125.0), 500, 510, lead=1)
    found = within(record, 200.0, 1000.0)
    offset_s = (found.started_at - record.started_at).total_seconds()
    lost = offset_s + np.flatnonzero(found.gaps[1]) / found.fs_hz
    assert not found.gaps[0].any()
    assert lost.min() == pytest.approx(500 / 125 - 0.064, abs=0.005)
    assert lost.max() == pytest.approx(509 / 125 + 0.064, abs=0.005)


def test_a_rate_within_the_bounds_stays(making):
    record = making.record(fs_hz=300.0)
    assert within(record, 200.0, 1000.0) is record


def test_a_recording_shorter_than_the_filter_is_refused(kept, making):
    record = making.noise(n_samples=6, fs_hz=125.0)
    with pytest.raises(UsageError, match="too short"):
        exchange.export(kept(making.attempt(replace(record, started_at=datetime.now(UTC)))), "dicom")


def test_without_any_clock_it_is_refused_and_after_a_correction_it_is_not(kept, making):
    record = making.record(started_at=datetime(1970, 1, 1, tzinfo=UTC), meta={"clock_set": False})
    stored = kept(making.attempt(record))
    unset = replace(stored, entry=replace(stored.entry, at=None, clock_set=False))
    with pytest.raises(UsageError, match="clock was not set"):
        exchange.export(unset, "dicom")
    found = pydicom.dcmread(io.BytesIO(exchange.export(stored, "dicom")))
    assert found.AcquisitionDateTime > "2020"


def test_a_simulated_record_is_a_phantoms(made, making):
    found = made(making.record(), synthetic=True)
    assert found.QualityControlSubject == "YES"
    assert "no person" in found.PatientComments
    assert "no person" in found.WaveformAnnotationSequence[0].UnformattedTextValue
    for channel in found.WaveformSequence[0].ChannelDefinitionSequence:
        assert channel.ChannelStatus == "TEST DATA"


@pytest.mark.parametrize("synthetic", [False, True])
def test_a_demonstration_stays_one_when_the_file_is_read_again(synthetic, kept, making, tmp_path):
    path = tmp_path / "x.dcm"
    path.write_bytes(exchange.export(kept(making.attempt(making.record())), "dicom", synthetic=synthetic))
    assert (formats.read(path).origin == "file") is not synthetic


def test_a_signal_without_a_standard_lead_is_refused(kept, making):
    record = Record(np.ones((1, 100)), 500.0, ("ABC",), started_at=datetime.now(UTC), origin="live")
    with pytest.raises(UsageError, match="standard lead"):
        exchange.export(kept(replace(making.attempt(), record=record)), "dicom")


@pytest.mark.parametrize("fs_hz", [333.3333333333333, 256.0, 999.999, 1000 / 3.6])
def test_any_rate_fits_a_decimal_string(fs_hz, made, making, tmp_path):
    found = made(making.record(fs_hz=fs_hz))
    assert float(found.WaveformSequence[0].SamplingFrequency) == pytest.approx(fs_hz, rel=1e-12)


@pytest.mark.parametrize("synthetic", [False, True])
@pytest.mark.parametrize("change", [{}, {"amplitude": "uncalibrated"}, {"fs_hz": 130.0}, {"leads": STANDARD_12}])
def test_the_standards_tables_find_no_fault(change, synthetic, kept, making, tmp_path):
    verifier = shutil.which("dciodvfy")
    if verifier is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    path = tmp_path / "x.dcm"
    record = making.with_gap(making.record(**change), 600, 640)
    path.write_bytes(exchange.export(kept(making.attempt(record)), "dicom", site=making.SITE, synthetic=synthetic))
    found = subprocess.run([verifier, "-new", str(path)], capture_output=True, text=True, check=False)
    told = found.stdout + found.stderr
    assert "GeneralECG" in told
    assert not [line for line in told.splitlines() if line.startswith(("Error", "Warning"))], told
    assert formats.read(path).amplitude == record.amplitude
