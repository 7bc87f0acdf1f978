"""The C library against everything it should equal, on every recording: kernels, tail, signal chain, outcomes."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import decision, metrics, preprocess, screening
from lsemvae_edge.benchmarks.table_files import Row
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.quality import Quality
from lsemvae_edge.quantize import parity
from lsemvae_edge.quantize.build import model_inputs
from lsemvae_edge.quantize.firmware import gates, generate, host, vectors
from lsemvae_edge.quantize.firmware.folder import lay_out
from lsemvae_edge.quantize.firmware.generate import Firmware
from lsemvae_edge.quantize.firmware.host import CSession, Library, Recorder
from lsemvae_edge.quantize.reference import FloatStudent
from lsemvae_edge.quantize.release import restored
from lsemvae_edge.record import Record
from lsemvae_edge.result import INCONCLUSIVE, NOT_ASKED
from lsemvae_edge.runtime import Output
from lsemvae_edge.train import datasets
from lsemvae_edge.train.cohort import load_cohort
from lsemvae_edge.train.datasets.entry import Entry

PV_PER_LSB = 1000
"""Recordings are pushed in steps of a nanovolt, so that no rounding of ours stands between the two."""
RELATIVE_QRS_MV = 1.0
"""What a recording of unknown scale is brought to: its 99th percentile."""


@dataclass
class Chain:
    """What came of pushing recordings through the C library, beside Python's way of the same window.

    Parameters
    ----------
    recordings : int
        Windows compared, all that Python could choose.
    same_verdict, usable : int
        Windows judged alike, and those usable in Python.
    unsafe : int
        Usable in C and not in Python.
    window_lsb, input_lsb : Counter
        Largest difference of a recording, in steps, by how many recordings have it.
    same_places : int
        Usable windows whose model input lies within one step.
    outcomes : int
        Recordings answered by both whose primary outcome is the same, of ``answered``.
    """

    recordings: int = 0
    usable: int = 0
    same_verdict: int = 0
    unsafe: int = 0
    window_lsb: Counter[int] = field(default_factory=Counter)
    input_lsb: Counter[int] = field(default_factory=Counter)
    answered: int = 0
    outcomes: int = 0
    worst_logit: float = 0.0
    differing: list[str] = field(default_factory=list)


def judged(*, every: bool = False, first: int | None = None) -> tuple[list[Entry], NDArray[np.float32]]:
    """Read the recordings of folds 9 and 10, or all, without any label: entries, and model inputs of those usable."""
    folds = (metrics.VALIDATION_FOLD, metrics.TEST_FOLD)
    listed = [one for one in datasets.entries(datasets.data_folder()) if every or one.fold in folds][:first]
    return listed, model_inputs(load_cohort(listed, [])[0])


def measure(bundle: Bundle, entries: Sequence[Entry], signals: NDArray[np.float32], say: Callable[[str], None]) -> Row:
    """Compare one model's C library with its oracles.

    Parameters
    ----------
    bundle : Bundle
        With float weights.
    entries : sequence of Entry
        Recordings for the whole chain.
    signals : array (n, n_leads, n_samples)
        Model inputs for kernels and tail.
    say : callable

    Returns
    -------
    dict
        Plain figures.
    """
    made = generate.from_bundle(bundle)
    with TemporaryDirectory() as temporary:
        contents = generate.contents(made)
        folder = lay_out(contents, Path(temporary) / "firmware")
        library = _library(folder, Path(temporary) / "fixed")
        say(f"{bundle.spec.id}: {len(signals)} inputs, every layer against the reference kernels")
        inputs, layers = gates.every_layer(library, contents[generate.TFLITE], made, signals)
        row: Row = {"bundle": bundle.spec.id, "inputs": inputs, "layers_equal": layers}
        in_float = _library(folder, Path(temporary) / "float", "-DLSEMVAE_FLOAT_TAIL")
        row["float_tail_worst"] = _tails(made, library, in_float, signals)
        student = restored(bundle)
        asked = parity.everyday(signals)
        said = parity.said_by_session(made.spec, CSession(library, made.model.input_scale), asked)
        apart = parity.agreement(said, parity.said_by_torch(made.spec, FloatStudent(student), asked))
        row |= {"from_float_tail": apart.tail, "from_float_worst": apart.worst, "flipped": apart.flipped}
        say(f"{bundle.spec.id}: {len(entries)} recordings through the whole chain")
        chain = Chain()
        for entry in entries:
            _compare(made, library, entry, chain)
    return row | _plain(chain)


def _library(folder: Path, into: Path, *flags: str) -> Library:
    into.mkdir()
    return Library(folder, into, flags=flags)


def _tails(made: Firmware, fixed: Library, in_float: Library, signals: NDArray[np.float32]) -> float:
    """Return the largest difference of a logit between the floating-point tail and double precision in NumPy."""
    worst = 0.0
    for signal in signals:
        mu, logvar = fixed.encode(made.model.quantized(signal))
        said = in_float.fuse(mu, logvar).logits * host.Q16
        worst = max(worst, float(np.abs(said - exact_logits(made, mu, logvar)).max()))
    return worst


def exact_logits(made: Firmware, mu: NDArray[np.int16], logvar: NDArray[np.int16]) -> NDArray[np.float64]:
    """Fuse the encoders' integers and apply the heads in double precision, with the model's own scales.

    Parameters
    ----------
    mu, logvar : array (n_leads, latent_dim), int16

    Returns
    -------
    array (n_outputs,)
    """
    model = made.model
    means = mu * np.array([encoder.mu.scale for encoder in model.encoders])[:, None]
    spread = np.clip(logvar * np.array([encoder.logvar.scale for encoder in model.encoders])[:, None], -4.0, 4.0)
    precisions = np.exp(-spread)
    parts = np.empty_like(means)
    for group in model.groups:
        rows = list(group)
        parts[rows] = means[rows] * precisions[rows] / (1.0 + precisions[rows].sum(axis=0)) / len(model.groups)
    heads = np.einsum("kd,ld->k", model.fused_head, parts) + np.einsum("lkd,ld->k", model.lead_heads, means)
    return np.asarray(heads + model.head_bias)


def _compare(made: Firmware, library: Library, entry: Entry, chain: Chain) -> None:
    spec = made.spec
    try:
        record = _in_nanovolts(entry.record())
        assessed, conditioned = screening.assess(record, spec)
    except LsemvaeError:
        return
    if conditioned is None or assessed.start is None:
        return
    recorder = pushed(library, record, conditioned, assessed, made)
    result = recorder.run()
    ran = result.state == 2
    chain.recordings += 1
    chain.usable += assessed.usable
    chain.same_verdict += ran == assessed.usable
    chain.unsafe += ran and not assessed.usable
    if ran != assessed.usable:
        chain.differing.append(f"{entry.source}/{entry.record_id}: usable {assessed.usable} in Python, {ran} in C")
    stop = assessed.start + spec.preprocess.window_samples
    expected = vectors.half_microvolts(conditioned.pair[:, assessed.start : stop])
    chain.window_lsb[int(np.abs(recorder.window().astype(int) - expected).max())] += 1
    if not (ran and assessed.usable):
        return
    model_input = preprocess.cut(conditioned, spec.preprocess, assessed.start)
    quantized = made.model.quantized(model_input.signal)
    chain.input_lsb[int(np.abs(recorder.input().astype(int) - quantized).max())] += 1
    answer = library.fuse(*library.encode(quantized))
    output = Output(
        (answer.logits * host.Q16).astype(np.float32),
        (answer.mu * host.Q20).astype(np.float32),
        np.zeros(library.latent, dtype=np.float32),
        (answer.contributions * host.Q16).astype(np.float32),
        quantized,
    )
    tasks = decision.decide(spec, output, screening.circumstances(record, assessed))
    negative, positive = spec.primary.classes
    chain.answered += 1
    # In the order of lsemvae_outcome.
    said = (INCONCLUSIVE, negative, positive, NOT_ASKED)[result.outcome]
    chain.outcomes += said == tasks[spec.primary.name].outcome
    chain.worst_logit = max(chain.worst_logit, float(np.abs(np.array(result.logits) * host.Q16 - output.logits).max()))


def pushed(
    library: Library, record: Record, conditioned: preprocess.Conditioned, assessed: Quality, made: Firmware
) -> Recorder:
    """Push a recording up to the sample that completes the window which Python chose."""
    assert assessed.start is not None
    spec = made.spec.preprocess
    rate = next(one for one in made.rates if one.rate_hz == record.fs_hz)
    recorder = Recorder(library, rate.rate_hz, PV_PER_LSB, uncalibrated=record.amplitude != "calibrated", mains_hz=50)
    reach = rate.taps.shape[1] // 2
    # The newest filtered sample of the window needs resampled ones up to half the band filter's length behind it.
    newest = conditioned.first + assessed.start + spec.window_samples - 1 + (len(spec.band.taps) - 1) // 2
    needed = newest * rate.down // rate.up + reach + 1
    steps = np.rint(record.signal_mv.astype(np.float64) * 1e9 / PV_PER_LSB)
    pair = [steps[record.leads.index(name)][:needed] for name in ("I", "II")]
    recorder.push(pair[0].astype(np.int32), pair[1].astype(np.int32))
    recorder.person(
        age_years=None if record.meta.get("age_years") is None else int(record.meta["age_years"]),
        pacemaker=bool(record.meta.get("pacemaker")),
    )
    return recorder


def _in_nanovolts(record: Record) -> Record:
    """Return leads I and II in whole nanovolts; a recording of unknown scale is brought to a usual size first."""
    pair = np.stack([record.limb()[name] for name in ("I", "II")]).astype(np.float64)
    if record.amplitude != "calibrated":
        pair = pair * RELATIVE_QRS_MV / np.quantile(np.abs(pair), 0.99)
    return Record(
        (np.rint(pair * 1e6) / 1e6).astype(np.float32),
        record.fs_hz,
        ("I", "II"),
        meta=dict(record.meta),
        amplitude=record.amplitude,
    )


def _plain(chain: Chain) -> dict[str, Any]:
    within = chain.input_lsb[0] + chain.input_lsb[1]
    return {
        "recordings": chain.recordings,
        "usable": chain.usable,
        "same_verdict": chain.same_verdict,
        "usable_in_c_alone": chain.unsafe,
        "window_worst_lsb": max(chain.window_lsb, default=0),
        "input_within_one_lsb": within,
        "input_compared": sum(chain.input_lsb.values()),
        "answered": chain.answered,
        "same_outcome": chain.outcomes,
        "worst_logit": chain.worst_logit,
        "differing": chain.differing,
    }


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| model | inputs | layers equal bit for bit | outcomes changed by integers | float tail, worst logit | "
        "windows | same verdict | usable in C alone | window, worst LSB | input within 1 LSB | same outcome |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['bundle']} | {row['inputs']} | {row['layers_equal']} | {row['flipped']} | "
            f"{row['float_tail_worst']:.1e} | {row['recordings']} | {row['same_verdict']} | "
            f"{row['usable_in_c_alone']} | {row['window_worst_lsb']} | "
            f"{row['input_within_one_lsb']} of {row['input_compared']} | {row['same_outcome']} of {row['answered']} |"
        )
    return "\n".join(lines)
