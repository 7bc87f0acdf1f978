"""Task labels from the statements that data sets carry.

The right-heart pattern is a public stand-in: it is not pulmonary hypertension.
"""

import ast
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

RIGHT_HEART_CODES = frozenset({"RVH", "RAO/RAE", "IRBBB", "CRBBB", "LPFB"})
RIGHT_AXIS = frozenset({"RAD", "ARAD"})
LEFT_OVERLOAD_CODES = frozenset({"LVH", "LAO/LAE"})
# SNOMED CT codes of the PhysioNet/CinC Challenges 2020 and 2021, with the names of their tables dx_mapping_scored.csv
# and dx_mapping_unscored.csv (github.com/physionetchallenges/evaluation-2021). 195126007, atrial hypertrophy, names no
# side; 55827005, left ventricular high voltage, is a voltage and no diagnosis.
RIGHT_HEART_SNOMED = {
    "89792004": "right ventricular hypertrophy",
    "446358003": "right atrial hypertrophy",
    "253339007": "right atrial abnormality",
    "67751000119106": "right atrial high voltage",
    "47665007": "right axis deviation",
    "713426002": "incomplete right bundle branch block",
    "713427006": "complete right bundle branch block",
    "59118001": "right bundle branch block",
    "445211001": "left posterior fascicular block",
}
LEFT_OVERLOAD_SNOMED = {
    "164873001": "left ventricular hypertrophy",
    "67741000119109": "left atrial enlargement",
    "446813000": "left atrial hypertrophy",
    "253352002": "left atrial abnormality",
}
RIGHT_AXIS_LIKE_SNOMED = frozenset({"89792004", "47665007", "445211001"})
PACED_SNOMED = frozenset({"10370003", "251266004", "251268003"})  # pacing rhythm, ventricular and atrial pacing pattern
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


def from_snomed(codes: Collection[str]) -> Labels:
    """Read the SNOMED CT codes that the PhysioNet/CinC Challenges give (Reyna et al. 2021, 10.22489/CinC.2021.339)."""
    right = any(code in RIGHT_HEART_SNOMED for code in codes)
    left = any(code in LEFT_OVERLOAD_SNOMED for code in codes)
    side = None if right == left else int(right)
    return Labels(int(right), side, any(code in RIGHT_AXIS_LIKE_SNOMED for code in codes), ())
