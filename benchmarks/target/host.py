"""Facts of the machine that decide how quick it is, and whether two machines are alike enough to be compared.

Read from files of the kernel, not by programs, so that the files of another board can be read here. What cannot be
read is None. Nothing that names the machine or its owner is kept: no host name, serial number, address or user.
"""

import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from lsemvae_edge.benchmarks.target import sensors, surroundings
from lsemvae_edge.benchmarks.target.kernel_files import ROOT, cpuinfo, listed, or_none, read, whole
from lsemvae_edge.benchmarks.target.sensors import Run, command
from lsemvae_edge.runtime import versions

Json = Any

MEMORY_TOLERANCE = 0.02
"""Of two machines with the same memory, kernels keep slightly different amounts for themselves."""
LIBRARIES = ("numpy", *versions.RUNTIMES.values(), "torch", "scipy", "neurokit2", "wfdb", "bleak")
LASTING = (
    "board", "architecture", "cpu", "smt", "container", "virtual_machine", "emulator", "os", "kernel", "libc", "python",
)  # fmt: skip
"""Facts that must be the same as they stand; others are looked into."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_CPU_AFFINITY",
)
FEATURES = {
    "flags": (
        "sse4_1", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
        "amx_int8", "amx_bf16",
    ),
    "Features": (
        "neon", "asimd", "vfpv4", "asimdhp", "asimdrdm", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
    ),
}  # fmt: skip
"""Instructions that inference gains from, by the kernel's names, in the fields that x86 and ARM list them in."""
ARM_CORES = {
    (0x41, 0xB76): "ARM1176",
    (0x41, 0xC07): "Cortex-A7",
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse N1",
    (0x41, 0xD40): "Neoverse V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD49): "Neoverse N2",
    (0x41, 0xD4F): "Neoverse V2",
}
"""By implementer and part, for 64-bit ARM kernels give no name; from ``arch/arm64/include/asm/cputype.h``."""


def facts(root: Path = ROOT, run: Run = command) -> dict[str, Json]:
    """Return the facts of this machine, or of one whose files lie under ``root``.

    Parameters
    ----------
    root : Path
    run : callable
        Runs a program and returns what it prints, or None.

    Returns
    -------
    dict
        Plain JSON values, None where the machine does not tell.
    """
    told: dict[str, Callable[[], Json]] = {
        "board": lambda: _board(root),
        "architecture": platform.machine,
        "cpu": lambda: _cpu(root),
        "features": lambda: _features(root),
        "cores": lambda: _cores(root),
        "smt": lambda: _smt(root),
        "frequency": lambda: _frequency(root),
        "memory": lambda: _memory(root),
        "limits": lambda: surroundings.limits(root),
        "container": lambda: surroundings.container(root),
        "virtual_machine": lambda: surroundings.virtual_machine(root),
        "emulator": lambda: surroundings.emulator(root),
        "os": lambda: _os(root),
        "kernel": lambda: read(root / "proc/sys/kernel/osrelease") or platform.release(),
        "libc": lambda: " ".join(platform.libc_ver()).strip() or None,
        "python": lambda: f"{platform.python_implementation()} {platform.python_version()}",
        "versions": _versions,
        "thread_variables": lambda: {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "load_average": lambda: _numbers(root / "proc/loadavg", 3),
        "uptime_s": lambda: _numbers(root / "proc/uptime", 1)[0],
        "temperature_c": lambda: sensors.temperature_c(root),
        "throttled": lambda: sensors.throttled(root, run),
        "under_voltage": lambda: sensors.under_voltage(root),
        "clock": lambda: _clock(root),
    }
    return {name: or_none(tell) for name, tell in told.items()}


def likeness(a: Mapping[str, Json], b: Mapping[str, Json]) -> list[str]:
    """Return what forbids comparing figures of two hosts, a sentence each; empty if they are alike.

    What changes by itself from minute to minute (load, temperature, free memory) does not count.
    """
    found = []
    ours, theirs = _lasting(a), _lasting(b)
    for name in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(name), theirs.get(name)
        if name == "memory in MB" and one and other and abs(one - other) <= MEMORY_TOLERANCE * max(one, other):
            continue
        if one != other:
            found.append(f"{name}: {_shown(one)} against {_shown(other)}")
    return found


def lines(host: Mapping[str, Json]) -> list[str]:
    """Return the facts as text, a line each; what the machine does not tell is said to be so."""
    told = []
    for name, fact in host.items():
        parts = [f"{key} {_shown(value)}" for key, value in fact.items()] if isinstance(fact, dict) else [_shown(fact)]
        told.append(f"{name.replace('_', ' ')}: {', '.join(parts) or _shown(None)}")
    return told


def _lasting(host: Mapping[str, Json]) -> dict[str, Json]:
    """Return the facts that must be the same, under the names that a difference is told by."""
    cores, frequency, limits = (host.get(name) or {} for name in ("cores", "frequency", "limits"))
    return {
        **{name.replace("_", " "): host.get(name) for name in LASTING},
        "processor features": sorted(host.get("features") or ()),
        **{f"{name} cores": cores.get(name) for name in ("logical", "physical", "usable")},
        **{f"frequency {name}": frequency.get(name) for name in ("governor", "driver", "min_mhz", "max_mhz", "turbo")},
        "memory in MB": (host.get("memory") or {}).get("total_mb"),
        "limit of processors": limits.get("cpus"),
        "limit of memory in MB": limits.get("memory_mb"),
        **{f"{name} release": version for name, version in (host.get("versions") or {}).items()},
        **{f"variable {name}": value for name, value in (host.get("thread_variables") or {}).items()},
    }


def _shown(fact: Json) -> str:
    match fact:
        case None | []:
            return "none known"
        case list():
            return " ".join(map(str, fact))
        case bool():
            return "yes" if fact else "no"
        case float():
            return f"{fact:g}"
        case _:
            return str(fact)


def _numbers(path: Path, count: int) -> list[float]:
    found = [float(text) for text in path.read_text().split()[:count]]
    if len(found) < count or not all(map(math.isfinite, found)):
        raise ValueError(path.name)
    return found


def _board(root: Path) -> str | None:
    tree = read(root / "proc/device-tree/model") or read(root / "sys/firmware/devicetree/base/model")
    maker, product = (read(root / f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))
    return tree or " ".join(part for part in (maker, product) if part) or None


def _cpu(root: Path) -> str | None:
    names = []
    for block in cpuinfo(root):
        if "CPU part" in block:
            maker, part = int(block["CPU implementer"], 16), int(block["CPU part"], 16)
            names.append(ARM_CORES.get((maker, part), f"ARM core {maker:#x}/{part:#x}"))
        elif name := block.get("model name"):
            names.append(" ".join(name.split()))
    return " and ".join(dict.fromkeys(names)) or None


def _features(root: Path) -> list[str]:
    block = cpuinfo(root)[0]
    return [name for field, names in FEATURES.items() for name in names if name in block.get(field, "").split()]


def _cores(root: Path) -> dict[str, Json]:
    folders = listed(root, "sys/devices/system/cpu/cpu[0-9]*")
    places = {
        (whole(folder / "topology/physical_package_id"), core)
        for folder in folders
        if (core := whole(folder / "topology/core_id")) is not None
    }
    return {
        "logical": len(folders) or len(cpuinfo(root)) or None,
        "physical": len(places) or None,
        "usable": or_none(lambda: len(_usable(root))),
        "affinity": or_none(lambda: _usable(root)),
    }


def _usable(root: Path) -> list[int]:
    """Return the numbers of the cores that this process may run on."""
    lines = (root / "proc/self/status").read_text(errors="replace").splitlines()
    texts = [line.partition(":")[2] for line in lines if line.startswith("Cpus_allowed_list:")]
    return [core for part in texts[0].split(",") for core in _range(part)]


def _range(text: str) -> range:
    low, _, high = text.strip().partition("-")
    return range(int(low), int(high or low) + 1)


def _smt(root: Path) -> bool | None:
    active = whole(root / "sys/devices/system/cpu/smt/active")
    return None if active is None else bool(active)


def _frequency(root: Path) -> dict[str, Json]:
    folders = listed(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq")

    def words(name: str) -> str | None:
        return " and ".join(dict.fromkeys(text for folder in folders if (text := read(folder / name)))) or None

    def mhz(name: str, choose: Callable[[list[int]], int]) -> float | None:
        khz = [found for folder in folders if (found := whole(folder / name)) is not None]
        return choose(khz) / 1e3 if khz else None

    return {
        "governor": words("scaling_governor"),
        "driver": words("scaling_driver"),
        "current_mhz": sensors.frequency_mhz(root),
        "min_mhz": mhz("scaling_min_freq", min),
        "max_mhz": mhz("scaling_max_freq", max),
        "turbo": _turbo(root),
    }


def _turbo(root: Path) -> bool | None:
    off = whole(root / "sys/devices/system/cpu/intel_pstate/no_turbo")
    boost = whole(root / "sys/devices/system/cpu/cpufreq/boost")
    if off is not None:
        return not off
    return None if boost is None else bool(boost)


def _memory(root: Path) -> dict[str, Json]:
    lines = (line.partition(":") for line in (root / "proc/meminfo").read_text(errors="replace").splitlines())
    kib = {name: int(value.split()[0]) for name, _, value in lines if value.split()[:1]}

    def mb(amount: int | None) -> float | None:
        return None if amount is None else round(amount * 1024 / 1e6, 1)

    swap = kib.get("SwapTotal")
    return {
        "total_mb": mb(kib.get("MemTotal")),
        "available_mb": mb(kib.get("MemAvailable")),
        "swap_mb": mb(swap),
        "swap_used_mb": None if swap is None else mb(swap - kib["SwapFree"]),
    }


def _os(root: Path) -> str:
    lines = (line.partition("=") for line in (read(root / "etc/os-release") or "").splitlines())
    named = {name: value.strip("\"'") for name, _, value in lines}
    return named.get("PRETTY_NAME") or f"{platform.system()} {platform.release()}"


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _clock(root: Path) -> dict[str, Json]:
    source = read(root / "sys/devices/system/clocksource/clocksource0/current_clocksource")
    return {"source": source, "resolution_ns": round(1e9 * time.get_clock_info("perf_counter").resolution, 3)}
