"""How a six-lead student and its teachers are fitted, as configuration."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SizeName = Literal["tiny", "small", "base"]


class FitConfig(BaseModel):
    """How lead experts are fitted; every figure that changes the result is here.

    Parameters
    ----------
    size : str
        Name in `lsemvae_edge.model.student.SIZES`.
    secondary_weight, auxiliary_weight, guard_weight, kl_weight : float
        Of the tasks after the first, of the further statements of the report together, of each guard, and of the
        divergence of the fused posterior from the prior.
    alone : float
        Share of recordings of which one limb lead alone is shown, as with a loose electrode.
    mixup : float
        Parameter of the Beta distribution that two recordings and their labels are mixed by (Zhang et al.,
        arXiv:1710.09412); 0 for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: SizeName = "small"
    seed: int = 0
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 2e-2
    ema_decay: float = 0.99
    secondary_weight: float = 0.5
    auxiliary_weight: float = 10.0
    guard_weight: float = 0.3
    kl_weight: float = 1e-3
    swapped_per_batch: int = 16
    strange_per_batch: int = 8
    strange_bank: int = 1000
    alone: float = Field(0.15, ge=0, le=1)
    mixup: float = Field(0.0, ge=0)


class TeacherConfig(BaseModel):
    """One kind of teacher: its leads, and how it is fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    leads: Literal["12L", "6L"]
    fit: FitConfig = FitConfig(swapped_per_batch=0, strange_per_batch=0, alone=0.0)
    seeds: tuple[int, ...] = (0,)
    weight: float = 1.0


class DistillConfig(BaseModel):
    """A student and its teachers.

    Parameters
    ----------
    student : FitConfig
    teachers : tuple of TeacherConfig
        Their opinions are averaged in logits; without any, the student learns from labels alone.
    folds : int
        Patient-grouped folds of the training recordings that teachers are cross-fitted over.
    soft_weight, temperature : float
        Weight of the teachers' opinions beside the labels, and by how much both are softened.
    soft_auxiliary : float
        Weight of their opinions about the further statements.
    ensemble : int
        Six-lead teachers of the student's own form that learned from all training recordings with other seeds. They are
        not cross-fitted: they are asked about the very input that the student sees, augmented and mixed, so that the
        student matches a function and not stored answers (Beyer et al., arXiv:2106.05237).
    ensemble_weight : float
        Weight of their opinions about tasks, guards and further statements, beside the labels.
    hint : {"none", "chest", "latent", "features", "experts", "measured"}
        What the student is taught besides; a linear layer that exists only while fitting predicts it from the
        student's latents. ``chest``: the chest leads' average beats. ``latent``: the fused mean of a twelve-lead
        teacher. ``features``: what that teacher's twelve encoders pool, predicted from what the student's six do
        (Romero et al., arXiv:1412.6550). ``experts``: the means and variances of that teacher's limb leads, matched
        lead by lead on the very input that the student sees, without such a layer. ``measured``: frontal QRS axis,
        terminal forces and P wave. The teacher is the first of ``teachers`` that reads twelve leads, fitted on all
        recordings that have them: its basis must be one for all, so it cannot be cross-fitted. For ``experts`` it has
        the student's size.
    hint_weight : float
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: Literal["student"] = "student"
    student: FitConfig = FitConfig()
    teachers: tuple[TeacherConfig, ...] = ()
    folds: int = Field(4, ge=2)
    soft_weight: float = 1.0
    soft_auxiliary: float = 0.0
    temperature: float = Field(2.0, gt=0)
    ensemble: int = Field(0, ge=0)
    ensemble_weight: float = 1.0
    hint: Literal["none", "chest", "latent", "features", "experts", "measured"] = "none"
    hint_weight: float = 1.0

    @model_validator(mode="after")
    def _has_a_teacher_to_take_the_hint_from(self) -> "DistillConfig":
        if self.hint in ("latent", "features", "experts") and all(one.leads != "12L" for one in self.teachers):
            raise ValueError(f"the hint {self.hint} needs a teacher of twelve leads")
        return self


def shipped_recipe(size: SizeName = "small", seed: int = 0) -> DistillConfig:
    """Return the recipe of the shipped bundles; how it was chosen stands in ``docs/figures.md``."""
    taught = FitConfig(epochs=25, mixup=0.2, swapped_per_batch=0, strange_per_batch=0, alone=0.0)
    return DistillConfig(
        student=FitConfig(size=size, seed=seed, mixup=0.2),
        teachers=(
            TeacherConfig(leads="12L", fit=taught, seeds=(0,)),
            TeacherConfig(leads="6L", fit=taught, seeds=(0, 1)),
        ),
        folds=3,
        soft_weight=1.0,
        soft_auxiliary=5.0,
    )
