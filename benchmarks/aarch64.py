"""The model files of a bundle on emulated 64-bit ARM processors, compared number by number with this machine.

A private root is put together from Debian's arm64 packages and from aarch64 wheels; nothing of the system is changed.
Emulation tells whether the software loads and computes the same, never how quick it is, nor that a real processor
executes every instruction as qemu does.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lsemvae_edge
from lsemvae_edge import decision, preprocess, runtime
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import UsageError
from lsemvae_edge.golden import OF_THE_MODEL
from lsemvae_edge.manifest import ModelFile
from lsemvae_edge.runtime import Engine, Output, build, versions
from lsemvae_edge.spec import ModelSpec
from lsemvae_edge.synthetic.heart import drawn, simulate

# The processors of a Raspberry Pi Zero 2 W or 3, a Pi 4 and a Pi 5. A processor is always named: qemu's own default,
# with vectors of variable length, gave wrong integers.
CPUS = ("cortex-a53", "cortex-a72", "cortex-a76")
N_HEARTS = 64

_QEMU = "qemu-aarch64-static"
_COMPILER = "aarch64-linux-gnu-g++"
_TOOLS = {
    _QEMU: "qemu-user-static",
    _COMPILER: "g++-aarch64-linux-gnu",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
}
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6")
_WHEELS_FOR = (
    "--python-version=3.11", "--implementation=cp", "--only-binary=:all:",
    *(f"--platform={tag}_aarch64" for tag in ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")),
)  # fmt: skip
_TIMEOUT_S = 900.0
_SOURCES = f"""Types: deb
URIs: http://deb.debian.org/debian
Suites: bookworm
Components: main
Architectures: arm64
Signed-By: {_KEYRING}
"""
_CHILD = """
import sys
import numpy as np
from lsemvae_edge import bundle, runtime
name, path, file, inputs, out = sys.argv[1:]
found = bundle.load(path)
model = next(model for model in found.manifest.models if model.path == file)
session = runtime.open_session(found, name, model)
outputs = [session.run(signal) for signal in np.load(inputs)]
np.savez(out, **{key: np.stack([getattr(one, key) for one in outputs]) for key in OUTPUTS})
"""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """One model file in one runtime on one emulated processor, beside the same on this machine.

    Parameters
    ----------
    state : str
        ``ran``, or what happened instead.
    worst_logit : float or None
        Largest difference of a logit.
    allowed : float or None
        What the bundle tolerates of this runtime from its known answers.
    bit_equal : bool or None
        Whether every output is the same, bit by bit.
    outcomes_differ : int or None
        Inputs whose outcome of any task is another.
    """

    cpu: str
    runtime: str
    version: str
    version_here: str
    file: str
    precision: str
    state: str
    inputs: int
    worst_logit: float | None = None
    allowed: float | None = None
    bit_equal: bool | None = None
    outcomes_differ: int | None = None

    @property
    def passed(self) -> bool:
        """Whether it ran, within the bundle's tolerance and with the same outcomes."""
        if self.worst_logit is None or self.allowed is None:
            return False
        return self.worst_logit <= self.allowed and self.outcomes_differ == 0


def compare(bundle: Bundle, work: Path, cpus: Sequence[str], releases: Mapping[str, str], say: Say) -> list[Comparison]:
    """Run every model file of a bundle here and on emulated processors.

    Parameters
    ----------
    bundle : Bundle
    work : Path
        Folder of the private root; kept, so that a second run downloads nothing.
    cpus : sequence of str
        Processors as qemu names them.
    releases : mapping
        Releases of runtimes to use instead of the tested ones, by distribution.
    say : callable
        Told of progress.

    Raises
    ------
    UsageError
        If a tool or the network is missing; the message begins with ``Skipped``.
    """
    _require_tools()
    root, site = prepare(work, releases, say)
    inputs = work / "inputs.npy"
    signals = model_inputs(bundle)
    np.save(inputs, signals)
    rows = []
    for engine, model in _pairs(bundle):
        version, here = _release(site, engine), versions.installed(versions.RUNTIMES[engine.name]).version
        if not engine.installed or version is None:
            missing = "there" if engine.installed else "here"
            say(f"{model.path}: {engine.name} is left out; it is not installed {missing}")
            continue
        arguments = [engine.name, str(bundle.path.resolve()), model.path, str(inputs)]
        expected, state = _run([sys.executable], arguments, work / "here.npz", {})
        if expected is None:
            raise UsageError(f"{model.path} does not run here in {engine.name}: {state}.", "Run `lsemvae-edge doctor`.")
        for cpu in cpus:
            say(f"{model.path} in {engine.name} {version} on {cpu}")
            command = [_QEMU, "-cpu", cpu, "-L", str(root), str(root / "usr/bin/python3.11")]
            found, state = _run(command, arguments, work / "there.npz", _environment(work, site))
            row = Comparison(cpu, engine.name, version, str(here), model.path, model.precision, state, len(signals))
            rows.append(row if found is None else _compared(row, bundle, expected, found))
    return rows


def model_inputs(bundle: Bundle) -> NDArray[np.float32]:
    """Return the bundle's golden inputs and those of simulated hearts of every kind (n, n_leads, n_samples)."""
    rng = np.random.default_rng(0)
    signals = list(bundle.golden["input"])
    for seed in range(N_HEARTS):
        record = simulate(drawn(rng), 10.0, 500.0, seed, ("I", "II"))
        signals.append(preprocess.apply(record, bundle.spec.preprocess).signal)
    return np.stack(signals).astype(np.float32)


def prepare(work: Path, releases: Mapping[str, str], say: Say) -> tuple[Path, Path]:
    """Put the private root together, or find it there from an earlier run.

    Returns
    -------
    root : Path
        Debian's files, with the interpreter at ``usr/bin/python3.11`` and our shim.
    site : Path
        The wheels, unpacked.
    """
    work.mkdir(parents=True, exist_ok=True)
    work = work.resolve()
    root = work / "root"
    if not (root / ".complete").exists():
        say("downloading Debian's arm64 packages")
        _unpack_packages(work, root)
    wanted = {**versions.TESTED["aarch64"]}
    chosen = {name: releases.get(name, known[-1]) for name, known in wanted.items()}
    site = work / f"site-{sha256(json.dumps([chosen, _requirements(chosen)]).encode()).hexdigest()[:12]}"
    if not (site / ".complete").exists():
        say("downloading wheels: " + ", ".join(f"{name} {version}" for name, version in chosen.items()))
        _unpack_wheels(work, site, chosen)
    # Always the code that is being measured.
    package = work / "package" / "lsemvae_edge"
    shutil.rmtree(package, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(lsemvae_edge.__file__).parent, package, ignore=ignored)
    say("cross-compiling the shim of ExecuTorch")
    build.build(site, root / "usr/lib/lsemvae-edge", _COMPILER)
    return root, site


def table(rows: Sequence[Comparison]) -> str:
    """Print comparisons as Markdown."""
    lines = [
        "| processor | runtime (there / here) | file | inputs | worst logit | allowed | bit-equal | other outcomes |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        what = f"| {row.cpu} | {row.runtime} {row.version} / {row.version_here} | {row.file} ({row.precision}) |"
        if row.worst_logit is None:
            lines.append(f"{what} {row.inputs} | {row.state} | | | |")
        else:
            allowed = "not stated" if row.allowed is None else f"{row.allowed:g}"
            equal = "yes" if row.bit_equal else "no"
            lines.append(f"{what} {row.inputs} | {row.worst_logit:.2g} | {allowed} | {equal} | {row.outcomes_differ} |")
    return "\n".join(lines)


def _pairs(bundle: Bundle) -> list[tuple[Engine, ModelFile]]:
    # tflite-runtime needs an environment of its own.
    engines = [engine for engine in runtime.ENGINES if engine.name != "tflite-runtime"]
    return [(engine, model) for engine in engines for model in bundle.manifest.models if model.format == engine.format]


def _compared(
    row: Comparison, bundle: Bundle, expected: dict[str, NDArray[Any]], found: dict[str, NDArray[Any]]
) -> Comparison:
    outcomes = [_outcomes(bundle.spec, outputs) for outputs in (expected, found)]
    return Comparison(
        **{name: getattr(row, name) for name in
           ("cpu", "runtime", "version", "version_here", "file", "precision", "state", "inputs")},
        worst_logit=float(np.max(np.abs(found["logits"].astype(np.float64) - expected["logits"]))),
        allowed=bundle.manifest.tolerance.get(row.precision, {}).get(row.runtime),
        bit_equal=all(found[name].tobytes() == expected[name].tobytes() for name in OF_THE_MODEL),
        outcomes_differ=sum(here != there for here, there in zip(*outcomes, strict=True)),
    )  # fmt: skip


def _outcomes(spec: ModelSpec, outputs: dict[str, NDArray[Any]]) -> list[list[str]]:
    ordinary = decision.ordinary(spec)
    named = [outputs[name] for name in OF_THE_MODEL]
    rows = [Output(**dict(zip(OF_THE_MODEL, row, strict=True))) for row in zip(*named, strict=True)]
    return [[task.outcome for task in decision.decide(spec, row, ordinary).values()] for row in rows]


def _run(
    python: list[str], arguments: list[str], out: Path, environment: Mapping[str, str]
) -> tuple[dict[str, NDArray[Any]] | None, str]:
    """Return the outputs that a child process computed, or None, and what became of it."""
    out.unlink(missing_ok=True)
    command = [*python, "-c", _CHILD.replace("OUTPUTS", repr(OF_THE_MODEL)), *arguments, str(out)]
    try:
        # The interpreters and the code are our own.
        done = subprocess.run(  # noqa: S603
            command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return None, f"did not end within {_TIMEOUT_S:g} s"
    if done.returncode:
        # qemu dies of the signal that its guest died of, or reports it as a shell does.
        number = -done.returncode if done.returncode < 0 else done.returncode - 128
        if number > 0:
            return None, f"crashed with signal {number}"
        last = done.stderr.strip().splitlines()
        return None, last[-1] if last else f"exit code {done.returncode}"
    with np.load(out, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}, "ran"


def _environment(work: Path, site: Path) -> dict[str, str]:
    path = os.pathsep.join(str(folder) for folder in (work.resolve() / "package", site))
    return {"PYTHONPATH": path, "PYTHONHOME": "", "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _require_tools() -> None:
    missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise UsageError(
            f"Skipped: {', '.join(missing)} not installed.",
            f"Install what is missing: sudo apt install {' '.join(missing)}",
        )
    if not _KEYRING.exists():
        raise UsageError(
            "Skipped: Debian's keys are not on this machine.", "Install them: sudo apt install debian-archive-keyring"
        )


def _unpack_packages(work: Path, root: Path) -> None:
    apt = work / "apt"
    for folder in ("lists/partial", "archives/partial", "none"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    (apt / "debian.sources").write_text(_SOURCES)
    # Everything that apt reads or writes lies in this folder; the system's own lists and status stay untouched.
    settings = {
        "APT::Architecture": "arm64", "APT::Install-Recommends": "false", "APT::Sandbox::User": "root",
        "Dir::State": apt, "Dir::State::status": apt / "status", "Dir::Cache": apt, "Dir::Cache::pkgcache": "",
        "Dir::Etc::sourcelist": apt / "debian.sources", "Dir::Etc::sourceparts": apt / "none",
        "Dir::Etc::parts": apt / "none", "Dir::Etc::preferencesparts": apt / "none", "Acquire::Languages": "none",
    }  # fmt: skip
    config = apt / "apt.conf"
    config.write_text(
        'APT::Architectures { "arm64"; };\n' + "".join(f'{name} "{value}";\n' for name, value in settings.items())
    )
    environment = {"APT_CONFIG": str(config)}
    _tool(["apt-get", "update", "--quiet"], "Debian's package lists", environment)
    _tool(["apt-get", "install", "--yes", "--quiet", "--download-only", *_PACKAGES], "Debian's packages", environment)
    shutil.rmtree(root, ignore_errors=True)
    for package in sorted((apt / "archives").glob("*.deb")):
        _tool(["dpkg-deb", "--extract", str(package), str(root)], "an unpacked package", {})
    (root / ".complete").touch()


def _unpack_wheels(work: Path, site: Path, chosen: Mapping[str, str]) -> None:
    shutil.rmtree(site, ignore_errors=True)
    pip = [sys.executable, "-m", "pip"]
    executorch = f"executorch=={chosen['executorch']}"
    for requirements in (_requirements(chosen), ["--no-deps", executorch]):
        _tool(
            [*pip, "install", "--quiet", "--no-compile", "--target", str(site), *_WHEELS_FOR,
             "--upgrade", *requirements],
            "aarch64 wheels", {},
        )  # fmt: skip
    (site / ".complete").touch()


def _requirements(chosen: Mapping[str, str]) -> list[str]:
    """Return what the base install needs, with runtimes at the given releases; ExecuTorch comes without its own."""
    base = [line for line in metadata.requires("lsemvae-edge") or () if "extra ==" not in line]
    return [*base, *(f"{name}=={version}" for name, version in chosen.items() if name != "executorch")]


def _release(site: Path, engine: Engine) -> str | None:
    found = metadata.distributions(name=versions.RUNTIMES[engine.name], path=[str(site)])
    return next((distribution.version for distribution in found), None)


def _tool(command: list[str], what: str, environment: Mapping[str, str]) -> None:
    # Fixed commands; no shell reads them.
    done = subprocess.run(  # noqa: S603
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise UsageError(
            f"Skipped: no {what}: {' '.join(said)}", "Check the network, or run again where packages can be downloaded."
        )
