"""Conversions of the student against torch."""

import sys
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="conversion starts from a torch model; the base install has none")

from lsemvae_edge.errors import ExitCode, LsemvaeError  # noqa: E402
from lsemvae_edge.quantize import litert  # noqa: E402
from lsemvae_edge.quantize.litert import QuantizationError, check_int8  # noqa: E402


@pytest.fixture(scope="module")
def torch_output(student, simulated_inputs):
    with torch.inference_mode():
        return [value.numpy() for value in student(torch.from_numpy(simulated_inputs)[:, :, None])]


@pytest.fixture(scope="module")
def int8_outputs(tflite_model, int8_tflite, simulated_inputs):
    from lsemvae_edge.runtime.litert import open_model

    session = open_model(int8_tflite, tflite_model, "ai_edge_litert")
    return [session.run(signal) for signal in simulated_inputs]


def interpreter_of(content):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def test_the_float_file_agrees_with_torch(float_tflite, simulated_inputs, torch_output):
    runner = interpreter_of(float_tflite).get_signature_runner()
    (name,) = runner.get_input_details()
    for k in (0, 20):
        answers = list(runner(**{name: simulated_inputs[k : k + 1, :, None]}).values())
        np.testing.assert_allclose(answers[0][0], torch_output[0][k], atol=1e-4)


def test_the_int8_file_is_int8_inside_and_small(int8_tflite, float_tflite):
    check_int8(int8_tflite)
    assert len(int8_tflite) < 256 * 1024
    assert len(int8_tflite) < 0.5 * len(float_tflite)


def test_a_float_file_called_int8_is_refused(float_tflite):
    with pytest.raises(QuantizationError, match="floating-point weights") as caught:
        check_int8(float_tflite)
    assert isinstance(caught.value, LsemvaeError)
    assert caught.value.code != ExitCode.DONE


def test_the_int8_file_takes_and_gives_the_tensors_that_the_manifest_names(tflite_model, int8_tflite, model_spec):
    interpreter = interpreter_of(int8_tflite)
    inputs = {detail["name"]: detail for detail in interpreter.get_input_details()}
    outputs = {detail["name"]: detail for detail in interpreter.get_output_details()}
    fed = inputs[tflite_model.input]
    assert fed["dtype"] == np.int8
    assert tuple(fed["shape"]) == (1, 6, 1, model_spec.preprocess.window_samples)
    assert {tflite_model.logits, tflite_model.mu, tflite_model.logvar} == set(outputs)
    assert tuple(outputs[tflite_model.logits]["shape"]) == (1, 4)


def test_int8_logits_lie_near_the_float_ones(int8_outputs, torch_output):
    made = np.stack([output.logits for output in int8_outputs])
    # Every other heart was not used to calibrate the ranges.
    made, expected = made[1::2], torch_output[0][1::2]
    spread = expected.std(axis=0)
    assert (spread[:2] > 1.0).all()
    # All logits share one scale, so the small ones of untrained guards are coarse.
    assert (np.abs(made - expected).max(axis=0)[:2] < 0.3 * spread[:2]).all()
    for column in range(2):
        assert np.corrcoef(made[:, column], expected[:, column])[0, 1] > 0.99


def test_the_posterior_survives_quantization(int8_outputs, torch_output):
    for name, expected in (("mu", torch_output[1]), ("logvar", torch_output[2])):
        made = np.stack([getattr(output, name) for output in int8_outputs])
        assert made.shape == expected.shape
        assert np.corrcoef(made.ravel(), expected.ravel())[0, 1] > 0.98


def test_the_onnx_file_agrees_with_torch(onnx_file, simulated_inputs, torch_output):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is the extra `onnx`")
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["signal"]
    for k in (0, 20, 39):
        answers = session.run(["logits", "mu", "logvar"], {"signal": simulated_inputs[k : k + 1, :, None]})
        for made, expected in zip(answers, torch_output, strict=True):
            np.testing.assert_allclose(made[0], expected[k], atol=1e-4)


def test_the_float_file_is_described_by_its_own_tensors(float_tflite):
    described = litert.describe(float_tflite, "fp32")
    assert (described.path, described.format, described.precision) == ("model.tflite", "tflite", "fp32")
    outputs = {detail["name"]: tuple(detail["shape"]) for detail in interpreter_of(float_tflite).get_output_details()}
    assert outputs[described.logits] == (1, 4)
    assert {outputs[described.mu], outputs[described.logvar]} == {(1, 32)}
    assert described.mu != described.logvar


def test_what_the_converters_say_stays_off_the_terminal(capsys, recwarn):
    with litert._quiet():
        print("progress")
        print("start-up", file=sys.stderr)
        warnings.warn("their own affair", UserWarning, stacklevel=1)
    assert capsys.readouterr() == ("", "")
    assert not recwarn.list
    print("ours")
    assert capsys.readouterr().out == "ours\n"
