"""CSV: units and rate are stated or asked for, never guessed."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsemvae_edge import formats
from lsemvae_edge.errors import BadInputError

TWO = "0,1,10\n0.002,2,20\n0.004,3,30\n"


@pytest.fixture
def read(tmp_path):
    def read_text(text: str | bytes, **hints: object):
        path = tmp_path / "x.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return formats.read(path, **hints)

    return read_text


def test_no_unit_anywhere_is_not_calibrated(read):
    record = read("t_s,I,II\n" + TWO)
    assert record.amplitude == "uncalibrated"
    assert record.fs_hz == 500.0
    np.testing.assert_array_equal(record.signal_mv, [[1, 2, 3], [10, 20, 30]])


@pytest.mark.parametrize(
    "head",
    [
        "t_s,I,II\ns,uV,uV\n",
        "time (s),I (uV),II (µV)\n",
        "time_s,I_uV,II_uv\n",
        "t[s],I[uV],II[uV]\n",
        "# units: uV\nt_s,I,II\n",
        "# Recorded here\n#units: microvolts\ntime,Lead I,LEAD_II\n",
    ],
)
def test_each_place_for_a_unit_is_read(head, read):
    record = read(head + TWO)
    assert record.amplitude == "calibrated"
    assert record.leads == ("I", "II")
    np.testing.assert_allclose(record.signal_mv[1], [0.01, 0.02, 0.03], rtol=1e-6)


def test_leads_may_have_different_units(read):
    record = read("t_s,I (mV),II (uV)\n" + TWO)
    np.testing.assert_allclose(record.signal_mv, [[1, 2, 3], [0.01, 0.02, 0.03]], rtol=1e-6)


def test_the_unit_may_be_given_by_the_reader(read):
    record = read("t_s,I,II\n" + TWO, units="uV")
    assert record.amplitude == "calibrated"
    assert record.signal_mv[0, 0] == np.float32(0.001)


def test_an_unknown_unit_is_not_calibrated(read):
    assert read("t_s,I (counts),II (counts)\n" + TWO).amplitude == "uncalibrated"


@pytest.mark.parametrize("text", ["t_s,I (mV),II\ns,uV,uV\n", "# units: uV\nt_s,I (mV),II\n"])
def test_contradicting_units_are_refused(text, read):
    with pytest.raises(BadInputError, match="two units"):
        read(text + TWO)


def test_a_unit_against_the_files_own_is_refused(read):
    with pytest.raises(BadInputError, match="two units"):
        read("t_s,I (mV),II (mV)\n" + TWO, units="uV")
    with pytest.raises(BadInputError, match="uncalibrated"):
        read("# units: uncalibrated\nt_s,I,II\n" + TWO, units="uV")


def test_some_leads_with_a_unit_and_some_without_are_refused(read):
    with pytest.raises(BadInputError, match="units"):
        read("t_s,I (mV),II\n" + TWO)


def test_the_rate_may_be_stated_or_given(read):
    assert read("# fs_hz: 500\nI,II\n1,2\n3,4\n").fs_hz == 500
    assert read("#Sampling_Rate: 250 Hz\nI,II\n1,2\n3,4\n").fs_hz == 250
    assert read("I,II\n1,2\n3,4\n", fs_hz=360.0).fs_hz == 360
    assert read("sample,I,II\n0,1,2\n1,3,4\n", fs_hz=360.0).fs_hz == 360
    assert read("# fs_hz: 500\nI\n1\n3\n").leads == ("I",)


def test_no_rate_says_how_to_give_it(read):
    with pytest.raises(BadInputError) as caught:
        read("I,II\n1,2\n3,4\n")
    assert "--fs" in caught.value.next_step


@pytest.mark.parametrize("fs_hz", [100.0, 128.0, 257.0, 300.0, 333.0, 360.0, 500.0, 512.5, 1000.0])
@pytest.mark.parametrize("digits", [3, 4, 5, 6, 9])
def test_the_rate_is_recovered_from_rounded_times(fs_hz, digits, read):
    rows = "".join(f"{k / fs_hz:.{digits}f},{k % 7}\n" for k in range(int(fs_hz * 9.96)))
    assert read("t_s,II\n" + rows).fs_hz == fs_hz


def test_times_since_1970_are_read(read):
    rows = "".join(f"{1709528767.25 + k / 500:.3f},{k % 7}\n" for k in range(2000))
    assert read("time,II\n" + rows).fs_hz == 500.0


def test_times_in_milliseconds_are_read(read):
    assert read("time_ms,I\n0,1\n2,2\n4,1\n").fs_hz == 500
    assert read("time,I\nms,mV\n0,1\n2,2\n4,1\n").fs_hz == 500


@pytest.mark.parametrize(
    "times", [(0, 2, 4, 10, 12), (0, 2, 2, 4, 6), (0, 2, 4, 3, 6), (0, 0, 0, 0, 0), (4, 3, 2, 1, 0)]
)
def test_irregular_times_are_refused(times, read):
    with pytest.raises(BadInputError, match=r"regular|increase"):
        read("t_ms,I\n" + "".join(f"{t},1\n" for t in times))


def test_times_against_the_stated_rate_are_refused(read):
    with pytest.raises(BadInputError, match="stated"):
        read("t_s,I,II\n" + TWO, fs_hz=250.0)
    with pytest.raises(BadInputError, match="given"):
        read("# fs_hz: 500\nI,II\n1,2\n", fs_hz=250.0)


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "NA", "null", '""'])
def test_empty_cells_are_gaps(empty, read):
    record = read(f"t_s,I,II\n0,1,10\n0.002,{empty},20\n0.004,3,30\n")
    np.testing.assert_array_equal(record.gaps, [[False, True, False], [False] * 3])


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_delimiters_are_found(mark, read):
    assert read(("t_s,I,II\n" + TWO).replace(",", mark)).signal_mv[1, 2] == 30


@pytest.mark.parametrize("mark", [";", "\t"])
def test_decimal_commas_are_read(mark, read):
    record = read(f"t_s{mark}I (mV)\n0,000{mark}0,25\n0,002{mark}-0,5\n0,004{mark}1\n")
    np.testing.assert_array_equal(record.signal_mv, [[0.25, -0.5, 1.0]])
    assert record.fs_hz == 500


def test_what_spreadsheets_write_is_read(read):
    text = '\ufeff"t_s","I (µV)","II (µV)",\r\n0,1,2,\r\n0.002,3,4,\r\n0.004,3,4,\r\n\r\n'
    for encoding in ("utf-8", "utf-16", "cp1252"):
        assert read(text.lstrip("\ufeff").encode(encoding)).amplitude == "calibrated"
    assert read(text).leads == ("I", "II")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0,1,2\n0.1,2,3\n", "header"),
        ("t_s,I,II\n", "no samples"),
        ("# only: a comment,\n", "not a recording|no table"),
        ("t_s,I,II\n0,1\n0.002,2,3\n", "cells in line 2"),
        ("t_s,I,II\n0,1,2,3\n", "cells in line 2"),
        ("t_s,I,II\n0,1,2\n0.002,x,3\n", "line 3"),
        ("t_s,I,i\n" + TWO, "twice"),
        ("t_s,Resp,Temp\n" + TWO, "none of the limb leads"),
        ("t_s,I,II\n0,nan,nan\n0.002,,\n0.004,,\n", "no samples"),
        ("t_s,I\n0,inf\n0.002,-inf\n0.004,inf\n", "no samples"),
        ("t_s,I\n0,1\n0.003,1\n", "coarse"),
        ("t_s,I\n0,1\n1e308,1\n", "incomplete"),
        ("t_s,I\n0,1\n,1\n0.004,1\n", "incomplete"),
        ("# fs_hz: often\nI\n1\n", "no number"),
        ("# fs_hz: 0.00001\nI\n1\n2\n", "hours"),
        ("# fs_hz: 1e9\nI\n1\n2\n", "plausible"),
    ],
)
def test_broken_tables_are_named(text, says, read):
    with pytest.raises(BadInputError, match=says):
        read(text)


def test_facts_in_comments_are_read_and_names_are_not(read):
    record = read("# age: 80\n# Sex: F\n# name: A. Person\n# pacemaker: yes\n# device: X 6L\nt_s,I,II\n" + TWO)
    assert dict(record.meta) == {
        "format": "csv", "id": "x", "age_years": 80.0, "sex": "female", "pacemaker": True, "device": "X 6L",
    }  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True)
@given(samples=st.lists(st.floats(-100, 100, width=32) | st.just(float("nan")), min_size=2, max_size=30))
def test_float32_values_come_back_exactly(samples, tmp_path_factory):
    from lsemvae_edge.record import Record

    record = Record(np.array([[1.0] * len(samples), samples], np.float32), 300.0, ("I", "II"))
    back = formats.read(formats.write(record, tmp_path_factory.mktemp("csv") / "x.csv"))
    if not record.gaps.all(axis=1).any():
        np.testing.assert_array_equal(back.signal_mv, record.signal_mv)


def test_the_real_six_lead_sample_is_read():
    path = Path(os.environ.get("LSEMVAE_EDGE_DATA", "")) / "kardia6l" / "kardia6l_svg_leads_mV.csv"
    if not os.environ.get("LSEMVAE_EDGE_DATA") or not path.is_file():
        pytest.skip("LSEMVAE_EDGE_DATA names no folder with the six-lead sample")
    record = formats.read(path)
    assert record.fs_hz == 300.0
    assert record.signal_mv.shape == (6, 2988)
    assert record.amplitude == "uncalibrated"
