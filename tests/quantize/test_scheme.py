"""What is rounded, and in which steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="ranges are measured in torch; the base install has none")
pytest.importorskip("scipy", reason="calibration chooses among training recordings, with the extra `train`")

from lsemvae_edge.quantize import scheme  # noqa: E402

BOUND = st.floats(-1e4, 1e4, width=32)


@given(BOUND, BOUND)
def test_a_step_covers_its_range_and_tells_zero_exactly(one, other):
    low, high = min(one, other), max(one, other)
    step = scheme.step_of(low, high)
    below, above = scheme.range_of(step)
    assert below <= min(low, 0) + 0.501 * step.scale
    assert above >= max(high, 0) - 0.501 * step.scale
    assert scheme.LOW <= step.zero_point <= scheme.HIGH
    assert step.scale == np.float32(step.scale) > 0


def test_a_rectified_activation_gets_all_steps_above_zero():
    assert scheme.step_of(0.0, 2.55) == scheme.Step(float(np.float32(0.01)), scheme.LOW)


def test_layers_are_named_lead_by_lead(student):
    names = scheme.layer_names(student)
    assert names[:7] == [f"encoder0.{layer}" for layer in ("conv1", "conv2", "conv3", "conv4", "pool", "mu", "logvar")]
    assert len(names) == len(set(names)) == 6 * 7
    assert scheme.first_convolutions(student) == tuple(name for name in names if name.endswith("conv1"))


def test_activations_are_those_of_the_student(student, simulated_inputs):
    kept = scheme.activations(student, simulated_inputs)
    with torch.inference_mode():
        output = student(torch.from_numpy(simulated_inputs)[:, :, None], torch.ones(len(simulated_inputs), 6))
    assert list(kept) == [scheme.SIGNAL, *scheme.layer_names(student)]
    means = torch.cat([kept[f"encoder{i}.mu"] for i in range(6)], dim=1)
    torch.testing.assert_close(means, output.lead_mu, atol=1e-4, rtol=1e-4)
    assert all((kept[f"encoder{i}.conv{k}"] >= 0).all() for i in range(6) for k in (1, 2, 3, 4))


def test_calibration_leaves_room_and_says_what_it_saw(student, simulated_inputs):
    quantization = scheme.calibrate(student, simulated_inputs, 3)
    assert quantization == scheme.calibrate(student, simulated_inputs, 3)
    assert (quantization.method, quantization.calibration.records, quantization.calibration.seed) == ("ptq", 40, 3)
    assert quantization.float_layers == scheme.first_convolutions(student)
    for name, values in scheme.activations(student, simulated_inputs).items():
        low, high = scheme.range_of(quantization.activations[name])
        half = 0.5 * quantization.activations[name].scale
        assert low - half <= values.min()
        assert values.max() <= high + half
    other = scheme.calibrate(student, simulated_inputs[:-1], 3)
    assert other.calibration.sha256 != quantization.calibration.sha256


def test_each_output_channel_has_a_scale_of_its_own():
    weight = torch.tensor([[1.27, -0.3], [0.0, 0.0], [-254.0, 1.0]])
    torch.testing.assert_close(scheme.weight_scales(weight), torch.tensor([0.01, 1e-8 / 127, 2.0]))
