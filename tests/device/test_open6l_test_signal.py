import numpy as np
import pytest

from lsemvae_edge.device.drivers.open6l import Open6L
from lsemvae_edge.device.events import Frame
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.open6l import VirtualOpen6L
from lsemvae_edge.device.virtual.wire import Wire
from lsemvae_edge.record import Record


def recorder():
    return VirtualOpen6L(Feed(Record(np.zeros((2, 500)), 500.0, ("I", "II")), ("I", "II"), 500.0, 48e-6, 24))


def recorded(virtual=None, seconds=2.0, fs_hz=None):
    """Driver, stream and signal of a test."""
    wire = Wire(virtual or recorder(), Open6L(), fs_hz=fs_hz)
    (write,) = wire.driver.test(wire.stream, 5)
    messages = [*wire.recorder.write(write.uuid, write.data), *wire.recorder.advance(seconds)]
    frames = [event for message in messages for event in wire.decoder.feed(*message) if isinstance(event, Frame)]
    assert {frame.off for frame in frames} == {None}
    return wire.driver, wire.stream, np.concatenate([frame.signal_mv for frame in frames], axis=1)


@pytest.mark.parametrize("fs_hz", [500.0, 250.0])
@pytest.mark.parametrize("begin_s", [0.0, 0.2, 0.49])
@pytest.mark.parametrize("seconds", [1.0, 1.6])
def test_a_good_test_signal_passes_wherever_it_is_cut(fs_hz, begin_s, seconds):
    driver, known, signal = recorded(seconds=3.0, fs_hz=fs_hz)
    begin = round(begin_s * fs_hz)
    assert driver.judge_test(known, signal[:, begin : begin + round(seconds * fs_hz)]) is None


def test_a_test_signal_with_noise_an_edge_too_early_and_a_gap_passes():
    driver, known, signal = recorded(seconds=4.0)
    noisy = (signal + np.random.default_rng(0).normal(0, 0.02, signal.shape)).astype(np.float32)
    noisy[1] = np.roll(noisy[1], 2)
    noisy[:, 300:320] = np.nan
    assert driver.judge_test(known, noisy) is None


def too_large(signal):
    return signal * 1.2


def one_inverted(signal):
    return signal * np.array([[1], [-1]])


def one_late(signal):
    return np.stack([signal[0], np.roll(signal[1], 60)])


def too_fast(signal):
    return np.concatenate([signal[:, ::2]] * 2, axis=1)


def too_slow(signal):
    return np.repeat(signal, 2, axis=1)[:, : signal.shape[1]]


def a_sine(signal):
    return np.stack([1.1 * np.sin(np.arange(signal.shape[1]) * 2 * np.pi / 500)] * 2)


def in_pieces(signal):
    torn = signal.copy()
    torn[:, ::400] = np.nan
    return torn


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (too_large, "lead I shows 2.40 mV peak to peak instead of 2.00"),
        (one_inverted, "leads I and II are not in phase"),
        (one_late, "leads I and II are not in phase"),
        (too_fast, "lead I does not alternate at 1.00 Hz"),
        (too_slow, "lead I does not alternate at 1.00 Hz"),
        (a_sine, "lead I shows"),
        (in_pieces, "less than a second"),
        (np.zeros_like, "lead I is flat"),
    ],
)
def test_a_wrong_test_signal_is_named(spoil, complaint):
    driver, known, signal = recorded(seconds=4.0)
    found = driver.judge_test(known, spoil(signal).astype(np.float32))
    assert found is not None
    assert complaint in found


def test_a_dead_lead_is_named():
    virtual = recorder()
    virtual.broken_test = True
    driver, known, signal = recorded(virtual)
    assert driver.judge_test(known, signal) == "lead II is flat"
