"""TFLite files through LiteRT or tflite-runtime."""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.bundle import ModelFile
from lsemvae_edge.errors import BundleError
from lsemvae_edge.runtime.session import Output


class LiteRTSession:
    """A TFLite model on one thread, with the built-in kernels.

    The XNNPACK delegate is left off: it takes longer to prepare than this model takes to run, and the built-in
    kernels are the ones that golden vectors come from.
    """

    def __init__(self, interpreter: Any, model: ModelFile, runtime: str) -> None:
        self.runtime = runtime
        self.model = model
        self._interpreter = interpreter
        inputs = {detail["name"]: detail for detail in interpreter.get_input_details()}
        outputs = {detail["name"]: detail for detail in interpreter.get_output_details()}
        try:
            self._input = inputs[model.input]
            self._outputs = [outputs[name]["index"] for name in (model.logits, model.mu, model.logvar)]
        except KeyError as error:
            raise BundleError(f"{model.path} has no tensor {error.args[0]} that its manifest names.") from error

    def run(self, signal: NDArray[np.float32]) -> Output:
        """Run the model on one input (n_leads, n_samples)."""
        shape = tuple(self._input["shape"])
        if signal.shape != (shape[1], shape[3]):
            raise BundleError(f"The model takes {shape[1]} leads of {shape[3]} samples, not {signal.shape}.")
        fed = self._quantize(signal)
        try:
            self._interpreter.set_tensor(self._input["index"], fed.reshape(shape))
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{self.model.path} does not run in {self.runtime}: {error}") from error
        logits, mu, logvar = (self._interpreter.get_tensor(index)[0] for index in self._outputs)
        return Output(logits, mu, logvar, fed)

    def _quantize(self, signal: NDArray[np.float32]) -> NDArray[Any]:
        """Turn a float input into the model's input type (round half to even, saturate)."""
        dtype = self._input["dtype"]
        if dtype == np.float32:
            return signal.astype(np.float32)
        scale, zero_point = self._input["quantization"]
        limits = np.iinfo(dtype)
        steps: NDArray[Any] = np.clip(np.rint(signal / np.float32(scale)) + zero_point, limits.min, limits.max)
        return steps.astype(dtype)


def open_model(content: bytes, model: ModelFile, package: str, reference_kernels: bool = False) -> LiteRTSession:
    """Open a TFLite file with the given package's interpreter.

    Parameters
    ----------
    reference_kernels : bool
        Use the plain reference kernels, which golden vectors are made with.
    """
    interpreter = import_module(f"{package}.interpreter")
    kinds = interpreter.OpResolverType
    resolver = kinds.BUILTIN_REF if reference_kernels else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        opened = interpreter.Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=resolver)
        opened.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{model.path} does not load in {package}: {error}") from error
    return LiteRTSession(opened, model, "litert" if package == "ai_edge_litert" else "tflite-runtime")
