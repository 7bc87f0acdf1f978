"""Comparing forms: what they are asked, and how far apart they are."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="forms are compared with torch; the base install has none")

from lsemvae_edge.quantize import parity  # noqa: E402
from lsemvae_edge.quantize.parity import Asked, Said  # noqa: E402
from lsemvae_edge.quantize.reference import FloatStudent, TorchSession  # noqa: E402


def said(logits, outcomes=("a", "b", "a")):
    logits = np.array(logits, dtype=np.float32)
    return Said(logits, 2 * logits, np.array(outcomes))


def test_an_agreement_has_mean_tail_and_worst():
    one, other = said([[0.0], [1.0], [2.0]]), said([[0.0], [1.5], [1.0]], ("a", "b", "b"))
    found = parity.agreement(one, other)
    assert found.n == 3
    assert found.mean == pytest.approx(0.5)
    assert found.worst == pytest.approx(1.0)
    assert found.tail == pytest.approx(np.quantile([0, 0.5, 1.0], 0.999))
    assert found.latent == pytest.approx(2.0)
    assert found.flipped == 1
    assert found.flips == pytest.approx(1 / 3)
    assert parity.agreement(one, one) == parity.Agreement(3, 0.0, 0.0, 0.0, 0.0, 0)


def test_every_form_is_compared_with_every_other_once():
    names = list(parity.pairs({name: said([[0.0], [1.0], [2.0]]) for name in "cab"}))
    assert names == [("a", "b"), ("a", "c"), ("b", "c")]


def test_simulated_hearts_are_model_inputs_and_repeat(model_spec):
    asked = parity.simulated(model_spec, 5)
    assert asked.signals.shape == (5, 6, model_spec.preprocess.beat.n_samples)
    assert asked.masks.shape == (5, 6)
    assert np.abs(asked.signals).max() <= model_spec.preprocess.clip
    np.testing.assert_array_equal(asked.signals, parity.simulated(model_spec, 5).signals)


def test_extreme_inputs_stay_within_the_contract_under_every_mask(model_spec):
    asked = parity.extreme(model_spec)
    assert np.abs(asked.signals).max() == model_spec.preprocess.clip
    assert {tuple(mask) for mask in asked.masks.astype(int).tolist()} == set(parity.MASKS)
    assert not asked.signals[asked.masks == 0].any()
    assert len(asked) % len(parity.MASKS) == 0
    assert (asked.masks.sum(axis=1) >= 1).all()


def test_masked_inputs_show_the_first_recordings_under_each_mask():
    signals = np.arange(4 * 6 * 3, dtype=np.float32).reshape(4, 6, 3) + 1
    asked = parity.masked(parity.everyday(signals), 2)
    assert len(asked) == 2 * (len(parity.MASKS) - 1)
    for signal, mask in zip(asked.signals, asked.masks, strict=True):
        assert signal[mask == 1].all()
        assert not signal[mask == 0].any()


def test_inputs_add_up():
    one, two = (parity.everyday(np.ones((n, 6, 3), dtype=np.float32)) for n in (2, 3))
    assert isinstance(one + two, Asked)
    assert len(one + two) == 5


def test_torch_says_the_same_alone_and_in_a_batch(student, model_spec, simulated_inputs):
    form = FloatStudent(student)
    asked = parity.everyday(simulated_inputs[:6]) + parity.extreme(model_spec)
    together = parity.said_by_torch(model_spec, form, asked)
    alone = parity.said_by_session(model_spec, TorchSession(form), asked)
    assert parity.agreement(together, alone).worst < 1e-4
    assert set(together.outcomes.tolist()) <= {"present", "not_present", "inconclusive"}
