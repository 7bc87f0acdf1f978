"""Two real processes, started as Lightning starts them and as a cluster's nodes are, compute what one does."""

import csv
import json
import os
import socket
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="training runs in torch; the base install has none")
pytest.importorskip("lightning", reason="the engine is Lightning, in the extra `train`")
pytest.importorskip("pyarrow", reason="shards are Arrow files, in the extra `train`")

from safetensors.torch import load_file  # noqa: E402

from lsemvae_edge.train.config import ModelConfig  # noqa: E402
from lsemvae_edge.train.config_pretrain import PretrainConfig  # noqa: E402
from lsemvae_edge.train.pretrain import pretrain  # noqa: E402
from lsemvae_edge.train.shards import open_shards  # noqa: E402

pytestmark = pytest.mark.slow

MODEL = ModelConfig(recipe="edge", n_samples=64, latent_dim=8, fusion="masked", objective="posterior")
# 45 recordings in batches of 8: the last batch of an epoch has 5, which no number of processes divides.
CONFIG = PretrainConfig(
    epochs=4,
    batch_size=8,
    learning_rate=3e-3,
    kl_weight=1e-3,
    kl_warmup_epochs=2,
    hide_chest=0.3,
    hide_random=0.3,
    accumulate_grad_batches=2,
    accelerator="cpu",
    logger="none",
    checkpoint_every_steps=2,
    validation_folds=(9, 10),
    train_folds=(1, 2, 3, 4, 5, 6, 7),
)


def values(run):
    """Return the losses of a curve, epoch by epoch."""
    with (run / "curve.csv").open() as stream:
        return [
            [float(row[key]) for key in row if key.startswith(("train_", "val_"))] for row in csv.DictReader(stream)
        ]


@pytest.fixture(scope="module")
def alone(shard_folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("alone")
    pretrain(open_shards(shard_folder), MODEL, CONFIG, run)
    return run


def start(folder, shard_folder, options, environment=()):
    """Start one process of the command."""
    folder.mkdir(exist_ok=True)
    (folder / "model.json").write_text(MODEL.model_dump_json())
    (folder / "config.json").write_text(CONFIG.model_dump_json())
    code = "import sys; from lsemvae_edge.cli import main; sys.exit(main())"
    (folder / "start.py").write_text(code)
    arguments = ["--shards", shard_folder, "--model", folder / "model.json", "--config", folder / "config.json"]
    settings = [part for key, value in options.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, folder / "start.py", "train", "pretrain", *arguments, "--out", folder / "run", *settings]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST", "SLURM"))}
    return subprocess.Popen(
        [*map(str, command), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**kept, "OMP_NUM_THREADS": "1", **dict(environment)},
    )


def finish(process):
    printed, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return printed, said


def assert_same_curve(one, other):
    first, second = values(one), values(other)
    assert len(first) == len(second) == CONFIG.epochs
    assert first[-1][0] < 0.95 * first[0][0]
    for row, expected in zip(second, first, strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    weights = load_file(other / "weights.safetensors")
    for key, value in load_file(one / "weights.safetensors").items():
        assert torch.allclose(value, weights[key], rtol=1e-3, atol=1e-4), key


def test_two_processes_draw_the_curve_of_one(shard_folder, alone, tmp_path):
    printed, said = finish(start(tmp_path, shard_folder, {"devices": 2, "accumulate_grad_batches": 2}))
    # One process speaks: one result, one line for each epoch.
    assert json.loads(printed)["epochs"] == CONFIG.epochs
    assert said.count("epoch ") == CONFIG.epochs
    assert_same_curve(alone, tmp_path / "run")


def test_two_nodes_draw_the_curve_of_one_and_one_node_takes_over(shard_folder, alone, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    nodes = [
        start(
            tmp_path,
            shard_folder,
            {"devices": 1, "num_nodes": 2, "epochs": 2},
            {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "NODE_RANK": str(rank)}.items(),
        )
        for rank in range(2)
    ]
    printed = [finish(node)[0] for node in nodes]
    assert json.loads(printed[0])["epochs"] == 2
    assert printed[1] == ""
    # What two began one may finish: where a run computes does not belong to what it computes.
    pretrain(open_shards(shard_folder), MODEL, CONFIG, tmp_path / "run")
    assert_same_curve(alone, tmp_path / "run")
