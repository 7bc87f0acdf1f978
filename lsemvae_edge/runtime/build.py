"""The shim that lets ExecuTorch run without torch: where it lies, and how it is compiled.

ExecuTorch's wheel carries its C++ libraries and headers, but its Python binding links torch, which takes seconds to
import. ``executorch_shim.cpp`` is a small C interface to the same libraries. It is compiled where it runs, against the
wheel that is installed there, because a C++ interface holds for one release alone; hence the release in its name.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from lsemvae_edge.errors import RuntimeUnavailableError, UsageError

VERSION = "1.5.1"
"""The release that is pinned and tested."""
INSTALL = f"pip install --no-deps executorch=={VERSION}"
BUILD = "lsemvae-edge runtime build executorch"
SOURCE = Path(__file__).parent / "executorch_shim.cpp"
LIBRARIES = ("executorch", "executorch_kernels_optimized", "executorch_kernels_quantized",
             "executorch_backend_xnnpack", "executorch_threadpool")  # fmt: skip
_DEFINITIONS = ("C10_USING_CUSTOM_GENERATED_MACROS", "ET_USE_THREADPOOL", "ET_EVENT_TRACER_ENABLED")
_LINES_SHOWN = 12


@dataclass(frozen=True)
class Wheel:
    """An installed, or merely unpacked, ExecuTorch wheel."""

    folder: Path
    version: str

    @property
    def libraries(self) -> Path:
        """Folder of its shared libraries."""
        return self.folder / "lib"


def wheel(site_packages: Path | None = None) -> Wheel | None:
    """Find ExecuTorch's wheel without importing it, which would import torch.

    Parameters
    ----------
    site_packages : Path, optional
        Where it is unpacked; by default it is looked for as an import would.

    Returns
    -------
    Wheel or None
        None if there is none that carries the C++ libraries.
    """
    if site_packages is None:
        spec = find_spec("executorch")
        folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    else:
        folders = [site_packages / "executorch"]
    for folder in folders:
        # Any folder of that name counts as a package to Python.
        if (folder / "lib" / f"lib{LIBRARIES[0]}.so").is_file():
            for found in metadata.distributions(name="executorch", path=[str(folder.parent)]):
                return Wheel(folder.resolve(), found.version)
    return None


def folder() -> Path:
    """Return where the shim of this environment lies."""
    return Path(sys.prefix) / "lib" / "lsemvae-edge"


def library() -> Path | None:
    """Return the shim that was built for the installed wheel, or None if either is absent."""
    found = wheel()
    if found is None:
        return None
    path = folder() / _file_name(found.version, sysconfig.get_platform())
    return path if path.is_file() else None


def build(site_packages: Path | None = None, out: Path | None = None, compiler: str | None = None) -> Path:
    """Compile the shim against an ExecuTorch wheel.

    Parameters
    ----------
    site_packages : Path, optional
        Folder that the wheel is unpacked in; by default the installed one is used.
    out : Path, optional
        Folder to put the shim in; by default `folder`, where the runtime looks for it.
    compiler : str, optional
        C++ compiler with any options of its own; by default the environment's ``CXX``, or ``g++``. A cross compiler
        makes the shim of its target, for which the wheel must be, too.

    Returns
    -------
    Path
        The shim.

    Raises
    ------
    RuntimeUnavailableError
        If there is no wheel, or the compiler fails; holds the last lines of what it said.
    UsageError
        If there is no compiler, or the folder cannot be written.
    """
    found = wheel(site_packages)
    if found is None:
        raise RuntimeUnavailableError(
            "There is no ExecuTorch wheel to build against.", f"Install it, then build again: {INSTALL}"
        )
    command = shlex.split(compiler or os.environ.get("CXX") or "g++")
    into = out or folder()
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{into} cannot be made: {error.strerror}.", "Name a folder to write to with --out."
        ) from error
    target = _run([*command, "-dumpmachine"]).strip()
    path = into.resolve() / _file_name(found.version, f"linux-{target.partition('-')[0]}")
    # Relative, so that an environment may be moved, or be put together on another machine.
    libraries = os.path.relpath(found.libraries, path.parent)
    unfinished = path.with_suffix(".unfinished")
    include = found.folder / "include"
    try:
        _run([
            *command, "-std=c++20", "-O2", "-fPIC", "-shared", "-fvisibility=hidden",
            *(f"-D{name}" for name in _DEFINITIONS),
            "-isystem", str(include), "-isystem", str(include / "executorch/runtime/core/portable_type/c10"),
            str(SOURCE), "-o", str(unfinished), f"-L{found.libraries}",
            # Kernels and delegates register themselves: no symbol of theirs is named.
            "-Wl,--no-as-needed", *(f"-l{name}" for name in LIBRARIES), f"-Wl,-rpath,$ORIGIN/{libraries}",
        ])  # fmt: skip
        unfinished.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", "Name a folder with --out.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _file_name(version: str, platform: str) -> str:
    return f"executorch-{version}-{platform}.so"


def _run(command: list[str]) -> str:
    try:
        # The compiler is the caller's choice; no shell reads the line.
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise UsageError(
            f"The C++ compiler {command[0]} does not start: {error.strerror}.",
            "Install one (sudo apt install g++), or name it in CXX.",
        ) from error
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_LINES_SHOWN:])
        raise RuntimeUnavailableError(
            f"{command[0]} failed with exit code {done.returncode}:\n{said}",
            f"The shim is written for executorch {VERSION} and needs a compiler of C++20 (tested: g++ 12) "
            "for the same processor as the wheel.",
        )
    return done.stdout
