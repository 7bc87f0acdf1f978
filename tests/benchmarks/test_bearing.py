"""Noise and missing samples: that they are what they are called, and how a lost recording counts."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the student is a torch model; the base install has none")
pytest.importorskip("litert_torch", reason="bundles are built with the extra `export`")

from lsemvae_edge import metrics, preprocess
from lsemvae_edge.benchmarks import bearing, judging, ledger, table_files
from lsemvae_edge.cli import main
from lsemvae_edge.errors import BadInputError, UnusableRecordingError
from lsemvae_edge.leads import STANDARD_12
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.heart import Heart, simulate
from lsemvae_edge.train.datasets import Synthetic
from lsemvae_edge.train.recipes import recipe
from lsemvae_edge.train.robustness import snr_of


@pytest.fixture(scope="module")
def record():
    return simulate(Heart(), 10.0, 500.0, 0, ("I", "II"))


@pytest.fixture(scope="module")
def listed():
    return list(Synthetic(n_patients=40, right_share=0.5))


def run_lengths(mask):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return edges[1::2] - edges[::2]


@pytest.mark.parametrize("snr_db", [20.0, 10.0, 5.0])
def test_muscle_noise_has_the_ratio_that_was_asked_for(record, snr_db):
    noisy = bearing.add_muscle(record, snr_db)
    assert snr_of(record.signal_mv, noisy.signal_mv, record.leads) == pytest.approx(snr_db, abs=0.01)


def test_muscle_noise_fills_its_band_and_nothing_else(record):
    noise = bearing.add_muscle(record, 5.0).signal_mv - record.signal_mv
    power = np.abs(np.fft.rfft(noise, axis=1)) ** 2
    hertz = np.fft.rfftfreq(record.n_samples, 1 / record.fs_hz)
    inside = (hertz >= 5) & (hertz <= 40)
    assert power[:, ~inside].sum() < 1e-6 * power.sum()
    lower, upper = (power[:, (hertz >= a) & (hertz < b)].mean() for a, b in ((5, 22), (23, 40)))
    assert lower / upper == pytest.approx(1, abs=0.4)
    # Both leads share the right arm's electrode.
    assert np.corrcoef(noise)[0, 1] == pytest.approx(0.5, abs=0.15)


def test_noise_and_gaps_follow_from_the_recording_and_gaps_stay_gaps(record):
    gapped = replace(record, gaps=np.arange(record.n_samples) == 700)
    for spoil in (lambda r: bearing.add_muscle(r, 10.0), lambda r: bearing.with_gaps(r, 0.1)):
        one, two = spoil(gapped), spoil(gapped)
        np.testing.assert_array_equal(one.signal_mv, two.signal_mv)
        assert one.gaps[:, 700].all()
        np.testing.assert_array_equal(spoil(record).gaps, spoil(record).gaps)
    assert not np.array_equal(bearing.with_gaps(record, 0.1, 1).gaps, bearing.with_gaps(record, 0.1, 2).gaps)


def test_noise_needs_something_to_be_measured_by(record):
    with pytest.raises(UnusableRecordingError):
        bearing.add_muscle(replace(record, gaps=np.ones(record.n_samples, dtype=bool)), 10.0)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.2])
def test_the_share_is_lost_in_gaps_that_are_all_bridged(record, share):
    gaps = bearing.with_gaps(record, share).gaps
    assert gaps[0].mean() == pytest.approx(share, abs=1e-3)
    np.testing.assert_array_equal(gaps[0], gaps[1])
    assert not gaps[0, [0, -1]].any()
    assert run_lengths(gaps[0]).max(initial=0) <= 0.04 * record.fs_hz
    longest = round(preprocess.default_spec().max_bridge_s * record.fs_hz)
    _, long_gap = preprocess.bridge_gaps(record.signal_mv.astype(np.float64), gaps[0], longest)
    assert not long_gap.any()


def test_half_of_a_recording_cannot_be_lost_in_short_gaps(record):
    with pytest.raises(BadInputError, match=r"0\.5"):
        bearing.with_gaps(record, 0.5)


def test_a_lost_recording_ranks_by_a_thrown_coin():
    rng = np.random.default_rng(0)
    truth = rng.random(60) < 0.4
    score = rng.normal(size=60) + truth
    assert bearing.tied_auroc(truth, score) == pytest.approx(metrics.auroc(truth, score))
    lost = score.copy()
    lost[rng.random(60) < 0.3] = np.nan
    wins = [
        0.5 if np.isnan(p) or np.isnan(n) else float(p > n) + 0.5 * float(p == n)
        for p in lost[truth]
        for n in lost[~truth]
    ]
    assert bearing.tied_auroc(truth, lost) == pytest.approx(np.mean(wins))
    assert bearing.tied_auroc(truth, np.full(60, np.nan)) == 0.5
    assert np.isnan(bearing.tied_auroc(np.ones(3, dtype=bool), np.zeros(3)))


def test_the_first_condition_is_the_clean_recording(record):
    first, *others = bearing.conditions()
    assert first.spoil(record) is record
    assert [(one.kind, one.level) for one in others] == [
        *(("wander and mains", f"{snr} dB") for snr in (20, 10, 5)),
        *(("muscle", f"{snr} dB") for snr in (20, 10, 5)),
        *(("missing samples", f"{share}%") for share in (5, 10, 20)),
    ]
    for one in others:
        changed = one.spoil(record)
        assert not np.array_equal(changed.signal_mv, record.signal_mv, equal_nan=True)
        recipe("beat").apply(changed)


def test_two_leads_of_a_recording_give_the_same_beat_as_twelve():
    twelve = simulate(Heart(), 10.0, 500.0, 3)
    assert twelve.leads == STANDARD_12
    pair = bearing._pair_of(twelve)
    assert pair.leads == ("I", "II")
    whole, alone = (recipe("beat").apply(one)[0][:6] for one in (twelve, pair))
    np.testing.assert_allclose(whole, alone, atol=1e-6)


@pytest.fixture(scope="module")
def rows(student, listed):
    lost = replace(listed[0], load=lambda: Record(np.random.default_rng(0).normal(size=(2, 5000)), 500.0, ("I", "II")))
    kept = [lost, *listed[1:]]
    return bearing.evaluate(student, kept, {"all": [True] * 40, "some": [k < 30 for k in range(40)]}, lambda _: None)


def test_every_condition_set_and_task_has_a_row(rows, student, listed):
    assert len(rows) == 10 * 2 * 2
    clean = next(row for row in rows if row["set"] == "all" and row["task"] == bearing.TASKS[0])
    assert clean["n"] == 40
    assert clean["positive"] == sum(entry.targets[bearing.TASKS[0]] for entry in listed)
    json.dumps([judging.plain(row) for row in rows], allow_nan=False)
    assert len({line.count("|") for line in table_files.to_markdown(rows).splitlines()}) == 1


def test_what_has_no_beats_is_lost_and_pulls_towards_chance(rows):
    clean = next(row for row in rows if row["set"] == "all" and row["task"] == bearing.TASKS[0])
    assert clean["lost"] == 1
    assert clean["reasons"] == "too few beats that resemble each other (1)"
    of_all, remaining = clean["auroc_all"].value, clean["auroc"].value
    assert abs(of_all - 0.5) < abs(remaining - 0.5)


@pytest.mark.parametrize("final", [False, True])
def test_fold_10_is_read_and_written_down_only_when_final(final, small_bundle, listed, monkeypatch, tmp_path):
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "ledger.jsonl")
    monkeypatch.setattr(bearing.datasets, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(bearing.datasets, "entries", lambda folder: listed)
    seen = {}

    def evaluate(student, chosen, sets, say):
        seen["folds"] = {entry.fold for entry in chosen}
        seen["sizes"] = {name: sum(members) for name, members in sets.items()}
        return [{"set": name, "auroc": metrics.Interval(0.5, 0.4, 0.6)} for name in sets]

    monkeypatch.setattr(bearing, "evaluate", evaluate)
    bearing.measure(final=final, bundle=small_bundle.path, say=print)
    assert seen["folds"] == ({9, 10} if final else {9})
    assert seen["sizes"] == ({"fold 9": 4, "fold 10": 4, "folds 9-10": 8} if final else {"fold 9": 4})
    assert ledger.LEDGER.is_file() == final
    if final:
        entry = json.loads(ledger.LEDGER.read_text())
        assert entry["what"] == "noise"
        assert [row["set"] for row in entry["figures"]] == ["fold 10", "folds 9-10"]


def test_the_command_prints_a_table_or_json(small_bundle, listed, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bearing.datasets, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(bearing.datasets, "entries", lambda folder: listed)
    assert main(["bench", "noise", "--bundle", str(small_bundle.path)]) == 0
    assert capsys.readouterr().out.startswith("| set | noise | level | task |")
    assert main(["bench", "noise", "--bundle", str(small_bundle.path), "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(printed) == 10 * 2
    assert all(row["auroc"] is None for row in printed), "four recordings have no AUROC"
