"""What ``bench kills --what pretrain`` kills: pre-training of a small model on a simulated cohort."""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from lsemvae_edge.benchmarks.kills import Subject
from lsemvae_edge.train import engine
from lsemvae_edge.train.config import PRESETS

TOLERANCE = 1e-6
"""Largest difference of a weight, absolute or relative to it."""
TIMED = ("records_per_s", "seconds")
"""Columns of a curve that the clock decides."""


def pretraining(n_records: int = 400, epochs: int = 12) -> Subject:
    """Pre-train the compact model; weights must agree to 1e-6, the curves to the last digit."""
    # Held by the functions below: the shards last as long as they may be asked for.
    place = tempfile.TemporaryDirectory(prefix="kills-pretrain-")
    shards, model = Path(place.name) / "shards", Path(place.name) / "model.json"
    model.write_text(PRESETS["compact"].model_dump_json())
    program = str(Path(sys.executable).with_name("lsemvae-edge"))
    subprocess.run(  # noqa: S603 - our own command
        [
            *(program, "train", "prepare", "--dataset", "synthetic", "--option", f"n_patients={n_records}"),
            *("--recipe", "edge", "--shard-size", "64", "--workers", "1", "--out", str(shards)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def command(out: Path) -> list[str]:
        options = {
            "epochs": epochs,
            "batch_size": 32,
            "accumulate_grad_batches": 2,
            "checkpoint_every_steps": 2,
            "hide_chest": 0.5,
            "hide_random": 0.2,
            "accelerator": "cpu",
        }
        settings = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
        assert Path(place.name).is_dir()
        return [
            *(program, "train", "pretrain", "--shards", str(shards), "--model", str(model)),
            *("--out", str(out), *settings),
        ]

    return Subject(
        command,
        finished=lambda out: (out / "result.json").is_file(),
        progress=steps,
        differences=different_runs,
    )


def steps(run: Path) -> int:
    """Return the optimiser steps that a run folder's checkpoint has behind it."""
    progress = engine.read_progress(run / engine.CHECKPOINT)
    return int(progress.rows[-1]["step"] if progress.rows else 0) + progress.step


def different_runs(one: Path, other: Path) -> list[str]:
    """Compare the weights and the curves of two run folders.

    Returns
    -------
    list of str
        What differs: tensors by name with the largest difference, curves by row.
    """
    first, second = _tensors(one), _tensors(other)
    found = [f"{name}: in one run only" for name in sorted(first.keys() ^ second.keys())]
    for name in sorted(first.keys() & second.keys()):
        if first[name].shape != second[name].shape:
            found.append(f"{name}: other shape")
        elif not torch.allclose(first[name], second[name], rtol=TOLERANCE, atol=TOLERANCE):
            found.append(f"{name}: differs by {float((first[name] - second[name]).abs().max()):.3g}")
    rows, others = _rows(one), _rows(other)
    if len(rows) != len(others):
        found.append(f"curve: {len(rows)} rows against {len(others)}")
    found += [f"curve: row {i} differs" for i, pair in enumerate(zip(rows, others, strict=False)) if pair[0] != pair[1]]
    return found


def _tensors(run: Path) -> dict[str, torch.Tensor]:
    """Return the weights kept as the best and the ones that training ended with."""
    last = torch.load(run / engine.CHECKPOINT, map_location="cpu", weights_only=True)["state_dict"]
    best = load_file(run / engine.WEIGHTS)
    named = {f"best {name}": value for name, value in best.items()} | {f"last {k}": v for k, v in last.items()}
    return {name: value.double() for name, value in named.items()}


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / engine.CURVE).open(newline="") as stream:
        return [{key: text for key, text in row.items() if key not in TIMED} for row in csv.DictReader(stream)]
