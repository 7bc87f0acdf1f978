"""What gets an answer and what does not: inputs that are no ECG, spoiled ECGs, swapped electrodes, real recordings.

Every row runs the whole way of a recording, quality, model and decision, as ``screen`` does.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from lsemvae_edge import bundle as bundles
from lsemvae_edge import decision, formats, metrics
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
        return self.answered / self.n if self.n else float("nan")


def measure(*, final: bool, seed: int, say: Say) -> list[Row]:
    """Fill the safety table.

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
    rows += _swaps(run, listed)
    for fold in sorted({entry.fold for entry in listed}):
        recordings = (entry.record() for entry in listed if entry.fold == fold)
        rows.append(_tally("real recordings", f"fold {fold}", map(run, recordings)))
    rows.append(_tally("real recordings", "other_recorders", map(run, datasets.other_recorders(folder))))
    sample = folder / "kardia6l" / "kardia6l_svg_leads_mV.csv"
    if sample.is_file():
        rows.append(_tally("real recordings", "kardia6l", [run(formats.read(sample))]))
    return rows


def table(rows: Iterable[Row]) -> str:
    """Print rows as Markdown."""
    lines = ["| group | kind | n | answered | detected | why the others were not |", "|---|---|---|---|---|---|"]
    for row in rows:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in row.reasons.items())
        detected = "-" if row.detected is None else f"{row.detected} ({row.detected / max(row.n, 1):.1%})"
        lines.append(
            f"| {row.group} | {row.kind} | {row.n} | {row.answered} ({row.share:.1%}) | {detected} | {reasons} |"
        )
    return "\n".join(lines)


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


def _swaps(run: Callable[[Record], ScreeningResult], listed: list[datasets.Entry]) -> list[Row]:
    """Count detections per permutation of answered recordings, and false alarms where a swap is mimicked."""
    recordings = [(entry, entry.record()) for entry in listed]
    plain_results = [run(record) for _, record in recordings]
    rows = [
        _alarms("not swapped", plain_results),
        _alarms(
            "not swapped: RAD, RVH or LPFB",
            [
                result
                for (entry, _), result in zip(recordings, plain_results, strict=True)
                if entry.label.right_axis_like
            ],
        ),
    ]
    usable = [
        record for (_, record), result in zip(recordings, plain_results, strict=True) if result.outcome != INCONCLUSIVE
    ]
    for kind, matrix in SWAPS.items():
        swapped = (replace(record, signal_mv=(matrix @ record.signal_mv).astype(np.float32)) for record in usable)
        rows.append(_alarms(f"swapped: {kind}", [run(record) for record in swapped]))
    return rows


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
