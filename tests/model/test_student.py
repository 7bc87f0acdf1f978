"""The six-lead student."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="the model is written in torch; the base install has none")

from lsemvae_edge.model import SIZES, Student, StudentConfig, fold_batch_norm, hierarchical_fusion  # noqa: E402
from lsemvae_edge.model.student import LOGVAR_BOUND, LeadEncoder  # noqa: E402

MASKS = torch.tensor(
    [[1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]], dtype=torch.float32
)


@pytest.fixture
def x(simulated_inputs):
    return torch.from_numpy(simulated_inputs[:4])[:, :, None]


@pytest.fixture
def all_there(x):
    return torch.ones(len(x), 6)


def by_lead(values, n_leads=6):
    return values.reshape(len(values), n_leads, -1)


def test_six_leads_give_logits_posteriors_and_contributions(student, x, all_there):
    output = student(x, all_there)
    assert output.logits.shape == (4, 4)
    assert output.mu.shape == output.logvar.shape == (4, 32)
    assert output.lead_mu.shape == output.lead_logvar.shape == (4, 6 * 32)
    assert output.contributions.shape == (4, 6 * 4)
    assert all(torch.isfinite(value).all() for value in output)
    assert output.logvar.abs().max() <= LOGVAR_BOUND + torch.log(torch.tensor(4.0))
    assert output.lead_logvar.abs().max() <= LOGVAR_BOUND


@pytest.mark.parametrize("n_samples", [80, 99, 100, 928])
def test_the_size_of_the_output_does_not_depend_on_the_length(n_samples):
    config = StudentConfig(n_leads=3, n_outputs=2, groups=((0, 1), (2,)), latent_dim=7)
    output = Student(config).eval()(torch.zeros(2, 3, 1, n_samples), torch.ones(2, 3))
    assert output.logits.shape == (2, 2)
    assert output.mu.shape == (2, 7)


@pytest.mark.parametrize("masks", [torch.ones(4, 6), MASKS], ids=["whole", "masked"])
def test_contributions_and_bias_sum_to_the_logits(student, x, masks):
    output = student(x, masks)
    total = by_lead(output.contributions).sum(dim=1) + student.fused_head.bias
    torch.testing.assert_close(total, output.logits, atol=1e-5, rtol=1e-5)


def test_a_masked_lead_contributes_nothing_and_changes_nothing(student, x):
    output = student(x, MASKS)
    absent = MASKS == 0
    assert not by_lead(output.contributions)[absent].any()
    assert by_lead(output.contributions)[~absent].any(dim=1).all()
    other = x.clone()
    other[absent] = 100 * torch.randn(other[absent].shape, generator=torch.Generator().manual_seed(0))
    spoiled = student(other, MASKS)
    for name in ("logits", "mu", "logvar", "contributions"):
        torch.testing.assert_close(getattr(spoiled, name), getattr(output, name), msg=name)


def test_a_mask_hides_what_a_lead_says(student, x, all_there):
    assert not torch.allclose(student(x, all_there).logits[1:], student(x, MASKS).logits[1:], atol=1e-3)
    torch.testing.assert_close(student(x, all_there).logits[0], student(x, MASKS).logits[0])


def test_each_lead_has_an_encoder_of_its_own_and_the_fusion_joins_them(student, x):
    experts = student.encode(x)
    assert len(experts) == 6
    for lead, (encoder, (mu, logvar)) in enumerate(zip(student.encoders, experts, strict=True)):
        expected_mu, expected_logvar = encoder(x[:, lead : lead + 1])
        torch.testing.assert_close(mu, expected_mu)
        torch.testing.assert_close(logvar, expected_logvar)
    other = x.clone()
    other[:, 2] = 0
    changed = [not torch.equal(a[0], b[0]) for a, b in zip(experts, student.encode(other), strict=True)]
    assert changed == [False, False, True, False, False, False]
    fused = hierarchical_fusion(experts, MASKS, ((0, 1, 2), (3, 4, 5)))
    output = student(x, MASKS)
    torch.testing.assert_close(output.mu, fused.mu)
    torch.testing.assert_close(output.logvar, fused.logvar)
    torch.testing.assert_close(by_lead(output.lead_mu), torch.stack([mu for mu, _ in experts], dim=1))


def test_evaluation_is_deterministic_and_training_is_not(student, x, all_there):
    assert torch.equal(student(x, all_there).logits, student(x, all_there).logits)
    training = copy.deepcopy(student).train()
    for module in training.modules():  # leaves the sampled posterior as the only chance
        if isinstance(module, torch.nn.Dropout | torch.nn.BatchNorm2d):
            module.eval()
    first, second = training(x, all_there), training(x, all_there)
    assert not torch.equal(first.logits, second.logits)
    assert torch.equal(first.mu, second.mu)
    assert torch.equal(first.contributions, second.contributions)


def test_recordings_of_a_batch_do_not_see_each_other(student, x):
    together = student(x, MASKS).logits
    alone = torch.cat([student(one[None], mask[None]).logits for one, mask in zip(x, MASKS, strict=True)])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


def test_fewer_outputs_are_the_first_ones(student, x):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    fewer = student.with_outputs(2)
    assert fewer.config.n_outputs == 2
    assert not fewer.training
    whole, part = student(x, MASKS), fewer(x, MASKS)
    torch.testing.assert_close(part.logits, whole.logits[:, :2])
    torch.testing.assert_close(by_lead(part.contributions), by_lead(whole.contributions)[:, :, :2])
    torch.testing.assert_close(part.mu, whole.mu)
    fewer.fused_head.weight.data.zero_()
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_folded_batch_norms_give_the_same_numbers(student, x):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    folded = fold_batch_norm(student)
    for made, expected in zip(folded(x, MASKS), student(x, MASKS), strict=True):
        torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    norms = [module for module in student.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(norm.running_var.std() > 0 for norm in norms), "batch norms that do nothing would prove nothing"


def test_folding_leaves_a_model_in_training_as_it_was(student):
    training = copy.deepcopy(student).train()
    assert not fold_batch_norm(training).training
    assert training.training


def test_kernels_are_odd_and_padded_alike_on_both_sides():
    encoder = LeadEncoder(StudentConfig())
    convolutions = [layer for layer in encoder.features if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) == 4
    for layer in convolutions:
        assert layer.kernel_size[0] == 1
        assert layer.kernel_size[1] % 2 == 1
        assert layer.padding == (0, layer.kernel_size[1] // 2)


def test_sizes_grow_and_all_but_the_largest_fit_a_microcontroller_in_int8():
    counts = {
        name: sum(parameter.numel() for parameter in fold_batch_norm(Student(config)).parameters())
        for name, config in SIZES.items()
    }
    assert counts["tiny"] < counts["small"] < counts["base"]
    assert counts["small"] < 256 * 1024
