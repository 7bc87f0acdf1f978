"""What the processes of the peers hold: each function loads a model and returns what is timed.

Those that need torch or LiteRT lie in modules of their own, so that importing a library is told from loading a model.
Without a recording that is inference alone, on an input that is made once. With one it is the way from its file to the
probability, and each call returns the milliseconds of its stages by name.
"""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import bundle as bundles
from lsemvae_edge import formats, preprocess
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import LIMB_LEADS, derive_limb_leads, solve_i_ii
from lsemvae_edge.record import Record

if TYPE_CHECKING:
    from lsemvae_edge.bundle import Bundle
    from lsemvae_edge.spec import PreprocessSpec, TaskSpec

Array = NDArray[np.float32]
Run = Callable[[], Any]

PUBLISHED_HZ, PUBLISHED_SAMPLES = 500.0, 5000
WINDOW, CONDITIONED = 928, 992
"""Samples that the plain CNN of windows reads, and of the conditioned signal that its window is the middle of."""
CLIP = 8.0


def student_in_runtime(bundle: str, file: str, runtime: str, recording: str) -> Run:
    """Hold a file of a bundle in a runtime."""
    from lsemvae_edge.runtime import open_session

    held = bundles.load(Path(bundle))
    model = next(model for model in held.manifest.models if model.path == file)
    return ours(held, open_session(held, runtime, model), recording)


def published_input(record: Record) -> Array:
    """Clean six limb leads as published and scale each by itself: (6, 5000) at 500 Hz.

    The published recipe wants twelve leads; its filters, written again here for speed, are applied to the six.

    Raises
    ------
    BadInputError
        If the recording has another rate, is shorter, or has gaps.
    """
    from lsemvae_edge.train.recipes import ReferenceRecipe

    return _scaled_alone(ReferenceRecipe().clean(_ten_seconds(record)))


def published_input_by_neurokit(record: Record) -> Array:
    """Do the same by ``neurokit2.ecg_clean``, lead by lead, as its users do."""
    import neurokit2

    return _scaled_alone(np.stack([neurokit2.ecg_clean(lead, sampling_rate=500) for lead in _ten_seconds(record)]))


def window_of(record: Record, spec: "PreprocessSpec") -> Array:
    """Condition a recording and return the middle window of its six limb leads (6, `WINDOW`), scaled by one factor."""
    pair = preprocess.condition(record, spec).pair[:, :CONDITIONED]
    begin = (CONDITIONED - WINDOW) // 2
    six = derive_limb_leads(pair[0], pair[1])[:, begin : begin + WINDOW]
    return np.asarray(np.clip(six / np.sqrt(np.mean(six**2)), -CLIP, CLIP), dtype=np.float32)


def beat_of(record: Record, spec: "PreprocessSpec") -> Array:
    """Return the average beat of six limb leads, which our own model reads."""
    return preprocess.apply(record, spec).signal


def ours(held: "Bundle", session: Any, recording: str | None) -> Run:
    """Return what runs an open session of a bundle, on its golden vectors' first input, or the way from a recording."""
    task, spec = held.spec.primary, held.spec.preprocess
    if recording is None:
        made = held.golden["input"][0].astype(np.float32)
        return lambda: session.run(made)
    return way(recording, lambda record: preprocess.apply(record, spec).signal, _of_session(session, task))


def _of_session(session: Any, task: "TaskSpec") -> Callable[[Array], float]:
    from lsemvae_edge.decision import probability

    return lambda signal: probability(task, float(session.run(signal).logits[task.output]))


def way(recording: str, taken: Callable[[Record], Array], probability: Callable[[Array], float]) -> Run:
    """Return what goes from a recording's file to a probability, and tells the milliseconds of its stages."""
    path = Path(recording)

    def run() -> dict[str, float]:
        begun = perf_counter()
        record = formats.read(path)
        read = perf_counter()
        signal = taken(record)
        filtered = perf_counter()
        probability(signal)
        ended = perf_counter()
        return {
            "decode_ms": 1e3 * (read - begun),
            "preprocess_ms": 1e3 * (filtered - read),
            "inference_ms": 1e3 * (ended - filtered),
        }

    return run


def _six(record: Record) -> NDArray[np.float64]:
    """Return the six limb leads (6, n_samples) as they were measured, and what algebra gives of those that were not."""
    if all(name in record.leads for name in LIMB_LEADS):
        return np.stack([record.signal_mv[record.leads.index(name)] for name in LIMB_LEADS]).astype(np.float64)
    pair = solve_i_ii(record.limb())
    if pair is None:
        raise BadInputError("The recording has no two independent limb leads.", "Name another with --recording.")
    return derive_limb_leads(*pair.astype(np.float64))


def _ten_seconds(record: Record) -> NDArray[np.float64]:
    """Return ten seconds of the six limb leads, as they were recorded."""
    if record.fs_hz != PUBLISHED_HZ or record.n_samples < PUBLISHED_SAMPLES or record.gaps.any():
        raise BadInputError(
            "The published input is made of ten seconds at 500 Hz without gaps.", "Name another with --recording."
        )
    return _six(record)[:, :PUBLISHED_SAMPLES]


def _scaled_alone(clean: NDArray[np.float64]) -> Array:
    """Scale each lead by itself, to mean 0 and deviation 1."""
    scaled = (clean - clean.mean(axis=1, keepdims=True)) / clean.std(axis=1, keepdims=True)
    return np.asarray(scaled, dtype=np.float32)
