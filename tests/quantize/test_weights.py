"""Float weights on their way into a bundle and back."""

import json

import pytest

torch = pytest.importorskip("torch", reason="weights are restored into a torch model; the base install has none")
pytest.importorskip("safetensors", reason="weights are kept as safetensors; the base install has none")

from lsemvae_edge.errors import BundleError  # noqa: E402
from lsemvae_edge.model import Student, StudentConfig  # noqa: E402
from lsemvae_edge.quantize import weights  # noqa: E402


@pytest.fixture(scope="module")
def files(student):
    return weights.dump(student)


def test_weights_survive_the_round_trip_exactly(student, files, simulated_inputs):
    restored = weights.restore(files[weights.WEIGHTS], files[weights.CONFIG])
    assert restored.config == student.config
    assert not restored.training
    state = student.state_dict()
    assert restored.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in restored.state_dict().items())
    x = torch.from_numpy(simulated_inputs[:3])[:, :, None]
    for mask in (torch.ones(3, 6), torch.eye(6)[:3]):
        torch.testing.assert_close(restored(x, mask).logits, student(x, mask).logits, atol=1e-5, rtol=1e-5)


def test_another_size_survives_the_round_trip():
    config = StudentConfig(n_leads=2, channels=(4,), kernels=(3,), strides=(2,), groups=((0,), (1,)))
    files = weights.dump(Student(config))
    assert weights.restore(files[weights.WEIGHTS], files[weights.CONFIG]).config == config


def test_the_same_student_gives_the_same_bytes(student, files):
    assert weights.dump(student) == files


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-1], lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"\xff" * 64]
)
def test_damaged_weights_are_refused(files, damage):
    with pytest.raises(BundleError, match=weights.WEIGHTS):
        weights.restore(damage(files[weights.WEIGHTS]), files[weights.CONFIG])


def test_weights_of_another_size_are_refused(files):
    config = json.loads(files[weights.CONFIG]) | {"latent_dim": 16}
    with pytest.raises(BundleError, match=f"{weights.WEIGHTS} does not fit {weights.CONFIG}"):
        weights.restore(files[weights.WEIGHTS], json.dumps(config).encode())


@pytest.mark.parametrize("config", [b"{}", b"[]", b"not json", b'{"n_leads": true}', b"\xff\xfe"])
def test_a_damaged_configuration_is_refused(files, config):
    with pytest.raises(BundleError):
        weights.restore(files[weights.WEIGHTS], config)
