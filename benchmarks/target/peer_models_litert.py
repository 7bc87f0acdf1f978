"""Peers in LiteRT: plain CNNs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from lsemvae_edge import preprocess
from lsemvae_edge.benchmarks.target.peer_models import Array, Run, beat_of, way, window_of
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.synthetic.heart import Heart, simulate


def plain_cnn(file: str, reads: str, recording: str | None = None) -> Run:
    """Hold a plain CNN's int8 file in LiteRT, with the kernels that ours is run with.

    Parameters
    ----------
    file, recording : str
    reads : {"window", "beat"}
    """
    said = open_cnn(Path(file).read_bytes())
    spec = preprocess.default_spec()
    taken = window_of if reads == "window" else beat_of

    def probability(signal: Array) -> float:
        return float(1 / (1 + np.exp(-said(signal)[0])))

    if recording is None:
        made = taken(simulate(Heart(), 10.0, 500.0, 0, LIMB_LEADS), spec)
        return lambda: probability(made)
    return way(recording, lambda record: taken(record, spec), probability)


def open_cnn(content: bytes) -> Callable[[Array], Array]:
    """Open a plain CNN's file, and return what maps leads (6, n_samples) to logits (n_outputs,)."""
    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

    def said(signal: Array) -> Array:
        interpreter.set_tensor(taken["index"], signal.reshape(taken["shape"]))
        interpreter.invoke()
        logits: Array = interpreter.get_tensor(given["index"])[0]
        return logits

    return said
