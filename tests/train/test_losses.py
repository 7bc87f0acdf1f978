"""The loss of pre-training, against plain arithmetic."""

import math

import pytest

torch = pytest.importorskip("torch", reason="training needs torch; the base install has none")

from lsemvae_edge.train.losses import pretraining_loss  # noqa: E402


@pytest.fixture
def terms():
    torch.manual_seed(0)
    return torch.randn(3, 12, 16), torch.randn(12, 3, 5), torch.randn(12, 3, 5)


def divergence(mu, logvar):
    total = 0.0
    for m, v in zip(mu.flatten().tolist(), logvar.flatten().tolist(), strict=True):
        total += -0.5 * (1 + v - m * m - math.exp(v))
    return total / len(mu)


def test_the_published_terms(terms):
    target, mu, logvar = terms
    recon = torch.randn(3, 16)
    loss = pretraining_loss(recon, target, mu, logvar, kl_weight=0.4)
    squared = sum(((recon - target[:, lead]) ** 2).sum() for lead in range(12))
    assert loss["reconstruction"] == pytest.approx(1e-3 * squared.item() / 3, rel=1e-5)
    assert loss["kl"] == pytest.approx(divergence(mu.mean(0), logvar.mean(0)), rel=1e-5)
    alignment = sum(((mu[lead] - mu.mean(0)) ** 2).mean().item() for lead in range(12)) / 12
    assert loss["alignment"] == pytest.approx(alignment, rel=1e-5)
    expected = loss["reconstruction"] + 0.4 * loss["kl"] + 0.1 * loss["alignment"]
    assert loss["total"] == pytest.approx(expected.item(), rel=1e-6)


def test_one_waveform_for_all_leads_equals_the_same_waveform_twelve_times(terms):
    target, mu, logvar = terms
    recon = torch.randn(3, 16)
    once = pretraining_loss(recon, target, mu, logvar, kl_weight=1.0)
    repeated = pretraining_loss(recon[:, None].expand(-1, 12, -1), target, mu, logvar, kl_weight=1.0)
    assert all(torch.allclose(once[key], repeated[key]) for key in once)


def test_a_fused_posterior_is_what_diverges_and_its_mean_is_not_pulled(terms):
    target, mu, logvar = terms
    fused = torch.randn(3, 5, requires_grad=True), torch.randn(3, 5)
    loss = pretraining_loss(target, target, mu, logvar, kl_weight=1.0, fused=fused)
    assert loss["kl"].item() == pytest.approx(divergence(fused[0].detach(), fused[1]), rel=1e-5)
    assert not loss["alignment"].requires_grad
    assert loss["alignment"].item() == pytest.approx((mu - fused[0].detach()).pow(2).mean().item(), rel=1e-5)


def test_what_a_recording_lacks_does_not_count(terms):
    target, mu, logvar = terms
    mask = torch.ones(3, 12, dtype=torch.bool)
    mask[:, 6:] = False
    recon = torch.randn(3, 12, 16)
    fused = mu.mean(0), logvar.mean(0)
    changed_target, changed_mu = target.clone(), mu.clone()
    changed_target[:, 6:] += 5
    changed_mu[6:] += 5
    losses = [
        pretraining_loss(recon, t, m, logvar, kl_weight=1.0, fused=fused, mask=mask)
        for t, m in ((target, mu), (changed_target, changed_mu))
    ]
    assert torch.equal(losses[0]["total"], losses[1]["total"])
    hidden = torch.zeros(3, 12, dtype=torch.bool)
    hidden[:, 0] = True
    only_first = pretraining_loss(recon, target, mu, logvar, kl_weight=1.0, fused=fused, mask=mask, visible=hidden)
    assert only_first["reconstruction"] == losses[0]["reconstruction"]
    assert only_first["alignment"].item() == pytest.approx((mu[0] - fused[0]).pow(2).mean().item(), rel=1e-5)
