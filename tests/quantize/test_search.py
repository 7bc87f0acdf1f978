"""Layers left in floating point, and no more than needed."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="candidates are ranked in torch; the base install has none")
pytest.importorskip("torchao", reason="the reference's operators come with the extra `export`")
pytest.importorskip("scipy", reason="calibration chooses among training recordings, with the extra `train`")

from lsemvae_edge.manifest import Step  # noqa: E402
from lsemvae_edge.quantize import scheme  # noqa: E402
from lsemvae_edge.quantize.reference import FloatStudent, QuantizedStudent, ask  # noqa: E402
from lsemvae_edge.quantize.search import more_bytes, search  # noqa: E402
from lsemvae_edge.quantize.targets import QuantizationError  # noqa: E402


@pytest.fixture(scope="module")
def loss(student, simulated_inputs):
    told = torch.from_numpy(simulated_inputs)[:, :, None], torch.ones(len(simulated_inputs), 6)
    exact = ask(FloatStudent(student), *told).logits

    def measured(quantization):
        return float((ask(QuantizedStudent(student, quantization), *told).logits - exact).square().mean().sqrt())

    return measured


@pytest.fixture(scope="module")
def coarse(quantization):
    """A quantization whose steps are far too coarse in one layer."""
    name = "encoder2.mu"
    step = quantization.activations[name]
    return replace(quantization, activations={**quantization.activations, name: Step(60 * step.scale, 0)})


def test_what_is_within_the_bound_is_left_alone(student, quantization, simulated_inputs, loss):
    found = search(student, quantization, simulated_inputs, loss, 1.01 * loss(quantization))
    assert found.quantization == quantization
    assert (found.steps, found.more_bytes) == ((), 0)
    assert len(found.reasons) == 1


def test_the_layer_that_costs_is_found_alone(student, quantization, coarse, simulated_inputs, loss):
    bound = 1.2 * loss(quantization)
    assert loss(coarse) > 2 * bound
    found = search(student, coarse, simulated_inputs, loss, bound)
    assert [step.layers for step in found.steps] == [("encoder2.mu",)]
    assert set(found.float_layers) == {*quantization.float_layers, "encoder2.mu"}
    assert found.steps[0].loss <= bound < found.loss
    assert found.steps[0].loss == pytest.approx(loss(found.quantization))
    assert found.more_bytes == more_bytes(student)["encoder2.mu"]
    assert "encoder2.mu" in found.reasons[1]


def test_the_bound_is_kept_by_several_layers_and_the_way_is_told(student, quantization, simulated_inputs, loss):
    bound = 0.6 * loss(quantization)
    found = search(student, quantization, simulated_inputs, loss, bound)
    assert loss(found.quantization) <= bound
    assert set(quantization.float_layers) < set(found.float_layers) < set(scheme.layer_names(student))
    assert found.steps[-1].loss == pytest.approx(loss(found.quantization))
    assert found.more_bytes == sum(more_bytes(student)[layer] for step in found.steps for layer in step.layers)
    # Every layer is needed: the other groups alone do not keep the bound.
    if len(found.steps) > 1:
        for step in found.steps[:-1]:
            fewer = tuple(layer for layer in found.float_layers if layer not in step.layers)
            assert loss(replace(quantization, float_layers=fewer)) > bound


def test_a_bound_that_cannot_be_kept_is_refused(student, quantization, simulated_inputs):
    with pytest.raises(QuantizationError, match=r"stays above 0\.5"):
        search(student, quantization, simulated_inputs[:4], lambda _: 1.0, 0.5)


def test_bytes_count_three_for_each_weight(student):
    sizes = more_bytes(student)
    assert sizes["encoder0.conv1"] == 3 * 16 * 7
    assert sizes["encoder3.mu"] == 3 * 48 * 32
    assert not any(name.endswith("pool") for name in sizes)
