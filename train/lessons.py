"""What a student can be taught beside its labels, each with its loss: opinions, functions, features, measurements.

Sources: soft targets, Hinton et al., arXiv:1503.02531; matched functions, Beyer et al., arXiv:2106.05237; features
through a throw-away layer, Romero et al., arXiv:1412.6550.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsemvae_edge.beats import frontal_vector
from lsemvae_edge.model.student import Student, StudentOutput
from lsemvae_edge.train.config_distill import DistillConfig
from lsemvae_edge.train.finetune import weighted_loss

MEASUREMENTS = ("QRS axis, cosine", "QRS axis, sine", "end of QRS, I", "end of QRS, aVF", "P wave, I", "P wave, aVF")
"""Columns of `measurements`."""

_QRS_HALF_S = 0.064
_QRS_LONGEST_S = 0.12
_QRS_OVER = 0.15
_TERMINAL_S = 0.04
_P_BEGINS_S, _P_ENDS_S = 0.224, 0.08


@dataclass(frozen=True, eq=False)
class Softened:
    """The teachers' softened opinions (n, n_tasks + n_auxiliary), and the loss against them."""

    opinion: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]


def softened(soft: Tensor, config: DistillConfig, columns: Sequence[int], n_tasks: int) -> Softened:
    """Soften opinions by the temperature.

    Parameters
    ----------
    soft : Tensor (n, n_tasks + n_auxiliary)
        In logits; NaN is none.
    config : DistillConfig
    columns : sequence of int
        The student's outputs that they are about.
    n_tasks : int
    """
    t, n_auxiliary = config.temperature, len(columns) - n_tasks
    # A softened cross-entropy has gradients smaller by the temperature.
    weights = t * torch.tensor(
        [config.soft_weight] * n_tasks + [config.soft_auxiliary / max(n_auxiliary, 1)] * n_auxiliary
    )
    of = list(columns)
    return Softened(torch.sigmoid(soft / t), lambda logits, said: weighted_loss(logits[:, of] / t, said, weights))


def mismatch(
    ensemble: Sequence[Student], x: Tensor, mask: Tensor, logits: Tensor, weights: Tensor, temperature: float
) -> Tensor:
    """Return the softened cross-entropy against the mean logits of an ensemble on the same input."""
    with torch.no_grad():
        opinion = torch.stack([teacher(x, mask).logits for teacher in ensemble]).mean(dim=0)
    return temperature * weighted_loss(logits / temperature, torch.sigmoid(opinion / temperature), weights)


def apart(output: StudentOutput, guide: Student, x: Tensor, mask: Tensor) -> Tensor:
    """Return the divergence of the guide's expert of each lead from the student's, on the same input.

    Parameters
    ----------
    output : StudentOutput
        Of at least these recordings, the first rows.
    guide : Student
        Of the same latent size, its first leads the student's.
    x, mask : Tensor (n, n_leads, 1, n_samples), (n, n_leads)
        Absent leads do not count.

    Returns
    -------
    Tensor ()
        KL(guide, student), mean over recordings, leads and dimensions.
    """
    n, n_leads = mask.shape
    with torch.no_grad():
        known = [guide.encoders[i](x[:, i : i + 1]) for i in range(n_leads)]
        wanted_mu, wanted_logvar = (torch.stack(values, dim=1) for values in zip(*known, strict=True))
    mu, logvar = (values[:n].reshape(n, n_leads, -1) for values in (output.lead_mu, output.lead_logvar))
    spread = (wanted_logvar.exp() + (wanted_mu - mu).square()) / logvar.exp()
    each = 0.5 * (spread - 1 + logvar - wanted_logvar).mean(dim=2)
    return (each * mask).sum() / mask.sum().clamp(min=1.0)


class Pooled:
    """Keeps what the encoders of a student pooled in its latest pass."""

    def __init__(self, student: Student) -> None:
        self._parts: dict[int, Tensor] = {}
        self.width = student.config.n_leads * student.config.channels[-1]
        for lead, encoder in enumerate(student.encoders):
            encoder.pool.register_forward_hook(partial(self._keep, lead))  # type: ignore[union-attr]

    def _keep(self, lead: int, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._parts[lead] = output.flatten(1)

    def latest(self) -> Tensor:
        """Return them (batch, n_leads * n_channels), lead by lead."""
        return torch.cat([self._parts[lead] for lead in sorted(self._parts)], dim=1)


class Guess(nn.Module):
    """A linear layer, thrown away after fitting, that predicts a hint from what a student makes of a recording.

    Parameters
    ----------
    student : Student
    width : int
        Columns of the hint.
    from_features : bool
        Read what the encoders pooled; else the fused mean and the means of the leads.
    """

    def __init__(self, student: Student, width: int, from_features: bool) -> None:
        super().__init__()
        self._pooled = Pooled(student) if from_features else None
        n_latents = student.config.latent_dim * (1 + student.config.n_leads)
        self.linear = nn.Linear(n_latents if self._pooled is None else self._pooled.width, width)

    def missed(self, output: StudentOutput, hint: Tensor) -> Tensor:
        """Return how far a hint is missed in the first rows of the student's latest output; NaN rows are none."""
        known = ~hint.isnan().any(dim=1)
        if not known.any():
            return torch.zeros(())
        of = torch.cat([output.mu, output.lead_mu], dim=1) if self._pooled is None else self._pooled.latest()
        return nn.functional.smooth_l1_loss(self.linear(of[: len(hint)][known]), hint[known])


def standardised(known: Tensor) -> Tensor:
    """Give each column (n, d) mean 0 and standard deviation 1."""
    return (known - known.mean(dim=0)) / known.std(dim=0).clamp(min=1e-6)


def measurements(pairs: NDArray[np.float32], centre: int, fs_hz: float) -> NDArray[np.float32]:
    """Measure what a reader looks at for the right heart: the frontal axis, how QRS ends, and the P wave.

    Parameters
    ----------
    pairs : array (n, 2, n_samples)
        Average beats of leads I and II.
    centre : int
        Sample of the QRS complex's centre.
    fs_hz : float

    Returns
    -------
    array (n, 6), float32
        Columns `MEASUREMENTS`: direction of the QRS area; mean over the last 40 ms of QRS; the P wave's peak over the
        median of what comes before QRS. Sizes are in the unit of ``pairs`` and along the frontal plane's axes, where
        aVF counts by 2 / sqrt(3). The end of QRS is where the vector was last faster than 15 % of its greatest speed.
    """

    def samples(seconds: float) -> int:
        return round(seconds * fs_hz)

    vector = np.moveaxis(frontal_vector(np.moveaxis(pairs.astype(np.float64), 1, 0)), 0, 1)
    half = samples(_QRS_HALF_S)
    area = vector[:, :, centre - half : centre + half].sum(axis=2)
    direction = area / np.maximum(np.linalg.norm(area, axis=1, keepdims=True), 1e-9)
    speed = np.zeros((len(vector), vector.shape[2]))
    speed[:, 1:-1] = np.linalg.norm(vector[:, :, 2:] - vector[:, :, :-2], axis=1)
    greatest = speed[:, centre - half : centre + half + 1].max(axis=1)
    fast = speed[:, centre : centre + samples(_QRS_LONGEST_S) + 1] > _QRS_OVER * greatest[:, None]
    fast[:, 0] = True
    end = centre + fast.shape[1] - 1 - np.argmax(fast[:, ::-1], axis=1)
    last = end[:, None] - np.arange(samples(_TERMINAL_S))
    terminal = np.take_along_axis(vector, last[:, None], axis=2).mean(axis=2)
    before = np.median(vector[:, :, : centre - half], axis=2, keepdims=True)
    wave = (vector - before)[:, :, centre - samples(_P_BEGINS_S) : centre - samples(_P_ENDS_S)]
    peak = np.argmax(np.linalg.norm(wave, axis=1), axis=1)
    p_wave = np.take_along_axis(wave, peak[:, None, None], axis=2)[:, :, 0]
    return np.concatenate([direction, terminal, p_wave], axis=1).astype(np.float32)
