"""The student's cohort: the packed subset and a PTB-XL download give the same one."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge import formats, preprocess
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import STANDARD_12
from lsemvae_edge.record import Record
from lsemvae_edge.train import datasets
from lsemvae_edge.train.cohort import Cohort, load_cohort
from lsemvae_edge.train.datasets import LIMB_ONLY, TWELVE_LEAD


def by_id(cohort):
    return cohort.select(np.argsort(cohort.record_id))


def test_a_download_and_the_packed_subset_give_the_same_cohort(official, packed, spec):
    (from_official, rejected), (from_packed, also) = (
        load_cohort(datasets.entries(folder), spec) for folder in (official, packed)
    )
    assert rejected == also == {}
    first, second = by_id(from_official), by_id(from_packed)
    assert len(first) == len(second) == 6
    # Only numbers of either source's own scale differ, which the model's input is invariant to.
    np.testing.assert_allclose(first.pairs, second.pairs, atol=2e-6)
    assert np.abs(first.pairs).max() > 0.1
    for name in ("record_id", "source", "patient", "fold", "right_heart", "heart_side", "right_axis_like", "auxiliary"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def test_labels_follow_the_statements_and_the_limb_leads_teach_no_side(packed, spec):
    cohort, _ = load_cohort(datasets.entries(packed), spec)
    for source, side in ((TWELVE_LEAD, {9: 1, 10: 0, 8: -1}), (LIMB_ONLY, {8: -1, 9: -1, 10: -1})):
        part = cohort.select(cohort.source == source)
        folds = part.fold.tolist()
        assert dict(zip(folds, part.heart_side.tolist(), strict=True)) == side
        assert dict(zip(folds, part.right_heart.tolist(), strict=True)) == {8: 0, 9: 1, 10: 0}
        assert dict(zip(folds, part.right_axis_like.tolist(), strict=True)) == {8: False, 9: True, 10: False}


def test_for_training_both_folders_get_the_band_that_one_was_published_in(packed, spec):
    scipy_signal = pytest.importorskip("scipy.signal", reason="scipy is the oracle")
    listed = datasets.entries(packed)
    as_recorded = by_id(load_cohort(listed, spec)[0])
    alike = by_id(load_cohort(listed, spec, same_band=True)[0])
    limb_only = as_recorded.source == LIMB_ONLY
    np.testing.assert_array_equal(alike.pairs[limb_only], as_recorded.pairs[limb_only])
    sections = scipy_signal.butter(4, (0.5, 40.0), "bandpass", fs=500.0, output="sos")
    records = {entry.record_id: entry.load() for entry in listed}
    for row in np.flatnonzero(~limb_only):
        record = records[alike.record_id[row]]
        filtered = scipy_signal.sosfiltfilt(sections, record.signal_mv.astype(np.float64), axis=1)
        expected = preprocess.condition(Record(filtered, 500.0, record.leads), spec).pair
        np.testing.assert_allclose(alike.pairs[row], expected, atol=1e-5)
        assert np.abs(alike.pairs[row] - as_recorded.pairs[row]).max() > 1e-3


def test_a_short_gap_survives_the_common_band(packed, spec):
    entry = next(entry for entry in datasets.entries(packed) if entry.source == TWELVE_LEAD)
    signal = entry.load().signal_mv.copy()
    signal[:, 2000:2005] = np.nan
    gappy = replace(entry, load=lambda: Record(signal, 500.0, ("I", "II")))
    assert load_cohort([gappy], spec)[1] == {}
    assert load_cohort([gappy], spec, same_band=True)[1] == {}


def test_a_record_that_cannot_be_read_is_named_and_left_out(official, tmp_path, spec):
    (tmp_path / "ptbxl_database.csv").write_bytes((official / "ptbxl_database.csv").read_bytes())
    (tmp_path / "records500").symlink_to(official / "records500")
    listed = datasets.entries(tmp_path)
    good, bad, gappy, flat = listed[:4]

    def missing():
        return formats.read(tmp_path / "absent.hea")

    def with_gap():
        signal = good.load().signal_mv.copy()
        signal[:, 1000:1400] = np.nan
        return Record(signal, 500.0, STANDARD_12)

    listed = [
        good,
        replace(bad, load=missing),
        replace(gappy, load=with_gap),
        replace(flat, load=lambda: Record(np.zeros((2, 5000)), 500.0, ("I", "II"))),
    ]
    cohort, rejected = load_cohort(listed, spec)
    assert cohort.record_id.tolist() == [good.record_id]
    assert set(rejected) == {bad.record_id, gappy.record_id, flat.record_id}
    assert "There is no file" in rejected[bad.record_id]
    with pytest.raises(BadInputError, match="No recording could be read"):
        load_cohort(listed[1:], spec)


def test_select_keeps_all_columns_aligned(packed, spec):
    cohort, _ = load_cohort(datasets.entries(packed), spec)
    part = cohort.select(cohort.fold == 9)
    assert isinstance(part, Cohort)
    assert len(part) == 2
    for name, value in vars(part).items():
        np.testing.assert_array_equal(value, getattr(cohort, name)[cohort.fold == 9], err_msg=name)
