"""The full-precision model: the published one exactly, and what the others add."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the model is written in torch; the base install has none")

from lsemvae_edge.errors import BadInputError, UsageError  # noqa: E402
from lsemvae_edge.leads import LIMB_MATRIX  # noqa: E402
from lsemvae_edge.model import LSEMVAE, fusion  # noqa: E402
from lsemvae_edge.model.classifier import LatentClassifier, PooledClassifier  # noqa: E402

SMALL = {"latent_dim": 6, "n_samples": 40}


def pooled(fusion_name="masked", n_leads=12):
    return LSEMVAE(n_leads, 4 * 8, 128, fusion_name, encoder="pooled", decoder="conditioned")


def size(module):
    return sum(weight.numel() for weight in module.parameters())


@pytest.fixture(scope="module")
def published():
    """One full-size model: a gigabyte, built once."""
    return LSEMVAE()


@pytest.mark.slow
def test_the_published_model_has_the_published_size(published):
    assert size(published) == 256_150_577
    assert size(LatentClassifier(published, tuple(range(6)))) == 123_127_106


def test_encoder_and_decoder_compute_the_published_layers():
    torch.manual_seed(0)
    model = LSEMVAE(12, **SMALL)
    x = torch.randn(3, 12, 40)
    mu, logvar = model.encode(x)
    weights = model.state_dict()
    for lead in (0, 7):
        hidden = x[:, lead : lead + 1]
        for layer in ("conv1", "conv2", "conv3"):
            key = f"encoders.{lead}.{layer}"
            hidden = torch.conv1d(hidden, weights[f"{key}.weight"], weights[f"{key}.bias"], stride=2, padding=1).relu()
        flat = hidden.reshape(3, -1)
        for name, value in (("fc_mu", mu), ("fc_logvar", logvar)):
            key = f"encoders.{lead}.{name}"
            expected = flat @ weights[f"{key}.weight"].T + weights[f"{key}.bias"]
            torch.testing.assert_close(value[lead], expected)
    z = torch.randn(3, 6)
    hidden = (z @ weights["shared_decoder.fc.weight"].T + weights["shared_decoder.fc.bias"]).reshape(3, 64, 5)
    for layer in ("convtrans1", "convtrans2", "convtrans3"):
        key = f"shared_decoder.{layer}"
        hidden = torch.conv_transpose1d(hidden, weights[f"{key}.weight"], weights[f"{key}.bias"], stride=2, padding=1)
        hidden = hidden if layer == "convtrans3" else hidden.relu()
    torch.testing.assert_close(model.decode(z), hidden[:, 0])


def published_fusion(mu, logvar):
    """Compute the fusion of 12 leads in plain float arithmetic, number by number."""
    fused_mu, fused_logvar = np.zeros(mu.shape[1:]), np.zeros(mu.shape[1:])
    for index in np.ndindex(mu.shape[1:]):
        for start in (0, 3, 6, 9):
            precision = [1 / (math.exp(logvar[(i, *index)]) + 1e-8) for i in range(start, start + 3)]
            total = sum(precision)
            weighted = sum(t * mu[(i, *index)] for t, i in zip(precision, range(start, start + 3), strict=True))
            fused_mu[index] += weighted / total / 4
            fused_logvar[index] += math.log(1 / total + 1e-8) / 4
    return fused_mu, fused_logvar


def test_the_reference_fusion_is_the_published_one():
    rng = np.random.default_rng(0)
    mu, logvar = rng.standard_normal((2, 12, 3, 5))
    got = LSEMVAE(12, **SMALL).fuse(torch.from_numpy(mu), torch.from_numpy(logvar))
    for value, expected in zip(got, published_fusion(mu, logvar), strict=True):
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("n_leads", "groups"),
    [
        (12, ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))),
        (6, ((0,), (1,), (2,), (3,))),
        (2, ((0,), (1,), (2,))),
        (7, ((0, 1), (2, 3), (4, 5), (6, 7))),
    ],
)
def test_the_published_groups_count_the_prior_and_drop_what_is_left_over(n_leads, groups):
    assert fusion.reference_groups(n_leads) == groups


def test_a_step_samples_the_fused_posterior():
    torch.manual_seed(0)
    model = LSEMVAE(12, **SMALL)
    x, noise = torch.randn(2, 12, 40), torch.randn(2, 6)
    out = model(x, noise=noise)
    mu, logvar = model.fuse(*model.encode(x))
    torch.testing.assert_close(out.recon, model.decode(mu + noise * torch.exp(logvar / 2)))
    assert out.mu.shape == out.logvar.shape == (12, 2, 6)
    assert out.recon.shape == (2, 40)


def test_published_keys_load_strictly_also_from_a_compiled_model():
    torch.manual_seed(0)
    source, target = LSEMVAE(12, **SMALL), LSEMVAE(12, **SMALL)
    weights = {f"_orig_mod.{key}": value for key, value in source.state_dict().items()}
    target.load_reference_state_dict(weights)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
    names = {key.split(".")[0] + "." + key.split(".")[-2] for key in source.state_dict()}
    assert names == {
        *(f"encoders.{name}" for name in ("conv1", "conv2", "conv3", "fc_mu", "fc_logvar")),
        *(f"shared_decoder.{name}" for name in ("fc", "convtrans1", "convtrans2", "convtrans3")),
    }
    incomplete = dict(weights)
    incomplete.pop("_orig_mod.encoders.3.conv2.bias")
    unknown = {**weights, "encoders.0.conv9.bias": torch.zeros(1)}
    twice = {**weights, "encoders.0.conv1.bias": torch.zeros(16)}
    wrong = {**weights, "_orig_mod.encoders.0.conv1.bias": torch.zeros(17)}
    for bad in (incomplete, unknown, twice, wrong):
        with pytest.raises(BadInputError):
            target.load_reference_state_dict(bad)


def test_an_absent_lead_has_no_influence_on_the_masked_posterior():
    torch.manual_seed(0)
    model = pooled().eval()
    x = torch.randn(2, 12, 128)
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[:, 6:] = False
    mask[1, 0] = False
    other = torch.where(mask[:, :, None], x, 1e3 * torch.randn_like(x))
    for a, b in zip(model.fuse(*model.encode(x), mask), model.fuse(*model.encode(other), mask), strict=True):
        torch.testing.assert_close(a, b)


def test_any_subset_of_leads_works_and_no_lead_is_the_prior():
    torch.manual_seed(0)
    model = pooled().eval()
    mu, logvar = model.encode(torch.randn(1, 12, 128))
    assert not torch.equal(model.fuse(mu, logvar)[0], torch.zeros(1, 32))
    fused, spread = model.fuse(mu, logvar, torch.zeros(1, 12, dtype=torch.bool))
    assert torch.equal(fused, torch.zeros(1, 32))
    assert torch.equal(spread, torch.zeros(1, 32))
    for lead in range(12):
        mask = torch.zeros(1, 12, dtype=torch.bool)
        mask[0, lead] = True
        # One expert and the prior: precisions add.
        precision = 1 + torch.exp(-logvar[lead])
        fused, spread = model.fuse(mu, logvar, mask)
        torch.testing.assert_close(fused, mu[lead] * torch.exp(-logvar[lead]) / precision)
        torch.testing.assert_close(spread, -torch.log(precision))


def test_a_full_mask_is_no_mask():
    model = pooled().eval()
    mu, logvar = model.encode(torch.randn(2, 12, 128))
    for a, b in zip(model.fuse(mu, logvar), model.fuse(mu, logvar, torch.ones(2, 12, dtype=torch.bool)), strict=True):
        assert torch.equal(a, b)


def test_the_prior_keeps_the_posterior_no_wider_than_itself():
    model = LSEMVAE(12, fusion="hime", **SMALL)
    _, logvar = model.fuse(torch.randn(12, 4, 6), 20 * torch.randn(12, 4, 6))
    assert (logvar <= 0).all()


def test_log_variances_are_bounded_but_in_the_published_model():
    x = 1e4 * torch.randn(2, 12, 40)
    assert LSEMVAE(12, fusion="hime", **SMALL).encode(x)[1].abs().max() <= fusion.LOGVAR_BOUND
    assert LSEMVAE(12, **SMALL).encode(x)[1].abs().max() > fusion.LOGVAR_BOUND


def test_only_a_masked_model_takes_a_mask():
    model = LSEMVAE(12, **SMALL)
    with pytest.raises(UsageError):
        model(torch.randn(1, 12, 40), mask=torch.ones(1, 12, dtype=torch.bool))


def test_mmvae_samples_one_present_expert_and_mopoe_a_subset():
    mu, logvar = torch.randn(4, 6, 3), torch.randn(4, 6, 3)
    uniform = torch.rand(6, 4)
    fused, _ = fusion.one_expert(mu, logvar, uniform)
    assert all(torch.equal(fused[b], mu[uniform[b].argmax(), b]) for b in range(6))
    mask = torch.ones(6, 4, dtype=torch.bool)
    mask[:, 2] = False
    drawn, _ = fusion.one_expert(mu, logvar, uniform, mask)
    assert not any(torch.equal(drawn[b], mu[2, b]) for b in range(6))
    joined = uniform < 0.5
    product, spread = fusion.random_product(mu, logvar, uniform)
    for b in range(6):
        chosen = joined[b] if joined[b].any() else torch.ones(4, dtype=torch.bool)
        precision = torch.exp(-logvar[chosen, b]).sum(0) + 1
        torch.testing.assert_close(spread[b], -torch.log(precision))
        torch.testing.assert_close(product[b], (mu[chosen, b] * torch.exp(-logvar[chosen, b])).sum(0) / precision)


@pytest.mark.parametrize("name", ["moe", "mopoe"])
def test_sampled_mixtures_are_decided_by_the_noise_and_only_in_training(name):
    torch.manual_seed(0)
    model = LSEMVAE(12, fusion=name, **SMALL)
    x, noise = torch.randn(5, 12, 40), torch.randn(5, model.noise_dim)
    assert model.noise_dim == 18
    assert torch.equal(model(x, noise=noise).fused_mu, model(x, noise=noise).fused_mu)
    other = torch.cat([noise[:, :6], torch.randn(5, 12)], dim=1)
    assert not torch.equal(model(x, noise=noise).fused_mu, model(x, noise=other).fused_mu)
    model.eval()
    assert torch.equal(model(x, noise=noise).fused_mu, model(x, noise=other).fused_mu)


@pytest.mark.parametrize("n_leads", [6, 12])
def test_reconstructed_limb_leads_keep_rank_two(n_leads):
    recon = pooled(n_leads=n_leads).eval().decode(torch.randn(2, 32))
    assert recon.shape == (2, n_leads, 128)
    pair = recon[:, :2]
    torch.testing.assert_close(recon[:, :6], torch.tensor(LIMB_MATRIX, dtype=torch.float32) @ pair)


def test_latents_in_time_shift_with_the_signal():
    torch.manual_seed(0)
    model = pooled().eval()
    x = torch.zeros(1, 12, 128)
    x[:, :, 40:60] = torch.randn(20)
    shifted = torch.roll(x, 32, dims=2)
    mu = model.encode(x)[0].reshape(12, 4, 8)
    moved = model.encode(shifted)[0].reshape(12, 4, 8)
    torch.testing.assert_close(mu[:, :, 2:5], moved[:, :, 4:7])


def test_a_pooled_task_model_ignores_absent_leads():
    torch.manual_seed(0)
    network = PooledClassifier(pooled(), tuple(range(12)), 3).eval()
    x = torch.randn(2, 12, 128)
    mask = torch.rand(2, 12) < 0.5
    mask[:, 0] = True
    other = torch.where(mask[:, :, None], x, torch.zeros_like(x))
    torch.testing.assert_close(network(x, mask)[0], network(other, mask)[0])
    with pytest.raises(UsageError):
        PooledClassifier(LSEMVAE(12, **SMALL), (0,), 2)


@pytest.mark.parametrize(
    "options",
    [
        {"n_samples": 41},
        {"fusion": "sum"},
        {"decoder": "conditioned", "n_leads": 8},
        {"encoder": "pooled", "n_samples": 128, "latent_dim": 9},
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_a_sentence(options):
    with pytest.raises(UsageError) as refused:
        LSEMVAE(**{"n_leads": 12, **SMALL, **options})
    assert refused.value.next_step
