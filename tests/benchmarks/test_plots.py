"""The figures: drawn from any number of models, labelled, inside the page, and the same bytes each time."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="figures need the extra `train`")

from matplotlib.backends.backend_agg import FigureCanvasAgg

from lsemvae_edge.benchmarks import plots, plots_saliency, tables
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import LIMB_LEADS, STANDARD_12
from lsemvae_edge.synthetic.heart import Heart, simulate
from lsemvae_edge.train.predictions import Predictions

NAMES = (
    "plain CNN", "xresnet1d", "LS-EMVAE reference", "LS-EMVAE better", "MVAE (PoE)", "MMVAE (MoE)", "MoPoE",
    "without regularisation", "without pre-training",
)  # fmt: skip


def made(model, leads="6L", skill=1.5, n=200):
    rng = np.random.default_rng(len(model))
    truth = np.arange(n) % 4 == 0
    return Predictions(
        model,
        "side",
        leads,
        "A: folds 9-10",
        0,
        record_id=np.arange(n).astype(str),
        patient=np.arange(n).astype(str),
        fold_of_cv=np.full(n, -1),
        truth=truth,
        score=1 / (1 + np.exp(-(skill * truth - 1 + rng.normal(size=n)))),
        age_years=np.full(n, 60.0),
        sex=np.full(n, "male"),
    )


def curve_file(folder, n=12, every=2):
    rows = [f"{e},{10 * e},{100 / (e + 1)},{120 / (e + 1) if e % every == 0 else ''}" for e in range(n)]
    path = folder / f"curve{n}.csv"
    path.write_text("epoch,step,train_total,val_total\n" + "\n".join(rows) + "\n")
    return path


def draw(kind, n, folder, source):
    models = [made(name) for name in NAMES[:n]]
    if kind == "roc":
        return plots.roc_and_precision_recall(models, folder, kind)
    if kind == "reliability":
        return plots.reliability(models, folder, kind)
    if kind == "decision":
        return plots.decision_curve(models, folder, kind)
    if kind == "training":
        return plots.training_curves({name: curve_file(source) for name in NAMES[:n]}, folder, kind)
    if kind == "forest":
        rows = tables.lead_table([made(name, leads) for name in NAMES[:n] for leads in tables.LEAD_SETS[:4]])
        return plots.lead_forest(rows, folder, kind)
    if kind == "learning":
        by_leads = tables.lead_table(
            [replace(made(f"{name}{share}"), split="B: x") for name in NAMES[:n] for share in (1, 2)]
        )
        families = {f"{name}{share}": name for name in NAMES[:n] for share in (1, 2)}
        counts = {(f"{name}{share}", "cv5", "6L"): 100 * share for name in NAMES[:n] for share in (1, 2)}
        return plots.learning_curve(tables.learning_table(by_leads, families, counts), folder, kind)
    if kind == "noise":
        by_snr = {
            snr: [made(name, skill=skill) for name in NAMES[:n]] for snr, skill in ((None, 2), (20.0, 1), (5.0, 0.5))
        }
        return plots.noise_lines(tables.noise_table(by_snr), folder, kind)
    if kind == "shares":
        shares = {name: dict.fromkeys(STANDARD_12, 1 / 12) for name in NAMES[:n]}
        return plots_saliency.saliency_by_lead(shares, folder, kind)
    leads = STANDARD_12 if n > 1 else LIMB_LEADS
    signal = simulate(Heart(), 6.0, 250.0, 0, leads).signal_mv
    return plots_saliency.saliency_ecg(
        signal, np.gradient(signal, axis=1), leads, 250.0, folder, kind, title="one", unit="mV"
    )


LABELS = {
    "roc": ["False positive rate (1 - specificity)", "Precision (positive predictive value)", "plain CNN, 6L: AUROC"],
    "reliability": ["Stated probability", "Observed share", "ECE"],
    "decision": ["Threshold probability", "Net benefit (true positives per record)", "act on everybody"],
    "training": ["Epoch", "Loss", "lowest validation loss"],
    "forest": ["AUROC, 95 % interval", "aVR+aVL+aVF", "plain CNN"],
    "learning": ["Training recordings", "AUROC, 95 % interval", "200"],
    "noise": ["Signal-to-noise ratio (0.33 Hz wander and 50 Hz mains)", "as recorded", "5 dB"],
    "shares": ["Share of attribution (%)", "V6"],
    "ecg": ["Time (s)", "Amplitude (mV)", "Attribution size (share of the largest)", "aVF"],
}


@pytest.mark.parametrize("kind", LABELS)
def test_a_figure_is_labelled_and_the_same_bytes_each_time(tmp_path, kind):
    first, second = (draw(kind, 2, tmp_path / name, tmp_path) for name in ("a", "b"))
    assert [path.suffix for path in first] == [".png", ".svg"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    svg = first[1].read_text()
    written = re.findall(r"<!-- (.*?) -->", svg)
    for label in LABELS[kind]:
        assert any(label in text for text in written), (label, written)
    assert "dc:date" not in svg


@pytest.mark.parametrize(
    ("kind", "n"), [*((kind, len(NAMES)) for kind in LABELS), ("reliability", 1), ("training", 1), ("decision", 3)]
)
def test_everything_lies_inside_the_page_and_no_legend_on_the_axes(tmp_path, monkeypatch, kind, n):
    drawn = []

    def keep(figure, *where):
        # As it stands in the file: laid out by saving, then measured without being laid out again.
        figure.savefig(io.BytesIO(), format="png")
        figure.set_layout_engine("none")
        figure.set_dpi(200)
        FigureCanvasAgg(figure).draw()
        drawn.append(figure)

    for module in (plots, plots_saliency):
        monkeypatch.setattr(module, "save", keep)
    draw(kind, n, tmp_path, tmp_path)
    (figure,) = drawn
    renderer, page = figure.canvas.get_renderer(), figure.bbox
    legends = [legend.get_window_extent(renderer) for legend in figure.legends]
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        if not axes.axison or box is None:
            continue
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1
        assert not any(box.overlaps(legend) for legend in legends)
    for legend in legends:
        assert page.x0 <= legend.x0
        assert legend.x1 <= page.x1
        assert page.y0 <= legend.y0


def test_models_without_enough_positives_are_drawn_and_say_so(tmp_path):
    few = made("plain CNN")
    few = replace(few, truth=(np.arange(len(few)) < 4).astype(int))
    svg = plots.roc_and_precision_recall([few], tmp_path, "few")[1].read_text()
    assert "AUROC not given (few of a class)" in svg


def test_a_run_without_validation_or_of_one_epoch_has_a_curve_too(tmp_path):
    one = tmp_path / "one.csv"
    one.write_text("epoch,train_total\n0,3.5\n")
    assert all(path.stat().st_size for path in plots.training_curves({"one": one}, tmp_path, "one"))


def test_nothing_to_draw_is_said_so(tmp_path):
    empty = [
        lambda: plots.roc_and_precision_recall([], tmp_path, "x"),
        lambda: plots.training_curves({}, tmp_path, "x"),
        lambda: plots.lead_forest([{"model": "m", "leads": "6L", "auroc": None}], tmp_path, "x"),
        lambda: plots_saliency.saliency_by_lead({}, tmp_path, "x"),
    ]
    for draw_nothing in empty:
        with pytest.raises(BadInputError, match="nothing to draw"):
            draw_nothing()


@pytest.mark.parametrize("content", ["", "epoch,loss\n1,2\n", "epoch,train_total\nx,2\n", "step,train_total\n1,2\n"])
def test_a_file_that_is_no_curve_is_named(tmp_path, content):
    path = tmp_path / "curve.csv"
    path.write_text(content)
    with pytest.raises(BadInputError, match=r"curve\.csv"):
        plots.training_curves({"run": path}, tmp_path, "x")


def test_an_attribution_of_another_shape_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="do not fit 6 leads"):
        plots_saliency.saliency_ecg(np.ones((6, 500)), np.ones((6, 400)), LIMB_LEADS, 125.0, tmp_path, "x")
