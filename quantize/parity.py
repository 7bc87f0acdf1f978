"""Whether forms of one model say the same: logits, latents and outcomes, on average and in the tail."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lsemvae_edge import decision, preprocess
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.quantize.reference import ask
from lsemvae_edge.runtime import Output
from lsemvae_edge.spec import ModelSpec
from lsemvae_edge.synthetic.heart import drawn, simulate

TAIL = 0.999
HEARTS = 256
MASKS = ((1, 1, 1, 1, 1, 1), (1, 0, 0, 0, 0, 0), (0, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0), (1, 1, 0, 0, 0, 0))
"""All leads; what a loose electrode leaves; a two-lead recorder whose other leads nobody derived."""

Array = NDArray[np.float32]


class Runs(Protocol):
    """Whatever can be asked like a `Session`."""

    def run(self, signal: Array, mask: Array | None = None) -> Output:
        """Run the model on one input (n_leads, n_samples)."""
        ...


@dataclass(frozen=True, eq=False)
class Asked:
    """Inputs that forms are asked: ``signals`` (n, n_leads, n_samples) and ``masks`` (n, n_leads)."""

    signals: Array
    masks: Array

    def __len__(self) -> int:
        return len(self.signals)

    def __add__(self, other: "Asked") -> "Asked":
        return Asked(np.concatenate([self.signals, other.signals]), np.concatenate([self.masks, other.masks]))


@dataclass(frozen=True, eq=False)
class Said:
    """What one form said: ``logits`` (n, n_outputs), ``mu`` (n, latent_dim), ``outcomes`` (n,) of the primary task."""

    logits: Array
    mu: Array
    outcomes: NDArray[np.str_]


@dataclass(frozen=True)
class Agreement:
    """How far two forms lie apart over ``n`` inputs.

    ``mean``, ``tail`` (99.9th percentile) and ``worst`` are absolute differences of logits, ``latent`` the worst of
    the fused means; ``flipped`` counts outcomes of the primary task that differ.
    """

    n: int
    mean: float
    tail: float
    worst: float
    latent: float
    flipped: int

    @property
    def flips(self) -> float:
        """Share of outcomes that differ."""
        return self.flipped / self.n


def everyday(signals: Array) -> Asked:
    """Return recordings with all leads present."""
    return Asked(signals, np.ones(signals.shape[:2], dtype=np.float32))


def simulated(spec: ModelSpec, n: int = HEARTS) -> Asked:
    """Return model inputs of simulated hearts of many axes, rates and sizes."""
    rng = np.random.default_rng(0)
    signals = []
    for seed in range(n):
        heart = drawn(rng, rate_bpm=(45, 130), qrs_axis_deg=(-90, 180), t_axis_deg=(-40, 120), left_scale=(0.3, 2))
        record = simulate(heart, 10.0, 500.0, seed, ("I", "II"))
        signals.append(preprocess.apply(record, spec.preprocess).signal)
    return everyday(np.stack(signals).astype(np.float32))


def extreme(spec: ModelSpec) -> Asked:
    """Return inputs at the edges of the contract under every mask: silence, both bounds, steps, spikes, noise."""
    n_leads, n_samples, clip = len(LIMB_LEADS), spec.preprocess.beat.n_samples, spec.preprocess.clip
    rng = np.random.default_rng(1)
    shape = (n_leads, n_samples)
    alternating = np.tile([clip, -clip], (n_leads, n_samples))[:, :n_samples]
    spike = np.zeros(shape)
    spike[:, n_samples // 3] = clip
    cases = [
        np.zeros(shape),
        np.full(shape, clip),
        np.full(shape, -clip),
        alternating,
        np.sign(np.arange(n_samples) - n_samples / 2) * np.full(shape, clip),
        spike,
        rng.uniform(-clip, clip, shape),
        np.clip(rng.normal(0, clip, shape), -clip, clip),
    ]
    signals, masks = [], []
    for case in cases:
        for mask in MASKS:
            signals.append(case * np.array(mask)[:, None])
            masks.append(mask)
    return Asked(np.stack(signals).astype(np.float32), np.array(masks, dtype=np.float32))


def masked(asked: Asked, n: int) -> Asked:
    """Return the first inputs again under every mask that a recorder may bring about."""
    parts = []
    for mask in MASKS[1:]:
        shown = np.array(mask, dtype=np.float32)
        parts.append(Asked(asked.signals[:n] * shown[:, None], np.tile(shown, (len(asked.signals[:n]), 1))))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole


def said_by_session(spec: ModelSpec, session: Runs, asked: Asked) -> Said:
    """Ask an open session, one input after another."""
    outputs = [session.run(signal, mask) for signal, mask in zip(asked.signals, asked.masks, strict=True)]
    return _said(spec, outputs)


def said_by_torch(spec: ModelSpec, model: nn.Module, asked: Asked) -> Said:
    """Ask a form in torch, see `reference`."""
    output = ask(model, torch.from_numpy(asked.signals)[:, :, None], torch.from_numpy(asked.masks))
    n_leads, n_outputs = asked.signals.shape[1], output.logits.shape[1]
    contributions = output.contributions.reshape(-1, n_leads, n_outputs)
    parts = [part.numpy() for part in (output.logits, output.mu, output.logvar, contributions)]
    return _said(spec, list(map(Output, *parts, asked.signals)))


def agreement(one: Said, other: Said) -> Agreement:
    """Compare what two forms said of the same inputs."""
    apart = np.abs(one.logits.astype(np.float64) - other.logits)
    return Agreement(
        n=len(apart),
        mean=float(apart.mean()),
        tail=float(np.quantile(apart, TAIL)),
        worst=float(apart.max()),
        latent=float(np.abs(one.mu.astype(np.float64) - other.mu).max()),
        flipped=int((one.outcomes != other.outcomes).sum()),
    )


def pairs(said: Mapping[str, Said]) -> dict[tuple[str, str], Agreement]:
    """Compare every form with every other."""
    names = sorted(said)
    return {(one, other): agreement(said[one], said[other]) for k, one in enumerate(names) for other in names[k + 1 :]}


def _said(spec: ModelSpec, outputs: list[Output]) -> Said:
    ordinary = decision.ordinary(spec)
    outcomes = [decision.decide(spec, output, ordinary)[spec.primary.name].outcome for output in outputs]
    return Said(
        np.stack([output.logits for output in outputs]),
        np.stack([output.mu for output in outputs]),
        np.array(outcomes),
    )
