import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.device.drivers import open6l as profile
from lsemvae_edge.device.drivers.open6l import CLOCK, CONTROL, DATA, FIRMWARE, INFO, Open6L
from lsemvae_edge.device.errors import NotOfferedError, UnsupportedRecorderError
from lsemvae_edge.device.events import ClockMark, Damaged, Frame, Reply
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.open6l import VirtualOpen6L, encode_clock, encode_data, encode_info, encode_reply
from lsemvae_edge.record import Record

NV = 48e-6
DOC = Path(__file__).parents[2] / "docs" / "open-6l-profile.md"

# Worked out from the specification's tables by hand.
GOLDEN_DATA = bytes.fromhex("01 07 00040000 91 02  010000 ffffff  ffff7f 000080")
GOLDEN_CLOCK = bytes.fromhex("e8030000 80841e0000000000")
GOLDEN_INFO = bytes.fromhex(
    "01 00 04030201 30000000 01000000 dd240600 0000 8300 00 0f 07 d007 e803 02 f401 fa00 08 53494d3030303432"
)


def recorder(n=5000, fs_hz=500.0, **options):
    """A recorder whose lead I counts up from 0, and lead II down."""
    steps = np.arange(n) * np.array([[1], [-1]])
    record = Record((steps * NV).astype(np.float32), fs_hz, ("I", "II"))
    return VirtualOpen6L(Feed(record, ("I", "II"), fs_hz, NV, 24), fs_hz, **options)


def stream(mtu=247, fs_hz=None, **changes):
    info = encode_info(replace(profile.decode_info(GOLDEN_INFO), **changes))
    return Open6L().stream({INFO: info}, mtu, fs_hz)


def test_a_packet_of_samples_is_read_as_written_by_hand():
    frame = profile.decode_data(GOLDEN_DATA, NV)
    np.testing.assert_array_equal(frame.signal_mv, (np.array([[1, 8388607], [-1, -8388608]]) * NV).astype(np.float32))
    assert (frame.index, frame.recording, frame.device_time_s) == (1024, 7, None)
    assert (frame.off, frame.saturated, frame.dropped) == ({"RA"}, {"I"}, False)
    assert frame.signal_mv.dtype == np.float32


@pytest.mark.parametrize(
    ("status", "off", "saturated", "dropped"),
    [
        (0x00, None, set(), False),
        (0x0F, None, set(), False),
        (0x80, set(), set(), False),
        (0x86, {"LA", "LL"}, set(), False),
        (0xA8, {"RL"}, {"II"}, False),
        (0x70, None, {"I", "II"}, True),
    ],
)
def test_contact_counts_only_where_it_was_detected(status, off, saturated, dropped):
    frame = profile.decode_data(bytes.fromhex(f"0101000000 00 {status:02x} 01 000000 000000"), NV)
    assert (frame.off, frame.saturated, frame.dropped) == (off, saturated, dropped)


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "01070004000091",
        "0107000400009100",
        GOLDEN_DATA.hex() + "00",
        GOLDEN_DATA.hex()[:-2],
        "02" + GOLDEN_DATA.hex()[2:],
    ],
)
def test_a_packet_that_contradicts_itself_is_damaged(packet):
    data = bytes.fromhex(packet)
    found = profile.decode_data(data, NV)
    assert isinstance(found, Damaged)
    assert found.n_bytes == len(data)


def test_the_clock_is_read_as_written_by_hand():
    assert profile.decode_clock(GOLDEN_CLOCK) == ClockMark(1000, 2.0)
    assert isinstance(profile.decode_clock(GOLDEN_CLOCK + b"\0"), Damaged)
    assert isinstance(profile.decode_clock(GOLDEN_CLOCK[:-1], later_minor=True), Damaged)
    assert profile.decode_clock(GOLDEN_CLOCK + b"\0", later_minor=True) == ClockMark(1000, 2.0)


@pytest.mark.parametrize(
    ("reply", "request_id", "error"),
    [
        ("010400", 0x0104, None),
        ("010404", 0x0104, "BUSY"),
        ("010406", 0x0104, "MTU_TOO_SMALL"),
        ("ff2a01", 0xFF2A, "UNKNOWN_OPCODE"),
        ("020009", profile.ENDED_BY_ITSELF, "TIME_LIMIT"),
        ("0104c3", 0x0104, "STATUS_C3"),
    ],
)
def test_replies_carry_the_status_by_name(reply, request_id, error):
    assert profile.decode_reply(bytes.fromhex(reply)) == Reply(request_id, error)


def test_commands_are_as_written_by_hand():
    driver, known = Open6L(), stream()
    commands = [
        *driver.start(known, 3),
        *driver.stop(known),
        *driver.identify(),
        *driver.test(stream(fs_hz=250.0), 200),
    ]
    assert [write.data.hex() for write in commands] == ["0104f40103", "0201", "0301", "04c9fa00c8"]
    assert [write.request for write in commands] == [0x0104, 0x0201, 0x0301, 0x04C9]
    assert {write.uuid for write in commands} == {CONTROL}


def test_no_request_id_is_the_one_kept_for_what_was_not_asked():
    assert all(write.data[1] != 0 for number in range(256) for write in Open6L().start(stream(), number))


def test_info_is_read_as_written_by_hand():
    found = Open6L().stream({INFO: GOLDEN_INFO, FIRMWARE: b"2.1\0"}, 247)
    assert (found.fs_hz, found.leads, found.mv_per_lsb, found.frame_s) == (500.0, ("I", "II"), 48 / 1e6, 0.04)
    assert (found.boot, found.serial, found.firmware) == (0x01020304, "SIM00042", "2.1")
    assert (found.amplitude, found.index_modulus) == ("calibrated", 2**32)
    assert profile.decode_info(GOLDEN_INFO).full_scale_uv == 402653


@pytest.mark.parametrize(
    ("mtu", "fs_hz", "chosen_hz", "frame_s"),
    [
        (247, None, 500.0, 0.04),
        (100, None, 500.0, 14 / 500),
        (99, None, 250.0, 10 / 250),
        (23, None, 250.0, 2 / 250),
        (247, 250.0, 250.0, 0.04),
    ],
)
def test_the_rate_is_one_that_the_mtu_carries(mtu, fs_hz, chosen_hz, frame_s):
    found = stream(mtu, fs_hz)
    assert (found.fs_hz, found.frame_s) == (chosen_hz, frame_s)


@pytest.mark.parametrize(("mtu", "fs_hz"), [(247, 300.0), (99, 500.0), (247, 250.5), (247, float("nan"))])
def test_a_rate_that_is_not_to_be_had_is_refused(mtu, fs_hz):
    with pytest.raises(UnsupportedRecorderError):
        stream(mtu, fs_hz)


def test_a_small_mtu_and_fast_rates_alone_do_not_go_together():
    with pytest.raises(UnsupportedRecorderError, match="23 bytes"):
        stream(23, rates_hz=(500, 1000))


@pytest.mark.parametrize(
    "changes",
    [
        {"major": 2},
        {"nv_denominator": 0},
        {"nv_numerator": 0},
        {"nv_numerator": 20_000},
        {"full_scale_uv": 4_000},
        {"full_scale_uv": 402_654},
        {"rates_hz": ()},
        {"rates_hz": (500, 500)},
        {"rates_hz": (500, 50)},
        {"rates_hz": (65_535,)},
        {"serial": ""},
        {"serial": "a\nb"},
        {"test_uv": 0},
        {"test_mhz": 60_000},
    ],
)
def test_what_cannot_be_true_is_refused(changes):
    with pytest.raises(UnsupportedRecorderError):
        stream(**changes)


@pytest.mark.parametrize("info", [b"", GOLDEN_INFO[:-1], GOLDEN_INFO + b"\0", GOLDEN_INFO[:30], b"\1"])
def test_information_of_the_wrong_length_is_refused(info):
    with pytest.raises(UnsupportedRecorderError):
        Open6L().stream({INFO: info}, 247)


def test_a_recorder_that_says_nothing_is_refused():
    with pytest.raises(UnsupportedRecorderError):
        Open6L().stream({}, 247)


def test_what_a_later_minor_version_appends_is_ignored():
    later = encode_info(replace(profile.decode_info(GOLDEN_INFO), minor=1)) + b"more"
    found = Open6L().stream({INFO: later}, 247)
    assert found.serial == "SIM00042"
    decoder = Open6L().decoder(found)
    assert decoder.feed(CLOCK, GOLDEN_CLOCK + b"?") == (ClockMark(1000, 2.0),)
    assert decoder.feed(CONTROL, b"\1\4\0?") == (Reply(0x0104),)
    # Samples are under a layout number: their length is never a matter of the version.
    assert isinstance(decoder.feed(DATA, GOLDEN_DATA + b"?")[0], Damaged)


def test_a_recorder_without_test_signal_is_not_asked_for_it():
    known = stream(features=profile.CAN_IDENTIFY, test_uv=0, test_mhz=0)
    with pytest.raises(NotOfferedError):
        Open6L().test(known, 1)
    with pytest.raises(NotOfferedError):
        Open6L().judge_test(known, np.zeros((2, 1000), np.float32))


@given(st.sampled_from([DATA, CLOCK, CONTROL, INFO, "nothing"]), st.binary(max_size=300))
def test_no_bytes_raise_in_the_decoder(uuid, data):
    for event in Open6L().decoder(stream()).feed(uuid, data):
        assert isinstance(event, Frame | ClockMark | Reply | Damaged)
        if isinstance(event, Frame):
            assert event.signal_mv.shape == (2, (len(data) - 8) // 6)


@given(
    st.one_of(
        st.binary(max_size=80),
        st.tuples(st.integers(0, len(GOLDEN_INFO) - 1), st.integers(0, 255)).map(
            lambda change: GOLDEN_INFO[: change[0]] + bytes([change[1]]) + GOLDEN_INFO[change[0] + 1 :]
        ),
    ),
    st.binary(max_size=80),
    st.integers(23, 517),
)
def test_no_information_raises_anything_but_a_refusal(info, firmware, mtu):
    try:
        found = Open6L().stream({INFO: info, FIRMWARE: firmware}, mtu)
    except UnsupportedRecorderError:
        return
    assert 100 <= found.fs_hz <= (1000 if mtu >= 100 else 250)
    assert 1e-6 <= found.mv_per_lsb <= 1e-2
    assert found.firmware is None or found.firmware.isprintable()


@given(
    st.lists(st.tuples(*[st.integers(-(2**23), 2**23 - 1)] * 2), min_size=1, max_size=39),
    st.integers(0, 2**32 - 1),
    st.integers(0, 255),
    st.integers(0, 255),
)
def test_samples_come_out_as_they_went_in(pairs, index, number, status):
    steps = np.array(pairs, dtype=np.int32).T
    data = encode_data(number, index, status, steps)
    assert len(data) == 8 + 6 * len(pairs)
    frame = profile.decode_data(data, 1.0)
    np.testing.assert_array_equal(frame.signal_mv, steps)
    assert (frame.index, frame.recording) == (index, number)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_the_clock_comes_out_as_it_went_in(index, microseconds):
    assert profile.decode_clock(encode_clock(index, microseconds)) == ClockMark(index, microseconds / 1e6)


def test_every_status_comes_out_by_its_name():
    for status in profile.STATUSES[1:]:
        assert profile.decode_reply(encode_reply(1, 9, status)) == Reply(0x0109, status)


def test_the_specification_and_the_code_name_the_same_attributes():
    text = DOC.read_text(encoding="utf-8")
    for uuid in (profile.SERVICE, DATA, CLOCK, INFO, CONTROL):
        assert f"`{uuid}`" in text
    for number, status in enumerate(profile.STATUSES):
        assert f"| {number} | `{status}` |" in text


@pytest.mark.parametrize(
    ("title", "made"),
    [
        ("Data", GOLDEN_DATA),
        ("Clock", GOLDEN_CLOCK),
        ("Info", GOLDEN_INFO),
        ("START", Open6L().start(stream(), 3)[0].data),
        ("START answered", encode_reply(profile.START, 4, "OK")),
        ("START refused", encode_reply(profile.START, 4, "MTU_TOO_SMALL")),
        ("TEST", Open6L().test(stream(fs_hz=250.0), 200)[0].data),
        ("IDENTIFY", Open6L().identify()[0].data),
        ("STOP", Open6L().stop(stream())[0].data),
        ("Ten minutes are over", encode_reply(profile.STOP, 0, "TIME_LIMIT")),
    ],
)
def test_the_specification_shows_packets_that_the_code_makes(title, made):
    text = DOC.read_text(encoding="utf-8").split("## Golden packets")[1]
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {title} | `")]
    assert bytes.fromhex(row.split("`")[1]) == made


def test_encoders_make_what_was_written_by_hand():
    steps = np.array([[1, 8388607], [-1, -8388608]], np.int32)
    assert encode_data(7, 1024, 0x91, steps) == GOLDEN_DATA
    assert encode_clock(1000, 2_000_000) == GOLDEN_CLOCK
    virtual = recorder()
    info = profile.decode_info(virtual.read(INFO))
    assert encode_info(replace(info, boot=0x01020304)) == GOLDEN_INFO
    assert struct.calcsize("<BBIIIIHHBBBHHB") == 30
