"""The same bits here and on boards: that a difference would be seen, and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lsemvae_edge.benchmarks import firmware_replay
from lsemvae_edge.errors import BundleError
from lsemvae_edge.quantize import parity
from lsemvae_edge.quantize.firmware import boards
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.heart import Heart, simulate

BOARD = boards.board("mps2-an386")
RATES_HZ = (125, 250, 300, 500)


def heart(seed: int, fs_hz: float = 500.0) -> Record:
    return simulate(Heart(), 10.0, fs_hz, seed, ("I", "II"))


@pytest.fixture(scope="module")
def made(firmware):  # type: ignore[no-untyped-def]
    return firmware.firmware("tiny")


@pytest.fixture(scope="module")
def folder(firmware, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    return Path(shutil.copytree(firmware.folder("tiny"), tmp_path_factory.mktemp("replay") / "tiny"))


@pytest.fixture(scope="module")
def file(made, folder) -> Path:  # type: ignore[no-untyped-def]
    signals = parity.simulated(made.spec, 3).signals
    parts = [firmware_replay.packed_input(made.model.quantized(signal)) for signal in signals]
    parts += [firmware_replay.packed_recording(heart(seed), RATES_HZ) for seed in range(2)]
    place = folder / firmware_replay.FILE
    place.write_bytes(b"".join(parts))
    return place


def test_every_input_and_recording_has_its_own_number(folder, file):
    here = boards.replayed(folder, None, file)
    assert len(here) == 5
    assert len(set(here)) == 5
    assert boards.replayed(folder, None, file) == here


@pytest.mark.slow
def test_a_board_gives_the_same_numbers(folder, file):
    if lacking := boards.missing(BOARD):
        pytest.skip(f"{' and '.join(lacking)} not installed")
    assert boards.replayed(folder, BOARD, file, "dsp") == boards.replayed(folder, None, file)


def test_one_step_of_one_sample_changes_the_number(folder, made, tmp_path):
    quantized = made.model.quantized(parity.simulated(made.spec, 1).signals[0])
    changed = quantized.copy()
    changed[5, 50] += 1
    recording = heart(3)
    signal = recording.signal_mv.copy()
    # The newest sample whose support is whole lies well before the recording's end.
    signal[0, 2500] += 1.0
    parts = [firmware_replay.packed_input(one) for one in (quantized, changed)]
    parts += [
        firmware_replay.packed_recording(one, RATES_HZ)
        for one in (recording, replace(recording, signal_mv=signal, gaps=None))
    ]
    file = tmp_path / firmware_replay.FILE
    file.write_bytes(b"".join(parts))
    first, second, third, fourth = boards.replayed(folder, None, file)
    assert first != second
    assert third != fourth


def test_a_file_that_is_cut_is_refused(folder, file, tmp_path):
    cut = tmp_path / firmware_replay.FILE
    for length in (10, 100, len(file.read_bytes()) - 1):
        cut.write_bytes(file.read_bytes()[:length])
        with pytest.raises(BundleError, match=r"replay.bin is cut"):
            boards.replayed(folder, None, cut)
    cut.unlink()
    with pytest.raises(BundleError, match=r"There is no replay.bin"):
        boards.replayed(folder, None, cut)


def test_recordings_that_the_library_cannot_take_are_left_out():
    assert firmware_replay.packed_recording(heart(0, 400.0), RATES_HZ) is None
    one_lead = heart(0)
    one_lead = replace(one_lead, signal_mv=one_lead.signal_mv[:1], leads=("II",), gaps=None)
    assert firmware_replay.packed_recording(one_lead, RATES_HZ) is None
    gap = heart(0)
    signal = gap.signal_mv.copy()
    signal[1, 7] = np.nan
    assert firmware_replay.packed_recording(replace(gap, signal_mv=signal, gaps=None), RATES_HZ) is None


@pytest.mark.parametrize(
    ("meta", "age", "paced"),
    [({}, 255, 0), ({"age_years": 71.5, "pacemaker": True}, 71, 1), ({"age_years": 300}, 254, 0)],
)
def test_what_is_told_of_the_person_is_packed(meta, age, paced):
    packed = firmware_replay.packed_recording(replace(heart(0), meta=meta), RATES_HZ)
    assert packed is not None
    told = np.frombuffer(packed[:32], dtype="<u4").tolist()
    assert told == [2, 500, 1_000_000, 50, 0, age, paced, 5000]
    assert len(packed) == 32 + 8 * 5000


def test_a_difference_on_a_board_fails():
    row = {"inputs": 3, "inputs_same": 3, "recordings": 2, "recordings_same": 2}
    assert firmware_replay.passed([row])
    assert not firmware_replay.passed([row, row | {"inputs_same": 2}])
    assert not firmware_replay.passed([row | {"recordings_same": 1}])
