"""Every form of the model that can be exported, one file a target; a new target is a new file here.

A file of this package gives ``TARGETS``, a tuple of `Target`. Nothing here imports a training stack or an exporter
before a model is converted, so that the list can be read anywhere.
"""

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from lsemvae_edge.errors import ExitCode, LsemvaeError, MissingExtraError, UsageError
from lsemvae_edge.manifest import ModelFile, Precision, Quantization

if TYPE_CHECKING:
    from lsemvae_edge.model import Student
    from lsemvae_edge.runtime import Session

LABEL = "lsemvae_edge_spec"
"""Name under which every file carries its contract as JSON."""
INPUTS = ("signal", "mask")
OUTPUTS = ("logits", "mu", "logvar", "lead_mu", "lead_logvar", "contributions")
"""What every file takes and gives, in the order of the student's arguments and of `StudentOutput`."""


class QuantizationError(LsemvaeError):
    """A conversion failed or its result broke a gate; nothing was released."""

    code = ExitCode.BUNDLE_REFUSED
    default_next_step = "Nothing was written; the message names the gate that failed."


@dataclass(frozen=True)
class Job:
    """What a conversion starts from.

    Parameters
    ----------
    student : Student
    n_samples : int
        Length of the input; files take the signal (1, n_leads, 1, n_samples) and the mask (1, n_leads).
    quantization : Quantization or None
        Of an int8 form.
    label : str
        The contract as JSON, which the file carries under `LABEL`.
    """

    student: "Student"
    n_samples: int
    quantization: Quantization | None
    label: str


@dataclass(frozen=True)
class Anatomy:
    """What is inside a converted file.

    Parameters
    ----------
    operators : dict of str to int
        How often each operator occurs, inside a delegate too.
    delegates : int
        Subgraphs that were handed over whole when the file was made.
    outside : tuple of str
        Operators that run outside the delegate, in a format that has one.
    int8_layers, float_layers : int
        Weighted layers that read integers and have int8 weights, and all others.
    external : bool
        Whether constants lie outside the part that every reader reads.
    stated : dict
        Versions and the like that the file states: ``opset``, ``schema``.
    label : str or None
        The contract that it carries.
    """

    operators: dict[str, int]
    delegates: int
    outside: tuple[str, ...]
    int8_layers: int
    float_layers: int
    external: bool
    stated: dict[str, Any]
    label: str | None


def _not_there(*_: Any) -> Any:
    raise NotImplementedError


@dataclass(frozen=True)
class Target:
    """One form of the model: how it is made, what is inside, and what it needs.

    Parameters
    ----------
    format, precision : str
    runs_on : str
        What it is for, in a few words.
    make : callable, optional
        From a `Job` to the file's content.
    open : callable, optional
        From content and `ModelFile` to a `Session`.
    inspect : callable, optional
        From content to its `Anatomy`.
    packages : tuple of str
        Modules that must be importable.
    extra : str
        The extra of this package that installs them.
    allowed : frozenset of str
        Operators that the target's runtimes have.
    tensors : tuple of str
        Names of what the file takes and gives, in the order of `INPUTS` and `OUTPUTS`.
    not_supported : str, optional
        Why there is no such form; then nothing else is given.
    """

    format: Literal["tflite", "onnx", "pte", "c"]
    precision: Precision
    runs_on: str
    make: Callable[[Job], bytes] = _not_there
    open: Callable[[bytes, ModelFile], "Session"] = _not_there
    inspect: Callable[[bytes], Anatomy] = _not_there
    packages: tuple[str, ...] = ()
    extra: str = "export"
    allowed: frozenset[str] = field(default_factory=frozenset)
    tensors: tuple[str, ...] = (*INPUTS, *OUTPUTS)
    not_supported: str | None = None

    @property
    def name(self) -> str:
        """Format and precision, as in ``pte-int8``."""
        return f"{self.format}-{self.precision}"

    @property
    def file_name(self) -> str:
        """Name of the file in a bundle."""
        return f"model-{self.precision}.{self.format}"

    @property
    def in_bundle(self) -> bool:
        """Whether it is a file of a bundle; C is a folder of its own."""
        return self.format != "c"

    @property
    def model(self) -> ModelFile:
        """What a manifest says of the file."""
        assert self.format != "c", "not in_bundle"
        signal, mask, *outputs = self.tensors
        named = dict(zip(OUTPUTS, outputs, strict=True))
        return ModelFile(self.file_name, self.format, self.precision, input=signal, mask=mask, **named)

    @property
    def missing(self) -> tuple[str, ...]:
        """Modules that cannot be imported here."""
        return tuple(name for name in self.packages if find_spec(name) is None)

    @property
    def state(self) -> str:
        """What this machine can do about it, in words."""
        if self.not_supported:
            return f"not supported: {self.not_supported}"
        if self.missing:
            return f"needs pip install 'lsemvae-edge[{self.extra}]' ({', '.join(self.missing)} not found)"
        return "works here"


@lru_cache(maxsize=1)
def targets() -> tuple[Target, ...]:
    """Return every target, in the order of their files."""
    modules = [import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return tuple(target for module in modules for target in module.TARGETS)


def choose(formats: Sequence[str], precisions: Sequence[str]) -> tuple[Target, ...]:
    """Return the targets of some formats and precisions.

    Raises
    ------
    UsageError
        If a name is unknown, or a form is not supported; says why.
    MissingExtraError
        If something that a conversion needs is not installed.
    """
    known = targets()
    for asked, have, what in (
        (formats, {target.format for target in known}, "format"),
        (precisions, {target.precision for target in known}, "precision"),
    ):
        if unknown := sorted(set(asked) - have):
            raise UsageError(f"There is no {what} {', '.join(unknown)}.", f"Choose among {', '.join(sorted(have))}.")
    chosen = tuple(one for one in known if one.format in formats and one.precision in precisions)
    for target in chosen:
        if target.not_supported:
            raise UsageError(
                f"{target.name} is not supported: {target.not_supported}.", "Run `lsemvae-edge export --list`."
            )
        if target.missing:
            raise MissingExtraError(f"Export to {target.name}", target.extra)
    return chosen


def target_of(model: ModelFile) -> Target:
    """Return the target that makes files like this one."""
    return next(one for one in targets() if (one.format, one.precision) == (model.format, model.precision))
