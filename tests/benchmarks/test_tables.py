"""The tables: what is compared with what, what is left out, and what a file holds."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks import published, table_files, tables
from lsemvae_edge.benchmarks.tables import NotRun, Pair
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.metrics import Interval
from lsemvae_edge.train.predictions import NO_FOLD, Predictions, Spread, validation_of

N = 240


def made(model="ours", leads="6L", split="cv5", seed=0, skill=1.5, n=N, positives=80, first=0, folds=5, task="side"):
    rng = np.random.default_rng([seed, first, len(model), len(leads)])
    patient = np.arange(n) // 2
    truth = (patient * 7919) % (n // 2) < positives // 2
    score = 1 / (1 + np.exp(-(skill * truth - 1 + rng.normal(size=n))))
    return Predictions(
        model,
        task,
        leads,
        split,
        seed,
        record_id=[f"r{first + i}" for i in range(n)],
        patient=[f"p{first + i}" for i in patient],
        fold_of_cv=patient % folds if folds else np.full(n, NO_FOLD),
        truth=truth,
        score=score,
        age_years=np.resize([30, 39.9, 40, 64, 65, 79, 80, 300, np.nan], n),
        sex=np.resize(["female", "male", ""], n),
    )


def validation_for(predictions, **changes):
    other = made(predictions.model, predictions.leads, validation_of(predictions.split), predictions.seed, first=9000)
    return replace(other, **changes)


def test_the_main_row_holds_the_metrics_of_its_predictions():
    one = made()
    (row,) = tables.main_table([one], [validation_for(one)])
    resamples = metrics.patient_bootstrap(one.patient)
    assert (row["n"], row["patients"], row["positive"]) == (N, N // 2, one.truth.sum())
    assert row["auroc"] == metrics.with_interval(metrics.auroc, one.truth, one.score, resamples)
    assert row["brier"].value == metrics.brier(one.truth, one.score)
    assert row["brier"].value < row["brier_constant"]
    assert row["ece"].low <= row["ece"].high
    folds = [metrics.auroc(one.truth[one.fold_of_cv == f], one.score[one.fold_of_cv == f]) for f in range(5)]
    assert row["auroc_over_folds"] == Spread(pytest.approx(np.mean(folds)), pytest.approx(np.std(folds, ddof=1)), 5)
    called = one.score >= 0.5
    assert row["accuracy_at_half"].value == pytest.approx(np.mean(called == one.truth))


def test_the_operating_point_is_chosen_on_validation_records_fold_by_fold():
    one = made()
    chooser = validation_for(one)
    (row,) = tables.main_table([one], [chooser], rule=0.9)
    called = np.zeros(N, dtype=bool)
    for fold in range(5):
        of_fold = chooser.fold_of_cv == fold
        threshold = metrics.threshold_at_sensitivity(chooser.truth[of_fold], chooser.score[of_fold], 0.9)
        called[one.fold_of_cv == fold] = one.score[one.fold_of_cv == fold] >= threshold
    positive = one.truth == 1
    assert row["sensitivity"] == metrics.exact_interval(int(called[positive].sum()), int(positive.sum()))
    assert row["specificity"] == metrics.exact_interval(int((~called)[~positive].sum()), int((~positive).sum()))
    assert row["operating_point"] == "sensitivity 0.9 on validation records"
    ppv, npv = metrics.predictive_values(row["sensitivity"].value, row["specificity"].value, 0.05)
    assert (row["ppv_5%"].value, row["npv_5%"].value) == (pytest.approx(ppv), pytest.approx(npv))
    assert row["ppv_1%"].value < row["ppv_5%"].value < row["ppv_20%"].value


def test_judged_labels_do_not_move_the_operating_point():
    one = made()
    chooser = validation_for(one)
    flipped = replace(one, truth=1 - one.truth)
    for rule in (0.8, "youden"):
        before, _ = tables.operating_thresholds(one, [chooser], rule)
        after, _ = tables.operating_thresholds(flipped, [chooser], rule)
        np.testing.assert_array_equal(before, after)


def test_without_validation_records_a_fold_is_judged_by_the_threshold_of_the_others():
    one = made()
    thresholds, how = tables.operating_thresholds(one, [])
    assert how == "sensitivity 0.8 on the other folds"
    for fold in range(5):
        own = one.fold_of_cv == fold
        chosen = metrics.threshold_at_sensitivity(one.truth[~own], one.score[~own], 0.8)
        assert (thresholds[own] == chosen).all()
    own = one.fold_of_cv == 2
    relabelled = replace(one, truth=np.where(own, 1 - one.truth, one.truth))
    again, _ = tables.operating_thresholds(relabelled, [])
    np.testing.assert_array_equal(thresholds[own], again[own])
    assert (thresholds[~own] != again[~own]).any()


def test_without_validation_records_the_operating_point_is_one_half_and_says_so():
    one = replace(made(), fold_of_cv=np.full(N, NO_FOLD))
    other = [validation_for(made(model="another")), replace(validation_for(one), seed=7)]
    thresholds, how = tables.operating_thresholds(one, other)
    assert (thresholds == 0.5).all()
    assert "0.5" in how
    assert "no validation records" in how


def test_validation_records_of_one_class_are_named():
    one = made()
    chooser = validation_for(one)
    chooser = replace(chooser, truth=np.where(chooser.fold_of_cv == 3, 0, chooser.truth))
    thresholds, how = tables.operating_thresholds(one, [chooser])
    assert (thresholds[one.fold_of_cv == 3] == 0.5).all()
    assert "0.5 in fold 3" in how


def test_a_patient_who_is_judged_may_not_choose_the_threshold():
    one = made()
    leaking = replace(one, split=validation_of(one.split))
    with pytest.raises(BadInputError, match="both judged and used to choose"):
        tables.main_table([one], [leaking])


def test_the_median_seed_stands_and_all_are_listed():
    seeds = [made(seed=seed) for seed in range(3)]
    (row,) = tables.main_table(seeds)
    values = sorted(metrics.auroc(one.truth, one.score) for one in seeds)
    assert row["seeds"] == 3
    assert row["auroc"].value == values[1]
    assert len(row["auroc_of_seeds"].split()) == 3


def test_few_positives_give_counts_and_scores_and_no_auroc():
    few = made(positives=6)
    (row,) = tables.main_table([few])
    assert row["positive"] == 6
    assert row["auroc"] is row["average_precision"] is row["f1"] is None
    assert "6 positives: no AUROC below 10; their scores:" in row["note"]
    assert f"{few.score[few.truth == 1].max():.3f}" in row["note"]
    assert row["sensitivity"].high - row["sensitivity"].low > 0.3
    (none,) = tables.main_table([made(positives=0)])
    assert none["note"] == "0 positives: no AUROC below 10"
    assert none["sensitivity"] is None


def test_rows_that_were_not_run_are_listed_with_their_reason():
    gap = NotRun("MVAE", "side", "12L", "cv5", "the budget of 2 h was spent")
    rows = tables.main_table([made()], not_run=[gap])
    assert rows[-1]["note"] == "not run: the budget of 2 h was spent"
    text = table_files.to_markdown(rows, table_files.SECTIONS["Calibration"])
    assert "| MVAE | side | 12L | cv5 | - | - | - | - | - | not run: the budget of 2 h was spent |" in text
    (row,) = tables.difference_table([made()], [Pair("MVAE", "12L", "ours", "6L")], not_run=[gap])
    assert row["comparison"] == "MVAE 12L minus ours 6L"
    assert row["note"] == "not run: the budget of 2 h was spent"


def test_a_difference_is_paired_on_the_records_both_have():
    better, worse = made(skill=3), made("other", skill=0.5)
    partly = worse.select(np.arange(N)[::-1][: N - 40])  # other order, some missing
    (row,) = tables.difference_table([better, partly], [Pair("ours", "6L", "other", "6L")])
    left = better.select(np.arange(40, N))
    expected = metrics.auroc(left.truth, left.score) - metrics.auroc(partly.truth, partly.score)
    assert row["difference"].value == pytest.approx(expected)
    assert (row["n"], row["records_left_out"], row["verdict"]) == (N - 40, 40, "better")
    (back,) = tables.difference_table([better, partly], [Pair("other", "6L", "ours", "6L")])
    assert back["difference"].value == pytest.approx(-expected)
    assert back["verdict"] == "worse"
    (same,) = tables.difference_table([better, replace(better, model="copy")], [Pair("copy", "6L", "ours", "6L")])
    assert same["difference"] == Interval(0.0, 0.0, 0.0)
    assert same["verdict"] == "not worse"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.001, 0.1, "better"), (-0.02, 0.1, "not worse"), (-0.021, 0.1, "open"), (-0.2, -0.1, "worse")],
)
def test_verdicts_need_an_interval(low, high, verdict):
    assert tables._verdict(Interval(0.0, low, high)) == verdict


def test_models_that_disagree_about_labels_are_not_compared():
    one = made()
    other = replace(one, model="other", truth=1 - one.truth)
    with pytest.raises(BadInputError, match="disagree about the label"):
        tables.difference_table([one, other], [Pair("ours", "6L", "other", "6L")])


def test_standard_pairs_are_those_whose_both_sides_are_there():
    there = [made("better", "6L"), made("better", "12L"), made("reference", "6L"), made("plain CNN", "12L")]
    pairs = tables.standard_pairs(there, better="better", reference="reference", baseline="plain CNN")
    assert [pair.name for pair in pairs] == [
        "better 6L minus reference 6L",
        "better 6L minus better 12L",
        "better 12L minus plain CNN 12L",
    ]
    assert tables.standard_pairs([], better="a", reference="b", baseline="c") == []


def test_groups_by_sex_and_age_hold_every_record_once_and_300_is_old():
    one = made()
    rows = {row["group"]: row for row in tables.subgroup_table([one], [validation_for(one)])}
    assert rows["female"]["n"] + rows["male"]["n"] + rows["sex unknown"]["n"] == N
    assert sum(row["n"] for group, row in rows.items() if group.startswith("age")) == N
    for group, ages in {
        "age < 40": (30, 39.9), "age 40-64": (40, 64), "age 65-79": (65, 79), "age >= 80": (80, 300),
    }.items():  # fmt: skip
        assert rows[group]["n"] == np.isin(one.age_years, ages).sum()
    female = one.select(one.sex == "female")
    assert rows["female"]["auroc"].value == metrics.auroc(female.truth, female.score)
    # One operating point for everybody.
    thresholds, _ = tables.operating_thresholds(one, [validation_for(one)])
    called = (one.score >= thresholds)[(one.sex == "female") & (one.truth == 1)]
    assert rows["female"]["sensitivity"].value == pytest.approx(called.mean())


def test_lead_sets_stand_in_one_order_with_the_papers_figure_apart():
    rows = tables.lead_table([made(leads=leads) for leads in ("aVF", "6L", "I+II+III", "12L")])
    assert [row["leads"] for row in rows] == ["12L", "6L", "I+II+III", "aVF"]
    assert "published_auroc" not in rows[0]
    gap = NotRun("ours", "side", "II", "cv5", "stopped")
    beside = tables.lead_table([made(leads="aVF")], published_task="PH detection", not_run=[gap])
    assert [(row["leads"], row["published_auroc"]) for row in beside] == [("II", 0.698), ("aVF", 0.775)]
    assert "another cohort; not comparable" in table_files.to_markdown(beside)


def test_noise_is_compared_with_the_clean_recordings_of_the_same_training():
    seeds = [made(seed=seed) for seed in range(3)]
    noisy = [replace(one, score=1 - one.score) for one in seeds]
    rows = tables.noise_table({20.0: seeds, None: seeds, 5.0: noisy})
    assert [row["snr_db"] for row in rows] == ["clean", "20", "5"]
    assert len({row["seed"] for row in rows}) == 1
    assert "difference" not in rows[0]
    assert rows[1]["difference"] == Interval(0.0, 0.0, 0.0)
    assert rows[2]["difference"].value == pytest.approx(1 - 2 * rows[0]["auroc"].value)


def test_positives_of_each_kind_are_counted_apart_against_the_same_negatives():
    one = made()
    positives, negatives = one.record_id[one.truth == 1].tolist(), one.record_id[one.truth == 0].tolist()
    kinds = {"a": {*positives[::2], negatives[0]}, "b": {*positives[1::2]}, "absent": {negatives[1], "elsewhere"}}
    rows = tables.counted_apart_table([one], kinds)
    assert [row["positives_counted"] for row in rows] == ["all", "a", "b"]
    assert rows[1]["positive"] + rows[2]["positive"] == rows[0]["positive"]
    assert {row["n"] - row["positive"] for row in rows} == {len(negatives)}


def test_the_papers_figures_are_marked_as_another_cohorts():
    rows = published.published_table()
    assert len(rows) == 14
    assert all("not comparable" in row["cohort"] for row in rows)
    found = {(row["task"], row["leads"]): row["auroc"] for row in rows}
    assert found["PH detection", "6L"] == 0.814
    assert found["PH detection", "aVR+aVL+aVF"] == 0.811


def test_a_csv_holds_every_figure_with_its_interval():
    gap = NotRun("MVAE", "side", "12L", "cv5", "no time")
    rows = tables.main_table([made(positives=6), made("b")], not_run=[gap])
    few, enough, absent = csv.DictReader(io.StringIO(table_files.to_csv(rows)))
    assert float(enough["auroc"]) == rows[1]["auroc"].value
    assert float(enough["auroc_low"]) == rows[1]["auroc"].low
    assert float(enough["mcc_over_folds_std"]) == rows[1]["mcc_over_folds"].std
    assert few["auroc"] == few["auroc_low"] == ""
    assert absent["note"] == "not run: no time"


def test_both_files_are_written_whole_and_every_section_once(tmp_path):
    rows = tables.main_table([made()])
    table_files.write(tmp_path / "new", "main", rows, table_files.SECTIONS)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["main.csv", "main.md"]
    text = (tmp_path / "new" / "main.md").read_text()
    assert text.count("### ") == len(table_files.SECTIONS)
    widths = {line.count("|") for line in text.split("### Calibration")[1].splitlines() if line.startswith("|")}
    assert widths == {len(table_files.SECTIONS["Calibration"]) + 1}


def test_cells_are_readable():
    assert table_files.cell(Interval(0.8123, 0.79, 0.8349)) == "0.812 (0.790 to 0.835)"
    assert table_files.cell(Spread(0.8, 0.02, 5)) == "0.800 ± 0.020"
    assert table_files.cell("a|b\nc") == "a\\|b c"
    assert table_files.cell(None) == "-"
    assert table_files.cell(12) == "12"
