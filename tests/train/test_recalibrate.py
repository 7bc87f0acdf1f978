"""A site's thresholds: the model unchanged, every patient judged by the others' thresholds, a bundle that verifies."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="calibration needs the extra `train`")
pytest.importorskip("ai_edge_litert", reason="screening needs a runtime")

from lsemvae_edge import bundle as bundles
from lsemvae_edge import formats, screening
from lsemvae_edge.cli import main
from lsemvae_edge.errors import BadInputError, ExitCode
from lsemvae_edge.runtime import open_session
from lsemvae_edge.spec import Calibration
from lsemvae_edge.train import calibrate, recalibrate
from lsemvae_edge.train.datasets import HEART_SIDE, RIGHT_HEART, Synthetic

COHORT = {"n_patients": 70, "seed": 4, "right_share": 0.4, "noise": ("wander",), "snr_low_db": 12.0}


@pytest.fixture(scope="module")
def shipped():
    return bundles.default()


@pytest.fixture(scope="module")
def found(shipped):
    return recalibrate.recalibrate(shipped, Synthetic(**COHORT), say=lambda _: None)


def test_a_task_with_labels_is_refitted_and_judged_both_ways(shipped, found):
    old, new = shipped.spec.primary, found.tasks[0]
    assert new.name == RIGHT_HEART.name
    assert (new.output, new.classes, new.title) == (old.output, old.classes, old.title)
    assert new.calibration != old.calibration
    rows = [one for one in found.judged if one.task == RIGHT_HEART.name]
    assert [one.thresholds for one in rows] == ["as shipped", "recalibrated"]
    assert {one.n for one in rows} == {70}
    assert rows[0].auroc == rows[1].auroc
    assert rows[0].auroc.low > 0.5
    assert sum(found.refused.values()) + rows[0].patients == 70
    side = next(task for task in found.tasks if task.name == HEART_SIDE.name)
    assert side.asked_if.min_probability == new.lower


def test_figures_are_those_of_screening_with_the_shipped_thresholds(shipped, found):
    entries = list(Synthetic(**COHORT))
    results = [screening.screen(entry.record(), shipped) for entry in entries]
    outcome = np.array([result.outcome for result in results])
    truth = np.array([entry.targets[RIGHT_HEART.name] for entry in entries])
    row = found.judged[0]
    assert row.answered == np.count_nonzero(outcome != "inconclusive")
    assert row.sensitivity_all.value == np.mean(outcome[truth == 1] == "present")
    assert row.specificity_all.value == np.mean(outcome[truth == 0] == "not_present")


@pytest.mark.parametrize("sensitivity", [0.6, 0.8, 0.9])
def test_the_stated_share_of_positives_is_found(model_spec, sensitivity):
    """Of all positives, not of the sample's alone, in as many samples as the confidence says."""
    rng = np.random.default_rng(0)
    n_draws, all_positives = 60, rng.normal(size=100_000) + 1.5
    too_few = 0
    for _ in range(n_draws):
        truth = (np.arange(300) % 3 == 0).astype(int)
        logits = (rng.normal(size=300) + 1.5 * truth).astype(np.float32)
        new = calibrate.refit(model_spec.primary, truth, logits, missed=1 - sensitivity)
        probability = 1 / (1 + np.exp(-(new.calibration.slope * all_positives + new.calibration.intercept)))
        too_few += np.mean(probability >= new.lower) < sensitivity
    assert too_few <= calibrate.DELTA * n_draws + 3 * np.sqrt(n_draws * calibrate.DELTA * (1 - calibrate.DELTA))


def test_asking_for_more_positives_lowers_the_threshold(shipped, found):
    more = recalibrate.recalibrate(shipped, Synthetic(**COHORT), sensitivity=0.85, say=lambda _: None)
    assert (found.sensitivity, more.sensitivity) == (1 - calibrate.MISSED, 0.85)
    assert more.tasks[0].calibration == found.tasks[0].calibration
    assert more.tasks[0].lower < found.tasks[0].lower


def test_a_model_that_ranks_nothing_is_refused(shipped):
    class Reversed(Synthetic):
        def __iter__(self):
            return (
                replace(one, targets={RIGHT_HEART.name: 1 - one.targets[RIGHT_HEART.name]})
                for one in super().__iter__()
            )

    with pytest.raises(BadInputError, match="does not tell"):
        recalibrate.recalibrate(shipped, Reversed(**COHORT), say=lambda _: None)


def test_few_patients_are_refused(shipped):
    with pytest.raises(BadInputError, match="fewer patients than folds"):
        recalibrate.recalibrate(shipped, Synthetic(n_patients=12), say=lambda _: None)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of recordings with a table, as a site has it; one file is missing, one is no recording."""
    folder = tmp_path_factory.mktemp("site")
    rows = []
    for number, entry in enumerate(Synthetic(**COHORT)):
        formats.write(entry.load(), folder / f"{number}.edf")
        rows.append([entry.patient, f"{number}.edf", entry.targets[RIGHT_HEART.name]])
    (folder / "no.edf").write_bytes(b"no recording")
    rows += [["x", "no.edf", 1], ["y", "absent.edf", 0]]
    with (folder / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["patient", "file", RIGHT_HEART.name], *rows])
    return folder


def test_the_command_writes_the_next_version_which_verifies_and_screens(site, shipped, tmp_path, capsys):
    out = tmp_path / "here"
    told = ["train", "recalibrate", "--cohort", str(site / "labels.csv"), "--prevalence", "0.05", "--out", str(out)]
    assert main([*told, "--json"]) == ExitCode.DONE
    printed = capsys.readouterr()
    said = json.loads(printed.out)
    assert "label for a missing file: 1" in printed.err
    assert "unreadable record: 1" in printed.err
    made = bundles.load(out)
    assert (made.manifest.version, made.spec.id) == (shipped.manifest.version + 1, f"{shipped.spec.id}+site2")
    assert said["sha256"] == made.sha256
    signal = shipped.golden["input"][0]
    one, other = (open_session(bundle).run(signal).logits for bundle in (made, shipped))
    np.testing.assert_array_equal(one, other)
    # The contract that the file carries is the new one.
    assert b"+site2" in made.read(made.manifest.models[0].path)
    assert made.manifest.provenance["made_from"] == shipped.sha256
    assert made.manifest.provenance["recalibration"]["prevalence"] == 0.05
    assert made.manifest.metrics["local_validation"]["judged"][0]["thresholds"] == "as shipped"
    assert "## Local validation: labels.csv" in made.read("card.md").decode()
    assert made.spec.primary.calibration != shipped.spec.primary.calibration
    assert isinstance(made.spec.primary.calibration, Calibration)
    assert main(["verify", str(out)]) == ExitCode.DONE
    assert main(["screen", "--bundle", str(out), str(site / "0.edf")]) == ExitCode.DONE
    assert "+site2" in capsys.readouterr().out
    before = (out / "manifest.json").read_bytes()
    assert main(told) == ExitCode.USAGE
    assert (out / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--prevalence", "5"], ExitCode.USAGE, "between 0 and 1"),
        (["--sensitivity", "0"], ExitCode.USAGE, "between 0 and 1"),
        (["--option", "ready"], ExitCode.USAGE, "KEY=VALUE"),
        (["--cohort", "nowhere.csv"], ExitCode.BAD_INPUT, "no table"),
    ],
)
def test_what_has_no_meaning_is_said(site, tmp_path, capsys, more, code, words):
    told = ["train", "recalibrate", "--cohort", str(site / "labels.csv"), "--out", str(tmp_path / "new"), *more]
    assert main(told) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_labels_of_other_tasks_are_named(site, tmp_path, capsys):
    table = tmp_path / "labels.csv"
    table.write_text((site / "labels.csv").read_text().replace(RIGHT_HEART.name, "ph"))
    told = ["train", "recalibrate", "--cohort", str(table), "--data", str(site), "--out", str(tmp_path / "new")]
    assert main(told) == ExitCode.BAD_INPUT
    assert "right_heart_pattern" in capsys.readouterr().err
