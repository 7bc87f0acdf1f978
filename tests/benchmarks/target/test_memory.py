"""Memory: processes with a model beside processes without, and the sizes of files and arenas."""

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.target import memory, session
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A session of the shipped bundle's memory."""
    folder = tmp_path_factory.mktemp("memory") / "session"
    plan = Plan([bundles.default()], runtimes=("litert",), repeats=2)
    with Session(folder, {}, plan.bundles, 4) as one:
        memory.measure(one, plan)
    return session.read(folder)


def test_a_model_needs_more_than_the_floors(recorded):
    def peak(case):
        return [sample.values[0] for sample in recorded.of("memory", case, "peak_rss_mb")]

    numpy, ours, model = (peak(case.name) for case in recorded.cases)
    assert [case.name for case in recorded.cases[:2]] == ["numpy", "numpy and lsemvae_edge"]
    assert len(numpy) == len(ours) == len(model) == 2
    assert max(numpy) < min(ours) < min(model)


def test_every_kind_of_memory_is_kept_in_megabytes(recorded):
    name = recorded.cases[-1].name
    for metric in ("peak_rss_mb", "steady_rss_mb", "pss_mb", "uss_mb"):
        values = [sample.values[0] for sample in recorded.of("memory", name, metric)]
        assert len(values) == 2
        assert all(5 < value < 500 for value in values)


def test_the_size_of_the_file_is_that_on_the_disk_and_an_arena_that_is_not_told_is_said_to_be_so(recorded):
    facts = recorded.cases[-1].facts
    assert facts["file_bytes"] == (bundles.default().path / "model-int8.tflite").stat().st_size
    assert facts["arena_bytes"] is None
    assert "does not tell" in facts["arena_note"]


def test_where_there_is_no_proc_it_is_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    with Session(tmp_path / "session", {}, [], 4) as one:
        memory.measure(one, Plan([bundles.default()]))
    recorded = session.read(tmp_path / "session")
    assert recorded.cases == []
    (skipped,) = recorded.skipped
    assert "/proc" in skipped.reason
