"""DICOM waveforms against pydicom's own decoder, on its sample and on files made from it."""

import copy
import datetime as dt
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsemvae_edge import formats
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import STANDARD_12
from lsemvae_edge.record import Record

pydicom = pytest.importorskip("pydicom", reason="DICOM is read through pydicom")


@pytest.fixture(scope="module")
def sample_path():
    from pydicom.data import get_testdata_file

    path = get_testdata_file("waveform_ecg.dcm", download=False)
    if path is None:
        pytest.skip("this pydicom comes without its sample")
    return path


@pytest.fixture
def dataset(sample_path):
    """The sample, cut to half a second so that it is quick to write."""
    found = copy.deepcopy(pydicom.dcmread(sample_path))
    for group in found.WaveformSequence:
        group.NumberOfWaveformSamples = 500
        group.WaveformData = group.WaveformData[: 500 * 12 * 2]
    return found


@pytest.fixture
def reread(tmp_path):
    def save_and_read(found):
        found.save_as(tmp_path / "x.dcm")
        return formats.read(tmp_path / "x.dcm")

    return save_and_read


def test_the_rhythm_group_is_read_as_pydicom_reads_it(sample_path):
    record = formats.read(sample_path)
    expected = pydicom.dcmread(sample_path).waveform_array(0).T / 1000
    assert record.leads == STANDARD_12
    assert (record.fs_hz, record.n_samples, record.amplitude) == (1000.0, 10000, "calibrated")
    np.testing.assert_allclose(record.signal_mv, expected, rtol=1e-6)
    assert record.started_at == dt.datetime(2013, 1, 25, 10, 59, 19)


def test_the_rhythm_group_is_found_wherever_it_stands(dataset, reread):
    expected = dataset.waveform_array(0).T / 1000
    dataset.WaveformSequence = pydicom.Sequence(list(dataset.WaveformSequence)[::-1])
    np.testing.assert_allclose(reread(dataset).signal_mv, expected, rtol=1e-6)


def test_averaged_beats_alone_are_refused(dataset, reread):
    dataset.WaveformSequence = pydicom.Sequence([dataset.WaveformSequence[1]])
    with pytest.raises(BadInputError, match="averaged"):
        reread(dataset)


def test_the_record_names_no_person(dataset, reread):
    dataset.PatientName, dataset.PatientID = "Secret^Ann", "4711-SECRET"
    dataset.OperatorsName = dataset.ReferringPhysicianName = "SECRET"
    meta = reread(dataset).meta
    assert set(meta) == {"format", "id", "device", "sex", "age_years"}
    assert "secret" not in str(meta).lower()


@pytest.mark.parametrize(("age", "years"), [("045Y", 45.0), ("006M", 0.5), ("", 42.0), ("999Y", None), ("old", 42.0)])
def test_ages(age, years, dataset, reread):
    with pydicom.config.disable_value_validation():
        dataset.PatientAge = age
        assert reread(dataset).meta.get("age_years") == years


def test_the_time_zone_is_kept(dataset, reread):
    zone = dt.timezone(dt.timedelta(hours=5, minutes=45))
    dataset.AcquisitionDateTime = "20240304050607.25+0545"
    assert reread(dataset).started_at == dt.datetime(2024, 3, 4, 5, 6, 7, 250000, zone)
    dataset.AcquisitionDateTime, dataset.TimezoneOffsetFromUTC = "20240304050607", "+0545"
    assert reread(dataset).started_at == dt.datetime(2024, 3, 4, 5, 6, 7, tzinfo=zone)


def test_sensitivity_correction_unit_and_baseline_are_used(dataset, reread):
    channel = dataset.WaveformSequence[0].ChannelDefinitionSequence[1]
    channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = "0.002", "1.5"
    channel.ChannelBaseline = "0.25"
    channel.ChannelSensitivityUnitsSequence[0].CodeValue = "mV"
    expected = dataset.waveform_array(0)[:, 1]
    np.testing.assert_allclose(reread(dataset).signal_mv[1], expected, rtol=1e-5)


def test_no_sensitivity_is_not_calibrated(dataset, reread):
    for channel in dataset.WaveformSequence[0].ChannelDefinitionSequence:
        del channel.ChannelSensitivity
    assert reread(dataset).amplitude == "uncalibrated"


def test_sensitivity_in_some_limb_leads_only_is_refused(dataset, reread):
    del dataset.WaveformSequence[0].ChannelDefinitionSequence[2].ChannelSensitivity
    with pytest.raises(BadInputError, match="units"):
        reread(dataset)


def test_the_padding_value_is_a_gap(dataset, reread):
    group = dataset.WaveformSequence[0]
    counts = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12).copy()
    counts[100:120, 3] = -32768
    group.WaveformData = counts.tobytes()
    group.add_new("WaveformPaddingValue", "OW", b"\x00\x80")
    assert np.flatnonzero(reread(dataset).gaps[3]).tolist() == list(range(100, 120))


@pytest.mark.parametrize(("scheme", "prefix"), [("MDC", "2:"), ("SCPECG", "5.6.3-9-")])
def test_leads_are_known_by_code_alone(scheme, prefix, dataset, reread):
    numbers = (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)
    for channel, number in zip(dataset.WaveformSequence[0].ChannelDefinitionSequence, numbers, strict=True):
        source = channel.ChannelSourceSequence[0]
        source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = f"{prefix}{number}", scheme, "?"
    assert reread(dataset).leads == STANDARD_12


def test_leads_are_known_by_meaning_alone(dataset, reread):
    for channel, lead in zip(dataset.WaveformSequence[0].ChannelDefinitionSequence, STANDARD_12, strict=True):
        source = channel.ChannelSourceSequence[0]
        source.CodeValue, source.CodeMeaning = "local", f"Lead {lead.lower()} (any)"
    assert reread(dataset).leads == STANDARD_12


def test_code_and_meaning_that_disagree_are_refused(dataset, reread):
    dataset.WaveformSequence[0].ChannelDefinitionSequence[0].ChannelSourceSequence[0].CodeMeaning = "Lead II"
    with pytest.raises(BadInputError, match="both"):
        reread(dataset)


def test_big_endian_files_are_read(dataset, tmp_path):
    expected = dataset.waveform_array(0).T / 1000
    for group in dataset.WaveformSequence:
        group.WaveformData = np.frombuffer(group.WaveformData, "<i2").astype(">i2").tobytes()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    pydicom.dcmwrite(tmp_path / "x.dcm", dataset, implicit_vr=False, little_endian=False, enforce_file_format=True)
    np.testing.assert_allclose(formats.read(tmp_path / "x.dcm").signal_mv, expected, rtol=1e-6)


def test_a_picture_is_refused(dataset, reread):
    del dataset.WaveformSequence
    with pytest.raises(BadInputError, match="no waveform"):
        reread(dataset)


def test_fewer_samples_than_stated_are_refused(dataset, reread):
    dataset.WaveformSequence[0].NumberOfWaveformSamples = 501
    with pytest.raises(BadInputError, match="fewer samples"):
        reread(dataset)
    dataset.WaveformSequence[0].NumberOfWaveformSamples = 4_000_000_000
    with pytest.raises(BadInputError, match="hours"):
        reread(dataset)


def test_deflated_files_are_refused(dataset, reread):
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    with pytest.raises(BadInputError, match="deflated"):
        reread(dataset)


def test_damage_gives_a_plain_error_or_a_record(dataset, tmp_path):
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    good = buffer.getvalue()

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        cut=st.none() | st.integers(132, len(good)),
        hits=st.lists(st.tuples(st.integers(132, len(good) - 1), st.integers(0, 255)), max_size=8),
    )
    def damage(cut, hits):
        bad = bytearray(good)
        for at, value in hits:
            bad[at] = value
        (tmp_path / "x.dcm").write_bytes(bytes(bad[:cut]))
        try:
            assert isinstance(formats.read(tmp_path / "x.dcm"), Record)
        except BadInputError as error:
            assert error.next_step

    damage()
