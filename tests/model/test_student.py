"""The six-lead student."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="the model is written in torch; the base install has none")

from lsemvae_edge.model import Student, StudentConfig, fold_batch_norm, hierarchical_fusion  # noqa: E402
from lsemvae_edge.model.student import LOGVAR_BOUND, LeadEncoder  # noqa: E402


@pytest.fixture
def x(simulated_inputs):
    return torch.from_numpy(simulated_inputs[:4])[:, :, None]


def test_six_leads_give_logits_and_a_posterior(student, x):
    logits, mu, logvar = student(x)
    assert logits.shape == (4, 4)
    assert mu.shape == logvar.shape == (4, 32)
    assert torch.isfinite(logits).all()
    assert logvar.abs().max() <= LOGVAR_BOUND


@pytest.mark.parametrize("n_samples", [300, 927, 928, 1250])
def test_the_size_of_the_output_does_not_depend_on_the_window(n_samples):
    config = StudentConfig(n_leads=3, n_outputs=2, groups=((0, 1), (2,)), latent_dim=7)
    logits, mu, _ = Student(config).eval()(torch.zeros(2, 3, 1, n_samples))
    assert logits.shape == (2, 2)
    assert mu.shape == (2, 7)


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
    torch.testing.assert_close(student(x)[1], hierarchical_fusion(experts, ((0, 1, 2), (3, 4, 5)))[0])


def test_evaluation_is_deterministic_and_training_is_not(student, x):
    assert torch.equal(student(x)[0], student(x)[0])
    training = copy.deepcopy(student).train()
    for module in training.modules():  # leaves the sampled posterior as the only chance
        if isinstance(module, torch.nn.Dropout | torch.nn.BatchNorm2d):
            module.eval()
    assert not torch.equal(training(x)[0], training(x)[0])
    assert torch.equal(training(x)[1], training(x)[1])


def test_recordings_of_a_batch_do_not_see_each_other(student, x):
    together = student(x)[0]
    alone = torch.cat([student(one[None])[0] for one in x])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


def test_folded_batch_norms_give_the_same_numbers(student, x):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    folded = fold_batch_norm(student)
    for made, expected in zip(folded(x), student(x), strict=True):
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


def test_the_small_student_fits_a_microcontroller_in_int8():
    folded = fold_batch_norm(Student())
    assert sum(parameter.numel() for parameter in folded.parameters()) < 256 * 1024
