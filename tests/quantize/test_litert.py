"""Conversions of the student against torch."""

import sys
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="conversion starts from a torch model; the base install has none")

from lsemvae_edge.errors import ExitCode, LsemvaeError  # noqa: E402
from lsemvae_edge.quantize import litert  # noqa: E402
from lsemvae_edge.quantize.litert import QuantizationError, check_int8  # noqa: E402

MASKS = np.array([[1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 1, 0]], dtype=np.float32)
"""Leads I and II, II alone, III and aVL."""


@pytest.fixture(scope="module")
def torch_output(student, simulated_inputs):
    x = torch.from_numpy(simulated_inputs)[:, :, None]
    with torch.inference_mode():
        return student(x, torch.ones(len(x), 6))._asdict()


@pytest.fixture(scope="module")
def session(tflite_model, int8_tflite):
    from lsemvae_edge.runtime.litert import open_model

    return open_model(int8_tflite, tflite_model, "ai_edge_litert")


@pytest.fixture(scope="module")
def int8_outputs(session, simulated_inputs):
    return [session.run(signal) for signal in simulated_inputs]


@pytest.fixture(scope="module")
def weights_of():
    """Function that lists the layers of a file with weights: operator, name of its output, type of its weights."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="the file is read by its schema")

    def read(content):
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        code = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
        types = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
        (graph,) = model.subgraphs
        return [
            (code[kind], graph.tensors[op.outputs[0]].name.decode(), types[graph.tensors[op.inputs[1]].type])
            for op in graph.operators
            if (kind := model.operatorCodes[op.opcodeIndex].builtinCode) in (
                schema.BuiltinOperator.CONV_2D,
                schema.BuiltinOperator.DEPTHWISE_CONV_2D,
                schema.BuiltinOperator.FULLY_CONNECTED,
            )
        ]  # fmt: skip

    return read


def interpreter_of(content):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def test_the_float_file_agrees_with_torch_whatever_the_mask_hides(float_tflite, student, simulated_inputs):
    from lsemvae_edge.runtime.litert import open_model

    opened = open_model(float_tflite, litert.describe(float_tflite, "fp32"), "ai_edge_litert")
    for k, mask in zip((0, 20, 39, 5), (np.ones(6, dtype=np.float32), *MASKS), strict=True):
        x = torch.from_numpy(simulated_inputs[k : k + 1, :, None])
        with torch.inference_mode():
            expected = student(x, torch.from_numpy(mask)[None])
        made = opened.run(simulated_inputs[k], mask)
        np.testing.assert_allclose(made.logits, expected.logits[0], atol=1e-4)
        np.testing.assert_allclose(made.mu, expected.mu[0], atol=1e-4)
        np.testing.assert_allclose(made.contributions.ravel(), expected.contributions[0], atol=1e-4)


def test_the_int8_file_is_int8_inside_and_small(int8_tflite, float_tflite):
    check_int8(int8_tflite)
    assert len(int8_tflite) < 256 * 1024
    assert len(int8_tflite) < 0.6 * len(float_tflite)


def test_encoders_are_int8_and_heads_stay_in_float(int8_tflite, weights_of):
    layers = weights_of(int8_tflite)
    in_encoders = [one for one in layers if "LeadEncoder" in one[1]]
    convolutions = [one for one in in_encoders if one[0] != "FULLY_CONNECTED"]
    assert len(convolutions) == 6 * 4
    assert len(in_encoders) == 6 * (4 + 2), "convolutions, mu and logvar of each lead"
    assert {kind for _, _, kind in in_encoders} == {"INT8"}
    heads = [one for one in layers if one not in in_encoders]
    assert heads
    assert {kind for _, _, kind in heads} == {"FLOAT32"}


def test_a_float_file_called_int8_is_refused(float_tflite):
    with pytest.raises(QuantizationError, match="floating-point weights") as caught:
        check_int8(float_tflite)
    assert isinstance(caught.value, LsemvaeError)
    assert caught.value.code != ExitCode.DONE


def test_one_float_encoder_is_enough_to_be_refused(float_tflite, simulated_inputs, monkeypatch):
    monkeypatch.setattr(litert, "ENCODERS", ".*LeadEncoder_encoders__[0-4].*")
    monkeypatch.setattr(litert, "check_int8", lambda file: None)
    file = litert.to_int8(float_tflite, simulated_inputs[:2])
    monkeypatch.undo()
    with pytest.raises(QuantizationError, match="FULLY_CONNECTED kept floating-point weights"):
        check_int8(file)


def test_the_int8_file_takes_and_gives_the_tensors_that_the_manifest_names(tflite_model, int8_tflite, model_spec):
    interpreter = interpreter_of(int8_tflite)
    inputs = {detail["name"]: detail for detail in interpreter.get_input_details()}
    outputs = {detail["name"]: tuple(detail["shape"]) for detail in interpreter.get_output_details()}
    fed, mask = inputs[tflite_model.input], inputs[tflite_model.mask]
    assert fed["dtype"] == np.int8
    assert tuple(fed["shape"]) == (1, 6, 1, model_spec.preprocess.beat.n_samples)
    assert tuple(mask["shape"]) == (1, 6)
    if mask["dtype"] != np.float32:
        scale, zero_point = mask["quantization"]
        for value in (0, 1):  # both exactly, or an absent lead would leave a trace
            assert (round(value / scale + zero_point) - zero_point) * scale == pytest.approx(value, abs=1e-6)
    assert outputs == {
        tflite_model.logits: (1, 4),
        tflite_model.mu: (1, 32),
        tflite_model.logvar: (1, 32),
        tflite_model.lead_mu: (1, 6 * 32),
        tflite_model.lead_logvar: (1, 6 * 32),
        tflite_model.contributions: (1, 6 * 4),
    }


def test_int8_logits_lie_near_the_float_ones(int8_outputs, torch_output):
    made = np.stack([output.logits for output in int8_outputs])
    # Every other heart was not used to calibrate the ranges.
    made, expected = made[1::2], torch_output["logits"].numpy()[1::2]
    spread = expected.std(axis=0)
    assert (spread[:2] > 1.0).all()
    # All logits share the encoders' steps, so the small ones of untrained guards are coarse.
    assert (np.abs(made - expected).max(axis=0)[:2] < 0.3 * spread[:2]).all()
    for column in range(2):
        assert np.corrcoef(made[:, column], expected[:, column])[0, 1] > 0.99


def test_the_posterior_and_the_contributions_survive_quantization(int8_outputs, torch_output):
    for name in ("mu", "logvar", "contributions"):
        made = np.stack([getattr(output, name).ravel() for output in int8_outputs])
        expected = torch_output[name].numpy()
        assert made.shape == expected.shape
        assert np.corrcoef(made.ravel(), expected.ravel())[0, 1] > 0.98


def test_contributions_and_bias_sum_to_the_int8_logits(int8_outputs, student):
    for output in int8_outputs[:5]:
        total = output.contributions.sum(axis=0) + student.fused_head.bias.detach().numpy()
        np.testing.assert_allclose(total, output.logits, atol=1e-4)


@pytest.mark.parametrize("mask", MASKS)
def test_the_int8_file_respects_the_mask(session, student, simulated_inputs, mask):
    rng = np.random.default_rng(0)
    with torch.inference_mode():
        expected = student(torch.from_numpy(simulated_inputs)[:, :, None], torch.from_numpy(mask).expand(40, 6)).logits
    made = []
    for signal in simulated_inputs:
        shown = session.run(np.where(mask[:, None] > 0, signal, 0).astype(np.float32), mask)
        hidden = rng.uniform(-8, 8, signal.shape).astype(np.float32)
        spoiled = session.run(np.where(mask[:, None] > 0, signal, hidden), mask)
        np.testing.assert_array_equal(shown.logits, spoiled.logits)
        np.testing.assert_array_equal(shown.mu, spoiled.mu)
        assert not shown.contributions[mask == 0].any()
        made.append(shown.logits)
    error = np.abs(np.stack(made) - expected.numpy())[:, :2].max(axis=0)
    assert (error < 0.3 * expected.numpy()[:, :2].std(axis=0).clip(min=1.0)).all()


def test_the_onnx_file_agrees_with_torch(onnx_file, student, simulated_inputs):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is the extra `onnx`")
    opened = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    assert [value.name for value in opened.get_inputs()] == ["signal", "mask"]
    names = ["logits", "mu", "logvar", "lead_mu", "lead_logvar", "contributions"]
    for k, mask in zip((0, 20, 39, 5), (np.ones(6, dtype=np.float32), *MASKS), strict=True):
        fed = {"signal": simulated_inputs[k : k + 1, :, None], "mask": mask[None]}
        with torch.inference_mode():
            expected = student(*(torch.from_numpy(value) for value in fed.values()))._asdict()
        for name, made in zip(names, opened.run(names, fed), strict=True):
            np.testing.assert_allclose(made, expected[name], atol=1e-4, err_msg=name)


def test_the_float_file_is_described_by_its_own_tensors(float_tflite):
    described = litert.describe(float_tflite, "fp32")
    assert (described.path, described.format, described.precision) == ("model.tflite", "tflite", "fp32")
    interpreter = interpreter_of(float_tflite)
    outputs = {detail["name"]: tuple(detail["shape"]) for detail in interpreter.get_output_details()}
    assert outputs[described.logits] == (1, 4)
    assert {outputs[described.mu], outputs[described.logvar]} == {(1, 32)}
    assert len({described.mu, described.logvar, described.lead_mu, described.lead_logvar}) == 4
    assert {described.input, described.mask} == {detail["name"] for detail in interpreter.get_input_details()}


def test_what_the_converters_say_stays_off_the_terminal(capsys, recwarn):
    with litert._quiet():
        print("progress")
        print("start-up", file=sys.stderr)
        warnings.warn("their own affair", UserWarning, stacklevel=1)
    assert capsys.readouterr() == ("", "")
    assert not recwarn.list
    print("ours")
    assert capsys.readouterr().out == "ours\n"
