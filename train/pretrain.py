"""Pre-train a model on shards: one run folder, begun or continued by the same call."""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from numpy.typing import NDArray
from tqdm import tqdm  # type: ignore[import-untyped]

from lsemvae_edge import __version__
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.train import engine
from lsemvae_edge.train.config import ModelConfig
from lsemvae_edge.train.config_pretrain import PretrainConfig
from lsemvae_edge.train.engine import Pretraining, Progress, Recorder, why_stop
from lsemvae_edge.train.folder_lock import sole_writer
from lsemvae_edge.train.sampling import Batches, Use

if TYPE_CHECKING:
    from lsemvae_edge.train.shards import Shards

CONFIG = "config.json"
RESULT = "result.json"


@dataclass(frozen=True)
class PretrainResult:
    """What a run came to.

    ``stopped`` is ``epochs``, ``early_stopping``, ``max_minutes`` or ``diverged``; ``best_epoch`` (from 0) is the one
    that ``weights.safetensors`` is of: of lowest validation loss, or the last if nothing validates. ``seconds`` are
    summed over all starts of the run; ``records_per_s`` counts recordings that entered a gradient, per second of
    training steps. ``left_out`` are recordings that lack a lead which the model cannot do without.
    """

    stopped: str
    epochs: int
    best_epoch: int
    best_validation: float | None
    seconds: float
    records_per_s: float
    train_records: int
    validation_records: int
    left_out: int


def pretrain(
    shards: "Shards",
    model: ModelConfig,
    config: PretrainConfig,
    out: Path,
    *,
    train_index: NDArray[np.int64] | None = None,
    validation_index: NDArray[np.int64] | None = None,
    say: Callable[[str], None] | None = None,
) -> PretrainResult:
    """Pre-train a model, or continue where an earlier call in the same folder was broken off.

    Parameters
    ----------
    shards : Shards
        Prepared with the model's recipe.
    model : ModelConfig
    config : PretrainConfig
    out : Path
        Run folder: config.json, curve.csv, last.ckpt, weights.safetensors, logs/, and at the end result.json. A run
        that is finished there is not trained again.
    train_index, validation_index : array of int64, optional
        Rows of the shards to use instead of the configured folds.
    say : callable, optional
        Told one line after each epoch; on a terminal, a progress bar is shown instead. Without it all is quiet.

    Raises
    ------
    UsageError
        If the shards do not fit the model, the folder holds a run of another configuration, or another process
        works there.
    BadInputError
        If no recording is left to train on, or a checkpoint is unreadable.
    """
    _check(shards, model, config)
    train, train_lacking = _choose(shards, model, train_index, config.train_folds)
    validation, validation_lacking = _choose(shards, model, validation_index, config.validation_folds)
    if not len(train):
        raise BadInputError(
            f"No recording is left to train on, of {len(shards)} in the shards; {train_lacking} lack a lead that "
            f"fusion {model.fusion} needs.",
            'Check train_folds, or use a model with fusion="masked".',
        )
    identity = {
        "model": model.model_dump(mode="json"),
        "pretrain": config.identity(),
        "shards": shards.digest,
        "train_rows": _digest(train),
        "validation_rows": _digest(validation),
    }
    with sole_writer(out) if _is_first_process() else nullcontext():
        _insist(out, identity)
        progress = engine.read_progress(out / engine.CHECKPOINT)
        display = _Display(config, len(train), progress, say)
        if why_stop(progress, config) is None:
            progress = _fit(shards, model, config, out, identity, (train, validation), progress, display)
        result = _result(progress, config, len(train), len(validation), train_lacking + validation_lacking)
        if is_main_process():
            engine.write_curve(out / engine.CURVE, progress.rows)
            _write_json(out / RESULT, asdict(result))
    return result


def is_main_process() -> bool:
    """Whether this is the one process of a training run that writes and speaks."""
    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


def _is_first_process() -> bool:
    """Whether this is the main process, as far as is known before a trainer has told each its rank."""
    return is_main_process() and int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))) == 0


def _fit(
    shards: "Shards",
    model: ModelConfig,
    config: PretrainConfig,
    out: Path,
    identity: dict[str, Any],
    indices: tuple[NDArray[np.int64], NDArray[np.int64]],
    progress: Progress,
    display: "_Display",
) -> Progress:
    torch.manual_seed(config.seed)
    built = model.build()

    def batches(use: Use) -> Callable[[int], Batches]:
        return lambda n_parts: Batches(
            shards,
            indices[use],
            use,
            seed=config.seed,
            batch_size=config.batch_size,
            n_parts=n_parts,
            length=model.n_samples,
            rescale=model.recipe == "edge",
            noise_dim=built.noise_dim,
            hide_chest=config.hide_chest,
            hide_random=config.hide_random,
        )

    module = Pretraining(
        built,
        model.objective == "posterior",
        config,
        batches(Use.TRAIN),
        batches(Use.VALIDATE) if len(indices[Use.VALIDATE]) else None,
        progress,
    )
    recorder = Recorder(out, len(indices[Use.TRAIN]), display.epoch, display.tick)
    checkpoint = out / engine.CHECKPOINT
    with engine.quiet():
        try:
            trainer = engine.make_trainer(config, out, [recorder])
            if config.sync_batchnorm and trainer.world_size > 1 and trainer.strategy.root_device.type != "cuda":
                raise UsageError("torch synchronizes batch norms on CUDA devices only.", "Set sync_batchnorm=false.")
            if trainer.is_global_zero:
                _write_json(out / CONFIG, {**identity, "run": config.model_dump(mode="json"), "versions": _versions()})
            trainer.fit(module, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
        except MisconfigurationException as error:
            raise UsageError(
                f"Lightning cannot run this: {error}", "Change accelerator, devices or strategy."
            ) from error
        except SystemExit as error:
            # Lightning turns Ctrl-C into an exit; the command line has its own word for it.
            raise KeyboardInterrupt from error
        finally:
            display.close()
    # Not the module's: a strategy that spawns trains a copy of it.
    return engine.read_progress(checkpoint)


def _check(shards: "Shards", model: ModelConfig, config: PretrainConfig) -> None:
    if shards.recipe.name != model.recipe:
        raise UsageError(
            f"The shards were prepared with recipe {shards.recipe.name}; the model reads {model.recipe}.",
            f"Prepare them again: lsemvae-edge train prepare --recipe {model.recipe}",
        )
    if shards.recipe.n_samples < model.n_samples or len(shards.recipe.leads) != model.n_leads:
        raise UsageError(
            f"The shards hold {len(shards.recipe.leads)} leads of {shards.recipe.n_samples} samples; the model reads "
            f"{model.n_leads} of {model.n_samples}.",
            "Choose n_leads and n_samples accordingly.",
        )
    if model.recipe == "reference" and shards.recipe.n_samples != model.n_samples:
        raise UsageError("The reference recipe is read whole.", f"Use n_samples={shards.recipe.n_samples}.")
    if (config.hide_chest or config.hide_random) and model.fusion != "masked":
        raise UsageError(f"Fusion {model.fusion} cannot leave leads out.", 'Use fusion="masked", or hide none.')


def _choose(
    shards: "Shards", model: ModelConfig, index: NDArray[np.int64] | None, folds: tuple[int, ...]
) -> tuple[NDArray[np.int64], int]:
    """Return the rows to use, and how many are left out for want of a lead."""
    rows = np.flatnonzero(np.isin(shards.fold, folds)) if index is None else np.asarray(index)
    present = shards.present[rows]
    usable = present.any(axis=1) if model.fusion == "masked" else present.all(axis=1)
    return rows[usable].astype(np.int64), int((~usable).sum())


def _insist(out: Path, identity: dict[str, Any]) -> None:
    """Refuse a folder that holds a run of something else."""
    path = out / CONFIG
    if not path.exists():
        if (out / engine.CHECKPOINT).exists():
            raise UsageError(f"{out} holds a checkpoint but no {CONFIG}.", "Choose another run folder.")
        return
    try:
        there = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read: {error}", "Choose another run folder.") from error
    differing = [name for name in _flat(identity) if _flat(there).get(name) != _flat(identity)[name]]
    if differing:
        raise UsageError(
            f"{out} holds a run of another configuration; these differ: {', '.join(differing)}.",
            "Choose another run folder, or remove this one.",
        )


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else {f"{prefix}{key}": item}
    return flat


def _digest(rows: NDArray[np.int64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest()


def _versions() -> dict[str, str]:
    return {
        "lsemvae_edge": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "numpy": np.__version__,
    }


def _result(
    progress: Progress, config: PretrainConfig, n_train: int, n_validation: int, left_out: int
) -> PretrainResult:
    best = progress.best
    assert best is not None
    trained = sum(n_train / row["records_per_s"] for row in progress.rows)
    return PretrainResult(
        stopped=why_stop(progress, config) or "interrupted",
        epochs=len(progress.rows),
        best_epoch=int(best["epoch"]),
        best_validation=best.get("val_total"),
        seconds=progress.seconds,
        records_per_s=n_train * len(progress.rows) / trained,
        train_records=n_train,
        validation_records=n_validation,
        left_out=left_out,
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    engine.write_atomically(path, lambda stream: stream.write(text.encode()))


class _Display:
    """A bar with rate and time left on a terminal, a line for each epoch elsewhere."""

    def __init__(
        self, config: PretrainConfig, n_records: int, progress: Progress, say: Callable[[str], None] | None
    ) -> None:
        self._config, self._n_records, self._say = config, n_records, say
        self._epochs_at_start, self._seconds_at_start = len(progress.rows), progress.seconds
        self._bar: Any = None
        self._first = len(progress.rows) * n_records + progress.step * config.batch_size
        self.tick = self._tick if say is not None and sys.stderr.isatty() else None

    def epoch(self, progress: Progress) -> None:
        """Say how an epoch went."""
        if self._say is None:
            return
        row = progress.rows[-1]
        words = [f"epoch {len(progress.rows)}/{self._config.epochs}", f"train {row['train_total']:.5g}"]
        if "val_total" in row:
            words.append(f"validation {row['val_total']:.5g}")
        if self._bar is not None:
            self._bar.set_description(", ".join(words), refresh=False)
            return
        minutes = self._seconds_left(progress) / 60
        self._say(", ".join([*words, f"{row['records_per_s']:.0f} records/s", f"{minutes:.1f} min left"]))

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()

    def _seconds_left(self, progress: Progress) -> float:
        done = max(len(progress.rows) - self._epochs_at_start, 1)
        each = (progress.seconds - self._seconds_at_start) / done
        left = each * (self._config.epochs - len(progress.rows))
        budget = self._config.max_minutes
        return left if budget is None else max(min(left, 60 * budget - progress.seconds), 0.0)

    def _tick(self, steps: int, loss: float) -> None:
        per_epoch = -(-self._n_records // self._config.batch_size)
        epochs, rest = divmod(steps, per_epoch)
        records = epochs * self._n_records + rest * self._config.batch_size
        if self._bar is None:
            total = self._config.epochs * self._n_records
            self._bar = tqdm(total=total, initial=self._first, unit="records", unit_scale=True, dynamic_ncols=True)
        self._bar.set_postfix(loss=f"{loss:.5g}", refresh=False)
        self._bar.update(records - self._bar.n)
