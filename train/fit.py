"""Fit a six-lead model on a cohort: tasks, and the guards that learn when not to answer."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from lsemvae_edge import preprocess
from lsemvae_edge.record import Record
from lsemvae_edge.spec import PreprocessSpec
from lsemvae_edge.synthetic.not_ecg import HELD_OUT_KINDS, NOT_ECG
from lsemvae_edge.train import augment
from lsemvae_edge.train.cohort import Cohort

OUTPUTS = ("right_heart_pattern", "heart_side", "electrode_swap", "not_ecg")
"""Logits of the model in order: two tasks, two guards."""
N_TASKS = 2


class FitConfig(BaseModel):
    """How a model is fitted; every figure that changes the result is here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    epochs: int = 30
    batch_size: int = 64
    swapped_per_batch: int = 16
    not_ecg_per_batch: int = 8
    not_ecg_bank: int = 3000
    learning_rate: float = 4e-3
    weight_decay: float = 2e-2
    ema_decay: float = 0.995
    kl_weight: float = 1e-3
    heart_side_weight: float = 0.5
    guard_weight: float = 0.3
    auxiliary_weight: float = 1.0
    distill_weight: float = 4.0
    distill_temperature: float = 2.0
    perturb: bool = True


@dataclass(frozen=True, eq=False)
class Batch:
    """Model inputs (batch, 6, 1, n_samples) and targets (batch, n_outputs); a NaN target is not asked.

    ``auxiliary`` (batch_real, n_auxiliary) belongs to the first rows, the real recordings.
    """

    x: Tensor
    targets: Tensor
    auxiliary: Tensor


def fit(
    model: nn.Module,
    cohort: Cohort,
    spec: PreprocessSpec,
    config: FitConfig,
    teacher: nn.Module | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Fit a model in place and return the moving average of its weights in evaluation mode.

    Parameters
    ----------
    model : Module
        Maps (batch, 6, 1, window_samples) to (logits, mu, logvar); mu and logvar may be None.
    cohort : Cohort
        Training recordings only.
    spec : PreprocessSpec
        The contract that the cohort was conditioned with.
    config : FitConfig
    teacher : Module, optional
        A fitted model whose softened task logits are learned beside the labels (Hinton et al., arXiv:1503.02531).
    progress : callable, optional
        Told the epoch and its mean loss.
    """
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    bank = torch.from_numpy(not_ecg_bank(config.not_ecg_bank, cohort.pairs.shape[2], spec, config.seed))
    pairs = torch.from_numpy(cohort.pairs)
    targets = _targets(cohort)
    auxiliary = torch.from_numpy(cohort.auxiliary)
    side_head = _auxiliary_head(model, pairs, auxiliary.shape[1], spec)
    steps = -(-len(cohort) // config.batch_size)
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *side_head.parameters()], lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=steps * config.epochs, pct_start=0.15
    )
    average = copy.deepcopy(model)
    for epoch in range(config.epochs):
        model.train()
        order = torch.randperm(len(cohort), generator=generator)
        losses = []
        for chosen in torch.split(order, config.batch_size):
            batch = _compose(pairs[chosen], targets[chosen], auxiliary[chosen], bank, spec, config, generator)
            loss = _loss(model, side_head, teacher, batch, config)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            follow(average, model, config.ema_decay)
            losses.append(loss.item())
        if progress is not None:
            progress(epoch, float(np.mean(losses)))
    return average.eval()


@torch.inference_mode()
def predict(model: nn.Module, pairs: NDArray[np.float32], spec: PreprocessSpec, start: int = 0) -> NDArray[np.float32]:
    """Return logits (n, n_outputs) of the window of each recording that begins at ``start``."""
    model.eval()
    window = torch.from_numpy(pairs[:, :, start : start + spec.window_samples])
    return torch.cat([model(augment.to_input(part, spec.clip))[0] for part in torch.split(window, 256)]).numpy()


def not_ecg_bank(count: int, length: int, spec: PreprocessSpec, seed: int) -> NDArray[np.float32]:
    """Draw conditioned inputs (count, 2, length) that are no ECG, of every kind but the held-out ones."""
    rng = np.random.default_rng(seed)
    kinds = sorted(set(NOT_ECG) - set(HELD_OUT_KINDS))
    drawn: list[NDArray[np.float64]] = []
    while len(drawn) < count:
        samples = NOT_ECG[kinds[len(drawn) % len(kinds)]](rng, 5000, 500.0)
        # A trace of noise keeps flat kinds from being all zeros.
        samples = samples + 1e-4 * rng.standard_normal(samples.shape)
        drawn.append(
            preprocess.condition(Record(samples.astype(np.float32), 500.0, ("I", "II")), spec).pair[:, :length]
        )
    return np.stack(drawn).astype(np.float32)


def _auxiliary_head(model: nn.Module, pairs: Tensor, n_auxiliary: int, spec: PreprocessSpec) -> nn.Module:
    """Return a head on the latents that exists only while fitting; a model without latents has none."""
    with torch.inference_mode():
        mu = model(augment.to_input(pairs[:2, :, : spec.window_samples], spec.clip))[1]
    return nn.Identity() if mu is None else nn.Linear(mu.shape[1], n_auxiliary)


def _targets(cohort: Cohort) -> Tensor:
    side = torch.from_numpy(cohort.heart_side).float()
    zeros = torch.zeros(len(cohort))
    return torch.stack(
        [torch.from_numpy(cohort.right_heart).float(), side.where(side >= 0, torch.nan), zeros, zeros], dim=1
    )


def _compose(
    pairs: Tensor,
    targets: Tensor,
    auxiliary: Tensor,
    bank: Tensor,
    spec: PreprocessSpec,
    config: FitConfig,
    generator: torch.Generator,
) -> Batch:
    """Put real recordings, electrode-swapped copies of some of them, and inputs that are no ECG into one batch."""
    nan = torch.nan
    if config.perturb:
        pairs = augment.perturb(pairs, generator)
    swapped = augment.swap(pairs[: config.swapped_per_batch], generator)
    strange = bank[torch.randint(0, len(bank), (config.not_ecg_per_batch,), generator=generator)]
    together = augment.crop(torch.cat([pairs, swapped, strange]), spec.window_samples, generator)
    x = augment.to_input(augment.degrade(together, spec.fs_hz, generator), spec.clip)
    # A swapped copy never keeps its task label: only the swap guard learns from it.
    return Batch(
        x,
        torch.cat(
            [
                targets,
                torch.tensor([nan, nan, 1.0, 0.0]).expand(len(swapped), -1),
                torch.tensor([nan, nan, nan, 1.0]).expand(len(strange), -1),
            ]
        ),
        auxiliary,
    )


def _loss(model: nn.Module, side_head: nn.Module, teacher: nn.Module | None, batch: Batch, config: FitConfig) -> Tensor:
    logits, mu, logvar = model(batch.x)
    weights = (1.0, config.heart_side_weight, config.guard_weight, config.guard_weight)
    loss = torch.zeros(())
    for column, weight in enumerate(weights):
        asked = ~batch.targets[:, column].isnan()
        if asked.any():
            loss = loss + weight * bce(logits[asked, column], batch.targets[asked, column])
    if teacher is not None:
        real = batch.x[: len(batch.auxiliary)]
        with torch.no_grad():
            soft = torch.sigmoid(teacher(real)[0][:, :N_TASKS] / config.distill_temperature)
        hard = logits[: len(real), :N_TASKS] / config.distill_temperature
        loss = loss + config.distill_weight * config.distill_temperature * bce(hard, soft)
    if mu is not None:
        known = ~batch.auxiliary.isnan()
        guessed = side_head(mu[: len(known)])[known]
        loss = loss + config.auxiliary_weight * bce(guessed, batch.auxiliary[known])
        loss = loss + config.kl_weight * 0.5 * (mu.pow(2) + logvar.exp() - 1 - logvar).sum(dim=1).mean()
    return loss


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move an exponential average of weights towards a model; counters are copied."""
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)
