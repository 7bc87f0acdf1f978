"""What is written into shards is what is read from them."""

import json
import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pyarrow", reason="shards need the extra `train`")
pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.train import shards
from lsemvae_edge.train.datasets.entry import Entry, Task
from lsemvae_edge.train.recipes import EdgeRecipe, ReferenceRecipe
from lsemvae_edge.train.shards import open_shards

RECIPE = ReferenceRecipe(n_samples=20)
TASKS = (Task("right", ("no", "yes"), "a stand-in"), Task("side", ("left", "right")))
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)

entry_fields = st.fixed_dictionaries(
    {
        "source": TEXT,
        "patient": TEXT,
        "fold": st.integers(1, 10),
        "age_years": st.none() | st.floats(0, 110),
        "sex": st.sampled_from([None, "female", "male"]),
        "pacemaker": st.booleans(),
        "targets": st.dictionaries(st.sampled_from(["right", "side"]), st.integers(0, 1)),
        "auxiliary": st.sampled_from([(), (1.0, float("nan"), 0.0)]),
        "marks": st.frozensets(st.sampled_from(["right_axis_like", "other"])),
    }
)
rows = st.dictionaries(TEXT, entry_fields, min_size=1, max_size=12)


def made(listed, seed=0, recipe=RECIPE):
    """Entries with random signals and presence."""
    rng = np.random.default_rng(seed)
    entries = [Entry(record_id=record_id, load=partial(int), **fields) for record_id, fields in listed.items()]
    signals = shards.to_storage(rng.normal(0, 3, (len(entries), 12, recipe.n_samples)).astype(np.float32))
    return entries, signals, rng.random((len(entries), 12)) < 0.8


def folder_of(path, groups, recipe=RECIPE, tasks=TASKS):
    """Write groups as `prepare` would."""
    (path / "shards").mkdir(parents=True)
    digests = []
    for number, (entries, signals, present) in enumerate(groups):
        written = shards.write(path / "shards" / f"{number:06d}.arrow", entries, signals, present, recipe, tasks)
        digests.append(written.sha256)
    (path / "report.json").write_text(json.dumps({"sha256": "-".join(digests), "shards": len(groups)}))
    return path


@settings(max_examples=40)
@given(listed=rows, split=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_what_was_written_is_read(tmp_path_factory, listed, split, seed):
    entries, signals, present = made(listed, seed)
    cuts = [slice(k, k + split) for k in range(0, len(entries), split)]
    path = tmp_path_factory.mktemp("round") / "trip"
    found = open_shards(folder_of(path, [(entries[cut], signals[cut], present[cut]) for cut in cuts]))
    assert len(found) == len(entries)
    assert found.recipe == RECIPE
    assert found.tasks == TASKS
    for name in ("record_id", "source", "patient", "fold", "pacemaker"):
        assert getattr(found, name).tolist() == [getattr(entry, name) for entry in entries]
    assert found.sex.tolist() == [entry.sex or "" for entry in entries]
    np.testing.assert_array_equal(
        found.age_years, [np.nan if entry.age_years is None else entry.age_years for entry in entries]
    )
    for task in TASKS:
        assert found.targets[task.name].tolist() == [entry.targets.get(task.name, -1) for entry in entries]
        assert found.targets[task.name].dtype == np.int64
    for mark in ("right_axis_like", "other"):
        assert found.marked(mark).tolist() == [mark in entry.marks for entry in entries]
    width = max(len(entry.auxiliary) for entry in entries)
    assert found.auxiliary.shape == (len(entries), width)
    for row, entry in zip(found.auxiliary, entries, strict=True):
        np.testing.assert_array_equal(row, (entry.auxiliary + (np.nan,) * width)[:width])
    np.testing.assert_array_equal(found.present, present)
    order = np.random.default_rng(seed).integers(0, len(entries), 20)
    read = found.signals(order)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, signals[order].astype(np.float32))


@given(listed=rows)
def test_the_same_recordings_give_the_same_bytes(tmp_path_factory, listed):
    path = tmp_path_factory.mktemp("bytes")
    for name in ("one", "other"):
        entries, signals, present = made(listed)
        shards.write(path / name, entries, signals, present, RECIPE, TASKS)
    assert (path / "one").read_bytes() == (path / "other").read_bytes()


@given(value=st.floats(width=32, allow_nan=False))
def test_storage_keeps_three_digits_and_never_overflows(value):
    stored = shards.to_storage(np.array([value], dtype=np.float32))
    assert np.isfinite(stored).all()
    if 1e-3 < abs(value) < 6e4:
        assert abs(float(stored[0]) - value) <= 5e-4 * abs(value)


FEW = {f"r{k}": {"source": "s", "patient": f"p{k}", "fold": 1} for k in range(4)}
MORE = {f"q{k}": {"source": "t", "patient": f"p{k}", "fold": 2} for k in range(3)}


def test_several_folders_are_one(tmp_path):
    first = folder_of(tmp_path / "a", [made(FEW)], tasks=TASKS[:1])
    second = folder_of(tmp_path / "b", [made(MORE, 1)], tasks=TASKS)
    both = open_shards([first, second])
    assert both.record_id.tolist() == [*FEW, *MORE]
    assert both.tasks == TASKS
    assert both.targets["side"].tolist() == [-1] * 7
    np.testing.assert_array_equal(both.signals([5])[0], made(MORE, 1)[1][1].astype(np.float32))
    assert both.digest not in (open_shards(first).digest, open_shards(second).digest)


def test_more_shards_than_may_be_mapped_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_OPEN", 2)
    entries, signals, present = made(FEW)
    found = open_shards(folder_of(tmp_path / "a", [([entries[k]], signals[[k]], present[[k]]) for k in range(4)]))
    for order in ([0, 1, 2, 3], [3, 0, 2, 0], [1]):
        np.testing.assert_array_equal(found.signals(order), signals[order].astype(np.float32))


def test_shards_cross_to_another_process(tmp_path):
    found = open_shards(folder_of(tmp_path / "a", [made(FEW)]))
    expected = found.signals([2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).signals([2]), expected)


@pytest.mark.parametrize("index", [[4], [-1]])
def test_a_position_that_is_not_there(tmp_path, index):
    with pytest.raises(IndexError, match="0 to 3"):
        open_shards(folder_of(tmp_path / "a", [made(FEW)])).signals(index)


def test_no_position_reads_nothing(tmp_path):
    assert open_shards(folder_of(tmp_path / "a", [made(FEW)])).signals([]).shape == (0, 12, 20)


def test_a_recording_may_not_be_there_twice(tmp_path):
    first, second = (folder_of(tmp_path / name, [made(FEW)]) for name in "ab")
    with pytest.raises(BadInputError, match="Recording r0 is in these shards twice"):
        open_shards([first, second])


def test_recipes_do_not_mix_nor_do_tasks_of_one_name(tmp_path):
    first = folder_of(tmp_path / "a", [made(FEW)])
    edge = EdgeRecipe(n_samples=20)
    with pytest.raises(BadInputError, match="another recipe"):
        open_shards([first, folder_of(tmp_path / "b", [made(MORE, recipe=edge)], recipe=edge)])
    with pytest.raises(BadInputError, match="'right'"):
        open_shards([first, folder_of(tmp_path / "c", [made(MORE)], tasks=(Task("right", ("healthy", "ill")),))])


def test_what_is_no_finished_folder_of_shards_is_said(tmp_path):
    with pytest.raises(BadInputError, match="no folder of shards"):
        open_shards(tmp_path)
    with pytest.raises(BadInputError, match="No folder"):
        open_shards([])
    path = folder_of(tmp_path / "a", [made(FEW)])
    (path / "plan.json").write_text("{}")
    (path / "report.json").rename(path / "gone")
    with pytest.raises(BadInputError, match="not fully prepared"):
        open_shards(path)
    (path / "report.json").write_text("[]")
    with pytest.raises(BadInputError, match="damaged"):
        open_shards(path)


def test_a_damaged_or_missing_shard_is_named(tmp_path):
    path = folder_of(tmp_path / "a", [made(FEW)])
    shard = path / "shards" / "000000.arrow"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(BadInputError, match=r"000000\.arrow is no readable shard"):
        open_shards(path)
    shard.unlink()
    with pytest.raises(BadInputError, match="0 shards; its report says 1"):
        open_shards(path)
