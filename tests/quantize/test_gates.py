"""Deliberately broken exports: each is refused, each with its own message, and nothing is left behind."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="conversion starts from a torch model; the base install has none")
pytest.importorskip("litert_torch", reason="conversion to TFLite needs the extra `export`")

from lsemvae_edge import bundle as bundles  # noqa: E402
from lsemvae_edge.errors import BundleError, ExitCode  # noqa: E402
from lsemvae_edge.manifest import Step  # noqa: E402
from lsemvae_edge.quantize import forms, gates, parity, release, scheme, targets  # noqa: E402
from lsemvae_edge.quantize.gates import Bounds, check_answers, check_inside, check_ranking  # noqa: E402
from lsemvae_edge.quantize.parity import Said  # noqa: E402
from lsemvae_edge.quantize.targets import Job, QuantizationError, tflite  # noqa: E402

LAYERS = 6 * 5
# The student of the tests is untrained, and its guards' logits are coarse.
LOOSE = Bounds(int8_tail=2.0, kernels_tail=1.0, kernels_worst=1.5, flips=0.1)
BY_NAME = {target.name: target for target in targets.targets()}
TFLITE = BY_NAME["tflite-int8"]


@pytest.fixture(scope="module")
def label(model_spec):
    return gates.label_of(model_spec)


@pytest.fixture(scope="module")
def whole(convert):
    return TFLITE.inspect(convert("tflite-int8"))


@pytest.fixture
def export(small_bundle, tmp_path, model_spec):
    """Function that exports the bundle's int8 TFLite form and expects a refusal that leaves nothing."""

    def refused(bundle=small_bundle) -> str:
        with pytest.raises(QuantizationError) as caught:
            release.export(bundle, [TFLITE], tmp_path / "out", asked=parity.simulated(model_spec, 40), bounds=LOOSE)
        assert caught.value.code == ExitCode.BUNDLE_REFUSED
        assert list(tmp_path.iterdir()) == [], "a failed export left something"
        return caught.value.message

    return refused


def outside_buffers(content: bytes) -> bytes:
    """Move the constants of a TFLite file behind the flatbuffer, as a quantizer does with large ones."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def packed(model):
        builder = flatbuffers.Builder(len(content))
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    moved = [(buffer, bytes(buffer.data)) for buffer in model.buffers if buffer.data is not None and len(buffer.data)]
    for buffer, data in moved:
        buffer.data, buffer.offset, buffer.size = None, 2**31, len(data)
    at = len(packed(model))
    for buffer, data in moved:
        buffer.offset = at
        at += len(data)
    return packed(model) + b"".join(data for _, data in moved)


# 1. External buffers


def test_constants_outside_the_flatbuffer_are_refused(convert, label):
    broken = TFLITE.inspect(outside_buffers(convert("tflite-int8")))
    assert broken.external
    with pytest.raises(QuantizationError, match="constants lie outside the flatbuffer"):
        check_inside(TFLITE, broken, LAYERS, label)


def test_constants_outside_are_brought_back_by_the_exporter(convert, simulated_inputs):
    content = convert("tflite-int8")
    repaired = tflite._finished(outside_buffers(unnamed(content)), "{}", {})
    assert not tflite.inspect(repaired).external
    ask = [TFLITE.open(file, TFLITE.model).run(simulated_inputs[0]) for file in (content, repaired)]
    np.testing.assert_array_equal(ask[0].logits, ask[1].logits)


def unnamed(content: bytes) -> bytes:
    """Give outputs the converter's names again, which the exporter finishes."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    (graph,) = model.subgraphs
    for place in graph.outputs:
        tensor = graph.tensors[place]
        tensor.name = f"output_{tflite.OUTPUTS.index(tensor.name.decode())}"
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


# 2. Wrong calibration


@pytest.mark.parametrize("factor", [0.05, 40.0], ids=["narrow", "wide"])
def test_a_wrong_calibration_is_refused(export, small_bundle, quantization, rewritten, tmp_path_factory, factor):
    steps = {
        name: step if name.endswith("logvar") else Step(step.scale * factor, step.zero_point)
        for name, step in quantization.activations.items()
    }
    wrong = rewritten(
        small_bundle,
        tmp_path_factory.mktemp("wrong") / "bundle",
        quantization=replace(quantization, activations=steps),
    )
    message = export(wrong)
    assert "int8" in message
    assert "outcomes" in message or "floating point" in message


def test_a_calibration_of_other_layers_is_refused(export, small_bundle, quantization, rewritten, tmp_path_factory):
    steps = {
        f"encoder9{name[8:]}" if name == "encoder0.conv2" else name: s for name, s in quantization.activations.items()
    }
    wrong = rewritten(
        small_bundle, tmp_path_factory.mktemp("wrong") / "bundle", quantization=replace(quantization, activations=steps)
    )
    assert "no tensor of encoder9.conv2" in export(wrong)


# 3. A layer in floating point where int8 is claimed


def test_a_float_layer_in_a_file_that_is_called_int8_is_refused(student, quantization, model_spec, label):
    more = replace(quantization, float_layers=(*quantization.float_layers, "encoder3.conv2"))
    file = TFLITE.make(Job(student, model_spec.preprocess.beat.n_samples, more, label))
    with pytest.raises(QuantizationError, match="29 layers are int8 inside, 30 should be"):
        check_inside(TFLITE, TFLITE.inspect(file), LAYERS, label)


@pytest.mark.parametrize("name", ["tflite-int8", "onnx-int8", "pte-int8"])
def test_a_float_file_that_is_called_int8_is_refused(convert, label, name):
    target = BY_NAME[name]
    file = convert(name.replace("int8", "fp32"))
    with pytest.raises(QuantizationError, match="0 layers are int8 inside, 30 should be"):
        check_inside(target, target.inspect(file), LAYERS, label)


# 4. Swapped leads in the contract


def test_swapped_leads_in_the_contract_are_refused(small_bundle, rewritten, tmp_path):
    first, second, *others = small_bundle.spec.leads
    with pytest.raises(BundleError, match="The contract names the leads II, I, III, aVR"):
        rewritten(small_bundle, tmp_path / "b", spec=replace(small_bundle.spec, leads=(second, first, *others)))


def test_a_file_with_the_contract_of_another_bundle_is_refused(whole, label):
    with pytest.raises(QuantizationError, match="does not carry the contract"):
        check_inside(TFLITE, replace(whole, label=label.replace("125.0", "250.0")), LAYERS, label)
    with pytest.raises(QuantizationError, match="does not carry the contract"):
        check_inside(TFLITE, replace(whole, label=None), LAYERS, label)


# Further gates


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"delegates": 2}, "2 delegates and operators outside them"),
        ({"outside": ("aten::convolution.out",)}, "aten::convolution.out"),
    ],
)
def test_a_program_that_is_not_one_delegate_is_refused(convert, label, changes, words):
    target = BY_NAME["pte-int8"]
    anatomy = replace(target.inspect(convert("pte-int8")), **changes)
    with pytest.raises(QuantizationError, match=words):
        check_inside(target, anatomy, LAYERS, label)


def test_an_operator_that_the_target_may_lack_is_refused(whole, label):
    odd = replace(whole, operators={**whole.operators, "DIV of INT8": 1})
    with pytest.raises(QuantizationError, match="operators that its runtimes may lack: DIV of INT8"):
        check_inside(TFLITE, odd, LAYERS, label)


def test_a_file_that_states_no_opset_is_refused(whole, label):
    with pytest.raises(QuantizationError, match="neither opset nor schema"):
        check_inside(TFLITE, replace(whole, stated={}), LAYERS, label)


def said(logits, outcomes=None):
    logits = np.asarray(logits, dtype=np.float32).reshape(-1, 1)
    named = np.where(logits[:, 0] > 0, "present", "not_present") if outcomes is None else np.array(outcomes)
    return Said(logits, logits.copy(), named)


def test_answers_far_from_the_reference_are_refused():
    near = np.linspace(-3, 3, 500)
    exact = {"fp32": said(near), "int8": said(near)}
    assert check_answers({"a": said(near)}, exact, {"a": "fp32"}, Bounds())["a"]["float"]["worst"] == 0
    with pytest.raises(QuantizationError, match=r"a: its logits lie from those of torch by up to 0\.01"):
        check_answers({"a": said(near + 0.01)}, exact, {"a": "fp32"}, Bounds())
    with pytest.raises(QuantizationError, match=r"a: 99\.9 % of its logits lie from those"):
        check_answers({"a": said(near + 0.3)}, exact, {"a": "int8"}, Bounds())
    spiky = near.copy()
    spiky[0] -= 5
    with pytest.raises(QuantizationError, match="a: "):
        check_answers({"a": said(spiky)}, exact, {"a": "int8"}, Bounds())


def test_answers_that_are_no_numbers_are_refused():
    values = np.linspace(-3, 3, 50)
    broken = np.where(np.arange(50) == 3, np.nan, values)
    with pytest.raises(QuantizationError):
        check_answers({"a": said(broken)}, {"fp32": said(values)}, {"a": "fp32"}, Bounds())


def test_forms_that_disagree_in_outcomes_are_refused():
    values = np.linspace(-3, 3, 500)
    outcomes = ["present"] * 500
    others = ["present"] * 494 + ["inconclusive"] * 6
    exact = {"fp32": said(values, outcomes), "int8": said(values, outcomes)}
    with pytest.raises(QuantizationError, match="b and floating point differ in 6 of 500 outcomes; at most 1%"):
        check_answers({"b": said(values, others)}, exact, {"b": "int8"}, Bounds())
    with pytest.raises(QuantizationError, match="int8 and floating point differ in 6 of 500"):
        check_answers({}, {**exact, "int8": said(values, others)}, {}, Bounds())


def test_a_form_that_ranks_worse_is_refused():
    check_ranking("int8", 0.9, 0.896, Bounds())
    with pytest.raises(QuantizationError, match=r"AUROC falls from 0.9000 to 0.8900"):
        check_ranking("int8", 0.9, 0.89, Bounds())


def test_an_int8_form_of_a_bundle_without_a_quantization_is_refused(student, model_spec):
    with pytest.raises(BundleError, match="how its activations are rounded"):
        forms.convert(student, model_spec, None, [TFLITE])


def test_an_even_kernel_is_no_student(student):
    """Even or asymmetric integer convolutions were silently wrong in some runtimes; no size has one."""
    from lsemvae_edge.model import SIZES

    assert all(kernel % 2 == 1 for config in SIZES.values() for kernel in config.kernels)


def test_layers_are_named_in_one_way(student, quantization):
    names = scheme.layer_names(student)
    assert set(quantization.activations) == {*names, scheme.SIGNAL}
    assert set(quantization.float_layers) <= set(names)


def test_a_good_export_passes(small_bundle, tmp_path, model_spec):
    made = release.export(
        small_bundle,
        [BY_NAME["tflite-fp32"]],
        tmp_path / "out.zip",
        asked=parity.simulated(model_spec, 40),
        bounds=LOOSE,
    )
    assert {model.path for model in made.manifest.models} == {"model-int8.tflite", "model-fp32.tflite"}
    assert made.manifest.provenance["made_from"] == small_bundle.sha256
    assert bundles.load(tmp_path / "out.zip").sha256 == made.sha256
    agreement = made.manifest.metrics["agreement"]["recordings"]
    assert agreement["model-fp32.tflite"]["reference"]["n"] == 40
    assert list(tmp_path.iterdir()) == [tmp_path / "out.zip"]
