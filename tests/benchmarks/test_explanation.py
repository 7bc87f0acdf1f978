"""Loose electrodes and contributions: what is hidden, what is recovered, and how accounts of the leads are compared."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the student is a torch model; the base install has none")
pytest.importorskip("captum", reason="integrated gradients need the extra `train`")
pytest.importorskip("litert_torch", reason="bundles are built with the extra `export`")

import torch
from scipy.stats import spearmanr

from lsemvae_edge.benchmarks import explanation, judging, ledger, table_files
from lsemvae_edge.cli import main
from lsemvae_edge.leads import LIMB_LEADS, derive_limb_leads, solve_i_ii
from lsemvae_edge.train import distill
from lsemvae_edge.train.cohort import load_cohort
from lsemvae_edge.train.datasets import Synthetic


@pytest.fixture(scope="module")
def cohort():
    return load_cohort(list(Synthetic(n_patients=30, right_share=0.5)), explanation.TASKS)[0]


@pytest.fixture(scope="module")
def rows(student, cohort):
    return explanation.electrodes(student, cohort)


@pytest.fixture(scope="module")
def found(student, cohort):
    return explanation.shares(student, cohort, 0)


def test_two_leads_give_six_and_one_lead_gives_itself():
    pair = derive_limb_leads(np.array([1.0, 2.0]), np.array([0.5, -1.0]))
    for first in range(6):
        assert explanation.recovered([LIMB_LEADS[first]]) == (LIMB_LEADS[first],)
        for second in range(first):
            two = (LIMB_LEADS[second], LIMB_LEADS[first])
            assert explanation.recovered(two) == LIMB_LEADS
            solved = solve_i_ii(dict(zip(two, pair[[second, first]], strict=True)))
            np.testing.assert_allclose(solved, pair[:2], atol=1e-6)


def test_each_electrode_leaves_the_lead_that_does_not_use_it(rows):
    left = {row["case"]: row["leads_left"] for row in rows}
    assert left["LA loose"] == "II"
    assert left["RA loose"] == "III"
    assert left["LL loose, or a recorder of lead I"] == "I"
    assert left["all electrodes"].count(",") == 5
    lost = {row["case"]: row["lost"] for row in rows}
    assert lost["all electrodes"] == "none"
    assert lost["LA loose"] == "I, III, aVR, aVL, aVF"


def test_each_case_has_a_row_a_task_located_in_all_leads_and_in_the_one_that_is_left(rows, cohort):
    assert len(rows) == 2 * (1 + 3 * 2)
    located = {(row["case"], row["located_in"]) for row in rows}
    assert ("RA loose", "lead III") in located
    assert ("RA loose", "all leads") in located
    for row in rows:
        assert row["n"] + row["no_beats"] == len(cohort) or row["task"] == "heart_side"
        assert (row["acceptable"] is None) == (row["minus_six"] is None)
    json.dumps([judging.plain(row) for row in rows], allow_nan=False)
    assert len({line.count("|") for line in table_files.to_markdown(rows).splitlines()}) == 1


def test_a_hidden_lead_has_no_influence(student, cohort):
    spoiled = cohort.beats.copy()
    spoiled[:, [0, 2, 3, 4, 5]] = 77.0
    other = replace(cohort, beats=spoiled)
    one, two = (distill.predict(student, of, shown=("II",)).logits for of in (cohort, other))
    torch.testing.assert_close(one, two)


def test_beats_located_in_one_lead_are_averages_of_that_lead_alone(cohort):
    turned = replace(cohort, pairs=cohort.pairs * np.array([1.0, -3.0], dtype=np.float32)[:, None])
    alone, kept = explanation.located_alone(cohort, "I")
    again, kept_again = explanation.located_alone(turned, "I")
    assert kept.mean() > 0.8
    np.testing.assert_array_equal(kept, kept_again)
    np.testing.assert_array_equal(alone.beats, again.beats)
    assert not alone.beats[:, 1:].any()
    both = cohort.beats[kept, 0]
    agree = [np.corrcoef(a, b)[0, 1] for a, b in zip(alone.beats[:, 0], both, strict=True)]
    assert np.median(agree) > 0.9


def test_a_lead_without_beats_loses_the_recording(cohort):
    silent = replace(cohort, pairs=np.zeros_like(cohort.pairs))
    alone, kept = explanation.located_alone(silent, "II")
    assert not kept.any()
    assert len(alone) == 0


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 4, (50, 6)).astype(float), rng.normal(size=(50, 6))
    expected = [spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(explanation.spearman(one, other), expected, atol=1e-12)
    assert explanation.spearman(np.ones((1, 6)), other[:1]).tolist() == [0.0]


def test_agreement_of_an_account_with_itself_is_complete():
    values = np.random.default_rng(1).normal(size=(20, 6))
    patient = np.arange(20).astype(str)
    same = explanation.agreement(values, 2 * values, patient)
    assert same["spearman"].value == pytest.approx(1)
    assert same["same_top_lead"].low == 1
    assert explanation.agreement(values, -values, patient)["median_spearman"] == pytest.approx(-1)
    assert explanation.agreement(values, -values, patient)["same_top_lead"].value == 1


def test_contributions_and_gradients_add_up_to_the_logit(student, cohort, found):
    logit = distill.predict(student, cohort).logits[:, 0].numpy()
    bias = student.fused_head.bias[0].item()
    np.testing.assert_allclose(found.contributions.sum(axis=1) + bias, logit, atol=1e-4)
    with torch.inference_mode():
        zero = student(torch.zeros(1, 6, 1, cohort.beats.shape[2]), torch.ones(1, 6)).logits[0, 0].item()
    moved = logit - zero
    assert np.abs(found.gradients.sum(axis=1) - moved).mean() < 0.1 * np.abs(moved).mean() + 1e-3


def test_deletion_is_what_the_logit_loses_with_the_lead_masked(student, cohort, found):
    x, mask = (torch.cat(parts) for parts in zip(*distill.inputs(cohort), strict=True))
    x, mask = x.clone(), mask.clone()
    x[:, 3], mask[:, 3] = 5.0, 0.0
    with torch.inference_mode():
        without = student(x, mask).logits[:, 0].numpy()
    logit = distill.predict(student, cohort).logits[:, 0].numpy()
    np.testing.assert_allclose(found.deletion[:, 3], logit - without, atol=1e-4)


def test_every_account_is_compared_for_both_tasks(student, cohort):
    rows = explanation.contributions(student, cohort.select(slice(0, 6)))
    assert len(rows) == 2 * 5
    assert {row["form"] for row in rows} == {"as it is", "less its mean"}
    for row in rows:
        assert -1 <= row["spearman"].low <= row["spearman"].value <= row["spearman"].high <= 1
        assert 0 <= row["same_top_lead"].value <= 1
    json.dumps([judging.plain(row) for row in rows], allow_nan=False)


@pytest.mark.parametrize("final", [False, True])
def test_fold_10_is_read_and_written_down_only_when_final(final, small_bundle, monkeypatch, tmp_path):
    listed = list(Synthetic(n_patients=40, right_share=0.5))
    seen = []
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "ledger.jsonl")
    monkeypatch.setattr(explanation.datasets, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(explanation.datasets, "entries", lambda folder: listed)

    def load(chosen, tasks):
        seen.extend(entry.fold for entry in chosen)
        return load_cohort(chosen, tasks)

    monkeypatch.setattr(explanation, "load_cohort", load)
    tables = explanation.measure(final=final, bundle=small_bundle.path, say=print)
    assert set(seen) == ({9, 10} if final else {9})
    sets = {row["set"] for row in tables["electrodes"]}
    assert sets == ({"fold 9", "fold 10", "folds 9-10"} if final else {"fold 9"})
    assert ledger.LEDGER.is_file() == final
    if final:
        entry = json.loads(ledger.LEDGER.read_text())
        assert entry["what"] == "leads"
        assert {row["set"] for row in entry["figures"]} == {"fold 10", "folds 9-10"}
    assert all(row["n"] == 4 for row in tables["contributions"])


def test_the_command_prints_two_tables_or_json(small_bundle, monkeypatch, tmp_path, capsys):
    listed = list(Synthetic(n_patients=40, right_share=0.5))
    monkeypatch.setattr(explanation.datasets, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(explanation.datasets, "entries", lambda folder: listed)
    assert main(["bench", "leads", "--bundle", str(small_bundle.path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("|---|") >= 2
    assert "give all six by algebra" in printed
    assert main(["bench", "leads", "--bundle", str(small_bundle.path), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["table"] for row in rows} == {"electrodes", "contributions"}
