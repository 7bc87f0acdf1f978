"""Quantization-aware training: a student goes on learning with its rounding in place, taught by its own floating point.

Rounding has no slope; gradients pass it as if it were not there, and stop where a value is cut off (Bengio et al.,
arXiv:1308.3432; Jacob et al., arXiv:1712.05877). What is rounded, and in which steps, is the reference's, since this
*is* the reference with other operators. Labels are not read: what is learned is to say what was said before rounding.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.manifest import Quantization, Step
from lsemvae_edge.model import Student, StudentOutput, fold_batch_norm
from lsemvae_edge.model.student import LeadEncoder
from lsemvae_edge.quantize.equalize import convolutions, unfolded
from lsemvae_edge.quantize.reference import FloatStudent, Given, Layer, QuantizedEncoder, QuantizedStudent
from lsemvae_edge.quantize.scheme import HIGH, LOW, WEIGHT_LIMIT, weight_scales
from lsemvae_edge.train import beat_batches
from lsemvae_edge.train.cohort import Cohort
from lsemvae_edge.train.finetune import positions
from lsemvae_edge.train.recipes import recipe

CLOSE = 0.1
"""Differences above it count by their size, not its square, lest inputs that are no ECG outweigh all others."""

Progress = Callable[[int, float], None]


class QatConfig(BaseModel):
    """How a student is trained with its rounding.

    Parameters
    ----------
    seed : int
    epochs, batch_size : int
    learning_rate : float
        Of Adam; it falls to zero along a cosine.
    latent_weight : float
        Weight of the fused mean beside the logits; of both, what differs from floating point is the loss.
    swapped_per_batch, strange_per_batch, strange_bank, alone
        What is shown beside recordings as they are, as in `FitConfig` but less of it: enough that guards and single
        leads keep what they have learned; more moves the answers on whole recordings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    latent_weight: float = Field(1.0, ge=0)
    swapped_per_batch: int = Field(4, ge=0)
    strange_per_batch: int = Field(2, ge=0)
    strange_bank: int = Field(200, ge=1)
    alone: float = Field(0.05, ge=0, le=1)


def train(
    student: Student,
    training: Cohort,
    quantization: Quantization,
    config: QatConfig | None = None,
    progress: Progress | None = None,
) -> tuple[Student, Quantization]:
    """Train a student on with its rounding.

    Parameters
    ----------
    student : Student
        Of the six limb leads; is not changed.
    training : Cohort
        Recordings that the student may learn from; only their average beats are read.
    quantization : Quantization
        Steps stay as they are: weights learn to live with them. Layers left in floating point learn, too.
    config : QatConfig, optional
    progress : callable, optional
        Told the epoch and its mean loss.

    Returns
    -------
    student : Student
        In evaluation mode, batch norms that only carry biases.
    quantization : Quantization
        With the method ``qat``.
    """
    config = config or QatConfig()
    generator = torch.Generator().manual_seed(config.seed)
    teacher, learner = FloatStudent(student), TrainableStudent(student, quantization)
    beats, present = torch.from_numpy(training.beats), torch.from_numpy(training.present)
    strange = torch.empty(0)
    if config.strange_per_batch:
        strange = beat_batches.strange_beats(config.strange_bank, config.seed)
    optimizer = torch.optim.Adam(learner.parameters(), lr=config.learning_rate)
    steps = config.epochs * -(-len(training) // config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(config.epochs):
        losses = []
        for chosen in torch.split(torch.randperm(len(training), generator=generator), config.batch_size):
            batch = beat_batches.compose(
                beats[chosen],
                present[chosen],
                strange,
                leads=positions(LIMB_LEADS),
                fs_hz=recipe("beat").fs_hz * beats.shape[2] / recipe("beat").n_samples,
                swapped=config.swapped_per_batch,
                n_strange=config.strange_per_batch,
                alone=config.alone,
                generator=generator,
            )
            with torch.no_grad():
                wanted = StudentOutput(*teacher(batch.x, batch.mask))
            given = StudentOutput(*learner(batch.x, batch.mask))
            loss = nn.functional.smooth_l1_loss(given.logits, wanted.logits, beta=CLOSE)
            loss = loss + config.latent_weight * nn.functional.smooth_l1_loss(given.mu, wanted.mu, beta=CLOSE)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        if progress is not None:
            progress(epoch, sum(losses) / len(losses))
    return learner.learned(student), replace(quantization, method="qat")


class TrainableLayer(nn.Module):
    """As `QuantizedLayer`, with weights that learn through their rounding."""

    def __init__(self, layer: Layer, rounded: bool) -> None:
        super().__init__()
        assert layer.bias is not None
        self.rounded = rounded
        self.convolution = (layer.stride, layer.padding) if isinstance(layer, nn.Conv2d) else None
        self.weight = nn.Parameter(layer.weight.detach().clone())
        self.bias = nn.Parameter(layer.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to real values."""
        weight: Tensor = self.weight
        if self.rounded:
            scales = weight_scales(weight)
            zero_points = torch.zeros(len(scales), dtype=torch.int32)
            weight = torch.fake_quantize_per_channel_affine(weight, scales, zero_points, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT)
        if self.convolution is None:
            return nn.functional.linear(x, weight, self.bias)
        stride, padding = self.convolution
        return nn.functional.conv2d(x, weight, self.bias, stride, padding)


class TrainableGiven(Given):
    """As `Given`, in real values that lie on the step's grid."""

    def __init__(self, values: Tensor, step: Step | None) -> None:
        self.step = step
        self._kept = values
        if step is not None:
            self._kept = torch.fake_quantize_per_tensor_affine(values, step.scale, step.zero_point, LOW, HIGH)

    def read(self) -> Tensor:
        """Return real values."""
        return self._kept


class TrainableEncoder(QuantizedEncoder):
    """A lead's encoder whose rounding lets gradients pass."""

    layer = TrainableLayer
    given = TrainableGiven


class TrainableStudent(QuantizedStudent):
    """The reference, with rounding that lets gradients pass; neither dropout nor sampling is in the way."""

    encoder = TrainableEncoder

    @torch.no_grad()
    def learned(self, like: Student) -> Student:
        """Return a plain student with what was learned, of the configuration of ``like``."""
        folded = fold_batch_norm(like)
        for mine, trained in zip(folded.encoders, self.student.encoders, strict=True):
            assert isinstance(mine, LeadEncoder)
            assert isinstance(trained, TrainableEncoder)
            layers: list[Layer] = [*convolutions(mine), mine.mu, mine.logvar]
            for own, learned in zip(layers, [*trained.convolutions, trained.mu, trained.logvar], strict=True):
                assert isinstance(learned, TrainableLayer)
                assert own.bias is not None
                own.weight.copy_(learned.weight)
                own.bias.copy_(learned.bias)
        heads = ("fused_head.", "lead_heads.")
        state = {name: value for name, value in self.student.state_dict().items() if name.startswith(heads)}
        folded.load_state_dict(state, strict=False)
        return unfolded(folded)
