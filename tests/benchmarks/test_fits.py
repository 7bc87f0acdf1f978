"""Trainings of a benchmark, each done once."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the benchmark trains; the base install has no torch")
pytest.importorskip("litert_torch", reason="the benchmark quantizes, which needs the extra `export`")

from lsemvae_edge.benchmarks import fits  # noqa: E402
from lsemvae_edge.benchmarks.fits import PLAIN, Fit, Place, plain_examples, run_all  # noqa: E402
from lsemvae_edge.leads import LIMB_MATRIX  # noqa: E402
from lsemvae_edge.train import distill  # noqa: E402
from lsemvae_edge.train.config_distill import DistillConfig, FitConfig, TeacherConfig, shipped_recipe  # noqa: E402
from lsemvae_edge.train.labels import N_AUXILIARY  # noqa: E402

ONE_EPOCH = FitConfig(size="tiny", epochs=1, batch_size=16, swapped_per_batch=2, strange_per_batch=2, strange_bank=8)
TEACHING = ONE_EPOCH.model_copy(update={"swapped_per_batch": 0, "strange_per_batch": 0, "alone": 0.0})
QUICK = DistillConfig(
    student=ONE_EPOCH,
    teachers=tuple(TeacherConfig(leads=leads, fit=TEACHING) for leads in ("12L", "6L")),
    folds=2,
)


@pytest.fixture
def place(cohort_of):
    return Place("somewhere", cohort_of(40, folds=(1, 2), prefix="t"), cohort_of(12))


def with_student(config, **changes):
    return config.model_copy(update={"student": config.student.model_copy(update=changes)})


@pytest.fixture
def one_epoch(monkeypatch):
    """Plain networks that are fitted for one epoch."""
    quick = {kind: (config.model_copy(update={"epochs": 1}), of) for kind, (config, of) in PLAIN.items()}
    monkeypatch.setattr(fits, "PLAIN", quick)


@pytest.mark.parametrize("kind", ["teachers", "student", *PLAIN])
def test_a_training_is_named_after_what_it_learns_from_and_what_is_judged(kind, place, cohort_of, tmp_path):
    first = Fit(kind, place, QUICK).path(tmp_path)
    assert first == Fit(kind, place, QUICK).path(tmp_path)
    assert first.parent == tmp_path
    assert first.name.startswith("cnn" if kind in PLAIN else kind)
    others = [
        replace(place, name="elsewhere"),
        replace(place, training=cohort_of(38, folds=(1, 2), prefix="t")),
        replace(place, held_out=cohort_of(10)),
        replace(place, training=place.held_out, held_out=place.training),
    ]
    assert len({first, *(Fit(kind, other, QUICK).path(tmp_path) for other in others)}) == 5


def test_a_student_is_named_after_all_of_its_recipe(place, tmp_path):
    recipes = [
        QUICK,
        with_student(QUICK, seed=1),
        with_student(QUICK, size="base"),
        with_student(QUICK, mixup=0.2),
        QUICK.model_copy(update={"teachers": ()}),
        QUICK.model_copy(update={"folds": 3}),
        QUICK.model_copy(update={"soft_weight": 0.5}),
        QUICK.model_copy(update={"temperature": 1.0}),
    ]
    paths = {Fit("student", place, recipe).path(tmp_path) for recipe in recipes}
    assert len(paths | {Fit("student", place, QUICK, int8=True).path(tmp_path)}) == len(recipes) + 1


def test_teachers_are_named_after_themselves_and_shared_by_students_of_every_seed_and_size(place, tmp_path):
    def teachers(config):
        return Fit("student", place, config).before().path(tmp_path)

    same = [
        QUICK,
        with_student(QUICK, seed=1),
        with_student(QUICK, size="base"),
        QUICK.model_copy(update={"soft_weight": 0.5}),
    ]
    assert {teachers(config) for config in same} == {Fit("teachers", place, QUICK).path(tmp_path)}
    others = [
        QUICK.model_copy(update={"folds": 3}),
        QUICK.model_copy(update={"teachers": QUICK.teachers[:1]}),
        QUICK.model_copy(update={"teachers": (QUICK.teachers[0].model_copy(update={"seeds": (0, 1)}),)}),
    ]
    assert len({teachers(config) for config in [QUICK, *others]}) == 4


def test_a_plain_network_is_named_after_its_own_configuration(place, tmp_path, request):
    names = [Fit(kind, place, QUICK).path(tmp_path) for kind in PLAIN]
    assert [Fit(kind, place, QUICK.model_copy(update={"teachers": ()})).path(tmp_path) for kind in PLAIN] == names
    names += [Fit(kind, place, with_student(QUICK, seed=1)).path(tmp_path) for kind in PLAIN]
    request.getfixturevalue("one_epoch")
    names += [Fit(kind, place, QUICK).path(tmp_path) for kind in PLAIN]
    assert len(set(names)) == 3 * len(PLAIN)


def test_only_a_student_with_teachers_waits_for_them(place):
    assert Fit("student", place, QUICK).before().kind == "teachers"
    assert Fit("student", place, QUICK.model_copy(update={"teachers": ()})).before() is None
    assert Fit("teachers", place, QUICK).before() is None
    assert all(Fit(kind, place, QUICK).before() is None for kind in PLAIN)


class AtOnce:
    """A pool of processes that works at once, in this one."""

    def __init__(self, *arguments):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *arguments):
        pass

    def submit(self, work, *arguments):
        from concurrent.futures import Future

        done = Future()
        done.set_result(work(*arguments))
        return done


@pytest.fixture
def ran(monkeypatch):
    """The trainings that were done, in order; none is done in truth."""
    done = []

    def run(self, work):
        done.append((self.kind, self.config.student.seed))
        np.savez(self.path(work), soft=np.zeros(1))
        return self.path(work)

    monkeypatch.setattr(fits, "ProcessPoolExecutor", AtOnce)
    monkeypatch.setattr(Fit, "run", run)
    return done


def test_teachers_come_before_their_students_and_nothing_is_done_twice(place, tmp_path, ran):
    students = [Fit("student", place, with_student(QUICK, seed=seed)) for seed in (0, 1, 0)]
    said = []
    run_all([*students, Fit("cnn", place, QUICK)], tmp_path / "work", 2, said.append)
    assert ran == [("teachers", 0), ("student", 0), ("student", 1), ("cnn", 0)]
    assert said[0].startswith("1 trainings to do")
    assert said[-1].startswith("[3/3]")
    said.clear()
    run_all(students, tmp_path / "work", 2, said.append)
    assert len(ran) == 4
    assert said == []


def test_a_finished_training_is_read(place, tmp_path):
    fit = Fit("student", place, QUICK)
    np.savez(fit.path(tmp_path), float=np.ones((12, 4)), int8=np.zeros((12, 4)))
    found = fit.answers(tmp_path)
    assert set(found) == {"float", "int8"}
    assert found["float"].all()


@pytest.mark.parametrize(("of", "n_samples"), [("edge", 960), ("beat", 100)])
def test_plain_networks_read_the_six_limb_leads(place, of, n_samples):
    examples = plain_examples(place.held_out, of)
    assert examples.signals.shape == (12, 12, n_samples)
    assert examples.present[:, :6].all()
    assert not examples.present[:, 6:].any()
    assert not examples.signals[:, 6:].any()
    windows = np.einsum("ij,njk->nik", LIMB_MATRIX, place.held_out.pairs)
    expected = windows if of == "edge" else place.held_out.beats[:, :6]
    np.testing.assert_allclose(examples.signals[:, :6], expected, atol=1e-5)
    assert torch.equal(examples.targets.isnan(), torch.from_numpy(np.isnan(place.held_out.targets)))


def test_teachers_student_and_plain_networks_leave_whole_files(place, tmp_path, monkeypatch, one_epoch):
    monkeypatch.setattr(fits, "ProcessPoolExecutor", AtOnce)
    threads = torch.get_num_threads()
    teachers, student, *plain = (Fit(kind, place, QUICK) for kind in ("teachers", "student", *PLAIN))
    run_all([student, *plain], tmp_path, 1, lambda text: None)
    torch.set_num_threads(threads)
    said = {fit.kind: fit.answers(tmp_path) for fit in (teachers, student, *plain)}
    assert {kind: set(one) for kind, one in said.items()} == {
        "teachers": {"soft", "12L", "6L"},
        "student": {"float"},
        **{kind: {kind} for kind in PLAIN},
    }
    assert said["teachers"]["soft"].shape == (40, 2 + N_AUXILIARY)
    assert said["student"]["float"].shape == (12, 4)
    assert all(said[kind][kind].shape == (12, 2) for kind in PLAIN)
    limb_only = ~place.held_out.has_chest_leads
    np.testing.assert_array_equal(np.isnan(said["teachers"]["12L"]).all(axis=1), limb_only)
    assert np.isfinite(said["teachers"]["6L"]).all()
    assert all(np.isfinite(said[kind][kind]).all() for kind in PLAIN)
    restored = student.student(tmp_path)
    np.testing.assert_allclose(
        distill.predict(restored, place.held_out).logits.numpy(), said["student"]["float"], atol=1e-5
    )
    assert not list(tmp_path.glob("*.[0-9]*.npz")), "no draft is left"


@pytest.mark.slow
def test_an_int8_student_is_asked_through_its_own_file(place, tmp_path):
    config = QUICK.model_copy(update={"teachers": ()})
    fit = Fit("student", place, config, int8=True)
    threads = torch.get_num_threads()
    path = fit.run(tmp_path)
    torch.set_num_threads(threads)
    said = fit.answers(tmp_path)
    assert set(said) == {"float", "int8"}
    assert path.with_suffix(".tflite").is_file()
    error = np.abs(said["int8"] - said["float"]).max()
    assert 0 < error < 0.5 * said["float"].std() + 0.1


def test_the_shipped_recipe_can_be_named(place, tmp_path):
    names = {Fit("student", place, shipped_recipe(size)).path(tmp_path).name for size in ("tiny", "small", "base")}
    assert len(names) == 3
