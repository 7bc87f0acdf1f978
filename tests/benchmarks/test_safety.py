"""The safety tables: what is counted, what is read when, and that longer shifts are of the same heart."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the benchmarks need the extra `train`")
pytest.importorskip("pydantic", reason="the benchmarks need the extra `train`")

from lsemvae_edge import bundle as bundles
from lsemvae_edge import cli, decision, metrics
from lsemvae_edge.benchmarks import ledger, operating, safety
from lsemvae_edge.leads import STANDARD_12
from lsemvae_edge.result import INCONCLUSIVE, TaskResult
from lsemvae_edge.runtime import open_session
from lsemvae_edge.screening import screen
from lsemvae_edge.synthetic.electrodes import contact_loss
from lsemvae_edge.synthetic.heart import Heart, simulate
from lsemvae_edge.train import datasets

DATA = os.environ.get("LSEMVAE_EDGE_DATA")
FOLDER = "packed"


def results(*pairs, reason="why not"):
    """Results of given outcomes and probabilities, as far as these tables read them."""
    return [
        SimpleNamespace(
            outcome=outcome,
            tasks={
                "right_heart_pattern": TaskResult(outcome, probability, reason if outcome == INCONCLUSIVE else None)
            },
        )
        for outcome, probability in pairs
    ]


def runner(bundle):
    session = open_session(bundle)
    return lambda record: screen(record, bundle, session=session)


@pytest.fixture(scope="module")
def run(small_bundle):
    return runner(small_bundle)


@pytest.fixture(scope="module")
def shipped_run():
    return runner(bundles.default())


def test_a_tally_counts_answers_and_reasons():
    row = safety._tally(
        "g",
        "k",
        results(("present", 0.9), ("not_present", 0.1))
        + results((INCONCLUSIVE, 0.5), (INCONCLUSIVE, None), reason="noise")
        + results((INCONCLUSIVE, 0.5), reason="between"),
    )
    assert (row.n, row.answered, row.share) == (5, 2, 0.4)
    assert list(row.reasons.items()) == [("noise", 2), ("between", 1)]
    assert row.detected is None
    assert safety._tally("g", "k", []).share == 0


def test_only_the_swap_check_counts_as_detected():
    found = results((INCONCLUSIVE, 0.5), reason=decision.SWAP_CHECK) + results((INCONCLUSIVE, 0.5), ("present", 0.9))
    row = safety._alarms("arms", found)
    assert (row.n, row.answered, row.detected) == (3, 1, 1)


def test_the_table_shows_counts_shares_and_reasons():
    rows = [
        safety.Row("no ECG", "held-out kinds", 4, 1, None, {"noise": 2, "between": 1}),
        safety.Row("electrodes", "swapped: arms", 4, 0, 3, {}),
    ]
    head, rule, first, second = safety.table(rows).splitlines()
    assert head.count("|") == rule.count("|") == first.count("|")
    assert first == "| no ECG | held-out kinds | 4 | 1 (25.0%) | - | noise (2); between (1) |"
    assert "| 0 (0.0%) | 3 (75.0%) |" in second


@pytest.mark.parametrize("kind", safety.STABILITY)
def test_a_changed_recording_is_the_same_heart(run, kind):
    record = contact_loss(simulate(Heart(), 12.0, 500.0, 1, ("I", "II")), 0.0, 0.1)
    changed = safety.STABILITY[kind](record)
    assert changed.leads == record.leads
    assert changed.duration_s == pytest.approx(record.duration_s, abs=0.51)
    whole = slice(1000, 1400)
    if changed.fs_hz == record.fs_hz and changed.n_samples == record.n_samples:
        ratio = np.corrcoef(changed.signal_mv[1, whole], record.signal_mv[1, whole])[0, 1]
        assert ratio > 0.99
    before, after = run(record), run(changed)
    assert after.heart_rate_bpm == pytest.approx(before.heart_rate_bpm, abs=2)


def test_a_rate_change_keeps_gaps_as_gaps():
    record = contact_loss(simulate(Heart(), 12.0, 500.0, 1, ("I", "II")), 5.0, 6.0)
    changed = safety.STABILITY["300 Hz"](record)
    assert changed.fs_hz == 300.0
    assert changed.gaps[:, 1550:1750].all()


def test_strange_inputs_are_counted_apart_when_held_out(shipped_run, monkeypatch):
    monkeypatch.setattr(safety, "N_NOT_ECG", len(safety.NOT_ECG))
    rows = safety._not_ecg(shipped_run, np.random.default_rng(0))
    by_kind = {row.kind: row for row in rows}
    assert by_kind["held-out kinds"].n == len(safety.HELD_OUT_KINDS)
    assert sum(row.n for row in rows) == len(safety.NOT_ECG)
    assert sum(row.answered for row in rows) <= 1


def test_unseen_kinds_are_drawn_in_turn_and_those_that_got_past_are_listed(monkeypatch):
    monkeypatch.setattr(safety, "N_UNSEEN", 2 * len(safety.UNSEEN))
    names = iter(2 * sorted(safety.UNSEEN))
    past = {"gait", "two_hearts_at_once"}

    def run(record):
        assert record.origin == "simulated"
        assert record.signal_mv.shape == (2, 5000)
        return results(("present", 0.9) if next(names) in past else (INCONCLUSIVE, 0.5))[0]

    no_heart, hearts = safety._unseen(run, np.random.default_rng(0))
    assert no_heart.group == hearts.group == "no ECG, unseen kinds"
    assert no_heart.n + hearts.n == 2 * len(safety.UNSEEN)
    assert hearts.n == 2 * len(safety.SPOILED_HEARTS)
    assert (no_heart.answered, hearts.answered) == (2, 2)
    assert no_heart.reasons == {"why not": no_heart.n - 2, "ANSWERED gait": 2}
    assert hearts.reasons == {"why not": hearts.n - 2, "ANSWERED two_hearts_at_once": 2}


@pytest.mark.parametrize("leads", [STANDARD_12, ("aVF", "III", "V1"), ("II", "aVL"), ("II", "I")])
def test_a_recording_is_cut_to_what_the_recorder_measures(leads):
    pair = simulate(Heart(), 10.0, 500.0, 3, ("I", "II"))
    record = contact_loss(simulate(Heart(), 10.0, 500.0, 3, leads), 2.0, 2.5)
    record = replace(record, amplitude="uncalibrated", meta={"id": "x", "age_years": 50.0})
    cut = safety.as_measured(record)
    assert cut.leads == ("I", "II")
    assert (cut.amplitude, dict(cut.meta), cut.origin, cut.fs_hz) == (
        "uncalibrated",
        dict(record.meta),
        "simulated",
        500,
    )
    lost = np.zeros(5000, dtype=bool)
    lost[1000:1250] = True
    np.testing.assert_array_equal(cut.gaps, np.stack([lost, lost]))
    np.testing.assert_allclose(cut.signal_mv[:, ~lost], pair.signal_mv[:, ~lost], atol=1e-5)


def test_gaps_of_each_lead_stay_its_own():
    record = simulate(Heart(), 10.0, 500.0, 3)
    gaps = np.zeros((12, 5000), dtype=bool)
    gaps[1, 100:200] = gaps[7, 300:400] = True  # leads II and V2
    cut = safety.as_measured(replace(record, gaps=gaps))
    assert cut.gaps[1, 100:200].all()
    assert cut.gaps.sum() == 100


def test_one_lead_stays_one_lead_and_gets_no_answer(run):
    record = simulate(Heart(), 10.0, 500.0, 3, ("II",))
    assert safety.as_measured(record) is record
    assert run(record).outcome == INCONCLUSIVE


def test_longer_shifts_are_of_the_same_recording_and_never_of_a_repeated_one(monkeypatch):
    monkeypatch.setattr(safety, "N_HEARTS", 3)
    heard = []

    def run(record):
        heard.append(record.signal_mv)
        # The second heart gets no answer at once; of the others one flips, and one is not answered, 5 s later.
        outcomes = (
            ["present", INCONCLUSIVE, "not_present"] + ["present", "not_present"] * 2 + ["not_present", INCONCLUSIVE]
        )
        return results((outcomes[len(heard) - 1], 0.5))[0]

    rows = safety._long_shifts(run, np.random.default_rng(0))
    assert {signal.shape for signal in heard} == {(2, 5000)}
    assert safety.LONG_SHIFTS_S[-1] == 5.0
    for shift_s, later in zip(safety.LONG_SHIFTS_S, heard[3::2], strict=True):
        shift = round(shift_s * 500)
        np.testing.assert_array_equal(later[:, : 5000 - shift], heard[0][:, shift:])
        assert not np.array_equal(later[:, 5000 - shift :], heard[0][:, :shift])
    assert [(row.n, row.answered, row.detected) for row in rows] == [(2, 2, 0), (2, 2, 0), (2, 1, 1)]
    assert {row.group for row in rows} == {"stability"}
    assert "5 s later" in rows[-1].kind


@pytest.fixture
def cohort(small_bundle, monkeypatch, tmp_path):
    """A small cohort in place of the data; the set holds the names of what was read."""
    read = set()

    def entry_of(entry, name, source):
        def load():
            read.add(name)
            return entry.load()

        return replace(entry, record_id=name, load=load, source=source)

    known = [
        entry_of(entry, f"fold {entry.fold}", datasets.TWELVE_LEAD)
        for entry in datasets.Synthetic(n_patients=50, noise=("white",))
    ]
    elsewhere = [
        replace(entry_of(entry, "elsewhere", "other"), fold=10, targets=entry.targets if k else {})
        for k, entry in enumerate(datasets.Synthetic(n_patients=6, seed=1, noise=("white",)))
    ]
    monkeypatch.setattr(bundles, "default", lambda: small_bundle)
    monkeypatch.setattr(datasets, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(datasets, "entries", lambda folder: known)
    monkeypatch.setattr(datasets, "other_recorders", lambda folder: iter(elsewhere))
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "ledger.jsonl")
    for name, count in (("N_NOT_ECG", 2), ("N_UNSEEN", 2), ("N_SPOILED", 7), ("N_HEARTS", 2)):
        monkeypatch.setattr(safety, name, count)
    return read


def test_without_final_neither_fold_10_nor_the_labels_of_other_recorders_are_read(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(
        datasets, "other_recorders", lambda folder, listed=datasets.other_recorders: unlabelled(listed(folder))
    )
    tables = safety.measure(final=False, seed=0, say=lambda text: None)
    assert cohort == {"fold 9", "elsewhere"}
    assert not (tmp_path / "ledger.jsonl").exists()
    coverage = {row.kind: row.n for row in tables.rows if row.group == "real recordings"}
    assert coverage == {"fold 9": 5, "other_recorders": 6}
    assert [point.set for point in tables.operating] == ["fold 9"]
    assert {one.set for one in tables.abstention} == {"fold 9"}
    groups = {row.group for row in tables.rows}
    assert groups == {"no ECG", "no ECG, unseen kinds", "stability", "spoiled ECG", "electrodes", "real recordings"}


class Untouchable(dict):
    """Labels that fail the test when they are asked for."""

    def __getitem__(self, key):
        raise AssertionError(key)

    __contains__ = get = __getitem__


def unlabelled(entries):
    return (replace(entry, targets=Untouchable()) for entry in entries)


def test_final_reads_all_and_appends_every_reading_to_the_ledger(cohort, tmp_path):
    tables = safety.measure(final=True, seed=0, say=lambda text: None)
    assert cohort == {"fold 9", "fold 10", "elsewhere"}
    points = {point.set: point for point in tables.operating}
    assert list(points) == ["fold 9", "fold 10", "other_recorders"]
    assert points["other_recorders"].n == 5  # one of six has no label
    assert {row.kind: row.n for row in tables.rows}["other_recorders"] == 6
    (line,) = (tmp_path / "ledger.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert entry["what"] == "safety"
    sets = {figure.get("set", figure.get("kind")) for figure in entry["figures"]}
    assert {"fold 10", "other_recorders"} < sets
    assert "fold 9" not in sets
    # What mixes both folds was read as well; what is of no recording was not.
    groups = {figure.get("group") for figure in entry["figures"]}
    assert groups == {None, "spoiled ECG", "electrodes", "stability", "real recordings"}
    assert not any("simulated" in figure.get("kind", "") for figure in entry["figures"])


def test_judged_recordings_are_pairs(cohort, run):
    judged = safety.judge(run, datasets.entries(FOLDER)[:1])
    assert judged[0].record.leads == judged[0].result.record.leads_measured == ("I", "II")
    assert judged[0].record.meta["age_years"] == judged[0].entry.age_years


def test_the_command_prints_three_tables_or_a_line_for_each_figure(cohort, capsys):
    assert cli.main(["bench", "safety"]) == 0
    heads = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| group", "| set"))]
    assert len(heads) == 3
    assert cli.main(["bench", "safety", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = ("reasons", "predictive_values", "coverage")
    assert {name for line in lines for name in names if name in line} == set(names)


@pytest.mark.skipif(not DATA, reason="LSEMVAE_EDGE_DATA is not set: no real recordings here")
def test_a_few_real_recordings_fill_the_table(shipped_run):
    listed = [entry for entry in datasets.entries(datasets.data_folder()) if entry.fold == metrics.VALIDATION_FOLD][:12]
    judged = safety.judge(shipped_run, listed)
    truth = np.array([entry.targets[datasets.RIGHT_HEART.name] for entry in listed], dtype=bool)
    point = operating.operating_point("a few", truth, [one.result for one in judged], "present")
    assert point.n == 12
    assert point.answered >= 8
    rows = {row.kind: row for row in safety._swaps(shipped_run, judged)}
    assert rows["not swapped"].n == 12
    assert rows["swapped: arms"].n == point.answered
    assert rows["swapped: arms"].answered < rows["not swapped"].answered
    assert rows["swapped: arms"].detected > rows["not swapped"].detected
