"""The whole path: stages by the code that screens, starts of processes, an archive replayed."""

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge import formats
from lsemvae_edge.benchmarks.target import path, session
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.errors import RuntimeUnavailableError
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.record import Record

STAGES = ("decode_ms", "quality_ms", "preprocess_ms", "inference_ms", "decision_ms", "json_ms")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A session of the path, with a short archive."""
    folder = tmp_path_factory.mktemp("path") / "session"
    plan = Plan([bundles.default()], quick=True, runtimes=("litert",), repeats=2, runs=3)
    with pytest.MonkeyPatch.context() as patch, Session(folder, {}, plan.bundles, 4) as one:
        patch.setattr(path, "QUICK_ARCHIVE", 3)
        path.measure(one, plan)
    return session.read(folder)


def test_each_stage_is_kept_and_together_they_are_no_longer_than_the_whole(recorded):
    name = "litert · small · int8 · 1 thread"
    whole = [value for sample in recorded.of("path", name, "whole_ms") for value in sample.values]
    stages = [[value for sample in recorded.of("path", name, stage) for value in sample.values] for stage in STAGES]
    assert [len(values) for values in stages] == [6] * len(STAGES)
    assert np.min(stages) > 0
    assert np.all(np.sum(stages, axis=0) <= whole)


def test_a_start_is_parted_and_stands_beside_the_floor(recorded):
    def values(case, metric):
        return [sample.values[0] for sample in recorded.of("path", case, metric)]

    floor, start = values(path.FLOOR, "start_to_result_ms"), values(path.START, "start_to_result_ms")
    assert len(floor) == len(start) == 2
    parts = [values(path.START, metric) for metric in ("import_ms", "load_ms", "first_run_ms")]
    assert np.min(parts) > 0
    assert np.all(np.sum(parts, axis=0) < start)
    assert values(path.FLOOR, "import_ms") == []


def test_an_archive_is_replayed_in_one_process(recorded):
    (sample,) = recorded.of("path", path.REPLAY, "records_per_s")
    assert sample.values[0] > 0
    (case,) = [case for case in recorded.cases if case.name == path.REPLAY]
    assert case.facts["recordings"] == 3


def test_a_recording_that_quality_refuses_is_no_measurement(tmp_path):
    flat = Record(np.zeros((6, 5000), dtype=np.float32), 500.0, LIMB_LEADS)
    recording = formats.write(flat, tmp_path / "flat.lser")
    with pytest.raises(RuntimeUnavailableError, match=r"flat\.lser is refused by quality"):
        path.recording_of(Plan([bundles.default()], recording=recording), tmp_path)


def test_another_seed_makes_another_recording(tmp_path):
    one, other = (formats.read(path.made(tmp_path / f"{seed}.lser", seed)) for seed in (1, 2))
    assert one.leads == other.leads == LIMB_LEADS
    assert one.n_samples == other.n_samples == 5000
    assert not np.array_equal(one.signal_mv, other.signal_mv)


def test_a_process_that_fails_is_told_with_its_last_words():
    with pytest.raises(RuntimeUnavailableError, match="no good"):
        path._process([path.sys.executable, "-c", "raise SystemExit('no good')"])


def test_a_start_is_that_of_the_command_and_says_which_file_it_took(recorded):
    (case,) = [case for case in recorded.cases if case.name == path.START]
    assert (case.facts["runtime"], case.facts["precision"]) == ("litert", "int8")
