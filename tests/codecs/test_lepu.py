"""Frames, delta code and files of Lepu's recorders, against bytes written by hand and a plain decoder."""

import struct
from binascii import crc_hqx

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lsemvae_edge.codecs import lepu
from lsemvae_edge.codecs.lepu import Junk, Packet, Reassembler
from lsemvae_edge.errors import BadInputError

REQUEST_OF_ANOTHER_APP = bytes.fromhex("a503fc000a01007dbf")
"""What a published app for the DuoEK sends to be given samples."""

STREAM = bytes.fromhex(
    "80ff 0a00 f6ff 0001 ff7f"  # all raw: 10, -10, 256, 32767
    "01 ff 7f 00"  # differences
    "8004 80 05 0080 00"  # third channel raw, the first one 128 lower
    "8000 01 01 01 00"  # a mask that names no channel
)
VALUES = np.array([[10, 11, -117, -116], [-10, -11, -6, -5], [256, 383, -32768, -32767], [32767] * 4], np.int16)

SMALL_FILE = bytes.fromhex(
    "01000200000000000000"  # version 1, lead type 2
    "80ff0a00f6ff0001ff7f 01ff7f00 80048005008000 800001010100 000102ff"
    "02000000 799f 00000000000000000000 38045aa5"  # 2 s, checksum, reserved, magic
)


def by_bits(data: bytes, width: int, polynomial: int, start: int) -> int:
    """CRC as the textbook has it, one bit at a time."""
    register = start
    for byte in data:
        for bit in range(7, -1, -1):
            top = register >> (width - 1) & 1
            register = (register << 1) & ((1 << width) - 1)
            if top ^ (byte >> bit & 1):
                register ^= polynomial
    return register


def byte_by_byte(data: bytes, n_channels: int) -> list[list[int]]:
    """Decode as the description reads; raises ValueError or IndexError on what it does not allow."""
    values, samples, at = [0] * n_channels, [], 0

    def take() -> int:
        nonlocal at
        at += 1
        return data[at - 1]

    while at < len(data):
        masked = data[at] == 0x80
        mask = (take(), take())[1] if masked else 0
        for channel in range(n_channels):
            low = take()
            if mask >> channel & 1:
                values[channel] = struct.unpack("<h", bytes([low, take()]))[0]
                continue
            if low == 0x80 and not masked:
                raise ValueError("a mask within a sample")
            values[channel] += low - 256 * (low >= 128)
            if not -32768 <= values[channel] <= 32767:
                raise ValueError("beyond 16 bits")
        samples.append(list(values))
    return samples


def with_checksum(head_and_stream: bytes, seconds: int = 0, magic: int = 0xA55A0438) -> bytes:
    return head_and_stream + struct.pack("<IH10xI", seconds, crc_hqx(head_and_stream, 0xFFFF), magic)


def some(n_channels=4, n_samples=1000, widest=200, seed=5):
    steps = np.random.default_rng(seed).integers(-widest, widest + 1, (n_channels, n_samples))
    return np.clip(np.cumsum(steps, axis=1), -32768, 32767).astype(np.int16)


def test_checksums_have_their_published_check_values():
    assert lepu.crc8(b"123456789") == by_bits(b"123456789", 8, 0x07, 0) == 0xF4
    assert crc_hqx(b"123456789", 0xFFFF) == by_bits(b"123456789", 16, 0x1021, 0xFFFF) == 0x29B1


def test_a_request_is_what_another_app_sends():
    assert lepu.encode_frame(Packet(0x03, b"\x7d", sequence=0x0A)) == REQUEST_OF_ANOTHER_APP
    assert Reassembler().feed(REQUEST_OF_ANOTHER_APP) == [Packet(0x03, b"\x7d", 0, 0x0A)]


def test_a_stream_written_by_hand_is_decoded():
    np.testing.assert_array_equal(lepu.decode_deltas(STREAM, 4), VALUES)


def test_the_encoder_writes_what_the_recorder_writes():
    """All raw at first, with the whole mask; later only channels that jump, and never a difference of -128."""
    values = np.array([[10, 137, 9, 9], [-10, -137, -137, -136]], np.int16)
    assert lepu.encode_deltas(values).hex() == "80ff0a00f6ff" + "7f81" + "8001090000" + "0001"


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (STREAM + b"\x01", "ends within"),
        (STREAM + b"\x80", "ends within"),
        (STREAM + b"\x80\x04\x01", "ends within"),
        (STREAM + bytes.fromhex("01800000"), "mask within"),
        (STREAM + bytes.fromhex("00000001"), "16 bits"),
    ],
)
def test_what_no_recorder_writes_is_refused(stream, says):
    with pytest.raises(BadInputError, match=says):
        lepu.decode_deltas(stream, 4)


def test_a_stream_beyond_the_limit_is_refused():
    assert lepu.decode_deltas(bytes(400), 4, limit=100).shape == (4, 100)
    with pytest.raises(BadInputError, match="more than 99"):
        lepu.decode_deltas(bytes(400), 4, limit=99)


recordings = st.tuples(st.integers(2, 8), st.integers(1, 300), st.sampled_from([3, 130, 40000]), st.integers(0, 9999))


@given(recordings, st.integers(24, 200))
def test_samples_survive_the_delta_code_at_any_block_border(drawn, block):
    samples = some(*drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lepu, "_BLOCK_BYTES", block)
        np.testing.assert_array_equal(lepu.decode_deltas(lepu.encode_deltas(samples), drawn[0]), samples)


likely = st.sampled_from([0x80, 0x80, 0xFF, 0x7F, 0x00, 0x01, 0x13])


@settings(max_examples=400)
@given(st.lists(likely | st.integers(0, 255), max_size=120).map(bytes), st.integers(2, 8), st.integers(18, 64))
def test_any_bytes_are_read_as_the_byte_by_byte_decoder_reads_them(stream, n_channels, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lepu, "_BLOCK_BYTES", block)
        try:
            expected = byte_by_byte(stream, n_channels)
        except (ValueError, IndexError):
            with pytest.raises(BadInputError):
                lepu.decode_deltas(stream, n_channels)
        else:
            found = lepu.decode_deltas(stream, n_channels)
            assert found.T.tolist() == expected


def test_a_small_file_written_by_hand_is_decoded():
    found = lepu.decode_file(SMALL_FILE)
    assert (found.lead_type, found.seconds) == (2, 2)
    np.testing.assert_array_equal(found.samples, np.column_stack([VALUES, [-116, -4, -32765, 32766]]))
    assert by_bits(SMALL_FILE[:-20], 16, 0x1021, 0xFFFF) == 0x9F79


@pytest.mark.parametrize("lead_type", lepu.LEAD_TYPES)
def test_a_file_is_read_as_it_was_written(lead_type):
    samples = some(len(lepu.LEAD_TYPES[lead_type]), 2500)
    found = lepu.decode_file(lepu.encode_file(samples, lead_type))
    assert (found.lead_type, found.seconds) == (lead_type, 10)
    np.testing.assert_array_equal(found.samples, samples)


def test_every_changed_bit_is_refused_unless_it_touches_no_sample():
    """Length and reserved bytes of the tail stand under no checksum; a length far off is refused all the same."""
    good = lepu.encode_file(some(n_samples=60), seconds=0)
    samples = lepu.decode_file(good).samples
    unprotected = {*range(len(good) - 20, len(good) - 16), *range(len(good) - 14, len(good) - 4)}
    for at in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[at] ^= 1 << bit
            if at not in unprotected:
                with pytest.raises(BadInputError):
                    lepu.decode_file(bytes(bad))
                continue
            try:
                found = lepu.decode_file(bytes(bad))
            except BadInputError as error:
                assert "states" in str(error)
            else:
                np.testing.assert_array_equal(found.samples, samples)


def test_a_file_cut_anywhere_is_refused():
    good = lepu.encode_file(some(n_samples=60))
    for length in range(len(good)):
        with pytest.raises(BadInputError):
            lepu.decode_file(good[:length])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (with_checksum(bytes.fromhex("0100ff00000000000000") + STREAM), "lead type 255"),
        (with_checksum(bytes.fromhex("01000200000000000000") + STREAM, magic=0), "does not end"),
        (with_checksum(bytes.fromhex("01000200000000000000") + STREAM[:-1]), "ends within"),
        (with_checksum(bytes.fromhex("01000200000000000000")), "cut short"),
        (lepu.encode_file(some(n_channels=8), lead_type=0, seconds=15), "states 15 s"),
    ],
)
def test_files_that_cannot_be_read_right_are_named(content, says):
    with pytest.raises(BadInputError, match=says) as caught:
        lepu.decode_file(content)
    assert caught.value.next_step


def test_a_length_that_is_a_little_off_is_no_fault():
    """Recorders round, and count their preparation."""
    for seconds in (0, 4, 13):
        assert lepu.decode_file(lepu.encode_file(some(), seconds=seconds)).samples.shape == (4, 1000)


def test_a_one_lead_file_of_the_same_maker_is_not_taken_for_twelve_leads():
    """ER1 and ER2 files end alike, and their header reads as lead type 0; their 125 bytes a second betray them."""
    one_lead = with_checksum(bytes.fromhex("01000000000000000000") + bytes(125 * 60 + 4), seconds=60)
    with pytest.raises(BadInputError, match="states 60 s"):
        lepu.decode_file(one_lead)


@given(st.binary(max_size=200))
def test_any_bytes_as_a_file_raise_nothing_else(content):
    for data in (content, with_checksum(content), with_checksum(b"\1\0\2" + bytes(7) + content)):
        try:
            assert lepu.decode_file(data).samples.shape[0] in (4, 8)
        except BadInputError as error:
            assert error.next_step


packets = st.builds(Packet, st.integers(0, 255), st.binary(max_size=300), st.integers(0, 255), st.integers(0, 255))


@given(st.lists(packets, max_size=6), st.integers(1, 300))
def test_frames_are_found_across_notifications(sent, piece):
    stream = b"".join(map(lepu.encode_frame, sent))
    frames = Reassembler()
    found = [item for at in range(0, len(stream), piece) for item in frames.feed(stream[at : at + piece])]
    assert found == sent
    assert frames.n_kept == 0


@settings(max_examples=200)
@given(st.data())
def test_damage_costs_no_frame_but_the_one_it_hit(data):
    sent = data.draw(st.lists(st.binary(min_size=1, max_size=60), min_size=3, max_size=6))
    # Payloads without a start byte, so that what is left of the damaged frame cannot pass for another one.
    sent = [Packet(3, payload.replace(b"\xa5", b"\x00"), 1, 7) for payload in sent]
    pieces = [bytearray(lepu.encode_frame(packet)) for packet in sent]
    hit = data.draw(st.integers(0, len(pieces) - 1))
    kind = data.draw(st.sampled_from(["bit", "cut", "length", "gone"]))
    if kind == "bit":
        pieces[hit][data.draw(st.integers(0, len(pieces[hit]) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del pieces[hit][data.draw(st.integers(0, len(pieces[hit]) - 1)) :]
    elif kind == "length":
        length = data.draw(st.integers(0, 65535))
        pieces[hit][5:7] = struct.pack("<H", length)
        # One wrong length in 256 has the right checksum; that is what eight bits can do.
        assume(length + 8 > len(pieces[hit]) or lepu.crc8(pieces[hit][: length + 7]) != pieces[hit][length + 7])
    else:
        pieces[hit] = bytearray(b"\x00\xa5\x17")
    stream = b"".join(pieces)
    frames = Reassembler()
    found = [*frames.feed(stream), *frames.flush()]
    intact = [packet for number, packet in enumerate(sent) if number != hit]
    kept = [item for item in found if isinstance(item, Packet)]
    assert kept == intact
    junk = sum(item.n_bytes for item in found if isinstance(item, Junk))
    assert junk + sum(8 + len(packet.payload) for packet in kept) == len(stream)
    assert frames.n_kept == 0


def test_a_frame_in_two_halves_is_kept_and_a_start_that_leads_nowhere_is_given_up():
    frame = lepu.encode_frame(Packet(3, b"abc", 1))
    frames = Reassembler()
    assert frames.feed(frame[:5]) == []
    assert frames.n_kept == 5
    assert frames.feed(frame[5:]) == [Packet(3, b"abc", 1)]
    lying = b"\xa5\x03\xfc\x01\x00\x00\x10"
    assert frames.feed(lying + frame) == []
    assert frames.flush() == [Junk("a frame that never ended", len(lying)), Packet(3, b"abc", 1)]


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=244) | st.just(b"\xa5\x03\xfc\x01\x00\x00\x20"), max_size=60))
def test_what_is_kept_stays_bounded(pieces):
    frames = Reassembler()
    for piece in pieces * 3:
        frames.feed(piece)
        assert frames.n_kept <= lepu.MAX_PAYLOAD + 8
    frames.flush()
    assert frames.n_kept == 0
