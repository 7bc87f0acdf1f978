"""Compiling the shim: where the wheel is found, what is said when it cannot be built."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lsemvae_edge.cli import main
from lsemvae_edge.errors import ExitCode, RuntimeUnavailableError, UsageError
from lsemvae_edge.runtime import build, executorch

needs_wheel = pytest.mark.skipif(build.wheel() is None, reason="ExecuTorch is not installed")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")


@pytest.fixture
def unpacked(tmp_path):
    """A folder as pip leaves it, whose wheel holds nothing but names."""
    site = tmp_path / "site-packages"
    (site / "executorch/lib").mkdir(parents=True)
    (site / "executorch/lib/libexecutorch.so").touch()
    (site / "executorch-9.8.7.dist-info").mkdir()
    (site / "executorch-9.8.7.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: executorch\nVersion: 9.8.7\n"
    )
    return site


def test_a_wheel_is_found_without_importing_it(unpacked):
    found = build.wheel(unpacked)
    assert found.version == "9.8.7"
    assert found.libraries == unpacked.resolve() / "executorch/lib"
    code = "import sys; from lsemvae_edge.runtime import build; build.library(); assert 'executorch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_of_that_name_is_no_wheel(unpacked, tmp_path):
    (unpacked / "executorch/lib/libexecutorch.so").unlink()
    assert build.wheel(unpacked) is None
    assert build.wheel(tmp_path) is None


def test_a_wheel_without_a_release_is_none(unpacked):
    shutil.rmtree(unpacked / "executorch-9.8.7.dist-info")
    assert build.wheel(unpacked) is None


@needs_wheel
@needs_compiler
def test_the_shim_is_built_with_release_and_processor_in_its_name_and_finds_the_libraries(tmp_path):
    path = build.build(out=tmp_path / "new" / "folder")
    machine = subprocess.run(["g++", "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    assert path.name == f"executorch-{build.wheel().version}-linux-{machine.partition('-')[0]}.so"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    code = f"import ctypes; assert ctypes.CDLL({str(path)!r}).lsemvae_abi() == {executorch._ABI}"
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@needs_wheel
@needs_compiler
def test_a_build_replaces_the_shim_of_an_open_process_without_touching_it(tmp_path):
    first = build.build(out=tmp_path)
    inode = first.stat().st_ino
    with first.open("rb") as held:
        content = held.read()
        held.seek(0)
        assert build.build(out=tmp_path).stat().st_ino != inode
        assert held.read() == content


def test_without_a_wheel_the_error_says_what_to_install(tmp_path, capsys):
    with pytest.raises(RuntimeUnavailableError, match="no ExecuTorch wheel") as caught:
        build.build(tmp_path)
    assert f"pip install --no-deps executorch=={build.VERSION}" in caught.value.next_step
    code = main(["runtime", "build", "executorch", "--site-packages", str(tmp_path), "--json"])
    assert code == ExitCode.BUNDLE_REFUSED
    assert '"code": 5' in capsys.readouterr().out


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_without_a_compiler_the_error_says_what_to_install(unpacked, tmp_path, monkeypatch, how):
    monkeypatch.setenv("CXX", "/nowhere/g++")
    with pytest.raises(UsageError, match="/nowhere/g\\+\\+ does not start") as caught:
        build.build(unpacked, tmp_path / "out", "/nowhere/g++" if how == "argument" else None)
    assert "apt install g++" in caught.value.next_step


def test_a_failed_compilation_shows_the_last_lines_and_leaves_nothing(unpacked, tmp_path):
    compiler = tmp_path / "cxx"
    compiler.write_text(
        '#!/bin/sh\nif [ "$1" = -dumpmachine ]; then echo riscv64-linux-gnu; exit 0; fi\n'
        "i=0; while [ $i -lt 40 ]; do echo line $i >&2; i=$((i+1)); done; exit 3\n"
    )
    compiler.chmod(0o755)
    with pytest.raises(RuntimeUnavailableError, match="failed with exit code 3") as caught:
        build.build(unpacked, tmp_path / "out", str(compiler))
    assert "line 39" in caught.value.message
    assert "line 20" not in caught.value.message
    assert "C++20" in caught.value.next_step
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_usage_error(unpacked, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be made") as caught:
        build.build(unpacked, tmp_path / "file" / "folder")
    assert "--out" in caught.value.next_step


def test_a_shim_of_another_release_or_processor_is_not_taken(unpacked, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "wheel", lambda: build.Wheel(unpacked / "executorch", "9.8.7"))
    monkeypatch.setattr(build, "folder", lambda: tmp_path)
    monkeypatch.setattr(build.sysconfig, "get_platform", lambda: "linux-aarch64")
    for name in ("executorch-9.8.6-linux-aarch64.so", "executorch-9.8.7-linux-x86_64.so"):
        (tmp_path / name).touch()
    assert build.library() is None
    right = tmp_path / "executorch-9.8.7-linux-aarch64.so"
    right.touch()
    assert build.library() == right


def test_the_release_that_is_pinned_is_the_one_the_error_names():
    constraints = Path(__file__).parents[2] / "constraints-aarch64.txt"
    assert f"executorch=={build.VERSION}" in constraints.read_text().split()
