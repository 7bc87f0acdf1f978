"""The student's cohort: the packed subset and a PTB-XL download give the same one."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge import formats
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import LIMB_MATRIX, STANDARD_12
from lsemvae_edge.record import Record
from lsemvae_edge.train import cohort as cohorts
from lsemvae_edge.train import datasets
from lsemvae_edge.train.cohort import Cohort, load_cohort
from lsemvae_edge.train.datasets import HEART_SIDE, LIMB_ONLY, RIGHT_HEART, TWELVE_LEAD
from lsemvae_edge.train.datasets.ptbxl import band_of_limb_only
from lsemvae_edge.train.labels import N_AUXILIARY
from lsemvae_edge.train.recipes import RECIPES

TASKS = (RIGHT_HEART.name, HEART_SIDE.name)
BEAT, EDGE = RECIPES["beat"], RECIPES["edge"]


@pytest.fixture(scope="module")
def from_official(official):
    return by_id(load_cohort(datasets.entries(official), TASKS)[0])


@pytest.fixture(scope="module")
def from_packed(packed):
    return by_id(load_cohort(datasets.entries(packed), TASKS)[0])


def by_id(cohort):
    return cohort.select(np.argsort(cohort.record_id))


def assert_same(first, second):
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(second, name), err_msg=name)


def test_every_column_has_a_row_a_recording(from_official):
    n = len(from_official)
    assert n == 6
    assert from_official.tasks == TASKS
    shapes = {name: np.shape(value) for name, value in vars(from_official).items() if name != "tasks"}
    assert shapes.pop("beats") == (n, 12, BEAT.n_samples)
    assert shapes.pop("pairs") == (n, 2, EDGE.n_samples)
    assert shapes.pop("present") == (n, 12)
    assert shapes.pop("targets") == (n, 2)
    assert shapes.pop("auxiliary") == (n, N_AUXILIARY)
    assert set(shapes.values()) == {(n,)}
    assert from_official.beats.dtype == from_official.pairs.dtype == np.float32


def test_a_download_and_the_packed_subset_give_the_same_cohort(from_official, from_packed):
    # The packed part has whole numbers in a scale of its own, which the model's input is invariant to.
    np.testing.assert_allclose(from_official.pairs, from_packed.pairs, atol=0.01)
    both = from_official.present & from_packed.present
    np.testing.assert_allclose(from_official.beats[both], from_packed.beats[both], atol=2e-3)
    for name in set(vars(from_official)) - {"pairs", "beats", "present"}:
        np.testing.assert_array_equal(getattr(from_official, name), getattr(from_packed, name), err_msg=name)
    assert np.isfinite(from_official.age_years).sum() == 4
    assert set(from_official.site) == {"0", "12", ""}
    assert set(from_official.sex) == {"female", "male"}


def test_recordings_of_the_limb_lead_part_have_no_chest_leads(from_official, from_packed):
    for cohort, with_chest in ((from_official, 3), (from_packed, 2)):
        limb_only = cohort.source == LIMB_ONLY
        assert cohort.present[:, :6].all()
        assert not cohort.present[limb_only, 6:].any()
        assert cohort.has_chest_leads.sum() == with_chest
        assert not cohort.has_chest_leads[limb_only].any()
        assert not cohort.beats[~cohort.present].any(), "what is absent is zero"
        assert (np.abs(cohort.beats[cohort.present]).max(axis=1) > 0.05).all()


def test_derived_limb_leads_obey_einthoven_and_goldberger(from_official):
    for six in (from_official.beats[:, :6], from_official.limb_windows()):
        one, two, three, avr, avl, avf = six.transpose(1, 0, 2)
        np.testing.assert_allclose(two - one, three, atol=1e-5)
        np.testing.assert_allclose(-(one + two) / 2, avr, atol=1e-5)
        np.testing.assert_allclose(one - two / 2, avl, atol=1e-5)
        np.testing.assert_allclose(two - one / 2, avf, atol=1e-5)
    np.testing.assert_array_equal(from_official.limb_windows()[:, :2], from_official.pairs)
    assert np.linalg.matrix_rank(LIMB_MATRIX) == 2


def test_labels_follow_the_statements_and_the_limb_leads_teach_no_side(from_packed):
    for source, side in ((TWELVE_LEAD, {9: 1, 10: 0, 8: np.nan}), (LIMB_ONLY, dict.fromkeys((8, 9, 10), np.nan))):
        part = from_packed.select(from_packed.source == source)
        assert set(part.fold) == {8, 9, 10}
        for fold, right, one_side in zip(part.fold.tolist(), *part.targets.T.tolist(), strict=True):
            assert right == {8: 0, 9: 1, 10: 0}[fold]
            np.testing.assert_equal(one_side, side[fold])
        assert part.right_axis_like.tolist() == (part.fold == 9).tolist()


def test_strata_are_which_tasks_a_recording_is_positive_for(from_packed):
    expected = {(TWELVE_LEAD, 9): 3, (LIMB_ONLY, 9): 1}
    keys = zip(from_packed.source.tolist(), from_packed.fold.tolist(), strict=True)
    assert from_packed.strata.tolist() == [expected.get(key, 0) for key in keys]


def test_tasks_are_those_that_are_asked_for_and_an_unknown_one_has_no_label(packed):
    cohort, _ = load_cohort(datasets.entries(packed)[:2], [HEART_SIDE.name, "nobody asked"])
    assert cohort.tasks == (HEART_SIDE.name, "nobody asked")
    assert np.isnan(cohort.targets[:, 1]).all()


def test_what_a_data_set_does_not_say_is_unknown(packed):
    (entry,) = datasets.entries(packed)[:1]
    unknown = replace(entry, auxiliary=(), age_years=None, sex=None)
    newborn = replace(entry, record_id="newborn", age_years=0.0)
    cohort, _ = load_cohort([unknown, newborn], TASKS)
    assert np.isnan(cohort.auxiliary[0]).all()
    assert cohort.sex[0] == ""
    np.testing.assert_array_equal(cohort.age_years, [np.nan, 0.0])


def test_for_training_both_parts_get_the_band_that_one_was_published_in(packed, from_packed):
    listed = datasets.entries(packed)
    alike = by_id(load_cohort(listed, TASKS, same_band=True)[0])
    limb_only = from_packed.source == LIMB_ONLY
    np.testing.assert_array_equal(alike.pairs[limb_only], from_packed.pairs[limb_only])
    np.testing.assert_array_equal(alike.beats[limb_only], from_packed.beats[limb_only])
    records = {entry.record_id: entry.load() for entry in listed}
    for row in np.flatnonzero(~limb_only):
        filtered = band_of_limb_only(records[alike.record_id[row]])
        np.testing.assert_array_equal(alike.beats[row], BEAT.apply(filtered)[0])
        np.testing.assert_array_equal(alike.pairs[row], EDGE.apply(filtered)[0][:2])
        assert np.abs(alike.pairs[row] - from_packed.pairs[row]).max() > 1e-3


def test_a_short_gap_survives_the_common_band(packed):
    entry = next(entry for entry in datasets.entries(packed) if entry.source == TWELVE_LEAD)
    signal = entry.load().signal_mv[:2].copy()
    signal[:, 2000:2005] = np.nan
    gappy = replace(entry, load=lambda: Record(signal, 500.0, ("I", "II")))
    assert load_cohort([gappy], TASKS)[1] == {}
    assert load_cohort([gappy], TASKS, same_band=True)[1] == {}


def test_a_record_that_cannot_be_read_is_named_and_left_out(official, tmp_path):
    good, bad, gappy, flat, strange = datasets.entries(official)[:5]
    noise = np.random.default_rng(0).normal(size=(2, 5000))

    def with_gap():
        signal = good.load().signal_mv.copy()
        signal[:, 1000:1400] = np.nan
        return Record(signal, 500.0, STANDARD_12)

    listed = [
        good,
        replace(bad, load=lambda: formats.read(tmp_path / "absent.hea")),
        replace(gappy, load=with_gap),
        replace(flat, load=lambda: Record(np.zeros((2, 5000)), 500.0, ("I", "II"))),
        replace(strange, load=lambda: Record(noise, 500.0, ("I", "II"))),
    ]
    cohort, rejected = load_cohort(listed, TASKS)
    assert cohort.record_id.tolist() == [good.record_id]
    assert set(rejected) == {bad.record_id, gappy.record_id, flat.record_id, strange.record_id}
    assert "There is no file" in rejected[bad.record_id]
    assert "gap" in rejected[gappy.record_id]
    assert "constant" in rejected[flat.record_id]
    assert "resemble each other" in rejected[strange.record_id]
    with pytest.raises(BadInputError, match="No recording could be read"):
        load_cohort(listed[1:], TASKS)


def test_two_processes_read_the_same_as_one(packed, from_packed, monkeypatch):
    monkeypatch.setattr(cohorts, "_BATCH", 2)
    cohort, rejected = load_cohort(datasets.entries(packed), TASKS, workers=2)
    assert rejected == {}
    assert_same(by_id(cohort), from_packed)


def test_select_keeps_all_columns_aligned(from_packed):
    part = from_packed.select(from_packed.fold == 9)
    assert isinstance(part, Cohort)
    assert len(part) == 2
    assert part.tasks == from_packed.tasks
    for name, value in vars(part).items():
        if name != "tasks":
            np.testing.assert_array_equal(value, getattr(from_packed, name)[from_packed.fold == 9], err_msg=name)
    assert_same(from_packed.select(np.flatnonzero(from_packed.fold == 9)), part)
