"""ONNX files through ONNX Runtime."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BundleError
from lsemvae_edge.manifest import ModelFile
from lsemvae_edge.runtime.session import Output, by_lead, check_tensors, checked_mask


class OnnxSession:
    """An ONNX model on one thread of the CPU."""

    runtime = "onnxruntime"

    def __init__(self, session: Any, model: ModelFile) -> None:
        self.model = model
        self._session = session
        shapes = {taken.name: tuple(taken.shape) for taken in session.get_inputs()}
        check_tensors(model, shapes, {given.name for given in session.get_outputs()})
        self._shape = shapes[model.input]

    def run(self, signal: NDArray[np.float32], mask: NDArray[np.float32] | None = None) -> Output:
        """Run the model on one input; see `Session.run`."""
        if signal.shape != (self._shape[1], self._shape[3]):
            raise BundleError(
                f"The model takes {self._shape[1]} leads of {self._shape[3]} samples, not {signal.shape}."
            )
        names = [self.model.logits, self.model.mu, self.model.logvar, self.model.contributions]
        fed = signal.astype(np.float32)
        taken = {
            self.model.input: fed.reshape(self._shape),
            self.model.mask: checked_mask(mask, self._shape[1])[None],
        }
        try:
            logits, mu, logvar, contributions = self._session.run(names, taken)
        except Exception as error:
            raise BundleError(f"{self.model.path} does not run in {self.runtime}: {error}") from error
        return Output(logits[0], mu[0], logvar[0], by_lead(contributions[0], self._shape[1], logits[0].size), fed)


def open_model(content: bytes, model: ModelFile, package: str, threads: int = 1) -> OnnxSession:
    """Open an ONNX file."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(content, session_options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError(f"{model.path} does not load in {package}: {error}") from error
    return OnnxSession(session, model)


def session_options(threads: int = 1) -> Any:
    """Return options of ONNX Runtime with which an int8 file computes what it says, on every processor.

    On x86-64 without VNNI the fused int8 kernels saturate sums at 16 bits, which moved logits by up to 0.27. ONNX
    Runtime's own remedy (``session.x64quantprecision``) does not load weights that several layers share (1.32). So
    nothing is fused: each layer computes in floating point between its roundings.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options
