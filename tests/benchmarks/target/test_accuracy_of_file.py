"""Accuracy of files: which recordings, through which file, what counts as right, and what may be looked at once."""

import csv
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge import formats, metrics
from lsemvae_edge.benchmarks import ledger
from lsemvae_edge.benchmarks.target import accuracy, cohorts
from lsemvae_edge.benchmarks.target import session as sessions
from lsemvae_edge.benchmarks.target.cohorts import Cohort, Labelled
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.cli import main
from lsemvae_edge.errors import BadInputError, ExitCode, UsageError
from lsemvae_edge.result import INCONCLUSIVE, NOT_ASKED, TaskResult
from lsemvae_edge.screening import screen
from lsemvae_edge.synthetic.heart import Heart, simulate

TASK = "right_heart_pattern"
HEARTS = 24


def heart(number):
    """A heart whose axis points to the right if its number is even, alike but for noise of the drawing."""
    axis_deg = 130.0 if number % 2 == 0 else 20.0
    return simulate(Heart(qrs_axis_deg=axis_deg, rate_bpm=60.0 + number), 10.0, 500.0, number, ("I", "II"))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Folder with recordings and a table of labels, as `records cohort` writes: two recordings a patient."""
    folder = tmp_path_factory.mktemp("cohort")
    with (folder / "labels.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["patient", "file", "age", "pacemaker", TASK, "mPAP"])
        for number in range(HEARTS):
            formats.write(heart(number), folder / f"{number}.lser")
            rows.writerow([f"p{number // 2}", f"{number}.lser", 55, "0", int(number % 2 == 0), 31])
    return folder


def judged(folder, *more):
    return main(["bench", "accuracy", "--out", str(folder), "--precision", "int8", "--runtime", "litert", *more])


def rows_of(folder):
    return sessions.read(folder).facts["accuracy"]["rows"]


def result_of(outcome, probability):
    return SimpleNamespace(outcome=outcome, tasks={TASK: TaskResult(outcome, probability, None)})


def figures_of(truth, pairs):
    read = [Labelled(f"r{i}", f"p{i}", {TASK: int(one)}, lambda: None, ("all",)) for i, one in enumerate(truth)]
    task = SimpleNamespace(name=TASK, classes=("not_present", "present"))
    return accuracy.figures(task, TASK, read, [result_of(*pair) for pair in pairs])


def test_a_table_is_judged_through_the_file_as_screening_answers_it(table, tmp_path):
    assert judged(tmp_path / "s", "--cohort", str(table)) == ExitCode.DONE
    (row,) = rows_of(tmp_path / "s")
    assert (row["runtime"], row["precision"], row["task"], row["set"]) == ("litert", "int8", TASK, "all")
    assert (row["n"], row["positive"]) == (HEARTS, HEARTS // 2)
    results = [screen(heart(number), bundles.default(), age_years=55.0) for number in range(HEARTS)]
    truth = np.array([number % 2 == 0 for number in range(HEARTS)])
    answered = np.array([result.outcome != INCONCLUSIVE for result in results])
    assert row["answered"] == pytest.approx(answered.mean(), abs=1e-4)
    right = np.array([result.outcome == "present" for result in results])
    assert row["sensitivity_all"]["value"] == pytest.approx(right[truth].mean(), abs=1e-4)
    scores = np.array([result.tasks[TASK].probability for result in results])
    assert row["auroc"]["value"] == pytest.approx(metrics.auroc(truth, scores), abs=1e-4)
    assert row["auroc"]["value"] > 0.9


def test_shuffled_labels_are_told_nothing(table, tmp_path):
    folder = tmp_path / "shuffled"
    folder.mkdir()
    lines = (table / "labels.csv").read_text().splitlines()
    for number, line in enumerate(lines[1:]):
        patient, file, age, pacemaker, _, mpap = line.split(",")
        # Half of the right axes are called positive, and half of the others.
        lines[number + 1] = ",".join([patient, str(table / file), age, pacemaker, str(number // 2 % 2), mpap])
    (folder / "labels.csv").write_text("\n".join(lines))
    assert judged(tmp_path / "s", "--cohort", str(folder)) == ExitCode.DONE
    (row,) = rows_of(tmp_path / "s")
    assert row["auroc"]["low"] < 0.5 < row["auroc"]["high"]


def test_a_recording_without_answer_counts_among_all_and_not_among_the_answered():
    truth = [1] * 12 + [0] * 12
    pairs = [("present", 0.9)] * 6 + [(INCONCLUSIVE, 0.5)] * 6 + [("not_present", 0.1)] * 9 + [(INCONCLUSIVE, None)] * 3
    row = figures_of(truth, pairs)
    assert (row["n"], row["positive"], row["ran"]) == (24, 12, 21)
    assert row["answered"] == pytest.approx(15 / 24)
    assert (row["sensitivity_answered"]["value"], row["sensitivity_all"]["value"]) == (1.0, 0.5)
    assert (row["specificity_answered"]["value"], row["specificity_all"]["value"]) == (1.0, 0.75)
    # Nine negatives have a probability, and with fewer than ten of a class there is no area.
    assert row["auroc"] is None
    assert row["brier"] == pytest.approx((6 * 0.01 + 6 * 0.25 + 9 * 0.01) / 21, abs=1e-4)
    assert row["brier_constant"] == pytest.approx(12 / 21 * 9 / 21, abs=1e-4)


def test_a_task_that_was_not_asked_was_not_answered():
    row = figures_of([1] * 10 + [0] * 10, [("present", 0.9)] * 5 + [(NOT_ASKED, None)] * 15)
    assert (row["answered"], row["ran"]) == (0.25, 5)
    assert row["sensitivity_all"]["value"] == 0.5
    assert row["specificity_all"]["value"] == 0


def test_intervals_are_over_patients():
    """Every patient twice as often says nothing new: the interval is no narrower."""
    truth = np.tile([1, 0], 40)
    score = np.clip(np.random.default_rng(0).normal(0.5 + 0.1 * truth, 0.2), 0.01, 0.99)

    def width(times):
        read = [
            Labelled(f"r{i}", f"p{i % 80}", {TASK: int(truth[i % 80])}, lambda: None, ()) for i in range(80 * times)
        ]
        said = [result_of("present", float(score[i % 80])) for i in range(80 * times)]
        task = SimpleNamespace(name=TASK, classes=("not_present", "present"))
        interval = accuracy.figures(task, TASK, read, said)["auroc"]
        return interval["high"] - interval["low"]

    assert width(4) == pytest.approx(width(1), rel=0.1)


def test_another_label_may_judge_the_primary_task(table, tmp_path):
    rows = list(csv.DictReader((table / "labels.csv").read_text().splitlines()))
    other = tmp_path / "other.csv"
    other.write_text("\n".join(["file,ph", *(f"{table / row['file']},{row[TASK]}" for row in rows)]))
    with pytest.raises(BadInputError, match="one of right_heart_pattern"):
        cohorts.of_table(other, [TASK])
    assert judged(tmp_path / "s", "--cohort", str(other), "--label", "ph") == ExitCode.DONE
    (row,) = rows_of(tmp_path / "s")
    assert (row["task"], row["judged_by"], row["positive"]) == (TASK, "ph", HEARTS // 2)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("p,absent.lser,1", "line 2: there is no file 'absent.lser'"),
        ("p,,1", "line 2: there is no file ''"),
        ("p,a.lser,2", "line 2: right_heart_pattern is '2', not 0, 1 or empty"),
        ("p,a.lser,yes", "line 2: right_heart_pattern is 'yes'"),
    ],
)
def test_a_wrong_table_is_refused_by_line(tmp_path, line, said):
    formats.write(heart(0), tmp_path / "a.lser")
    (tmp_path / "labels.csv").write_text(f"patient,file,{TASK}\n{line}\n")
    with pytest.raises(BadInputError, match=said):
        cohorts.of_table(tmp_path, [TASK])


def test_a_small_table_of_any_separator_is_read(tmp_path):
    formats.write(heart(0), tmp_path / "a.hea")
    (tmp_path / "labels.csv").write_text("\ufeffFile;Label;Age;Pacemaker\na;1;61;yes\na.hea;;;\n", encoding="utf-8")
    first, second = cohorts.of_table(tmp_path / "labels.csv", [TASK]).recordings
    assert (first.targets, second.targets) == ({TASK: 1}, {})
    assert first.patient != second.patient
    record = first.load()
    assert (record.meta["age_years"], record.meta["pacemaker"]) == (61.0, True)
    assert "age_years" not in second.load().meta


def test_what_cannot_be_read_is_named_and_the_rest_is_judged(table, tmp_path):
    session = Session(tmp_path / "s", {}, [bundles.default()], 0)
    listed = list(cohorts.of_table(table, [TASK]).recordings)

    def broken():
        raise BadInputError("It is no ECG.")

    listed[3] = Labelled("broken", "p", {TASK: 1}, broken, ("all",))
    with session:
        accuracy.measure(
            session, Plan([bundles.default()], runtimes=("litert",), precisions=("int8",)), Cohort("mine", listed)
        )
    facts = sessions.read(tmp_path / "s").facts["accuracy"]
    assert facts["unreadable"] == [{"recording": "broken", "why": "It is no ECG."}]
    assert facts["rows"][0]["n"] == HEARTS - 1


def test_without_a_label_nothing_is_said(table, tmp_path):
    listed = [Labelled(one.record_id, one.patient, {}, one.load, one.sets) for one in _few(table)]
    with (
        Session(tmp_path / "s", {}, [bundles.default()], 0) as session,
        pytest.raises(UsageError, match="has a label for right_heart_pattern"),
    ):
        accuracy.measure(session, Plan([bundles.default()], runtimes=("litert",)), Cohort("mine", listed))


def _few(table):
    return cohorts.of_table(table, [TASK]).recordings[:2]


def test_a_reading_of_what_is_looked_at_once_goes_to_the_ledger(table, tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "ledger.jsonl")
    listed = [
        Labelled(one.record_id, one.patient, one.targets, one.load, ("fold 9",) if i % 3 else ("fold 10",))
        for i, one in enumerate(cohorts.of_table(table, [TASK]).recordings)
    ]
    plan = Plan([bundles.default()], runtimes=("litert",), precisions=("int8",))
    with Session(tmp_path / "a", {}, [bundles.default()], 0) as session:
        accuracy.measure(session, plan, Cohort("mine", listed))
    assert not (tmp_path / "ledger.jsonl").exists()
    with Session(tmp_path / "b", {}, [bundles.default()], 0) as session:
        accuracy.measure(session, plan, Cohort("mine", listed, once=("fold 10",)))
    (entry,) = map(json.loads, (tmp_path / "ledger.jsonl").read_text().splitlines())
    assert entry["what"] == accuracy.LEDGER_NAME
    assert entry["sha256"] == bundles.default().sha256
    assert [row["set"] for row in entry["figures"]] == ["fold 10"]


def test_every_fold_of_what_taught_the_bundle_is_refused(tmp_path):
    pytest.importorskip("pydantic", reason="data sets need the extra `train`")
    with pytest.raises(UsageError, match="cannot be judged on them"):
        cohorts.of_dataset("packed", tmp_path, {}, every_fold=True, final=False)


def test_a_data_set_of_training_gives_fold_9_and_fold_10_only_at_the_end():
    pytest.importorskip("pydantic", reason="data sets need the extra `train`")
    given = {"n_patients": "40", "seed": "3"}
    usual = cohorts.of_dataset("synthetic", None, given, every_fold=False, final=False)
    assert {one.sets for one in usual.recordings} == {("fold 9",)}
    assert usual.once == ()
    final = cohorts.of_dataset("synthetic", None, given, every_fold=False, final=True)
    assert final.once == ("fold 10", "folds 9-10")
    assert len(final.recordings) > len(usual.recordings)
    every = cohorts.of_dataset("synthetic", None, given, every_fold=True, final=False)
    assert len(every.recordings) == 40


def test_a_table_is_judged_without_training_packages(table, tmp_path):
    """As on a board: torch, scipy and pydantic cannot be imported."""
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('torch', 'scipy', 'pydantic', 'pandas', 'matplotlib'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from lsemvae_edge.cli import main
table, out = {str(table)!r}, {str(tmp_path / "s")!r}
sys.exit(main(['bench', 'accuracy', '--cohort', table, '--runtime', 'litert', '--out', out]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.DONE, done.stderr
    assert rows_of(tmp_path / "s")[0]["n"] == HEARTS


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("LSEMVAE_EDGE_DATA"), reason="LSEMVAE_EDGE_DATA is unset")
def test_fold_9_alone_is_read_by_default():
    from lsemvae_edge.train import datasets

    fold = {entry.record_id: entry.fold for entry in datasets.entries(datasets.data_folder())}
    cohort = cohorts.of_project(final=False)
    assert {fold[one.record_id] for one in cohort.recordings} == {9}
    assert cohort.once == ()
    assert len(cohort.recordings) == sum(value == 9 for value in fold.values())
    one = cohort.recordings[0].load()
    assert one.leads == ("I", "II")
