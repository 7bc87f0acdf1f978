"""Which student: accuracy of many shapes against their weights, multiplications and time.

Every shape learns from folds 1 to 6 and is judged on folds 7 to 9. Fold 10 is not read, and no threshold enters a
figure; but fold 9 is among the judges, so a size chosen here was chosen with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from types import MappingProxyType

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks.accuracy import TASKS, load_both
from lsemvae_edge.benchmarks.drawing import COLOURS, STYLE, WIDTH_IN, need
from lsemvae_edge.benchmarks.fits import Fit, Place, Say, run_all
from lsemvae_edge.benchmarks.judging import median_seed, ranked
from lsemvae_edge.benchmarks.table_files import Row
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.metrics import Interval
from lsemvae_edge.model import SIZES, StudentConfig
from lsemvae_edge.quantize import build
from lsemvae_edge.runtime import Session
from lsemvae_edge.train import datasets, distill
from lsemvae_edge.train.cohort import Cohort
from lsemvae_edge.train.config_distill import DistillConfig, shipped_recipe
from lsemvae_edge.train.recipes import recipe

LAST_LEARNED = 6
"""Folds up to this one teach, the others up to the ninth judge."""
ROUNDS = 400
COSTS = ("weight_bytes", "macs", "latency_ms")
TICKS = tuple(digit * 10**power for power in range(5) for digit in (1, 2, 5))

_WIDTHS = ((6, 8, 12, 16), (8, 12, 16, 24), (12, 16, 24, 32), (16, 24, 32, 48), (24, 32, 48, 64))
# Wider ones have more weights than fit inside a flatbuffer (256 KiB): quantizing them is refused.
_KERNELS = ((7, 5, 5, 5), (5, 3, 3, 3))
_LATENTS = {16: 16, 24: 24, 32: 24, 48: 32, 64: 48}
"""Latent size that goes with the last layer's width."""
_VARIANTS = (
    StudentConfig(latent_dim=16),
    StudentConfig(latent_dim=64),
    StudentConfig(kernels=(11, 9, 7, 5)),
    StudentConfig(channels=(16, 32, 48), kernels=(7, 5, 5), strides=(2, 2, 2)),
)
"""What else changes about ``small``: its latent, its reach, its depth."""


def _declared() -> dict[str, StudentConfig]:
    shapes = [
        *SIZES.values(),
        *(
            StudentConfig(channels=widths, kernels=kernels, latent_dim=_LATENTS[widths[-1]])
            for widths in _WIDTHS
            for kernels in _KERNELS
        ),
        *_VARIANTS,
    ]
    return {describe(shape): shape for shape in shapes}


def describe(shape: StudentConfig) -> str:
    """Name a shape by channels, kernels and latent size."""
    channels, kernels = ("-".join(map(str, values)) for values in (shape.channels, shape.kernels))
    return f"{channels} k{kernels} z{shape.latent_dim}"


GRID: Mapping[str, StudentConfig] = MappingProxyType(_declared())
"""Shapes that are searched; the named sizes are always among them."""


def named_shape(name: str) -> StudentConfig:
    """Return a named size, or a shape of the grid.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    shape = SIZES.get(name) or GRID.get(name)
    if shape is None:
        raise UsageError(f"There is no shape {name!r}.", f"Choose of: {'; '.join((*SIZES, *GRID))}.")
    return shape


def multiply_adds(shape: StudentConfig, n_samples: int) -> int:
    """Count the multiply-accumulates of one recording, in convolutions and linear layers.

    A convolution does ``kernel * channels in * channels out`` for each of its output samples, those at the padded ends
    among them; a linear layer ``in * out``. Batch norms are folded away; pool, activations and the fusion (some ten
    operations for each lead and latent) are not counted.

    Parameters
    ----------
    shape : StudentConfig
    n_samples : int
        Length of a lead.
    """
    total, n_in, length = 0, 1, n_samples
    for n_out, kernel, stride in zip(shape.channels, shape.kernels, shape.strides, strict=True):
        length = (length + 2 * (kernel // 2) - kernel) // stride + 1
        total += n_out * n_in * kernel * length
        n_in = n_out
    experts = 2 * n_in * shape.latent_dim
    # The shared head on the lead's part of the fused mean, and the lead's own head.
    heads = 2 * shape.latent_dim * shape.n_outputs
    return shape.n_leads * (total + experts + heads)


def parameters(shape: StudentConfig) -> int:
    """Count the numbers that are learned, batch norms folded: a convolution has one bias an output channel."""
    return sum(_encoder(shape)) * shape.n_leads + _heads(shape)


def weight_bytes(shape: StudentConfig) -> int:
    """Count the bytes of a quantized student's weights.

    Encoders have one byte a weight and four a bias; the first convolutions and the heads, which stay in floating
    point, four a number. The quantizer's scales and what a file adds around them are not counted.
    """
    weights, biases = _encoder(shape)
    first = shape.channels[0] * shape.kernels[0]
    return shape.n_leads * (weights + 3 * first + 4 * biases) + 4 * _heads(shape)


def evaluate(
    *, work: Path, shapes: Mapping[str, StudentConfig], teachers: bool, seeds: int, processes: int, say: Say
) -> list[Row]:
    """Fit, quantize and judge every shape, and time all files in turn.

    Parameters
    ----------
    work : Path
        Finished trainings are kept there and not repeated; latencies are measured anew.
    shapes : mapping of str to StudentConfig
    teachers : bool
        Learn from the teachers of the shipped recipe, too.
    seeds : int
        Seeds of each shape; the median by AUROC stands for it.
    processes : int
        Trainings at a time, one thread each.
    say : callable

    Returns
    -------
    list of dict
        One row a shape.
    """
    torch.set_num_threads(1)
    listed = [entry for entry in datasets.entries(datasets.data_folder()) if entry.fold <= metrics.VALIDATION_FOLD]
    cohort, teaching = load_both(listed, processes)
    place = Place("sizes", teaching.select(teaching.fold <= LAST_LEARNED), cohort.select(cohort.fold > LAST_LEARNED))
    trials = {name: trials_of(shape, place, teachers, seeds) for name, shape in shapes.items()}
    run_all([trial for of_shape in trials.values() for trial in of_shape], work, processes, say)
    say(f"Timing {len(trials)} files in turn")
    files = {name: of_shape[0].path(work).with_suffix(".tflite").read_bytes() for name, of_shape in trials.items()}
    latency = latencies(files, build.model_inputs(place.held_out.select(np.arange(min(len(place.held_out), 16)))))
    rows = []
    for name, shape in shapes.items():
        answers = [trial.answers(work) for trial in trials[name]]
        rows.append(row_of(name, shape, place.held_out, answers, files[name], latency[name]))
    return with_front(rows)


@dataclass(frozen=True, eq=False)
class Trial(Fit):
    """One training of a shape that need not have a name."""

    shape: StudentConfig = field(default_factory=StudentConfig)

    def path(self, work: Path) -> Path:
        """Name the result after everything that decides it."""
        place = "|".join([*self.place.training.record_id, "/", *self.place.held_out.record_id])
        told = [place, self.config.model_dump_json(), str(recipe("beat").to_dict()), str(self.shape)]
        key = sha256(" ".join(told).encode()).hexdigest()[:12]
        return work / f"shape-{self.place.name}-{self.config.student.seed}-{key}.npz"

    def run(self, work: Path) -> Path:
        """Do the training; the teachers that it needs are there."""
        torch.set_num_threads(1)
        before = self.before()
        soft = None if before is None else torch.from_numpy(before.answers(work)["soft"])
        fitted = self.config.student
        student = distill.fit(self.place.training, fitted, soft=soft, config_of_soft=self.config, shape=self.shape)
        file = build.quantize(student, self.place.training, fitted.seed)
        session = build.open_kiosk_file(file)
        path = self.path(work)
        path.with_suffix(".tflite").write_bytes(file)
        draft = path.with_suffix(".part.npz")
        answers = {
            "float": distill.predict(student, self.place.held_out).logits.numpy(),
            "int8": build.ask(session, self.place.held_out).logits,
        }
        np.savez(draft, allow_pickle=False, **answers)
        draft.replace(path)
        return path


def trials_of(shape: StudentConfig, place: Place, teachers: bool, seeds: int) -> list[Trial]:
    """List the trainings of one shape, a seed each."""
    return [Trial("student", place, recipe_of(teachers, seed), int8=True, shape=shape) for seed in range(seeds)]


def recipe_of(teachers: bool, seed: int) -> DistillConfig:
    """Return the shipped recipe, with its teachers or without any."""
    config = shipped_recipe(seed=seed)
    return config if teachers else config.model_copy(update={"teachers": ()})


def row_of(
    name: str,
    shape: StudentConfig,
    cohort: Cohort,
    answers: Sequence[Mapping[str, NDArray[np.float32]]],
    file: bytes,
    latency_ms: float,
) -> Row:
    """Say how one shape ranks the recordings, and what it costs."""
    truth = cohort.targets[:, 0]
    as_built = distill.sized(shape, "6L", len(TASKS) + len(distill.GUARDS))
    of_form = {form: [of_seed[form][:, 0] for of_seed in answers] for form in ("float", "int8")}
    chosen = {form: median_seed(truth, of_seeds) for form, of_seeds in of_form.items()}
    figures = ranked(truth, chosen["float"], cohort.patient)
    known = ~np.isnan(truth)
    each = [metrics.auroc(truth[known], score[known]) for score in of_form["int8"]]
    return {
        "shape": name,
        "named": ", ".join(size for size, named in SIZES.items() if describe(named) == name),
        **figures,
        "auroc_int8": ranked(truth, chosen["int8"], cohort.patient)["auroc"],
        "auroc_of_seeds": " ".join(f"{value:.3f}" for value in each),
        "parameters": parameters(as_built),
        "macs": multiply_adds(as_built, cohort.beats.shape[2]),
        "weight_bytes": weight_bytes(as_built),
        "tflite_bytes": len(file),
        "latency_ms": latency_ms,
    }


def with_front(rows: Sequence[Row]) -> list[Row]:
    """Say for which costs a shape is on the Pareto front: no other is as accurate (int8) and as cheap, and better once.

    A shape without AUROC is on none.
    """
    accuracy = [row["auroc_int8"].value if isinstance(row["auroc_int8"], Interval) else np.nan for row in rows]
    fronts = {cost: on_front(np.array(accuracy), np.array([float(row[cost]) for row in rows])) for cost in COSTS}
    return [
        {**row, "front": ", ".join(cost.partition("_")[0] for cost in COSTS if fronts[cost][index]) or None}
        for index, row in enumerate(rows)
    ]


def on_front(accuracy: NDArray[np.float64], cost: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark what no other is at least as good as in both and better than in one (n,); NaN is never on the front."""
    as_good = (accuracy[None] >= accuracy[:, None]) & (cost[None] <= cost[:, None])
    better = (accuracy[None] > accuracy[:, None]) | (cost[None] < cost[:, None])
    return np.asarray(~(as_good & better).any(axis=1) & np.isfinite(accuracy))


def latencies(files: Mapping[str, bytes], inputs: NDArray[np.float32], rounds: int = ROUNDS) -> dict[str, float]:
    """Time int8 files through LiteRT on one thread, as the kiosk runs them, one after the other in every round.

    Parameters
    ----------
    files : mapping of str to bytes
    inputs : array (n, n_leads, n_samples)
        Fed in turn.
    rounds : int
        Counted runs of each file, after ten that are not.

    Returns
    -------
    dict
        Median milliseconds of a run by the file's name.
    """
    sessions: dict[str, Session] = {name: build.open_kiosk_file(file) for name, file in files.items()}
    taken: dict[str, list[float]] = {name: [] for name in files}
    for number in range(-10, rounds):
        signal = inputs[number % len(inputs)]
        for name, session in sessions.items():
            begun = perf_counter()
            session.run(signal)
            if number >= 0:
                taken[name].append(1e3 * (perf_counter() - begun))
    return {name: float(np.median(values)) for name, values in taken.items()}


def draw(rows: Sequence[Row], path: Path) -> Path:
    """Draw AUROC of the int8 files with intervals against weights, multiplications and time, the fronts as lines.

    Raises
    ------
    BadInputError
        If no shape has an AUROC, or the path's ending is none of a figure.
    """
    drawn = [row for row in rows if row["auroc_int8"] is not None]
    need(drawn)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise BadInputError(f"{path.name} names no figure.", "End the name in .png, .svg or .pdf.")
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 2.9), layout="constrained")
        panels = figure.subplots(1, len(COSTS), sharey=True)
        labels = ("Weights, int8 (KB of 1024 bytes)", "Multiply-adds (thousands)", "Latency, one thread (ms)")
        for axes, cost, label, unit in zip(panels, COSTS, labels, (1024.0, 1000.0, 1.0), strict=True):
            _panel(axes, drawn, cost, unit)
            axes.set_xlabel(label)
        panels[0].set_ylabel(f"AUROC, folds {LAST_LEARNED + 1}-{metrics.VALIDATION_FOLD} (95 % interval)")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None} if path.suffix.lower() == ".png" else None)
    return path


def _panel(axes: Axes, rows: Sequence[Row], cost: str, unit: float) -> None:
    short = cost.partition("_")[0]
    x = np.array([row[cost] for row in rows], dtype=np.float64) / unit
    y = np.array([row["auroc_int8"].value for row in rows])
    reach = np.abs(np.array([[row["auroc_int8"].low, row["auroc_int8"].high] for row in rows]).T - y)
    axes.errorbar(x, y, yerr=reach, fmt="none", ecolor="0.85", elinewidth=0.8, zorder=0)
    axes.plot(x, y, "o", ms=3.5, color="0.6")
    front = np.array([short in (row["front"] or "").split(", ") for row in rows])
    order = np.flatnonzero(front)[np.argsort(x[front])]
    axes.plot(x[order], y[order], "-o", ms=4, lw=1.0, color=COLOURS[0])
    for row, at_x, at_y in zip(rows, x, y, strict=True):
        if row["named"]:
            axes.plot(at_x, at_y, "D", ms=5, color=COLOURS[1])
            axes.annotate(row["named"], (at_x, at_y), xytext=(5, -11), textcoords="offset points", fontsize=8)
    if cost == "latency_ms":
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.margins(x=0.15)
        return
    low, high = x.min() / 1.3, x.max() * 1.5
    axes.set(xscale="log", xlim=(low, high))
    axes.set_xticks(ticks := [tick for tick in TICKS if low <= tick <= high], [str(tick) for tick in ticks])
    axes.minorticks_off()


def _encoder(shape: StudentConfig) -> tuple[int, int]:
    """Weights and biases of one lead's encoder, batch norms folded."""
    weights, biases, n_in = 0, 0, 1
    for n_out, kernel in zip(shape.channels, shape.kernels, strict=True):
        weights += n_out * n_in * kernel
        biases += n_out
        n_in = n_out
    return weights + 2 * n_in * shape.latent_dim, biases + 2 * shape.latent_dim


def _heads(shape: StudentConfig) -> int:
    """Count the numbers of the shared head, with its bias, and of the leads' own."""
    return (1 + shape.n_leads) * shape.latent_dim * shape.n_outputs + shape.n_outputs
