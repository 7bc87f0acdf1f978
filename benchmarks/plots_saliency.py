"""Figures of attribution: each lead's share, and one ECG over its attribution."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lsemvae_edge.benchmarks.drawing import STYLE, WIDTH_IN, Files, legend_once, looks, need, save
from lsemvae_edge.errors import BadInputError


def saliency_by_lead(shares: Mapping[str, Mapping[str, float]], folder: Path, name: str) -> Files:
    """Draw each lead's share of the attribution, one group of bars a model.

    Parameters
    ----------
    shares : mapping
        From a model's name to its shares by lead (`Saliency.mean_by_lead`).
    """
    need(shares)
    with mpl.rc_context(STYLE):
        leads = list(dict.fromkeys(lead for of_model in shares.values() for lead in of_model))
        figure = Figure((WIDTH_IN, 2.8 + 0.17 * -(-len(shares) // 3)), layout="constrained")
        axes = figure.subplots()
        width = 0.8 / len(shares)
        for index, ((model, of_model), look) in enumerate(zip(shares.items(), looks(len(shares)), strict=True)):
            x = np.arange(len(leads)) + (index + 0.5) * width - 0.4
            axes.bar(x, [100 * of_model.get(lead, 0.0) for lead in leads], width * 0.92, color=look.colour, label=model)
        axes.set_xticks(range(len(leads)), leads)
        axes.set(xlabel="Lead", ylabel="Share of attribution (%)")
        legend_once(figure, axes)
        return save(figure, folder, name)


def saliency_ecg(
    signal: NDArray[np.floating],
    attribution: NDArray[np.floating],
    leads: Sequence[str],
    fs_hz: float,
    folder: Path,
    name: str,
    *,
    title: str = "",
    start_s: float = 0.0,
    duration_s: float = 4.0,
    unit: str = "scaled",
    smooth_ms: float = 40.0,
) -> Files:
    """Draw one ECG over its attribution, one strip a lead, limb leads left and chest leads right.

    Parameters
    ----------
    signal, attribution : array (n_leads, n_samples)
        What the model read, and `Saliency.attribution` of it.
    leads : sequence of str
    fs_hz : float
    unit : str
        Of the signal, for the axis: ``"mV"`` where it is calibrated.
    smooth_ms : float
        The attribution's size is averaged over this long, because single samples flicker.
    """
    part = slice(round(start_s * fs_hz), round((start_s + duration_s) * fs_hz))
    ecg = np.asarray(signal, dtype=np.float64)[:, part]
    kernel = np.ones(max(round(smooth_ms / 1000 * fs_hz), 1))
    size = np.abs(np.asarray(attribution, dtype=np.float64))[:, part]
    size = np.stack([np.convolve(row, kernel / kernel.size, mode="same") for row in size])
    if ecg.shape != size.shape or ecg.shape[0] != len(leads) or not ecg.shape[1]:
        raise BadInputError(
            f"A signal of {ecg.shape} and an attribution of {size.shape} do not fit {len(leads)} leads."
        )
    largest = float(size.max()) or 1.0
    time_s = start_s + np.arange(ecg.shape[1]) / fs_hz
    reach = 1.08 * float(np.abs(ecg).max() or 1.0)
    columns = 2 if len(leads) > 6 else 1
    rows = -(-len(leads) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 0.75 * rows + 1.0), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for place, axes in enumerate(panels.T.ravel()):
            if place >= len(leads):
                axes.set_axis_off()
                continue
            image = axes.imshow(
                size[place][None] / largest, extent=(time_s[0], time_s[-1], -reach, reach), aspect="auto",
                cmap="YlOrBr", vmin=0, vmax=1, interpolation="nearest", alpha=0.9,
            )  # fmt: skip
            axes.plot(time_s, ecg[place], color="0.1", lw=0.8)
            axes.text(0.012, 0.95, leads[place], transform=axes.transAxes, va="top", weight="bold", fontsize=8)
            axes.set_ylim(-reach, reach)
            axes.set_xlim(time_s[0], time_s[-1])
        figure.supxlabel("Time (s)", fontsize=9)
        figure.supylabel(f"Amplitude ({unit})", fontsize=9)
        figure.colorbar(image, ax=panels, label="Attribution size (share of the largest)", fraction=0.03, pad=0.01)
        if title:
            figure.suptitle(title, fontsize=9)
        return save(figure, folder, name)
