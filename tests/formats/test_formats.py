"""What holds for every format: detection by content, plain errors, and the way out and back."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsemvae_edge import formats
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.record import Record

WRITABLE = ("native", "csv", "edf", "wfdb")
EXTENSION = {"native": ".lser", "csv": ".csv", "edf": ".edf", "wfdb": ".hea"}


@pytest.mark.parametrize("name", WRITABLE)
def test_written_recordings_come_back(name, make_record, tmp_path):
    gaps = np.zeros((6, 1500), bool)
    gaps[1, 40:50] = gaps[:, 700:733] = gaps[5, -1] = True
    record = make_record(gaps=gaps)
    back = formats.read(formats.write(record, tmp_path / f"x{EXTENSION[name]}"))
    assert back.leads == record.leads
    assert back.fs_hz == record.fs_hz
    assert back.started_at == record.started_at
    assert back.amplitude == "calibrated"
    assert {key: back.meta[key] for key in record.meta} == dict(record.meta)
    np.testing.assert_array_equal(back.gaps, record.gaps)
    np.testing.assert_allclose(back.signal_mv, record.signal_mv, atol=6e-5)


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("amplitude", ["uncalibrated", "relative"])
def test_a_scale_that_is_not_millivolts_never_comes_back_as_millivolts(name, amplitude, make_record, tmp_path):
    record = make_record(amplitude=amplitude)
    back = formats.read(formats.write(record, tmp_path / "x", format=name))
    assert back.amplitude == amplitude
    np.testing.assert_allclose(back.signal_mv, record.signal_mv, atol=6e-5)


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("origin", ["demo", "simulated"])
def test_a_demo_recording_stays_marked_in_every_format(name, origin, make_record, tmp_path):
    back = formats.read(formats.write(make_record(origin=origin), tmp_path / "x", format=name))
    assert back.origin == origin


@pytest.mark.parametrize("name", ["csv", "edf", "wfdb"])
def test_a_live_recording_comes_back_as_a_file(name, make_record, tmp_path):
    assert formats.read(formats.write(make_record(origin="live"), tmp_path / "x", format=name)).origin == "file"


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize(("n_samples", "fs_hz"), [(2988, 300.0), (997, 128.0), (1201, 256.41), (700, 333.3333333)])
def test_length_and_rate_come_back_when_they_are_odd(name, n_samples, fs_hz, make_record, tmp_path):
    record = make_record(n_samples, fs_hz)
    back = formats.read(formats.write(record, tmp_path / "x", format=name))
    assert back.n_samples == n_samples
    assert back.fs_hz == fs_hz


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("n_leads", [1, 2, 12])
def test_one_two_and_twelve_leads_are_read(name, n_leads, make_record, tmp_path):
    record = make_record(n_leads=n_leads)
    assert formats.read(formats.write(record, tmp_path / "x", format=name)).leads == record.leads


@pytest.mark.parametrize("name", ["native", "csv", "edf"])
def test_the_extension_does_not_matter(name, make_record, tmp_path):
    path = formats.write(make_record(), tmp_path / "x.dcm", format=name)
    assert formats.read(path).meta.get("format", "native") == name


def test_the_record_id_is_the_file_stem(make_record, tmp_path):
    assert formats.read(formats.write(make_record(), tmp_path / "visit-7.edf")).meta["id"] == "visit-7"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
        (b"PK\x03\x04....", "ZIP"),
        (b'{"a": 1}', "JSON"),
        (b"<?xml version='1.0'?>", "XML"),
        (bytes(range(256)) * 4, "not a recording"),
        (b"\0" * 1000, "not a recording"),
        (b"hello there", "not a recording"),
    ],
)
def test_foreign_content_is_named(content, says, tmp_path):
    path = tmp_path / "x.edf"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=says) as caught:
        formats.read(path)
    assert caught.value.next_step


def test_places_that_hold_no_file_are_named(tmp_path):
    for path, says in ((tmp_path, "folder"), (tmp_path / "absent.csv", "no file"), ("a\0b", "Cannot read|no file")):
        with pytest.raises(BadInputError, match=says):
            formats.read(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(BadInputError, match="regular"):
        formats.read(tmp_path / "pipe.csv")


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.csv"
    path.write_text("t_s,I\n0,1\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BadInputError, match="permission"):
        formats.read(path)


def test_a_huge_file_is_refused_before_it_is_taken_in(tmp_path):
    path = tmp_path / "x.lser"
    with path.open("wb") as file:
        file.truncate(250_000_000)  # sparse: takes no space
    with pytest.raises(BadInputError, match="200 MB"):
        formats.read(path)


def test_units_and_rate_are_for_csv_only(make_record, tmp_path):
    path = formats.write(make_record(), tmp_path / "x.edf")
    for more in ({"units": "mV"}, {"fs_hz": 300.0}):
        with pytest.raises(UsageError, match="state their own"):
            formats.read(path, **more)
    for more in ({"units": "mmHg"}, {"fs_hz": -1.0}, {"fs_hz": float("nan")}):
        with pytest.raises(UsageError):
            formats.read(path, **more)


@pytest.mark.parametrize(("name", "format"), [("x", None), ("x.xyz", None), ("x.dcm", None), ("x.csv", "scp")])
def test_formats_that_cannot_be_written_are_refused(name, format, make_record, tmp_path):
    with pytest.raises(UsageError) as caught:
        formats.write(make_record(), tmp_path / name, format)
    assert ".lser" in caught.value.next_step


def test_a_folder_that_cannot_be_written_is_refused_and_nothing_stays(make_record, tmp_path):
    with pytest.raises(UsageError, match="Cannot write"):
        formats.write(make_record(), tmp_path / "absent" / "x.csv")
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(UsageError, match="Cannot write"):
        formats.write(make_record(), tmp_path / "x.csv")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("name", ["csv", "edf", "wfdb"])
def test_a_file_of_gaps_only_is_refused(name, make_record, tmp_path):
    path = formats.write(make_record(gaps=np.ones(1500, bool)), tmp_path / "x", format=name)
    with pytest.raises(BadInputError, match="no samples"):
        formats.read(path)


@pytest.mark.parametrize("name", ["csv", "edf", "wfdb"])
def test_a_lead_of_gaps_only_is_left_out_and_listed(name, make_record, tmp_path):
    gaps = np.zeros((6, 1500), bool)
    gaps[2] = True
    back = formats.read(formats.write(make_record(gaps=gaps), tmp_path / "x", format=name))
    assert "III" not in back.leads
    assert back.meta["ignored_channels"] == ["III (no samples)"]


@pytest.mark.parametrize("name", ["csv", "edf", "wfdb"])
def test_a_file_without_limb_leads_is_refused(name, tmp_path):
    record = Record(np.ones((2, 500), np.float32), 250.0, ("V1", "Resp"))
    path = formats.write(record, tmp_path / "x", format=name)
    with pytest.raises(BadInputError, match="none of the limb leads"):
        formats.read(path)


@pytest.mark.parametrize("name", ["csv", "edf", "wfdb"])
def test_channels_that_are_no_leads_are_listed(name, tmp_path):
    record = Record(np.ones((3, 500), np.float32), 250.0, ("I", "Resp", "II"))
    back = formats.read(formats.write(record, tmp_path / "x", format=name))
    assert back.leads == ("I", "II")
    assert [label.replace("ECG ", "") for label in back.meta["ignored_channels"]] == ["Resp"]


@pytest.mark.parametrize("name", WRITABLE)
def test_damage_gives_a_plain_error_or_a_record(name, make_record, tmp_path):
    """Cut, overwritten and spliced files raise only BadInputError."""
    path = formats.write(make_record(300, started_at=None), tmp_path / "x", format=name)
    good = path.read_bytes()

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def damage(data):
        bad = bytearray(good[: data.draw(st.integers(1, len(good)))] if data.draw(st.booleans()) else good)
        reach = len(bad) if data.draw(st.booleans()) else min(len(bad), 700)
        for _ in range(data.draw(st.integers(1, 6))):
            at = data.draw(st.integers(0, reach - 1))
            piece = data.draw(
                st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"-1", b"99999999", b"nan"]))
            )
            bad[at : at + len(piece)] = piece
        path.write_bytes(bytes(bad))
        try:
            assert isinstance(formats.read(path), Record)
        except BadInputError as error:
            assert error.message
            assert error.next_step

    damage()


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(str.encode),
        st.text("0123456789,.;\t\n#IVnaTs-eE:/x+() ", max_size=200).map(str.encode),
        st.binary(max_size=200).map(lambda tail: b"LSER" + tail),
        st.binary(max_size=200).map(lambda tail: b"ALIVE\0\0\0" + tail),
        st.binary(max_size=200).map(lambda tail: b"\0" * 128 + b"DICM" + tail),
        st.binary(max_size=300).map(lambda tail: b"0       " + tail),
    )
)
def test_any_content_gives_a_plain_error_or_a_record(content, tmp_path):
    path = tmp_path / "anything.hea"
    path.write_bytes(content)
    try:
        assert isinstance(formats.read(path), Record)
    except BadInputError as error:
        assert error.next_step


def test_importing_the_formats_imports_no_heavy_library():
    heavy = ["pydicom", "edfio", "pandas", "scipy", "wfdb", "torch"]
    code = f"import lsemvae_edge.formats, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
