"""``train finetune``: a task model on a pre-training run, or from nothing."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import BadInputError, ExitCode, MissingExtraError, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.model import LSEMVAE
    from lsemvae_edge.train.task_model import TaskConfig


def add(parts: Commands) -> None:
    """Describe the command."""
    finetune = parts.add_parser("finetune", help="fit a task model on folds 1-8 and judge it on fold 9")
    finetune.add_argument("--shards", type=Path, required=True, help="prepared recordings to learn from")
    finetune.add_argument("--judge", type=Path, help="prepared recordings to judge (default: the same)")
    finetune.add_argument("--pretrained", type=Path, metavar="RUN", help="folder of a pre-training run")
    finetune.add_argument("--network", choices=("latent", "pooled", "plain_cnn", "xresnet1d"),
                          help="latent: the published fine-tuning (default on reference encoders)")  # fmt: skip
    finetune.add_argument("--leads", default="6L", help="12L, 6L, a limb lead, I+II+III or aVR+aVL+aVF")
    finetune.add_argument("--config", type=Path, help="JSON file with options of the fit")
    finetune.add_argument("--out", type=Path, required=True, help="new folder of the task model")
    add_json(finetune)
    finetune.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Fit, keep and judge a task model."""
    try:
        import numpy as np

        from lsemvae_edge import metrics
        from lsemvae_edge.train import task_model
        from lsemvae_edge.train.datasets import check_cohort
        from lsemvae_edge.train.finetune import LEAD_SETS, Examples, positions
        from lsemvae_edge.train.shards import open_shards
    except ImportError as error:
        raise MissingExtraError("train finetune", "train") from error
    if options.leads not in LEAD_SETS:
        raise UsageError(f"There is no lead set {options.leads}.", f"Choose one of {', '.join(LEAD_SETS)}.")
    pretrained = _pretrained(options.pretrained) if options.pretrained else None
    config = _config(options, pretrained)
    taught, judged = open_shards(options.shards), open_shards(options.judge or options.shards)
    rows = np.flatnonzero(taught.fold < metrics.VALIDATION_FOLD)
    if not len(rows):
        raise BadInputError("No recording is in folds 1 to 8.", "Check the data set's folds.")
    checked = check_cohort(taught.patient[rows], {name: values[rows] for name, values in taught.targets.items()}, 1)
    for line in checked.problems.lines():
        say(line)
    tasks = checked.usable
    say(f"{len(rows)} recordings, leads {options.leads}, {type(config).__name__}")
    fitted = task_model.fit(options.leads, Examples.read(taught, rows, tasks), tasks, config, pretrained)
    fitted.save(options.out, pretrained=str(options.pretrained) if options.pretrained else None)
    has_leads = judged.present[:, list(positions(LEAD_SETS[options.leads]))].all(axis=1)
    chosen = np.flatnonzero((judged.fold == metrics.VALIDATION_FOLD) & has_leads)
    scores = fitted.predict(Examples.read(judged, chosen, tasks)) if len(chosen) else np.empty((0, len(tasks)))
    for column, task in enumerate(tasks):
        truth = judged.targets[task][chosen]
        known = truth >= 0
        resamples = metrics.patient_bootstrap(judged.patient[chosen][known])
        found = metrics.with_interval(metrics.auroc, truth[known], scores[known, column], resamples)
        figures = {"task": task, "n": int(known.sum()), "positive": int(truth[known].sum())}
        if options.json:
            print_json({**figures, "fold": metrics.VALIDATION_FOLD, "auroc": asdict(found) if found else None})
        else:
            shown = f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})" if found else "too few of a class"
            print(f"{task}: AUROC {shown}, fold 9, n {figures['n']}, {figures['positive']} positive")
    return int(ExitCode.DONE)


def _pretrained(folder: Path) -> "LSEMVAE":
    from pydantic import ValidationError
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from lsemvae_edge.train.config import ModelConfig

    try:
        model = ModelConfig.model_validate(json.loads((folder / "config.json").read_text())["model"]).build()
        model.load_state_dict(load_file(folder / "weights.safetensors"))
    except (OSError, ValueError, KeyError, RuntimeError, ValidationError, SafetensorError) as error:
        raise BadInputError(f"{folder} is no finished pre-training run: {error}", "Run `train pretrain`.") from error
    return model.eval()


def _config(options: argparse.Namespace, pretrained: "LSEMVAE | None") -> "TaskConfig":
    from pydantic import ValidationError

    from lsemvae_edge.model.lsemvae import PooledEncoder
    from lsemvae_edge.train.finetune import LatentConfig, NetworkConfig

    kind = options.network
    if kind is None:
        pooled = pretrained is not None and isinstance(pretrained.encoders[0], PooledEncoder)
        kind = "plain_cnn" if pretrained is None else "pooled" if pooled else "latent"
    try:
        told: dict[str, Any] = json.loads(options.config.read_text()) if options.config else {}
        return LatentConfig(**told) if kind == "latent" else NetworkConfig(**{"network": kind, **told})
    except (OSError, ValueError, TypeError, ValidationError) as error:
        raise UsageError(f"{options.config} is no configuration of {kind}: {error}") from error
