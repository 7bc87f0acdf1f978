"""The tasks that several data sets have labels for."""

from lsemvae_edge.train import labels
from lsemvae_edge.train.datasets.entry import Task

RIGHT_HEART = Task("right_heart_pattern", ("not_present", "present"), labels.STAND_IN)
HEART_SIDE = Task("heart_side", ("left", "right"), "right-heart pattern against left-sided overload, not a phenotype")
RIGHT_AXIS_LIKE = "right_axis_like"


def stand_in_targets(label: labels.Labels, *, side: bool = True) -> dict[str, int]:
    """Return the targets of the stand-in tasks; ``side=False`` for a source that has no left-sided class."""
    targets = {RIGHT_HEART.name: label.right_heart_pattern}
    if side and label.heart_side is not None:
        targets[HEART_SIDE.name] = label.heart_side
    return targets


def marks(label: labels.Labels) -> frozenset[str]:
    """Return what must be told apart in figures."""
    return frozenset({RIGHT_AXIS_LIKE} if label.right_axis_like else ())
