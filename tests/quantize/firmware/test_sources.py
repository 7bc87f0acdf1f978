"""What the C sources promise: clean under every compiler here, no heap, no floats, no globals, no recursion."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lsemvae_edge.quantize.firmware.host import WARNINGS

COMPILERS = {
    "gcc": ("gcc",),
    "clang": ("clang",),
    "cortex-m4": ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb"),
    "cortex-m0": ("arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb"),
    "rv32imac": ("riscv64-unknown-elf-gcc", "-march=rv32imac", "-mabi=ilp32", "--specs=picolibc.specs"),
}
FROM_LIBC = {"memcpy", "memset", "memcmp", "memmove"}
FROM_COMPILER = re.compile(
    r"^(__aeabi_(u?ldivmod|lmul|l[la]s[lr]|u?idiv(mod)?|llsl|llsr|lasr|mem(cpy|set|clr|move)[48]?)"
    r"|__(u?(div|mod)[sd]i3|muldi3|ashldi3|lshrdi3|ashrdi3|clzsi2|gnu_thumb1_.*))$"
)
"""Integer helpers of a 32-bit target: divisions, shifts, copies. None works on floating point."""


def _sources(folder: Path) -> list[Path]:
    return sorted((folder / "src").glob("*.c"))


def _compiled(folder: Path, into: Path, name: str, *flags: str) -> list[Path]:
    """Compile every source to an object, and return the objects."""
    compiler, *options = COMPILERS[name]
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    objects = []
    for source in _sources(folder):
        made = into / f"{source.stem}.o"
        done = subprocess.run(
            [compiler, *options, *WARNINGS, "-O2", *flags, f"-I{folder / 'include'}", f"-I{folder / 'src'}", "-c",
             str(source), "-o", str(made)],
            cwd=into,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        objects.append(made)
    return objects


def test_the_folder_holds_the_projects_licence(firmware):
    here = Path(__file__).parents[3] / "LICENSE"
    assert (firmware.folder("tiny") / "LICENSE").read_bytes() == here.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILERS)
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_sources_compile_without_a_warning(firmware, tmp_path, name, size):
    _compiled(firmware.folder(size), tmp_path, name)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("gcc", ("-DLSEMVAE_FLOAT_TAIL", "-ffp-contract=off")),
        ("clang", ("-DLSEMVAE_FLOAT_TAIL", "-ffp-contract=off")),
        ("cortex-m4", ("-DLSEMVAE_USE_DSP",)),
    ],
)
def test_options_compile_without_a_warning(firmware, tmp_path, name, flags):
    _compiled(firmware.folder("tiny"), tmp_path, name, *flags)


@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m0", "rv32imac"])
def test_nothing_is_called_but_copies_and_integer_helpers(firmware, tmp_path, name):
    objects = _compiled(firmware.folder("tiny"), tmp_path, name)
    nm = COMPILERS[name][0].replace("gcc", "nm")
    told = subprocess.run([nm, *map(str, objects)], capture_output=True, text=True, check=True).stdout
    defined = set(re.findall(r" [TtRrDdBb] (\S+)$", told, re.M))
    needed = set(re.findall(r"^ +U (\S+)$", told, re.M)) - defined
    other = {one for one in needed - FROM_LIBC if not FROM_COMPILER.match(one)}
    assert not other
    # What is written to at run time belongs to the caller.
    assert not re.findall(r" [DdBbCc] \S+$", told, re.M)


def test_no_function_calls_itself_and_every_stack_frame_is_bounded(firmware, tmp_path):
    folder = firmware.folder("tiny")
    _compiled(folder, tmp_path, "gcc", "-fcallgraph-info=su", "-fno-inline")
    calls: dict[str, set[str]] = {}
    bounded = []
    for graph in tmp_path.glob("*.ci"):
        text = graph.read_text()
        for source, target in re.findall(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', text):
            calls.setdefault(_plain(source), set()).add(_plain(target))
        bounded += re.findall(r"\d+ bytes \((\w+)\)", text)
    assert bounded
    assert set(bounded) == {"static"}
    assert len(calls) > 30
    finished: set[str] = set()
    for start in calls:
        _descend(start, calls, [], finished)


def _plain(name: str) -> str:
    return name.rsplit(":", 1)[-1]


def _descend(name: str, calls: dict[str, set[str]], way: list[str], finished: set[str]) -> None:
    assert name not in way, f"{' -> '.join([*way, name])}"
    if name in finished:
        return
    for called in calls.get(name, set()):
        _descend(called, calls, [*way, name], finished)
    finished.add(name)


@pytest.mark.slow
def test_cppcheck_finds_nothing(firmware):
    if shutil.which("cppcheck") is None:
        pytest.skip("cppcheck is not installed")
    folder = firmware.folder("tiny")
    done = subprocess.run(
        ["cppcheck", "--std=c99", "--enable=warning,performance,portability", "--inline-suppr", "--error-exitcode=1",
         "--quiet", "--suppress=missingIncludeSystem", f"-I{folder / 'include'}", f"-I{folder / 'src'}",
         *[str(one) for one in _sources(folder) if one.name != "lsemvae_image.c"]],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
