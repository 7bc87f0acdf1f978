"""Training on with the rounding in place."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch; the base install has none")
pytest.importorskip("torchao", reason="the reference's operators come with the extra `export`")
pytest.importorskip("scipy", reason="training needs the extra `train`")

from pydantic import ValidationError  # noqa: E402

from lsemvae_edge.manifest import Step  # noqa: E402
from lsemvae_edge.quantize import scheme  # noqa: E402
from lsemvae_edge.quantize.qat import QatConfig, TrainableStudent, train  # noqa: E402
from lsemvae_edge.quantize.reference import FloatStudent, QuantizedStudent, ask  # noqa: E402
from lsemvae_edge.train.cohort import Cohort  # noqa: E402

QUICK = QatConfig(epochs=2, batch_size=20, learning_rate=1e-3, swapped_per_batch=2, strange_per_batch=2, strange_bank=8)


@pytest.fixture(scope="module")
def cohort(simulated_inputs):
    """The simulated hearts without chest leads; their labels are never read."""
    n = len(simulated_inputs)
    beats = np.zeros((n, 12, simulated_inputs.shape[2]), dtype=np.float32)
    beats[:, :6] = simulated_inputs
    words = np.full(n, "")
    return Cohort(
        beats=beats,
        pairs=np.zeros((n, 2, 4), dtype=np.float32),
        present=np.tile(np.arange(12) < 6, (n, 1)),
        tasks=("right_heart_pattern", "heart_side"),
        targets=np.full((n, 2), np.nan, dtype=np.float32),
        auxiliary=np.full((n, 1), np.nan, dtype=np.float32),
        fold=np.ones(n, dtype=np.int64),
        patient=np.arange(n).astype(str),
        source=words,
        site=words,
        device=words,
        sex=words,
        age_years=np.full(n, np.nan, dtype=np.float32),
        right_axis_like=np.zeros(n, dtype=bool),
        record_id=np.arange(n).astype(str),
    )


@pytest.fixture(scope="module")
def asked(simulated_inputs):
    return torch.from_numpy(simulated_inputs)[:, :, None], torch.ones(len(simulated_inputs), 6)


@pytest.fixture(scope="module")
def narrow(quantization):
    """A quantization that cuts off a good part of what the convolutions give."""
    steps = {
        name: Step(0.3 * step.scale, step.zero_point) if ".conv" in name else step
        for name, step in quantization.activations.items()
    }
    return replace(quantization, activations=steps)


@pytest.fixture(scope="module")
def trained(student, cohort, narrow):
    return train(student, cohort, narrow, QUICK)


@pytest.mark.parametrize("float_layers", [(), ("encoder0.conv1", "encoder0.conv2", "encoder1.mu")])
def test_training_begins_with_the_reference_itself(student, quantization, asked, float_layers):
    mixed = replace(quantization, float_layers=float_layers)
    learner, reference = TrainableStudent(student, mixed), QuantizedStudent(student, mixed)
    given, expected = learner.activations(*asked), reference.activations(*asked)
    for name, values in expected.items():
        # A value half way between two steps may go either way, and what comes after it by a step.
        off = (given[name] - values).abs() > 0.5 * quantization.activations[name].scale
        assert off.float().mean() < 2e-3, name
    torch.testing.assert_close(ask(learner, *asked).logits, ask(reference, *asked).logits, atol=2e-2, rtol=0)


def test_every_weight_learns(student, quantization, asked):
    learner = TrainableStudent(student, quantization)
    sum(part.square().mean() for part in learner(*asked)[:3]).backward()
    silent = [name for name, weight in learner.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert silent == []
    assert len(list(learner.parameters())) == 6 * (4 + 2) * 2 + 2 + 6


def test_training_on_wins_back_what_narrow_ranges_lose(student, cohort, narrow, asked):
    config = QUICK.model_copy(update={"epochs": 15, "swapped_per_batch": 0, "strange_per_batch": 0, "alone": 0.0})
    losses = []
    learned, steps = train(student, cohort, narrow, config, lambda epoch, loss: losses.append((epoch, loss)))
    exact = ask(FloatStudent(student), *asked).logits
    before, after = (
        float((ask(QuantizedStudent(of, steps), *asked).logits - exact).square().mean().sqrt())
        for of in (student, learned)
    )
    assert after < 0.6 * before
    assert [epoch for epoch, _ in losses] == list(range(15))
    assert losses[-1][1] < 0.6 * losses[0][1]


def test_the_same_seed_gives_the_same_student(student, cohort, narrow, trained):
    again, _ = train(student, cohort, narrow, QUICK)
    other, _ = train(student, cohort, narrow, QUICK.model_copy(update={"seed": 1}))
    state = trained[0].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
    assert not all(torch.equal(value, state[name]) for name, value in other.state_dict().items())


def test_what_was_trained_is_a_student_with_the_same_steps(student, narrow, trained, asked):
    learned, quantization = trained
    assert type(learned) is type(student)
    assert learned.config == student.config
    assert not learned.training
    assert quantization == replace(narrow, method="qat")
    # What is exported is what was trained.
    learner = TrainableStudent(learned, quantization)
    torch.testing.assert_close(
        ask(learner, *asked).logits, ask(QuantizedStudent(learned, quantization), *asked).logits, atol=2e-2, rtol=0
    )


def test_the_student_itself_is_not_changed(student, cohort, narrow):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    train(student, cohort, narrow, QUICK.model_copy(update={"epochs": 1}))
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_labels_are_not_read(student, cohort, narrow, trained):
    labelled = Cohort(**{**vars(cohort), "targets": np.ones_like(cohort.targets)})
    again, _ = train(student, labelled, narrow, QUICK)
    state = trained[0].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())


def test_layers_in_floating_point_are_not_rounded_while_training(student, cohort, quantization):
    everything = replace(quantization, float_layers=tuple(scheme.layer_names(student)))
    losses = []
    train(student, cohort, everything, QUICK.model_copy(update={"epochs": 1}), lambda _, loss: losses.append(loss))
    assert losses[0] < 1e-4


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"learning_rate": 0}, {"momentum": 0.9}])
def test_a_configuration_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        QatConfig(**wrong)
