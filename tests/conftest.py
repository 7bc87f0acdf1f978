"""Shared fixtures: a contract made by hand, an untrained student, and the bundle that both make."""

import io
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings

from lsemvae_edge import bundle as bundles
from lsemvae_edge import preprocess
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.limits import QualityLimits
from lsemvae_edge.manifest import ModelFile
from lsemvae_edge.spec import AskedIf, Calibration, GuardSpec, IntendedUse, ModelSpec, TaskSpec
from lsemvae_edge.store import clock
from lsemvae_edge.synthetic.heart import Heart, drawn, simulate

# The same examples on every machine, no time limit on a busy one, nothing left in the checkout.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def _clock_is_set(tmp_path_factory):
    """Take this machine's clock for set, also where nothing that can be named has set it."""
    os.environ[clock.VARIABLE] = str(tmp_path_factory.mktemp("clock") / "clock.json")
    clock.confirm()


STAND_IN = "right-heart pattern, not pulmonary hypertension"


@pytest.fixture(scope="session")
def model_spec() -> ModelSpec:
    """Two tasks and two guards over four logits, probabilities that are plain sigmoids of the logits."""
    return ModelSpec(
        id="made-by-hand",
        leads=LIMB_LEADS,
        accepted_lead_sets=(LIMB_LEADS,),
        preprocess=preprocess.default_spec(),
        quality=QualityLimits(),
        outputs=("right_heart_pattern", "heart_side", "electrode_swap", "not_ecg"),
        tasks=(
            TaskSpec(
                "right_heart_pattern", "right-heart pattern", "primary", ("not_present", "present"), 0,
                Calibration(1.0, 0.0), 0.4, 0.6, None, (0.0,) * 6,
            ),
            TaskSpec(
                "heart_side", "side of overload", "secondary", ("left", "right"), 1,
                Calibration(1.0, 0.0), 0.3, 0.7, AskedIf("right_heart_pattern", 0.4), (0.0,) * 6,
            ),
        ),
        guards=(GuardSpec("electrode_swap", 2, 1.0), GuardSpec("not_ecg", 3, 2.0)),
        latent=None,
        intended_use=IntendedUse(18.0, 40.0, 150.0, STAND_IN),
    )  # fmt: skip


@pytest.fixture(scope="session")
def simulated_pairs(model_spec) -> np.ndarray:
    """Conditioned leads I and II of 40 simulated hearts (40, 2, n), axes and rates of every kind."""
    rng = np.random.default_rng(7)
    pairs = []
    for seed in range(40):
        record = simulate(drawn(rng), 10.0, 500.0, seed, ("I", "II"))
        pairs.append(preprocess.condition(record, model_spec.preprocess).pair)
    length = min(pair.shape[1] for pair in pairs)
    return np.stack([pair[:, :length] for pair in pairs]).astype(np.float32)


@pytest.fixture(scope="session")
def simulated_inputs(model_spec, simulated_pairs) -> np.ndarray:
    """Model inputs (40, 6, beat.n_samples) of the simulated hearts."""
    spec = model_spec.preprocess
    nothing_excluded = np.zeros(simulated_pairs.shape[2], dtype=bool)
    return np.stack(
        [
            preprocess.cut(preprocess.Conditioned(pair, nothing_excluded, 0, spec.fs_hz), spec).signal
            for pair in simulated_pairs.astype(np.float64)
        ]
    )


@pytest.fixture(scope="session")
def student(simulated_inputs):
    """An untrained student in evaluation mode, scaled so that its logits differ between simulated hearts."""
    torch = pytest.importorskip("torch", reason="the student is a torch model; the base install has none")
    from lsemvae_edge.model import Student

    torch.manual_seed(0)
    made = Student()
    x, mask = torch.from_numpy(simulated_inputs)[:, :, None], torch.ones(len(simulated_inputs), 6)
    made.train()
    with torch.no_grad():
        for _ in range(20):  # gives the batch norms statistics that are worth folding
            made(x, mask)
    made.eval()
    with torch.no_grad():
        # Heads that read what differs most between hearts, lest the quantizer's steps outweigh it.
        lead_mu = made(x, mask).lead_mu
        directions = torch.linalg.svd(lead_mu - lead_mu.mean(dim=0), full_matrices=False).Vh[:4]
        for head, direction in zip(made.lead_heads, directions.chunk(6, dim=1), strict=True):
            head.weight.copy_(direction)
        logits = made(x, mask).logits
        # The guards stay quiet.
        size = torch.tensor([2.0, 2.0, 0.2, 0.2]) / logits.std(dim=0).clamp(min=1e-6)
        made.fused_head.bias.copy_((made.fused_head.bias - logits.mean(dim=0)) * size)
        for head in (made.fused_head, *made.lead_heads):
            head.weight.copy_(head.weight * size[:, None])
    return made


@pytest.fixture(scope="session")
def quantization(student, simulated_inputs):
    """Steps of the student's activations, measured on every second simulated heart."""
    pytest.importorskip("scipy", reason="calibration chooses among training recordings, with the extra `train`")
    from lsemvae_edge.quantize import scheme

    return scheme.calibrate(student, simulated_inputs[::2], 0)


@pytest.fixture(scope="session")
def convert(student, model_spec, quantization):
    """Function that gives the student in a form by its name, ``tflite-int8``; each is made once."""
    from lsemvae_edge.quantize import gates, targets

    made: dict[str, bytes] = {}

    def one(name: str) -> bytes:
        target = next(target for target in targets.targets() if target.name == name)
        if target.missing:
            pytest.skip(f"{name} needs the extra `{target.extra}`")
        if name not in made:
            steps = quantization if target.precision == "int8" else None
            n_samples = model_spec.preprocess.beat.n_samples
            made[name] = target.make(targets.Job(student, n_samples, steps, gates.label_of(model_spec)))
        return made[name]

    return one


@pytest.fixture(scope="session")
def float_tflite(convert) -> bytes:
    """The student as a float TFLite file."""
    return convert("tflite-fp32")


@pytest.fixture(scope="session")
def int8_tflite(convert) -> bytes:
    """The student as an int8 TFLite file."""
    return convert("tflite-int8")


@pytest.fixture(scope="session")
def onnx_file(convert) -> bytes:
    """The student as a float ONNX file."""
    return convert("onnx-fp32")


@pytest.fixture(scope="session")
def build(int8_tflite):
    """Module `lsemvae_edge.quantize.build`, where everything it needs is installed."""
    pytest.importorskip("pydantic", reason="building needs the extra `export`")
    from lsemvae_edge.quantize import build

    return build


@pytest.fixture(scope="session")
def tflite_model(int8_tflite) -> ModelFile:
    """What a manifest says of the int8 file."""
    from lsemvae_edge.quantize.targets import tflite

    return next(target for target in tflite.TARGETS if target.precision == "int8").model


@pytest.fixture(scope="session")
def small_bundle(
    build, student, int8_tflite, tflite_model, quantization, model_spec, tmp_path_factory
) -> bundles.Bundle:
    """A complete bundle of the untrained student: int8 TFLite, float weights, golden vectors."""
    from lsemvae_edge.quantize import weights

    return bundles.write(
        tmp_path_factory.mktemp("bundle") / "small",
        spec=model_spec,
        models=(tflite_model,),
        files={
            tflite_model.path: int8_tflite,
            build.GOLDEN: build.golden_vectors(model_spec, student, int8_tflite),
            **weights.dump(student),
        },
        name="made-by-hand",
        quantization=quantization,
        golden=build.GOLDEN,
        tolerance=build.TOLERANCE,
        metrics={},
        provenance={"made_by": "tests"},
        licence="none",
        attribution="nobody",
    )


@pytest.fixture(scope="session")
def two_format_bundle(small_bundle, onnx_file, tmp_path_factory) -> bundles.Bundle:
    """The same with the float ONNX form beside it."""
    from lsemvae_edge.quantize.targets import onnx

    model = next(target for target in onnx.TARGETS if target.precision == "fp32").model
    return rewrite(small_bundle, tmp_path_factory.mktemp("bundle") / "two", {model.path: onnx_file}, (model,))


@pytest.fixture(scope="session")
def rewritten():
    """Function that writes a bundle again with other files or models."""
    return rewrite


def rewrite(bundle, path, files=None, more_models=(), **changes) -> bundles.Bundle:
    content = {name: bundle.read(name) for name in bundle.manifest.files}
    models = bundle.manifest.models + tuple(more_models)
    return bundles.rewrite(bundle, path, files={**content, **(files or {})}, **{"models": models, **changes})


def model_file(path, format, precision) -> ModelFile:
    """A form of the model whose tensors have their fields' names."""
    tensors = ("input", "mask", "logits", "mu", "logvar", "lead_mu", "lead_logvar", "contributions")
    return ModelFile(path, format, precision, *tensors)


@pytest.fixture
def dummy_bundle(model_spec, tmp_path):
    """Function that writes a bundle whose model is no model, for tests that never run one."""

    def make(path=None, **changes) -> bundles.Bundle:
        golden = io.BytesIO()
        np.savez(golden, logits=np.zeros((1, 4), dtype=np.float32))
        values = {
            "spec": model_spec,
            "models": (model_file("model.tflite", "tflite", "int8"),),
            "files": {"model.tflite": bytes(range(256)) * 40, "golden.npz": golden.getvalue(), "card.md": b"# card\n"},
            "name": "made-by-hand",
            "quantization": None,
            "golden": "golden.npz",
            "tolerance": {"int8": {"litert": 0.25}},
            "metrics": {"fold_9": {"n": 3}},
            "provenance": {"made_by": "tests"},
            "licence": "none",
            "attribution": "nobody",
        }
        return bundles.write(path or tmp_path / "dummy", **{**values, **changes})

    return make


@pytest.fixture(scope="session")
def heart_record():
    """Function that records a simulated heart, as a file of a person's recorder."""

    def make(duration_s=12.0, fs_hz=500.0, seed=0, leads=("I", "II"), **heart):
        return replace(simulate(Heart(**heart), duration_s, fs_hz, seed, leads), origin="file")

    return make
