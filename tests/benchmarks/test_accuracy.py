"""The accuracy table: which figures stand in it, and of which recordings."""

import json
import os
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the benchmark trains; the base install has no torch")
pytest.importorskip("litert_torch", reason="the benchmark quantizes, which needs the extra `export`")

from lsemvae_edge import bundle as bundles
from lsemvae_edge import metrics
from lsemvae_edge.benchmarks import accuracy, ledger
from lsemvae_edge.benchmarks.accuracy import COMPONENTS, MODELS, REFERENCE, TASKS, Judged
from lsemvae_edge.benchmarks.fits import Place
from lsemvae_edge.benchmarks.judging import median_seed
from lsemvae_edge.quantize import build, weights
from lsemvae_edge.runtime import open_session
from lsemvae_edge.train import calibrate, datasets, distill
from lsemvae_edge.train.cohort import load_cohort

DATA = os.environ.get("LSEMVAE_EDGE_DATA")


def scores_of(cohort, quality, seed=0) -> np.ndarray:
    """Logits of both tasks, better than chance by ``quality``."""
    noise = np.random.default_rng(seed).normal(size=(len(cohort), 2))
    return (noise + quality * cohort.targets[:, :1]).astype(np.float32)


def judged_of(cohort, models=MODELS) -> Judged:
    """Every model about equally good; the teacher of twelve leads does not see recordings without chest leads."""
    scores = {model: [scores_of(cohort, 1.5, seed)] for seed, model in enumerate(models)}
    if "teacher 12L" in scores:
        scores["teacher 12L"][0][~cohort.has_chest_leads] = np.nan
    return Judged("a set", cohort, scores)


def by(rows, **wanted):
    (row,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return row


def test_the_median_seed_is_one_of_the_seeds():
    truth = np.array([0.0, 0, 1, 1])
    bad, middle, good = np.array([4, 3, 2, 1.0]), np.array([1, 3, 2, 4.0]), np.array([1, 2, 3, 4.0])
    assert median_seed(truth, [good, bad, middle]) is middle
    assert median_seed(truth, [good]) is good
    # Of two the lower one: a figure is never the better of a pair.
    assert median_seed(truth, [good, bad]) is bad
    # Recordings without a label do not count.
    assert median_seed(np.array([0, 0, 1, np.nan]), [good, bad, middle]) is middle


def test_fold_10_has_rows_only_when_it_was_read(cohort_of):
    judged = judged_of(cohort_of())
    parts = {part.name: part for part in accuracy._sets(judged)}
    assert list(parts) == ["fold 9", "fold 10", "a set", "A: folds 9-10 of ptbxl_12lead"]
    assert set(parts["fold 9"].cohort.fold) == {9}
    assert set(parts["fold 10"].cohort.fold) == {10}
    assert set(parts["A: folds 9-10 of ptbxl_12lead"].cohort.source) == {datasets.TWELVE_LEAD}
    for part in parts.values():
        assert all(len(one) == len(part.cohort) for seeds in part.scores.values() for one in seeds)
    only_nine = judged.select("nine", judged.cohort.fold == 9)
    assert [part.name for part in accuracy._sets(only_nine)] == ["fold 9"]


@pytest.mark.parametrize(
    ("final", "cross_validate", "read"), [(False, False, {8, 9}), (True, False, {8, 9, 10}), (False, True, {8, 9, 10})]
)
def test_fold_10_is_read_only_when_it_was_asked_for(monkeypatch, tmp_path, final, cross_validate, read):
    class Enough(Exception):  # noqa: N818
        """Raised where reading begins."""

    seen = []

    def load_both(listed, workers):
        seen.extend(entry.fold for entry in listed)
        raise Enough

    monkeypatch.setattr(accuracy.bundles, "default", lambda: None)
    monkeypatch.setattr(accuracy.datasets, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(accuracy.datasets, "entries", lambda folder: [SimpleNamespace(fold=k) for k in (8, 9, 10)])
    monkeypatch.setattr(accuracy, "load_both", load_both)
    with pytest.raises(Enough):
        accuracy.evaluate(
            work=tmp_path, final=final, cross_validate=cross_validate, curve=False, seeds=1, processes=1, say=print
        )
    assert set(seen) == read


@pytest.mark.parametrize("final", [False, True])
def test_a_whole_evaluation_learns_from_folds_1_to_8_alone_and_tells_the_ledger(
    monkeypatch, tmp_path, cohort_of, final
):
    folds = (1, 8, 9, 10) if final else (1, 8, 9)
    cohort, teaching = (cohort_of(200, folds=folds, seed=seed) for seed in (0, 1))
    places, told = [], []

    def judge(place, bundle, work, seeds, processes, say):
        places.append(place)
        return Judged("folds 9-10", place.held_out, judged_of(place.held_out, ("student small", REFERENCE)).scores)

    monkeypatch.setattr(accuracy.bundles, "default", lambda: "the bundle")
    monkeypatch.setattr(accuracy.datasets, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(accuracy.datasets, "entries", lambda folder: [])
    monkeypatch.setattr(accuracy, "load_both", lambda listed, workers: (cohort, teaching))
    monkeypatch.setattr(accuracy, "_judge_folds", judge)
    monkeypatch.setattr(accuracy.ledger, "append", lambda *arguments: told.append(arguments))
    rows = accuracy.evaluate(
        work=tmp_path, final=final, cross_validate=False, curve=False, seeds=1, processes=1, say=print
    )
    (place,) = places
    assert set(place.training.fold) == {1, 8}
    assert set(place.held_out.fold) == ({9, 10} if final else {9})
    np.testing.assert_array_equal(place.training.beats, teaching.select(teaching.fold < 9).beats)
    np.testing.assert_array_equal(place.held_out.beats, cohort.select(cohort.fold >= 9).beats)
    names = {row["set"] for row in rows}
    assert names == ({"fold 9", "fold 10", "folds 9-10", "A: folds 9-10 of ptbxl_12lead"} if final else {"fold 9"})
    if final:
        ((bundle, what, figures),) = told
        assert (bundle, what) == ("the bundle", "accuracy")
        assert figures == [row for row in rows if row["set"] != "fold 9"]
    else:
        assert told == []


def test_a_row_stands_for_each_task_and_model_with_an_interval_of_the_difference(cohort_of):
    cohort = cohort_of()
    scores = {
        "student small": [scores_of(cohort, 2.0)],
        REFERENCE: [scores_of(cohort, quality, 2) for quality in (0.1, 0.5, 1.0)],
    }
    rows = accuracy._rows(Judged("fold 9", cohort, scores))
    assert [(row["task"], row["model"]) for row in rows] == [(task, model) for task in TASKS for model in scores]
    student, plain = (by(rows, task=TASKS[0], model=model) for model in scores)
    assert (student["set"], student["which"], student["n"], student["positive"]) == ("fold 9", "all", 120, 30)
    assert len(plain["seeds"]) == 3
    assert plain["auroc"]["value"] == sorted(plain["seeds"])[1]
    assert plain["auroc_difference"] is None
    difference = student["auroc_difference"]
    assert difference["value"] == pytest.approx(student["auroc"]["value"] - plain["auroc"]["value"], abs=2e-4)
    assert difference["low"] < difference["value"] < difference["high"]
    assert by(rows, task=TASKS[1], model="student small")["n"] == 40
    json.dumps(rows, allow_nan=False)


def test_a_teacher_of_twelve_leads_is_judged_where_they_are_and_so_is_what_it_is_compared_with(cohort_of):
    cohort = cohort_of(300)
    judged = judged_of(cohort)
    seen = cohort.has_chest_leads
    assert 0 < seen.sum() < len(cohort)
    rows = accuracy._rows(judged)
    teacher = by(rows, task=TASKS[0], model="teacher 12L")
    assert (teacher["n"], teacher["positive"]) == (seen.sum(), cohort.targets[seen, 0].sum())
    assert by(rows, task=TASKS[0], model="student small")["n"] == len(cohort)
    among = metrics.auroc(cohort.targets[seen, 0], judged.scores[REFERENCE][0][seen, 0])
    expected = teacher["auroc"]["value"] - among
    assert teacher["auroc_difference"]["value"] == pytest.approx(expected, abs=2e-4)
    json.dumps(rows, allow_nan=False)


def test_a_set_that_a_model_cannot_read_at_all_has_counts_of_none(cohort_of):
    judged = judged_of(cohort_of(200))
    limb_only = judged.select("limb leads", ~judged.cohort.has_chest_leads)
    row = by(accuracy._rows(limb_only), task=TASKS[0], model="teacher 12L")
    assert (row["n"], row["positive"], row["auroc"], row["seeds"]) == (0, 0, None, [])


def test_components_have_their_own_positives_against_all_negatives(cohort_of):
    cohort = cohort_of(400)
    positive = np.flatnonzero(cohort.targets[:, 0] == 1)
    for statement, rows in (("IRBBB", positive[::2]), ("RVH", positive[1::3]), ("right axis", positive[:3])):
        cohort.auxiliary[rows, COMPONENTS[statement]] = 1
    rows = accuracy._component_rows(judged_of(cohort, ("student small", REFERENCE)))
    assert {row["which"] for row in rows} == {*COMPONENTS, "without IRBBB"}
    assert {row["task"] for row in rows} == {TASKS[0]}
    counts = {row["which"]: (row["n"], row["positive"]) for row in rows if row["model"] == "student small"}
    assert counts["IRBBB"] == (300 + 50, 50)
    assert counts["RVH"] == (300 + 33, 33)
    assert counts["without IRBBB"] == (300 + 50, 50)
    assert counts["LPFB"] == (300, 0)
    few = by(rows, which="right axis", model="student small")
    assert (few["positive"], few["auroc"], few["seeds"]) == (3, None, [])
    json.dumps(rows, allow_nan=False)


def test_components_are_named_after_the_auxiliary_statements():
    from lsemvae_edge.train import labels

    for statement, axis in (("RVH", "MID"), ("IRBBB", "MID"), ("LPFB", "MID"), ("NORM", "RAD")):
        codes = f"{{'{statement}': 100.0}}"
        found = labels.from_ptbxl({"scp_codes": codes, "heart_axis": axis, "sex": "0"}).auxiliary
        named = {name for name, place in COMPONENTS.items() if found[place] == 1}
        assert named == ({"right axis"} if axis == "RAD" else {statement})


def test_groups_are_by_sex_and_age_and_who_has_no_age_is_in_no_band(cohort_of):
    cohort = cohort_of(400)
    rows = accuracy._group_rows(judged_of(cohort, ("student small", REFERENCE)))
    count = {row["which"]: row["n"] for row in rows if row["model"] == REFERENCE}
    assert list(count) == ["female", "male", "under 50", "50 to 69", "70 and over"]
    assert count["female"] + count["male"] == 400
    assert sum(count[band] for band in ("under 50", "50 to 69", "70 and over")) == np.isfinite(cohort.age_years).sum()


def test_too_few_positives_have_counts_and_no_figure(cohort_of):
    rows = accuracy._rows(judged_of(cohort_of(30)))
    assert all(row["positive"] < metrics.MIN_POSITIVES for row in rows)
    assert all(row["auroc"] is None and row["auroc_difference"] is None and not row["seeds"] for row in rows)
    assert accuracy.table(rows).count("| - | - | - |") == len(rows)


def test_the_table_is_a_table(cohort_of):
    rows = accuracy._rows(judged_of(cohort_of()))
    lines = accuracy.table(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert len({line.count("|") for line in lines}) == 1
    value = rows[0]["auroc"]
    assert f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})" in lines[2]


def test_both_forms_of_the_recordings_are_aligned(monkeypatch, cohort_of):
    whole = cohort_of(20)

    def load(listed, tasks, *, same_band=False, workers=1):
        assert tuple(tasks) == TASKS
        return whole.select(np.arange(20) != (3 if same_band else 7)), {}

    monkeypatch.setattr(accuracy, "load_cohort", load)
    judged, taught = accuracy.load_both([])
    assert judged.record_id.tolist() == taught.record_id.tolist()
    assert set(whole.record_id) - set(judged.record_id) == {"r3", "r7"}


def test_cross_validation_pools_what_was_said_by_those_who_did_not_learn_from_the_patient(monkeypatch, cohort_of):
    cohort, teaching = cohort_of(100), cohort_of(100, seed=1)
    fits = []

    def answers(of_place, work):
        place = of_place[0].place
        assert not set(place.training.patient) & set(place.held_out.patient)
        assert set(place.training.patient) | set(place.held_out.patient) == set(cohort.patient)
        number = np.array([int(name[1:]) for name in place.held_out.record_id], dtype=np.float32)
        return {model: [np.stack([number, seed + number], axis=1) for seed in (0, 1)] for model in MODELS[::-1]}

    monkeypatch.setattr(accuracy, "run_all", lambda listed, work, processes, say: fits.extend(listed))
    monkeypatch.setattr(accuracy, "_answers", answers)
    pooled = accuracy.cross_validation(cohort, teaching, None, 2, 1, print)
    assert tuple(pooled.scores) == MODELS
    for seeds in pooled.scores.values():
        for seed, scores in enumerate(seeds):
            np.testing.assert_array_equal(scores, np.stack([np.arange(100), seed + np.arange(100)], axis=1))
    assert len({fit.place.name for fit in fits}) == accuracy.N_FOLDS
    of_one = [fit for fit in fits if fit.place.name == "cv0"]
    assert [fit.kind for fit in of_one].count("teachers") == 1
    students = {(fit.config.student.size, fit.config.student.seed, fit.int8) for fit in of_one if fit.kind == "student"}
    assert students == {("small", 0, True), ("small", 1, True), ("base", 0, False), ("tiny", 0, False)}
    for fit in of_one:
        np.testing.assert_array_equal(
            fit.place.training.beats[0], teaching.beats[teaching.record_id == fit.place.training.record_id[0]][0]
        )


def test_answers_are_named_as_the_table_names_its_models(cohort_of):
    cohort = cohort_of(6)

    class Done:
        def __init__(self, fit, **said):
            self.kind, self.config, self.said = fit.kind, fit.config, said

        def answers(self, work):
            return self.said

    place = Place("p", cohort, cohort)
    values = {name: np.full((6, 4), k, dtype=np.float32) for k, name in enumerate("abcdef")}
    done = []
    for fit in accuracy._fits(place, ("base", "small", "tiny"), 1):
        if fit.kind == "teachers":
            said = {"soft": values["a"], "12L": values["a"], "6L": values["b"]}
        elif fit.kind == "cnn":
            said = {"cnn": values["c"]}
        else:
            said = {"float": values["d"], **({"int8": values["e"]} if fit.int8 else {})}
        done.append(Done(fit, **said))
    found = accuracy._answers(done, None)
    assert set(found) == set(MODELS)
    assert all(one.shape == (6, len(TASKS)) for seeds in found.values() for one in seeds)
    assert found["teacher 6L"][0][0, 0] == 1
    assert found["student small int8"][0][0, 0] == 4


def test_the_learning_curves_smaller_shares_lie_inside_the_larger(monkeypatch, cohort_of):
    training, held_out = cohort_of(200, folds=(1,), prefix="t"), cohort_of(80)
    places = []

    def ran(fits, work, processes, say):
        places.append(fits[0].place)

    monkeypatch.setattr(accuracy, "run_all", ran)
    monkeypatch.setattr(
        accuracy, "_answers", lambda fits, work: judged_of(held_out, ("student small", REFERENCE)).scores
    )
    rows = accuracy._curve(training, held_out, None, 1, print)
    patients = [set(place.training.patient) for place in places]
    shares = (*accuracy.CURVE_SHARES, 1.0)
    assert [len(one) for one in patients] == [round(100 * share) for share in shares]
    assert all(smaller < larger for smaller, larger in pairwise(patients))
    assert len({place.name for place in places}) == len(shares)
    assert {row["which"] for row in rows} >= {"25% of the training patients, 50 recordings"}


def test_reading_fold_10_is_written_to_the_ledger(tmp_path, monkeypatch, small_bundle):
    path = tmp_path / "ledger.jsonl"
    monkeypatch.setattr(ledger, "LEDGER", path)
    ledger.append(small_bundle, "accuracy", [{"set": "fold 10", "n": 1}])
    ledger.append(small_bundle, "safety", [{"set": "fold 10", "n": 2}])
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    assert (first["what"], second["what"]) == ("accuracy", "safety")
    assert first["sha256"] == second["sha256"] == small_bundle.sha256
    assert first["bundle"] == small_bundle.spec.id
    assert first["figures"] == [{"set": "fold 10", "n": 1}]
    assert first["read_at"].endswith("+00:00")
    assert "commit" in first


def test_a_study_read_again_with_the_same_figures_is_one_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "ledger.jsonl")
    for figures in ([{"n": 1}], [{"n": 1}], [{"n": 2}]):
        ledger.append_study("c0ffee", figures)
    written = [json.loads(line) for line in ledger.LEDGER.read_text().splitlines()]
    assert [entry["figures"] for entry in written] == [[{"n": 1}], [{"n": 2}]]
    assert {entry["commit"] for entry in written} == {"c0ffee"}


def test_the_shipped_rows_are_of_the_bundles_own_files(monkeypatch, small_bundle, cohort_of, simulated_inputs, student):
    cohort = cohort_of(40)
    cohort.beats[:, :6] = simulated_inputs
    place = Place("p", cohort, cohort)
    others = {model: [scores_of(cohort, 1.0)] for model in MODELS}
    monkeypatch.setattr(accuracy, "run_all", lambda *arguments: None)
    monkeypatch.setattr(accuracy, "_answers", lambda fits, work: dict(others))
    judged = accuracy._judge_folds(place, small_bundle, None, 1, 1, print)
    assert tuple(judged.scores) == MODELS
    (floating,), (int8,) = judged.scores["student small"], judged.scores["student small int8"]
    np.testing.assert_allclose(floating, distill.predict(student, cohort).logits[:, :2], atol=1e-5)
    assert int8.shape == floating.shape
    for column in range(2):
        assert np.corrcoef(int8[:, column], floating[:, column])[0, 1] > 0.98


@pytest.mark.skipif(not DATA, reason="LSEMVAE_EDGE_DATA is not set: no real recordings here")
def test_a_few_real_recordings_are_scored_by_the_shipped_bundle():
    bundle = bundles.default()
    listed = [entry for entry in datasets.entries(datasets.data_folder()) if entry.fold == metrics.VALIDATION_FOLD]
    right = [entry for entry in listed if entry.targets[datasets.RIGHT_HEART.name]][:12]
    other = [entry for entry in listed if not entry.targets[datasets.RIGHT_HEART.name]][:24]
    cohort, _ = load_cohort(right + other, [task.name for task in calibrate.TASKS])
    student = weights.restore(bundle.read(weights.WEIGHTS), bundle.read(weights.CONFIG))
    floating = distill.predict(student, cohort).logits.numpy()
    int8 = build.ask(open_session(bundle), cohort).logits
    np.testing.assert_allclose(int8, floating, atol=1.0)
    row = accuracy._rows(Judged("a few", cohort, {"student small int8": [int8[:, :2]]}))[0]
    assert row["auroc"]["value"] > 0.6
