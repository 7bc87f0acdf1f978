"""A small guest that runs one Python module from memory: its kernel, its initial file system, and its machine.

The files are exactly those that a dry run of the module on this machine has loaded, so that the guest's memory is small
and can be kept: it is booted once, and every further start goes on from the moment at which it said that it is ready.
"""

import json
import marshal
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from time import monotonic, sleep

from lsemvae_edge.errors import UsageError

PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "mkfs.ext4": "e2fsprogs"}
"""Needed programs, and Debian's packages that have them."""
_PACKAGES = {
    **PROGRAMS,
    "depmod": "kmod",
    "e2fsck": "e2fsprogs",
    "ldd": "libc-bin",
    "mount": "mount",
    "unshare": "util-linux",
}
KERNEL_VARIABLE = "LSEMVAE_EDGE_GUEST_KERNEL"
PYTHON = "python"
"""Folder of the guest that holds the Python module and all it imports."""
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_BOOT_S = 300.0
_FETCH = (
    "In an empty folder: apt-get download $(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: //p') && "
    f"dpkg -x linux-image-*.deb .; then set {KERNEL_VARIABLE} to that folder."
)


def program(name: str) -> str:
    """Return the path of a program.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise UsageError(f"{name} is not installed.", f"On Debian: apt-get install {_PACKAGES.get(name, name)}")
    return found


def kernel() -> tuple[Path, Path]:
    """Return a Linux kernel for x86-64 and the folder of its modules.

    It is looked for where `KERNEL_VARIABLE` says, where ``tests/bluez/run --install`` leaves one, and in the system.

    Raises
    ------
    UsageError
        If there is none.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    named = os.environ.get(KERNEL_VARIABLE)
    for root in (Path(named),) if named else (caches / "lsemvae-edge" / "bluez" / "kernel", Path("/")):
        for image in sorted((root / "boot").glob("vmlinuz-*"), reverse=True):
            modules = root / "lib" / "modules" / image.name.removeprefix("vmlinuz-")
            if (modules / "kernel").is_dir():
                return image, modules
    raise UsageError("There is no kernel for a guest.", _FETCH)


def module_files(modules: Path, wanted: Iterable[str]) -> list[Path]:
    """Return the files of kernel modules in the order of loading, what they need first; built-in ones have none.

    Raises
    ------
    UsageError
        If the kernel has no such module.
    """
    if not (modules / "modules.dep").exists():
        subprocess.run([program("depmod"), "-b", str(modules.parents[2]), modules.name], check=True)  # noqa: S603
    lines = (line.split(":") for line in (modules / "modules.dep").read_text().splitlines())
    needs = {Path(path).name.split(".ko")[0].replace("-", "_"): (path, rest.split()) for path, rest in lines}
    built_in = {Path(line).stem.replace("-", "_") for line in (modules / "modules.builtin").read_text().split()}
    found: dict[str, None] = {}
    for name in wanted:
        if name in needs:
            path, rest = needs[name]
            found.update(dict.fromkeys([*reversed(rest), path]))
        elif name not in built_in:
            raise UsageError(f"The kernel {modules.name} has no module {name}.", _FETCH)
    return [modules / path for path in found]


def loaded_files() -> dict[str, str]:
    """Return the files that this process has loaded, each with its place in a guest's root.

    Python modules go to one folder by their dotted names, so that neither an environment nor an editable install
    matters there; shared libraries that packages bring keep their place relative to them.
    """
    found: dict[str, str] = {}
    for name, module in list(sys.modules.items()):
        spec, origin = getattr(module, "__spec__", None), getattr(module, "__file__", None)
        if not origin or not Path(origin).is_file():
            continue
        # Some packages put an object of their own in a module's place, which has no spec.
        place = (spec.name if spec else name).replace(".", "/")
        suffix = "py" if origin.endswith(".py") else Path(origin).name.partition(".")[2]
        found.setdefault(origin, f"{PYTHON}/{place}{'/__init__' if hasattr(module, '__path__') else ''}.{suffix}")
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line[line.find("/") :]
        _, between, rest = path.partition("/site-packages/")
        if between and path not in found and Path(path).is_file():
            found[path] = f"{PYTHON}/{rest}"
    return found


def pack(image: Path, files: dict[str, str], modules: Sequence[Path], late: Sequence[Path], init: str) -> None:
    """Write an initial file system.

    Parameters
    ----------
    image : Path
    files : dict
        Path here to place there.
    modules, late : sequence of Path
        Kernel modules for ``/modules`` and ``/late``; each folder's file ``order`` lists them.
    init : str
        Text of the first process, a script for busybox.
    """
    archive = _bare(modules, init)
    for folder in ("tmp", "disk"):
        archive.folder(folder)
    interpreter = Path(sys.executable).resolve()
    archive.file("bin/python3", interpreter.read_bytes())
    for path, place in files.items():
        if path.endswith(".py"):
            archive.file(f"{place}c", _compiled(path))
        else:
            archive.file(place, Path(path).read_bytes())
    for library in _libraries([interpreter, *(Path(path) for path in files if ".so" in Path(path).suffixes)]):
        archive.file(str(library).lstrip("/"), library.read_bytes())
    archive.modules("late", late)
    image.write_bytes(archive.ended())


def pack_bare(image: Path, modules: Sequence[Path], init: str) -> None:
    """Write an initial file system without Python; see `pack`."""
    image.write_bytes(_bare(modules, init).ended())


class Machine:
    """A guest that was booted once and goes on from its ready moment as often as wanted.

    Parameters
    ----------
    folder : Path
        For sockets, console and the kept memory.
    image, initrd : Path
        Kernel and initial file system.
    disk : Path
        Socket of the disk's server.
    """

    def __init__(self, folder: Path, image: Path, initrd: Path, disk: Path) -> None:
        self._folder, self._memory = folder, folder / "memory"
        self._port, self._monitor = folder / "port", folder / "monitor"
        accelerator = os.environ.get("ACCELERATOR", "-accel tcg -cpu max").split()
        self._command = [
            *(program("qemu-system-x86_64"), "-m", "384M", *accelerator, "-nodefaults", "-no-reboot"),
            *("-display", "none", "-kernel", str(image), "-initrd", str(initrd)),
            *("-append", "console=ttyS1 quiet panic=-1 loglevel=3 random.trust_cpu=on"),
            *("-chardev", f"socket,id=port,path={self._port},server=on,wait=off", "-serial", "chardev:port"),
            *("-serial", f"file:{folder / 'console'}"),
            *("-qmp", f"unix:{self._monitor},server=on,wait=off"),
            *("-blockdev", f"driver=nbd,node-name=disk,server.type=unix,server.path={disk}"),
            *("-device", "virtio-blk-pci,drive=disk,write-cache=on,logical_block_size=4096,physical_block_size=4096"),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: _Lines | None = None

    def boot(self) -> float:
        """Boot, keep the memory at the guest's first line, which must be ``READY``, and stop.

        Returns
        -------
        float
            Seconds until it was ready.

        Raises
        ------
        UsageError
            If it does not get there.
        """
        begun = monotonic()
        lines = self._start([])
        line = lines.next(begun + _BOOT_S)
        if line != "READY":
            self.kill()
            said = (self._folder / "console").read_text(errors="replace")[-6000:]
            raise UsageError(f"The guest did not start: {line or 'it said nothing'}. {said}", "See its console above.")
        took_s = monotonic() - begun
        self._ask("stop")
        self._ask("migrate", uri=f"exec:cat > {self._memory}")
        while self._ask("query-migrate").get("status") != "completed":
            sleep(0.05)
        self.kill()
        return took_s

    def resume(self) -> None:
        """Go on from the kept moment."""
        self._start(["-incoming", f"exec:cat {self._memory}"])
        while self._ask("query-status").get("status") == "inmigrate":
            sleep(0.01)
        self._ask("cont")

    def tell(self, line: str) -> None:
        """Send a line to the guest."""
        assert self._lines is not None
        self._lines.send(line)

    def line(self, deadline: float) -> str | None:
        """Return the guest's next whole line; None when it is gone, or at the deadline (of `time.monotonic`)."""
        assert self._lines is not None
        return self._lines.next(deadline)

    def kill(self) -> None:
        """Take the power away; what the guest has said up to now can still be read."""
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    def ended(self) -> None:
        """Wait for a killed guest to be gone."""
        if self._process is not None:
            self._process.wait(10.0)
            self._process = None

    def _start(self, more: Sequence[str]) -> "_Lines":
        if self._process is not None:
            self.kill()
            self.ended()
        for path in (self._port, self._monitor):
            path.unlink(missing_ok=True)
        self._process = subprocess.Popen([*self._command, *more])  # noqa: S603 - our own command
        self._lines = _Lines(_connected(self._port, self._process))
        return self._lines

    def _ask(self, command: str, **arguments: str) -> dict[str, str]:
        """Give the machine's monitor one command."""
        assert self._process is not None
        with _connected(self._monitor, self._process) as monitor, monitor.makefile("rw") as stream:
            stream.readline()
            for order in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(order) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
                while "return" not in answer:
                    if "error" in answer:
                        raise UsageError(f"QEMU refused {command}: {answer['error']['desc']}")
                    answer = json.loads(stream.readline())
        returned: dict[str, str] = answer["return"]
        return returned


class _Lines:
    """Whole lines over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._rest = connection, b""

    def send(self, line: str) -> None:
        self._connection.sendall(line.encode() + b"\n")

    def next(self, deadline: float) -> str | None:
        while b"\n" not in self._rest:
            self._connection.settimeout(max(0.001, deadline - monotonic()))
            try:
                part = self._connection.recv(65536)
            except (TimeoutError, ConnectionError):
                return None
            if not part:
                return None
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace").strip("\r")


class _Archive:
    """A cpio archive in the form the kernel unpacks."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._known: set[str] = set()

    def folder(self, place: str) -> None:
        for parent in reversed([Path(place), *Path(place).parents][:-1]):
            if str(parent) not in self._known:
                self._known.add(str(parent))
                self._entry(str(parent), 0o040755, b"")

    def file(self, place: str, content: bytes) -> None:
        if place in self._known:
            return
        self._known.add(place)
        if "/" in place:
            self.folder(place.rpartition("/")[0])
        self._entry(place, 0o100755, content)

    def modules(self, place: str, chosen: Sequence[Path]) -> None:
        self.file(f"{place}/order", "".join(f"{module.name}\n" for module in chosen).encode())
        for module in chosen:
            self.file(f"{place}/{module.name}", module.read_bytes())

    def ended(self) -> bytes:
        self._entry("TRAILER!!!", 0, b"")
        return bytes(self._data)

    def _entry(self, place: str, mode: int, content: bytes) -> None:
        name = place.encode() + b"\0"
        numbers = (len(self._known), mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        self._data += b"070701" + "".join(f"{number:08x}" for number in numbers).encode() + name
        self._data += bytes(-len(self._data) % 4) + content
        self._data += bytes(-len(self._data) % 4)


def _bare(modules: Sequence[Path], init: str) -> _Archive:
    """Return an archive with what every guest needs to begin."""
    archive = _Archive()
    for folder in ("proc", "sys", "dev"):
        archive.folder(folder)
    archive.file("bin/busybox", Path(program("busybox")).read_bytes())
    archive.file("init", init.encode())
    archive.modules("modules", modules)
    return archive


def _compiled(path: str) -> bytes:
    """Return a module as Python imports it without its source: compiling is what takes longest in an emulated guest."""
    code = SourceFileLoader(Path(path).stem, path).get_code(Path(path).stem)
    return MAGIC_NUMBER + bytes(12) + marshal.dumps(code)


def _libraries(objects: Sequence[Path]) -> list[Path]:
    """Return the dynamic loader and the system's libraries that programs and extensions are linked to."""
    command = [program("ldd"), *map(str, objects)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    words = {word for line in said.splitlines() if line.startswith("\t") for word in line.split()}
    return [Path(word) for word in sorted(words) if word.startswith("/") and "/site-packages/" not in word]


def _connected(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    for _ in range(500):
        with suppress(FileNotFoundError, ConnectionRefusedError):
            connection.connect(str(path))
            return connection
        if process.poll() is not None:
            break
        sleep(0.01)
    connection.close()
    raise UsageError("QEMU did not start.", "See what it printed above.")
