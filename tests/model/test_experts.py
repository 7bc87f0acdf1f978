"""Fusion of Gaussian experts against closed forms."""

import pytest

torch = pytest.importorskip("torch", reason="the model is written in torch; the base install has none")

from lsemvae_edge.model import hierarchical_fusion, product_of_experts  # noqa: E402

GROUPS = ((0, 1, 2), (3, 4, 5))


def experts(n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(n, 2, 3, 5, generator=generator, dtype=torch.float64).unbind())


def all_there(n):
    return [torch.ones(3, 1, dtype=torch.float64)] * n


def mask_of(*present, n=6):
    mask = torch.zeros(3, n, dtype=torch.float64)
    mask[:, list(present)] = 1
    return mask


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_a_product_adds_precisions_to_the_priors_and_weights_means_by_them(n):
    given = experts(n)
    fused = product_of_experts(given, all_there(n))
    precisions = torch.stack([1 / torch.exp(logvar) for _, logvar in given])
    means = torch.stack([mu for mu, _ in given])
    torch.testing.assert_close(fused.mu, (precisions * means).sum(0) / (1 + precisions.sum(0)))
    torch.testing.assert_close(torch.exp(fused.logvar), 1 / (1 + precisions.sum(0)))


def test_a_product_of_densities_is_the_density_of_the_product_with_the_prior():
    given = [(mu[:1, :1], logvar[:1, :1]) for mu, logvar in experts(3)]
    fused = product_of_experts(given, [torch.ones(1, 1, dtype=torch.float64)] * 3)
    grid = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    log_density = -0.5 * grid**2
    for m, v in given:
        log_density = log_density - 0.5 * (grid - m.squeeze()) ** 2 / torch.exp(v.squeeze())
    density = torch.softmax(log_density, 0)
    mean = (density * grid).sum()
    torch.testing.assert_close(mean, fused.mu.squeeze(), atol=1e-6, rtol=0)
    variance = (density * (grid - mean) ** 2).sum()
    torch.testing.assert_close(variance, torch.exp(fused.logvar.squeeze()), atol=1e-6, rtol=0)


def test_a_product_is_surer_than_each_of_its_experts_and_knows_no_order():
    given = experts(4)
    fused = product_of_experts(given, all_there(4))
    assert all((fused.logvar < single).all() for _, single in given)
    assert (fused.logvar < 0).all(), "and than the prior"
    again = product_of_experts(given[::-1], all_there(4))
    torch.testing.assert_close(again.mu, fused.mu)
    torch.testing.assert_close(again.logvar, fused.logvar)


def test_a_very_unsure_expert_has_no_influence_on_a_product_and_a_very_sure_one_decides_it():
    given, value = experts(3), torch.full((3, 5), 2.0, dtype=torch.float64)
    unsure, sure = (value, torch.full_like(value, 40.0)), (value, torch.full_like(value, -40.0))
    without = product_of_experts(given, all_there(3))
    torch.testing.assert_close(product_of_experts([*given, unsure], all_there(4)).mu, without.mu, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(product_of_experts([*given, sure], all_there(4)).mu, value)


@pytest.mark.parametrize("n_absent", [1, 2])
def test_an_absent_expert_is_as_if_it_did_not_exist(n_absent):
    given = experts(4)
    presence = [*all_there(4 - n_absent), *[torch.zeros(3, 1, dtype=torch.float64)] * n_absent]
    fused, expected = (
        product_of_experts(given, presence),
        product_of_experts(given[:-n_absent], all_there(4 - n_absent)),
    )
    torch.testing.assert_close(fused.mu, expected.mu)
    torch.testing.assert_close(fused.logvar, expected.logvar)
    assert not torch.stack(fused.parts[-n_absent:]).any()


def test_a_group_without_leads_is_the_prior():
    fused = product_of_experts(experts(3), [torch.zeros(3, 1, dtype=torch.float64)] * 3)
    assert not fused.mu.any()
    assert not fused.logvar.any()


def test_leads_are_multiplied_inside_their_group_and_averaged_over_groups():
    given = experts(6)
    fused = hierarchical_fusion(given, mask_of(*range(6)), GROUPS)
    first, second = product_of_experts(given[:3], all_there(3)), product_of_experts(given[3:], all_there(3))
    torch.testing.assert_close(fused.mu, (first.mu + second.mu) / 2)
    torch.testing.assert_close(fused.logvar, (first.logvar + second.logvar) / 2)


def test_a_group_without_leads_does_not_enter_the_mixture():
    given = experts(6)
    fused = hierarchical_fusion(given, mask_of(1, 2), GROUPS)
    expected = product_of_experts(given[1:3], all_there(2))
    torch.testing.assert_close(fused.mu, expected.mu)
    torch.testing.assert_close(fused.logvar, expected.logvar)


def test_each_recording_of_a_batch_has_a_mask_of_its_own():
    given = experts(6)
    masks = torch.stack([mask_of(0)[0], mask_of(*range(6))[0], mask_of(2, 4)[0]])
    together = hierarchical_fusion(given, masks, GROUPS)
    for row in range(3):
        alone = hierarchical_fusion(
            [(m[row : row + 1], v[row : row + 1]) for m, v in given], masks[row : row + 1], GROUPS
        )
        torch.testing.assert_close(together.mu[row], alone.mu[0])
        torch.testing.assert_close(together.logvar[row], alone.logvar[0])


@pytest.mark.parametrize("present", [(0,), (0, 1, 2, 3, 4, 5), (1, 5), (3, 4, 5)])
def test_parts_sum_to_the_mean_and_an_absent_lead_has_none(present):
    fused = hierarchical_fusion(experts(6), mask_of(*present), GROUPS)
    assert len(fused.parts) == 6
    torch.testing.assert_close(torch.stack(fused.parts).sum(0), fused.mu)
    for lead, part in enumerate(fused.parts):
        assert part.any() == (lead in present)


def test_leads_that_change_groups_change_the_fusion_and_leads_that_stay_do_not():
    given, mask = experts(6), mask_of(*range(6))
    fused = hierarchical_fusion(given, mask, GROUPS)
    again = hierarchical_fusion(given, mask, ((5, 4, 3), (2, 0, 1)))
    torch.testing.assert_close(again.mu, fused.mu)
    torch.testing.assert_close(torch.stack(again.parts), torch.stack(fused.parts))
    assert not torch.allclose(hierarchical_fusion(given, mask, ((0, 1, 3), (2, 4, 5))).mu, fused.mu)
