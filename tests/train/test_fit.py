"""Fitting on a cohort small enough for a test."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training runs in torch; the base install has none")
pydantic = pytest.importorskip("pydantic", reason="the training configuration needs the extra `train`")

from lsemvae_edge import preprocess  # noqa: E402
from lsemvae_edge.metrics import auroc  # noqa: E402
from lsemvae_edge.model import Student, StudentConfig  # noqa: E402
from lsemvae_edge.model.baselines import PlainCNN  # noqa: E402
from lsemvae_edge.synthetic.heart import Heart, simulate  # noqa: E402
from lsemvae_edge.synthetic.not_ecg import HELD_OUT_KINDS, NOT_ECG  # noqa: E402
from lsemvae_edge.train import augment  # noqa: E402
from lsemvae_edge.train import fit as fitting  # noqa: E402
from lsemvae_edge.train.cohort import Cohort  # noqa: E402
from lsemvae_edge.train.fit import OUTPUTS, FitConfig, fit, not_ecg_bank, predict  # noqa: E402
from lsemvae_edge.train.labels import N_AUXILIARY  # noqa: E402

N = 32
QUICK = FitConfig(
    epochs=2,
    batch_size=16,
    swapped_per_batch=4,
    not_ecg_per_batch=2,
    not_ecg_bank=30,
    ema_decay=0.7,
    learning_rate=1e-2,
)
LONGER = QUICK.model_copy(update={"epochs": 15})
TINY = StudentConfig(channels=(8, 8, 16, 16), latent_dim=8, hidden=8)


@pytest.fixture(scope="module")
def spec(model_spec):
    return model_spec.preprocess


@pytest.fixture(scope="module")
def cohort(spec):
    """Half the hearts turned to the right; the side is known for half of all."""
    right = np.arange(N) % 2
    hearts = [Heart(rate_bpm=60 + k, qrs_axis_deg=130.0 if right[k] else 30.0) for k in range(N)]
    records = [simulate(heart, 10.0, 500.0, k, ("I", "II")) for k, heart in enumerate(hearts)]
    pairs = [preprocess.condition(record, spec).pair for record in records]
    auxiliary = np.full((N, N_AUXILIARY), np.nan, dtype=np.float32)
    auxiliary[:, 0] = 1 - right
    return Cohort(
        pairs=np.stack(pairs).astype(np.float32),
        right_heart=right,
        heart_side=np.where(np.arange(N) < N // 2, right, -1),
        auxiliary=auxiliary,
        fold=np.full(N, 1),
        patient=np.arange(N).astype(str),
        source=np.full(N, "ptbxl_12lead"),
        right_axis_like=right == 1,
        record_id=np.arange(N).astype(str),
    )


def fitted(cohort, spec, config):
    torch.manual_seed(0)
    model = Student(TINY)
    losses = []
    return fit(model, cohort, spec, config, progress=lambda epoch, loss: losses.append((epoch, loss))), losses


@pytest.fixture(scope="module")
def once(cohort, spec):
    return fitted(cohort, spec, LONGER)


@pytest.fixture(scope="module")
def quick(cohort, spec):
    return fitted(cohort, spec, QUICK)


def test_the_loss_falls_and_every_epoch_is_told(once):
    _, losses = once
    assert [epoch for epoch, _ in losses] == list(range(LONGER.epochs))
    assert losses[-1][1] < 0.9 * losses[0][1]


def test_a_fitted_model_tells_the_two_kinds_of_heart_apart(once, cohort, spec):
    model, _ = once
    logits = predict(model, cohort.pairs, spec)
    assert logits.shape == (N, len(OUTPUTS))
    assert auroc(cohort.right_heart, logits[:, 0]) > 0.9


def test_the_fitted_model_is_ready_for_use(once, cohort, spec):
    model, _ = once
    assert not model.training
    assert set(model.state_dict()) == set(Student(TINY).state_dict())
    np.testing.assert_array_equal(predict(model, cohort.pairs, spec, 5), predict(model, cohort.pairs, spec, 5))


def test_the_same_seed_gives_the_same_model(quick, cohort, spec):
    again, losses = fitted(cohort, spec, QUICK)
    assert losses == quick[1]
    state = quick[0].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())


def test_another_seed_gives_another_model(quick, cohort, spec):
    other, losses = fitted(cohort, spec, QUICK.model_copy(update={"seed": 1}))
    assert losses != quick[1]
    state = quick[0].state_dict()
    assert any(not torch.equal(value, state[name]) for name, value in other.state_dict().items())


def test_fitting_does_not_change_the_cohort(cohort, spec):
    before = copy.deepcopy(vars(cohort))
    fitted(cohort, spec, QUICK.model_copy(update={"epochs": 1}))
    for name, value in vars(cohort).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_a_model_without_latents_can_be_fitted_too(cohort, spec):
    torch.manual_seed(0)
    losses = []
    model = PlainCNN(channels=(8, 16))
    fit(model, cohort, spec, QUICK.model_copy(update={"epochs": 3}), progress=lambda _, loss: losses.append(loss))
    assert losses[-1] < losses[0]
    assert predict(model, cohort.pairs, spec).shape == (N, 4)


@pytest.fixture
def composed(cohort, spec):
    bank = torch.from_numpy(not_ecg_bank(10, cohort.pairs.shape[2], spec, 0))
    generator = torch.Generator().manual_seed(0)
    targets = fitting._targets(cohort)
    chosen = torch.arange(16)
    pairs, auxiliary = torch.from_numpy(cohort.pairs), torch.from_numpy(cohort.auxiliary)
    return fitting._compose(pairs[chosen], targets[chosen], auxiliary[chosen], bank, spec, QUICK, generator)


def test_a_batch_holds_real_swapped_and_strange_inputs(composed, spec):
    n_rows = 16 + QUICK.swapped_per_batch + QUICK.not_ecg_per_batch
    assert composed.x.shape == (n_rows, 6, 1, spec.window_samples)
    assert composed.targets.shape == (n_rows, len(OUTPUTS))
    assert composed.auxiliary.shape == (16, N_AUXILIARY)
    assert torch.isfinite(composed.x).all()
    assert composed.x.abs().max() <= spec.clip


def test_real_recordings_carry_their_own_labels(composed, cohort):
    real = composed.targets[:16]
    np.testing.assert_array_equal(real[:, 0].numpy(), cohort.right_heart[:16])
    np.testing.assert_array_equal(np.nan_to_num(real[:, 1].numpy(), nan=-1), cohort.heart_side[:16])
    assert (real[:, 2:] == 0).all()


def test_a_side_that_is_not_known_is_not_asked(cohort):
    targets = fitting._targets(cohort)
    np.testing.assert_array_equal(targets[:, 1].isnan().numpy(), cohort.heart_side < 0)
    assert not targets[:, [0, 2, 3]].isnan().any()


def test_swapped_copies_never_carry_a_task_label(composed):
    swapped = composed.targets[16 : 16 + QUICK.swapped_per_batch]
    assert swapped[:, :2].isnan().all()
    assert (swapped[:, 2] == 1).all()
    assert (swapped[:, 3] == 0).all()


def test_what_is_no_ecg_teaches_one_guard_alone(composed):
    strange = composed.targets[16 + QUICK.swapped_per_batch :]
    assert strange[:, :3].isnan().all()
    assert (strange[:, 3] == 1).all()


def test_swapped_rows_are_the_swapped_copies(cohort, spec, monkeypatch):
    monkeypatch.setattr(augment, "degrade", lambda pairs, fs_hz, generator: pairs)
    monkeypatch.setattr(augment, "crop", lambda pairs, length, generator: pairs[:, :, :length])
    config = QUICK.model_copy(update={"perturb": False})
    pairs = torch.from_numpy(cohort.pairs[:8])
    bank = torch.ones(2, 2, pairs.shape[2])
    batch = fitting._compose(
        pairs, fitting._targets(cohort)[:8], torch.from_numpy(cohort.auxiliary[:8]), bank, spec, config,
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    torch.testing.assert_close(batch.x[:8], augment.to_input(pairs[:, :, : spec.window_samples], spec.clip))
    for made, pair in zip(batch.x[8 : 8 + QUICK.swapped_per_batch], pairs, strict=False):
        window = pair[:, : spec.window_samples]
        maps = [torch.tensor(matrix, dtype=torch.float32) for matrix in augment.SWAPS.values()]
        candidates = [augment.to_input((matrix @ window)[None], spec.clip)[0] for matrix in maps]
        assert sum(torch.allclose(made, candidate, atol=1e-4) for candidate in candidates) == 1


def test_the_loss_learns_nothing_from_what_is_not_asked(composed):
    logits = torch.zeros(composed.targets.shape, requires_grad=True)

    class Fixed(torch.nn.Module):
        def forward(self, x):
            return logits, None, None

    fitting._loss(Fixed(), torch.nn.Identity(), None, composed, QUICK).backward()
    assert (logits.grad[composed.targets.isnan()] == 0).all()
    assert (logits.grad[~composed.targets.isnan()] != 0).all()


def test_a_teacher_pulls_the_task_logits_of_real_recordings_towards_its_own(composed):
    logits = torch.zeros(composed.targets.shape, requires_grad=True)
    real = len(composed.auxiliary)

    class Fixed(torch.nn.Module):
        def forward(self, x):
            return logits, None, None

    class Teacher(torch.nn.Module):
        def forward(self, x):
            assert len(x) == real
            return torch.full((len(x), 4), 5.0), None, None

    config = QUICK.model_copy(update={"distill_weight": 1.0})
    labels_only = torch.autograd.grad(fitting._loss(Fixed(), torch.nn.Identity(), None, composed, config), logits)[0]
    taught = torch.autograd.grad(fitting._loss(Fixed(), torch.nn.Identity(), Teacher(), composed, config), logits)[0]
    pull = taught - labels_only
    assert (pull[:real, :2] < 0).all()
    assert (pull[real:] == 0).all()
    assert (pull[:, 2:] == 0).all()


def test_prediction_does_not_depend_on_what_else_is_predicted(once, cohort, spec):
    model, _ = once
    together = predict(model, cohort.pairs, spec)
    np.testing.assert_allclose(predict(model, cohort.pairs[3:4], spec)[0], together[3], atol=1e-4)


def test_the_bank_of_strange_inputs_repeats_and_leaves_the_held_out_kinds_alone(spec, monkeypatch):
    drawn = []

    def noticed(kind):
        return lambda *arguments: drawn.append(kind) or NOT_ECG[kind](*arguments)

    monkeypatch.setattr(fitting, "NOT_ECG", {kind: noticed(kind) for kind in NOT_ECG})
    n_kinds = len(set(NOT_ECG) - set(HELD_OUT_KINDS))
    bank = not_ecg_bank(n_kinds, 900, spec, 3)
    assert bank.shape == (n_kinds, 2, 900)
    assert np.isfinite(bank).all()
    assert set(drawn) == set(NOT_ECG) - set(HELD_OUT_KINDS)
    assert set(HELD_OUT_KINDS) < set(NOT_ECG)
    np.testing.assert_array_equal(not_ecg_bank(5, 900, spec, 3), bank[:5])


def test_unknown_settings_are_refused():
    with pytest.raises(pydantic.ValidationError):
        FitConfig(epoch=3)
