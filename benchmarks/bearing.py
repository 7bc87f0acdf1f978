"""What the student bears: noise at a stated ratio, and missing samples, put in before conditioning.

Recordings pass the student's recipe alone, not the quality check, which would refuse many of the noisy ones; so this
says what an answer would be worth if one were given. A recording whose average beat cannot be formed is lost.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lsemvae_edge import bundle as bundles
from lsemvae_edge import metrics, preprocess
from lsemvae_edge.benchmarks import ledger
from lsemvae_edge.benchmarks.fits import Say
from lsemvae_edge.benchmarks.judging import plain, ranked
from lsemvae_edge.benchmarks.table_files import Row
from lsemvae_edge.errors import BadInputError, UnusableRecordingError
from lsemvae_edge.leads import LIMB_LEADS, solve_i_ii
from lsemvae_edge.model import Student
from lsemvae_edge.quantize import weights
from lsemvae_edge.record import Record
from lsemvae_edge.train import calibrate, datasets
from lsemvae_edge.train.beat_batches import to_input
from lsemvae_edge.train.datasets import Entry
from lsemvae_edge.train.recipes import RejectedError, recipe
from lsemvae_edge.train.robustness import SNRS_DB, add_noise

TASKS = tuple(task.name for task in calibrate.TASKS)
MISSING = (0.05, 0.10, 0.20)
LONGEST_GAP_S = 0.04
MUSCLE_HZ = (5.0, 40.0)
_PAIR_FROM_ELECTRODES = np.array([[-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])
"""Leads I and II from the potentials of RA, LA and LL."""


@dataclass(frozen=True)
class Condition:
    """One way to spoil a recording."""

    kind: str
    level: str
    spoil: Callable[[Record], Record]


def measure(*, final: bool, bundle: Path | None, say: Say) -> list[Row]:
    """Measure the float student of a bundle.

    Parameters
    ----------
    final : bool
        Also read fold 10, and append its figures to the ledger.
    bundle : Path, optional
        By default the shipped one.
    say : callable
    """
    judged = bundles.default() if bundle is None else bundles.load(bundle)
    student = weights.restore(judged.read(weights.WEIGHTS), judged.read(weights.CONFIG))
    folds = (metrics.VALIDATION_FOLD, *((metrics.TEST_FOLD,) if final else ()))
    listed = [entry for entry in datasets.entries(datasets.data_folder()) if entry.fold in folds]
    sets = {f"fold {fold}": [entry.fold == fold for entry in listed] for fold in folds}
    if final:
        sets["folds 9-10"] = [True] * len(listed)
    rows = evaluate(student, listed, sets, say)
    if final:
        read = [plain(row) for row in rows if row["set"] != f"fold {metrics.VALIDATION_FOLD}"]
        ledger.append(judged, "noise", read)
    return rows


def conditions() -> list[Condition]:
    """List what recordings are put through; the first is nothing."""
    listed = [Condition("none", "clean", lambda record: record)]
    for kind, add in (("wander and mains", add_noise), ("muscle", add_muscle)):
        listed += [Condition(kind, f"{snr_db:g} dB", partial(add, snr_db=snr_db)) for snr_db in SNRS_DB]
    listed += [Condition("missing samples", f"{share:.0%}", partial(with_gaps, share=share)) for share in MISSING]
    return listed


def evaluate(student: Student, listed: Sequence[Entry], sets: Mapping[str, Sequence[bool]], say: Say) -> list[Row]:
    """Rank recordings in every condition.

    Parameters
    ----------
    student : Student
        In evaluation mode, of the six limb leads.
    listed : sequence of Entry
    sets : mapping of str to sequence of bool
        Which recordings belong to each set, by its name.
    say : callable

    Returns
    -------
    list of dict
        ``auroc`` is of the recordings that remain; ``auroc_all`` of all, where one that is lost ranks with every
        other as if a coin were thrown. ``reasons`` count what is lost.
    """
    spoiled = conditions()
    beats = np.full((len(spoiled), len(listed), len(LIMB_LEADS), recipe("beat").n_samples), np.nan, dtype=np.float32)
    reasons: list[list[str | None]] = [[None] * len(listed) for _ in spoiled]
    for position, entry in enumerate(listed):
        record = _pair_of(entry.load())
        for number, condition in enumerate(spoiled):
            try:
                beats[number, position] = recipe("beat").apply(condition.spoil(record))[0][: len(LIMB_LEADS)]
            except RejectedError as error:
                reasons[number][position] = str(error.reason)
        if (position + 1) % 100 == 0:
            say(f"{position + 1} of {len(listed)} recordings")
    truth = np.array([[entry.targets.get(task, np.nan) for task in TASKS] for entry in listed])
    patient = np.array([entry.patient for entry in listed])
    rows: list[Row] = []
    for condition, some, why in zip(spoiled, beats, reasons, strict=True):
        logits = _ask(student, some)
        for name, members in sets.items():
            among = np.asarray(members, dtype=bool)
            counted = Counter(reason for reason, here in zip(why, among, strict=True) if here and reason is not None)
            for column, task in enumerate(TASKS):
                told = {"set": name, "noise": condition.kind, "level": condition.level, "task": task}
                figures = _figures(truth[among, column], logits[among, column], patient[among])
                rows.append({**told, **figures, "reasons": _listed(counted)})
    return rows


def add_muscle(record: Record, snr_db: float, seed: int | None = None) -> Record:
    """Add what muscles give off inside the ECG's own band: white noise of 5 to 40 Hz at each electrode, by itself.

    Parameters
    ----------
    record : Record
        Leads I and II.
    snr_db : float
        Counted as `lsemvae_edge.train.robustness.add_noise` does, over both leads, and met exactly.
    seed : int, optional
        By default it follows from the recording itself.
    """
    rng = _generator(record, "muscle", seed)
    signal = record.signal_mv.astype(np.float64)
    received = np.isfinite(signal)
    if not received.any():
        raise UnusableRecordingError("Nothing of the recording was received, so that no noise can be measured by it.")
    spectrum = np.fft.rfft(rng.standard_normal((3, record.n_samples)))
    hertz = np.fft.rfftfreq(record.n_samples, 1 / record.fs_hz)
    low_hz, high_hz = MUSCLE_HZ
    noise = _PAIR_FROM_ELECTRODES @ np.fft.irfft(spectrum * ((hertz >= low_hz) & (hertz <= high_hz)), record.n_samples)
    centred = signal - np.nanmedian(signal, axis=1, keepdims=True)
    wanted = np.mean(centred[received] ** 2) / 10 ** (snr_db / 10)
    scaled = noise * np.sqrt(wanted / np.mean(noise[received] ** 2))
    return replace(record, signal_mv=(signal + scaled).astype(np.float32))


def with_gaps(record: Record, share: float, seed: int | None = None) -> Record:
    """Lose a share of the samples in gaps of up to 40 ms, all leads together, never two without a sample between.

    Each is short enough to be bridged, and none lies at either end.

    Parameters
    ----------
    record : Record
    share : float
        Below one half.
    seed : int, optional
        By default it follows from the recording itself.
    """
    if not 0 <= share < 0.5:
        raise BadInputError(f"A share of {share:g} cannot be lost in short gaps.", "Ask for less than 0.5.")
    rng = _generator(record, "gaps", seed)
    bridged_s = min(LONGEST_GAP_S, preprocess.default_spec().max_bridge_s)
    longest, missing = max(int(bridged_s * record.fs_hz), 1), round(share * record.n_samples)
    lengths: list[int] = []
    while (left := missing - sum(lengths)) > 0:
        lengths.append(min(int(rng.integers(1, longest + 1)), left))
    received = record.n_samples - missing
    after = np.sort(rng.choice(np.arange(1, received), len(lengths), replace=False))
    gaps = np.zeros(record.n_samples, dtype=bool)
    lost = 0
    for start, length in zip(after, lengths, strict=True):
        gaps[start + lost : start + lost + length] = True
        lost += length
    return replace(record, gaps=record.gaps | gaps)


def tied_auroc(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """AUROC where a recording without score (NaN) ranks above one half of the others and below the other half."""
    kept = np.isfinite(score)
    pairs = int(truth.sum()) * int((~truth).sum())
    ranked_pairs = int((truth & kept).sum()) * int((~truth & kept).sum())
    if not pairs:
        return float("nan")
    if not ranked_pairs:
        return 0.5
    return 0.5 + (metrics.auroc(truth[kept], score[kept]) - 0.5) * ranked_pairs / pairs


def _figures(truth: NDArray[np.float64], score: NDArray[np.float32], patient: NDArray[np.str_]) -> Row:
    known = ~np.isnan(truth)
    lost = known & ~np.isfinite(score)
    remaining = ranked(np.where(lost, np.nan, truth), score, patient)
    everything = metrics.with_interval(
        tied_auroc, truth[known], score[known], metrics.patient_bootstrap(patient[known]) if known.any() else []
    )
    return {
        "n": int(known.sum()),
        "positive": int((truth == 1).sum()),
        "lost": int(lost.sum()),
        "positive_lost": int((lost & (truth == 1)).sum()),
        "auroc": remaining["auroc"],
        "auroc_all": everything,
    }


@torch.inference_mode()
def _ask(student: Student, beats: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logits (n, n_outputs) of average beats (n, 6, n_beat); NaN of those that are NaN."""
    there = np.isfinite(beats).all(axis=(1, 2))
    logits = np.full((len(beats), student.config.n_outputs), np.nan, dtype=np.float32)
    if there.any():
        x = torch.from_numpy(beats[there])
        mask = torch.ones(len(x), len(LIMB_LEADS))
        logits[there] = student.eval()(to_input(x, mask), mask).logits.numpy()
    return logits


def _pair_of(record: Record) -> Record:
    """Keep leads I and II, from which the other limb leads follow; the chest leads are not read."""
    limb = record.limb()
    pair = solve_i_ii(limb)
    if pair is None:
        raise BadInputError("The recording has fewer than two limb leads.")
    gaps = np.logical_or.reduce([record.gaps[record.leads.index(name)] for name in limb])
    return replace(record, signal_mv=pair.astype(np.float32), leads=("I", "II"), gaps=gaps)


def _generator(record: Record, what: str, seed: int | None) -> np.random.Generator:
    given = int(record.sha256()[:16], 16) if seed is None else seed
    return np.random.default_rng([given, *what.encode()])


def _listed(counted: Counter[str]) -> str | None:
    return "; ".join(f"{reason} ({count})" for reason, count in counted.most_common()) or None
