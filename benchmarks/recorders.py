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
from lsemvae_edge.record import Record
from lsemvae_edge.runtime import Session, open_session
from lsemvae_edge.screening import assess, screen
from lsemvae_edge.train import datasets

UV_PER_LSB = 1.0
"""Step of the recorder of our profile here: PTB-XL's own, so that nothing is rounded."""


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
            recorder = shelf.make(name, limb, **({"mv_per_lsb": UV_PER_LSB / 1000} if name == "open-6l" else {}))
            got = replace(shelf.through(recorder, name, limb.duration_s), amplitude=limb.amplitude)
            row.n += 1
            row.samples += got.signal_mv.shape == limb.signal_mv.shape and bool((got.signal_mv == limb.signal_mv).all())
            other = _logits(got, bundle, session)
            row.logits += (logits is None and other is None) or (
                logits is not None and other is not None and bool((logits == other).all())
            )
            found = screen(got, bundle, session=session).outcome
            row.outcomes += found == outcome
            if found != outcome:
                row.flips.append({"id": entry.id, "file": outcome, "recorder": found})
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
    rows = [record.leads.index(name) for name in ("I", "II")]
    return replace(record, signal_mv=record.signal_mv[rows], leads=("I", "II"), gaps=record.gaps[rows])


def _logits(record: Record, bundle: bundles.Bundle, session: Session) -> "np.ndarray[Any, Any] | None":
    """Logits of the window that quality chose; None where it refused."""
    assessed, conditioned = assess(record, bundle.spec)
    if not assessed.usable or conditioned is None or assessed.start is None:
        return None
    return session.run(preprocess.cut(conditioned, bundle.spec.preprocess, assessed.start).signal).logits
