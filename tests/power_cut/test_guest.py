"""What a guest is made of; that it boots is shown by ``bench power-cuts`` itself."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lsemvae_edge.benchmarks import guest
from lsemvae_edge.errors import UsageError


@pytest.fixture
def modules(tmp_path):
    """A kernel's folder of modules: ``disk`` needs ``queue``, which needs ``bus``."""
    root = tmp_path / "lib" / "modules" / "6.1"
    (root / "kernel").mkdir(parents=True)
    (root / "modules.dep").write_text(
        "kernel/bus.ko:\nkernel/queue.ko: kernel/bus.ko\nkernel/my-disk.ko.xz: kernel/queue.ko kernel/bus.ko\n"
    )
    (root / "modules.builtin").write_text("kernel/built-in.ko\n")
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "vmlinuz-6.1").write_bytes(b"")
    return root


def test_modules_come_after_what_they_need(modules):
    found = guest.module_files(modules, ["my_disk", "bus"])
    assert [path.name for path in found] == ["bus.ko", "queue.ko", "my-disk.ko.xz"]


def test_a_built_in_module_has_no_file_and_an_unknown_one_is_an_error(modules):
    assert guest.module_files(modules, ["built_in"]) == []
    with pytest.raises(UsageError, match="no module cake"):
        guest.module_files(modules, ["cake"])


def test_the_kernel_is_taken_from_where_it_is_named(modules, tmp_path, monkeypatch):
    monkeypatch.setenv(guest.KERNEL_VARIABLE, str(tmp_path))
    assert guest.kernel() == (tmp_path / "boot" / "vmlinuz-6.1", modules)
    monkeypatch.setenv(guest.KERNEL_VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(UsageError) as raised:
        guest.kernel()
    assert guest.KERNEL_VARIABLE in raised.value.next_step


def test_a_missing_program_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(guest, "_PATH", "/nowhere")
    with pytest.raises(UsageError) as raised:
        guest.program("busybox")
    assert "busybox-static" in raised.value.next_step


@pytest.mark.parametrize(("name", "package"), [("depmod", "kmod"), ("e2fsck", "e2fsprogs"), ("unshare", "util-linux")])
def test_packages_are_named_as_debian_calls_them(monkeypatch, name, package):
    monkeypatch.setattr(guest, "_PATH", "/nowhere")
    with pytest.raises(UsageError) as raised:
        guest.program(name)
    assert package in raised.value.next_step


def test_a_bare_guest_has_its_first_process_and_its_modules_in_order(modules, tmp_path, monkeypatch):
    (tmp_path / "busybox").write_bytes(b"static")
    monkeypatch.setattr(guest, "program", lambda name: str(tmp_path / name))
    for name in ("bus.ko", "queue.ko"):
        (modules / "kernel" / name).write_bytes(name.encode())
    guest.pack_bare(tmp_path / "initrd", guest.module_files(modules, ["queue"]), "#!/bin/busybox sh\n")
    data = (tmp_path / "initrd").read_bytes()
    assert b"bus.ko\nqueue.ko\n" in data
    for place in (b"init\0", b"bin/busybox\0", b"modules/bus.ko\0", b"modules/order\0", b"proc\0", b"TRAILER!!!\0"):
        assert place in data
    assert b"python" not in data


def test_what_a_module_loaded_is_enough_to_run_it_elsewhere(tmp_path):
    listing = (
        "import json, numpy, lsemvae_edge.record, cryptography.hazmat.primitives.ciphers.aead, "
        "lsemvae_edge.benchmarks.guest as g; print(json.dumps(g.loaded_files()))"
    )
    said = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout
    for path, place in json.loads(said).items():
        target = tmp_path / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".py"):
            target.with_suffix(".pyc").write_bytes(guest._compiled(path))
        else:
            target.write_bytes(Path(path).read_bytes())
    run = "import numpy, lsemvae_edge.record, cryptography.hazmat.primitives.ciphers.aead; print(numpy.__file__)"
    environment = {"PYTHONHOME": "/nowhere", "PYTHONPATH": str(tmp_path / guest.PYTHON), "PATH": os.defpath}
    done = subprocess.run(
        [sys.executable, "-S", "-c", run], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))


def test_a_module_without_its_source_is_for_this_python():
    assert guest._compiled(guest.__file__)[:4] == importlib.util.MAGIC_NUMBER


def test_the_archive_is_what_cpio_reads(tmp_path):
    archive = guest._Archive()
    archive.folder("proc")
    archive.file("a/b/name", b"content")
    archive.file("a/b/name", b"again")
    data = archive.ended()
    names, at = {}, 0
    while True:
        size = int(data[at + 94 : at + 102], 16)
        name = data[at + 110 : at + 110 + size - 1]
        if name == b"TRAILER!!!":
            break
        assert data[at : at + 6] == b"070701"
        length = int(data[at + 54 : at + 62], 16)
        begin = at + 110 + size + -(110 + size) % 4
        names[name.decode()] = data[begin : begin + length]
        at = begin + length + -length % 4
    assert names == {"proc": b"", "a": b"", "a/b": b"", "a/b/name": b"content"}
