"""Boards that qemu emulates: the example of a firmware folder is built for one, run, and says what it measured."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lsemvae_edge.errors import BundleError, UsageError

_TIMEOUT_S = 300
_REPLAY_S = 7200
_MEASURED = re.compile(r"^measured (\w+) (\d+)$", re.MULTILINE)
_SELFTEST = re.compile(r"^lsemvae selftest: .*$", re.MULTILINE)
_SECTION = re.compile(r"^\.(start|proof|image|library|support|example|data|bss|stack) +(\d+) +\d+$", re.MULTILINE)
_FLASHED = ("start", "image", "library", "support", "data")
"""Sections of the example that a product keeps: not the known answers, the self-test and the example itself."""


@dataclass(frozen=True)
class Board:
    """A board as the folder's Makefile knows it; flags, linker script and emulator are there.

    Parameters
    ----------
    name : str
    title : str
        Processor and board, for people.
    compiler, emulator : str
        Programs that have to be on the path.
    packages : tuple of str
        Debian's packages of the two.
    kernels : tuple of str
        Inner loops that its processor can run.
    """

    name: str
    title: str
    compiler: str
    emulator: str
    packages: tuple[str, ...]
    kernels: tuple[str, ...]


_ARM = ("arm-none-eabi-gcc", "qemu-system-arm", ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm"))
_RISCV = (
    "riscv64-unknown-elf-gcc",
    "qemu-system-riscv32",
    ("gcc-riscv64-unknown-elf", "picolibc-riscv64-unknown-elf", "qemu-system-misc"),
)
BOARDS = (
    Board("mps2-an386", "Cortex-M4F, MPS2 AN386", *_ARM, ("plain", "dsp")),
    Board("mps2-an500", "Cortex-M7, MPS2 AN500", *_ARM, ("plain", "dsp")),
    Board("mps3-an547", "Cortex-M55, MPS3 AN547", *_ARM, ("plain", "dsp", "mve")),
    Board("riscv-virt", "RV32IMAC, qemu virt", *_RISCV, ("plain",)),
)


@dataclass(frozen=True)
class Emulated:
    """What a board said, and what its firmware takes.

    Parameters
    ----------
    board, kernels, tail : str
        As the Makefile names them.
    compiler, flags, emulator : str
        The compiler's own name and version, its flags, and the emulator's command.
    selftest : str
        The self-test's line.
    measured : dict of str to int
        By name: instructions (the emulator's, not cycles), bytes of stack by paint, sizes of context and arena.
    sections : dict of str to int
        Bytes of the example's sections.
    """

    board: str
    kernels: str
    tail: str
    compiler: str
    flags: str
    emulator: str
    selftest: str
    measured: dict[str, int]
    sections: dict[str, int]

    @property
    def passed(self) -> bool:
        """Whether every stage gave its known answers."""
        return self.selftest.startswith("lsemvae selftest: PASS ")

    @property
    def flash_bytes(self) -> int:
        """Code, data, what the compiler takes from its libraries, and the vector table."""
        return sum(self.sections.get(name, 0) for name in _FLASHED)

    @property
    def stack_bytes(self) -> int:
        """Deepest stack of any call, by paint."""
        return max(self.measured[f"{call}_stack_bytes"] for call in ("init", "push", "run"))

    @property
    def ram_bytes(self) -> int:
        """Context, arena, result and the deepest stack."""
        return sum(self.measured[f"{part}_bytes"] for part in ("context", "arena", "result")) + self.stack_bytes

    @property
    def instructions_per_multiply_add(self) -> float:
        """Of the encoders, where all but a few hundred of the multiply-adds are."""
        return self.measured["encoder_instructions"] / self.measured["multiply_adds"]


def board(name: str) -> Board:
    """Return the board of a name.

    Raises
    ------
    UsageError
        If there is none.
    """
    for one in BOARDS:
        if one.name == name:
            return one
    raise UsageError(f"There is no board {name!r}.", f"Choose of {', '.join(one.name for one in BOARDS)}.")


def missing(one: Board) -> list[str]:
    """Return the programs that a board needs and this machine lacks."""
    return [tool for tool in ("make", one.compiler, one.emulator) if shutil.which(tool) is None]


def emulate(
    folder: Path, one: Board, kernels: str = "plain", tail: str = "fixed", more: Sequence[str] = ()
) -> Emulated:
    """Build the example of a firmware folder for a board, in the folder, and run it in the emulator.

    Parameters
    ----------
    folder : Path
    one : Board
    kernels, tail : str
        As the Makefile takes them.
    more : sequence of str
        Further variables for make, such as ``CMSIS_NN=FOLDER``.

    Raises
    ------
    UsageError
        If a program is missing.
    BundleError
        If it does not build, or ends without the self-test's line.
    """
    if lacking := missing(one):
        raise UsageError(
            f"{one.title}: {' and '.join(lacking)} not found.", f"On Debian: apt install make {' '.join(one.packages)}."
        )
    make = _make(folder, one, kernels, tail, more)
    built = run([*make, "example"])
    if built.returncode:
        raise BundleError(f"{one.title}, {kernels}: the example does not build: {built.stderr.strip():.500}.")
    told = how(folder, one, kernels, tail, more)
    ran = run([*make, "emulate"])
    # Semihosting writes where the emulator's own messages go.
    said = ran.stdout + ran.stderr
    line = _SELFTEST.search(said)
    if line is None or (ran.returncode and "PASS" in line[0]):
        raise BundleError(f"{one.title}, {kernels}: the example ended early: {said.strip()[-300:]}.")
    return Emulated(
        one.name, kernels, tail, version(told["compiler"]), told["flags"], told["emulator"], line[0], measured(said),
        sections(run([*make, "sizes"]).stdout),
    )  # fmt: skip


def how(
    folder: Path, one: Board, kernels: str = "plain", tail: str = "fixed", more: Sequence[str] = ()
) -> dict[str, str]:
    """Return how a board's example is built and run: ``compiler``, ``flags``, ``emulator``, ``size``, ``example``."""
    shown = run([*_make(folder, one, kernels, tail, more), "show"]).stdout
    return dict(line.split(" ", 1) for line in shown.splitlines())


def replayed(folder: Path, one: Board | None, file: Path, kernels: str = "plain", tail: str = "fixed") -> list[str]:
    """Return what the library makes of each input and recording of a file, one hash each: here or on a board.

    Parameters
    ----------
    folder : Path
        A firmware folder; it is built in there.
    one : Board or None
        None: this machine.
    file : Path
        Named ``replay.bin``; see the folder's ``replay.c``.
    kernels, tail : str

    Raises
    ------
    BundleError
        If the program does not build or ends early.
    """
    make = _make(folder, one, kernels, tail, ())
    built = run([*make, "replay"])
    if built.returncode:
        raise BundleError(f"The program that replays recordings does not build: {built.stderr.strip():.500}.")
    told = dict(line.split(" ", 1) for line in run([*make, "show"]).stdout.splitlines())
    program = str((folder / told["replay"]).resolve())
    # Nothing is counted here, so that the emulator need not keep step.
    emulator = re.sub(r"-icount \S+ ", "", told["emulator"]).split()
    ran = run([program] if one is None else [*emulator, "-kernel", program], cwd=file.parent, timeout_s=_REPLAY_S)
    said = ran.stdout + ran.stderr
    if ran.returncode:
        raise BundleError(f"{one.title if one else 'This machine'} replays no further: {said.strip()[-300:]}.")
    return re.findall(r"^replayed ([0-9a-f]{8})$", said, re.MULTILINE)


def measured(said: str) -> dict[str, int]:
    """Return what a program on a board says that it measured, by name."""
    return {name: int(value) for name, value in _MEASURED.findall(said)}


def sections(told: str) -> dict[str, int]:
    """Return bytes of the example's sections from what ``size -A`` tells."""
    return {name: int(size) for name, size in _SECTION.findall(told)}


def version(compiler: str) -> str:
    """Return a compiler's own name and version."""
    return run([compiler, "--version"]).stdout.splitlines()[0]


def run(
    command: Sequence[str], cwd: Path | None = None, timeout_s: float = _TIMEOUT_S
) -> "subprocess.CompletedProcess[str]":
    """Run a program of this machine, such as a compiler or an emulator.

    Raises
    ------
    BundleError
        If it does not end.
    """
    try:
        # On sources of our own.
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=cwd)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"`{' '.join(command)}` did not end within {timeout_s:g} s.") from error


def _make(folder: Path, one: Board | None, kernels: str, tail: str, more: Sequence[str]) -> list[str]:
    chosen = [f"BOARD={one.name if one else 'none'}", f"KERNELS={kernels}", f"TAIL={tail}"]
    return ["make", "--no-print-directory", "-s", "-C", str(folder), *chosen, *more]
