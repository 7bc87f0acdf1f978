"""From a data folder to a bundle."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="building trains; the base install has no torch")
pytest.importorskip("litert_torch", reason="building quantizes, which needs the extra `export`")

from lsemvae_edge import bundle as bundles  # noqa: E402
from lsemvae_edge.metrics import TEST_FOLD  # noqa: E402
from lsemvae_edge.quantize import build as building  # noqa: E402
from lsemvae_edge.quantize import pipeline, sbom, scheme, weights  # noqa: E402
from lsemvae_edge.quantize.card import card  # noqa: E402
from lsemvae_edge.runtime import open_session  # noqa: E402
from lsemvae_edge.synthetic.heart import Heart, simulate  # noqa: E402
from lsemvae_edge.train import calibrate, distill  # noqa: E402
from lsemvae_edge.train.cohort import load_cohort  # noqa: E402
from lsemvae_edge.train.config_distill import DistillConfig, FitConfig, TeacherConfig  # noqa: E402
from lsemvae_edge.train.datasets import Entry  # noqa: E402

TASKS = [task.name for task in calibrate.TASKS]
FIT = FitConfig(size="tiny", epochs=6, batch_size=32, swapped_per_batch=4, strange_per_batch=2, strange_bank=8)
FIT = FIT.model_copy(update={"ema_decay": 0.8, "learning_rate": 1e-2})
TEACHING = FIT.model_copy(update={"epochs": 1, "swapped_per_batch": 0, "strange_per_batch": 0, "alone": 0.0})
CONFIG = DistillConfig(student=FIT, teachers=(TeacherConfig(leads="12L", fit=TEACHING),), folds=2)


def entry(number, fold):
    right = number % 2
    heart = Heart(qrs_axis_deg=(40.0, 120.0)[right] + 5 * (number % 7 - 3), rate_bpm=55 + number % 40)

    def load():
        if fold == TEST_FOLD:
            raise AssertionError("fold 10 was opened")
        return simulate(heart, 10.0, 500.0, number)

    return Entry(
        record_id=str(number),
        source="ptbxl_12lead",
        patient=str(number // 2),
        fold=fold,
        load=load,
        age_years=40.0 + number % 50,
        sex=("female", "male")[number // 2 % 2],
        targets={TASKS[0]: right, TASKS[1]: right},
    )


@pytest.fixture(scope="module")
def listed():
    return [entry(number, (1, 1, 9, 9)[number % 4] if number < 160 else TEST_FOLD) for number in range(164)]


@pytest.fixture(scope="module")
def cohort(listed):
    return load_cohort([one for one in listed if one.fold == 9], TASKS)[0]


def test_ranges_come_from_both_classes_alike(cohort, monkeypatch):
    monkeypatch.setattr(scheme, "RECORDS", 20)
    asked = []
    monkeypatch.setattr(scheme, "inputs", lambda part: asked.append(part) or distill.inputs(part))
    first, again, other = (scheme.calibration_inputs(cohort, seed) for seed in (0, 0, 1))
    assert asked[0].targets[:, 0].sum() == 10
    assert first.shape == (20, 6, 100)
    np.testing.assert_array_equal(first, again)
    assert asked[0].record_id.tolist() != asked[2].record_id.tolist()
    assert not np.array_equal(first, other)


def test_a_session_is_asked_with_what_torch_is_asked_with(cohort, small_bundle, student):
    inputs = building.model_inputs(cohort)
    assert inputs.shape == (len(cohort), 6, 100)
    assert np.abs(inputs).max() <= 8
    said = building.ask(open_session(small_bundle), cohort.select(np.arange(5)))
    expected = distill.predict(student, cohort.select(np.arange(5)))
    assert said.logits.shape == (5, 4)
    assert said.mu.shape == (5, 32)
    assert said.contributions.shape == (5, 6, 4)
    assert np.corrcoef(said.mu.ravel(), expected.mu.ravel())[0, 1] > 0.95


def test_validation_figures_are_by_task_and_group_and_too_few_have_counts_alone(cohort):
    logits = np.random.default_rng(0).normal(size=(len(cohort), 4)).astype(np.float32)
    found = building.validation_metrics(logits, cohort)
    assert list(found) == TASKS
    for groups in found.values():
        assert list(groups) == ["all", "female", "male", "under 50", "50 to 69", "70 and over"]
        assert groups["all"]["n"] == groups["female"]["n"] + groups["male"]["n"] == len(cohort)
    few = building.validation_metrics(logits[:12], cohort.select(np.arange(12)))
    assert few[TASKS[0]]["all"] == {"n": 12, "positive": 6, "auroc": None, "average_precision": None}
    json.dumps(found, allow_nan=False)


@pytest.mark.slow
def test_a_bundle_is_built_without_opening_fold_10(listed, monkeypatch, tmp_path):
    monkeypatch.setattr(building.datasets, "entries", lambda folder: listed)
    said = []
    made = pipeline.build(tmp_path, tmp_path / "made", CONFIG, said.append)
    assert made.sha256 == bundles.load(tmp_path / "made").sha256
    assert said[0] == "Conditioning 160 recordings of folds 1-9"
    manifest = made.manifest
    assert made.spec.id.startswith("lsemvae-edge-tiny-")
    assert made.spec.outputs == (*TASKS, "electrode_swap", "not_ecg")
    assert made.spec.latent is not None
    assert manifest.provenance["distill"] == json.loads(CONFIG.model_dump_json())
    assert manifest.name == "lsemvae-edge-tiny"
    assert manifest.quantization.calibration.records == 80
    assert manifest.quantization.calibration.seed == CONFIG.student.seed
    assert any("changes" in note for note in manifest.provenance["quantization"])
    assert json.loads(made.read(sbom.FILE_NAME))["bomFormat"] == "CycloneDX"
    agreed = manifest.metrics["agreement"]
    assert agreed["recordings"]["model-int8.tflite"]["reference"]["n"] == 160
    assert agreed["masked"]["model-int8.tflite"]["reference"]["n"] == 4 * 160
    assert set(made.golden) >= {"raw_uv", "resampled_mv", "filtered_mv", "int8/logits", "fp32/logits"}
    assert manifest.provenance["data"]["training"]["records"] == 80
    assert manifest.provenance["data"]["validation"]["patients"] == 40
    assert manifest.metrics["risk_control"]["missed_at_most"] == calibrate.MISSED
    assert set(manifest.metrics["fold_9"]) == {"float", "int8"}
    assert weights.restore(made.read(weights.WEIGHTS), made.read(weights.CONFIG)).config.n_outputs == 4
    assert "right-heart pattern, not pulmonary hypertension" in made.read("card.md").decode()


def test_the_card_says_what_was_measured_and_what_was_too_little(model_spec):
    interval = {"value": 0.9, "low": 0.8, "high": 0.95}
    groups = {
        "all": {"n": 100, "positive": 40, "auroc": interval, "average_precision": interval},
        "70 and over": {"n": 8, "positive": 2, "auroc": None, "average_precision": None},
    }
    part = {"what": "folds 1-8", "records": 5, "patients": 4, "positives": {"right_heart_pattern": 2}}
    provenance = {
        "data": {"training": part, "validation": part},
        "processor_seconds": 7200,
    }
    measured = {"int8": {"right_heart_pattern": groups}}
    text = card(model_spec, measured, provenance, {"m.tflite": 123_456}, licence="CC-BY-4.0", attribution="somebody")
    assert "| int8 | right_heart_pattern | all | 100 | 40 | 0.900 (0.800-0.950) |" in text
    assert "| int8 | right_heart_pattern | 70 and over | 8 | 2 | too few | too few |" in text
    assert "2.00 processor hours" in text
    assert "m.tflite 123 KB" in text
    assert "CC-BY-4.0" in text
    assert "*not seen* never rules out disease" in text
