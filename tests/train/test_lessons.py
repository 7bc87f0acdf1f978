"""What students can be taught beside their labels."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training runs in torch; the base install has none")
pytest.importorskip("pydantic", reason="the training configuration needs the extra `train`")
pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge import preprocess  # noqa: E402
from lsemvae_edge.model import Student, StudentConfig  # noqa: E402
from lsemvae_edge.synthetic.heart import Heart, simulate  # noqa: E402
from lsemvae_edge.train import lessons  # noqa: E402
from lsemvae_edge.train.config_distill import DistillConfig  # noqa: E402
from lsemvae_edge.train.recipes import recipe  # noqa: E402

SHAPE = StudentConfig(channels=(4, 6), kernels=(3, 3), strides=(2, 2), latent_dim=5)
TWELVE = replace(SHAPE, n_leads=12, groups=((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)))


def measured(**changes):
    """What is measured of a simulated heart, by name."""
    beat, _ = recipe("beat").apply(simulate(Heart(**changes), 10.0, 500.0, 0))
    centre = preprocess.default_spec().beat.before_samples
    return dict(zip(lessons.MEASUREMENTS, lessons.measurements(beat[None, :2], centre, 125.0)[0], strict=True))


@pytest.fixture
def batch():
    """A student, inputs of eight recordings, a mask that lacks lead I in half of them, and the student's output."""
    torch.manual_seed(0)
    student = Student(SHAPE).eval()
    x, mask = torch.randn(8, 6, 1, 40), torch.ones(8, 6)
    mask[:4, 0] = 0.0
    return student, x, mask, student(x * mask[:, :, None, None], mask)


@pytest.mark.parametrize("axis_deg", [-60, 0, 60, 120, 170])
def test_the_axis_is_measured_as_simulated(axis_deg):
    found = measured(qrs_axis_deg=axis_deg, q_ratio=0.0, s_ratio=0.0)
    cosine, sine = found["QRS axis, cosine"], found["QRS axis, sine"]
    assert cosine**2 + sine**2 == pytest.approx(1, abs=1e-5)
    away = np.degrees(np.arctan2(sine, cosine)) - axis_deg
    assert abs((away + 180) % 360 - 180) < 12


def test_a_late_force_to_the_right_is_seen_at_the_end_of_qrs():
    assert measured(right_delay_ms=40.0)["end of QRS, I"] < measured()["end of QRS, I"] - 0.2


def test_the_p_wave_grows_with_the_atriums_and_is_missing_in_fibrillation():
    plain, tall, none = measured(), measured(p_mv=0.3, p_axis_deg=75.0), measured(atrial_fibrillation=True)
    assert tall["P wave, aVF"] > 2 * plain["P wave, aVF"] > 4 * abs(none["P wave, aVF"])
    assert tall["P wave, aVF"] > 2 * tall["P wave, I"] > 0


def test_a_gain_changes_sizes_and_not_the_axis():
    pairs = np.random.default_rng(0).normal(size=(5, 2, 100)).astype(np.float32)
    once, twice = (lessons.measurements(gain * pairs, 38, 125.0) for gain in (1, 2))
    np.testing.assert_allclose(twice[:, :2], once[:, :2], atol=1e-5)
    np.testing.assert_allclose(twice[:, 2:], 2 * once[:, 2:], rtol=1e-4, atol=1e-5)


def test_nothing_at_all_is_measured_as_nothing():
    assert not lessons.measurements(np.zeros((2, 2, 100), np.float32), 38, 125.0).any()


def test_experts_that_agree_are_not_apart(batch):
    student, x, mask, output = batch
    guide = Student(TWELVE).eval()
    guide.encoders = torch.nn.ModuleList([*student.encoders, *student.encoders])
    x = x * mask[:, :, None, None]
    torch.testing.assert_close(lessons.apart(output, guide, x, mask), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_how_far_experts_are_apart_is_the_mean_divergence_over_leads_that_are_there(batch):
    _, x, mask, output = batch
    guide = Student(TWELVE).eval()
    known = [guide.encoders[i](x[:, i : i + 1]) for i in range(6)]
    lead_mu, lead_logvar = (torch.stack(of, dim=1) for of in zip(*known, strict=True))
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(
        normal(lead_mu, (0.5 * lead_logvar).exp()),
        normal(output.lead_mu.reshape(8, 6, -1), (0.5 * output.lead_logvar).exp().reshape(8, 6, -1)),
    ).mean(dim=2)[mask.bool()]
    torch.testing.assert_close(lessons.apart(output, guide, x, mask), wanted.mean())


def test_the_guide_learns_nothing(batch):
    _, x, mask, output = batch
    guide = Student(TWELVE).eval()
    lessons.apart(output, guide, x[:3], mask[:3]).backward()
    assert all(parameter.grad is None for parameter in guide.parameters())


def test_what_encoders_pool_is_kept_lead_by_lead(batch):
    student, x, mask, _ = batch
    pooled = lessons.Pooled(student)
    student(x, mask)
    assert pooled.latest().shape == (8, pooled.width) == (8, 6 * 6)
    third = student.encoders[2].features(x[:, 2:3]).mean(dim=(2, 3))
    torch.testing.assert_close(pooled.latest()[:, 12:18], third)


@pytest.mark.parametrize("from_features", [False, True])
def test_a_hint_is_learned_from_the_recordings_that_have_one(batch, from_features):
    student, x, mask, _ = batch
    guess = lessons.Guess(student, 3, from_features)
    output = student(x, mask)
    hint = torch.randn(6, 3)
    hint[2] = torch.nan
    guess.missed(output, hint).backward()
    assert guess.linear.weight.grad.abs().sum() > 0
    assert all(encoder.features[0].weight.grad.abs().sum() > 0 for encoder in student.encoders)
    # Latents of the recording without a hint, and of what follows the real recordings, may be anything.
    first = guess.missed(student(x, mask), hint)
    x[2], x[6:] = 50.0, 50.0
    torch.testing.assert_close(guess.missed(student(x, mask), hint), first)
    assert guess.missed(output, torch.full((6, 3), torch.nan)) == 0


def test_opinions_reach_no_guard_and_the_further_statements_only_if_asked():
    soft = torch.zeros(3, 2 + 4)
    for soft_auxiliary, reached in ((0.0, {0, 1}), (1.0, {0, 1, 4, 5, 6, 7})):
        lesson = lessons.softened(soft, DistillConfig(soft_auxiliary=soft_auxiliary), [0, 1, 4, 5, 6, 7], 2)
        logits = torch.ones(3, 8, requires_grad=True)
        lesson.loss(logits, lesson.opinion).backward()
        assert set(logits.grad.abs().sum(dim=0).nonzero()[:, 0].tolist()) == reached


def test_an_ensemble_pulls_logits_to_its_mean(batch):
    student, x, mask, output = batch
    ensemble = [student, student]
    logits = output.logits.detach().requires_grad_()
    weights = torch.ones(logits.shape[1])
    lessons.mismatch(ensemble, x * mask[:, :, None, None], mask, logits, weights, 2.0).backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), atol=1e-6, rtol=0)
    higher = (output.logits.detach() + 1).requires_grad_()
    lessons.mismatch(ensemble, x * mask[:, :, None, None], mask, higher, weights, 2.0).backward()
    assert (higher.grad > 0).all()
