"""What a recorder's coding does to a result: fold 9, played through a recorder, against the files themselves.

No radio takes part: a virtual recorder and its driver are joined in memory, and the assembler puts the samples in
their places.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lsemvae_edge import bundle as bundles
from lsemvae_edge import metrics, preprocess
from lsemvae_edge.device.virtual import shelf
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.errors import DeviceError
from lsemvae_edge.record import Record
from lsemvae_edge.runtime import Session, open_session
from lsemvae_edge.screening import assess, screen
from lsemvae_edge.train import datasets

MV_PER_LSB = 0.001
"""Step of the recorder of our profile here: PTB-XL's own, so that nothing is rounded. Recordings that have lost their
scale are no multiples of it, and are played through the ER3 alone."""
BITS = {"open-6l": 24, "lepu-6l": 16}
"""Of each recorder's converter."""


def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """Play fold 9 through our profile at 500 Hz and through the ER3 coding at 250 Hz.

    Returns
    -------
    dict
        For each recorder: how many recordings, how many with equal samples, equal logits and the same outcome, and the
        ones whose outcome changed.
    """
    bundle = bundles.default()
    session = open_session(bundle)
    listed = [entry for entry in datasets.entries(datasets.data_folder()) if entry.fold == metrics.VALIDATION_FOLD]
    say(f"{len(listed)} recordings of fold {metrics.VALIDATION_FOLD}")
    rows = {"open-6l": _Row(), "lepu-6l": _Row()}
    for entry in listed:
        limb = _measured(entry.load())
        outcome = screen(limb, bundle, session=session).outcome
        logits = _logits(limb, bundle, session)
        for name, row in rows.items():
            exact = name == "open-6l"
            if exact and limb.amplitude != "calibrated":
                continue
            got = replace(_played(limb, name, exact), amplitude=limb.amplitude)
            found = screen(got, bundle, session=session).outcome
            row.n += 1
            row.samples += np.array_equal(got.signal_mv, limb.signal_mv)
            row.logits += _same(logits, _logits(got, bundle, session))
            row.outcomes += found == outcome
            if found != outcome:
                row.flips.append({
                    "id": entry.record_id, "source": entry.source, "file": outcome, "recorder": found,
                })  # fmt: skip
    return {"n": len(listed), "recorders": {name: row.figures() for name, row in rows.items()}}


class _Row:
    def __init__(self) -> None:
        self.n = self.samples = self.logits = self.outcomes = 0
        self.flips: list[dict[str, str]] = []

    def figures(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "equal_samples": self.samples,
            "equal_logits": self.logits,
            "same_outcome": self.outcomes,
            "same_outcome_share": round(self.outcomes / max(self.n, 1), 4),
            "flips": self.flips,
        }


def _measured(record: Record) -> Record:
    """Cut to what a recorder measures; whole microvolts are rounded to float32 once, as a file's reader does."""
    rows = [record.leads.index(name) for name in ("I", "II")]
    signal_mv = record.signal_mv[rows]
    if record.amplitude == "calibrated":
        signal_mv = (np.rint(signal_mv.astype(np.float64) / MV_PER_LSB) * MV_PER_LSB).astype(np.float32)
    return replace(record, signal_mv=signal_mv, leads=("I", "II"), gaps=record.gaps[rows])


def _played(record: Record, name: str, exact: bool) -> Record:
    """Play a recording from its first sample to its last: a recorder that is asked later has begun it already."""
    stream = shelf.stream(name)
    mv_per_lsb = MV_PER_LSB if exact else stream.mv_per_lsb
    options: dict[str, Any] = {"mv_per_lsb": MV_PER_LSB} if exact else {}
    recorder = shelf.make(name, record, **options)
    twice = shelf.through(recorder, name, 2 * record.duration_s)
    steps = np.rint(twice.signal_mv.astype(np.float64) / mv_per_lsb)
    feed = Feed(record, stream.leads, stream.fs_hz, mv_per_lsb, BITS[name])
    played = feed.steps(0, feed.n_samples)
    for first in np.flatnonzero((steps == played[:, :1]).all(axis=0)).tolist():
        span = slice(first, first + feed.n_samples)
        if np.array_equal(steps[:, span], played):
            return replace(twice, signal_mv=twice.signal_mv[:, span], gaps=twice.gaps[:, span])
    raise DeviceError(f"{name} did not deliver what was played.", "Run `lsemvae-edge devices check-driver`.")


def _same(logits: "np.ndarray[Any, Any] | None", other: "np.ndarray[Any, Any] | None") -> bool:
    if logits is None or other is None:
        return logits is other
    return bool((logits == other).all())


def _logits(record: Record, bundle: bundles.Bundle, session: Session) -> "np.ndarray[Any, Any] | None":
    """Logits of the window that quality chose; None where it refused."""
    assessed, conditioned = assess(record, bundle.spec)
    if not assessed.usable or conditioned is None or assessed.start is None:
        return None
    return session.run(preprocess.cut(conditioned, bundle.spec.preprocess, assessed.start).signal).logits
