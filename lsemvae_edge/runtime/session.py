"""Choice of a runtime: by what is installed and by what the bundle holds."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.bundle import Bundle, ModelFile
from lsemvae_edge.errors import BundleError, RuntimeUnavailableError, UsageError


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
    """One runtime: the package that must be importable, the format it runs, our adapter, the extra that installs it."""

    name: str
    package: str
    format: str
    adapter: str
    extra: str | None

    @property
    def installed(self) -> bool:
        """Whether the runtime's package can be imported."""
        return find_spec(self.package) is not None

    def open(self, content: bytes, model: ModelFile) -> Session:
        """Load a model file."""
        module = import_module(f"lsemvae_edge.runtime.{self.adapter}")
        opener: Callable[[bytes, ModelFile, str], Session] = module.open_model
        return opener(content, model, self.package)


ENGINES = (
    Engine("litert", "ai_edge_litert", "tflite", "litert", None),
    Engine("tflite-runtime", "tflite_runtime", "tflite", "litert", None),
    Engine("onnxruntime", "onnxruntime", "onnx", "onnx", "onnx"),
)
"""In order of preference: LiteRT starts quickest and is smallest."""


def available() -> tuple[Engine, ...]:
    """Return the installed runtimes, preferred first."""
    return tuple(engine for engine in ENGINES if engine.installed)


def open_session(bundle: Bundle, runtime: str | None = None) -> Session:
    """Open the bundle's model in a runtime.

    Parameters
    ----------
    bundle : Bundle
    runtime : str, optional
        A name in `ENGINES`; by default the first installed one that can run a file of the bundle, int8 before fp32.

    Raises
    ------
    UsageError
        If the named runtime is unknown.
    RuntimeUnavailableError
        If no installed runtime fits; says what to install.
    """
    known = {engine.name: engine for engine in ENGINES}
    if runtime is not None and runtime not in known:
        raise UsageError(f"Unknown runtime {runtime!r}.", f"Choose one of {', '.join(known)}.")
    wanted = ENGINES if runtime is None else (known[runtime],)
    for engine in wanted:
        for model in sorted(bundle.manifest.models, key=lambda model: model.precision != "int8"):
            if engine.installed and model.format == engine.format:
                return engine.open(bundle.read(model.path), model)
    held = {model.format for model in bundle.manifest.models}
    fitting = [engine for engine in wanted if engine.format in held]
    if not fitting:
        raise RuntimeUnavailableError(
            f"The bundle holds {', '.join(sorted(held))}; {wanted[0].name} runs {wanted[0].format}.",
            f"Make a bundle that has it: lsemvae-edge export --format {wanted[0].format} --out NEW",
        )
    package = f"lsemvae-edge[{fitting[0].extra}]" if fitting[0].extra else fitting[0].package.replace("_", "-")
    raise RuntimeUnavailableError(
        f"None of {', '.join(engine.name for engine in fitting)} is installed, which run the bundle's model.",
        f"Install one: pip install '{package}'",
    )
