"""Task labels from the statements that data sets carry.

The right-heart pattern is a public stand-in: it is not pulmonary hypertension.
"""

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass

RIGHT_HEART_CODES = frozenset({"RVH", "RAO/RAE", "IRBBB", "CRBBB", "LPFB"})
RIGHT_AXIS = frozenset({"RAD", "ARAD"})
LEFT_OVERLOAD_CODES = frozenset({"LVH", "LAO/LAE"})
# Records whose right-axis morphology a swap detector must not mistake for a reversal.
RIGHT_AXIS_LIKE_CODES = frozenset({"RVH", "LPFB"})
# Statements that a six-lead recording may show; learning them beside the tasks shapes the latent space.
AUXILIARY_CODES = (
    "NORM", "IMI", "ASMI", "LVH", "NDT", "AFIB", "LAFB", "LPFB", "ISC_", "IRBBB", "CRBBB", "CLBBB", "RVH", "RAO/RAE",
    "LAO/LAE", "PVC", "1AVB", "IVCD", "STACH", "SBRAD", "NST_", "STD_", "LOWT", "QWAVE", "PACE",
)  # fmt: skip
AUXILIARY_AXES = (("MID",), ("LAD", "ALAD"), ("RAD", "ARAD"))
N_AUXILIARY = len(AUXILIARY_CODES) + len(AUXILIARY_AXES) + 1
STAND_IN = "right-heart pattern, not pulmonary hypertension"


@dataclass(frozen=True)
class Labels:
    """Stand-in labels of one record; ``heart_side`` (1 = right) is None when neither or both sides are named.

    ``auxiliary`` holds further statements, frontal axis and sex, NaN where unknown; only training looks at them.
    """

    right_heart_pattern: int
    heart_side: int | None
    right_axis_like: bool
    auxiliary: tuple[float, ...]


def from_ptbxl(row: Mapping[str, str]) -> Labels:
    """Read PTB-XL's ``scp_codes`` and ``heart_axis`` (Wagner et al. 2020, Sci Data 7:154)."""
    codes = set(ast.literal_eval(row["scp_codes"]))
    right_axis = row.get("heart_axis", "") in RIGHT_AXIS
    right = right_axis or bool(codes & RIGHT_HEART_CODES)
    left = bool(codes & LEFT_OVERLOAD_CODES)
    side = None if right == left else int(right)
    axis, sex = row.get("heart_axis", ""), row.get("sex", "")
    auxiliary = (
        *(float(code in codes) for code in AUXILIARY_CODES),
        *(float(axis in kinds) if axis else math.nan for kinds in AUXILIARY_AXES),
        float(sex) if sex in ("0", "1") else math.nan,
    )
    return Labels(int(right), side, right_axis or bool(codes & RIGHT_AXIS_LIKE_CODES), auxiliary)
