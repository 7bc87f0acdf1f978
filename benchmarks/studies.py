"""The studies that `train evaluate` knows by name."""

from typing import Any

from lsemvae_edge.benchmarks.study_config import SUBSETS, ModelRow, StudyConfig
from lsemvae_edge.train.config_pretrain import PretrainConfig
from lsemvae_edge.train.finetune import LatentConfig, NetworkConfig

_PUBLISHED = PretrainConfig(
    epochs=16, precision="bf16-mixed", accelerator="cpu", logger="none", checkpoint_every_steps=100_000
)
"""The published schedule, cut at the number of epochs that a CPU reaches in half an hour."""
_COMPACT = PretrainConfig(
    epochs=20,
    batch_size=64,
    learning_rate=2e-3,
    weight_decay=1e-4,
    kl_weight=0.01,
    kl_warmup_epochs=5,
    hide_chest=0.4,
    hide_random=0.3,
    accelerator="cpu",
    logger="none",
    checkpoint_every_steps=100_000,
)
_WHOLE = _COMPACT.model_copy(update={"hide_chest": 0.0, "hide_random": 0.0})
"""For fusions that cannot leave leads out: they pre-train on recordings with all twelve."""
_NETWORK = NetworkConfig(auxiliary_weight=10.0, epochs=20)
_ANY_LEADS = _NETWORK.model_copy(update={"hide_chest": 0.3, "hide_random": 0.4})
_FREE = {"kl_weight": 0.0, "alignment_weight": 0.0}
_PLAIN = NetworkConfig(network="plain_cnn", epochs=20)


def _compact(name: str, **changes: Any) -> ModelRow:
    told = {"name": name, "preset": "compact", "pretrain": _COMPACT, "task_model": _NETWORK, **changes}
    return ModelRow.model_validate(told)


def _published(name: str, **changes: Any) -> ModelRow:
    told = {"name": name, "preset": "reference", "pretrain": _PUBLISHED, "task_model": LatentConfig(), **changes}
    return ModelRow.model_validate(told)


PAPER = StudyConfig(
    rows=(
        _published("reference", leads=("12L", *SUBSETS)),
        _compact("compact"),
        ModelRow(name="plain CNN", task_model=_PLAIN),
        _compact("compact without pre-training", pretrain=None),
        _compact("compact, any leads", task_model=_ANY_LEADS, leads=("12L",), shown=SUBSETS),
        _published("reference without pre-training", pretrain=None),
        _compact("compact, 12-lead recordings only", twelve_lead_only=True),
        _compact("compact without masking", preset="compact-hime", pretrain=_WHOLE),
        _compact("MVAE (compact without MoE)", preset="mvae", pretrain=_WHOLE),
        _compact("MMVAE", preset="mmvae", pretrain=_WHOLE),
        _compact("MoPoE", preset="mopoe", pretrain=_WHOLE),
        ModelRow(name="xresnet1d", task_model=NetworkConfig(network="xresnet1d", epochs=15)),
        _compact("compact", splits=("cv5",)),
        ModelRow(name="plain CNN", task_model=_PLAIN, splits=("cv5",)),
        _compact("compact without regularisation", pretrain=_COMPACT.model_copy(update=_FREE)),
        _compact("compact without PoE", preset="compact-no-poe", pretrain=_WHOLE),
        _published("reference without regularisation", pretrain=_PUBLISHED.model_copy(update=_FREE)),
        _published("reference without MoE", preset="reference-no-moe"),
        _published("reference without PoE", preset="reference-no-poe"),
    ),
    differences=(
        ("compact", "12L", "reference", "12L"),
        ("compact", "6L", "reference", "6L"),
        ("compact, 12-lead recordings only", "6L", "reference", "6L"),
        ("compact", "6L", "compact", "12L"),
        ("reference", "6L", "reference", "12L"),
        ("compact", "12L", "plain CNN", "12L"),
        ("compact", "6L", "plain CNN", "6L"),
        ("compact", "12L", "compact without pre-training", "12L"),
        ("compact", "6L", "compact without pre-training", "6L"),
        ("reference", "12L", "reference without pre-training", "12L"),
        ("reference", "6L", "reference without pre-training", "6L"),
    ),
    robustness=("reference", "compact", "plain CNN"),
    saliency=("compact",),
    drawn=("reference", "compact", "plain CNN", "xresnet1d", "MVAE (compact without MoE)", "MMVAE", "MoPoE"),
)
"""The paper's models on the stand-in tasks, in order of importance."""

_CNN = ModelRow(name="plain CNN", task_model=_PLAIN, splits=("cv5",))
LEARNING_CURVE = StudyConfig(rows=(_CNN, *(_CNN.thinned(share) for share in (0.5, 0.25, 0.125))))
"""What more recordings are worth to a teacher that sees the chest leads, and to six leads."""

STUDIES = {"paper": PAPER, "learning-curve": LEARNING_CURVE}
