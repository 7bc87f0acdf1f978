"""How a model is pre-trained, as configuration: what decides the result, and where it runs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

WHERE = frozenset(
    {
        "epochs",
        "max_minutes",
        "accelerator",
        "devices",
        "num_nodes",
        "strategy",
        "num_workers",
        "checkpoint_every_steps",
        "logger",
        "mlflow_uri",
        "log_every_steps",
    }
)
"""Fields that a run may be continued with at other values: none of them changes what an epoch does."""


class PretrainConfig(BaseModel):
    """Everything that a pre-training run is told, apart from the model and the data.

    Parameters
    ----------
    batch_size : int
        Recordings that enter one optimiser step, over all devices and all accumulated parts. Neither the number of
        devices nor ``accumulate_grad_batches`` changes what a step computes, only how much memory it takes.
    accumulate_grad_batches : int
        Parts that each device cuts its share of a batch into.
    kl_weight, kl_warmup_epochs : float, int
        The divergence counts ``min(epoch / kl_warmup_epochs, 1) * kl_weight``, epochs counted from 0. Validation
        always counts it at ``kl_weight``, so that epochs can be compared.
    hide_chest : float
        Probability that a recording is encoded without its chest leads; only for models of fusion ``masked``. All
        leads that the recording has are reconstructed all the same.
    hide_random : float
        Probability that each lead of a recording is left out with probability one half.
    patience : int, optional
        Stop after so many epochs without a lower validation loss.
    max_minutes : float, optional
        Stop at the end of an epoch when the next one would pass this time, summed over all starts of the run.
    train_folds, validation_folds : tuple of int
    accelerator, devices, num_nodes, strategy, precision : see Lightning's ``Trainer``
    sync_batchnorm : bool
        Take the statistics of batch norms over all devices.
    checkpoint_every_steps : int
        Optimiser steps between checkpoints within an epoch; the end of an epoch always makes one.
    logger : str
        Beside ``curve.csv``, which is always written.
    mlflow_uri : str, optional
        Tracking server; a folder inside the run folder if not given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0)
    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=128, ge=1)
    accumulate_grad_batches: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=1e-5, ge=0)
    gradient_clip: float = Field(default=1.0, ge=0)
    kl_weight: float = Field(default=1.0, ge=0)
    kl_warmup_epochs: int = Field(default=50, ge=0)
    alignment_weight: float = Field(default=0.1, ge=0)
    hide_chest: float = Field(default=0.0, ge=0, le=1)
    hide_random: float = Field(default=0.0, ge=0, le=1)
    patience: int | None = Field(default=None, ge=1)
    max_minutes: float | None = Field(default=None, gt=0)
    train_folds: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    validation_folds: tuple[int, ...] = (9,)
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    devices: int | Literal["auto"] = 1
    num_nodes: int = Field(default=1, ge=1)
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    sync_batchnorm: bool = False
    num_workers: int = Field(default=0, ge=0)
    checkpoint_every_steps: int = Field(default=1000, ge=1)
    logger: Literal["tensorboard", "mlflow", "none"] = "tensorboard"
    mlflow_uri: str | None = None
    log_every_steps: int = Field(default=20, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "PretrainConfig":
        if self.hide_chest + self.hide_random > 1:
            raise ValueError("hide_chest and hide_random are exclusive events: together they may not exceed 1")
        if set(self.train_folds) & set(self.validation_folds):
            raise ValueError("a fold cannot both train and validate")
        if self.patience is not None and not self.validation_folds:
            raise ValueError("patience needs validation_folds")
        return self

    def kl_weight_of(self, epoch: int) -> float:
        """Return the weight of the divergence in an epoch, counted from 0."""
        if self.kl_warmup_epochs == 0:
            return self.kl_weight
        return min(epoch / self.kl_warmup_epochs, 1.0) * self.kl_weight

    def identity(self) -> dict[str, object]:
        """Return the fields that decide what an epoch computes, as plain JSON values."""
        return self.model_dump(mode="json", exclude=set(WHERE))
