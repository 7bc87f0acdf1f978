import numpy as np
import pytest

from lsemvae_edge.device.drivers import open6l as profile
from lsemvae_edge.device.drivers.open6l import CLOCK, CONTROL, DATA, INFO, Open6L
from lsemvae_edge.device.events import ClockMark, Frame, Reply
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.open6l import VirtualOpen6L
from lsemvae_edge.device.virtual.wire import Wire
from lsemvae_edge.errors import UsageError
from lsemvae_edge.record import Record

NV = 48e-6


def recorder(n=5000, fs_hz=500.0, **options):
    """A recorder whose lead I counts up from 0, and lead II down."""
    steps = np.arange(n) * np.array([[1], [-1]])
    record = Record((steps * NV).astype(np.float32), fs_hz, ("I", "II"))
    return VirtualOpen6L(Feed(record, ("I", "II"), fs_hz, NV, 24), fs_hz, **options)


def events_of(wire, arrivals):
    return [event for arrival in arrivals for event in wire.decoder.feed(arrival.uuid, arrival.data)]


def frames_of(wire, arrivals):
    return [event for event in events_of(wire, arrivals) if isinstance(event, Frame)]


def steps_of(frames):
    return np.rint(np.concatenate([frame.signal_mv for frame in frames], axis=1) / NV).astype(int)


def test_what_the_virtual_recorder_is_fed_arrives_whole():
    wire = Wire(recorder(), Open6L())
    events = events_of(wire, wire.record(10.0, recording=9))
    frames = [event for event in events if isinstance(event, Frame)]
    np.testing.assert_array_equal(steps_of(frames), np.arange(5000) * np.array([[1], [-1]]))
    assert [frame.index for frame in frames] == list(range(0, 5000, 20))
    assert {(frame.recording, frame.off, frame.saturated, frame.dropped) for frame in frames} == {
        (9, frozenset(), frozenset(), False)
    }
    assert events[0] == Reply(0x010A)
    assert events[-1] == Reply(0x0201)
    marks = [event for event in events if isinstance(event, ClockMark)]
    assert marks == [ClockMark(500 * second, float(second)) for second in range(10)]


def test_the_least_mtu_carries_two_samples_a_packet_at_the_lower_rate():
    wire = Wire(recorder(), Open6L(), mtu=23)
    frames = frames_of(wire, wire.record(1.0))
    assert wire.stream.fs_hz == 250.0
    assert {frame.signal_mv.shape for frame in frames} == {(2, 2)}
    np.testing.assert_array_equal(steps_of(frames)[0], np.arange(0, 500, 2))


def test_what_is_held_at_a_stop_is_sent_before_the_reply():
    wire = Wire(recorder(), Open6L())
    arrivals = list(wire.record(0.25, tick_s=0.01))
    frames = frames_of(wire, arrivals)
    assert steps_of(frames).shape == (2, 125)
    assert frames[-1].signal_mv.shape == (2, 5)
    assert [arrival.uuid for arrival in arrivals[-2:]] == [DATA, CONTROL]


def ask(virtual, text):
    """Write to Control; return the status by name."""
    ((uuid, data),) = virtual.write(CONTROL, bytes.fromhex(text))
    assert uuid == CONTROL
    assert data[:2] == bytes.fromhex(text)[:2]
    return profile.STATUSES[data[2]]


def test_commands_are_refused_in_the_order_of_the_specification():
    virtual = recorder()
    virtual.connected(23)
    assert ask(virtual, "0901") == "UNKNOWN_OPCODE"
    assert ask(virtual, "01 00 f401 01") == "MALFORMED"
    assert ask(virtual, "01 05 f401") == "MALFORMED"
    assert ask(virtual, "02 05 00") == "MALFORMED"
    assert ask(virtual, "01 05 2c01 01") == "RATE_NOT_OFFERED"
    assert ask(virtual, "01 05 f401 01") == "MTU_TOO_SMALL"
    virtual.connected(247)
    virtual.battery_percent = 2
    assert ask(virtual, "01 05 f401 01") == "LOW_BATTERY"
    virtual.battery_percent = 50
    virtual.faulty = True
    assert ask(virtual, "01 05 f401 01") == "FAULT"
    virtual.faulty = False
    assert ask(virtual, "01 05 f401 01") == "OK"
    assert ask(virtual, "01 06 2c01 02") == "BUSY"
    assert ask(virtual, "04 06 f401 02") == "BUSY"
    assert ask(virtual, "02 07") == "OK"
    assert ask(virtual, "02 08") == "OK"
    virtual.has_test = False
    assert ask(virtual, "04 09 f401 02") == "NOT_SUPPORTED"
    assert virtual.write(CONTROL, b"\1") == ()


def test_it_blinks_while_it_streams_too():
    virtual = recorder()
    virtual.connected(247)
    ask(virtual, "0301")
    ask(virtual, "01 05 f401 01")
    ask(virtual, "0301")
    assert virtual.identified == 2
    assert [uuid for uuid, _ in virtual.advance(0.04)] == [CLOCK, DATA]


def test_the_index_goes_on_over_a_lost_link_so_that_the_gap_is_known():
    virtual = recorder()
    wire = Wire(virtual, Open6L())
    before = frames_of(wire, wire.record(1.0, recording=1))
    virtual.disconnected()
    assert virtual.advance(0.7) == []
    again = Wire(virtual, Open6L())
    after = frames_of(again, again.record(1.0, recording=2))
    assert again.stream.boot == wire.stream.boot
    assert after[0].index - before[-1].index == 20 + 350
    assert (before[-1].recording, after[0].recording) == (1, 2)
    np.testing.assert_array_equal(steps_of(after)[0], after[0].index + np.arange(500))


def test_a_restart_shows_in_the_boot_id():
    virtual = recorder()
    first = Wire(virtual, Open6L())
    list(first.record(1.0))
    virtual.reboot()
    second = Wire(virtual, Open6L())
    assert second.stream.boot != first.stream.boot
    assert frames_of(second, second.record(0.1))[0].index == 0
    assert recorder(seed=1).read(INFO) != recorder(seed=2).read(INFO)


def test_the_index_stays_in_step_with_the_clock_when_the_rate_changes():
    virtual = recorder()
    fast = Wire(virtual, Open6L())
    list(fast.record(3.0))
    slow = Wire(virtual, Open6L(), fs_hz=250.0)
    events = events_of(slow, slow.record(1.0))
    marks = [event for event in events if isinstance(event, ClockMark)]
    assert marks == [ClockMark(750, 3.0)]


def test_the_index_wraps():
    virtual = recorder()
    virtual.index = 2**32 - 30
    wire = Wire(virtual, Open6L())
    frames = frames_of(wire, wire.record(0.12))
    assert [frame.index for frame in frames] == [2**32 - 30, 2**32 - 10, 10]


def test_a_stream_ends_after_ten_minutes_and_says_so():
    virtual = recorder()
    wire = Wire(virtual, Open6L())
    events = events_of(wire, wire.record(601.0, tick_s=1.0))
    assert events[-2:] == [Reply(profile.ENDED_BY_ITSELF, "TIME_LIMIT"), Reply(0x0201)]
    assert sum(event.signal_mv.shape[1] for event in events if isinstance(event, Frame)) == 600 * 500


@pytest.mark.parametrize("lost", [1, 20, 700])
def test_lost_samples_are_counted_and_told(lost):
    virtual = recorder()
    virtual.connected(247)
    ask(virtual, "01 05 f401 01")
    messages = [*virtual.advance(0.05)]
    virtual.lose(lost)
    messages += virtual.advance(2.0)
    frames = [profile.decode_data(data, NV) for uuid, data in messages if uuid == DATA]
    told = [frame for frame in frames if frame.dropped]
    assert len(told) == 1
    assert told[0].index == 25 + lost
    assert frames[frames.index(told[0]) - 1].signal_mv.shape == (2, 5)
    np.testing.assert_array_equal(
        steps_of(frames)[0], [*range(25), *range(25 + lost, 25 + lost + steps_of(frames).shape[1] - 25)]
    )


def test_contact_and_saturation_are_told_with_the_samples_they_belong_to():
    steps = np.zeros((2, 100))
    steps[0, 45], steps[1, 70] = 2**23, -(2**23)
    virtual = VirtualOpen6L(Feed(Record(steps * NV, 500.0, ("I", "II")), ("I", "II"), 500.0, NV, 24))
    virtual.connected(247)
    ask(virtual, "01 05 f401 01")
    messages = [*virtual.advance(0.01)]
    virtual.off = frozenset({"LL"})
    messages += virtual.advance(0.01)
    virtual.off = frozenset()
    messages += virtual.advance(0.18)
    frames = [profile.decode_data(data, NV) for uuid, data in messages if uuid == DATA]
    assert [frame.off for frame in frames] == [{"LL"}, set(), set(), set(), set()]
    assert [frame.saturated for frame in frames] == [set(), set(), {"I"}, {"II"}, set()]


def test_a_recorder_that_detects_no_contact_claims_none():
    virtual = recorder()
    virtual.tells_contact = False
    wire = Wire(virtual, Open6L())
    assert {frame.off for frame in frames_of(wire, wire.record(0.2))} == {None}


def test_everything_but_the_advertisement_is_encrypted_and_nothing_personal_is_in_it():
    virtual = recorder(serial="A1B2C3D4")
    assert all(row.encrypted for service in virtual.services for row in service.characteristics)
    assert virtual.advertised == (profile.SERVICE,)
    assert virtual.local_name == "Open-6L C3D4"


@pytest.mark.parametrize("fs_hz", [99.0, 333.5, 2000.0])
def test_rates_that_the_profile_lacks_are_refused(fs_hz):
    with pytest.raises(UsageError):
        recorder(fs_hz=fs_hz)
