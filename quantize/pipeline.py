"""From a data folder to a bundle: fit a student, quantize it, pack it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lsemvae_edge.bundle import Bundle
from lsemvae_edge.manifest import Quantization
from lsemvae_edge.model import Student
from lsemvae_edge.quantize import compare, gates, parity, qat, scheme, search
from lsemvae_edge.quantize.build import (
    FAMILY,
    Lessons,
    Quantized,
    Say,
    ask_torch,
    assemble,
    contract_of,
    load,
    model_inputs,
)
from lsemvae_edge.quantize.diagnose import Diagnosis, diagnose
from lsemvae_edge.quantize.equalize import equalized
from lsemvae_edge.quantize.gates import Bounds
from lsemvae_edge.quantize.reference import FloatStudent, QuantizedStudent
from lsemvae_edge.quantize.targets import QuantizationError
from lsemvae_edge.spec import ModelSpec
from lsemvae_edge.train import distill
from lsemvae_edge.train.config_distill import DistillConfig

Method = Literal["ptq", "qat", "auto"]
SPARED = 0.75
"""Part of the outcomes that a gate lets change which rounding itself may take; kernels take some, too."""


@dataclass(frozen=True)
class Recipe:
    """How a student is quantized.

    Parameters
    ----------
    method : {"auto", "ptq", "qat"}
        After training, by training on with the rounding, or by training on only if the first changes more outcomes
        than the gates allow.
    equalize : bool
        Equalise the channels' ranges first.
    float_layers : tuple of str, optional
        Layers to leave in floating point; by default the first convolutions, and those that a search finds until
        rounding changes no more outcomes than `SPARED` of what the gates allow.
    seed : int
        Of the calibration set and of further training.
    """

    method: Method = "auto"
    equalize: bool = True
    float_layers: tuple[str, ...] | None = None
    seed: int = 0


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
    return assemble(made, lessons, out, name=f"{FAMILY}-{config.student.size}", told=told, say=say)


def quantize(student: Student, lessons: Lessons, recipe: Recipe, say: Say) -> Quantized:
    """Quantize a student on training recordings.

    Parameters
    ----------
    student : Student
    lessons : Lessons
        Ranges and further training come from folds 1-8; outcomes are compared on fold 9 as well.
    recipe : Recipe
    say : callable

    Raises
    ------
    QuantizationError
        If the method is ``ptq`` and no layers in floating point are enough.
    """
    notes = []
    calibration = scheme.calibration_inputs(lessons.training, recipe.seed)
    if recipe.equalize:
        student = equalized(student, calibration)
        notes.append("The ranges of the encoders' channels were equalised.")
    quantization = scheme.calibrate(student, calibration, recipe.seed, recipe.float_layers)
    spec = provisional(student, lessons)
    asked = parity.everyday(np.concatenate([model_inputs(lessons.training), model_inputs(lessons.validation)]))
    exact = parity.said_by_torch(spec, FloatStudent(student), asked)

    def rounding(of: Quantization) -> parity.Agreement:
        return parity.agreement(parity.said_by_torch(spec, QuantizedStudent(student, of), asked), exact)

    def loss(of: Quantization) -> float:
        apart = rounding(of)
        return apart.flips if apart.flipped > gates.FEW else 0.0

    if recipe.float_layers is None and recipe.method != "qat":
        try:
            found = search.search(student, quantization, calibration, loss, SPARED * Bounds().flips)
        except QuantizationError as error:
            if recipe.method == "ptq":
                raise
            notes.append(error.message)
        else:
            quantization = found.quantization
            notes += found.reasons
    apart = rounding(quantization)
    notes.append(f"Rounding after training changes {apart.flipped} of {apart.n} outcomes ({apart.flips:.2%}).")
    if recipe.method == "qat" or (recipe.method == "auto" and apart.flips > Bounds().flips):
        say("Training on with rounding")
        student, quantization = qat.train(student, lessons.training, quantization, qat.QatConfig(seed=recipe.seed))
        notes.append("The student was trained on with its rounding.")
    for note in notes:
        say(note)
    return Quantized(student, quantization, tuple(notes))


def provisional(student: Student, lessons: Lessons) -> ModelSpec:
    """Return the contract that a student would have in floating point, by which outcomes are compared."""
    of_training, of_validation = ask_torch(student, lessons.training), ask_torch(student, lessons.validation)
    return contract_of("provisional", of_training, of_validation, lessons.validation)


def ways(student: Student, lessons: Lessons, seed: int) -> str:
    """Return a table of other ways of rounding a student; see `compare.compare`."""
    spec, allowed = provisional(student, lessons), SPARED * Bounds().flips
    return compare.table(list(compare.compare(student, spec, lessons.training, lessons.validation, allowed, seed)))


def examine(made: Quantized, lessons: Lessons) -> Diagnosis:
    """Diagnose a quantized student on fold 9."""
    return diagnose(made.student, made.quantization, model_inputs(lessons.validation))
