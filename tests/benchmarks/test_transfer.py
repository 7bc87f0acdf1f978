"""Sites and recorders left out: who teaches whom, what is compared, and what the shipped bundle says outside."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the benchmark trains; the base install has no torch")
pytest.importorskip("litert_torch", reason="the benchmark quantizes, which needs the extra `export`")

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks import judging, ledger, table_files, transfer
from lsemvae_edge.benchmarks.transfer import REFERENCE, REST, STUDENT
from lsemvae_edge.cli import main
from lsemvae_edge.record import Record
from lsemvae_edge.train.cohort import Cohort
from lsemvae_edge.train.datasets import Synthetic
from lsemvae_edge.train.labels import N_AUXILIARY

TASKS = ("right_heart_pattern", "heart_side")


@pytest.fixture(scope="module")
def cohort():
    """Recordings of nothing: three large sites, small ones, one unknown; two recordings a patient."""
    n = 240
    rng = np.random.default_rng(0)
    truth = (np.arange(n) // 2 % 2).astype(np.float32)
    site = np.array((["0", "1", "2", "0", "1", "2", "7", "8"] * n)[: n // 2]).repeat(2)
    site[site == "8"] = ""
    # A patient who was seen at two sites.
    site[0], site[1] = "0", "1"
    return Cohort(
        beats=rng.normal(size=(n, 12, 100)).astype(np.float32),
        pairs=np.zeros((n, 2, 4), dtype=np.float32),
        present=np.ones((n, 12), dtype=bool),
        tasks=TASKS,
        targets=np.stack([truth, np.full(n, np.nan)], axis=1).astype(np.float32),
        auxiliary=np.full((n, N_AUXILIARY), np.nan, dtype=np.float32),
        fold=1 + np.arange(n) // 2 % 9,
        patient=np.array([f"p{k // 2}" for k in range(n)]),
        source=np.full(n, "x"),
        site=site,
        device=np.full(n, "one recorder"),
        sex=np.full(n, ""),
        age_years=np.full(n, 50.0, dtype=np.float32),
        right_axis_like=np.zeros(n, dtype=bool),
        record_id=np.array([f"r{k}" for k in range(n)]),
    )


def answers(cohort, student=1.5, cnn=0.5, seeds=1):
    def drawn(quality, seed):
        noise = np.random.default_rng(seed).normal(size=len(cohort))
        return (noise + quality * cohort.targets[:, 0]).astype(np.float32)

    return {STUDENT: [drawn(student, s) for s in range(seeds)], REFERENCE: [drawn(cnn, 9 + s) for s in range(seeds)]}


def test_groups_have_ten_positives_and_the_rest_goes_together(cohort):
    groups = transfer.groups_of(cohort, "site")
    assert [group.name for group in groups] == ["0", "1", "2", REST]
    assert set(cohort.site[groups[-1].mask]) == {"7", ""}
    assert sum(group.mask.sum() for group in groups) == len(cohort)
    few = cohort.select(np.isin(cohort.site, ("0", "7")) & (np.arange(len(cohort)) < 100))
    assert (few.targets[few.site == "7", 0] == 1).sum() < metrics.MIN_POSITIVES
    assert [group.name for group in transfer.groups_of(few, "site")] == ["0"]


def test_no_patient_of_a_group_teaches_its_models(cohort):
    for group in transfer.groups_of(cohort, "site"):
        place = transfer._without(group, cohort, cohort)
        assert set(place.held_out.record_id) == set(cohort.record_id[group.mask])
        assert not set(place.training.patient) & set(place.held_out.patient)
        assert not set(place.training.site) & set(place.held_out.site)
        assert place.name.replace("-", "").replace("_", "").isalnum()
    # The patient of two sites teaches neither.
    assert "p0" not in transfer._without(transfer.groups_of(cohort, "site")[0], cohort, cohort).training.patient


def test_every_place_has_a_student_and_a_plain_cnn_of_each_seed(cohort):
    place = transfer._without(transfer.groups_of(cohort, "site")[0], cohort, cohort)
    fits = transfer.fits_of(place, teachers=False, seeds=2)
    assert [(fit.kind, fit.config.student.seed) for fit in fits] == [
        ("student", 0), ("cnn", 0), ("student", 1), ("cnn", 1),
    ]  # fmt: skip
    assert all(fit.before() is None for fit in fits)
    assert transfer.fits_of(place, teachers=True, seeds=1)[0].before() is not None


def test_rows_stand_for_each_group_all_of_them_and_the_worst(cohort):
    groups = transfer.groups_of(cohort, "site")
    of_groups = [
        (group, answers(cohort.select(group.mask), student=0.3 if group.name == "2" else 2.0, seeds=3))
        for group in groups
    ]
    rows = transfer.rows_of("site", cohort, of_groups, answers(cohort, student=2.0, seeds=3))
    by_key = {(row["group"], row["model"]): row for row in rows}
    assert len(rows) == 2 * (len(groups) + 1) + 2
    pooled = by_key[transfer.POOLED, STUDENT]
    assert pooled["n"] == len(cohort)
    assert pooled["minus_plain_cnn"].low > 0
    assert by_key[transfer.POOLED, REFERENCE]["minus_plain_cnn"] is None
    worst = by_key["worst group: 2", STUDENT]
    assert worst["auroc"] == by_key["2", STUDENT]["auroc"]
    assert worst["auroc"].value == min(by_key[group.name, STUDENT]["auroc"].value for group in groups)
    lost = by_key["2", STUDENT]["minus_in_distribution"]
    assert lost.value == pytest.approx(worst["auroc"].value - by_key["2", STUDENT]["in_distribution"].value)
    assert lost.value < 0
    assert len({line.count("|") for line in table_files.to_markdown(rows).splitlines()}) == 1
    json.dumps([judging.plain(row) for row in rows], allow_nan=False)


def test_an_axis_without_groups_has_no_rows(cohort):
    assert transfer.rows_of("site", cohort, [], answers(cohort)) == []


def test_pooled_answers_stand_where_their_recordings_do():
    masks = [np.array([True, False, True, False]), np.array([False, True, False, False])]
    parts = [{"m": [np.array([1.0, 3.0])]}, {"m": [np.array([2.0])]}]
    (whole,) = transfer.pooled(zip(masks, parts, strict=True), 4)["m"]
    np.testing.assert_array_equal(whole, np.array([1, 2, 3, np.nan], dtype=np.float32))


def test_the_median_of_several_seeds_counts_labelled_recordings_only():
    truth = np.array([0, 0, 1, 1, np.nan], dtype=np.float32)
    good, middle, bad = np.array([1, 2, 3, 4, 0.0]), np.array([1, 3, 2, 4, 9.0]), np.array([4, 3, 2, 1, 0.0])
    assert judging.median_seed(truth, [good, bad, middle]) is middle
    assert judging.median_seed(truth, [good, bad]) is bad


def test_fold_10_is_not_read_and_other_recorders_only_when_final(cohort, monkeypatch, tmp_path):
    entries = list(Synthetic(n_patients=20))
    seen = []

    def load(listed, workers):
        seen.extend(entry.fold for entry in listed)
        return cohort, cohort

    def do(fits, work, processes, say):
        for fit in fits:
            form = "float" if fit.kind == "student" else "cnn"
            score = np.zeros((len(fit.place.held_out), 4), dtype=np.float32)
            np.savez(fit.path(work), **{form: score})

    def refuse(*_):
        raise AssertionError("read without --final")

    monkeypatch.setattr(transfer.datasets, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(transfer.datasets, "entries", lambda folder: entries)
    monkeypatch.setattr(transfer.datasets, "other_recorders", refuse)
    monkeypatch.setattr(transfer, "load_both", load)
    monkeypatch.setattr(transfer, "run_all", do)
    tables = transfer.evaluate(
        work=tmp_path, teachers=False, plain_cnn=True, seeds=1, processes=1, final=False, say=print
    )
    assert max(seen) == 9
    assert list(tables) == ["left out"]
    assert {row["left_out"] for row in tables["left out"]} == {"site", "device"}
    assert all(row["auroc"].value == 0.5 for row in tables["left out"] if row["auroc"])


@pytest.fixture(scope="module")
def elsewhere():
    """Recordings of two hospitals, some too short for a result, one without a label."""
    made = []
    for number, entry in enumerate(Synthetic(n_patients=27, right_share=0.5)):
        entry = replace(entry, source="there" if number % 2 else "elsewhere", site="A" if number % 3 else "B")
        if number < 3:
            entry = replace(entry, load=lambda: Record(np.zeros((2, 500)), 500.0, ("I", "II")))
        if number == 26:
            entry = replace(entry, targets={})
        made.append(entry)
    return made


def test_other_hospitals_recordings_go_the_whole_way(small_bundle, elsewhere):
    rows = {row["recordings"]: row for row in transfer.outside(small_bundle, elsewhere)}
    assert list(rows) == ["all", "source elsewhere", "source there", "site A", "site B"]
    every = rows["all"]
    assert every["n"] == 26
    assert every["model_ran"] <= 23
    assert every["positive"] == sum(entry.targets.get(TASKS[0], 0) for entry in elsewhere)
    assert every["coverage"].value <= every["model_ran"] / every["n"]
    assert every["n"] == rows["source there"]["n"] + rows["source elsewhere"]["n"]
    assert (every["auroc"] is None) == (every["positive_and_ran"] < 10)
    assert every["sensitivity_all"].value <= 1
    json.dumps([judging.plain(row) for row in rows.values()], allow_nan=False)
    table = table_files.to_markdown(list(rows.values()))
    assert len({line.count("|") for line in table.splitlines()}) == 1


def test_reading_other_recorders_is_written_to_the_ledger(small_bundle, elsewhere, cohort, monkeypatch, tmp_path):
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "ledger.jsonl")
    monkeypatch.setattr(transfer.bundles, "default", lambda: small_bundle)
    monkeypatch.setattr(transfer.datasets, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(transfer.datasets, "entries", lambda folder: [])
    monkeypatch.setattr(transfer.datasets, "other_recorders", lambda folder: iter(elsewhere[:6]))
    monkeypatch.setattr(transfer, "load_both", lambda listed, workers: (cohort, cohort))
    monkeypatch.setattr(transfer, "AXES", ())
    monkeypatch.setattr(transfer, "run_all", lambda *_: None)
    monkeypatch.setattr(transfer, "answers_of", lambda fits, work: {})
    tables = transfer.evaluate(
        work=tmp_path, teachers=False, plain_cnn=True, seeds=1, processes=1, final=True, say=print
    )
    (entry,) = map(json.loads, ledger.LEDGER.read_text().splitlines())
    assert entry["what"] == "transfer"
    assert len(entry["figures"]) == len(tables["other recorders"])


def test_the_command_prints_tables_or_json(cohort, monkeypatch, capsys):
    group = transfer.groups_of(cohort, "site")[0]
    rows = transfer.rows_of("site", cohort, [(group, answers(cohort.select(group.mask)))], answers(cohort))
    given = {}
    monkeypatch.setattr(transfer, "evaluate", lambda **options: given.update(options) or {"left out": rows})
    assert main(["bench", "transfer", "--seeds", "2"]) == 0
    assert capsys.readouterr().out.startswith("| left out | group | model |")
    assert (given["seeds"], given["final"], given["teachers"]) == (2, False, False)
    assert main(["bench", "transfer", "--json", "--final", "--teachers"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(printed) == len(rows)
    assert given["final"]
    assert given["teachers"]
