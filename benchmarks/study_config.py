"""What the study of full-precision models compares, as configuration."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lsemvae_edge.train.config import PRESETS
from lsemvae_edge.train.config_pretrain import PretrainConfig
from lsemvae_edge.train.finetune import LEAD_SETS, LatentConfig, NetworkConfig

Split = Literal["folds", "cv5"]
SUBSETS = tuple(name for name in LEAD_SETS if name != "12L")


class ModelRow(BaseModel):
    """One model of the tables.

    Parameters
    ----------
    name : str
        As it stands in tables.
    preset : str, optional
        LS-EMVAE that the task model starts from (`lsemvae_edge.train.config.PRESETS`).
    pretrain : PretrainConfig, optional
        How the preset is pre-trained; without it its weights are fresh.
    task_model : LatentConfig or NetworkConfig
    leads : tuple of str
        Lead sets; a task model is fitted for each.
    shown : tuple of str
        Further lead sets, which the task model of the first entry of ``leads`` answers with the others masked.
    twelve_lead_only : bool
        Learn from recordings with all twelve leads alone.
    train_share : float
        Share of the training patients to learn from; a smaller share's are among a larger one's.
    splits : tuple of str
        ``folds``: learn from folds 1-8, judged on 9 and, at the end, 10. ``cv5``: patient-grouped cross-validation,
        in which pre-training repeats in each fold.
    seeds : tuple of int
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    preset: str | None = None
    pretrain: PretrainConfig | None = None
    task_model: LatentConfig | NetworkConfig
    leads: tuple[str, ...] = ("12L", "6L")
    shown: tuple[str, ...] = ()
    twelve_lead_only: bool = False
    train_share: float = Field(1.0, gt=0, le=1)
    splits: tuple[Split, ...] = ("folds",)
    seeds: tuple[int, ...] = (0,)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unknown = {*self.leads, *self.shown} - set(LEAD_SETS)
        if unknown:
            raise ValueError(f"unknown lead sets {sorted(unknown)}; there are {', '.join(LEAD_SETS)}")
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"unknown preset {self.preset!r}; there are {', '.join(PRESETS)}")
        if self.preset is None and (self.pretrain or isinstance(self.task_model, LatentConfig)):
            raise ValueError(f"{self.name}: pre-training, and the published fine-tuning, need a preset")
        if self.shown and not (isinstance(self.task_model, NetworkConfig) and self.task_model.network == "pooled"):
            raise ValueError(f"{self.name}: only a pooled network can be shown fewer leads than it learned from")
        return self

    def thinned(self, share: float) -> "ModelRow":
        """Return the same model, learned from a share of the patients."""
        return self.model_copy(update={"name": f"{self.name}, {share:.3g} of the patients", "train_share": share})

    def same_but_for_share(self, other: "ModelRow") -> bool:
        """Tell whether two rows differ in name and share of the patients alone."""
        neutral = {"name": "", "train_share": 1.0}
        return self.model_copy(update=neutral) == other.model_copy(update=neutral)

    @property
    def recipe(self) -> str:
        """Name of the recipe of its input."""
        return PRESETS[self.preset].recipe if self.preset else "edge"


class StudyConfig(BaseModel):
    """Models to compare, and by which differences.

    Parameters
    ----------
    rows : tuple of ModelRow
        In order of importance: what the budget does not reach is at the end.
    differences : tuple of (model, leads, model, leads)
        Pairs whose difference is shown with its interval, first minus second.
    robustness, saliency : tuple of str
        Models that are also judged under noise, and whose attributions are shown.
    drawn : tuple of str
        Models whose curves (ROC, reliability, decision) are drawn together; by default all.
    budget_minutes : float
        No stage begins after so long; rows that it did not reach are listed as not run.
    processes : int
        Stages at a time, one thread each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: tuple[ModelRow, ...]
    differences: tuple[tuple[str, str, str, str], ...] = ()
    robustness: tuple[str, ...] = ()
    saliency: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    budget_minutes: float = Field(120.0, gt=0)
    processes: int = Field(2, ge=1)
