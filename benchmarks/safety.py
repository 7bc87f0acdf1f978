"""What gets an answer and what does not: inputs that are no ECG, spoiled ECGs, swapped electrodes, real recordings.

Every row runs the whole way of a recording, quality, model and decision, as ``screen`` does.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from lsemvae_edge import bundle as bundles
from lsemvae_edge import decision, formats, metrics
from lsemvae_edge.benchmarks import ledger
from lsemvae_edge.record import Record
from lsemvae_edge.result import INCONCLUSIVE, ScreeningResult
from lsemvae_edge.runtime import open_session
from lsemvae_edge.screening import screen
from lsemvae_edge.synthetic.faults import SPOILED, SWAPS
from lsemvae_edge.synthetic.not_ecg import HELD_OUT_KINDS, NOT_ECG
from lsemvae_edge.train import datasets

N_NOT_ECG = 200
N_SPOILED = 100
FS_HZ, N_SAMPLES = 500.0, 5000
PREVALENCES = (0.01, 0.05, 0.20)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One kind of input: how many there were, how many got an answer, why the others did not."""

    group: str
    kind: str
    n: int
    answered: int
    detected: int | None
    reasons: dict[str, int]

    @property
    def share(self) -> float:
        """Share that got an answer."""
        return self.answered / max(self.n, 1)


@dataclass(frozen=True)
class Judged:
    """A recording of a cohort with its result as recorded."""

    entry: datasets.Entry
    record: Record
    result: ScreeningResult


@dataclass(frozen=True)
class Operating:
    """The shipped thresholds on one set of recordings, through the whole way.

    Sensitivity and specificity have exact intervals and stand twice: among answered recordings, and among all, where
    no answer counts as wrong. Predictive values hold at the stated prevalence, for answered recordings.
    """

    set: str
    n: int
    positive: int
    answered: int
    sensitivity_answered: metrics.Interval | None
    specificity_answered: metrics.Interval | None
    sensitivity_all: metrics.Interval | None
    specificity_all: metrics.Interval | None
    brier: float | None
    brier_constant: float | None
    calibration_error: float | None
    predictive_values: dict[str, tuple[float | None, float | None]]


def measure(*, final: bool, seed: int, say: Say) -> tuple[list[Row], list[Operating]]:
    """Fill the safety tables.

    Parameters
    ----------
    final : bool
        Also fold 10.
    seed : int
        Of the draws of strange inputs.
    say : callable
    """
    bundle = bundles.default()
    session = open_session(bundle)

    def run(record: Record) -> ScreeningResult:
        return screen(record, bundle, session=session)

    rng = np.random.default_rng(seed)
    folder = datasets.data_folder()
    listed = [
        entry
        for entry in datasets.entries(folder)
        if entry.fold == metrics.VALIDATION_FOLD or (final and entry.fold == metrics.TEST_FOLD)
    ]
    say(f"Strange inputs, then {len(listed)} recordings of the held-out folds")
    rows = _not_ecg(run, rng)
    rows += _spoiled(run, listed, rng)
    judged = judge(run, listed)
    rows += _swaps(run, judged)
    rows += _stability(run, judged)
    operating = []
    for fold in sorted({entry.fold for entry in listed}):
        of_fold = [one for one in judged if one.entry.fold == fold]
        results = [one.result for one in of_fold]
        rows.append(_tally("real recordings", f"fold {fold}", results))
        truth = np.array([one.entry.targets[datasets.RIGHT_HEART.name] for one in of_fold], dtype=bool)
        operating.append(operating_point(f"fold {fold}", truth, results, bundle.spec.primary.classes[1]))
    rows.append(_tally("real recordings", "other_recorders", map(run, datasets.other_recorders(folder))))
    sample = folder / "kardia6l" / "kardia6l_svg_leads_mV.csv"
    if sample.is_file():
        rows.append(_tally("real recordings", "kardia6l", [run(formats.read(sample))]))
    if final:
        held_out = f"fold {metrics.TEST_FOLD}"
        read = [asdict(row) for row in rows if row.kind == held_out]
        ledger.append(bundle, "safety", read + [asdict(point) for point in operating if point.set == held_out])
    return rows, operating


def judge(run: Callable[[Record], ScreeningResult], listed: Iterable[datasets.Entry]) -> list[Judged]:
    """Read and screen recordings, each once."""
    return [Judged(entry, record, run(record)) for entry in listed for record in [entry.record()]]


def operating_point(
    name: str, truth: NDArray[np.bool_], results: Sequence[ScreeningResult], positive: str
) -> Operating:
    """Say what the shipped thresholds do on recordings whose label is known.

    Parameters
    ----------
    truth : array (n,) of bool
        Label of the primary task.
    results : sequence of ScreeningResult
        In the same order.
    positive : str
        The primary task's positive class.
    """
    answered = np.array([result.outcome != INCONCLUSIVE for result in results])
    called = np.array([result.outcome == positive for result in results])
    primary = [next(iter(result.tasks.values())) for result in results]
    ran = np.array([task.probability is not None for task in primary])
    probability = np.array([task.probability for task in primary if task.probability is not None])

    def share(right: NDArray[np.bool_], among: NDArray[np.bool_]) -> metrics.Interval | None:
        return metrics.exact_interval(int((right & among).sum()), int(among.sum()))

    right_negative = answered & ~called
    sensitivity, specificity = share(called, truth & answered), share(right_negative, ~truth & answered)
    values = {}
    if sensitivity and specificity:
        for prevalence in PREVALENCES:
            both = metrics.predictive_values(sensitivity.value, specificity.value, prevalence)
            positive_value, negative_value = (None if np.isnan(value) else float(value) for value in both)
            values[f"{prevalence:.0%}"] = positive_value, negative_value
    return Operating(
        set=name,
        n=len(results),
        positive=int(truth.sum()),
        answered=int(answered.sum()),
        sensitivity_answered=sensitivity,
        specificity_answered=specificity,
        sensitivity_all=share(called, truth),
        specificity_all=share(right_negative, ~truth),
        brier=metrics.brier(truth[ran], probability) if ran.any() else None,
        brier_constant=metrics.brier(truth[ran], np.full(ran.sum(), truth[ran].mean())) if ran.any() else None,
        calibration_error=metrics.calibration_error(truth[ran], probability) if ran.any() else None,
        predictive_values=values,
    )


def operating_table(points: Iterable[Operating]) -> str:
    """Print operating points as Markdown."""
    lines = [
        "| set | n (positive) | answered | sensitivity, answered | specificity, answered | sensitivity, all | "
        "specificity, all | Brier (constant) | ECE | PPV / NPV at 1 %, 5 %, 20 % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for point in points:
        shares = (
            point.sensitivity_answered,
            point.specificity_answered,
            point.sensitivity_all,
            point.specificity_all,
        )
        cells = [point.set, f"{point.n} ({point.positive})", f"{point.answered / point.n:.1%}"]
        cells += [f"{s.value:.3f} ({s.low:.3f} to {s.high:.3f})" if s else "-" for s in shares]
        cells += [
            f"{_figure(point.brier, 4)} ({_figure(point.brier_constant, 4)})",
            _figure(point.calibration_error, 3),
        ]
        cells.append(", ".join(f"{_figure(p, 2)} / {_figure(n, 3)}" for p, n in point.predictive_values.values()))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def table(rows: Iterable[Row]) -> str:
    """Print rows as Markdown."""
    lines = [
        "| group | kind | n | answered | detected or flipped | why the others were not |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in row.reasons.items())
        detected = "-" if row.detected is None else f"{row.detected} ({row.detected / max(row.n, 1):.1%})"
        lines.append(
            f"| {row.group} | {row.kind} | {row.n} | {row.answered} ({row.share:.1%}) | {detected} | {reasons} |"
        )
    return "\n".join(lines)


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _not_ecg(run: Callable[[Record], ScreeningResult], rng: np.random.Generator) -> list[Row]:
    """Draw from every kind in turn; the held-out kinds taught neither limits nor guard."""
    results: dict[bool, list[tuple[str, ScreeningResult]]] = {True: [], False: []}
    kinds = sorted(NOT_ECG)
    for number in range(N_NOT_ECG):
        kind = kinds[number % len(kinds)]
        samples = NOT_ECG[kind](rng, N_SAMPLES, FS_HZ).astype(np.float32)
        record = Record(samples, FS_HZ, ("I", "II"), origin="simulated")
        results[kind in HELD_OUT_KINDS].append((kind, run(record)))
    rows = []
    for held_out, found in results.items():
        row = _tally("no ECG", "held-out kinds" if held_out else "kinds seen in training", (r for _, r in found))
        passed = Counter(kind for kind, result in found if result.outcome != INCONCLUSIVE)
        rows.append(replace(row, reasons={**row.reasons, **{f"ANSWERED {k}": n for k, n in passed.items()}}))
    return rows


def _spoiled(
    run: Callable[[Record], ScreeningResult], listed: list[datasets.Entry], rng: np.random.Generator
) -> list[Row]:
    calibrated = [entry for entry in listed if entry.source == datasets.TWELVE_LEAD]
    found: dict[str, list[ScreeningResult]] = {}
    for number in range(N_SPOILED):
        kind = sorted(SPOILED)[number % len(SPOILED)]
        record = calibrated[int(rng.integers(len(calibrated)))].record()
        found.setdefault(kind, []).append(run(SPOILED[kind](rng, record)))
    return [_tally("spoiled ECG", kind, results) for kind, results in found.items()]


def _swaps(run: Callable[[Record], ScreeningResult], judged: list[Judged]) -> list[Row]:
    """Count detections per permutation of answered recordings, and false alarms where a swap is mimicked."""
    resembling = [one.result for one in judged if datasets.RIGHT_AXIS_LIKE in one.entry.marks]
    rows = [
        _alarms("not swapped", [one.result for one in judged]),
        _alarms("not swapped: RAD, RVH or LPFB", resembling),
    ]
    usable = [one.record for one in judged if one.result.outcome != INCONCLUSIVE]
    for kind, matrix in SWAPS.items():
        swapped = (replace(record, signal_mv=(matrix @ record.signal_mv).astype(np.float32)) for record in usable)
        rows.append(_alarms(f"swapped: {kind}", [run(record) for record in swapped]))
    return rows


def _stability(run: Callable[[Record], ScreeningResult], judged: list[Judged]) -> list[Row]:
    """Count answered outcomes that flip when the same heart is recorded a little otherwise; flips stand as detected."""
    answered = [one for one in judged if one.result.outcome != INCONCLUSIVE]
    rows = []
    for kind, change in STABILITY.items():
        pairs = [(one.result.outcome, run(change(one.record))) for one in answered]
        flips = sum(after.outcome not in (before, INCONCLUSIVE) for before, after in pairs)
        rows.append(replace(_tally("stability", kind, (after for _, after in pairs)), detected=flips))
    return rows


def _resampled(record: Record, up: int, down: int) -> Record:
    signal = resample_poly(np.nan_to_num(record.signal_mv), up, down, axis=1).astype(np.float32)
    nearest = np.minimum(np.arange(signal.shape[1]) * down // up, record.n_samples - 1)
    return replace(record, signal_mv=signal, gaps=record.gaps[:, nearest], fs_hz=record.fs_hz * up / down)


def _twelve_bit(record: Record) -> Record:
    """Re-encode with 4096 steps over ten times the signal's typical size, as a coarse converter does."""
    step = 20 * float(np.nanstd(record.signal_mv)) / 4096
    return replace(record, signal_mv=(np.rint(record.signal_mv / step) * step).astype(np.float32))


def _later(record: Record, seconds: float) -> Record:
    first = round(seconds * record.fs_hz)
    return replace(record, signal_mv=record.signal_mv[:, first:], gaps=record.gaps[:, first:])


STABILITY: dict[str, Callable[[Record], Record]] = {
    "recording begins 0.25 s later": lambda record: _later(record, 0.25),
    "recording begins 0.5 s later": lambda record: _later(record, 0.5),
    "300 Hz": lambda record: _resampled(record, 3, 5),
    "12 bit": _twelve_bit,
    "half the gain": lambda record: replace(record, signal_mv=record.signal_mv * np.float32(0.5)),
    "twice the gain": lambda record: replace(record, signal_mv=record.signal_mv * np.float32(2.0)),
}
"""Other recordings of the same heart: later by what a 10-s recording leaves, re-encoded, scaled."""


def _alarms(kind: str, results: list[ScreeningResult]) -> Row:
    detected = sum(_reason(result) == decision.SWAP_CHECK for result in results)
    return replace(_tally("electrodes", kind, results), detected=detected)


def _tally(group: str, kind: str, results: Iterable[ScreeningResult]) -> Row:
    found = list(results)
    answered = sum(result.outcome != INCONCLUSIVE for result in found)
    reasons = Counter(_reason(result) for result in found if result.outcome == INCONCLUSIVE)
    return Row(group, kind, len(found), answered, None, dict(reasons.most_common()))


def _reason(result: ScreeningResult) -> str:
    primary = next(iter(result.tasks.values()))
    return str(primary.reason)
