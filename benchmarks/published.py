"""What arXiv:2503.13470 reports, to stand beside."""

from dataclasses import dataclass

from lsemvae_edge.benchmarks.table_files import Row


@dataclass(frozen=True)
class Published:
    """A figure of arXiv:2503.13470: of another cohort, for a label by catheter. It stands beside, never among ours."""

    task: str
    leads: str
    auroc: float
    auroc_std: float | None = None
    accuracy: float | None = None
    mcc: float | None = None


PUBLISHED = (
    Published("PH detection", "6L", 0.814, 0.02, 0.815, 0.412),
    Published("PH detection", "12L", 0.852, 0.02, 0.822, 0.461),
    Published("pre-/post-capillary", "6L", 0.863, 0.03),
    Published("pre-/post-capillary", "12L", 0.890, 0.03),
    Published("elevated wedge pressure", "6L", 0.735),
    Published("elevated wedge pressure", "12L", 0.778),
    Published("PH detection", "I", 0.803),
    Published("PH detection", "II", 0.698),
    Published("PH detection", "III", 0.710),
    Published("PH detection", "aVR", 0.766),
    Published("PH detection", "aVL", 0.666),
    Published("PH detection", "aVF", 0.775),
    Published("PH detection", "I+II+III", 0.810),
    Published("PH detection", "aVR+aVL+aVF", 0.811),
)


def published_table() -> list[Row]:
    """List the paper's own figures, marked as what they are."""
    return [
        {
            "task": one.task,
            "leads": one.leads,
            "auroc": one.auroc,
            "auroc_std": one.auroc_std,
            "accuracy": one.accuracy,
            "mcc": one.mcc,
            "cohort": "arXiv:2503.13470, its own cohort and label by catheter: not comparable with a stand-in label",
        }
        for one in PUBLISHED
    ]
