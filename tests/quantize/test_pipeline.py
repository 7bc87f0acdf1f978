"""From a student to int8: what is done, why, and the command that does it."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="students are torch models; the base install has none")
pytest.importorskip("litert_torch", reason="quantization converts, which needs the extra `export`")

from lsemvae_edge import bundle as bundles  # noqa: E402
from lsemvae_edge.cli import main  # noqa: E402
from lsemvae_edge.errors import UsageError  # noqa: E402
from lsemvae_edge.quantize import build, pipeline, scheme, weights  # noqa: E402
from lsemvae_edge.quantize.build import Lessons  # noqa: E402
from lsemvae_edge.quantize.targets import QuantizationError  # noqa: E402
from lsemvae_edge.synthetic.heart import Heart, simulate  # noqa: E402
from lsemvae_edge.train import calibrate  # noqa: E402
from lsemvae_edge.train.cohort import load_cohort  # noqa: E402
from lsemvae_edge.train.config_distill import shipped_recipe  # noqa: E402
from lsemvae_edge.train.datasets import Entry  # noqa: E402

TASKS = [task.name for task in calibrate.TASKS]


def entry(number, fold):
    right = number % 2
    heart = Heart(qrs_axis_deg=(30.0, 130.0)[right] + 7 * (number % 9 - 4), rate_bpm=55 + number % 40)
    return Entry(
        record_id=str(number),
        source="ptbxl_12lead",
        patient=str(number),
        fold=fold,
        load=lambda: simulate(heart, 10.0, 500.0, number),
        age_years=40.0 + number % 50,
        sex=("female", "male")[number % 2],
        targets={TASKS[0]: right, TASKS[1]: right},
    )


@pytest.fixture(scope="module")
def lessons():
    cohorts = [load_cohort([entry(k, fold) for k in range(at, at + 60)], TASKS)[0] for at, fold in ((0, 1), (60, 9))]
    return Lessons(*cohorts, rejected={})


@pytest.fixture(autouse=True)
def few(monkeypatch, lessons):
    monkeypatch.setattr(scheme, "RECORDS", 40)
    monkeypatch.setattr(build, "load", lambda folder, say: lessons)


def quantized(student, lessons, **recipe):
    said = []
    return pipeline.quantize(student, lessons, pipeline.Recipe(**recipe), said.append), said


def test_equalising_changes_weights_and_not_answers(student, lessons, monkeypatch):
    monkeypatch.setattr(pipeline, "SPARED", 100.0)
    made, said = quantized(student, lessons, method="ptq")
    assert made.quantization.method == "ptq"
    assert list(made.notes) == said
    assert "equalised" in said[0]
    x, mask = torch.from_numpy(build.model_inputs(lessons.validation))[:, :, None], torch.ones(60, 6)
    with torch.inference_mode():
        torch.testing.assert_close(made.student(x, mask).logits, student(x, mask).logits, atol=1e-3, rtol=1e-4)
    assert weights.dump(made.student)[weights.WEIGHTS] != weights.dump(student)[weights.WEIGHTS]
    plain, _ = quantized(student, lessons, method="ptq", equalize=False)
    assert weights.dump(plain.student)[weights.WEIGHTS] == weights.dump(student)[weights.WEIGHTS]
    assert set(plain.quantization.float_layers) == set(scheme.first_convolutions(student))


def test_the_search_goes_on_until_few_enough_outcomes_change(student, lessons, monkeypatch):
    asked = []

    def searched(of, quantization, signals, allowed, bound):
        asked.append((allowed(quantization), bound))
        more = replace(quantization, float_layers=(*quantization.float_layers, "encoder1.mu"))
        return Found(more, ("One layer more.",))

    monkeypatch.setattr(pipeline.search, "search", searched)
    made, said = quantized(student, lessons, method="ptq")
    assert "encoder1.mu" in made.quantization.float_layers
    assert "One layer more." in said
    ((share, bound),) = asked
    assert 0 <= share <= 1
    assert bound == pytest.approx(0.0075)


@dataclass(frozen=True)
class Found:
    quantization: object
    reasons: tuple


def test_layers_named_by_hand_are_left_alone(student, lessons):
    made, _ = quantized(student, lessons, method="ptq", float_layers=("encoder2.mu",))
    assert made.quantization.float_layers == ("encoder2.mu",)
    assert made.quantization.calibration.records == 40


def test_a_layer_that_does_not_exist_is_wrong_usage(student, lessons):
    with pytest.raises(UsageError, match="no layer encoder9"):
        quantized(student, lessons, method="ptq", float_layers=("encoder9.mu",))


def test_a_search_in_vain_is_an_error_or_a_reason_to_train_on(student, lessons, monkeypatch):
    monkeypatch.setattr(pipeline.qat, "train", lambda s, cohort, q, config: (s, replace(q, method="qat")))
    monkeypatch.setattr(pipeline, "Bounds", lambda: replace(pipeline_bounds(), flips=-1.0))

    def in_vain(*told):
        raise QuantizationError("Whatever is left, it is too much.")

    monkeypatch.setattr(pipeline.search, "search", in_vain)
    with pytest.raises(QuantizationError):
        quantized(student, lessons, method="ptq")
    made, said = quantized(student, lessons, method="auto")
    assert made.quantization.method == "qat"
    assert "Whatever is left, it is too much." in said


def test_training_on_happens_when_asked_and_when_a_gate_would_fail(student, lessons, monkeypatch):
    monkeypatch.setattr(pipeline.qat, "train", lambda s, cohort, q, config: (s, replace(q, method="qat")))
    assert quantized(student, lessons, method="qat")[0].quantization.method == "qat"
    monkeypatch.setattr(pipeline, "Bounds", lambda: replace(pipeline_bounds(), flips=-1.0))
    assert quantized(student, lessons, method="auto", float_layers=())[0].quantization.method == "qat"
    assert quantized(student, lessons, method="ptq", float_layers=())[0].quantization.method == "ptq"


def pipeline_bounds():
    from lsemvae_edge.quantize.gates import Bounds

    return Bounds()


@pytest.mark.slow
def test_a_folder_of_a_student_becomes_a_bundle(student, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "student"
    folder.mkdir()
    for name, content in weights.dump(student).items():
        (folder / name).write_bytes(content)
    (folder / "recipe.json").write_text(shipped_recipe().model_dump_json())
    (folder / "provenance.json").write_text(json.dumps({"command": "by hand", "processor_seconds": 5}))
    monkeypatch.setenv("LSEMVAE_EDGE_DATA", str(tmp_path))
    monkeypatch.setattr(build.gates, "FEW", 200)
    arguments = [
        "quantize",
        "--student",
        str(folder),
        "--out",
        str(tmp_path / "b"),
        "--method",
        "ptq",
        "--explain",
        "--json",
    ]
    assert main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    made = bundles.load(tmp_path / "b")
    assert answer["sha256"] == made.sha256
    assert made.manifest.name == "lsemvae-edge-small"
    assert made.manifest.provenance["command"] == "by hand; lsemvae-edge quantize --student DIR"
    assert answer["explanation"]
    assert np.isfinite(made.manifest.metrics["agreement"]["recordings"]["model-int8.tflite"]["float"]["worst"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "--out"),
        (("--out", "EXISTS"), 2, "exists"),
        (("--student", "EXISTS", "--out", "new"), 3, "holds no student"),
        (("--out", "new", "--format", "keras"), 2, "no format keras"),
    ],
)
def test_what_has_no_meaning_is_refused(tmp_path, monkeypatch, capsys, arguments, code, words):
    monkeypatch.setenv("LSEMVAE_EDGE_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EXISTS").mkdir()
    assert main(["quantize", *arguments, "--json"]) == code
    assert words in json.loads(capsys.readouterr().out)["message"]
    assert not (tmp_path / "new").exists()
