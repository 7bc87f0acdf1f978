"""Every form of the model, against torch and from the inside."""

import importlib.util
import json
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="conversion starts from a torch model; the base install has none")

from lsemvae_edge.errors import MissingExtraError, UsageError  # noqa: E402
from lsemvae_edge.manifest import ModelFile  # noqa: E402
from lsemvae_edge.quantize import gates, parity  # noqa: E402
from lsemvae_edge.quantize.reference import FloatStudent, QuantizedStudent  # noqa: E402
from lsemvae_edge.quantize.targets import LABEL, OUTPUTS, Target, choose, target_of, targets, tflite  # noqa: E402

FORMS = ("tflite-fp32", "tflite-int8", "onnx-fp32", "onnx-int8", "pte-fp32", "pte-int8")
INT8 = tuple(name for name in FORMS if name.endswith("int8"))
MASKS = np.array([[1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 1, 0]], dtype=np.float32)
"""Leads I and II, II alone, III and aVL."""


def target_named(name: str) -> Target:
    return next(target for target in targets() if target.name == name)


@pytest.fixture(scope="module", params=FORMS)
def form(request, convert):
    """A target and its file."""
    return target_named(request.param), convert(request.param)


@pytest.fixture(scope="module")
def session(form):
    target, content = form
    return target.open(content, target.model)


@pytest.fixture(scope="module")
def in_torch(student, quantization):
    """What each form is compared with, by precision."""
    return {"fp32": FloatStudent(student), "int8": QuantizedStudent(student, quantization)}


def test_every_form_is_inside_what_it_is_called_and_carries_its_contract(form, student, model_spec):
    target, content = form
    anatomy = target.inspect(content)
    label = gates.label_of(model_spec)
    # Three convolutions and two dense layers of each lead; what reads the signal stays in floating point.
    gates.check_inside(target, anatomy, 6 * 5 if target.precision == "int8" else 0, label)
    assert anatomy.int8_layers + anatomy.float_layers == 6 * (4 + 2) + 12
    assert json.loads(anatomy.label)["leads"] == list(model_spec.leads)
    assert json.loads(anatomy.label)["preprocess"]["resampler"]["fs_hz"] == 125.0


def test_every_form_agrees_with_torch(form, session, in_torch, model_spec, simulated_inputs):
    target, _ = form
    asked = parity.everyday(simulated_inputs)
    said = parity.said_by_session(model_spec, session, asked)
    apart = parity.agreement(said, parity.said_by_torch(model_spec, in_torch[target.precision], asked))
    if target.precision == "fp32":
        assert apart.worst < 1e-4
        assert apart.flipped == 0
    else:
        spread = parity.said_by_torch(model_spec, in_torch["fp32"], asked).logits[:, :2].std(axis=0).min()
        assert apart.worst < 0.2 * spread
        assert apart.mean < 0.03 * spread


@pytest.mark.parametrize("mask", MASKS)
def test_every_form_respects_the_mask(session, simulated_inputs, mask):
    rng = np.random.default_rng(0)
    for signal in simulated_inputs[:6]:
        shown = session.run(np.where(mask[:, None] > 0, signal, 0).astype(np.float32), mask)
        hidden = rng.uniform(-8, 8, signal.shape).astype(np.float32)
        spoiled = session.run(np.where(mask[:, None] > 0, signal, hidden), mask)
        np.testing.assert_array_equal(shown.logits, spoiled.logits)
        np.testing.assert_array_equal(shown.mu, spoiled.mu)
        assert not shown.contributions[mask == 0].any()


def test_contributions_and_bias_sum_to_the_logits(session, student, simulated_inputs):
    for signal in simulated_inputs[:5]:
        output = session.run(signal)
        total = output.contributions.sum(axis=0) + student.fused_head.bias.detach().numpy()
        np.testing.assert_allclose(total, output.logits, atol=1e-4)


def test_forms_are_small_beside_the_float_ones(convert):
    for of in ("tflite", "onnx", "pte"):
        assert len(convert(f"{of}-int8")) < 0.6 * len(convert(f"{of}-fp32"))
        assert len(convert(f"{of}-int8")) < 256 * 1024


def test_the_tensors_of_a_tflite_file_have_the_names_of_what_they_are(convert, model_spec):
    from ai_edge_litert.interpreter import Interpreter

    opened = Interpreter(model_content=convert("tflite-int8"))
    outputs = {detail["name"]: tuple(detail["shape"]) for detail in opened.get_output_details()}
    assert outputs == {
        "logits": (1, 4),
        "mu": (1, 32),
        "logvar": (1, 32),
        "lead_mu": (1, 192),
        "lead_logvar": (1, 192),
        "contributions": (1, 24),
    }
    inputs = {detail["name"]: tuple(detail["shape"]) for detail in opened.get_input_details()}
    assert inputs == {"signal": (1, 6, 1, model_spec.preprocess.beat.n_samples), "mask": (1, 6)}
    (signature,) = opened.get_signature_list().values()
    assert sorted(signature["inputs"]) == ["mask", "signal"]
    assert sorted(signature["outputs"]) == sorted(outputs)
    held = tflite.tensors(convert("tflite-int8"), np.zeros((6, 100), dtype=np.float32))
    assert {"encoder0.conv1", "encoder5.logvar"} <= set(held)


def test_a_file_names_nothing_of_the_machine_that_made_it(form):
    _, content = form
    for trace in (b"site-packages", b"/home/", b"/tmp/", b"student.py", b"lsemvae_edge/model"):
        assert trace not in content


@pytest.mark.parametrize("name", ["tflite-int8", "onnx-int8"])
def test_conversion_repeats(name, convert, student, quantization, model_spec):
    from lsemvae_edge.quantize.targets import Job

    target = target_named(name)
    steps = quantization if target.precision == "int8" else None
    again = target.make(Job(student, model_spec.preprocess.beat.n_samples, steps, gates.label_of(model_spec)))
    assert again == convert(name)


def test_layers_can_be_left_in_floating_point(student, quantization, model_spec, simulated_inputs):
    from dataclasses import replace

    from lsemvae_edge.quantize.targets import Job

    chosen = replace(quantization, float_layers=tuple(f"encoder{i}.{k}" for i in range(6) for k in ("mu", "logvar")))
    reference = parity.said_by_torch(model_spec, QuantizedStudent(student, chosen), parity.everyday(simulated_inputs))
    for name in ("tflite-int8", "onnx-int8"):
        target = target_named(name)
        content = target.make(Job(student, model_spec.preprocess.beat.n_samples, chosen, "{}"))
        anatomy = target.inspect(content)
        assert anatomy.int8_layers == 6 * 4
        assert anatomy.float_layers == 12 + 12
        opened = target.open(content, target.model)
        said = parity.said_by_session(model_spec, opened, parity.everyday(simulated_inputs))
        assert parity.agreement(said, reference).mean < 0.1


# The registry -------------------------------------------------------------------------------------


def test_every_form_has_one_target():
    names = [target.name for target in targets()]
    assert len(set(names)) == len(names)
    assert set(FORMS) <= set(names)
    for name in FORMS:
        target = target_named(name)
        described = target.model
        assert isinstance(described, ModelFile)
        assert target_of(described) is target


def test_states_are_honest(monkeypatch):
    target = target_named("pte-int8")
    assert target.state == "works here"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("lsemvae_edge.quantize.targets.find_spec", lambda name: None)
    assert target.state.startswith("needs pip install 'lsemvae-edge[")
    assert "executorch" in target.state
    with pytest.raises(MissingExtraError, match="pte-int8"):
        choose(["pte"], ["int8"])


def test_what_is_not_supported_says_why():
    with pytest.raises(UsageError, match="c-fp32 is not supported: "):
        choose(["c"], ["fp32"])


@pytest.mark.parametrize(("formats", "precisions"), [(["keras"], ["int8"]), (["onnx"], ["int4"])])
def test_an_unknown_form_names_the_known_ones(formats, precisions):
    with pytest.raises(UsageError, match="There is no") as caught:
        choose(formats, precisions)
    assert "Choose among" in caught.value.next_step


def test_the_list_needs_no_training_stack():
    import subprocess

    code = (
        "import sys; from lsemvae_edge.quantize.targets import targets; [t.state for t in targets()]; "
        "sys.exit(bool({'torch', 'onnx', 'executorch', 'litert_torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_files_give_what_the_student_gives():
    from lsemvae_edge.model import StudentOutput

    assert StudentOutput._fields == OUTPUTS


def test_the_label_has_one_name_in_every_format(convert):
    assert LABEL.encode() in convert("tflite-fp32")
    assert LABEL.encode() in convert("onnx-fp32")
    assert LABEL.encode() in convert("pte-fp32")
