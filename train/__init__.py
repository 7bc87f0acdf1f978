"""Training: data sets, labels, fitting, calibration, evaluation."""
