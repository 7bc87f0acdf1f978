"""What gets an answer and what does not: inputs that are no ECG, spoiled ECGs, swapped electrodes, real recordings.

Every row runs the whole way of a recording, quality, model and decision, as ``screen`` does. Recordings of a cohort are
first cut to leads I and II, which are what the recorder measures.

A recording of 10 s leaves 0.5 s beside the window and its filter's context, so that no real one can begin later than
that. Longer shifts are tried on simulated hearts that were recorded for 20 s; playing a short recording twice would
give the same beats again and prove nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.signal import resample_poly

from lsemvae_edge import bundle as bundles
from lsemvae_edge import decision, formats, metrics
from lsemvae_edge.benchmarks import ledger
from lsemvae_edge.benchmarks.operating import Abstention, Operating, abstentions, operating_point
from lsemvae_edge.leads import solve_i_ii
from lsemvae_edge.record import Record
from lsemvae_edge.result import INCONCLUSIVE, ScreeningResult
from lsemvae_edge.runtime import open_session
from lsemvae_edge.screening import screen
from lsemvae_edge.synthetic.electrodes import add_noise
from lsemvae_edge.synthetic.faults import SPOILED, SWAPS
from lsemvae_edge.synthetic.heart import random_heart, simulate
from lsemvae_edge.synthetic.not_ecg import HELD_OUT_KINDS, NOT_ECG, NotEcg
from lsemvae_edge.synthetic.unseen import SPOILED_HEARTS, UNSEEN
from lsemvae_edge.train import datasets

N_NOT_ECG = N_UNSEEN = 200
N_SPOILED = 100
N_HEARTS = 60
FS_HZ, N_SAMPLES = 500.0, 5000
LONG_S, SHORT_S = 20.0, 10.0
LONG_SHIFTS_S = (1.0, 2.5, 5.0)
OTHER_RECORDERS = "other_recorders"

Say = Callable[[str], None]
Run = Callable[[Record], ScreeningResult]


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
class Tables:
    """What gets an answer (``rows``), how right the answers are, and what fewer of them would buy."""

    rows: list[Row]
    operating: list[Operating]
    abstention: list[Abstention]


def measure(*, final: bool, seed: int, say: Say) -> Tables:
    """Fill the safety tables.

    Parameters
    ----------
    final : bool
        Also fold 10, and the labels of ``other_recorders``, of which otherwise only the coverage is counted; the
        figures are appended to the ledger.
    seed : int
        Of the draws of strange inputs and simulated hearts.
    say : callable
    """
    bundle = bundles.default()
    session = open_session(bundle)
    task = bundle.spec.primary

    def run(record: Record) -> ScreeningResult:
        return screen(record, bundle, session=session)

    draws, of_unseen, of_hearts = (np.random.default_rng(key) for key in (seed, [seed, 1], [seed, 2]))
    folder = datasets.data_folder()
    listed = [
        entry
        for entry in datasets.entries(folder)
        if entry.fold == metrics.VALIDATION_FOLD or (final and entry.fold == metrics.TEST_FOLD)
    ]
    say(f"Strange inputs, then {len(listed)} recordings of the held-out folds")
    rows = [*_not_ecg(run, draws), *_unseen(run, of_unseen), *_long_shifts(run, of_hearts)]
    spoiled = _spoiled(run, listed, draws)
    judged = judge(run, listed)
    elsewhere = judge(run, datasets.other_recorders(folder))
    of_folds = [*spoiled, *_swaps(run, judged), *_stability(run, judged)]
    sets = {
        f"fold {fold}": [one for one in judged if one.entry.fold == fold]
        for fold in sorted({entry.fold for entry in listed})
    }
    coverage = [
        _tally("real recordings", name, [one.result for one in some])
        for name, some in {**sets, OTHER_RECORDERS: elsewhere}.items()
    ]
    operating, abstention = [], []
    for name, some in {**sets, **({OTHER_RECORDERS: elsewhere} if final else {})}.items():
        labelled = [one for one in some if task.name in one.entry.targets]
        truth = np.array([one.entry.targets[task.name] for one in labelled], dtype=bool)
        results = [one.result for one in labelled]
        patient = np.array([one.entry.patient for one in labelled])
        operating.append(operating_point(name, truth, results, task.classes[1], patient))
        abstention += abstentions(name, truth, results, task)
    if final:
        chosen_on = f"fold {metrics.VALIDATION_FOLD}"
        figures = [asdict(row) for row in (*of_folds, *coverage) if row.kind != chosen_on]
        figures += [asdict(point) for point in operating if point.set != chosen_on]
        figures += [asdict(one) for one in abstention if one.set != chosen_on]
        ledger.append(bundle, "safety", figures)
    rows += [*of_folds, *coverage]
    sample = folder / "kardia6l" / "kardia6l_svg_leads_mV.csv"
    if sample.is_file():
        rows.append(_tally("real recordings", "kardia6l", [run(formats.read(sample))]))
    return Tables(rows, operating, abstention)


def judge(run: Run, listed: Iterable[datasets.Entry]) -> list[Judged]:
    """Read recordings, cut them to the leads that the recorder measures, and screen them, each once."""
    return [Judged(entry, record, run(record)) for entry in listed for record in [as_measured(entry.record())]]


def as_measured(record: Record) -> Record:
    """Cut a recording to leads I and II, solved from other limb leads where it lacks one of them.

    One that has no two independent limb leads stays as it is: screening gives it no answer.
    """
    pair = solve_i_ii(record.limb())
    # What was not received is no number, in what is solved from it as well.
    return record if pair is None else replace(record, signal_mv=pair, leads=("I", "II"), gaps=~np.isfinite(pair))


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


def _not_ecg(run: Run, rng: np.random.Generator) -> list[Row]:
    """Draw from every kind in turn; the held-out kinds taught neither limits nor guard."""
    found = _drawn(run, NOT_ECG, N_NOT_ECG, rng)
    seen = [one for one in found if one[0] not in HELD_OUT_KINDS]
    held_out = [one for one in found if one[0] in HELD_OUT_KINDS]
    return [_strange("no ECG", "kinds seen in training", seen), _strange("no ECG", "held-out kinds", held_out)]


def _unseen(run: Run, rng: np.random.Generator) -> list[Row]:
    """Draw from the kinds that only judge; those that begin with a heart are harder and stand apart."""
    found = _drawn(run, UNSEEN, N_UNSEEN, rng)
    hearts = [one for one in found if one[0] in SPOILED_HEARTS]
    others = [one for one in found if one[0] not in SPOILED_HEARTS]
    group = "no ECG, unseen kinds"
    return [_strange(group, "no beating heart", others), _strange(group, "spoiled simulated hearts", hearts)]


def _drawn(
    run: Run, kinds: Mapping[str, NotEcg], count: int, rng: np.random.Generator
) -> list[tuple[str, ScreeningResult]]:
    names = sorted(kinds)
    found = []
    for number in range(count):
        kind = names[number % len(names)]
        samples = kinds[kind](rng, N_SAMPLES, FS_HZ).astype(np.float32)
        found.append((kind, run(Record(samples, FS_HZ, ("I", "II"), origin="simulated"))))
    return found


def _strange(group: str, kind: str, found: list[tuple[str, ScreeningResult]]) -> Row:
    """Tally inputs of which none should be answered, with the list of what got past."""
    row = _tally(group, kind, (result for _, result in found))
    passed = Counter(kind for kind, result in found if result.outcome != INCONCLUSIVE)
    return replace(row, reasons={**row.reasons, **{f"ANSWERED {kind}": n for kind, n in passed.items()}})


def _spoiled(run: Run, listed: list[datasets.Entry], rng: np.random.Generator) -> list[Row]:
    calibrated = [entry for entry in listed if entry.source == datasets.TWELVE_LEAD]
    found: dict[str, list[ScreeningResult]] = {}
    for number in range(N_SPOILED):
        kind = sorted(SPOILED)[number % len(SPOILED)]
        record = as_measured(calibrated[int(rng.integers(len(calibrated)))].record())
        found.setdefault(kind, []).append(run(SPOILED[kind](rng, record)))
    return [_tally("spoiled ECG", kind, results) for kind, results in found.items()]


def _swaps(run: Run, judged: list[Judged]) -> list[Row]:
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


def _stability(run: Run, judged: list[Judged]) -> list[Row]:
    """Count answered outcomes that flip when the same heart is recorded a little otherwise; flips stand as detected."""
    answered = [one for one in judged if one.result.outcome != INCONCLUSIVE]
    rows = []
    for kind, change in STABILITY.items():
        rows.append(_flips(kind, [(one.result.outcome, run(change(one.record))) for one in answered]))
    return rows


def _long_shifts(run: Run, rng: np.random.Generator) -> list[Row]:
    """Record the same simulated hearts for 10 s at once and later; of those answered at once, count flips."""
    hearts = []
    for _ in range(N_HEARTS):
        heart = replace(
            random_heart(rng),
            rate_bpm=rng.uniform(50, 110),
            qrs_axis_deg=rng.uniform(-60, 150),
            right_ratio=rng.uniform(0, 1),
        )
        hearts.append(add_noise(simulate(heart, LONG_S, FS_HZ, rng, ("I", "II")), "muscle", 25.0, rng))
    at_once = [(record, run(_later(record, 0.0, SHORT_S)).outcome) for record in hearts]
    answered = [(record, outcome) for record, outcome in at_once if outcome != INCONCLUSIVE]
    return [
        _flips(
            f"simulated heart, recorded {shift_s:g} s later",
            [(outcome, run(_later(record, shift_s, SHORT_S))) for record, outcome in answered],
        )
        for shift_s in LONG_SHIFTS_S
    ]


def _flips(kind: str, pairs: list[tuple[str, ScreeningResult]]) -> Row:
    flips = sum(after.outcome not in (before, INCONCLUSIVE) for before, after in pairs)
    return replace(_tally("stability", kind, (after for _, after in pairs)), detected=flips)


def _resampled(record: Record, up: int, down: int) -> Record:
    signal = resample_poly(np.nan_to_num(record.signal_mv), up, down, axis=1).astype(np.float32)
    nearest = np.minimum(np.arange(signal.shape[1]) * down // up, record.n_samples - 1)
    return replace(record, signal_mv=signal, gaps=record.gaps[:, nearest], fs_hz=record.fs_hz * up / down)


def _twelve_bit(record: Record) -> Record:
    """Re-encode with 4096 steps over ten times the signal's typical size, as a coarse converter does."""
    step = 20 * float(np.nanstd(record.signal_mv)) / 4096
    return replace(record, signal_mv=(np.rint(record.signal_mv / step) * step).astype(np.float32))


def _later(record: Record, seconds: float, length_s: float = np.inf) -> Record:
    first = round(seconds * record.fs_hz)
    part = slice(first, None if np.isinf(length_s) else first + round(length_s * record.fs_hz))
    return replace(record, signal_mv=record.signal_mv[:, part], gaps=record.gaps[:, part])


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
