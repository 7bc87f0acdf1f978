"""Every metric, bootstrap and fold rule, called with scores by training, export and benchmarks alike. Numpy only."""

from lsemvae_edge.metrics.abstention import CoverageRisk, coverage_risk
from lsemvae_edge.metrics.calibration import (
    ReliabilityBin,
    brier,
    brier_of_constant,
    calibration_error,
    calibration_intercept,
    calibration_slope,
    reliability,
)
from lsemvae_edge.metrics.decisions import (
    AtThreshold,
    Confusion,
    DecisionCurve,
    confusion,
    decision_curve,
    net_benefit,
    predictive_values,
    threshold_at_sensitivity,
    youden_threshold,
)
from lsemvae_edge.metrics.folds import TEST_FOLD, VALIDATION_FOLD, patient_folds
from lsemvae_edge.metrics.intervals import (
    MIN_POSITIVES,
    Interval,
    Metric,
    difference_with_interval,
    exact_interval,
    patient_bootstrap,
    resampled_values,
    with_interval,
    with_intervals,
)
from lsemvae_edge.metrics.ranking import auroc, average_precision, precision_recall_curve, roc_curve

__all__ = [
    "MIN_POSITIVES",
    "TEST_FOLD",
    "VALIDATION_FOLD",
    "AtThreshold",
    "Confusion",
    "CoverageRisk",
    "DecisionCurve",
    "Interval",
    "Metric",
    "ReliabilityBin",
    "auroc",
    "average_precision",
    "brier",
    "brier_of_constant",
    "calibration_error",
    "calibration_intercept",
    "calibration_slope",
    "confusion",
    "coverage_risk",
    "decision_curve",
    "difference_with_interval",
    "exact_interval",
    "net_benefit",
    "patient_bootstrap",
    "patient_folds",
    "precision_recall_curve",
    "predictive_values",
    "reliability",
    "resampled_values",
    "roc_curve",
    "threshold_at_sensitivity",
    "with_interval",
    "with_intervals",
    "youden_threshold",
]
