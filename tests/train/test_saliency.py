"""Integrated gradients: what they give for models whose answer is known."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training runs in torch; the base install has none")
pytest.importorskip("captum", reason="saliency needs the extra `train`")

from lsemvae_edge.errors import BadInputError  # noqa: E402
from lsemvae_edge.leads import LIMB_LEADS  # noqa: E402
from lsemvae_edge.train.saliency import integrated_gradients  # noqa: E402


@pytest.fixture
def signals():
    return np.random.default_rng(0).normal(size=(5, 6, 40)).astype(np.float32)


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv1d(6, 8, 5), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 1)
    )
    return lambda x: layers(x)[:, 0]


def test_a_linear_models_attribution_is_weight_times_input(signals):
    weight = torch.from_numpy(np.random.default_rng(1).normal(size=(6, 40)).astype(np.float32))
    found = integrated_gradients(lambda x: (x * weight).sum(dim=(1, 2)) + 3, signals, LIMB_LEADS)
    np.testing.assert_allclose(found.attribution, signals * weight.numpy(), atol=1e-5)
    np.testing.assert_allclose(found.logit_of_zero, 3)
    np.testing.assert_array_equal(found.signal, signals)
    np.testing.assert_allclose(found.delta, 0, atol=1e-4)


def test_a_quadratic_models_attribution_is_known_too(signals):
    found = integrated_gradients(lambda x: (x**2).sum(dim=(1, 2)), signals, LIMB_LEADS)
    np.testing.assert_allclose(found.attribution, signals**2, atol=1e-4)


def test_a_lead_that_is_not_read_has_no_share(signals):
    found = integrated_gradients(lambda x: torch.tanh(x[:, [0, 4]]).sum(dim=(1, 2)), signals, LIMB_LEADS)
    assert set(found.by_lead.mean(axis=0).nonzero()[0]) == {0, 4}
    np.testing.assert_allclose(found.by_lead.sum(axis=1), 1)
    assert list(found.mean_by_lead()) == list(LIMB_LEADS)
    assert sum(found.mean_by_lead().values()) == pytest.approx(1)


def test_attributions_are_complete_and_more_steps_bring_them_closer(signals, network):
    few, many = (integrated_gradients(network, 3 * signals, LIMB_LEADS, n_steps=steps) for steps in (2, 64))
    assert many.relative_delta < 1e-3 < few.relative_delta
    np.testing.assert_allclose(many.attribution.sum(axis=(1, 2)), many.logit - many.logit_of_zero, atol=1e-3)


def test_batches_do_not_change_the_result(signals, network):
    one, two = (integrated_gradients(network, signals, LIMB_LEADS, batch_size=size) for size in (1, 3))
    np.testing.assert_allclose(one.attribution, two.attribution, atol=1e-6)
    assert one.attribution.shape == signals.shape
    assert one.attribution.dtype == np.float32


def test_a_model_that_does_not_react_has_no_shares(signals):
    found = integrated_gradients(lambda x: (0 * x).sum(dim=(1, 2)) + 1, signals, LIMB_LEADS)
    assert not found.by_lead.any()
    assert np.isnan(found.relative_delta)


def test_shapes_that_do_not_fit_are_refused(signals):
    with pytest.raises(BadInputError, match="5 leads"):
        integrated_gradients(lambda x: x.sum(dim=(1, 2)), signals, LIMB_LEADS[:5])
    with pytest.raises(BadInputError, match="one logit each"):
        integrated_gradients(lambda x: x.sum(dim=2), signals, LIMB_LEADS)
    with pytest.raises(BadInputError, match="do not fit"):
        integrated_gradients(lambda x: x.sum(dim=(1, 2)), signals[:0], LIMB_LEADS)
