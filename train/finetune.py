"""Task models: the published fine-tuning on frozen encoders, and networks learned end to end in the same harness."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import cross_entropy

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import LIMB_LEADS, LIMB_MATRIX, STANDARD_12
from lsemvae_edge.model import LSEMVAE
from lsemvae_edge.model.baselines import PlainCNN, XResNet1d
from lsemvae_edge.model.classifier import LatentClassifier, PooledClassifier
from lsemvae_edge.train import augment, windows
from lsemvae_edge.train.sampling import hide_leads
from lsemvae_edge.train.shards import Shards

LEAD_SETS: dict[str, tuple[str, ...]] = {
    "12L": STANDARD_12,
    "6L": LIMB_LEADS,
    **{lead: (lead,) for lead in LIMB_LEADS},
    "I+II+III": LIMB_LEADS[:3],
    "aVR+aVL+aVF": LIMB_LEADS[3:],
}
"""Lead subsets of the paper's tables."""

Network = Literal["pooled", "plain_cnn", "xresnet1d"]
Progress = Callable[[int, float], None]


class LatentConfig(BaseModel):
    """The published fine-tuning: encoders frozen, dense layers on the means, cross-entropy, Adam."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 42
    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 1e-4


class NetworkConfig(BaseModel):
    """A network learned end to end, on all tasks at once.

    Parameters
    ----------
    hide_chest, hide_random : float
        Chances that a recording is seen without its chest leads, and that it loses each lead with probability one
        half; only a ``pooled`` network knows which leads are there.
    auxiliary_weight : float
        Weight of further statements of the report, learned by a head that exists only while fitting.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: Network = "pooled"
    seed: int = 0
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 2e-2
    ema_decay: float = 0.995
    hide_chest: float = 0.0
    hide_random: float = 0.0
    auxiliary_weight: float = 0.0
    degrade: bool = True
    window: int = 928
    views: int = 3


@dataclass(frozen=True, eq=False)
class Examples:
    """Recordings to learn from or to judge by.

    Parameters
    ----------
    signals : Tensor (n, 12, n_samples)
    present : Tensor (n, 12) of bool
    targets : Tensor (n, n_tasks)
        0, 1, or NaN where a task has no label.
    auxiliary : Tensor (n, n_auxiliary)
    """

    signals: Tensor
    present: Tensor
    targets: Tensor
    auxiliary: Tensor

    def __len__(self) -> int:
        return len(self.signals)

    @classmethod
    def read(cls, shards: Shards, index: NDArray[np.int64], tasks: Sequence[str]) -> "Examples":
        """Read recordings of shards into memory, with their labels for the named tasks."""
        columns = [shards.targets[task][index].astype(np.float32) for task in tasks]
        targets = torch.from_numpy(np.stack(columns, axis=1))
        return cls(
            torch.from_numpy(shards.signals(index)),
            torch.from_numpy(shards.present[index]),
            targets.where(targets >= 0, torch.nan),
            torch.from_numpy(shards.auxiliary[index]),
        )

    def select(self, index: Tensor) -> "Examples":
        """Return some of them."""
        return Examples(self.signals[index], self.present[index], self.targets[index], self.auxiliary[index])


def positions(leads: tuple[str, ...]) -> tuple[int, ...]:
    """Return where leads stand among the standard twelve."""
    return tuple(STANDARD_12.index(lead) for lead in leads)


@torch.inference_mode()
def latent_means(model: LSEMVAE, signals: Tensor, batch_size: int = 64) -> Tensor:
    """Return every lead's mean (n_leads, n, latent_dim) under frozen encoders.

    Recordings longer than the model's window (n, 12, n_samples) are seen in their middle, scaled as in pre-training.
    """
    model.eval()
    if signals.shape[-1] > model.n_samples:
        begin = windows.centre(signals.shape[-1], model.n_samples)
        signals = windows.rescale(signals[..., begin : begin + model.n_samples])
    return torch.cat([model.encode(part)[0] for part in torch.split(signals, batch_size)], dim=1)


def fit_latent(
    model: LSEMVAE, leads: tuple[str, ...], means: Tensor, truth: Tensor, config: LatentConfig
) -> LatentClassifier:
    """Fit the published task model for one task.

    Parameters
    ----------
    model : LSEMVAE
        Pre-trained; its encoders are not changed.
    leads : tuple of str
        Leads that the task model reads.
    means : Tensor (12, n, latent_dim)
        `latent_means` of the training recordings: the encoders are frozen, so they run once, not once an epoch.
    truth : Tensor (n,)
        0, 1, or NaN; recordings without a label are left out.
    config : LatentConfig

    Returns
    -------
    LatentClassifier
        In evaluation mode.

    Raises
    ------
    BadInputError
        If fewer than two classes are left.
    """
    known = ~truth.isnan()
    labels = truth[known].long()
    if not len(labels):
        raise BadInputError("No training recording has a label.", "Check the labels of the data set.")
    if labels.min() == labels.max():
        raise BadInputError("The training recordings hold one class only.", "Add recordings of the other class.")
    torch.manual_seed(config.seed)
    network = LatentClassifier(model, positions(leads))
    x = torch.cat([means[i, known] for i in positions(leads)], dim=1)
    optimizer = torch.optim.Adam(network.classifier.parameters(), lr=config.learning_rate)
    network.train()
    for _ in range(config.epochs):
        for chosen in torch.split(torch.randperm(len(x)), config.batch_size):
            optimizer.zero_grad()
            cross_entropy(network.classifier(x[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.eval()


@torch.inference_mode()
def predict_latent(network: LatentClassifier, leads: tuple[str, ...], means: Tensor) -> NDArray[np.float32]:
    """Return the probability (n,) of the second class from `latent_means` (12, n, latent_dim)."""
    x = torch.cat([means[i] for i in positions(leads)], dim=1)
    return network.classifier(x).softmax(1)[:, 1].numpy()  # type: ignore[no-any-return]


class TaskNetwork(nn.Module):
    """A network on chosen leads, whichever kind: (batch, 12, n_samples), (batch, 12) to logits (batch, n_outputs)."""

    def __init__(self, leads: tuple[str, ...], n_outputs: int, kind: Network, pretrained: LSEMVAE | None) -> None:
        super().__init__()
        self.leads, self.n_outputs = positions(leads), n_outputs
        self.network: nn.Module
        if kind == "pooled":
            if pretrained is None:
                raise BadInputError("A pooled network starts from LS-EMVAE's encoders.", "Name a model preset.")
            self.network = PooledClassifier(copy.deepcopy(pretrained), self.leads, n_outputs)
        elif kind == "plain_cnn":
            self.network = PlainCNN(len(leads), n_outputs)
        else:
            self.network = XResNet1d(len(leads), n_outputs)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Return the logits of the chosen leads; only a pooled network looks at ``present``."""
        chosen = list(self.leads)
        x, present = x[:, chosen], present[:, chosen]
        if isinstance(self.network, PooledClassifier):
            logits: Tensor = self.network(x, present)[0]
        elif isinstance(self.network, PlainCNN):
            logits = self.network(x[:, :, None])[0]
        else:
            logits = self.network(x)
        return logits


def fit_network(
    leads: tuple[str, ...],
    examples: Examples,
    config: NetworkConfig,
    pretrained: LSEMVAE | None = None,
    progress: Progress | None = None,
    network: TaskNetwork | None = None,
) -> TaskNetwork:
    """Fit a network end to end and return the moving average of its weights, in evaluation mode.

    Parameters
    ----------
    leads : tuple of str
        Leads that the network reads. Recordings that have none of them are left out.
    examples : Examples
        Training recordings only.
    config : NetworkConfig
    pretrained : LSEMVAE, optional
        Where a pooled network's encoders start; not changed.
    progress : callable, optional
        Told the epoch and its mean loss.
    network : TaskNetwork, optional
        Fitted in place of a fresh one of the configuration's kind, and changed: for other widths than that has.
    """
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    examples = examples.select(examples.present[:, list(positions(leads))].any(1).nonzero()[:, 0])
    n_tasks, n_auxiliary = examples.targets.shape[1], examples.auxiliary.shape[1]
    targets = torch.cat([examples.targets, examples.auxiliary], dim=1)
    weights = torch.tensor([1.0] * n_tasks + [config.auxiliary_weight / max(n_auxiliary, 1)] * n_auxiliary)
    if network is None:
        network = TaskNetwork(leads, targets.shape[1], config.network, pretrained)
    steps = -(-len(examples) // config.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=steps * config.epochs, pct_start=0.15
    )
    average = copy.deepcopy(network)
    for epoch in range(config.epochs):
        network.train()
        losses = []
        for chosen in torch.split(torch.randperm(len(examples), generator=generator), config.batch_size):
            x, present = _compose(examples.signals[chosen], examples.present[chosen], config, generator)
            logits = network(x, present)
            loss = weighted_loss(logits, targets[chosen], weights)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            follow(average, network, config.ema_decay)
            losses.append(loss.item())
        if progress is not None:
            progress(epoch, float(np.mean(losses)))
    return average.eval()


@torch.inference_mode()
def predict_network(
    network: TaskNetwork, examples: Examples, config: NetworkConfig, shown: tuple[str, ...] = STANDARD_12
) -> NDArray[np.float32]:
    """Return probabilities (n, n_tasks), averaged in logits over evenly spaced windows.

    ``shown`` are the leads that a masked network may see, of those that it reads.
    """
    network.eval()
    n_tasks = examples.targets.shape[1]
    allowed = torch.zeros(12, dtype=torch.bool)
    allowed[list(positions(shown))] = True
    slack = examples.signals.shape[-1] - config.window
    starts = np.linspace(0, slack, config.views).round().astype(int) if config.views > 1 else [slack // 2]
    parts = []
    for chosen in torch.split(torch.arange(len(examples)), 256):
        signals, present = examples.signals[chosen], examples.present[chosen] & allowed
        views = [
            network(windows.rescale(signals[..., s : s + config.window]) * present[:, :, None], present)[:, :n_tasks]
            for s in starts
        ]
        parts.append(torch.stack(views).mean(0))
    return torch.sigmoid(torch.cat(parts)).numpy()


def weighted_loss(logits: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Sum the outputs' mean cross-entropies over the rows that have a target; NaN is none."""
    known = ~wanted.isnan()
    each = bce(logits, wanted.where(known, 0.0), reduction="none") * known
    return (each.sum(0) / known.sum(0).clamp(min=1) * weights).sum()


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move an exponential average of weights towards a model; counters are copied."""
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def _compose(
    signals: Tensor, present: Tensor, config: NetworkConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Cut random windows, imitate portable recorders, and hide leads."""
    starts = torch.randint(0, signals.shape[-1] - config.window + 1, (len(signals),), generator=generator)
    x = windows.crop(signals, starts, config.window)
    if config.degrade:
        x = _degrade(x, generator) * present[:, :, None]
    if config.hide_chest + config.hide_random > 0:
        rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
        present = torch.from_numpy(hide_leads(rng, present.numpy(), config.hide_chest, config.hide_random))
    return windows.rescale(x) * present[:, :, None], present


def _degrade(x: Tensor, generator: torch.Generator) -> Tensor:
    """Degrade the independent leads and derive the other limb leads from them."""
    independent = torch.cat([x[:, :2], x[:, 6:]], dim=1)
    noisy = augment.degrade(independent, 125.0, generator)
    limb = torch.tensor(LIMB_MATRIX, dtype=x.dtype) @ noisy[:, :2]
    return torch.cat([limb, noisy[:, 2:]], dim=1)
