"""What stands between a program and the machine: limits, container, virtual machine, emulator."""

import platform
from pathlib import Path
from typing import Any

from lsemvae_edge.benchmarks.target.kernel_files import cpuinfo, or_none, read, whole

Json = Any

UNTOLD = "of a kind that it does not tell"
MACHINES = (
    ("vmware", "vmware"),
    ("virtualbox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("virtual machine", "hyper-v"),
    ("xen", "xen"),
    ("amazon ec2", "amazon ec2"),
    ("google compute engine", "google compute engine"),
    ("openstack", "openstack"),
    ("parallels", "parallels"),
    ("bhyve", "bhyve"),
    ("apple virtualization", "apple virtualization"),
    ("kvm", "kvm"),
    ("qemu", "qemu"),
    ("dummy-virt", "qemu"),
)
"""Parts of the names that virtual machines give themselves."""
EMULATORS = ("qemu-", "box64", "box86", "fex", "rosetta")


def limits(root: Path) -> dict[str, Json]:
    """Return the tightest limits of the control groups that this process is in, versions 1 and 2."""
    cpus: list[float] = []
    memory: list[int] = []
    base = root / "sys/fs/cgroup"
    for line in (root / "proc/self/cgroup").read_text(errors="replace").splitlines():
        _, controllers, path = line.split(":", 2)
        mounts = [base / controllers, *(base / name for name in controllers.split(","))]
        for mount in mounts if controllers else [base, base / "unified"]:
            for folder in _upwards(mount, path):
                cpus += _quota(folder)
                memory += _most(folder)
    return {"cpus": min(cpus, default=None), "memory_mb": min(memory) / 1e6 if memory else None}


def _upwards(mount: Path, path: str) -> list[Path]:
    """Return a group's folder and those above it; inside a container the path may be the host's, and absent."""
    below = mount / path.strip("/")
    return [below, *(parent for parent in below.parents if parent.is_relative_to(mount))]


def _quota(folder: Path) -> list[float]:
    text = (read(folder / "cpu.max") or "").split()
    if len(text) == 2 and text[0] != "max":
        return [int(text[0]) / int(text[1])]
    quota, period = (whole(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return [quota / period] if quota and period and quota > 0 else []


def _most(folder: Path) -> list[int]:
    found = (whole(folder / name) for name in ("memory.max", "memory.limit_in_bytes"))
    # Version 1 writes "no limit" as the greatest multiple of a page.
    return [amount for amount in found if amount is not None and amount < 1 << 60]


def container(root: Path) -> str | None:
    """Return the kind of container that this process is in, by the marks that each leaves."""
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".dockerenv").exists():
        return "docker"
    told = read(root / "run/systemd/container") or _of_first_process(root)
    groups = read(root / "proc/1/cgroup") or ""
    marks = (("docker", "docker"), ("kubepods", "kubernetes"), ("libpod", "podman"), ("lxc", "lxc"))
    return told or next((name for mark, name in marks if mark in groups), None)


def _of_first_process(root: Path) -> str | None:
    variables = (read(root / "proc/1/environ") or "").split("\0")
    return next((text.partition("=")[2] for text in variables if text.startswith("container=")), None)


def virtual_machine(root: Path) -> str | None:
    """Return the kind of virtual machine that this is, as its firmware or its processor's flags tell."""
    names = [read(root / f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name", "bios_vendor")]
    names += [read(root / "proc/device-tree/compatible"), read(root / "proc/device-tree/hypervisor/compatible")]
    told = " ".join(name for name in names if name).lower()
    kernel = (read(root / "proc/sys/kernel/osrelease") or "").lower()
    if "microsoft" in kernel:
        return "wsl"
    if "metal" in (names[1] or ""):
        return None
    if kind := read(root / "sys/hypervisor/type"):
        return kind
    if known := next((kind for mark, kind in MACHINES if mark in told), None):
        return known
    return UNTOLD if "hypervisor" in cpuinfo(root)[0].get("flags", "").split() else None


def emulator(root: Path) -> str | None:
    """Return the program that executes instructions of a foreign processor, if one does.

    qemu's user mode forges what lies under ``/proc/self``, yet not the same files under ``/proc/thread-self``; there
    the program that really runs is qemu (seen with 7.2). It also shows the real processor, whose maker ARM has none of.
    A whole machine that qemu emulates says so in its processor's name.
    """
    program = Path(or_none((root / "proc/thread-self/exe").readlink) or "").name
    if program.lower().startswith(EMULATORS):
        return program
    first = or_none(lambda: cpuinfo(root)[0]) or {}
    if platform.machine().startswith(("aarch64", "arm")) and "vendor_id" in first:
        return UNTOLD
    return "qemu" if "TCG" in first.get("model name", "") else None
