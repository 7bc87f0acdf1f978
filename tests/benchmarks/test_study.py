"""A whole study of a synthetic cohort: stages, resume, tables, and the rows that were not run."""

import csv
import json

import pytest

torch = pytest.importorskip("torch", reason="training needs torch; the base install has none")

from lsemvae_edge.benchmarks import stages, study, study_report  # noqa: E402
from lsemvae_edge.benchmarks.stages import Data  # noqa: E402
from lsemvae_edge.benchmarks.study_config import ModelRow, StudyConfig  # noqa: E402
from lsemvae_edge.errors import BadInputError  # noqa: E402
from lsemvae_edge.train.config_pretrain import PretrainConfig  # noqa: E402
from lsemvae_edge.train.datasets import open_dataset  # noqa: E402
from lsemvae_edge.train.finetune import LatentConfig, NetworkConfig  # noqa: E402
from lsemvae_edge.train.prepare import prepare  # noqa: E402
from lsemvae_edge.train.recipes import RECIPES  # noqa: E402
from lsemvae_edge.train.shards import open_shards  # noqa: E402

PRETRAIN = PretrainConfig(epochs=1, batch_size=32, accelerator="cpu", logger="none", hide_chest=0.5)
NETWORK = NetworkConfig(epochs=2, views=1)


@pytest.fixture(scope="module")
def dataset():
    return open_dataset("synthetic", None, n_patients=150, seed=3)


@pytest.fixture(scope="module")
def shards(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    prepare(dataset, RECIPES["edge"], folder, shard_size=64, workers=1)
    return folder


@pytest.fixture(scope="module")
def config():
    return StudyConfig(
        rows=(
            ModelRow(name="compact", preset="compact", pretrain=PRETRAIN, task_model=NETWORK, shown=("II",)),
            ModelRow(name="frozen", preset="compact", pretrain=PRETRAIN, task_model=LatentConfig(epochs=2)),
            ModelRow(
                name="plain CNN",
                task_model=NetworkConfig(network="plain_cnn", epochs=2, views=1),
                leads=("6L",),
                splits=("folds", "cv5"),
            ),
            ModelRow(
                name="plain CNN, half",
                task_model=NetworkConfig(network="plain_cnn", epochs=2, views=1),
                leads=("6L",),
                splits=("folds", "cv5"),
                train_share=0.5,
            ),
            ModelRow(name="reference", preset="reference", task_model=LatentConfig(epochs=1)),
        ),
        differences=(("compact", "6L", "plain CNN", "6L"), ("compact", "6L", "compact", "12L")),
        robustness=("plain CNN",),
        saliency=("compact",),
        processes=1,
    )


@pytest.fixture(scope="module")
def found(config, shards, dataset, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    data = Data({"edge": shards}, {"edge": shards})
    said = []
    first = study.run(config, data, work, dataset=dataset, final=True, say=said.append)
    again = study.run(config, data, work, dataset=None, final=False, say=said.append)
    return first, again, work


@pytest.mark.slow
def test_a_study_runs_once_and_resumes(found, config, shards, tmp_path):
    first, again, _ = found
    assert len(first.seconds) == 1 + 2 + 2 * (1 + 5)  # one shared pre-training, two fits on it, the CNNs' fits
    assert again.seconds == {}
    assert {(one.model, one.leads) for one in first.predictions} >= {
        ("compact", "12L"), ("compact", "6L"), ("compact", "II"), ("frozen", "6L"), ("plain CNN", "6L"),
    }  # fmt: skip
    assert {one.split for one in again.predictions} == {"fold 9", study.CROSS_VALIDATED}
    of_all = open_shards(shards)
    primary = of_all.tasks[0].name
    pooled, of_half = (one for one in first.predictions if (one.split, one.task) == (study.CROSS_VALIDATED, primary))
    assert sorted(pooled.record_id) == sorted(of_half.record_id) == sorted(of_all.record_id)
    test = {str(name) for name in of_all.record_id[of_all.fold == 10]}
    for one in first.predictions:
        if (one.split, one.task) == (study.TEST, primary):
            assert set(one.record_id) == test
    assert set(first.by_snr) == {None, 20.0, 10.0, 5.0}
    assert {(one.model, one.leads, one.reason[:9]) for one in first.not_run} == {
        ("reference", "12L", "no shards"), ("reference", "6L", "no shards"),
    }  # fmt: skip
    study_report.write(first, config, tmp_path, of_all)
    with (tmp_path / "main.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (tmp_path / "learning.csv").open(newline="") as stream:
        curve = {(row["model"], row["split"][:1], row["task"]): row for row in csv.DictReader(stream)}
    assert {row["family"] for row in curve.values()} == {"plain CNN"}
    half, whole = (int(curve[name, "B", primary]["trained_on"]) for name in ("plain CNN, half", "plain CNN"))
    assert (half, whole) == (60, 120)
    assert any(row["model"] == "reference" and "no shards" in " ".join(row.values()) for row in rows)
    assert json.loads((tmp_path / "study.json").read_text())["config"]["rows"][0]["name"] == "compact"
    assert len(list((tmp_path / "figures").glob("*.png"))) >= 4


@pytest.mark.slow
def test_what_the_budget_does_not_reach_is_said(config, shards, tmp_path):
    short = config.model_copy(update={"budget_minutes": 1e-6})
    found = study.run(short, Data({"edge": shards}, {"edge": shards}), tmp_path, dataset=None, final=False, say=print)
    assert not found.predictions
    assert {one.model for one in found.not_run} == {row.name for row in config.rows}
    assert any("budget" in one.reason for one in found.not_run)


@pytest.mark.slow
def test_a_task_of_one_class_is_left_out_by_name_and_the_rest_goes_on(tmp_path):
    shards, said = tmp_path / "shards", []
    prepare(open_dataset("synthetic", None, n_patients=90, left_share=0.0), RECIPES["edge"], shards, workers=1)
    row = ModelRow(name="cnn", task_model=NetworkConfig(network="plain_cnn", epochs=1, views=1), leads=("6L",))
    data = Data({"edge": shards}, {"edge": shards})
    config = StudyConfig(rows=(row,), processes=1)
    found = study.run(config, data, tmp_path / "work", dataset=None, final=False, say=said.append)
    assert {one.task for one in found.predictions} == {"right_heart_pattern"}
    assert any("one class only" in line and "heart_side" in line for line in said)


def test_a_share_of_the_patients_is_among_a_larger_share_and_judges_the_same(shards):
    of_all = open_shards(shards)
    patient = dict(zip(of_all.record_id.tolist(), of_all.patient.tolist(), strict=True))
    for split in ("folds", "cv5"):
        for whole, half, quarter in zip(
            *(study.places(of_all, split, share) for share in (1.0, 0.5, 0.25)), strict=True
        ):
            assert set(quarter.train) < set(half.train) < set(whole.train)
            taught = {patient[i] for i in whole.train}
            assert len({patient[i] for i in half.train}) == round(len(taught) / 2)
            assert not {patient[i] for i in set(whole.train) - set(half.train)} & {patient[i] for i in half.train}
            assert half.validation == whole.validation
            assert len({whole.digest, half.digest, quarter.digest}) == 3


def test_folds_of_a_split_share_no_patient(shards):
    of_all = open_shards(shards)
    patient = dict(zip(of_all.record_id.tolist(), of_all.patient.tolist(), strict=True))
    (place,) = study.places(of_all, "folds")
    assert not {patient[i] for i in place.train} & {patient[i] for i in place.validation}
    for place in study.places(of_all, "cv5"):
        outside = set(patient) - set(place.train)
        assert outside
        assert not {patient[i] for i in place.train} & {patient[i] for i in outside}


def test_a_changed_recipe_of_training_is_another_stage(config, shards, tmp_path):
    (place,) = study.places(open_shards(shards), "folds")
    data = Data({"edge": shards}, {"edge": shards})
    row = config.rows[0]
    changed = row.model_copy(update={"pretrain": PRETRAIN.model_copy(update={"learning_rate": 1e-3})})
    folders = {
        stages.Stage(one, seed, place, data, tmp_path, kind).folder()
        for one in (row, changed)
        for seed in (0, 1)
        for kind in ("pretrain", "fit")
    }
    assert len(folders) == 8


def test_configurations_that_name_nothing_are_refused(config):
    with pytest.raises(BadInputError, match="nobody"):
        study.check(config.model_copy(update={"saliency": ("nobody",)}))
    for wrong in ({"leads": ("7L",)}, {"preset": "huge"}, {"preset": None}):
        with pytest.raises(ValueError, match=r"unknown|need"):
            ModelRow.model_validate({**config.rows[0].model_dump(), **wrong})
