"""From a data folder to a bundle: fit a student, quantize it, pack it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lsemvae_edge.bundle import Bundle
from lsemvae_edge.manifest import Quantization
from lsemvae_edge.model import Student
from lsemvae_edge.quantize import parity, qat, scheme, search
from lsemvae_edge.quantize.build import FAMILY, Lessons, Say, ask_torch, assemble, contract_of, load, model_inputs
from lsemvae_edge.quantize.diagnose import Diagnosis, diagnose
from lsemvae_edge.quantize.equalize import equalized
from lsemvae_edge.quantize.gates import Bounds
from lsemvae_edge.quantize.reference import FloatStudent, QuantizedStudent
from lsemvae_edge.quantize.targets import Target
from lsemvae_edge.spec import ModelSpec
from lsemvae_edge.train import distill
from lsemvae_edge.train.config_distill import DistillConfig

Method = Literal["ptq", "qat", "auto"]


@dataclass(frozen=True)
class Recipe:
    """How a student is quantized.

    ``method`` ``auto`` trains on only if rounding after training changes more outcomes than the gates allow;
    ``float_layers`` None leaves the first convolutions in floating point, ``search`` looks for more.
    """

    method: Method = "auto"
    equalize: bool = False
    float_layers: tuple[str, ...] | None = None
    search: bool = False
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Quantized:
    """A student and the rounding that it was fitted to; ``notes`` say what was done and why."""

    student: Student
    quantization: Quantization
    notes: tuple[str, ...]


def build(folder: Path, out: Path, config: DistillConfig, say: Say) -> Bundle:
    """Train teachers and student, quantize and pack a bundle.

    Parameters
    ----------
    folder : Path
        Data folder, see `lsemvae_edge.train.datasets.entries`.
    out : Path
        New folder of the bundle.
    config : DistillConfig
    say : callable
        Told what is going on.
    """
    begun = time.process_time()
    lessons = load(folder, say)
    student = distill.distill(lessons.training, config, say=say)
    made = quantize(student, lessons, Recipe(seed=config.student.seed), say)
    told = {
        "command": f"lsemvae-edge train bundle --size {config.student.size}",
        "distill": config.model_dump(mode="json"),
        "processor_seconds": round(time.process_time() - begun),
    }
    return pack(made, lessons, out, name=f"{FAMILY}-{config.student.size}", told=told, say=say)


def quantize(student: Student, lessons: Lessons, recipe: Recipe, say: Say) -> Quantized:
    """Quantize a student on training recordings.

    Parameters
    ----------
    student : Student
    lessons : Lessons
        Ranges and further training come from folds 1-8, whether a gate would fail is asked on fold 9 and on the
        calibration set.
    recipe : Recipe
    say : callable
    """
    notes = []
    if recipe.equalize:
        student = equalized(student)
        notes.append("The ranges of the encoders' channels were equalised.")
    calibration = scheme.calibration_inputs(lessons.training, recipe.seed)
    quantization = scheme.calibrate(student, calibration, recipe.seed, recipe.float_layers)
    spec = contract_of(
        "provisional", ask_torch(student, lessons.training), ask_torch(student, lessons.validation), lessons.validation
    )
    asked = parity.everyday(np.concatenate([calibration, model_inputs(lessons.validation)]))

    def flips(of: Quantization) -> float:
        return changed(student, of, spec, asked)

    if recipe.search:
        found = search.search(student, quantization, calibration, flips, Bounds().flips)
        quantization = found.quantization
        notes += found.reasons
    share = flips(quantization)
    notes.append(f"Rounding after training changes {share:.2%} of {len(asked)} outcomes.")
    say(notes[-1])
    if recipe.method == "qat" or (recipe.method == "auto" and share > Bounds().flips):
        say("Training on with rounding")
        student, quantization = qat.train(student, lessons.training, quantization, qat.QatConfig(seed=recipe.seed))
        notes.append("The student was trained on with its rounding.")
    return Quantized(student, quantization, tuple(notes))


def changed(student: Student, quantization: Quantization, spec: ModelSpec, asked: parity.Asked) -> float:
    """Return the share of outcomes that rounding changes."""
    exact = parity.said_by_torch(spec, FloatStudent(student), asked)
    return parity.agreement(parity.said_by_torch(spec, QuantizedStudent(student, quantization), asked), exact).flips


def examine(made: Quantized, lessons: Lessons) -> Diagnosis:
    """Diagnose a quantized student on fold 9."""
    return diagnose(made.student, made.quantization, model_inputs(lessons.validation))


def pack(
    made: Quantized,
    lessons: Lessons,
    out: Path,
    *,
    name: str,
    told: Mapping[str, Any],
    say: Say,
    version: int = 1,
    targets: Sequence[Target] | None = None,
) -> Bundle:
    """Pack a quantized student into a bundle; see `assemble`."""
    return assemble(
        made.student,
        lessons,
        out,
        made.quantization,
        name=name,
        told={**told, "quantization": list(made.notes)},
        say=say,
        version=version,
        targets=targets,
    )
