"""Firmware folders and their libraries, made once for each process of the tests."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from lsemvae_edge import bundle as bundles
from lsemvae_edge.model import SIZES, Student
from lsemvae_edge.quantize import parity, scheme
from lsemvae_edge.quantize.firmware import generate
from lsemvae_edge.quantize.firmware.folder import lay_out
from lsemvae_edge.quantize.firmware.generate import Firmware
from lsemvae_edge.quantize.firmware.host import Library, compiler


@dataclass
class Made:
    """Gives what is asked for, and keeps it."""

    root: Path
    _made: dict[str, Firmware] = field(default_factory=dict)
    _libraries: dict[tuple[str, ...], Library] = field(default_factory=dict)

    def firmware(self, size: str) -> Firmware:
        """Return the shipped ``small``, or an untrained student of another size with the same contract."""
        if size not in self._made:
            self._made[size] = generate.from_bundle(bundles.default()) if size == "small" else _untrained(size)
        return self._made[size]

    def contents(self, size: str) -> dict[str, bytes]:
        """Return the files of a folder."""
        folder = self.folder(size)
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    def folder(self, size: str) -> Path:
        """Return a folder as it is exported, without the manifest."""
        place = self.root / size
        if not place.exists():
            lay_out(generate.contents(self.firmware(size)), place)
        return place

    def library(self, size: str, *flags: str, cc: str | None = None) -> Library:
        """Return the library of a folder, compiled for this machine."""
        key = (size, cc or "", *flags)
        if key not in self._libraries:
            into = self.root / f"library{len(self._libraries)}"
            into.mkdir()
            self._libraries[key] = Library(self.folder(size), into, cc=cc, flags=flags)
        return self._libraries[key]


@pytest.fixture(scope="session")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("firmware"))


@pytest.fixture(scope="session")
def cmake() -> str:
    """The environment's own CMake, or the system's; ExecuTorch's wheel needs 3.28."""
    for place in (Path(sys.executable).with_name("cmake"), shutil.which("cmake")):
        if place and Path(place).exists():
            said = subprocess.run([str(place), "--version"], capture_output=True, text=True, check=True).stdout
            if tuple(map(int, re.findall(r"\d+", said)[:2])) >= (3, 28):
                return str(place)
    pytest.skip("there is no CMake 3.28 (pip install cmake)")


@pytest.fixture
def numbers_of_c(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Gives what C expressions are worth, such as sizes and offsets that only a compiler knows."""

    def numbers(folder: Path, *expressions: str) -> list[int]:
        shown = "".join(f'    printf("%lld\\n", (long long)({one}));\n' for one in expressions)
        source, made = tmp_path / "numbers.c", tmp_path / "numbers"
        source.write_text(f'#include <stdio.h>\n#include "lsemvae_core.h"\nint main(void) {{\n{shown}}}\n')
        include = [f"-I{folder / name}" for name in ("include", "src")]
        subprocess.run([compiler(), *include, str(source), "-o", str(made)], check=True)
        done = subprocess.run([str(made)], check=True, capture_output=True, text=True)
        return [int(line) for line in done.stdout.split()]

    return numbers


def _untrained(size: str) -> Firmware:
    bundle = bundles.default()
    torch.manual_seed(0)
    config = SIZES[size]
    student = Student(config).eval()
    quantization = scheme.calibrate(student, parity.simulated(bundle.spec, 16).signals, 0)
    spec = _fitted(bundle.spec, config.latent_dim)
    return generate.from_student(student, quantization, spec, bundle.golden["raw_uv"], licence="", attribution="")


def _fitted(spec, latent_dim):  # type: ignore[no-untyped-def]
    """Return the contract with a latent space of another size, which nothing is far from."""
    from dataclasses import replace

    from lsemvae_edge.spec import LatentSpec

    whitening = tuple(tuple(row) for row in np.eye(latent_dim).tolist())
    return replace(spec, id=f"{spec.id}-untrained", latent=LatentSpec((0.0,) * latent_dim, whitening, 1000.0))
