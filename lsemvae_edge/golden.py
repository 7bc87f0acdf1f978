"""Known answers of every stage: made once with reference kernels, run again wherever a bundle is verified."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import decision, preprocess
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import BundleError
from lsemvae_edge.record import Record
from lsemvae_edge.runtime import Output, Session
from lsemvae_edge.spec import ModelSpec

FS_HZ = 500.0
FILTER_TOLERANCE_MV = 1e-5
INPUT_TOLERANCE = 1e-4
OF_THE_MODEL = ("fed", "logits", "mu", "logvar", "contributions")
MAX_BEATS = 32
"""Length of the stage that holds the beats' places, more than a window has."""


@dataclass(frozen=True)
class Check:
    """One stage compared with its known answers."""

    stage: str
    worst: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the worst difference is allowed."""
        return self.worst <= self.allowed


class Runs(Protocol):
    """Whatever can be asked like a `Session`."""

    def run(self, signal: NDArray[np.float32]) -> Output:
        """Run the model on one input (n_leads, n_samples) with all leads."""
        ...


def answer(spec: ModelSpec, raw_uv: NDArray[np.int16], sessions: Mapping[str, Runs]) -> dict[str, NDArray[Any]]:
    """Run one recording through every stage.

    Parameters
    ----------
    spec : ModelSpec
    raw_uv : array (2, n_samples), int16
        Leads I and II in microvolts at `FS_HZ`.
    sessions : mapping of str to Runs
        What is asked, by precision.

    Returns
    -------
    dict
        ``raw_uv``, ``resampled_mv (2, n)`` and ``filtered_mv (2, m)`` at the model's rate, ``beat_at (MAX_BEATS,)``
        (see `ModelInput`, then -1), ``scale_mv``, ``input (6, beat)``, and for each precision under its name and a
        slash: ``fed (6, beat)`` as the model file takes it, ``logits``, ``mu``, ``logvar``,
        ``contributions (6, n_outputs)``, ``probability`` and ``outcome`` of each task.
    """
    record = Record(raw_uv.astype(np.float32) / np.float32(1000), FS_HZ, ("I", "II"), origin="simulated")
    resampled, _ = preprocess.resample(record.signal_mv.astype(np.float64), FS_HZ, spec.preprocess.resampler)
    conditioned = preprocess.condition(record, spec.preprocess)
    model_input = preprocess.cut(conditioned, spec.preprocess)
    stages: dict[str, NDArray[Any]] = {
        "raw_uv": raw_uv,
        "resampled_mv": resampled.astype(np.float32),
        "filtered_mv": conditioned.pair.astype(np.float32),
        "beat_at": _filled_up(model_input.beat_at),
        "scale_mv": np.array(model_input.scale, dtype=np.float32),
        "input": model_input.signal,
    }
    for precision, session in sessions.items():
        output = session.run(model_input.signal)
        said = {name: getattr(output, name) for name in OF_THE_MODEL} | _decided(spec, output)
        stages |= {f"{precision}/{name}": value for name, value in said.items()}
    return stages


def decided_by(spec: ModelSpec, known: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return known answers of the same model with the probabilities and outcomes of another calibration.

    Parameters
    ----------
    spec : ModelSpec
        A contract that differs in calibration and thresholds alone.
    known : mapping
        Golden vectors, stacked, as a bundle holds them.
    """
    changed = dict(known)
    for precision in _precisions(known):
        said = {name: known[f"{precision}/{name}"] for name in OF_THE_MODEL}
        rows = [Output(**dict(zip(said, row, strict=True))) for row in zip(*said.values(), strict=True)]
        decided = [_decided(spec, output) for output in rows]
        changed |= {f"{precision}/{name}": np.stack([one[name] for one in decided]) for name in decided[0]}
    return changed


def packed(known: Mapping[str, NDArray[Any]]) -> bytes:
    """Return known answers, stacked, as the file that a bundle holds."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **known)
    return buffer.getvalue()


def check(bundle: Bundle, session: Session) -> list[Check]:
    """Run a bundle's golden vectors again and compare every stage.

    Raises
    ------
    BundleError
        If the bundle states no tolerance for this runtime, or its golden vectors are not of this model.
    """
    precision = session.model.precision
    of_runtime = bundle.manifest.tolerance.get(precision, {}).get(session.runtime)
    if of_runtime is None:
        raise BundleError(f"The bundle states no tolerance for {precision} in {session.runtime}.")
    others = [f"{other}/" for other in _precisions(bundle.golden) if other != precision]
    known = {name: value for name, value in bundle.golden.items() if not name.startswith(tuple(others))}
    again = [answer(bundle.spec, raw, {precision: session}) for raw in known["raw_uv"]]
    if set(again[0]) != set(known):
        raise BundleError("The golden vectors do not hold the stages of this software.")
    stages = {name: np.stack([values[name] for values in again]) for name in known}
    allowed = {
        "resampled_mv": FILTER_TOLERANCE_MV,
        "filtered_mv": FILTER_TOLERANCE_MV,
        "beat_at": 0.0,
        "input": INPUT_TOLERANCE,
        # One step of the quantized input, where a rounding tie falls the other way.
        f"{precision}/fed": 1.0 if known[f"{precision}/fed"].dtype == np.int8 else INPUT_TOLERANCE,
        **{f"{precision}/{name}": of_runtime for name in ("logits", "mu", "contributions")},
    }
    if stages[f"{precision}/fed"].dtype != known[f"{precision}/fed"].dtype:
        # Some runtimes take floats and round them inside.
        del allowed[f"{precision}/fed"]
    outcome = f"{precision}/outcome"
    checks = [Check(name, _worst(stages[name], known[name]), bound) for name, bound in allowed.items()]
    return [*checks, Check(outcome, float(np.sum(stages[outcome] != known[outcome])), 0.0)]


def _decided(spec: ModelSpec, output: Output) -> dict[str, NDArray[Any]]:
    tasks = decision.decide(spec, output, decision.ordinary(spec))
    return {
        "probability": np.array([decision.probability(task, float(output.logits[task.output])) for task in spec.tasks]),
        "outcome": np.array([tasks[task.name].outcome for task in spec.tasks]),
    }


def _precisions(known: Mapping[str, NDArray[Any]]) -> set[str]:
    return {name.partition("/")[0] for name in known if "/" in name}


def _filled_up(beat_at: NDArray[np.intp]) -> NDArray[np.int16]:
    places = np.full(MAX_BEATS, -1, dtype=np.int16)
    places[: beat_at.size] = beat_at[:MAX_BEATS]
    return places


def _worst(values: NDArray[Any], known: NDArray[Any]) -> float:
    if values.shape != known.shape:
        raise BundleError("The golden vectors have other shapes than this software gives.")
    return float(np.max(np.abs(values.astype(np.float64) - known.astype(np.float64))))
