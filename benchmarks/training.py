"""Throughput of pre-training in the reference configuration, beside plain implementations of the same model.

Counted are recordings that enter a gradient that an optimiser step uses. Two peers, both a plain loop in torch with
the same weights, batch, optimiser settings and precision:

- ``published``: decodes once for each of the twelve leads, and steps on every second batch while clearing the gradient
  at each, so that every second batch is computed and discarded, as the published recipe does;
- ``decode once``: decodes once for all leads and steps on every batch.
"""

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsemvae_edge.model import LSEMVAE
from lsemvae_edge.train.config import PRESETS
from lsemvae_edge.train.config_pretrain import PretrainConfig
from lsemvae_edge.train.losses import pretraining_loss
from lsemvae_edge.train.pretrain import pretrain
from lsemvae_edge.train.shards import Shards

Precision = Literal["32-true", "bf16-mixed"]
OURS, PUBLISHED, ONCE = "this toolkit", "plain, published recipe", "plain, decode once"


@dataclass(frozen=True)
class Throughput:
    """Rates of one implementation, recordings that entered a gradient per second, one for each round."""

    implementation: str
    precision: Precision
    batch_size: int
    records_per_s: tuple[float, ...]

    @property
    def median(self) -> float:
        """Middle rate."""
        return median(self.records_per_s)


def measure(
    shards: Shards,
    *,
    precision: Precision,
    batch_size: int = 128,
    steps: int = 4,
    rounds: int = 3,
    say: Callable[[str], None],
) -> list[Throughput]:
    """Run the implementations in turn, round by round, on the same recordings.

    Parameters
    ----------
    shards : Shards
        Made with the reference recipe; ``batch_size * steps`` recordings of it are used.
    precision : str
    batch_size, steps, rounds : int
        Steps of each implementation in a round; the first round warms up and is not counted.
    say : callable
    """
    count = min(len(shards), batch_size * steps)
    index = np.arange(count)
    batches = torch.split(torch.from_numpy(shards.signals(index)), batch_size)
    runs: dict[str, Callable[[], float]] = {
        OURS: lambda: _ours(shards, index, precision, batch_size),
        PUBLISHED: lambda: _plain(batches, precision, decodes=12, steps_on_every=2),
        ONCE: lambda: _plain(batches, precision, decodes=1, steps_on_every=1),
    }
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            rate = run()
            if number:
                rates[name].append(rate)
            say(f"round {number}, {name}: {rate:.1f} records/s{'' if number else ' (not counted)'}")
    return [Throughput(name, precision, batch_size, tuple(values)) for name, values in rates.items()]


def table(results: Iterable[Throughput]) -> str:
    """Print rates and the factor of this toolkit over each peer as Markdown."""
    found = list(results)
    ours = {one.precision: one.records_per_s for one in found if one.implementation == OURS}
    lines = ["| implementation | precision | batch | records/s | this toolkit is faster by |", "|---|---|---|---|---|"]
    for one in found:
        # Rounds are paired: what disturbs the machine disturbs both.
        factor = median(a / b for a, b in zip(ours[one.precision], one.records_per_s, strict=True))
        cells = [one.implementation, one.precision, str(one.batch_size), f"{one.median:.1f}", f"{factor:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ours(shards: Shards, index: NDArray[np.int64], precision: Precision, batch_size: int) -> float:
    config = PretrainConfig(
        epochs=1,
        batch_size=batch_size,
        precision=precision,
        accelerator="cpu",
        logger="none",
        checkpoint_every_steps=10**6,
        validation_folds=(),
    )
    with tempfile.TemporaryDirectory() as folder:
        result = pretrain(shards, PRESETS["reference"], config, Path(folder), train_index=index)
    return result.records_per_s


def _plain(batches: tuple[Tensor, ...], precision: Precision, *, decodes: int, steps_on_every: int) -> float:
    torch.manual_seed(0)
    model = LSEMVAE()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=1e-5)
    used = 0
    start = time.perf_counter()
    for i, x in enumerate(batches):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            mu, logvar = model.encode(x)
            fused_mu, fused_logvar = model.fuse(mu, logvar)
            z = fused_mu + torch.randn_like(fused_mu) * torch.exp(0.5 * fused_logvar)
            recon = model.decode(z) if decodes == 1 else torch.stack([model.decode(z) for _ in range(decodes)], dim=1)
            loss = pretraining_loss(recon, x, mu, logvar, kl_weight=0.0)["total"]
        loss.backward()  # type: ignore[no-untyped-call]
        if i % steps_on_every == steps_on_every - 1:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            used += len(x)
    return used / (time.perf_counter() - start)
