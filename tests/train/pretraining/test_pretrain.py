"""Pre-training runs: what a run folder holds, and that a broken-off run ends like an undisturbed one."""

import csv
import io
import json
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training runs in torch; the base install has none")
pytest.importorskip("lightning", reason="the engine is Lightning, in the extra `train`")
pytest.importorskip("pyarrow", reason="shards are Arrow files, in the extra `train`")

from safetensors.torch import load_file  # noqa: E402

from lsemvae_edge.benchmarks.kills_pretrain import different_runs, steps  # noqa: E402
from lsemvae_edge.cli import main  # noqa: E402
from lsemvae_edge.errors import BadInputError, UsageError  # noqa: E402
from lsemvae_edge.train.config import ModelConfig  # noqa: E402
from lsemvae_edge.train.config_pretrain import PretrainConfig  # noqa: E402
from lsemvae_edge.train.folder_lock import sole_writer  # noqa: E402
from lsemvae_edge.train.pretrain import pretrain  # noqa: E402
from lsemvae_edge.train.shards import open_shards  # noqa: E402

TINY = ModelConfig(recipe="edge", n_samples=64, latent_dim=8, fusion="masked", objective="posterior")
POOLED = TINY.model_copy(
    update={"encoder": "pooled", "decoder": "conditioned", "latent_dim": 16, "channels": (4, 6), "strides": (4, 2)}
)
QUICK = PretrainConfig(epochs=3, batch_size=8, logger="none", accelerator="cpu", hide_chest=0.3, hide_random=0.3)


@pytest.fixture
def shards(shard_folder):
    return open_shards(shard_folder)


def changed(**changes):
    return PretrainConfig(**{**QUICK.model_dump(), **changes})


def curve(run):
    """Return the rows of a curve without what the clock decides."""
    with (run / "curve.csv").open() as stream:
        return [
            {k: v for k, v in row.items() if k not in ("records_per_s", "seconds")} for row in csv.DictReader(stream)
        ]


def test_a_run_learns_and_leaves_its_folder(shards, tmp_path):
    said = []
    config = changed(epochs=8, learning_rate=0.01, kl_weight=1e-4, kl_warmup_epochs=2)
    result = pretrain(shards, TINY, config, tmp_path / "run", say=said.append)
    rows = curve(tmp_path / "run")
    assert [int(row["epoch"]) for row in rows] == list(range(8))
    assert [int(row["step"]) for row in rows] == [6 * (epoch + 1) for epoch in range(8)]
    assert float(rows[-1]["val_total"]) < 0.75 * float(rows[0]["val_total"])
    for row in rows:
        terms = (float(row[f"train_{name}"]) for name in ("reconstruction", "kl", "alignment"))
        reconstruction, kl, alignment = terms
        expected = reconstruction + float(row["kl_weight"]) * kl + 0.1 * alignment
        assert float(row["train_total"]) == pytest.approx(expected, rel=1e-5)
    assert len(said) == 8
    assert "records/s" in said[0]
    assert "min left" in said[0]
    best = min(range(8), key=lambda epoch: float(rows[epoch]["val_total"]))
    assert (result.stopped, result.epochs, result.best_epoch) == ("epochs", 8, best)
    assert (result.train_records, result.validation_records, result.left_out) == (48, 6, 0)
    assert result.best_validation == float(rows[best]["val_total"])
    assert json.loads((tmp_path / "run" / "result.json").read_text())["records_per_s"] == result.records_per_s > 0
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert ModelConfig(**kept["model"]) == TINY
    assert PretrainConfig(**kept["run"]) == config
    assert kept["shards"] == shards.digest
    assert {"torch", "lightning", "lsemvae_edge"} <= kept["versions"].keys()
    TINY.build().load_state_dict(load_file(tmp_path / "run" / "weights.safetensors"))
    # Nothing but plain values, so that loading runs no code.
    torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def undisturbed(shard_folder, tmp_path_factory):
    """Runs of 6 steps an epoch with accumulation and validation; one of a model with batch norms."""
    runs = {}
    for name, model in (("dense", TINY), ("pooled", POOLED)):
        runs[name] = tmp_path_factory.mktemp("undisturbed") / name
        pretrain(open_shards(shard_folder), model, changed(accumulate_grad_batches=2), runs[name])
    return runs


# An epoch reads 12 parts to train and 2 to validate; a checkpoint follows every second step, that is every fourth part.
@pytest.mark.parametrize(
    ("kind", "breaks"),
    [
        ("dense", [2, 7, 6, 13]),
        ("dense", [14, 1, 15]),
        ("pooled", [21, 5]),
    ],
)
def test_a_broken_off_run_ends_like_an_undisturbed_one(shards, undisturbed, tmp_path, kind, breaks):
    config = changed(accumulate_grad_batches=2, checkpoint_every_steps=2)
    model = {"dense": TINY, "pooled": POOLED}[kind]
    read = shards.signals
    for reads in breaks:
        left = iter(range(reads))

        def break_off(index, left=left):
            if next(left, None) is None:
                raise OSError("the disk is gone")
            return read(index)

        shards.signals = break_off
        with pytest.raises(OSError, match="gone"):
            pretrain(shards, model, config, tmp_path / "run")
        assert not (tmp_path / "run" / "result.json").exists()
    shards.signals = read
    assert pretrain(shards, model, config, tmp_path / "run").epochs == 3
    assert different_runs(tmp_path / "run", undisturbed[kind]) == []


def test_the_comparison_of_runs_sees_weights_and_curves(shards, undisturbed, tmp_path):
    pretrain(shards, TINY, changed(accumulate_grad_batches=2, learning_rate=5.1e-4), tmp_path / "run")
    found = different_runs(tmp_path / "run", undisturbed["dense"])
    assert any(text.startswith("best encoders.0.conv1.weight: differs") for text in found)
    assert any(text.startswith("last model.encoders.0.conv1.weight: differs") for text in found)
    assert "curve: row 0 differs" in found
    assert steps(tmp_path / "run") == 18


def test_a_finished_run_is_not_trained_again_but_may_go_on(shards, tmp_path):
    first = pretrain(shards, TINY, changed(epochs=1), tmp_path / "run")
    stamp = (tmp_path / "run" / "last.ckpt").stat().st_mtime_ns
    assert pretrain(shards, TINY, changed(epochs=1), tmp_path / "run") == first
    assert (tmp_path / "run" / "last.ckpt").stat().st_mtime_ns == stamp
    assert pretrain(shards, TINY, changed(epochs=3), tmp_path / "run").epochs == 3
    pretrain(shards, TINY, QUICK, tmp_path / "straight")
    assert different_runs(tmp_path / "run", tmp_path / "straight") == []


def test_workers_change_nothing(shards, tmp_path):
    pretrain(shards, TINY, changed(epochs=2), tmp_path / "none")
    pretrain(shards, TINY, changed(epochs=2, num_workers=2), tmp_path / "two")
    assert different_runs(tmp_path / "none", tmp_path / "two") == []


def test_half_precision_runs_close_to_full(shards, tmp_path):
    pretrain(shards, TINY, QUICK, tmp_path / "full")
    pretrain(shards, TINY, changed(precision="bf16-mixed"), tmp_path / "half")
    last = [float(curve(tmp_path / name)[-1]["val_total"]) for name in ("full", "half")]
    assert last[0] != last[1]
    assert last[0] == pytest.approx(last[1], rel=0.02)


def test_a_time_budget_ends_a_run_at_an_epoch_and_a_larger_one_continues(shards, tmp_path):
    result = pretrain(shards, TINY, changed(max_minutes=1e-6), tmp_path / "run")
    assert (result.stopped, result.epochs) == ("max_minutes", 1)
    assert pretrain(shards, TINY, changed(max_minutes=1e-6), tmp_path / "run") == result
    assert pretrain(shards, TINY, QUICK, tmp_path / "run").stopped == "epochs"


def test_early_stopping_keeps_the_best_weights(shards, tmp_path):
    config = changed(epochs=30, patience=2, learning_rate=0.1, kl_weight=1e-4)
    result = pretrain(shards, TINY, config, tmp_path / "run")
    totals = [float(row["val_total"]) for row in curve(tmp_path / "run")]
    assert result.stopped == "early_stopping"
    assert result.epochs == result.best_epoch + 3 < 30
    assert min(totals) == totals[result.best_epoch] == result.best_validation
    best = load_file(tmp_path / "run" / "weights.safetensors")
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["state_dict"]
    assert any(not torch.equal(value, last[f"model.{key}"]) for key, value in best.items())


def test_without_validation_the_last_weights_are_kept(shards, tmp_path):
    result = pretrain(shards, TINY, changed(validation_folds=()), tmp_path / "run")
    assert (result.best_epoch, result.best_validation, result.validation_records) == (2, None, 0)
    assert {row["val_total"] for row in curve(tmp_path / "run")} == {""}
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["state_dict"]
    for key, value in load_file(tmp_path / "run" / "weights.safetensors").items():
        assert torch.equal(value, last[f"model.{key}"])


def test_given_rows_take_the_place_of_folds(shards, tmp_path):
    rows = np.arange(20)
    result = pretrain(shards, TINY, QUICK, tmp_path / "run", train_index=rows[:15], validation_index=rows[15:])
    assert (result.train_records, result.validation_records) == (15, 5)
    with pytest.raises(UsageError, match="train_rows"):
        pretrain(shards, TINY, QUICK, tmp_path / "run", train_index=rows[:14], validation_index=rows[15:])


# Loggers and the terminal


def test_tensorboard_shows_the_curve(shards, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    pretrain(shards, TINY, changed(logger="tensorboard", log_every_steps=1), tmp_path / "run")
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "logs"))
    events.Reload()
    shown = [event.value for event in events.Scalars("val/total")]
    assert shown == pytest.approx([float(row["val_total"]) for row in curve(tmp_path / "run")], rel=1e-5)
    assert [event.step for event in events.Scalars("train/step_total")] == list(range(1, 19))


def test_mlflow_shows_the_curve_of_all_starts_in_one_run(shards, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is a choice, in the extra `train`")
    for epochs in (1, 3):
        pretrain(shards, TINY, changed(logger="mlflow", epochs=epochs), tmp_path / "run")
    client = mlflow.tracking.MlflowClient(tracking_uri=(tmp_path / "run" / "logs" / "mlflow").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("lsemvae-edge").experiment_id])
    history = client.get_metric_history(run.info.run_id, "val/total")
    assert [point.value for point in history] == [float(row["val_total"]) for row in curve(tmp_path / "run")]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_rate_and_time_left(shards, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(sys, "stderr", Terminal())
    pretrain(shards, TINY, QUICK, tmp_path / "run", say=said.append)
    shown = sys.stderr.getvalue()
    assert not said
    assert "144/144" in shown.replace(" ", "")
    assert "records/s" in shown
    assert "<" in shown


# What cannot work is said


@pytest.mark.parametrize(
    ("model", "config", "named"),
    [
        (TINY, {"learning_rate": 1e-3}, "pretrain.learning_rate"),
        (TINY, {"seed": 1}, "pretrain.seed"),
        (TINY.model_copy(update={"latent_dim": 16}), {}, "model.latent_dim"),
    ],
)
def test_a_folder_of_another_run_is_refused(shards, tmp_path, model, config, named):
    pretrain(shards, TINY, changed(epochs=1), tmp_path)
    before = (tmp_path / "last.ckpt").read_bytes()
    with pytest.raises(UsageError, match=named):
        pretrain(shards, model, changed(epochs=1, **config), tmp_path)
    assert (tmp_path / "last.ckpt").read_bytes() == before


def test_a_folder_has_one_writer(shards, tmp_path):
    with sole_writer(tmp_path), pytest.raises(UsageError, match="Another process"):
        pretrain(shards, TINY, changed(epochs=1), tmp_path)
    assert not (tmp_path / "last.ckpt").exists()
    assert pretrain(shards, TINY, changed(epochs=1), tmp_path).epochs == 1


def test_other_data_is_refused(shards, make_shards, tmp_path):
    pretrain(shards, TINY, changed(epochs=1), tmp_path)
    with pytest.raises(UsageError, match="shards"):
        pretrain(open_shards(make_shards(seed=1)), TINY, changed(epochs=1), tmp_path)


@pytest.mark.parametrize(
    ("model", "config", "error", "words"),
    [
        ({"recipe": "reference"}, {}, UsageError, "recipe edge"),
        ({"n_samples": 104}, {}, UsageError, "96 samples"),
        ({"fusion": "hime"}, {}, UsageError, "cannot leave leads out"),
        ({}, {"train_folds": (11,)}, BadInputError, "No recording is left"),
    ],
)
def test_what_does_not_fit_is_said(shards, tmp_path, model, config, error, words):
    with pytest.raises(error, match=words):
        pretrain(shards, TINY.model_copy(update=model), changed(**config), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_recordings_without_chest_leads_train_the_masked_model_and_are_left_out_of_others(make_shards, tmp_path):
    shards = open_shards(make_shards(without_chest=10))
    whole = changed(epochs=1, hide_chest=0, hide_random=0)
    masked = pretrain(shards, TINY, whole, tmp_path / "masked")
    assert (masked.train_records, masked.left_out) == (48, 0)
    hime = pretrain(shards, TINY.model_copy(update={"fusion": "hime"}), whole, tmp_path / "hime")
    # Of the first ten recordings eight train and one validates.
    assert (hime.train_records, hime.validation_records, hime.left_out) == (40, 5, 9)


# Command line


def command(shard_folder, tmp_path, *more):
    (tmp_path / "model.json").write_text(TINY.model_dump_json())
    (tmp_path / "config.json").write_text(QUICK.model_dump_json())
    arguments = ["--shards", shard_folder, "--model", tmp_path / "model.json", "--config", tmp_path / "config.json"]
    return main(["train", "pretrain", *map(str, [*arguments, "--out", tmp_path / "run", *more])])


def test_the_command_prints_the_result_and_nothing_else_on_standard_output(shard_folder, tmp_path, capsys):
    assert command(shard_folder, tmp_path, "--set", "epochs=2", "--set", "precision=bf16-mixed", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["epochs"] == 2
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert kept["pretrain"]["precision"] == "bf16-mixed"
    assert command(shard_folder, tmp_path) == 2
    assert "precision" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--set", "epochs"], "KEY=VALUE"),
        (["--set", "epocs=3"], "epocs"),
        (["--set", "epochs=many"], "epochs"),
        (["--model", "nothing"], "preset"),
        (["--config", "nothing.json"], "nothing.json"),
    ],
)
def test_a_command_without_meaning_says_what_is_wrong(shard_folder, tmp_path, capsys, more, words):
    assert command(shard_folder, tmp_path, *more) == 2
    assert words in capsys.readouterr().err
