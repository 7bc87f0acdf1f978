"""``export --format c`` and ``verify`` of what it writes, as their user runs them."""

import json
import shutil

import pytest

from lsemvae_edge import cli
from lsemvae_edge.quantize.firmware import folder, gates, generate
from lsemvae_edge.quantize.targets import QuantizationError


@pytest.fixture(scope="module")
def exported(tmp_path_factory):  # type: ignore[no-untyped-def]
    out = tmp_path_factory.mktemp("exported") / "firmware"
    assert cli.main(["export", "--format", "c", "--out", str(out), "--json"]) == 0
    return out


@pytest.mark.slow
def test_a_folder_is_written_that_verifies(exported, capsys) -> None:  # type: ignore[no-untyped-def]
    assert [str(path.relative_to(exported)) for path in exported.rglob("Makefile")] == ["Makefile"]
    capsys.readouterr()
    assert cli.main(["verify", str(exported)]) == 0
    said = capsys.readouterr().out
    assert "files as listed; built and run here:" in said
    assert "\nnot ok" not in said


@pytest.mark.slow
def test_the_manifest_tells_what_was_proven(exported) -> None:  # type: ignore[no-untyped-def]
    manifest = json.loads((exported / "firmware.json").read_text())
    assert manifest["schema"] == "lsemvae-edge/firmware/1"
    assert manifest["agreement"]["float"]["n"] == 256
    assert manifest["agreement"]["float"]["flipped"] <= 3
    assert manifest["agreement"]["layers"] == 42 * manifest["agreement"]["inputs"]
    on_disk = {str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == on_disk - {"firmware.json"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["src/lsemvae_kernels.c", "model.blob", "firmware.json"])
def test_a_changed_file_is_found_before_anything_is_built(exported, tmp_path, capsys, name) -> None:  # type: ignore[no-untyped-def]
    copy = tmp_path / "firmware"
    shutil.copytree(exported, copy)
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content.replace(b"lsemvae-edge/firmware/1", b"lsemvae-edge/firmware/9")
                              if name == "firmware.json" else content[:-2] + b"\n\n")  # fmt: skip
    assert cli.main(["verify", str(copy), "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["schema"] == "lsemvae-edge/error/1"


@pytest.mark.slow
def test_a_known_answer_that_differs_fails_the_folder(exported, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    """The digests are made anew, as one who forges would: the folder's own test must find it."""
    manifest = folder.read(exported)
    contents = {name: (exported / name).read_bytes() for name in manifest["files"]}
    source = contents["src/lsemvae_kernels.c"].decode()
    assert "0x80000000) >> 32" in source
    contents["src/lsemvae_kernels.c"] = source.replace("0x80000000) >> 32", "0) >> 32").encode()
    about = {name: value for name, value in manifest.items() if name not in ("files", "schema")}
    folder.write(contents, about, tmp_path / "firmware")
    assert cli.main(["verify", str(tmp_path / "firmware")]) == 5
    assert "does not prove itself" in capsys.readouterr().err


def test_the_gate_names_a_layer_that_differs(firmware) -> None:  # type: ignore[no-untyped-def]
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge.quantize import parity, release

    made = firmware.firmware("small")
    contents = generate.contents(made)
    source = contents["src/lsemvae_model.c"].decode()
    contents["src/lsemvae_model.c"] = source.replace("(sum + n / 2) / n", "(sum + n / 2 + 1) / n").encode()
    with pytest.raises(QuantizationError, match=r"encoder0\.pool differs from the reference kernels by 1"):
        gates.check(contents, made, release.restored(bundles.default()), parity.simulated(made.spec, 8))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--format", "c,onnx"], "a folder of its own"),
        (["--format", "onnx", "--rates", "250"], "--rates is for"),
        (["--format", "c", "--rates", "fast"], "whole numbers"),
        (["--format", "c", "--rates", "90"], "below 100 Hz"),
    ],
)
def test_what_has_no_meaning_is_refused_in_words(tmp_path, capsys, arguments, why) -> None:  # type: ignore[no-untyped-def]
    assert cli.main(["export", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_compiler_nothing_is_released(tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["export", "--format", "c", "--out", str(tmp_path / "out")]) == 2
    assert "Install gcc or clang" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
