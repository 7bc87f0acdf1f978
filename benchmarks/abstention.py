"""What not answering would buy a model: error among the answered as the least sure recordings get no answer.

A recording is the surer the further its log-odds lie from those of the operating point. That is the rule of the two
thresholds of a bundle, seen at every width of the band between them.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks.drawing import STYLE, WIDTH_IN, Files, legend_once, looks, need, save
from lsemvae_edge.benchmarks.table_files import Row
from lsemvae_edge.benchmarks.tables import operating_thresholds
from lsemvae_edge.metrics import CoverageRisk
from lsemvae_edge.train.predictions import Predictions, by_key

COVERAGES = (1.0, 0.95, 0.9, 0.85, 0.75)


def coverage_risk(predictions: Predictions, validation: Sequence[Predictions]) -> tuple[CoverageRisk, str]:
    """Return the curve of some predictions at their operating point, and how that was chosen."""
    thresholds, how = operating_thresholds(predictions, validation)
    distance = np.abs(_log_odds(predictions.score) - _log_odds(thresholds))
    return metrics.coverage_risk(predictions.truth, predictions.score, thresholds, -distance), how


def abstention_table(predictions: Sequence[Predictions], validation: Sequence[Predictions]) -> list[Row]:
    """Error, sensitivity and specificity among the answered, at `COVERAGES`.

    Parameters
    ----------
    predictions, validation : sequence of Predictions
        As for `tables.main_table`; of several seeds the median stands.
    """
    rows: list[Row] = []
    for one, _ in by_key(predictions, metrics.auroc):
        curve, how = coverage_risk(one, validation)
        row: Row = {"model": one.model, "task": one.task, "leads": one.leads, "split": one.split, "n": len(one)}
        row |= {"positive": int(one.truth.sum()), "operating_point": how, "aurc": curve.area}
        for wanted in COVERAGES:
            # The widest share that does not exceed the one wanted; equal doubts are answered together.
            at = int(np.searchsorted(curve.coverage, wanted + 1e-9)) - 1
            for name in ("risk", "sensitivity", "specificity"):
                value = float(getattr(curve, name)[at]) if at >= 0 else np.nan
                row[f"{name}_at_{wanted:.0%}"] = None if np.isnan(value) else value
        rows.append(row)
    return rows


def plot(predictions: Sequence[Predictions], validation: Sequence[Predictions], folder: Path, name: str) -> Files:
    """Draw error, sensitivity and specificity among the answered over the share that is answered."""
    need(predictions)
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 2.9 + 0.17 * -(-len(predictions) // 2)), layout="constrained")
        panels = figure.subplots(1, 3, sharex=True)
        for one, look in zip(predictions, looks(len(predictions)), strict=True):
            curve, _ = coverage_risk(one, validation)
            label = f"{one.model}, {one.leads}: AURC {curve.area:.3f}"
            for axes, values in zip(panels, (curve.risk, curve.sensitivity, curve.specificity), strict=True):
                axes.plot(100 * curve.coverage, values, color=look.colour, ls=look.line, label=label)
        for axes, title in zip(panels, ("Share of wrong answers", "Sensitivity", "Specificity"), strict=True):
            axes.set(xlabel="Answered (%)", title=title, xlim=(100, 50))
        # Beyond half of the recordings nobody would call it a screening; the axes end there.
        panels[0].set_ylim(0, None)
        for axes in panels[1:]:
            axes.set_ylim(0, 1.02)
        legend_once(figure, panels[0])
        return save(figure, folder, name)


def _log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    bounded = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(bounded / (1 - bounded)))
