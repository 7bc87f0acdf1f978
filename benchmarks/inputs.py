"""What the student's input is worth at other rates, bands and window lengths."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lsemvae_edge import metrics, preprocess
from lsemvae_edge.benchmarks.accuracy import TASKS
from lsemvae_edge.benchmarks.judging import median_seed, plain, ranked
from lsemvae_edge.model import SIZES
from lsemvae_edge.spec import BeatSpec, PreprocessSpec
from lsemvae_edge.train import datasets, distill
from lsemvae_edge.train.cohort import load_cohort
from lsemvae_edge.train.config_distill import shipped_recipe
from lsemvae_edge.train.recipes import beat_recipe

JUDGED_FROM = 7
"""First fold that is judged; those before it teach."""

Say = Callable[[str], None]


def contracts() -> dict[str, PreprocessSpec]:
    """Return what is compared: the device's contract first."""
    device = preprocess.default_spec()
    return {
        "125 Hz, 0.5-30 Hz, window 7.4 s (the device's)": device,
        "125 Hz, 0.5-30 Hz, window 5 s": replace(device, window_samples=625),
        "125 Hz, 0.5-30 Hz, window 3.7 s": replace(device, window_samples=464),
        "100 Hz, 0.5-30 Hz, window 7.4 s": at_rate(100.0, 30.0),
        "250 Hz, 0.5-40 Hz, window 7.4 s": at_rate(250.0, 40.0),
        "500 Hz, 0.5-40 Hz, window 7.4 s": at_rate(500.0, 40.0),
    }


def at_rate(fs_hz: float, high_hz: float) -> PreprocessSpec:
    """Return the device's contract at another rate, everything the same in seconds."""
    device = preprocess.default_spec()
    ratio = fs_hz / device.fs_hz

    def scaled(samples: int) -> int:
        return round(samples * ratio)

    return replace(
        device,
        resampler=replace(device.resampler, fs_hz=fs_hz),
        band=preprocess.design_band(fs_hz, 0.5, high_hz, 2 * scaled(len(device.band.taps) // 2) + 1),
        window_samples=scaled(device.window_samples),
        beat=BeatSpec(
            before_samples=scaled(device.beat.before_samples),
            after_samples=scaled(device.beat.after_samples),
            align_samples=max(scaled(device.beat.align_samples), 1),
            min_correlation=device.beat.min_correlation,
            min_beats=device.beat.min_beats,
        ),
    )


def measure(*, seeds: int, processes: int, say: Say) -> list[dict[str, Any]]:
    """Fit a small student on labels alone, folds 1-6, for each contract, and judge it on folds 7-9.

    Parameters
    ----------
    seeds : int
        The median by AUROC is shown.
    processes : int
        For reading recordings.
    say : callable

    Returns
    -------
    list of dict
        One row a contract and task.
    """
    torch.set_num_threads(1)
    listed = [entry for entry in datasets.entries(datasets.data_folder()) if entry.fold != metrics.TEST_FOLD]
    small = SIZES["small"]
    rows = []
    for name, spec in contracts().items():
        say(name)
        beat = beat_recipe(spec)
        taught = [entry for entry in listed if entry.fold < JUDGED_FROM]
        training, _ = load_cohort(taught, TASKS, same_band=True, workers=processes, beat=beat)
        others = [entry for entry in listed if entry.fold >= JUDGED_FROM]
        judged, rejected = load_cohort(others, TASKS, workers=processes, beat=beat)
        # At twice the rate the first kernel spans the same time, and one more stride brings the length down.
        octaves = max(round(np.log2(spec.fs_hz / preprocess.DEFAULT_FS_HZ)), 0)
        kernels = (small.kernels[0] * 2**octaves // 2 * 2 + 1, *small.kernels[1:])
        shape = replace(small, kernels=kernels, strides=(small.strides[0] * 2**octaves, *small.strides[1:]))
        logits = []
        for seed in range(seeds):
            config = shipped_recipe(seed=seed).student.model_copy(
                update={"swapped_per_batch": 0, "strange_per_batch": 0}
            )
            logits.append(distill.predict(distill.fit(training, config, shape=shape), judged).logits.numpy())
        for column, task in enumerate(TASKS):
            truth = judged.targets[:, column]
            values = median_seed(truth, [one[:, column] for one in logits])
            rows.append(
                plain(
                    {
                        "input": name,
                        "task": task,
                        "rejected": len(rejected),
                        "seeds": seeds,
                        **ranked(truth, values, judged.patient),
                    }
                )
            )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Print rows as Markdown."""
    lines = ["| input | task | n | positive | left out | AUROC |", "|---|---|---|---|---|---|"]
    for row in rows:
        auroc = row["auroc"]
        shown = f"{auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})" if auroc else "-"
        lines.append(
            f"| {row['input']} | {row['task']} | {row['n']} | {row['positive']} | {row['rejected']} | {shown} |"
        )
    return "\n".join(lines)
