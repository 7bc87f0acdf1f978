"""Students and their teachers on a cohort small enough for a test."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training runs in torch; the base install has none")
pydantic = pytest.importorskip("pydantic", reason="the training configuration needs the extra `train`")
pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge.leads import LIMB_LEADS, STANDARD_12  # noqa: E402
from lsemvae_edge.metrics import auroc  # noqa: E402
from lsemvae_edge.model import SIZES, Student, StudentConfig  # noqa: E402
from lsemvae_edge.synthetic.heart import Heart, simulate  # noqa: E402
from lsemvae_edge.train import beat_batches, distill, finetune, lessons  # noqa: E402
from lsemvae_edge.train.cohort import Cohort  # noqa: E402
from lsemvae_edge.train.config_distill import (  # noqa: E402
    DistillConfig,
    FitConfig,
    TeacherConfig,
    shipped_recipe,
)
from lsemvae_edge.train.distill import GUARDS, fit, predict, sized, teach  # noqa: E402
from lsemvae_edge.train.labels import N_AUXILIARY  # noqa: E402
from lsemvae_edge.train.recipes import RECIPES  # noqa: E402

N = 96
N_OUTPUTS = 2 + len(GUARDS)
QUICK = FitConfig(
    size="tiny",
    epochs=2,
    batch_size=32,
    swapped_per_batch=4,
    strange_per_batch=2,
    strange_bank=12,
    ema_decay=0.7,
    learning_rate=1e-2,
)
LONGER = QUICK.model_copy(update={"epochs": 10})
TEACHING = QUICK.model_copy(update={"swapped_per_batch": 0, "strange_per_batch": 0, "alone": 0.0, "epochs": 1})
TWELVE, SIX = (TeacherConfig(leads=leads, fit=TEACHING) for leads in ("12L", "6L"))


@pytest.fixture(scope="module")
def everybody():
    """Two recordings a patient, half of the hearts turned to the right; a third lacks chest leads or side."""
    rng = np.random.default_rng(0)
    right = np.arange(N) // 2 % 2
    beats, present = [], []
    for k in range(N):
        axis = rng.normal(110.0 if right[k] else 40.0, 20.0)
        heart = Heart(rate_bpm=60 + k // 3, qrs_axis_deg=axis, right_ratio=0.6 * right[k])
        record = simulate(heart, 10.0, 500.0, k, ("I", "II") if k % 3 == 0 else STANDARD_12)
        beat, there = RECIPES["beat"].apply(record)
        beats.append(beat)
        present.append(there)
    auxiliary = np.full((N, N_AUXILIARY), np.nan, dtype=np.float32)
    auxiliary[:, 0] = 1 - right
    names = np.arange(N).astype(str)
    return Cohort(
        beats=np.stack(beats),
        pairs=np.zeros((N, 2, 4), dtype=np.float32),
        present=np.stack(present),
        tasks=("right_heart_pattern", "heart_side"),
        targets=np.stack([right, np.where(np.arange(N) % 3, right, np.nan)], axis=1).astype(np.float32),
        auxiliary=auxiliary,
        fold=np.where(np.arange(N) < 64, 1, 9),
        patient=(np.arange(N) // 2).astype(str),
        source=np.full(N, "ptbxl_12lead"),
        site=np.full(N, ""),
        device=np.full(N, ""),
        sex=np.full(N, ""),
        age_years=np.full(N, np.nan, dtype=np.float32),
        right_axis_like=right == 1,
        record_id=names,
    )


@pytest.fixture(scope="module")
def cohort(everybody):
    return everybody.select(everybody.fold == 1)


@pytest.fixture(scope="module")
def held_out(everybody):
    return everybody.select(everybody.fold == 9)


@pytest.fixture(scope="module")
def once(cohort):
    losses = []
    return fit(cohort, LONGER, progress=lambda epoch, loss: losses.append((epoch, loss))), losses


@pytest.fixture(scope="module")
def quick(cohort):
    return fit(cohort, QUICK)


def same(model, other):
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_loss_falls_and_every_epoch_is_told(once):
    _, losses = once
    assert [epoch for epoch, _ in losses] == list(range(LONGER.epochs))
    assert losses[-1][1] < 0.9 * losses[0][1]


def test_a_fitted_student_tells_the_two_kinds_of_heart_apart_in_other_patients(once, held_out):
    model, _ = once
    output = predict(model, held_out)
    assert output.logits.shape == (len(held_out), N_OUTPUTS)
    assert auroc(held_out.targets[:, 0], output.logits[:, 0].numpy()) > 0.8
    assert output.contributions.shape == (len(held_out), 6 * N_OUTPUTS)


def test_the_fitted_model_is_ready_for_use(once, cohort):
    model, _ = once
    assert not model.training
    assert set(model.state_dict()) == set(Student(sized("tiny", "6L", N_OUTPUTS)).state_dict())
    assert torch.equal(predict(model, cohort).logits, predict(model, cohort).logits)


def test_the_same_seed_gives_the_same_model_and_another_one_another(quick, cohort):
    assert same(fit(cohort, QUICK), quick)
    assert not same(fit(cohort, QUICK.model_copy(update={"seed": 1})), quick)


def test_fitting_does_not_change_the_cohort(cohort):
    before = copy.deepcopy(vars(cohort))
    fit(cohort, QUICK.model_copy(update={"epochs": 1, "mixup": 0.4}))
    for name, value in vars(cohort).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_outputs_for_further_statements_exist_only_while_fitting(quick, cohort):
    whole = fit(cohort, QUICK, keep_auxiliary=True)
    logits = predict(whole, cohort).logits
    assert logits.shape == (len(cohort), N_OUTPUTS + N_AUXILIARY)
    torch.testing.assert_close(predict(quick, cohort).logits, logits[:, :N_OUTPUTS])


def test_a_teacher_of_twelve_leads_reads_the_chest_leads(cohort):
    teacher = fit(cohort, TEACHING, leads="12L")
    assert teacher.config.n_leads == 12
    assert teacher.config.groups == ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))
    with_chest = cohort.select(cohort.has_chest_leads)
    logits = predict(teacher, with_chest, "12L").logits
    limb_only = predict(teacher, with_chest, "12L", shown=LIMB_LEADS).logits
    assert torch.isfinite(limb_only).all()
    assert not torch.allclose(logits, limb_only)


def test_masked_leads_are_not_read(once, cohort):
    model, _ = once
    spoiled = cohort.beats.copy()
    spoiled[:, 2:] = 100.0
    other = Cohort(**{**vars(cohort), "beats": spoiled})
    for one in (("I",), ("I", "II")):
        assert torch.equal(predict(model, cohort, shown=one).logits, predict(model, other, shown=one).logits)


def test_prediction_does_not_depend_on_what_else_is_predicted(once, cohort):
    model, _ = once
    together = predict(model, cohort).logits
    torch.testing.assert_close(predict(model, cohort.select(np.array([3]))).logits[0], together[3], atol=1e-4, rtol=0)
    assert sum(len(x) for x, _ in distill.inputs(cohort, batch_size=7)) == len(cohort)


@pytest.fixture
def composed(cohort):
    """A batch of 16 recordings with swapped copies and strange inputs, one lead alone in some, and its targets."""
    generator = torch.Generator().manual_seed(0)
    rows = cohort.select(np.arange(16))
    batch = beat_batches.compose(
        torch.from_numpy(rows.beats), torch.from_numpy(rows.present), beat_batches.strange_beats(6, 0),
        leads=tuple(range(6)), fs_hz=125.0, swapped=4, n_strange=3, alone=0.3, generator=generator,
    )  # fmt: skip
    auxiliary = torch.from_numpy(rows.auxiliary)
    targets = torch.cat([torch.from_numpy(rows.targets), torch.zeros(16, len(GUARDS)), auxiliary], dim=1)
    return batch, distill._wanted(targets, batch, n_tasks=2), targets


def test_swapped_copies_never_carry_a_task_label(composed):
    _, wanted, _ = composed
    swapped = wanted[16:20]
    assert swapped[:, :2].isnan().all()
    assert (swapped[:, 2] == 1).all()
    assert (swapped[:, 3] == 0).all()
    assert swapped[:, 4:].isnan().all()


def test_what_is_no_ecg_teaches_one_guard_alone(composed):
    _, wanted, _ = composed
    strange = wanted[20:]
    assert len(strange) == 3
    assert (strange[:, 3] == 1).all()
    assert strange[:, [0, 1, 2, *range(4, strange.shape[1])]].isnan().all()


def test_real_recordings_carry_their_labels_and_one_lead_alone_says_nothing_of_electrodes(composed):
    batch, wanted, targets = composed
    alone = batch.mask[:16].sum(dim=1) == 1
    assert 0 < alone.sum() < 16
    assert wanted[:16][alone, 2].isnan().all()
    assert (wanted[:16][~alone, 2] == 0).all()
    others = [0, 1, *range(3, targets.shape[1])]
    torch.testing.assert_close(wanted[:16, others], targets[:, others], equal_nan=True)


def test_the_loss_learns_nothing_from_what_is_not_known(composed):
    _, wanted, _ = composed
    logits = torch.zeros(wanted.shape, requires_grad=True)
    finetune.weighted_loss(logits, wanted, torch.ones(wanted.shape[1])).backward()
    assert (logits.grad[wanted.isnan()] == 0).all()
    assert (logits.grad[~wanted.isnan()] != 0).all()


def test_mixing_never_makes_a_label_of_one_that_is_not_known(composed):
    batch, wanted, _ = composed
    opinion = torch.rand(16, 2 + N_AUXILIARY)
    generator = torch.Generator().manual_seed(3)
    x, mask, mixed, (said, nothing) = distill._mixed(batch, wanted, (opinion, None), 0.4, generator)
    assert nothing is None
    assert torch.equal(mask, batch.mask)
    assert torch.equal(x[16:], batch.x[16:])
    assert torch.equal(mixed[16:].nan_to_num(-1), wanted[16:].nan_to_num(-1)), "guards' examples are not mixed"
    changed = (x[:16] != batch.x[:16]).flatten(1).any(dim=1)
    assert changed.sum() > 4
    assert mixed[:16][wanted[:16].isnan()].isnan().all(), "own missing labels stay missing"
    assert (mixed[:16, 1].isnan() & ~wanted[:16, 1].isnan()).any(), "and the partner's are lost, too"
    known = ~mixed[:16].isnan()
    assert ((mixed[:16][known] >= 0) & (mixed[:16][known] <= 1)).all()
    assert not x[:16][batch.mask[:16] == 0].any(), "leads that are absent stay so"
    assert (said[changed] != opinion[changed]).any()
    untouched = distill._mixed(batch, wanted, (opinion,), 0.0, generator)
    assert untouched[0] is batch.x


def test_mixing_keeps_to_recordings_that_show_the_same_leads(composed):
    batch, wanted, _ = composed
    numbered = beat_batches.Batch(
        torch.zeros_like(batch.x) + torch.arange(len(batch.x))[:, None, None, None], batch.mask, 16, 4
    )
    for seed in range(5):
        x, _, _, _ = distill._mixed(numbered, wanted, (), 0.4, torch.Generator().manual_seed(seed))
        for row in range(16):
            alike = (batch.mask[:16] == batch.mask[row]).all(dim=1).nonzero()[:, 0]
            assert alike.min() - 1e-4 <= x[row, 0, 0, 0] <= alike.max() + 1e-4


def test_teachers_never_learn_from_the_patient_they_are_asked_about(cohort, held_out, monkeypatch):
    learned, asked = [], []

    def noticed_fit(of, config, *, leads, keep_auxiliary):
        learned.append((set(of.patient), config.seed, leads))
        return Student(sized("tiny", leads, N_OUTPUTS + N_AUXILIARY))

    def noticed_predict(model, of, leads):
        asked.append((set(of.patient), set(of.record_id)))
        return predict(model, of, leads)

    monkeypatch.setattr(distill, "fit", noticed_fit)
    monkeypatch.setattr(distill, "predict", noticed_predict)
    teachers = (TWELVE.model_copy(update={"seeds": (0, 5)}), SIX)
    config = DistillConfig(student=QUICK, teachers=teachers, folds=3)
    said = []
    teach(cohort, config, held_out, say=said.append)
    assert [(seed, leads) for _, seed, leads in learned] == [(0, "12L")] * 3 + [(5, "12L")] * 3 + [(0, "6L")] * 3
    assert len(said) == len(learned) == 9
    # Each teacher is asked about its own fold, then about other people.
    for number, (patients, _, leads) in enumerate(learned):
        (own, _), (others, _) = asked[2 * number : 2 * number + 2]
        assert own
        assert not patients & own
        assert not patients & others
        assert patients | own == set(cohort.patient[cohort.has_chest_leads] if leads == "12L" else cohort.patient)
    for first in (0, 6, 12):
        about = [records for _, records in asked[first : first + 6 : 2]]
        assert sum(map(len, about)) == len(set.union(*about)), "every recording has one teacher of a kind"


@pytest.fixture
def opinionated(monkeypatch):
    """Teachers that say one thing of everything: 4 with twelve leads, 0 with six."""

    def constant(of, config, *, leads, keep_auxiliary):
        model = Student(sized("tiny", leads, N_OUTPUTS + N_AUXILIARY)).eval()
        for head in (model.fused_head, *model.lead_heads):
            torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(model.fused_head.bias, 4.0 if leads == "12L" else 0.0)
        return model

    monkeypatch.setattr(distill, "fit", constant)


def test_where_no_teacher_can_see_there_is_no_opinion(opinionated, cohort, held_out):
    taught = teach(cohort, DistillConfig(teachers=(TWELVE,), folds=2), held_out)
    assert taught.soft.shape == (len(cohort), 2 + N_AUXILIARY)
    unseen = ~torch.from_numpy(cohort.has_chest_leads)
    assert unseen.any()
    assert taught.soft[unseen].isnan().all()
    assert (taught.soft[~unseen] == 4).all()
    assert set(taught.held_out) == {"12L"}
    said = taught.held_out["12L"]
    assert said.shape == (len(held_out), 2 + N_AUXILIARY)
    np.testing.assert_array_equal(said.isnan().all(dim=1).numpy(), ~held_out.has_chest_leads)


def test_opinions_are_averaged_by_the_teachers_weights(opinionated, cohort):
    teachers = (TWELVE.model_copy(update={"weight": 3.0, "seeds": (0, 1)}), SIX.model_copy(update={"seeds": (0, 1)}))
    soft = teach(cohort, DistillConfig(teachers=teachers, folds=2)).soft
    seen = torch.from_numpy(cohort.has_chest_leads)
    torch.testing.assert_close(soft[seen], torch.full_like(soft[seen], 3.0))
    torch.testing.assert_close(soft[~seen], torch.zeros_like(soft[~seen]))


def test_without_an_opinion_labels_alone_teach(quick, cohort):
    config = DistillConfig(student=QUICK, teachers=(TWELVE,))
    nothing = torch.full((len(cohort), 2 + N_AUXILIARY), torch.nan)
    assert same(distill.distill(cohort, config, nothing), quick)
    assert same(distill.distill(cohort, DistillConfig(student=QUICK)), quick)


def test_an_opinion_pulls_the_task_logits_towards_it(quick, cohort):
    config = DistillConfig(student=QUICK, teachers=(TWELVE,), soft_weight=5.0)
    for sign in (-1, 1):
        soft = torch.full((len(cohort), 2 + N_AUXILIARY), sign * 5.0)
        moved = predict(distill.distill(cohort, config, soft), cohort).logits - predict(quick, cohort).logits
        assert (sign * moved[:, :2].mean(dim=0) > 0.1).all()


@pytest.mark.parametrize("hint", ["chest", "latent", "features"])
def test_a_hint_from_the_chest_leads_is_there_where_they_are(cohort, hint):
    wanted = distill.hints(cohort, DistillConfig(student=QUICK, teachers=(TWELVE,), hint=hint))
    assert len(wanted) == len(cohort)
    np.testing.assert_array_equal(wanted.isnan().all(dim=1).numpy(), ~cohort.has_chest_leads)
    known = wanted[torch.from_numpy(cohort.has_chest_leads)]
    assert torch.isfinite(known).all()
    assert 0.5 < known.std() < 1.5


def test_what_is_measured_is_known_of_every_recording(cohort):
    wanted = distill.hints(cohort, DistillConfig(hint="measured"))
    assert wanted.shape == (len(cohort), len(lessons.MEASUREMENTS))
    torch.testing.assert_close(wanted.mean(dim=0), torch.zeros(wanted.shape[1]), atol=1e-4, rtol=0)
    right = torch.from_numpy(cohort.targets[:, 0] == 1)
    assert wanted[right, 0].mean() < wanted[~right, 0].mean(), "hearts turned to the right have a smaller cosine"


def test_without_a_hint_and_for_matched_experts_nothing_is_predicted(cohort):
    for hint in ("none", "experts"):
        assert distill.hints(cohort, DistillConfig(teachers=(TWELVE,), hint=hint)) is None


@pytest.mark.parametrize("hint", ["chest", "latent", "features", "experts", "measured"])
def test_a_hint_changes_what_is_learned_and_leaves_nothing_in_the_student(quick, cohort, hint):
    config = DistillConfig(student=QUICK, teachers=(TWELVE,), hint=hint, hint_weight=3.0)
    nothing = torch.full((len(cohort), 2 + N_AUXILIARY), torch.nan)
    taught = distill.distill(cohort, config, nothing)
    assert set(taught.state_dict()) == set(quick.state_dict())
    assert not any(module._forward_hooks for module in taught.modules())
    assert not same(taught, quick)


def test_matched_experts_come_closer_to_the_teachers(cohort):
    config = DistillConfig(student=LONGER, teachers=(TWELVE,), hint="experts", hint_weight=10.0)
    guide = distill.fit_guide(cohort, config)
    ((x, mask),) = distill.inputs(cohort)
    plain = fit(cohort, LONGER)
    taught = fit(cohort, LONGER, guide=guide, config_of_soft=config)
    with torch.no_grad():
        gaps = [lessons.apart(model(x, mask), guide, x, mask) for model in (plain, taught)]
    assert gaps[1] < 0.5 * gaps[0]


def test_the_guide_sees_twelve_leads_and_has_the_students_size_where_experts_are_matched(cohort, monkeypatch):
    asked = []
    monkeypatch.setattr(distill, "fit", lambda of, how, *, leads: asked.append((of.has_chest_leads.all(), how, leads)))
    for hint in ("latent", "features", "experts"):
        base = QUICK.model_copy(update={"size": "base"})
        distill.fit_guide(cohort, DistillConfig(student=base, teachers=(SIX, TWELVE), hint=hint))
    assert [(seen, leads) for seen, _, leads in asked] == [(True, "12L")] * 3
    assert [how.size for _, how, _ in asked] == ["tiny", "tiny", "base"]


def test_a_shape_takes_the_place_of_a_named_size(cohort):
    shape = StudentConfig(channels=(4, 6), kernels=(3, 3), strides=(2, 2), latent_dim=5)
    made = fit(cohort, QUICK.model_copy(update={"epochs": 1}), shape=shape)
    assert (made.config.channels, made.config.latent_dim, made.config.n_outputs) == ((4, 6), 5, N_OUTPUTS)


def test_teachers_and_student_in_one_go_tell_what_they_do(cohort):
    said = []
    config = DistillConfig(student=QUICK.model_copy(update={"epochs": 1}), teachers=(TWELVE,), folds=2)
    model = distill.distill(cohort, config, say=said.append)
    assert said[:2] == ["12L teacher, seed 0, fold 1 of 2", "12L teacher, seed 0, fold 2 of 2"]
    assert said[2].startswith("student, epoch 1 of 1: loss ")
    assert torch.isfinite(predict(model, cohort).logits).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: FitConfig(epoch=3),
        lambda: TeacherConfig(leads="12L", seed=3),
        lambda: TeacherConfig(leads="3L"),
        lambda: DistillConfig(studnet=FitConfig()),
        lambda: DistillConfig.model_validate({"student": {"epoch": 3}}),
        lambda: DistillConfig(folds=1),
        lambda: DistillConfig(temperature=0),
        lambda: FitConfig(alone=1.5),
        lambda: shipped_recipe("huge"),
        lambda: DistillConfig(hint="latent"),
        lambda: DistillConfig(hint="features", teachers=(SIX,)),
        lambda: DistillConfig(hint="experts"),
    ],
)
def test_a_recipe_that_means_nothing_is_refused(make):
    with pytest.raises(pydantic.ValidationError):
        make()


@pytest.mark.parametrize("size", SIZES)
def test_the_shipped_recipe_has_teachers_that_see_the_chest_leads(size):
    recipe = shipped_recipe(size, seed=7)
    assert (recipe.student.size, recipe.student.seed) == (size, 7)
    assert "12L" in {teacher.leads for teacher in recipe.teachers}
    assert recipe.teachers == shipped_recipe().teachers, "teachers are the same for every student"
    assert DistillConfig.model_validate_json(recipe.model_dump_json()) == recipe
    assert all(not teacher.fit.swapped_per_batch and not teacher.fit.alone for teacher in recipe.teachers)
