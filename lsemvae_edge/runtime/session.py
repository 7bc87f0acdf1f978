"""Choice of a runtime: by what is installed and by what the bundle holds."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import BundleError, RuntimeUnavailableError, UsageError
from lsemvae_edge.manifest import Format, ModelFile
from lsemvae_edge.runtime import build


@dataclass(frozen=True, eq=False)
class Output:
    """What one run of the model gives.

    Parameters
    ----------
    logits : array (n_outputs,)
    mu, logvar : array (latent_dim,)
        The fused posterior.
    contributions : array (n_leads, n_outputs)
        What each lead adds to each logit; of an absent lead, zero.
    fed : array (n_leads, n_samples)
        The input as the model file took it, quantized if it takes integers.
    """

    logits: NDArray[np.float32]
    mu: NDArray[np.float32]
    logvar: NDArray[np.float32]
    contributions: NDArray[np.float32]
    fed: NDArray[Any]


class Session(Protocol):
    """A loaded model, ready to run."""

    runtime: str
    model: ModelFile

    def run(self, signal: NDArray[np.float32], mask: NDArray[np.float32] | None = None) -> Output:
        """Run the model on one input.

        Parameters
        ----------
        signal : array (n_leads, n_samples)
            Rows of absent leads are zero.
        mask : array (n_leads,), optional
            1 for a lead that is present, 0 for one that is not; by default all are.

        Raises
        ------
        BundleError
            If the model takes another shape, or does not run.
        """
        ...


def check_tensors(model: ModelFile, inputs: Collection[str], outputs: Collection[str]) -> None:
    """Compare the names of a file's tensors with those that its manifest gives.

    Raises
    ------
    BundleError
        If the file lacks one.
    """
    given = {model.logits, model.mu, model.logvar, model.lead_mu, model.lead_logvar, model.contributions}
    missing = ({model.input, model.mask} - set(inputs)) | (given - set(outputs))
    if missing:
        raise BundleError(f"{model.path} has no tensor {min(missing)} that its manifest names.")


def checked_mask(mask: NDArray[np.float32] | None, n_leads: int) -> NDArray[np.float32]:
    """Return the mask (n_leads,) that a model is fed, by default of all leads.

    Raises
    ------
    BundleError
        If its shape is not the model's.
    """
    if mask is None:
        return np.ones(n_leads, dtype=np.float32)
    if mask.shape != (n_leads,):
        raise BundleError(f"The model takes a mask of {n_leads} leads, not {mask.shape}.")
    return mask.astype(np.float32)


def by_lead(contributions: NDArray[np.float32], n_leads: int, n_outputs: int) -> NDArray[np.float32]:
    """Return contributions (n_leads, n_outputs) of a flat tensor that holds them lead by lead.

    Raises
    ------
    BundleError
        If the tensor has another size.
    """
    if contributions.size != n_leads * n_outputs:
        raise BundleError(
            f"The model gives {contributions.size} contributions, not one of {n_leads} leads to {n_outputs} logits."
        )
    return contributions.reshape(n_leads, n_outputs)


@dataclass(frozen=True)
class Engine:
    """One runtime: the package that must be importable, the format it runs, our adapter, how to install it.

    ``ready`` says whether the rest that it needs is there, where a package alone is not enough.
    """

    name: str
    package: str
    format: Format
    adapter: str
    install: str
    ready: Callable[[], bool] = lambda: True

    @property
    def installed(self) -> bool:
        """Whether the runtime's package can be imported, and what else it needs is there."""
        return find_spec(self.package) is not None and self.ready()

    def open(self, content: bytes, model: ModelFile, threads: int = 1) -> Session:
        """Load a model file, to be run by so many threads."""
        module = import_module(f"lsemvae_edge.runtime.{self.adapter}")
        opener: Callable[[bytes, ModelFile, str, int], Session] = module.open_model
        return opener(content, model, self.package, threads)


ENGINES = (
    Engine("litert", "ai_edge_litert", "tflite", "litert", "pip install 'ai-edge-litert'"),
    Engine("tflite-runtime", "tflite_runtime", "tflite", "litert", "pip install 'tflite-runtime'"),
    Engine("onnxruntime", "onnxruntime", "onnx", "onnx", "pip install 'lsemvae-edge[onnx]'"),
    Engine(
        "executorch", "executorch", "pte", "executorch", f"{build.INSTALL} && {build.BUILD}",
        lambda: build.library() is not None,
    ),
)  # fmt: skip
"""In order of preference: LiteRT starts quickest and is smallest."""


def available() -> tuple[Engine, ...]:
    """Return the installed runtimes, preferred first."""
    return tuple(engine for engine in ENGINES if engine.installed)


def open_session(bundle: Bundle, runtime: str | None = None, model: ModelFile | None = None) -> Session:
    """Open the bundle's model in a runtime.

    Parameters
    ----------
    bundle : Bundle
    runtime : str, optional
        A name in `ENGINES`; by default the first installed one that can run a file of the bundle, int8 before fp32.
    model : ModelFile, optional
        The file of the bundle to open; by default the runtime chooses.

    Raises
    ------
    UsageError
        If the named runtime is unknown.
    RuntimeUnavailableError
        If no installed runtime fits; says what to install.
    BundleError
        If the file is damaged, or is not what its manifest says.
    """
    known = {engine.name: engine for engine in ENGINES}
    if runtime is not None and runtime not in known:
        raise UsageError(f"Unknown runtime {runtime!r}.", f"Choose one of {', '.join(known)}.")
    wanted = ENGINES if runtime is None else (known[runtime],)
    offered = bundle.manifest.models if model is None else (model,)
    for engine in wanted:
        for file in sorted(offered, key=lambda file: file.precision != "int8"):
            if file.format == engine.format and engine.installed:
                return engine.open(bundle.read(file.path), file)
    held = {file.format for file in offered}
    fitting = [engine for engine in wanted if engine.format in held]
    if not fitting:
        raise RuntimeUnavailableError(
            f"{'The bundle' if model is None else model.path} holds {', '.join(sorted(held))}; "
            f"{wanted[0].name} runs {wanted[0].format}.",
            f"Make a bundle that has it: lsemvae-edge export --format {wanted[0].format} --out NEW",
        )
    raise RuntimeUnavailableError(
        f"None of {', '.join(engine.name for engine in fitting)} is installed, which run the bundle's model.",
        f"Install one: {fitting[0].install}",
    )
