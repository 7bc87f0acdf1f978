"""Making forms of a model and proving them against each other, before anything is released."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lsemvae_edge.errors import BundleError
from lsemvae_edge.manifest import ModelFile, Precision, Quantization
from lsemvae_edge.model import Student
from lsemvae_edge.quantize import gates, parity
from lsemvae_edge.quantize.gates import Bounds
from lsemvae_edge.quantize.parity import Asked, Said
from lsemvae_edge.quantize.reference import FloatStudent, QuantizedStudent
from lsemvae_edge.quantize.scheme import layer_names
from lsemvae_edge.quantize.targets import Job, Target
from lsemvae_edge.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class Forms:
    """Converted files of one student, by target; each is inside what it is called."""

    content: Mapping[Target, bytes]

    @property
    def files(self) -> dict[str, bytes]:
        """Content by file name."""
        return {target.file_name: content for target, content in self.content.items()}

    @property
    def models(self) -> tuple[ModelFile, ...]:
        """What a manifest says of the files."""
        return tuple(target.model for target in self.content)


def convert(student: Student, spec: ModelSpec, quantization: Quantization | None, targets: Sequence[Target]) -> Forms:
    """Convert a student to some targets, and look inside each file.

    Parameters
    ----------
    student : Student
    spec : ModelSpec
        What every file carries as its label.
    quantization : Quantization or None
        Of int8 forms.
    targets : sequence of Target

    Raises
    ------
    BundleError
        If an int8 form is asked for without a quantization.
    QuantizationError
        If a file is not inside what it is called.
    """
    label = gates.label_of(spec)
    content = {}
    for target in targets:
        if target.precision == "int8" and quantization is None:
            raise BundleError(
                "The bundle does not say how its activations are rounded, so no int8 form can be made from it.",
                "Make one with `lsemvae-edge quantize`, or export --precision fp32.",
            )
        steps = quantization if target.precision == "int8" else None
        content[target] = target.make(Job(student, spec.preprocess.beat.n_samples, steps, label))
        rounded = 0 if steps is None else _weighted_layers(student) - len(_weighted(steps.float_layers))
        gates.check_inside(target, target.inspect(content[target]), rounded, label)
    return Forms(content)


def exact(student: Student, spec: ModelSpec, quantization: Quantization | None, asked: Asked) -> dict[Precision, Said]:
    """Return what torch says: in floating point, and with the rounding written out if there is a quantization."""
    said: dict[Precision, Said] = {"fp32": parity.said_by_torch(spec, FloatStudent(student), asked)}
    if quantization is not None:
        said["int8"] = parity.said_by_torch(spec, QuantizedStudent(student, quantization), asked)
    return said


def prove(
    forms: Forms,
    student: Student,
    spec: ModelSpec,
    quantization: Quantization | None,
    everyday: Asked,
    bounds: Bounds | None = None,
) -> dict[str, Any]:
    """Run every form and compare; see `gates.check_answers`.

    Parameters
    ----------
    forms : Forms
    student, spec, quantization
        What they were made from.
    everyday : Asked
        Recordings as they come. A part of them under other masks, and extreme inputs, are asked beside them.
    bounds : Bounds, optional

    Returns
    -------
    dict
        Agreement on ``recordings``, on the same ``masked``, and on ``extreme`` inputs.

    Raises
    ------
    QuantizationError
        Names the form and the bound that it misses.
    """
    bounds = bounds or Bounds()
    precision_of: dict[str, Precision] = {target.file_name: target.precision for target in forms.content}
    sessions = {target.file_name: target.open(content, target.model) for target, content in forms.content.items()}
    found = {}
    for name, asked, limits in (
        ("recordings", everyday, bounds),
        ("masked", parity.masked(everyday, parity.HEARTS), bounds.unlike()),
        ("extreme", parity.extreme(spec), bounds.unlike()),
    ):
        said = {form: parity.said_by_session(spec, session, asked) for form, session in sessions.items()}
        found[name] = gates.check_answers(said, exact(student, spec, quantization, asked), precision_of, limits)
    return found


def _weighted_layers(student: Student) -> int:
    return len(_weighted(tuple(layer_names(student))))


def _weighted(layers: Sequence[str]) -> list[str]:
    return [layer for layer in layers if not layer.endswith(".pool")]
