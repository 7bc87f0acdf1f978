"""TFLite files through LiteRT or tflite-runtime."""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BundleError
from lsemvae_edge.manifest import ModelFile
from lsemvae_edge.runtime.session import Output, by_lead, check_tensors, checked_mask


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
        check_tensors(model, inputs, outputs)
        self._input, self._mask = inputs[model.input], inputs[model.mask]
        read = (model.logits, model.mu, model.logvar, model.contributions)
        self._outputs = [outputs[name]["index"] for name in read]

    def run(self, signal: NDArray[np.float32], mask: NDArray[np.float32] | None = None) -> Output:
        """Run the model on one input; see `Session.run`."""
        shape = tuple(self._input["shape"])
        if signal.shape != (shape[1], shape[3]):
            raise BundleError(f"The model takes {shape[1]} leads of {shape[3]} samples, not {signal.shape}.")
        fed = _quantized(signal, self._input)
        present = _quantized(checked_mask(mask, shape[1]), self._mask)
        try:
            self._interpreter.set_tensor(self._input["index"], fed.reshape(shape))
            self._interpreter.set_tensor(self._mask["index"], present[None])
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{self.model.path} does not run in {self.runtime}: {error}") from error
        logits, mu, logvar, contributions = (self._interpreter.get_tensor(index)[0] for index in self._outputs)
        return Output(logits, mu, logvar, by_lead(contributions, shape[1], logits.size), fed)


def open_model(
    content: bytes, model: ModelFile, package: str, threads: int = 1, *, reference_kernels: bool = False
) -> LiteRTSession:
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
        opened = interpreter.Interpreter(
            model_content=content, num_threads=threads, experimental_op_resolver_type=resolver
        )
        opened.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{model.path} does not load in {package}: {error}") from error
    return LiteRTSession(opened, model, "litert" if package == "ai_edge_litert" else "tflite-runtime")


def _quantized(values: NDArray[np.float32], tensor: dict[str, Any]) -> NDArray[Any]:
    """Turn floats into a tensor's type (round half to even, saturate)."""
    dtype = tensor["dtype"]
    if dtype == np.float32:
        return values.astype(np.float32)
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(dtype)
    steps: NDArray[Any] = np.clip(np.rint(values / np.float32(scale)) + zero_point, limits.min, limits.max)
    return steps.astype(dtype)
