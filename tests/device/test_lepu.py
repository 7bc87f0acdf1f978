"""Lepu's recorders: what is asked, what is answered, and that no sample is lost, doubled or misplaced."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsemvae_edge.codecs import lepu as codec
from lsemvae_edge.device import drivers
from lsemvae_edge.device.drivers import _lepu as layout
from lsemvae_edge.device.drivers.lepu import LepuOneLead, LepuSixLead
from lsemvae_edge.device.errors import UnsupportedRecorderError
from lsemvae_edge.device.events import Battery, Contact, Damaged, Frame, Reply
from lsemvae_edge.device.virtual import lepu as virtual
from lsemvae_edge.device.virtual.lepu import VirtualEr1, VirtualEr3
from lsemvae_edge.device.virtual.wire import Wire
from lsemvae_edge.synthetic.heart import drawn, simulate


def by_bits(data: bytes) -> int:
    register = 0
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register << 1) ^ (0x107 if register & 0x80 else 0)
    return register


def answer(command: int, payload: bytes, kind: int = 1) -> bytes:
    head = bytes([0xA5, command, 0xFF - command, kind, 0]) + struct.pack("<H", len(payload)) + payload
    return head + bytes([by_bits(head)])


# Recording, begun 2026-01-02 03:04:05, 2 s ago, 83 %, cable plugged in, lead type 2, LL off.
ER3_RUN = "03 ea070102030405 02000000 00 53 000000000000 01 02 0400 4800 00 00" + "00" * 12
ER3_ANSWER = bytes.fromhex(
    "a5 03 fc 01 00 4800"
    + ER3_RUN
    + "10 000000 f4010000 0300"  # differences at 250 Hz, first sample 500, three samples
    + "80ff 0000 0a00 f6ff 0000  00 01 ff 00  80 06 00 e803 ff7f 00"
)
ER3_ANSWER += bytes([by_bits(ER3_ANSWER)])

INFO_ANSWER = answer(0xE1, bytes(60))


@pytest.fixture(scope="module")
def heart():
    rng = np.random.default_rng(11)
    return simulate(drawn(rng), 30.0, 250.0, rng, ("I", "II", "V1", "V5"))


@pytest.fixture(params=["er3", "er3 that never resends", "er3 with raw samples", "m12"])
def er3(request, heart):
    more = {
        "er3 that never resends": {"resends": False},
        "er3 with raw samples": {"coding": layout.RAW},
        "m12": {"speaks": "m"},
    }
    return VirtualEr3(heart, **more.get(request.param, {}))


def six():
    return LepuSixLead().decoder(LepuSixLead().stream({}, 247))


def one():
    return LepuOneLead().decoder(LepuOneLead().stream({}, 247))


def asked(decoder) -> codec.Packet:
    """What the decoder asks next, when nothing arrives; None while it waits."""
    (write,) = decoder.due()
    (packet,) = codec.Reassembler().feed(write.data)
    return packet


def events_of(wire: Wire, seconds: float, lose=lambda arrival: False, **more) -> list:
    found = []
    for arrival in wire.record(seconds, **more):
        if not lose(arrival):
            found += wire.decoder.feed(arrival.uuid, arrival.data)
    return found


def frames_of(events) -> list[Frame]:
    return [event for event in events if isinstance(event, Frame)]


def assert_frames_are_the_feed(frames, recorder) -> None:
    """Every sample stands where its index says, none comes twice."""
    after = None
    for frame in frames:
        n = frame.signal_mv.shape[1]
        steps = recorder.feed.steps(recorder.origin + frame.index, n)[1:3]
        np.testing.assert_array_equal(frame.signal_mv, (steps * 0.00244).astype(np.float32))
        assert frame.signal_mv.dtype == np.float32
        assert after is None or frame.index >= after
        after = frame.index + n


def missing(frames) -> int:
    held = sum(frame.signal_mv.shape[1] for frame in frames)
    return frames[-1].index + frames[-1].signal_mv.shape[1] - frames[0].index - held


def test_the_drivers_are_found_by_service_and_name_together(monkeypatch):
    monkeypatch.setattr(drivers, "BUILT_IN", {name: drivers.BUILT_IN[name] for name in ("lepu-6l", "lepu-1l")})
    assert drivers.match([layout.SERVICE], "ER3 0001").description.name == "lepu-6l"
    assert drivers.match([layout.SERVICE.upper()], "LepodPro 12").description.name == "lepu-6l"
    assert drivers.match([layout.SERVICE], "M12 0044").description.name == "lepu-6l"
    assert drivers.match([layout.SERVICE], "DuoEK 0123").description.name == "lepu-1l"
    assert drivers.match([layout.SERVICE], "LP ER2 01").description.name == "lepu-1l"
    # Blood pressure meter, oximeter and scale of the same maker, with the same service.
    for name in ("BP2 0123", "O2Ring 0123", "le S1", None):
        assert drivers.match([layout.SERVICE], name) is None


def test_only_the_rate_of_the_recorder_is_offered():
    assert LepuSixLead().stream({}, 23, 250.0).fs_hz == 250.0
    assert LepuOneLead().stream({}, 247).mv_per_lsb == pytest.approx(0.0024672, abs=1e-7)
    for driver in (LepuSixLead(), LepuOneLead()):
        with pytest.raises(UnsupportedRecorderError, match="500 Hz"):
            driver.stream({}, 247, 500.0)


def test_an_answer_written_by_hand_is_decoded():
    decoder = six()
    assert asked(decoder).payload == bytes(4)
    # The first answer ends at sample 500 and tells where the present is.
    before = bytes.fromhex(ER3_RUN + "10 000000 f3010000 0100 80ff 0000 0a00 f6ff 0000")
    assert decoder.feed(layout.NOTIFY, answer(3, before)) == [Battery(83)]
    decoder.due()
    assert asked(decoder).payload == struct.pack("<I", 500)
    (frame,) = decoder.feed(layout.NOTIFY, ER3_ANSWER)
    assert (frame.index, frame.off, frame.dropped) == (500, frozenset({"LL"}), False)
    np.testing.assert_array_equal(frame.signal_mv, np.float32([[0.0244, 0.02684, 2.44], [-0.0244, -0.02684, np.nan]]))


def test_a_one_lead_request_is_what_another_app_sends():
    decoder = one()
    for _ in range(10):
        (write,) = decoder.due() or decoder.due() or decoder.due() or decoder.due()
    assert write.data == bytes.fromhex("a503fc000a01007dbf")
    assert write.uuid == layout.WRITE


def test_start_and_stop_are_the_published_commands():
    driver = LepuSixLead()
    stream = driver.stream({}, 247)
    begin, info = driver.start(stream, 1)
    (end,) = driver.stop(stream)
    assert begin.data.hex() == "a508f700000000" + f"{by_bits(bytes.fromhex('a508f700000000')):02x}"
    assert end.data.hex() == "a507f800000000" + f"{by_bits(bytes.fromhex('a507f800000000')):02x}"
    assert info.data.hex() == "a5e11e00000000" + f"{by_bits(bytes.fromhex('a5e11e00000000')):02x}"
    assert six().feed(layout.NOTIFY, INFO_ANSWER) == [Reply(info.request)]


def test_a_refused_start_says_why_and_an_unknown_one_is_no_refusal():
    for kind, error in ((0xFB, "occupied"), (0x77, "error 0x77"), (0xFD, None), (0x01, None)):
        decoder = six()
        assert decoder.feed(layout.NOTIFY, answer(8, b"", kind)) == []
        assert decoder.feed(layout.NOTIFY, INFO_ANSWER) == [Reply(0xE1, error)]
        assert decoder.feed(layout.NOTIFY, INFO_ANSWER) == [Reply(0xE1)]
    assert six().feed(layout.NOTIFY, answer(0xE1, b"", 0xFF)) == [Reply(0xE1, "failed")]
    assert six().feed(layout.NOTIFY, answer(7, b"", 0xFF)) == []


@pytest.mark.parametrize("mtu", [23, 100, 247])
def test_frames_are_the_feed_step_for_step(er3, mtu):
    wire = Wire(er3, LepuSixLead(), mtu)
    events = events_of(wire, 20.0)
    frames = frames_of(events)
    assert_frames_are_the_feed(frames, er3)
    assert missing(frames) == 0
    assert Reply(layout.INFO) in events
    assert [event for event in events if isinstance(event, Battery)] == [Battery(80)]
    # Until it is known which command the recorder answers, some seconds may pass.
    assert frames[-1].index + frames[-1].signal_mv.shape[1] > 19 * 250
    assert frames[0].index < 4 * 250
    assert all(frame.off == frozenset() and not frame.dropped for frame in frames)


def test_a_room_that_asks_after_every_notification_gets_the_same(er3):
    wire = Wire(er3, LepuSixLead(), 100)
    requests, frames, pending = 0, [], []
    for write in wire.driver.start(wire.stream, 1):
        pending += er3.write(write.uuid, write.data)
    for tick in range(1000):
        asks = list(wire.decoder.due()) if tick % 12 == 0 else []
        pending += er3.advance(0.02)
        while pending or asks:
            for write in asks:
                requests += 1
                pending += er3.write(write.uuid, write.data)
            asks = []
            if pending:
                frames += frames_of(wire.decoder.feed(*pending.pop(0)))
                asks = list(wire.decoder.due())
    assert_frames_are_the_feed(frames, er3)
    assert missing(frames) == 0
    assert requests <= 1000 / 12 + 10  # the pace is that of the clock


def test_what_was_measured_before_the_start_never_enters(heart):
    """An M12 measures all the time; what is older than the start stays out of the first recording and of the next."""
    recorder = VirtualEr3(heart, speaks="m")
    wire = Wire(recorder, LepuSixLead())
    recorder.advance(30.0)
    for _ in range(2):
        begun = int(recorder._clock_s * 250)
        frames = frames_of(events_of(wire, 8.0))
        assert frames[0].index >= begun
        assert_frames_are_the_feed(frames, recorder)
        recorder.advance(25.0)


def test_a_lost_answer_is_asked_for_again_and_costs_nothing_if_the_recorder_resends(heart):
    recorder = VirtualEr3(heart)
    rng = np.random.default_rng(4)
    wire = Wire(recorder, LepuSixLead())
    frames = frames_of(events_of(wire, 120.0, lose=lambda arrival: rng.random() < 0.02))
    assert len(frames) > 20
    assert_frames_are_the_feed(frames, recorder)
    assert missing(frames) == 0


def test_a_lost_answer_leaves_an_exact_gap_if_the_recorder_does_not_resend(heart):
    recorder = VirtualEr3(heart, resends=False)
    wire = Wire(recorder, LepuSixLead())
    lost = range(40, 44)
    seen = iter(range(10**6))
    frames = frames_of(events_of(wire, 30.0, lose=lambda arrival: next(seen) in lost))
    assert_frames_are_the_feed(frames, recorder)
    assert 0 < missing(frames) < 1000


def test_bits_that_flip_on_the_way_never_change_a_sample(heart):
    recorder = VirtualEr3(heart)
    rng = np.random.default_rng(6)
    wire = Wire(recorder, LepuSixLead())
    frames, damaged = [], 0
    for arrival in wire.record(120.0):
        data = bytearray(arrival.data)
        if rng.random() < 0.02:
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        events = wire.decoder.feed(arrival.uuid, bytes(data))
        frames += frames_of(events)
        damaged += sum(isinstance(event, Damaged) for event in events)
    assert damaged > 5
    assert_frames_are_the_feed(frames, recorder)
    assert missing(frames) == 0


def test_repeated_notifications_add_nothing(heart):
    recorder = VirtualEr3(heart)
    wire = Wire(recorder, LepuSixLead(), 4096)  # each answer in one notification
    frames = []
    for arrival in wire.record(15.0):
        for _ in range(3):
            frames += frames_of(wire.decoder.feed(arrival.uuid, arrival.data))
    assert_frames_are_the_feed(frames, recorder)
    assert missing(frames) == 0


def test_a_recorder_away_for_longer_than_it_remembers_leaves_an_exact_gap(heart):
    recorder = VirtualEr3(heart)
    wire = Wire(recorder, LepuSixLead())
    frames = frames_of(events_of(wire, 31.0, lose=lambda arrival: 10 < arrival.at_s < 25))
    assert_frames_are_the_feed(frames, recorder)
    away = 15 - virtual.HISTORY_S
    assert away * 250 - 500 < missing(frames) < away * 250 + 500
    assert frames[-1].index > 30 * 250 - 250


def test_electrodes_without_contact_are_told_and_their_leads_are_no_zeros(heart):
    recorder = VirtualEr3(heart)
    wire = Wire(recorder, LepuSixLead())
    frames = []
    for arrival in wire.record(12.0):
        recorder.off = {"LL"} if 4 < wire.now_s < 6 else {"RA", "LL"} if 8 < wire.now_s < 10 else set()
        frames += frames_of(wire.decoder.feed(arrival.uuid, arrival.data))
    signal = np.concatenate([frame.signal_mv for frame in frames], axis=1)
    nan = np.isnan(signal).mean(axis=1) * 12
    assert nan == pytest.approx([2.0, 4.0], abs=0.4)
    assert {frame.off for frame in frames} >= {frozenset(), frozenset({"LL"}), frozenset({"RA", "LL"})}
    finite = [frame for frame in frames if np.isfinite(frame.signal_mv).all()]
    assert_frames_are_the_feed(finite, recorder)


def test_contact_is_told_while_nothing_is_measured(heart):
    recorder = VirtualEr3(heart)
    recorder.off = {"LA"}
    decoder = six()
    (write,) = decoder.due()
    events = [event for message in recorder.write(write.uuid, write.data) for event in decoder.feed(*message)]
    assert events == [Battery(80), Contact(frozenset({"LA"}))]


def test_a_measurement_that_begins_anew_is_followed_and_told(heart):
    recorder = VirtualEr3(heart)
    wire = Wire(recorder, LepuSixLead())
    before = frames_of(events_of(wire, 6.0))
    assert_frames_are_the_feed(before, recorder)
    recorder.reboot()
    recorder.write(layout.WRITE, codec.encode_frame(codec.Packet(layout.START)))
    recorder.connected(247)
    after, polls = [], 0
    while len(after) < 5 and polls < 100:
        polls += 1
        for write in wire.decoder.due():
            for message in recorder.write(write.uuid, write.data):
                after += frames_of(wire.decoder.feed(*message))
        recorder.advance(0.25)
    assert after[0].dropped
    assert after[0].index < 500
    assert_frames_are_the_feed(after, recorder)
    assert missing(after) == 0


def test_a_lead_type_without_leads_i_and_ii_gives_no_frame(heart):
    recorder = VirtualEr3(heart)
    recorder.lead_type = 3
    events = events_of(Wire(recorder, LepuSixLead()), 5.0)
    assert not frames_of(events)
    assert any(isinstance(event, Damaged) and "lead type 3" in event.reason for event in events)


def run_and_wave(lead_type=2, wave_info=0x10, first=0, n=1, data=b"\x80\xff" + bytes(8), percent=80) -> bytes:
    run = layout.ER3_RUN.pack(3, b"1234567", 0, 0, percent, 1, lead_type, 0)
    return run + layout.ER3_WAVE.pack(wave_info, first, n) + data


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (run_and_wave(wave_info=0x11), "another rate"),
        (run_and_wave(wave_info=0x20), "coding 2"),
        (run_and_wave(wave_info=0x00), "coding 0 with 10 bytes"),
        (run_and_wave(n=2), "1 samples that states 2"),
        (run_and_wave(data=b"\x80\xff"), "within a sample"),
        (run_and_wave(lead_type=99), "lead type 99"),
        (b"short", "buffer"),
    ],
)
def test_answers_that_contradict_themselves_are_dropped(payload, says):
    decoder = six()
    decoder.due()
    (event,) = [e for e in decoder.feed(layout.NOTIFY, answer(3, payload)) if not isinstance(e, Battery)]
    assert isinstance(event, Damaged)
    assert says in event.reason


def test_a_request_is_not_repeated_before_its_time_and_the_other_command_is_tried():
    decoder = six()
    commands = []
    for _ in range(40):
        for write in decoder.due():
            (packet,) = codec.Reassembler().feed(write.data)
            commands.append((packet.command, len(packet.payload)))
    assert commands == [(3, 4)] * 2 + [(6, 4)] * 2 + [(3, 0)] * 2 + [(6, 0)] * 2 + [(3, 4)] * 2
    decoder = six()
    decoder.due()
    decoder.feed(layout.NOTIFY, answer(3, b"", kind=0xFD))
    decoder.due()
    assert asked(decoder).command == 6


def test_a_half_answer_does_not_hold_up_the_next_one():
    decoder = six()
    decoder.due()
    assert decoder.feed(layout.NOTIFY, ER3_ANSWER[:30]) == []
    writes = [decoder.due() for _ in range(6)]
    assert sum(map(len, writes)) == 1
    junk, battery = decoder.feed(layout.NOTIFY, ER3_ANSWER)
    assert junk == Damaged("a frame that never ended", 30)
    assert battery == Battery(83)


def test_one_lead_is_the_feed_and_nothing_older_than_the_start(heart):
    recorder = VirtualEr1(heart)
    wire = Wire(recorder, LepuOneLead(), 23)
    recorder.advance(40.0)
    for _ in range(2):
        begun = recorder.n_taken
        frames = frames_of(events_of(wire, 12.0))
        signal = np.concatenate([frame.signal_mv for frame in frames], axis=1)
        first = recorder.n_taken - signal.shape[1]
        where = [
            at
            for at in range(begun, begun + 200)
            if np.array_equal(
                (recorder.feed.steps(at, signal.shape[1]) * layout.ER1_MV_PER_LSB).astype(np.float32), signal
            )
        ]
        assert where
        assert first >= begun
        assert all(frame.index is None and not frame.dropped and frame.off == frozenset() for frame in frames)
        recorder.advance(20.0)


def test_one_lead_that_lost_an_answer_says_so_and_doubles_nothing(heart):
    recorder = VirtualEr1(heart)
    wire = Wire(recorder, LepuOneLead())
    seen = iter(range(10**6))
    frames = []
    for arrival in wire.record(20.0):
        if next(seen) in (9, 10):
            continue
        for _ in range(2):
            frames += frames_of(wire.decoder.feed(arrival.uuid, arrival.data))
    assert any(frame.dropped for frame in frames)
    assert sum(frame.signal_mv.shape[1] for frame in frames) < 20 * 125


def test_one_lead_without_contact_is_told(heart):
    recorder = VirtualEr1(heart)
    recorder.off = {"RA"}
    frames = frames_of(events_of(Wire(recorder, LepuOneLead()), 4.0))
    assert all(frame.off == {"RA", "LA"} for frame in frames)
    assert np.isnan(np.concatenate([frame.signal_mv for frame in frames], axis=1)).all()


def test_a_one_lead_answer_written_by_hand_is_decoded():
    decoder = one()
    run = "4800 01 64 10000000 02" + "00" * 11
    decoder.due()
    assert decoder.feed(layout.NOTIFY, answer(3, bytes.fromhex(run + "0100 6400"))) == [Battery(100)]
    decoder.due()
    decoder.due()
    (frame,) = decoder.feed(layout.NOTIFY, answer(3, bytes.fromhex(run + "0300 6400 9cff ff7f 1111")))
    np.testing.assert_allclose(frame.signal_mv, [[0.24672217, -0.24672217, np.nan]], rtol=1e-6)
    decoder.due()
    decoder.due()
    (event,) = decoder.feed(layout.NOTIFY, answer(3, bytes.fromhex(run + "0300 6400 9cff")))
    assert event == Damaged("an answer with 4 bytes for 3 samples", 26)


pieces = st.lists(
    st.binary(max_size=100)
    | st.just(ER3_ANSWER)
    | st.just(INFO_ANSWER)
    | st.builds(answer, st.sampled_from([3, 6, 7, 8, 0xE1]), st.binary(max_size=120), st.sampled_from([1, 0xFB]))
    | st.builds(
        lambda *drawn: answer(3, run_and_wave(*drawn)),
        st.integers(0, 9), st.sampled_from([0, 0x10]), st.integers(0, 2**32 - 1), st.integers(0, 4),
        st.binary(max_size=40), st.integers(0, 255),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=300)
@given(pieces, st.sampled_from([six, one]))
def test_any_notification_is_decoded_or_damaged(notifications, make):
    decoder = make()
    n_rows = 2 if make is six else 1
    for notification in notifications:
        assert len(decoder.due()) <= 1
        for event in decoder.feed(layout.NOTIFY, notification):
            assert isinstance(event, Frame | Battery | Contact | Reply | Damaged)
            if isinstance(event, Frame):
                assert event.signal_mv.shape[0] == n_rows
                assert event.signal_mv.shape[1] > 0
                assert event.index is None or 0 <= event.index < 2**32
            if isinstance(event, Battery):
                assert 0 <= event.percent <= 100
        assert decoder._frames.n_kept <= codec.MAX_PAYLOAD + 8


def test_another_characteristic_is_damage():
    assert six().feed(layout.WRITE, b"abc") == [Damaged("an unknown characteristic", 3)]


@given(st.integers(2**32 - 700, 2**32 - 1))
def test_the_index_runs_over_without_a_seam(start):
    decoder = six()
    values = np.arange(4 * 300, dtype=np.int16).reshape(4, 300)

    def sent(at: int) -> list:
        payload = run_and_wave(first=at % 2**32, n=300, data=codec.encode_deltas(values))
        return frames_of(decoder.feed(layout.NOTIFY, answer(3, payload)))

    assert sent(start) == []
    (frame,) = sent(start + 300)
    assert (frame.index, frame.signal_mv.shape[1]) == ((start + 300) % 2**32, 300)
    (frame,) = sent(start + 580)
    assert (frame.index, frame.signal_mv.shape[1]) == ((start + 600) % 2**32, 280)
    assert sent(start + 580) == []


def test_a_virtual_recorder_answers_as_the_vendor_describes(heart):
    recorder = VirtualEr3(heart)
    assert recorder.advertised == (layout.SERVICE,)
    recorder.connected(247)
    ((uuid, info),) = recorder.write(layout.WRITE, codec.encode_frame(codec.Packet(layout.INFO, sequence=5)))
    assert uuid == layout.NOTIFY
    assert info[:7].hex() == "a5e11e01053c00"
    assert len(info) == 60 + 8
    assert info[7 + 37 : 7 + 37 + 11] == b"\x0a2204170001"
    ((_, refusal),) = recorder.write(layout.WRITE, codec.encode_frame(codec.Packet(0x06, bytes(4))))
    assert refusal[3] == 0xFD
    assert recorder.write(layout.WRITE, b"\xa5\x03\xfc\x00") == []
    recorder.disconnected()
    assert recorder.read(layout.NOTIFY) == b""
