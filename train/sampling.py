"""Which recordings enter which step, and every random number of it.

All of it follows from the seed, the epoch and the step, never from the process that asks: the draws are made for the
whole batch and then cut into the parts that devices and accumulation ask for. Hence one process, many processes and a
resumed process compute the same steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.train import windows

if TYPE_CHECKING:
    from lsemvae_edge.train.shards import Shards


class Use(IntEnum):
    """What a batch is for; a part of its seeds."""

    TRAIN = 0
    VALIDATE = 1


class Part(NamedTuple):
    """One part of the batch of one step."""

    epoch: int
    step: int
    part: int


class Parts(Sampler[Part]):
    """The parts that one process computes, in order, from a step on.

    Parameters
    ----------
    n_steps : int
        Steps of an epoch.
    rank, world : int
        This process and the number of processes.
    accumulate : int
        Parts of each step that a process computes.
    epoch, first_step : int
        Where to begin; a later epoch begins at its first step.
    """

    def __init__(
        self, n_steps: int, rank: int = 0, world: int = 1, accumulate: int = 1, epoch: int = 0, first_step: int = 0
    ) -> None:
        self.n_steps, self.rank, self.world, self.accumulate = n_steps, rank, world, accumulate
        self.epoch, self.first_step = epoch, first_step

    def __len__(self) -> int:
        """Return the parts of a whole epoch, also when it begins in its middle: the loop counts on from there."""
        return self.n_steps * self.accumulate

    def __iter__(self) -> Iterator[Part]:
        for step in range(self.first_step, self.n_steps):
            for i in range(self.accumulate):
                yield Part(self.epoch, step, i * self.world + self.rank)

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch, to its first step unless it is the one that was begun."""
        if epoch != self.epoch:
            self.epoch, self.first_step = epoch, 0


@dataclass(frozen=True)
class Draws:
    """What is drawn for a whole batch.

    ``starts`` (batch,) are the windows' first samples, ``visible`` (batch, 12) the leads that are encoded, ``noise``
    (batch, noise_dim) the numbers that the posterior is sampled with.
    """

    starts: NDArray[np.int64]
    visible: NDArray[np.bool_]
    noise: NDArray[np.float32]


class Batches(Dataset[dict[str, Tensor]]):
    """Parts of batches of recordings, read from shards; give it a `Part`.

    Parameters
    ----------
    shards : Shards
    index : array (n,) of int64
        Recordings to use.
    use : Use
        Training shuffles in each epoch and crops at random; validation keeps the order, crops the middle, and draws
        the same noise and the same hidden leads in every epoch.
    seed, batch_size, n_parts : int
        A batch is cut into ``n_parts``.
    length, rescale : int, bool
        Samples of a window, and whether each is brought to one scale.
    noise_dim : int
    hide_chest, hide_random : float
        See `lsemvae_edge.train.config_pretrain.PretrainConfig`.
    """

    def __init__(
        self,
        shards: "Shards",
        index: NDArray[np.int64],
        use: Use,
        *,
        seed: int,
        batch_size: int,
        n_parts: int,
        length: int,
        rescale: bool,
        noise_dim: int,
        hide_chest: float = 0.0,
        hide_random: float = 0.0,
    ) -> None:
        self.shards, self.index, self.use = shards, index, use
        self.seed, self.batch_size, self.n_parts = seed, batch_size, n_parts
        self.length, self.rescale, self.noise_dim = length, rescale, noise_dim
        self.hide_chest, self.hide_random = hide_chest, hide_random
        self.n_steps = -(-len(index) // batch_size)

    def __getitem__(self, place: Part) -> dict[str, Tensor]:
        """Return one part of a batch.

        Returns
        -------
        dict
            ``signals`` (k, n_leads, length), ``present`` and ``visible`` (k, n_leads), ``noise`` (k, noise_dim), and
            the scalars that turn means over the part into means over the batch: ``weight`` for terms that are means
            over recordings, ``alignment_weight`` for means over visible leads, each such that the mean over the parts
            of ``weight * term`` is the term of the whole batch; ``share`` is batch size / n_parts.
        """
        rows = self.rows(place)
        present = self.shards.present[rows]
        draws = self.draw(place, present)
        chosen = np.array_split(np.arange(len(rows)), self.n_parts)[place.part]
        weight = len(chosen) * self.n_parts / len(rows)
        seen = draws.visible.sum()
        alignment_weight = draws.visible[chosen].sum() * self.n_parts / seen if seen else 0.0
        if not len(chosen):
            # Every process must take part in every step: this one computes a recording that does not count.
            chosen = np.zeros(1, dtype=np.int64)
        signals = torch.from_numpy(self.shards.signals(rows[chosen]))
        signals = windows.crop(signals, torch.from_numpy(draws.starts[chosen]), self.length)
        if self.rescale:
            signals = windows.rescale(signals)
        return {
            "signals": signals,
            "present": torch.from_numpy(present[chosen]),
            "visible": torch.from_numpy(draws.visible[chosen]),
            "noise": torch.from_numpy(draws.noise[chosen]),
            "weight": torch.tensor(weight, dtype=torch.float32),
            "alignment_weight": torch.tensor(alignment_weight, dtype=torch.float32),
            "share": torch.tensor(len(rows) / self.n_parts, dtype=torch.float32),
        }

    def rows(self, place: Part) -> NDArray[np.int64]:
        """Return the recordings of a whole batch, as rows of the shards."""
        begin = place.step * self.batch_size
        if self.use is Use.TRAIN:
            positions = _order(self.seed, place.epoch, len(self.index))[begin : begin + self.batch_size]
            return self.index[positions]
        return self.index[begin : begin + self.batch_size]

    def draw(self, place: Part, present: NDArray[np.bool_]) -> Draws:
        """Draw everything that is random in a batch."""
        epoch = place.epoch if self.use is Use.TRAIN else 0
        rng = np.random.default_rng((self.seed, int(self.use), epoch, place.step))
        n_samples = self.shards.recipe.n_samples
        starts = rng.integers(0, n_samples - self.length + 1, len(present))
        if self.use is Use.VALIDATE:
            starts[:] = windows.centre(n_samples, self.length)
        visible = hide_leads(rng, present, self.hide_chest, self.hide_random)
        return Draws(starts, visible, rng.standard_normal((len(present), self.noise_dim), dtype=np.float32))


def hide_leads(
    rng: np.random.Generator, present: NDArray[np.bool_], hide_chest: float, hide_random: float
) -> NDArray[np.bool_]:
    """Choose the leads that are encoded; never none of those present.

    Parameters
    ----------
    rng : Generator
    present : array (n, n_leads)
        Leads that a recording has, limb leads first.
    hide_chest, hide_random : float
        Probabilities of hiding all chest leads, and of hiding each lead with probability one half.
    """
    event = rng.random(len(present))
    coin = rng.random(present.shape) < 0.5
    chest = np.arange(present.shape[1]) >= len(LIMB_LEADS)
    hidden = (event < hide_chest)[:, None] & chest
    hidden |= ((event >= hide_chest) & (event < hide_chest + hide_random))[:, None] & coin
    visible = present & ~hidden
    none = ~visible.any(axis=1)
    visible[none] = present[none]
    return visible


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    """Return the order of an epoch; kept, because every step of it asks."""
    # The second number keeps this stream apart from those of the draws, which have the use there.
    order: NDArray[np.intp] = np.random.default_rng((seed, len(Use), epoch)).permutation(count)
    return order
