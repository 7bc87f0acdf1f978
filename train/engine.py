"""Pre-training on Lightning: the step, the curve, the checkpoint, and where they run."""

import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import safetensors.torch
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from lsemvae_edge.errors import BadInputError, MissingExtraError
from lsemvae_edge.model import LSEMVAE
from lsemvae_edge.train.config_pretrain import PretrainConfig
from lsemvae_edge.train.losses import pretraining_loss
from lsemvae_edge.train.sampling import Batches, Parts

CHECKPOINT = "last.ckpt"
WEIGHTS = "weights.safetensors"
CURVE = "curve.csv"
TERMS = ("total", "reconstruction", "kl", "alignment")
COLUMNS = (
    "epoch",
    "step",
    *(f"train_{term}" for term in TERMS),
    *(f"val_{term}" for term in TERMS),
    "kl_weight",
    "records_per_s",
    "seconds",
)
_PROGRESS = "lsemvae_edge_progress"

Row = dict[str, float]


@dataclass
class Progress:
    """Where a run is, beside its weights: kept in every checkpoint as plain numbers.

    ``rows`` are the finished epochs (`COLUMNS`); ``step`` counts the finished steps of the current epoch and ``sums``
    holds the weighted records and terms of those steps, over all processes. ``seconds`` is the time spent so far,
    ``epoch_began`` what it was at the epoch's beginning, ``train_seconds`` what this epoch's steps took.
    """

    rows: list[Row] = field(default_factory=list)
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * (1 + len(TERMS)))
    seconds: float = 0.0
    epoch_began: float = 0.0
    train_seconds: float = 0.0

    @property
    def best(self) -> Row | None:
        """The epoch of lowest validation loss, or the last one if nothing validates."""
        if not self.rows:
            return None
        judged = [row for row in self.rows if math.isfinite(row.get("val_total", math.nan))]
        return min(judged, key=lambda row: row["val_total"]) if judged else self.rows[-1]


def why_stop(progress: Progress, config: PretrainConfig) -> str | None:
    """Say why training ends after the last finished epoch, or None if it goes on.

    A function of the finished epochs alone, so that a resumed run decides what an undisturbed one does.

    Returns
    -------
    str or None
        ``epochs``, ``diverged``, ``early_stopping`` or ``max_minutes``.
    """
    if not progress.rows or progress.best is None:
        return None
    last = progress.rows[-1]
    if not all(math.isfinite(last[key]) for key in ("train_total", "val_total") if key in last):
        return "diverged"
    if len(progress.rows) >= config.epochs:
        return "epochs"
    if config.patience is not None and last["epoch"] - progress.best["epoch"] >= config.patience:
        return "early_stopping"
    if config.max_minutes is not None and progress.seconds + last["seconds"] > 60 * config.max_minutes:
        return "max_minutes"
    return None


class Pretraining(LightningModule):
    """An LS-EMVAE with its loss, optimiser and data.

    Parameters
    ----------
    model : LSEMVAE
    posterior_objective : bool
        Divergence and alignment of the sampled posterior instead of the plain mean over leads.
    config : PretrainConfig
    train, validation : Batches
        Validation may be None.
    progress : Progress
        Where to begin.
    """

    def __init__(
        self,
        model: LSEMVAE,
        posterior_objective: bool,
        config: PretrainConfig,
        train: Callable[[int], Batches],
        validation: Callable[[int], Batches] | None,
        progress: Progress,
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.progress = progress
        self._posterior_objective = posterior_objective
        self._batches = {"train": train, "validation": validation}
        # Buffers would go into the checkpoint of one process; these sums are over the process's own parts.
        self.train_sums = torch.zeros(1 + len(TERMS), dtype=torch.float64)
        self.validation_sums = torch.zeros(1 + len(TERMS), dtype=torch.float64)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one part of a batch; the mean over the parts is the batch's."""
        # Whatever a model draws by itself follows from the step, too.
        epoch = len(self.progress.rows)
        torch.manual_seed(hash((self.config.seed, epoch, batch_idx, self.global_rank)))
        terms = self._terms(batch, self.config.kl_weight_of(epoch))
        self.train_sums += _weighted(batch, terms)
        return terms["total"]

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Add one part of a batch to the validation loss, the divergence at its final weight."""
        self.validation_sums += _weighted(batch, self._terms(batch, self.config.kl_weight))

    def on_train_start(self) -> None:
        """Take up the sums of a broken-off epoch, in one process."""
        if self.trainer.is_global_zero:
            self.train_sums += torch.tensor(self.progress.sums, dtype=torch.float64)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW, in one kernel unless the gradients have to be unscaled before they are clipped."""
        return torch.optim.AdamW(
            self.model.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=self.config.precision != "16-mixed",
        )

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm; Lightning refuses a fused optimiser under bfloat16, which needs no unscaling, either."""
        if self.config.precision == "bf16-mixed" and gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return this process's parts of the training batches, from where the run stands."""
        return self._loader("train", self.config.accumulate_grad_batches, len(self.progress.rows), self.progress.step)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]] | list[Any]:
        """Return this process's parts of the validation batches."""
        if self._batches["validation"] is None:
            return []
        return self._loader("validation", self.config.accumulate_grad_batches, 0, 0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the run's progress with its weights."""
        checkpoint[_PROGRESS] = asdict(self.progress)

    def total(self, sums: Tensor) -> list[float]:
        """Add up sums over all processes."""
        reduced = self.trainer.strategy.reduce(sums.to(self.device), reduce_op="sum")
        assert isinstance(reduced, Tensor)
        return [float(value) for value in reduced.cpu()]

    def _loader(self, name: str, accumulate: int, epoch: int, step: int) -> DataLoader[dict[str, Tensor]]:
        world = self.trainer.world_size
        make = self._batches[name]
        assert make is not None
        batches = make(world * accumulate)
        return DataLoader(
            batches,
            batch_size=None,
            sampler=Parts(batches.n_steps, self.trainer.global_rank, world, accumulate, epoch, step),
            num_workers=self.config.num_workers,
            persistent_workers=self.config.num_workers > 0,
            pin_memory=self.device.type == "cuda",
        )

    def _terms(self, batch: dict[str, Tensor], kl_weight: float) -> dict[str, Tensor]:
        """Return the loss terms of a part, weighted so that their mean over the parts is the batch's."""
        masked = self.model.fusion == "masked"
        visible = batch["visible"] if masked else None
        output = self.model(batch["signals"], mask=visible, noise=batch["noise"])
        terms = pretraining_loss(
            output.recon,
            batch["signals"],
            output.mu,
            output.logvar,
            kl_weight=kl_weight,
            alignment_weight=self.config.alignment_weight,
            fused=(output.fused_mu, output.fused_logvar) if self._posterior_objective else None,
            mask=batch["present"] if masked else None,
            visible=visible,
        )
        reconstruction = batch["weight"] * terms["reconstruction"]
        kl = batch["weight"] * terms["kl"]
        alignment = batch["alignment_weight"] * terms["alignment"]
        total = reconstruction + kl_weight * kl + self.config.alignment_weight * alignment
        return {"total": total, "reconstruction": reconstruction, "kl": kl, "alignment": alignment}


class Recorder(Callback):
    """Writes the run folder: a checkpoint now and then, and at the end of each epoch a row, the best weights, a word.

    Parameters
    ----------
    out : Path
    n_records : int
        Of an epoch.
    report : callable
        Told each finished epoch's progress.
    tick : callable
        Told the finished steps and the current loss after each step.
    """

    def __init__(
        self, out: Path, n_records: int, report: Callable[[Progress], None], tick: Callable[[int, float], None] | None
    ) -> None:
        self._out, self._n_records, self._report, self._tick = out, n_records, report, tick
        self._mark = self._resumed_at = 0.0
        self._before = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; the curve's file follows the checkpoint, whatever was written after it."""
        module = _pretraining(pl_module)
        self._mark = self._resumed_at = time.monotonic()
        self._before = module.progress.seconds
        if trainer.is_global_zero:
            write_curve(self._out / CURVE, module.progress.rows)
            for logger in trainer.loggers:
                if isinstance(logger, MLFlowLogger):
                    _mlflow_run(self._out).write_text(str(logger.run_id))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the epoch's steps."""
        self._mark = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count finished steps; make a checkpoint where one is due."""
        module = _pretraining(pl_module)
        progress, config = module.progress, module.config
        now = time.monotonic()
        progress.train_seconds += now - self._mark
        self._mark = now
        step, rest = divmod(batch_idx + 1, config.accumulate_grad_batches)
        if rest:
            return
        progress.step = step
        n_steps = int(trainer.num_training_batches) // config.accumulate_grad_batches
        done = len(progress.rows) * n_steps + step
        if step % config.log_every_steps == 0 and trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.log_metrics({"train/step_total": float(outputs["loss"])}, done)
        if self._tick is not None and trainer.is_global_zero:
            self._tick(done, float(outputs["loss"]))
        if step % config.checkpoint_every_steps == 0 and step < n_steps:
            progress.sums = module.total(module.train_sums)
            self._save(trainer, module)
            module.train_sums.zero_()
            if trainer.is_global_zero:
                module.train_sums += torch.tensor(progress.sums, dtype=torch.float64)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish the epoch's row, keep the best weights, make a checkpoint, decide whether to go on."""
        module = _pretraining(pl_module)
        progress, config = module.progress, module.config
        # Processes must agree on the time, on which it may depend whether there is a next epoch.
        seconds = trainer.strategy.broadcast(self._seconds())
        train_seconds = trainer.strategy.broadcast(progress.train_seconds)
        epoch = len(progress.rows)
        n_steps = int(trainer.num_training_batches) // config.accumulate_grad_batches
        row: Row = {"epoch": epoch, "step": (epoch + 1) * n_steps}
        row |= _means("train", module.total(module.train_sums))
        if trainer.num_val_batches and sum(trainer.num_val_batches):
            row |= _means("val", module.total(module.validation_sums))
        row["kl_weight"] = config.kl_weight_of(epoch)
        row["records_per_s"] = self._n_records / max(train_seconds, 1e-9)
        row["seconds"] = seconds - progress.epoch_began
        module.train_sums.zero_()
        module.validation_sums.zero_()
        module.progress = progress = Progress([*progress.rows, row], seconds=seconds, epoch_began=seconds)
        if trainer.is_global_zero:
            if progress.best is row:
                save_weights(self._out / WEIGHTS, module.model)
            for logger in trainer.loggers:
                logger.log_metrics({key.replace("_", "/", 1): value for key, value in row.items()}, int(row["step"]))
        self._save(trainer, module)
        if trainer.is_global_zero:
            write_curve(self._out / CURVE, progress.rows)
            self._report(progress)
        trainer.should_stop = why_stop(progress, config) is not None

    def _save(self, trainer: Trainer, module: Pretraining) -> None:
        if module.progress.step:
            module.progress.seconds = self._seconds()
        trainer.save_checkpoint(self._out / CHECKPOINT)

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._resumed_at


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are either whole or not there, and that hold no code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint to the disk before its name changes hands."""
        write_atomically(Path(path), lambda stream: torch.save(checkpoint, stream))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read tensors, numbers and text; anything else is refused, whatever the caller asks for."""
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return checkpoint


def make_trainer(config: PretrainConfig, out: Path, callbacks: list[Callback]) -> Trainer:
    """Return the engine for the place that the configuration names.

    Raises
    ------
    MissingExtraError
        If the logger asked for is not installed.
    """
    environment = [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []
    return Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=config.strategy,
        precision=config.precision,
        max_epochs=config.epochs,
        accumulate_grad_batches=config.accumulate_grad_batches,
        gradient_clip_val=config.gradient_clip or None,
        sync_batchnorm=config.sync_batchnorm,
        logger=_logger(config, out),
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO(), *environment],
        default_root_dir=out,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's advice and its announcements of devices off the terminal."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def read_progress(path: Path) -> Progress:
    """Return the progress that a checkpoint holds; a fresh one if there is no checkpoint.

    Raises
    ------
    BadInputError
        If the file is no checkpoint of a pre-training run.
    """
    if not path.exists():
        return Progress()
    try:
        return Progress(**torch.load(path, map_location="cpu", weights_only=True, mmap=True)[_PROGRESS])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError) as error:
        raise BadInputError(
            f"{path} is not a checkpoint of a pre-training run: {error}", "Remove the run folder and start again."
        ) from error


def save_weights(path: Path, model: LSEMVAE) -> None:
    """Write a model's weights in float32, atomically."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_atomically(path, lambda stream: stream.write(safetensors.torch.save(tensors)))


def write_curve(path: Path, rows: list[Row]) -> None:
    """Write the curve of a run: one line for each finished epoch."""
    lines = [",".join(COLUMNS), *(",".join(_cell(row, column) for column in COLUMNS) for row in rows)]
    write_atomically(path, lambda stream: stream.write(("\n".join(lines) + "\n").encode()))


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let a file appear whole, on the disk, or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _cell(row: Row, column: str) -> str:
    if column not in row:
        return ""
    return str(int(row[column])) if column in ("epoch", "step") else repr(float(row[column]))


def _weighted(batch: dict[str, Tensor], terms: dict[str, Tensor]) -> Tensor:
    values = torch.stack([batch["weight"], *(terms[term].detach() for term in TERMS)])
    return (batch["share"] * values).double().cpu()


def _means(prefix: str, sums: list[float]) -> Row:
    return {f"{prefix}_{term}": value / sums[0] for term, value in zip(TERMS, sums[1:], strict=True)}


def _pretraining(module: LightningModule) -> Pretraining:
    assert isinstance(module, Pretraining)
    return module


def _logger(config: PretrainConfig, out: Path) -> Logger | bool:
    try:
        if config.logger == "tensorboard":
            return TensorBoardLogger(out, name="logs", version="")
        if config.logger == "mlflow":
            return _mlflow(config, out)
    except ImportError as error:
        raise MissingExtraError(f"The logger {config.logger}", "train") from error
    return False


def _mlflow(config: PretrainConfig, out: Path) -> MLFlowLogger:
    if config.mlflow_uri is None:
        # MLflow 3 wants to be told that a folder, not a database, is meant.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    kept = _mlflow_run(out)
    return MLFlowLogger(
        experiment_name="lsemvae-edge",
        run_name=out.name,
        tracking_uri=config.mlflow_uri or (out / "logs" / "mlflow").resolve().as_uri(),
        run_id=kept.read_text() if kept.exists() else None,
    )


def _mlflow_run(out: Path) -> Path:
    """Where a run folder keeps the name of its MLflow run, which a resumed run goes on with."""
    return out / "logs" / "mlflow_run"
