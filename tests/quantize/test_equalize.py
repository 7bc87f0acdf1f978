"""Equalised encoders say what they said."""

from itertools import pairwise

import pytest

torch = pytest.importorskip("torch", reason="equalisation changes a torch model; the base install has none")
pytest.importorskip("scipy", reason="calibration chooses among training recordings, with the extra `train`")
pytest.importorskip("safetensors", reason="weights are kept as safetensors, with the extra `train`")

from lsemvae_edge.model import Student, fold_batch_norm  # noqa: E402
from lsemvae_edge.quantize import scheme, weights  # noqa: E402
from lsemvae_edge.quantize.equalize import convolutions, equalized, unfolded  # noqa: E402

MASKS = [[1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 1]]


@pytest.fixture(scope="module")
def lopsided(student):
    """A student that says the same with channels of very different sizes."""
    folded = fold_batch_norm(student)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for encoder in folded.encoders:
            chain = convolutions(encoder)
            for giver, reader in pairwise(chain):
                factor = torch.exp(2 * torch.randn(giver.out_channels, generator=generator))
                giver.weight.mul_(factor[:, None, None, None])
                giver.bias.mul_(factor)
                reader.weight.div_(factor[None, :, None, None])
    return unfolded(folded)


def spread(student, signals):
    """Share of the range that the median channel reaches, the mean over convolutions."""
    shares = []
    for name, values in scheme.activations(student, signals).items():
        if ".conv" in name:
            sizes = values.amax(dim=(0, 2, 3))
            shares.append(float(sizes.median() / sizes.max()))
    return sum(shares) / len(shares)


def rounding_error(student, signals):
    pytest.importorskip("torchao", reason="the reference's operators come with the extra `export`")
    from lsemvae_edge.quantize.reference import FloatStudent, QuantizedStudent, ask

    told = torch.from_numpy(signals)[:, :, None], torch.ones(len(signals), 6)
    quantization = scheme.calibrate(student, signals, 0)
    apart = ask(QuantizedStudent(student, quantization), *told).logits - ask(FloatStudent(student), *told).logits
    return float(apart.square().mean().sqrt())


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("mask", MASKS)
def test_an_equalised_student_says_the_same(student, simulated_inputs, mask, measured):
    even = equalized(student, simulated_inputs if measured else None)
    x = torch.from_numpy(simulated_inputs)[:, :, None]
    shown = torch.tensor(mask, dtype=torch.float32).expand(len(x), -1)
    x = x * shown[:, :, None, None]
    with torch.inference_mode():
        for one, other in zip(even(x, shown), student(x, shown), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_an_equalised_student_is_a_student_like_any_other(student):
    even = equalized(student)
    assert isinstance(even, Student)
    assert not even.training
    files = weights.dump(even)
    restored = weights.restore(files[weights.WEIGHTS], files[weights.CONFIG])
    state = even.state_dict()
    assert state.keys() == student.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in restored.state_dict().items())


def test_the_student_itself_is_not_changed(student, simulated_inputs):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    equalized(student, simulated_inputs)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_unfolding_undoes_folding(student, simulated_inputs):
    x, mask = torch.from_numpy(simulated_inputs)[:, :, None], torch.ones(len(simulated_inputs), 6)
    folded = fold_batch_norm(student)
    again = fold_batch_norm(unfolded(folded))
    with torch.inference_mode():
        torch.testing.assert_close(again(x, mask).logits, folded(x, mask).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("measured", [False, True])
def test_channels_of_different_sizes_come_to_share_a_range(lopsided, simulated_inputs, measured):
    even = equalized(lopsided, simulated_inputs if measured else None)
    assert spread(even, simulated_inputs) > 2 * spread(lopsided, simulated_inputs)
    assert rounding_error(even, simulated_inputs) < 0.5 * rounding_error(lopsided, simulated_inputs)


def test_equalising_twice_changes_nothing_more(lopsided):
    once = equalized(lopsided)
    state = equalized(once).state_dict()
    for name, value in once.state_dict().items():
        torch.testing.assert_close(state[name], value, atol=1e-3, rtol=1e-2)


def test_a_channel_that_is_never_active_keeps_its_size(student, simulated_inputs):
    folded = fold_batch_norm(student)
    first = convolutions(folded.encoders[0])[0]
    with torch.no_grad():
        first.bias[3] = -1e3
    even = fold_batch_norm(equalized(unfolded(folded), simulated_inputs))
    torch.testing.assert_close(convolutions(even.encoders[0])[0].weight[3], first.weight[3], atol=1e-5, rtol=1e-4)
