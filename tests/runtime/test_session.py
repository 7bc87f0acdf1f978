"""The choice of a runtime, and what every session does alike."""

from dataclasses import replace

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge import golden
from lsemvae_edge.decision import Circumstances, decide
from lsemvae_edge.errors import BundleError, ExitCode, RuntimeUnavailableError, UsageError
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.manifest import ModelFile
from lsemvae_edge.runtime import ENGINES, available, litert, open_session
from lsemvae_edge.runtime import session as runtime_session

TENSORS = ("mask", "logits", "mu", "logvar", "lead_mu", "lead_logvar", "contributions")
ONNX = ModelFile("model.onnx", "onnx", "fp32", "signal", *TENSORS)
TFLITE_INT8 = ModelFile("model.tflite", "tflite", "int8", "in", *TENSORS)
TFLITE_FLOAT = replace(TFLITE_INT8, path="float.tflite", precision="fp32")
PTE = ModelFile("model.pte", "pte", "int8", "0", "1", "0", "1", "2", "3", "4", "5")


@pytest.fixture
def installed(monkeypatch):
    """Function that pretends which runtimes' packages are installed, and records what would be opened."""
    opened = []

    def pretend(*packages):
        monkeypatch.setattr(runtime_session, "find_spec", lambda name: object() if name in packages else None)
        monkeypatch.setattr(runtime_session.build, "library", lambda: "shim" if "shim" in packages else None)
        monkeypatch.setattr(
            runtime_session.Engine, "open", lambda engine, content, model: opened.append((engine.name, model.path))
        )
        return opened

    return pretend


@pytest.fixture
def bundle_of(dummy_bundle):
    def make(*models):
        content = {model.path: model.path.encode() for model in models}
        return dummy_bundle(models=models, files={**content, "golden.npz": b""})

    return make


@pytest.mark.parametrize(
    ("packages", "models", "chosen"),
    [
        (("ai_edge_litert", "onnxruntime"), (ONNX, TFLITE_INT8), ("litert", "model.tflite")),
        (("tflite_runtime", "onnxruntime"), (ONNX, TFLITE_INT8), ("tflite-runtime", "model.tflite")),
        (("onnxruntime",), (TFLITE_INT8, ONNX), ("onnxruntime", "model.onnx")),
        (("ai_edge_litert", "onnxruntime"), (ONNX,), ("onnxruntime", "model.onnx")),
        (("ai_edge_litert",), (TFLITE_FLOAT, TFLITE_INT8), ("litert", "model.tflite")),
        (("ai_edge_litert",), (TFLITE_FLOAT,), ("litert", "float.tflite")),
        (("executorch", "shim", "onnxruntime"), (PTE, ONNX), ("onnxruntime", "model.onnx")),
        (("executorch", "shim"), (ONNX, PTE), ("executorch", "model.pte")),
    ],
)
def test_the_first_installed_runtime_that_can_run_a_file_is_taken(installed, bundle_of, packages, models, chosen):
    opened = installed(*packages)
    open_session(bundle_of(*models))
    assert opened == [chosen]


def test_a_named_runtime_is_taken_or_refused(installed, bundle_of):
    opened = installed("ai_edge_litert", "onnxruntime")
    bundle = bundle_of(TFLITE_INT8, ONNX)
    open_session(bundle, "onnxruntime")
    assert opened == [("onnxruntime", "model.onnx")]
    with pytest.raises(RuntimeUnavailableError) as caught:
        open_session(bundle, "tflite-runtime")
    assert caught.value.code == ExitCode.BUNDLE_REFUSED
    assert "pip install 'tflite-runtime'" in caught.value.next_step


def test_a_named_file_is_opened_in_the_first_runtime_that_runs_it(installed, bundle_of):
    opened = installed("ai_edge_litert", "tflite_runtime", "onnxruntime")
    bundle = bundle_of(TFLITE_INT8, TFLITE_FLOAT, ONNX)
    open_session(bundle, model=TFLITE_FLOAT)
    open_session(bundle, "tflite-runtime", TFLITE_FLOAT)
    open_session(bundle, model=ONNX)
    assert opened == [("litert", "float.tflite"), ("tflite-runtime", "float.tflite"), ("onnxruntime", "model.onnx")]
    with pytest.raises(RuntimeUnavailableError, match=r"float\.tflite holds tflite; onnxruntime runs onnx"):
        open_session(bundle, "onnxruntime", TFLITE_FLOAT)


def test_executorch_without_its_shim_is_not_installed_and_says_how_to_build_it(installed, bundle_of):
    installed("executorch")
    assert available() == ()
    with pytest.raises(RuntimeUnavailableError, match="None of executorch is installed") as caught:
        open_session(bundle_of(PTE))
    assert "pip install --no-deps executorch==" in caught.value.next_step
    assert "lsemvae-edge runtime build executorch" in caught.value.next_step


def test_an_unknown_runtime_is_a_usage_error_that_names_the_known_ones(bundle_of):
    with pytest.raises(UsageError, match="Unknown runtime 'tensorrt'") as caught:
        open_session(bundle_of(TFLITE_INT8), "tensorrt")
    assert all(engine.name in caught.value.next_step for engine in ENGINES)


def test_a_missing_runtime_names_the_extra_that_installs_it(installed, bundle_of):
    installed("ai_edge_litert")
    with pytest.raises(RuntimeUnavailableError, match="None of onnxruntime is installed") as caught:
        open_session(bundle_of(ONNX))
    assert "pip install 'lsemvae-edge[onnx]'" in caught.value.next_step


def test_a_runtime_that_runs_no_file_of_the_bundle_says_so(installed, bundle_of):
    installed("ai_edge_litert", "onnxruntime")
    with pytest.raises(RuntimeUnavailableError, match="The bundle holds tflite; onnxruntime runs onnx") as caught:
        open_session(bundle_of(TFLITE_INT8), "onnxruntime")
    assert "lsemvae-edge export --format onnx" in caught.value.next_step


def test_available_lists_what_is_installed_in_order_of_preference(installed):
    installed("onnxruntime", "ai_edge_litert")
    assert [engine.name for engine in available()] == ["litert", "onnxruntime"]
    installed()
    assert available() == ()


@pytest.mark.parametrize(
    "content", [b"", b"garbage" * 100, b"\x1c\0\0\0TFL3" + b"\xff" * 400], ids=["empty", "garbage", "header"]
)
def test_a_file_that_is_no_tflite_model_is_a_bundle_error(dummy_bundle, content):
    bundle = dummy_bundle(files={"model.tflite": content, "golden.npz": b""})
    with pytest.raises(BundleError, match=r"model\.tflite does not load") as caught:
        open_session(bundle)
    assert caught.value.code == ExitCode.BUNDLE_REFUSED


def test_a_tflite_model_cut_short_is_a_bundle_error(small_bundle, int8_tflite, rewritten, tmp_path):
    path = small_bundle.manifest.models[0].path
    cut = rewritten(small_bundle, tmp_path / "cut", {path: int8_tflite[: len(int8_tflite) // 2]})
    with pytest.raises(BundleError, match="does not load"):
        open_session(cut)


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_a_damaged_onnx_model_is_a_bundle_error(bundle_of, dummy_bundle, onnx_file, keep):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is the extra `onnx`")
    content = onnx_file[: int(keep * len(onnx_file))]
    bundle = dummy_bundle(models=(ONNX,), files={ONNX.path: content, "golden.npz": b""})
    with pytest.raises(BundleError, match=r"model\.onnx does not load"):
        open_session(bundle, "onnxruntime")


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
@pytest.mark.parametrize("tensor", ["input", *TENSORS])
def test_a_tensor_that_the_file_does_not_have_is_a_bundle_error(
    small_bundle, onnx_file, rewritten, tmp_path, runtime, tensor
):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is the extra `onnx`")
    models = tuple(replace(model, **{tensor: "absent"}) for model in (*small_bundle.manifest.models, ONNX))
    bundle = rewritten(small_bundle, tmp_path / "renamed", {ONNX.path: onnx_file}, models=models)
    with pytest.raises(BundleError, match="has no tensor absent"):
        open_session(bundle, runtime)


@pytest.fixture(scope="module", params=["litert", "onnxruntime"])
def session(request, two_format_bundle):
    if request.param == "onnxruntime":
        pytest.importorskip("onnxruntime", reason="ONNX Runtime is the extra `onnx`")
    return open_session(two_format_bundle, request.param)


@pytest.mark.parametrize("shape", [(6, 99), (5, 100), (12, 100), (1, 6, 100), (100, 6), (100,)], ids=str)
def test_an_input_of_the_wrong_shape_is_refused(session, shape):
    with pytest.raises(BundleError, match="takes 6 leads of 100 samples"):
        session.run(np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize("shape", [(5,), (7,), (1, 6), ()], ids=str)
def test_a_mask_of_the_wrong_shape_is_refused(session, simulated_inputs, shape):
    with pytest.raises(BundleError, match="takes a mask of 6 leads"):
        session.run(simulated_inputs[0], np.ones(shape, dtype=np.float32))


def test_a_run_gives_one_row_of_each_output(session, simulated_inputs):
    output = session.run(simulated_inputs[0])
    assert output.logits.shape == (4,)
    assert output.mu.shape == output.logvar.shape == (32,)
    assert output.logits.dtype == np.float32
    assert output.contributions.shape == (6, 4)
    assert output.contributions.dtype == np.float32
    assert output.fed.shape == (6, 100)
    assert output.fed.dtype == np.float32


def test_without_a_mask_all_leads_are_present(session, simulated_inputs):
    plain, masked = session.run(simulated_inputs[0]), session.run(simulated_inputs[0], np.ones(6, dtype=np.int64))
    np.testing.assert_array_equal(plain.logits, masked.logits)
    np.testing.assert_array_equal(plain.mu, masked.mu)


def test_contributions_and_one_bias_make_the_logits(session, simulated_inputs):
    outputs = [session.run(signal) for signal in simulated_inputs[:8]]
    bias = np.stack([output.logits - output.contributions.sum(axis=0) for output in outputs])
    np.testing.assert_allclose(bias, bias[:1].repeat(8, axis=0), atol=1e-3)


@pytest.mark.parametrize("lead", range(6))
def test_an_absent_lead_counts_for_nothing(session, simulated_inputs, lead):
    signal, mask = simulated_inputs[0].copy(), np.ones(6, dtype=np.float32)
    mask[lead] = 0
    signal[lead] = 0
    output = session.run(signal, mask)
    np.testing.assert_array_equal(output.contributions[lead], 0)
    assert np.isfinite(output.logits).all()
    assert not np.array_equal(output.logits, session.run(simulated_inputs[0]).logits)


def test_one_lead_alone_gives_numbers(session, simulated_inputs):
    mask = np.eye(6, dtype=np.float32)[1]
    output = session.run(simulated_inputs[0] * mask[:, None], mask)
    assert np.isfinite([*output.logits, *output.mu, *output.logvar]).all()
    assert np.count_nonzero(output.contributions.any(axis=1)) == 1


def test_a_session_gives_the_same_numbers_again_and_keeps_no_hold_on_old_ones(session, simulated_inputs):
    first = session.run(simulated_inputs[0])
    kept = first.logits.copy()
    other = session.run(simulated_inputs[1])
    assert not np.array_equal(other.logits, kept)
    np.testing.assert_array_equal(first.logits, kept)
    np.testing.assert_array_equal(session.run(simulated_inputs[0]).logits, kept)


def test_an_integer_input_is_rounded_half_to_even_and_saturates():
    steps = np.array([1e6, -1e6, 0.5, 1.5, 2.4, 0.0], dtype=np.float32)
    for scale, zero_point in ((0.25, 0), (0.125, -7)):
        fed = litert._quantized(steps * np.float32(scale), {"dtype": np.int8, "quantization": (scale, zero_point)})
        assert fed.dtype == np.int8
        np.testing.assert_array_equal(fed[:2], [127, -128])
        np.testing.assert_array_equal(fed[2:] - zero_point, [0, 2, 2, 0])


def test_int8_and_float_agree_in_outcome(two_format_bundle, simulated_inputs):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is the extra `onnx`")
    ordinary = Circumstances(heart_rate_bpm=70.0, rhythm_reliable=True, available_leads=LIMB_LEADS)
    spec = two_format_bundle.spec
    outcomes = []
    for name in ("litert", "onnxruntime"):
        session = open_session(two_format_bundle, name)
        assert session.runtime == name
        decided = [decide(spec, session.run(signal), ordinary) for signal in simulated_inputs]
        outcomes.append([results["right_heart_pattern"].outcome for results in decided])
    assert {"present", "not_present"} <= set(outcomes[0])
    # One band edge or another may lie between the two; the opposite answer may not.
    assert not any({a, b} == {"present", "not_present"} for a, b in zip(*outcomes, strict=True))
    assert np.mean([a == b for a, b in zip(*outcomes, strict=True)]) >= 0.9


def test_golden_vectors_hold_in_every_runtime(session, two_format_bundle):
    checks = golden.check(two_format_bundle, session)
    stages = {check.stage for check in checks}
    of_the_model = {f"{session.model.precision}/{name}" for name in ("logits", "mu", "contributions", "outcome")}
    assert {"resampled_mv", "filtered_mv", "beat_at", "input", *of_the_model} <= stages
    assert all(check.passed for check in checks)


def test_golden_vectors_find_another_model(small_bundle):
    known = dict(small_bundle.golden)
    known["int8/logits"] = known["int8/logits"] + np.float32(1)
    known["int8/contributions"] = known["int8/contributions"] - np.float32(1)
    known["int8/outcome"] = known["int8/outcome"][:, ::-1]
    bundle = replace(small_bundle)
    bundle.__dict__["golden"] = known
    failed = {check.stage for check in golden.check(bundle, open_session(small_bundle)) if not check.passed}
    assert failed == {"int8/logits", "int8/contributions", "int8/outcome"}


def test_golden_vectors_of_other_stages_or_shapes_are_refused(small_bundle):
    session = open_session(small_bundle)
    known = small_bundle.golden
    for changed, message in (
        ({**known, "more": known["int8/logits"]}, "stages"),
        ({name: value for name, value in known.items() if name != "int8/mu"}, "stages"),
        ({**known, "int8/logits": known["int8/logits"][:, :2]}, "shapes"),
    ):
        bundle = replace(small_bundle)
        bundle.__dict__["golden"] = changed
        with pytest.raises(BundleError, match=message):
            golden.check(bundle, session)


def test_a_runtime_without_stated_tolerance_cannot_be_checked(small_bundle, rewritten, tmp_path):
    bundle = rewritten(small_bundle, tmp_path / "other", tolerance={"int8": {"onnxruntime": 1.0}})
    with pytest.raises(BundleError, match="no tolerance for int8 in litert"):
        golden.check(bundle, open_session(bundle, "litert"))


def test_a_model_file_changed_on_disk_is_not_opened(dummy_bundle):
    bundle = dummy_bundle()
    (bundle.path / "model.tflite").write_bytes(bytes(len((bundle.path / "model.tflite").read_bytes())))
    with pytest.raises(BundleError, match="not the file its manifest lists"):
        open_session(bundles.load(bundle.path))
