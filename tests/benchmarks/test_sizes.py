"""The search for a shape: what is counted, which shapes are on the front, and how a trial is kept."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the benchmark trains; the base install has no torch")
pytest.importorskip("litert_torch", reason="the benchmark quantizes, which needs the extra `export`")

import torch
from torch.utils.flop_counter import FlopCounterMode

from lsemvae_edge.benchmarks import judging, sizes, table_files
from lsemvae_edge.benchmarks.fits import Place
from lsemvae_edge.cli import main
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.metrics import Interval
from lsemvae_edge.model import SIZES, Student, StudentConfig, fold_batch_norm
from lsemvae_edge.train.cohort import load_cohort
from lsemvae_edge.train.config_distill import DistillConfig, FitConfig, TeacherConfig
from lsemvae_edge.train.datasets import Synthetic
from lsemvae_edge.train.distill import sized

N_SAMPLES = 100


@pytest.fixture(scope="module")
def cohort():
    return load_cohort(list(Synthetic(n_patients=40, right_share=0.5)), sizes.TASKS)[0]


@pytest.fixture
def row():
    def make(name, auroc, weight_bytes, macs, latency_ms, named=""):
        interval = None if auroc is None else Interval(auroc, auroc - 0.05, auroc + 0.05)
        return {
            "shape": name, "named": named, "auroc_int8": interval, "weight_bytes": weight_bytes, "macs": macs,
            "latency_ms": latency_ms,
        }  # fmt: skip

    return make


def test_multiply_adds_are_those_counted_by_hand():
    shape = StudentConfig(n_leads=2, n_outputs=3, channels=(2, 4), kernels=(3, 5), strides=(2, 3), latent_dim=5)
    first = 2 * 1 * 3 * 5  # ten samples by steps of two
    second = 4 * 2 * 5 * 2  # five samples by steps of three, padded by two on each side
    expert = 2 * 4 * 5
    heads = 2 * 5 * 3
    assert sizes.multiply_adds(shape, 10) == 2 * (first + second + expert + heads)


@pytest.mark.parametrize("name", sizes.GRID)
def test_multiply_adds_are_those_that_torch_counts(name):
    shape = sized(sizes.GRID[name], "6L", 4)
    student = Student(shape).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        student(torch.zeros(1, 6, 1, N_SAMPLES), torch.ones(1, 6))
    assert 2 * sizes.multiply_adds(shape, N_SAMPLES) == counted.get_total_flops()


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_those_of_the_student_with_folded_batch_norms(name):
    shape = sized(name, "6L", 4)
    folded = fold_batch_norm(Student(shape).eval())
    assert sizes.parameters(shape) == sum(value.numel() for value in folded.parameters())


def test_weight_bytes_are_those_in_the_int8_file(student, int8_tflite):
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(int8_tflite, 0))
    held = {tensor.buffer: tensor.type for tensor in model.subgraphs[0].tensors}
    total = {kind: 0 for kind in (schema.TensorType.INT8, schema.TensorType.INT32, schema.TensorType.FLOAT32)}
    for buffer, kind in held.items():
        data = model.buffers[buffer].data
        total[kind] += 0 if data is None else len(data)
    weights, _ = sizes._encoder(student.config)
    assert total[schema.TensorType.INT8] == 6 * (weights - 16 * 7), "all but the convolutions that read the signal"
    # Shapes and small constants are all that a file adds.
    assert sizes.weight_bytes(student.config) == pytest.approx(sum(total.values()), abs=500)


def test_the_named_sizes_fit_what_they_are_for(student, int8_tflite):
    assert sizes.weight_bytes(sized("tiny", "6L", 4)) <= 64 * 1024
    counted = [sizes.weight_bytes(sized(name, "6L", 4)) for name in ("tiny", "small", "base")]
    assert counted == sorted(counted)
    assert len(int8_tflite) < 300_000


def test_the_grid_holds_the_named_sizes_and_no_shape_twice():
    described = [sizes.describe(shape) for shape in SIZES.values()]
    assert set(described) <= set(sizes.GRID)
    assert len({str(shape) for shape in sizes.GRID.values()}) == len(sizes.GRID)
    assert sizes.named_shape("tiny") == sizes.named_shape(sizes.describe(SIZES["tiny"])) == SIZES["tiny"]
    with pytest.raises(UsageError, match="huge"):
        sizes.named_shape("huge")


def test_on_the_front_is_what_no_other_beats():
    accuracy = np.array([0.8, 0.9, 0.85, 0.9, np.nan, 0.8])
    cost = np.array([1.0, 5.0, 6.0, 5.0, 0.1, 2.0])
    # Two that are equal in both stand side by side; what has no accuracy stands nowhere and beats nobody.
    assert sizes.on_front(accuracy, cost).tolist() == [True, True, False, True, False, False]


def test_a_row_names_the_costs_for_which_its_shape_is_on_the_front(row):
    rows = [
        row("a", 0.8, 10, 100, 0.3),
        row("b", 0.9, 20, 90, 0.2),
        row("c", 0.7, 30, 200, 0.4),
        row("d", None, 1, 1, 0),
    ]
    assert [one["front"] for one in sizes.with_front(rows)] == ["weight", "weight, macs, latency", None, None]


def test_the_figure_is_drawn_and_nothing_is_refused(row, tmp_path):
    rows = sizes.with_front(
        [row("a", 0.8, 20_000, 10**5, 0.3, "tiny"), row("b", 0.9, 10**5, 10**6, 0.2), row("c", None, 1, 1, 0)]
    )
    path = sizes.draw(rows, tmp_path / "new" / "sizes.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.read_bytes() == sizes.draw(rows, tmp_path / "again.png").read_bytes()
    with pytest.raises(BadInputError, match="nothing to draw"):
        sizes.draw(rows[2:], tmp_path / "sizes.png")
    with pytest.raises(BadInputError, match="no figure"):
        sizes.draw(rows, tmp_path / "sizes.txt")


def test_a_trial_is_named_after_everything_that_decides_it(cohort, tmp_path):
    shape = SIZES["tiny"]
    place, other = Place("p", cohort, cohort.select(slice(0, 9))), Place("p", cohort, cohort.select(slice(0, 8)))
    taught = DistillConfig(teachers=(TeacherConfig(leads="12L"),))
    trials = [
        sizes.Trial("student", place, DistillConfig(), int8=True, shape=shape),
        sizes.Trial("student", other, DistillConfig(), int8=True, shape=shape),
        sizes.Trial("student", place, taught, int8=True, shape=shape),
        sizes.Trial("student", place, DistillConfig(student=FitConfig(seed=1)), int8=True, shape=shape),
        sizes.Trial("student", place, DistillConfig(), int8=True, shape=replace(shape, latent_dim=5)),
    ]
    assert len({trial.path(tmp_path) for trial in trials}) == len(trials)
    assert trials[0].path(tmp_path) == sizes.Trial("student", place, DistillConfig(), True, shape).path(tmp_path)
    assert trials[0].before() is None
    assert trials[2].before() is not None


def test_without_teachers_the_shipped_recipe_is_left_as_it_is():
    alone, taught = sizes.recipe_of(False, 3), sizes.recipe_of(True, 3)
    assert alone.teachers == ()
    assert taught.teachers
    assert alone.student == taught.student
    assert alone.student.seed == 3


@pytest.fixture(scope="module")
def found(cohort, tmp_path_factory):
    """One shape, one epoch, two seeds: rows as the search makes them."""
    work = tmp_path_factory.mktemp("work")
    shape = StudentConfig(channels=(4, 6), kernels=(5, 3), strides=(4, 4), latent_dim=3)
    place = Place("p", cohort, cohort)
    trials = [
        sizes.Trial(
            "student", place, DistillConfig(student=FitConfig(seed=seed, epochs=1, strange_bank=10)), True, shape
        )
        for seed in (0, 1)
    ]
    for trial in trials:
        assert trial.run(work) == trial.path(work)
    file = trials[0].path(work).with_suffix(".tflite").read_bytes()
    inputs = np.zeros((2, 6, N_SAMPLES), dtype=np.float32)
    (latency,) = sizes.latencies({"it": file}, inputs, rounds=3).values()
    return sizes.row_of("it", shape, cohort, [trial.answers(work) for trial in trials], file, latency), file


def test_a_trial_of_a_shape_without_a_name_gives_a_row(found, cohort):
    row, file = found
    assert row["n"] == len(cohort)
    assert row["positive"] == int(cohort.targets[:, 0].sum())
    assert 0 < row["auroc"].low < row["auroc"].high <= 1
    assert row["auroc_int8"].value == pytest.approx(min(map(float, row["auroc_of_seeds"].split())), abs=1e-3)
    assert row["tflite_bytes"] == len(file) > row["weight_bytes"]
    assert row["named"] == ""
    assert 0 < row["latency_ms"] < 1000


def test_rows_are_a_table_plain_json_and_csv(found, tmp_path):
    rows = sizes.with_front([found[0]])
    lines = table_files.to_markdown(rows).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert json.loads(json.dumps(judging.plain(rows[0]), allow_nan=False))["auroc"].keys() == {"value", "low", "high"}
    table_files.write(tmp_path, "sizes", rows)
    with (tmp_path / "sizes.csv").open(newline="") as stream:
        (read,) = csv.DictReader(stream)
    assert int(read["macs"]) == rows[0]["macs"]
    assert read["auroc_low"]


def test_fold_10_neither_teaches_nor_judges(cohort, monkeypatch, tmp_path):
    entries = list(Synthetic(n_patients=40, right_share=0.5))
    seen = {}

    def load(listed, workers):
        seen["folds"] = {entry.fold for entry in listed}
        both = load_cohort(listed, sizes.TASKS)[0]
        return both, both

    def stop(trials, *_):
        seen["place"] = trials[0].place
        raise StopIteration

    monkeypatch.setattr(sizes.datasets, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(sizes.datasets, "entries", lambda folder: entries)
    monkeypatch.setattr(sizes, "load_both", load)
    monkeypatch.setattr(sizes, "run_all", stop)
    with pytest.raises(StopIteration):
        sizes.evaluate(work=tmp_path, shapes=sizes.GRID, teachers=False, seeds=1, processes=1, say=print)
    assert seen["folds"] == set(range(1, 10))
    assert set(seen["place"].training.fold) == set(range(1, 7))
    assert set(seen["place"].held_out.fold) == {7, 8, 9}


def test_the_command_prints_writes_and_draws(found, monkeypatch, tmp_path, capsys):
    rows, given = sizes.with_front([found[0]]), {}
    monkeypatch.setattr(sizes, "evaluate", lambda **options: given.update(options) or rows)
    figure = tmp_path / "sizes.png"
    assert main(["bench", "sizes", "--plot", str(figure), "--out", str(tmp_path), "--shape", "tiny"]) == 0
    assert capsys.readouterr().out.startswith("| shape | ")
    assert list(given["shapes"].values()) == [SIZES["tiny"]]
    assert {path.name for path in tmp_path.iterdir()} == {"sizes.png", "sizes.csv", "sizes.md"}
    assert main(["bench", "sizes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == "it"
    assert given["shapes"] == sizes.GRID
