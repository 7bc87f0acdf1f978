"""Float weights as safetensors, from which every other format can be made."""

import json
from dataclasses import asdict

from safetensors import SafetensorError
from safetensors.torch import load, save

from lsemvae_edge import strict_json
from lsemvae_edge.errors import BundleError
from lsemvae_edge.model import Student, StudentConfig, channels_last
from lsemvae_edge.spec import from_dict

WEIGHTS = "weights.safetensors"
CONFIG = "student.json"


def dump(student: Student) -> dict[str, bytes]:
    """Return the files that hold a student: its weights and its configuration."""
    state = {name: value.contiguous() for name, value in student.state_dict().items()}
    return {WEIGHTS: save(state), CONFIG: (json.dumps(asdict(student.config)) + "\n").encode()}


def restore(weights: bytes, config: bytes) -> Student:
    """Rebuild a student in evaluation mode.

    Raises
    ------
    BundleError
        If the files do not belong together.
    """
    try:
        student = Student(from_dict(StudentConfig, strict_json.parse(config, CONFIG), CONFIG))
        student.load_state_dict(load(weights))
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise BundleError(f"{WEIGHTS} does not fit {CONFIG}.") from error
    return channels_last(student).eval()
