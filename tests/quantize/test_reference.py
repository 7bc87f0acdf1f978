"""The rounding written out in torch."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="the reference is a torch model; the base install has none")
pytest.importorskip("torchao", reason="its operators come with the extra `export`")
pytest.importorskip("scipy", reason="calibration chooses among training recordings, with the extra `train`")

from lsemvae_edge.quantize import scheme  # noqa: E402
from lsemvae_edge.quantize.reference import FloatStudent, QuantizedStudent, TorchSession, ask, exportable  # noqa: E402

MASKS = torch.tensor([[1.0, 1, 1, 1, 1, 1], [0, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]])


@pytest.fixture(scope="module")
def asked(simulated_inputs):
    return torch.from_numpy(simulated_inputs)[:, :, None], torch.ones(len(simulated_inputs), 6)


def layers(student, *kinds):
    return tuple(name for name in scheme.layer_names(student) if name.endswith(kinds))


def test_with_every_layer_in_floating_point_nothing_is_rounded(student, quantization, asked):
    everything = replace(quantization, float_layers=tuple(scheme.layer_names(student)))
    exact, mixed = (ask(model, *asked) for model in (FloatStudent(student), QuantizedStudent(student, everything)))
    for one, other in zip(exact, mixed, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_rounded_activation_is_a_whole_number_of_steps(student, quantization, asked):
    given = QuantizedStudent(student, replace(quantization, float_layers=())).activations(*asked)
    assert list(given) == scheme.layer_names(student)
    for name, values in given.items():
        step = quantization.activations[name]
        steps = values / step.scale
        torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
        low, high = scheme.range_of(step)
        assert low - 1e-3 <= values.min()
        assert values.max() <= high + 1e-3


def test_weights_are_integers_a_channel_at_a_time(student, quantization):
    rounded = QuantizedStudent(student, quantization).student
    for name, layer in (("convolutions.1", "conv2"), ("mu", "mu")):
        weight = rounded.get_buffer(f"encoders.0.{name}.weight")
        assert weight.dtype == torch.int8
        assert (weight.flatten(1).abs().amax(dim=1) == scheme.WEIGHT_LIMIT).all(), layer
    assert rounded.get_buffer("encoders.0.convolutions.0.weight").dtype == torch.float32


def test_a_value_stays_in_floating_point_between_layers_that_do(student, quantization, asked):
    mixed = replace(quantization, float_layers=layers(student, "conv1", "conv2"))
    given = QuantizedStudent(student, mixed).activations(*asked)
    exact = scheme.activations(student, asked[0][:, :, 0].numpy())
    for lead in range(6):
        torch.testing.assert_close(given[f"encoder{lead}.conv1"], exact[f"encoder{lead}.conv1"], atol=1e-4, rtol=1e-4)
        step = quantization.activations[f"encoder{lead}.conv2"].scale
        last = given[f"encoder{lead}.conv2"] / step
        torch.testing.assert_close(last, last.round(), atol=1e-3, rtol=0)


def test_what_is_pooled_in_floating_point_is_rounded_for_readers_of_integers_alone(student, quantization, asked):
    before = layers(student, "conv1", "conv2", "conv3", "conv4", "pool")
    half = QuantizedStudent(student, replace(quantization, float_layers=(*before, *layers(student, ".mu"))))
    given, exact = half.activations(*asked), scheme.activations(student, asked[0][:, :, 0].numpy())
    for lead in range(6):
        torch.testing.assert_close(given[f"encoder{lead}.mu"], exact[f"encoder{lead}.mu"], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(given[f"encoder{lead}.logvar"], exact[f"encoder{lead}.logvar"], atol=1e-4)


def test_the_more_layers_are_in_floating_point_the_closer_the_logits(student, quantization, asked):
    exact = ask(FloatStudent(student), *asked).logits
    apart = {
        kinds: float((ask(QuantizedStudent(student, mixed), *asked).logits - exact).square().mean().sqrt())
        for kinds in ((), ("conv1", "conv2"), ("conv1", "conv2", "conv3", "conv4", "pool", "mu"))
        for mixed in [replace(quantization, float_layers=layers(student, *kinds) if kinds else ())]
    }
    assert list(apart.values()) == sorted(apart.values(), reverse=True)
    assert apart[()] < 0.2 * float(exact.std())


@pytest.mark.parametrize("mask", MASKS)
def test_a_masked_lead_does_not_count(student, quantization, simulated_inputs, mask):
    session = TorchSession(exportable(student, quantization))
    for signal in simulated_inputs[:3]:
        shown = session.run(signal * mask.numpy()[:, None], mask.numpy())
        spoiled = session.run(signal, mask.numpy())
        assert (shown.logits == spoiled.logits).all()
        assert not shown.contributions[mask.numpy() == 0].any()


def test_without_a_quantization_the_exportable_form_is_the_float_student(student, asked):
    torch.testing.assert_close(ask(exportable(student, None), *asked).logits, student(*asked).logits, atol=1e-4, rtol=0)
