"""The accuracy table: which figures stand in it, and how finished trainings are kept."""

import json
import os

import numpy as np
import pytest

pytest.importorskip("torch", reason="the benchmark trains; the base install has no torch")
pytest.importorskip("litert_torch", reason="the benchmark quantizes, which needs the extra `export`")

from lsemvae_edge import bundle as bundles
from lsemvae_edge import metrics
from lsemvae_edge.benchmarks import accuracy, ledger
from lsemvae_edge.train import datasets
from lsemvae_edge.train.cohort import Cohort, load_cohort
from lsemvae_edge.train.labels import N_AUXILIARY

DATA = os.environ.get("LSEMVAE_EDGE_DATA")


def cohort_of(n=120, seed=0) -> Cohort:
    """Recordings of nothing, with labels, patients and folds."""
    rng = np.random.default_rng(seed)
    right = (np.arange(n) % 4 == 0).astype(np.int64)
    return Cohort(
        pairs=rng.normal(size=(n, 2, 960)).astype(np.float32),
        right_heart=right,
        heart_side=np.where(np.arange(n) % 3 == 0, right, -1),
        auxiliary=np.full((n, N_AUXILIARY), np.nan, dtype=np.float32),
        fold=9 + np.arange(n) % 2,
        patient=np.array([str(k // 2) for k in range(n)]),
        source=np.where(np.arange(n) % 5 > 0, datasets.TWELVE_LEAD, datasets.LIMB_ONLY),
        right_axis_like=np.zeros(n, dtype=bool),
        record_id=np.array([f"r{k}" for k in range(n)]),
    )


def scores_of(cohort, quality, seed=0) -> np.ndarray:
    """Four logits a recording, the first two better than chance by ``quality``."""
    noise = np.random.default_rng(seed).normal(size=(len(cohort), 4))
    noise[:, :2] += quality * cohort.right_heart[:, None]
    return noise.astype(np.float32)


def test_the_median_seed_is_one_of_the_seeds():
    truth = np.array([0, 0, 1, 1])
    bad, middle, good = np.array([4, 3, 2, 1.0]), np.array([1, 3, 2, 4.0]), np.array([1, 2, 3, 4.0])
    assert accuracy._median([good, bad, middle], truth) is middle
    assert accuracy._median([good], truth) is good
    # Of two the lower one: a figure is never the better of a pair.
    assert accuracy._median([good, bad], truth) is bad


def test_fold_10_has_rows_only_when_it_was_read():
    cohort = cohort_of()
    names = [name for name, _ in accuracy._sets(cohort)]
    assert names == ["fold 9", "fold 10", "folds 9-10", "A: folds 9-10 of ptbxl_12lead"]
    only_nine = cohort.select(cohort.fold == 9)
    assert [name for name, _ in accuracy._sets(only_nine)] == ["fold 9"]
    for name, mask in accuracy._sets(cohort):
        assert mask.shape == (len(cohort),)
        if name.startswith("A"):
            assert set(cohort.source[mask]) == {datasets.TWELVE_LEAD}


def test_a_row_stands_for_each_task_and_model_with_an_interval_of_the_difference():
    cohort = cohort_of()
    scores = {
        "float student": [scores_of(cohort, 2.0)],
        "int8 student": [scores_of(cohort, 2.0, 1)],
        "plain CNN": [scores_of(cohort, quality, 2) for quality in (0.1, 0.5, 1.0)],
    }
    rows = accuracy._rows("fold 9", cohort, scores)
    assert [(row["task"], row["model"]) for row in rows] == [
        (task, model) for task in ("right_heart_pattern", "heart_side") for model in accuracy.MODELS
    ]
    by_key = {(row["task"], row["model"]): row for row in rows}
    student, plain = by_key["right_heart_pattern", "float student"], by_key["right_heart_pattern", "plain CNN"]
    assert student["n"] == 120
    assert student["positive"] == 30
    assert len(plain["seeds"]) == 3
    assert plain["auroc"]["value"] == sorted(plain["seeds"])[1]
    assert plain["auroc_difference"] is None
    difference = student["auroc_difference"]
    assert difference["value"] == pytest.approx(student["auroc"]["value"] - plain["auroc"]["value"], abs=2e-4)
    assert difference["low"] < difference["value"] < difference["high"]
    side = by_key["heart_side", "float student"]
    assert side["n"] == 40
    json.dumps(rows, allow_nan=False)


def test_too_few_positives_have_counts_and_no_figure():
    cohort = cohort_of(30)
    rows = accuracy._rows("few", cohort, {model: [scores_of(cohort, 1.0)] for model in accuracy.MODELS})
    assert all(row["positive"] < metrics.MIN_POSITIVES for row in rows)
    assert all(row["auroc"] is None and row["auroc_difference"] is None for row in rows)
    assert accuracy.table(rows).count("| - | - | - |") == len(rows)


def test_the_table_is_a_table():
    cohort = cohort_of()
    rows = accuracy._rows("fold 9", cohort, {model: [scores_of(cohort, 1.0)] for model in accuracy.MODELS})
    lines = accuracy.table(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert len({line.count("|") for line in lines}) == 1
    value = rows[0]["auroc"]
    assert f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})" in lines[2]


def test_a_finished_training_is_named_after_everything_that_decides_it(tmp_path, monkeypatch):
    cohort, other = cohort_of(), cohort_of(100)

    def path(kind="cnn", seed=0, name="folds1-8", training=cohort, held_out=other):
        return accuracy._Job(kind, seed, name, training, held_out).path(tmp_path)

    first = path()
    assert first == path()
    assert first.parent == tmp_path
    assert first.name.startswith("cnn-folds1-8-0-")
    others = [path(kind="chain"), path(seed=1), path(name="cv0"), path(training=other), path(held_out=cohort)]
    monkeypatch.setattr(accuracy, "BASELINE_CONFIG", accuracy.BASELINE_CONFIG.model_copy(update={"epochs": 1}))
    others.append(path())
    assert len({first, *others}) == 7


def test_finished_trainings_are_read_and_not_repeated(tmp_path, monkeypatch):
    cohort = cohort_of(40)
    job = accuracy._Job("chain", 0, "cv0", cohort, cohort)
    np.savez(job.path(tmp_path), **{"float student": np.ones((40, 4)), "int8 student": np.zeros((40, 4))})
    monkeypatch.setattr(accuracy, "ProcessPoolExecutor", None)
    said = []
    (found,) = accuracy._run([job], tmp_path, 1, said.append)
    assert found["float student"].all()
    assert not found["int8 student"].any()
    assert said == []


def test_a_training_leaves_one_whole_file(tmp_path, monkeypatch):
    short = accuracy.BASELINE_CONFIG.model_copy(update={"epochs": 1, "not_ecg_bank": 20})
    monkeypatch.setattr("lsemvae_edge.train.baseline.BASELINE_CONFIG", short)
    cohort = cohort_of(16)
    job = accuracy._Job("cnn", 0, "small", cohort, cohort.select(slice(0, 3)))
    path = job.run(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    with np.load(path) as kept:
        assert kept["plain CNN"].shape == (3, 4)
        assert np.isfinite(kept["plain CNN"]).all()


def test_reading_fold_10_is_written_to_the_ledger(tmp_path, monkeypatch):
    path = tmp_path / "ledger.jsonl"
    monkeypatch.setattr(ledger, "LEDGER", path)
    bundle = bundles.default()
    ledger.append(bundle, "accuracy", [{"set": "fold 10", "n": 1}])
    ledger.append(bundle, "safety", [{"set": "fold 10", "n": 2}])
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    assert (first["what"], second["what"]) == ("accuracy", "safety")
    assert first["sha256"] == second["sha256"] == bundle.sha256
    assert first["bundle"] == bundle.spec.id
    assert first["figures"] == [{"set": "fold 10", "n": 1}]
    assert first["read_at"].endswith("+00:00")
    assert "commit" in first


def test_the_float_form_and_the_int8_form_of_the_bundle_agree():
    bundle = bundles.default()
    cohort = cohort_of(2)
    raw = bundle.golden["filtered_mv"][:, :, :960]
    cohort = Cohort(**{**vars(cohort), "pairs": raw.astype(np.float32)[:2]})
    int8, floating = accuracy._bundle_scores(bundle, cohort), accuracy._float_scores(bundle, cohort)
    assert int8.shape == floating.shape == (2, len(bundle.spec.outputs))
    np.testing.assert_allclose(int8, floating, atol=1.0)


@pytest.mark.skipif(not DATA, reason="LSEMVAE_EDGE_DATA is not set: no real recordings here")
def test_a_few_real_recordings_are_scored():
    bundle = bundles.default()
    listed = [entry for entry in datasets.entries(datasets.data_folder()) if entry.fold == metrics.VALIDATION_FOLD]
    right = [entry for entry in listed if entry.targets[datasets.RIGHT_HEART.name]][:12]
    other = [entry for entry in listed if not entry.targets[datasets.RIGHT_HEART.name]][:24]
    cohort, _ = load_cohort(right + other, bundle.spec.preprocess)
    scores = {
        "float student": [accuracy._float_scores(bundle, cohort)],
        "int8 student": [accuracy._bundle_scores(bundle, cohort)],
        "plain CNN": [np.zeros((len(cohort), 4), dtype=np.float32)],
    }
    row = accuracy._rows("a few", cohort, scores)[1]
    assert row["model"] == "int8 student"
    assert row["auroc"]["value"] > 0.6


def test_a_study_read_again_with_the_same_figures_is_one_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "ledger.jsonl")
    for figures in ([{"n": 1}], [{"n": 1}], [{"n": 2}]):
        ledger.append_study("c0ffee", figures)
    written = [json.loads(line) for line in ledger.LEDGER.read_text().splitlines()]
    assert [entry["figures"] for entry in written] == [[{"n": 1}], [{"n": 2}]]
    assert {entry["commit"] for entry in written} == {"c0ffee"}
