"""ONNX files through ONNX Runtime."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.bundle import ModelFile
from lsemvae_edge.errors import BundleError
from lsemvae_edge.runtime.session import Output


class OnnxSession:
    """An ONNX model on one thread of the CPU."""

    runtime = "onnxruntime"

    def __init__(self, session: Any, model: ModelFile) -> None:
        self.model = model
        self._session = session
        self._shape = tuple(session.get_inputs()[0].shape)

    def run(self, signal: NDArray[np.float32]) -> Output:
        """Run the model on one input (n_leads, n_samples)."""
        if signal.shape != (self._shape[1], self._shape[3]):
            raise BundleError(
                f"The model takes {self._shape[1]} leads of {self._shape[3]} samples, not {signal.shape}."
            )
        names = [self.model.logits, self.model.mu, self.model.logvar]
        fed = signal.astype(np.float32)
        try:
            logits, mu, logvar = self._session.run(names, {self.model.input: fed.reshape(self._shape)})
        except Exception as error:
            raise BundleError(f"{self.model.path} does not run in {self.runtime}: {error}") from error
        return Output(logits[0], mu[0], logvar[0], fed)


def open_model(content: bytes, model: ModelFile, package: str) -> OnnxSession:
    """Open an ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError(f"{model.path} does not load in {package}: {error}") from error
    declared = {value.name for value in (*session.get_inputs(), *session.get_outputs())}
    missing = {model.input, model.logits, model.mu, model.logvar} - declared
    if missing:
        raise BundleError(f"{model.path} has no tensor {sorted(missing)[0]} that its manifest names.")
    return OnnxSession(session, model)
