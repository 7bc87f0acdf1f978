"""Fusion of Gaussian experts against closed forms."""

import pytest

torch = pytest.importorskip("torch", reason="the model is written in torch; the base install has none")

from lsemvae_edge.model import hierarchical_fusion, mixture_of_experts, product_of_experts  # noqa: E402


def experts(n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(n, 2, 3, 5, generator=generator, dtype=torch.float64).unbind())


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_a_product_adds_precisions_and_weights_means_by_them(n):
    given = experts(n)
    mu, logvar = product_of_experts(given)
    precisions = torch.stack([1 / torch.exp(logvar) for _, logvar in given])
    means = torch.stack([mu for mu, _ in given])
    torch.testing.assert_close(mu, (precisions * means).sum(0) / precisions.sum(0))
    torch.testing.assert_close(torch.exp(logvar), 1 / precisions.sum(0))


def test_a_product_of_densities_is_the_density_of_the_product():
    given = [(mu[:1, :1], logvar[:1, :1]) for mu, logvar in experts(3)]
    mu, logvar = (value.squeeze() for value in product_of_experts(given))
    grid = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    log_density = -sum(0.5 * (grid - m.squeeze()) ** 2 / torch.exp(v.squeeze()) for m, v in given)
    density = torch.softmax(log_density, 0)
    mean = (density * grid).sum()
    torch.testing.assert_close(mean, mu, atol=1e-6, rtol=0)
    torch.testing.assert_close((density * (grid - mean) ** 2).sum(), torch.exp(logvar), atol=1e-6, rtol=0)


def test_a_product_is_surer_than_each_of_its_experts_and_knows_no_order():
    given = experts(4)
    mu, logvar = product_of_experts(given)
    assert all((logvar < single).all() for _, single in given)
    again_mu, again_logvar = product_of_experts(given[::-1])
    torch.testing.assert_close(again_mu, mu)
    torch.testing.assert_close(again_logvar, logvar)


def test_a_very_unsure_expert_has_no_influence_on_a_product():
    given = experts(3)
    unsure = (torch.full((3, 5), 100.0, dtype=torch.float64), torch.full((3, 5), 40.0, dtype=torch.float64))
    for with_it, without in zip(product_of_experts([*given, unsure]), product_of_experts(given), strict=True):
        torch.testing.assert_close(with_it, without, atol=1e-9, rtol=1e-9)


def test_a_very_sure_expert_decides_a_product():
    sure = (torch.full((3, 5), 2.0, dtype=torch.float64), torch.full((3, 5), -40.0, dtype=torch.float64))
    mu, _ = product_of_experts([*experts(3), sure])
    torch.testing.assert_close(mu, sure[0])


def test_a_mixture_averages_the_parameters():
    given = experts(4)
    mu, logvar = mixture_of_experts(given)
    torch.testing.assert_close(mu, torch.stack([mu for mu, _ in given]).mean(0))
    torch.testing.assert_close(logvar, torch.stack([logvar for _, logvar in given]).mean(0))


def test_leads_are_multiplied_inside_their_group_and_averaged_over_groups():
    given = experts(6)
    mu, logvar = hierarchical_fusion(given, ((0, 1, 2), (3, 4, 5)))
    first, second = product_of_experts(given[:3]), product_of_experts(given[3:])
    torch.testing.assert_close(mu, (first[0] + second[0]) / 2)
    torch.testing.assert_close(logvar, (first[1] + second[1]) / 2)


def test_leads_that_change_groups_change_the_fusion_and_leads_that_stay_do_not():
    given = experts(6)
    mu, _ = hierarchical_fusion(given, ((0, 1, 2), (3, 4, 5)))
    torch.testing.assert_close(hierarchical_fusion(given, ((5, 4, 3), (2, 0, 1)))[0], mu)
    assert not torch.allclose(hierarchical_fusion(given, ((0, 1, 3), (2, 4, 5)))[0], mu)
