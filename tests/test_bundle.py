"""Bundles: what is written is read again, and nothing else is."""

import io
import json
import os
import shutil
import socket
import struct
import time
import warnings
import zipfile
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge import bundle as bundles
from lsemvae_edge import container, strict_json
from lsemvae_edge.errors import BundleError, ExitCode
from lsemvae_edge.manifest import FileInfo


def refused(match, path):
    with pytest.raises(BundleError, match=match) as caught:
        bundles.load(path).verify_files()
    assert caught.value.code == ExitCode.BUNDLE_REFUSED
    assert caught.value.next_step


def edit_manifest(path, change):
    parsed = json.loads((path / bundles.MANIFEST).read_text())
    change(parsed)
    (path / bundles.MANIFEST).write_text(json.dumps(parsed))


def zip_of(path, entries):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore", UserWarning)  # zipfile warns of a name written twice
        for name, content in entries:
            archive.writestr(name, content)
    return path


def entries_of(bundle):
    return [(entry.name, entry.read_bytes()) for entry in sorted(bundle.path.iterdir())]


@pytest.mark.parametrize("name", ["folder", "archive.zip"])
def test_what_is_written_is_loaded_again(dummy_bundle, model_spec, tmp_path, name):
    written = dummy_bundle(tmp_path / name)
    loaded = bundles.load(str(tmp_path / name))
    loaded.verify_files()
    assert loaded.manifest == written.manifest
    assert loaded.sha256 == written.sha256
    assert loaded.spec == model_spec
    assert loaded.manifest.metrics == {"fold_9": {"n": 3}}
    assert loaded.read("card.md") == b"# card\n"
    assert loaded.golden["logits"].shape == (1, 4)
    assert set(loaded.manifest.files) == {"model.tflite", "golden.npz", "card.md"}


def test_folder_and_archive_have_one_digest(dummy_bundle, tmp_path):
    assert dummy_bundle(tmp_path / "a").sha256 == dummy_bundle(tmp_path / "b.zip").sha256


def test_the_same_content_gives_the_same_archive(dummy_bundle, tmp_path):
    files = {"model.tflite": b"m" * 500, "golden.npz": b"g", "card.md": b"c"}
    dummy_bundle(tmp_path / "a.zip", files=files)
    dummy_bundle(tmp_path / "b.zip", files=dict(reversed(files.items())))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        # The two were written in one second, so that their clocks prove nothing.
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_folder_that_is_not_empty_is_not_written_to(dummy_bundle, tmp_path):
    dummy_bundle(tmp_path / "a")
    with pytest.raises(BundleError, match="not empty"):
        dummy_bundle(tmp_path / "a")


@pytest.mark.parametrize("at", [0, 5000, -1])
def test_one_changed_byte_of_a_file_is_found(dummy_bundle, at):
    path = dummy_bundle().path
    content = bytearray((path / "model.tflite").read_bytes())
    content[at] ^= 1
    (path / "model.tflite").write_bytes(content)
    refused("model.tflite in the bundle is not the file its manifest lists", path)


def test_a_longer_or_shorter_file_is_found(dummy_bundle):
    path = dummy_bundle().path
    content = (path / "model.tflite").read_bytes()
    (path / "model.tflite").write_bytes(content[:-1])
    refused("not the file its manifest lists", path)
    (path / "model.tflite").write_bytes(content + b"\0")
    refused("larger than stated", path)


def test_a_changed_manifest_changes_the_digest(dummy_bundle):
    bundle = dummy_bundle()
    edit_manifest(bundle.path, lambda parsed: parsed["spec"]["tasks"][0].update(upper=0.9))
    assert bundles.load(bundle.path).sha256 != bundle.sha256


def test_the_shipped_bundle_is_held_by_the_packages_own_digest(dummy_bundle, tmp_path, monkeypatch):
    shipped = dummy_bundle(tmp_path / "bundles" / bundles.DEFAULT_NAME)
    (tmp_path / "bundles" / "anchors.json").write_text(json.dumps({bundles.DEFAULT_NAME: shipped.sha256}))
    monkeypatch.setattr(bundles, "__file__", str(tmp_path / "bundle.py"))
    assert bundles.default().path == shipped.path
    edit_manifest(shipped.path, lambda parsed: parsed["spec"]["tasks"][0].update(upper=0.9))
    with pytest.raises(BundleError, match="not the one this package was released with"):
        bundles.default()


def test_an_unlisted_file_is_refused(dummy_bundle):
    path = dummy_bundle().path
    (path / "extra.py").write_text("print()")
    refused(r"unlisted files \['extra.py'\]", path)


@pytest.mark.parametrize("target_is_folder", [False, True], ids=["file", "folder"])
def test_an_unlisted_link_is_refused(dummy_bundle, tmp_path, target_is_folder):
    path = dummy_bundle().path
    target = tmp_path / "elsewhere"
    if target_is_folder:
        target.mkdir()
        (target / "extra.py").write_text("print()")
    else:
        target.write_text("x")
    (path / "more").symlink_to(target)
    refused("'more' in the bundle is a link", path)


def test_a_missing_file_is_refused(dummy_bundle):
    path = dummy_bundle().path
    (path / "card.md").unlink()
    refused(r"missing files \['card.md'\]", path)


def test_a_listed_name_that_is_a_folder_is_refused(dummy_bundle):
    path = dummy_bundle().path
    (path / "card.md").unlink()
    (path / "card.md").mkdir()
    refused("'card.md' in the bundle is a folder", path)


@pytest.mark.parametrize("depth", [1, 200])
def test_a_folder_in_a_bundle_is_refused_however_deep(dummy_bundle, depth):
    path = dummy_bundle().path
    path.joinpath(*["sub"] * depth).mkdir(parents=True)
    refused("'sub' in the bundle is a folder; a bundle has none", path)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_would_be_waited_for_is_refused_at_once(dummy_bundle, kind, monkeypatch):
    path = dummy_bundle().path
    (path / "card.md").unlink()
    if kind == "pipe":
        os.mkfifo(path / "card.md")
    else:
        monkeypatch.chdir(path)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("card.md")
    begun = time.monotonic()
    refused("'card.md' in the bundle is not a plain file", path)
    assert time.monotonic() - begun < 5


def test_a_pipe_that_takes_a_files_place_after_loading_is_not_waited_for(dummy_bundle):
    bundle = dummy_bundle()
    (bundle.path / "card.md").unlink()
    os.mkfifo(bundle.path / "card.md")
    with pytest.raises(BundleError, match="not a plain file"):
        bundle.read("card.md")


def test_a_pipe_in_place_of_an_archive_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    refused("not a plain file", tmp_path / "pipe.zip")


OUTSIDE = [
    "../evil", "/etc/evil", "sub/evil", "..\\evil", "..", ".", "C:evil", "C:\\evil", "\\\\server\\evil", "evil:stream",
    ".hidden", "evil.", "evil ", " evil", "sub/", "~", "evil\n", "\u0435vil", "a" * 101, "-evil",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_archived_name_that_could_lie_outside_is_refused(dummy_bundle, tmp_path, name):
    archive = zip_of(tmp_path / "evil.zip", [*entries_of(dummy_bundle()), (name, b"x")])
    refused("could lie outside the bundle's folder", archive)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_listed_name_that_could_lie_outside_is_refused(dummy_bundle, tmp_path, name):
    bundle = dummy_bundle()
    (tmp_path / "evil").write_bytes((bundle.path / "card.md").read_bytes())
    (bundle.path / "card.md").unlink()
    edit_manifest(bundle.path, lambda parsed: parsed["files"].update({name: parsed["files"].pop("card.md")}))
    refused("could lie outside the bundle's folder", bundle.path)


@pytest.mark.parametrize("name", [".hidden", "evil\n", "back\\slash", "C:evil"])
def test_an_odd_name_in_a_folder_is_refused(dummy_bundle, name):
    path = dummy_bundle().path
    (path / name).write_text("x")
    refused("could lie outside the bundle's folder", path)


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_that_could_lie_outside_is_written(dummy_bundle, tmp_path, name):
    files = {"model.tflite": b"m", "golden.npz": b"g", name: b"x"}
    with pytest.raises(BundleError, match="could lie outside"):
        dummy_bundle(tmp_path / "new", files=files)
    assert not (tmp_path / "new").exists()


def test_a_name_that_ends_early_in_an_archive_is_refused(dummy_bundle, tmp_path):
    archive = zip_of(tmp_path / "zero.zip", [*entries_of(dummy_bundle()), ("extraXevil", b"x")])
    raw = archive.read_bytes()
    archive.write_bytes(raw.replace(b"extraXevil", b"extra\0evil"))
    refused("could lie outside the bundle's folder", archive)


def test_names_that_some_systems_cannot_tell_apart_are_refused(dummy_bundle, tmp_path):
    archive = zip_of(tmp_path / "case.zip", [*entries_of(dummy_bundle()), ("CARD.md", b"x")])
    refused("differ in upper and lower case alone", archive)


@pytest.mark.parametrize("name", ["card.md", bundles.MANIFEST])
def test_a_link_in_place_of_a_file_is_refused(dummy_bundle, tmp_path, name):
    path = dummy_bundle().path
    shutil.move(path / name, tmp_path / "elsewhere")
    (path / name).symlink_to(tmp_path / "elsewhere")
    refused(f"'{name}' in the bundle is a link", path)


def test_a_link_in_an_archive_is_refused(dummy_bundle, tmp_path):
    link = zipfile.ZipInfo("card.md")
    link.external_attr = 0o120777 << 16
    entries = [entry for entry in entries_of(dummy_bundle()) if entry[0] != "card.md"]
    refused(
        "card.md in the bundle's archive is a link", zip_of(tmp_path / "link.zip", [*entries, (link, "/etc/passwd")])
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_a_method_whose_memory_the_archive_chooses_is_refused(dummy_bundle, tmp_path, method):
    with zipfile.ZipFile(tmp_path / "other.zip", "w", method) as archive:
        for name, content in entries_of(dummy_bundle()):
            archive.writestr(name, content)
    refused("compressed by another method than Deflate", tmp_path / "other.zip")


def test_an_encrypted_archive_is_refused(dummy_bundle, tmp_path):
    archive = zip_of(tmp_path / "secret.zip", entries_of(dummy_bundle()))
    raw = bytearray(archive.read_bytes())
    (at,) = struct.unpack("<L", raw[-6:-2])
    raw[at + 8] |= 1
    archive.write_bytes(raw)
    refused("is encrypted", archive)


def test_an_archive_in_an_archive_is_bytes_like_any_other(dummy_bundle, tmp_path):
    inner = zip_of(tmp_path / "inner.zip", [("../evil", b"x")]).read_bytes()
    files = {"model.tflite": b"m", "golden.npz": b"g", "inner.zip": inner}
    assert dummy_bundle(tmp_path / "outer.zip", files=files).read("inner.zip") == inner
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("change", ["behind", "before", "comment", "zip64"])
def test_more_than_one_plain_archive_is_refused(dummy_bundle, tmp_path, change):
    archive = dummy_bundle(tmp_path / "whole.zip").path
    raw = archive.read_bytes()
    head, end = raw[:-22], raw[-22:]
    archive.write_bytes(
        {
            "behind": raw + b"more",
            "before": b"#!/bin/sh\n" + raw,
            "comment": raw[:-2] + struct.pack("<H", 4) + b"more",
            "zip64": head + struct.pack("<4sLQL", b"PK\6\7", 0, len(head), 1) + end,
        }[change]
    )
    refused("is no archive|not one plain archive", archive)


def test_a_table_of_contents_larger_than_a_bundle_needs_is_not_read(dummy_bundle, tmp_path):
    archive = dummy_bundle(tmp_path / "whole.zip").path
    raw = archive.read_bytes()
    size, at = struct.unpack("<LL", raw[-10:-2])
    table = raw[at : at + size] + b"PK\1\2" * 100_000
    archive.write_bytes(raw[:at] + table + raw[-22:-10] + struct.pack("<LL", len(table), at) + raw[-2:])
    refused("not one plain archive", archive)


def test_an_archive_larger_than_a_bundle_may_be_is_not_read(dummy_bundle, tmp_path, monkeypatch):
    archive = dummy_bundle(tmp_path / "whole.zip").path
    monkeypatch.setattr(container, "MAX_TOTAL_BYTES", 1000)
    refused("not one plain archive", archive)


def test_a_name_given_twice_in_an_archive_is_refused(dummy_bundle, tmp_path):
    archive = zip_of(tmp_path / "twice.zip", [*entries_of(dummy_bundle()), ("card.md", b"# card\n")])
    refused("names a file twice", archive)


@pytest.mark.parametrize("schema", ["lsemvae-edge/bundle/99", None, 3])
def test_another_schema_is_refused_with_both_named(dummy_bundle, schema):
    path = dummy_bundle().path
    edit_manifest(path, lambda parsed: parsed.update(schema=schema))
    refused(rf"has schema {schema!r}; this software reads '{bundles.SCHEMA}'", path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\0", b"[" * 100_000], ids=["empty", "cut", "binary", "deep"])
def test_a_manifest_that_is_no_json_is_refused(dummy_bundle, content):
    path = dummy_bundle().path
    (path / bundles.MANIFEST).write_bytes(content)
    refused("not readable JSON|nested deeper", path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"schema": 1, "schema": 2}', "names the key 'schema' twice"),
        (b'{"metrics": NaN}', "not readable JSON"),
        (b'{"metrics": -Infinity}', "not readable JSON"),
        (b'{"bytes": 1' + b"0" * 10_000 + b"}", "not readable JSON"),
        (b'{"a": ' * 33 + b"1" + b"}" * 33, "nested deeper than 32 levels"),
        (b'"' + b'\\"' * 500_000, "not readable JSON"),
        (b" " * (strict_json.MAX_BYTES + 1), "larger than stated"),
    ],
    ids=["twice", "nan", "infinity", "digits", "deep", "quotes", "huge"],
)
def test_a_manifest_with_more_than_one_meaning_or_no_bound_is_refused_at_once(dummy_bundle, content, words):
    path = dummy_bundle().path
    (path / bundles.MANIFEST).write_bytes(content)
    begun = time.monotonic()
    refused(words, path)
    assert time.monotonic() - begun < 5


def test_brackets_in_strings_are_no_depth():
    text = '{"a": "' + "[{" * 100 + '\\"[", "b": ' + "[" * 31 + "]" * 31 + "}"
    assert set(strict_json.parse(text.encode(), "it")) == {"a", "b"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(version=0), "manifest.version is 0"),
        (lambda m: m.update(version=2**31), "manifest.version is 2147483648"),
        (lambda m: m.update(version=10**400), "manifest.version is 1000"),
        (lambda m: m.update(name=""), "no name of a bundle"),
        (lambda m: m.update(name="a b"), "no name of a bundle"),
        (lambda m: m.update(models=[]), "names no model"),
        (lambda m: m["models"].append(m["models"][0]), "or one twice"),
        (lambda m: m["models"][0].update(path="other"), "names 'other' and does not list it"),
        (lambda m: m.update(golden="other"), "names 'other' and does not list it"),
        (lambda m: m["files"].update({"manifest.json": m["files"]["card.md"]}), "cannot hold its own digest"),
        (lambda m: m["files"].update({"signature.json": m["files"]["card.md"]}), "cannot hold its own digest"),
        (lambda m: m["files"]["card.md"].update(sha256="0" * 63), "no SHA-256"),
        (lambda m: m["files"]["card.md"].update(sha256="A" * 64), "no SHA-256"),
        (lambda m: m["files"]["card.md"].update(bytes=-1), "listed with -1 bytes"),
        (lambda m: m["files"]["card.md"].update(bytes=10**12), "listed with 1000000000000 bytes"),
        (lambda m: m["files"].update({f"f{k}": m["files"]["card.md"] for k in range(64)}), "lists more than 64 files"),
        (
            lambda m: m["files"].update({f"f{k}": {"bytes": 2**26, "sha256": "0" * 64} for k in range(5)}),
            "larger together",
        ),
        (lambda m: m["spec"]["tasks"][0].update(title="\x1b[2J"), "title holds control characters"),
        (lambda m: m["spec"].update(id="a\u202eb"), "id holds control characters"),
        (lambda m: m["spec"]["tasks"][0].update(lower=10**400), "lower is 1000.*no finite number"),
    ],
)
def test_a_manifest_that_types_alone_would_let_pass_is_refused(dummy_bundle, change, words):
    path = dummy_bundle().path
    edit_manifest(path, change)
    refused(words, path)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"'])
def test_a_manifest_that_is_no_object_is_refused(dummy_bundle, content):
    path = dummy_bundle().path
    (path / bundles.MANIFEST).write_text(content)
    refused("schema None", path)


def test_a_manifest_with_an_unknown_key_is_refused(dummy_bundle):
    path = dummy_bundle().path
    edit_manifest(path, lambda parsed: parsed.update(surprise=1))
    refused(r"manifest: unknown keys \['surprise'\]", path)


def test_an_absent_bundle_is_refused(tmp_path):
    refused("There is no bundle at", tmp_path / "nothing")


def test_a_folder_without_manifest_is_no_bundle(tmp_path):
    refused("it has no manifest.json", tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 40])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "file.zip").write_bytes(content)
    refused("file.zip is no archive", tmp_path / "file.zip")


@pytest.mark.parametrize("archived", [False, True], ids=["folder", "archive"])
def test_too_many_files_are_refused(tmp_path, archived):
    entries = [(f"f{k}", b"") for k in range(container.MAX_FILES + 1)]
    if archived:
        path = zip_of(tmp_path / "many.zip", entries)
    else:
        path = tmp_path
        for name, content in entries:
            (path / name).write_bytes(content)
    refused(f"more than {container.MAX_FILES} files", path)


@pytest.mark.parametrize("name", ["folder", "archive.zip"])
def test_a_file_above_the_size_limit_is_refused_even_if_listed(dummy_bundle, tmp_path, monkeypatch, name):
    dummy_bundle(tmp_path / name)
    monkeypatch.setattr(container, "MAX_FILE_BYTES", 10_000)
    with pytest.raises(BundleError, match="larger than stated"):
        bundles.load(tmp_path / name).read("model.tflite")


def test_an_archive_that_unpacks_to_more_than_stated_is_refused(dummy_bundle, tmp_path):
    entries = dict(entries_of(dummy_bundle()))
    entries["card.md"] = b"\0" * 5_000_000
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    refused("card.md in the bundle is larger than stated", tmp_path / "bomb.zip")


def test_a_file_that_is_not_listed_is_not_read(dummy_bundle):
    with pytest.raises(BundleError, match="lists no file other"):
        dummy_bundle().read("other")


def test_a_file_that_vanishes_after_loading_is_a_bundle_error(dummy_bundle):
    bundle = dummy_bundle()
    (bundle.path / "card.md").unlink()
    with pytest.raises(BundleError):
        bundle.read("card.md")


def test_golden_vectors_that_are_no_arrays_are_a_bundle_error(dummy_bundle):
    bundle = dummy_bundle(files={"model.tflite": b"m", "golden.npz": b"not an archive", "card.md": b"c"})
    with pytest.raises(BundleError):
        _ = bundle.golden


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_damaged_archive_is_refused_or_reads_the_same(dummy_bundle, tmp_path, compression):
    whole = dummy_bundle(files={"model.tflite": bytes(range(256)) * 4, "golden.npz": b"g", "card.md": b"c"})
    expected = {name: whole.read(name) for name in whole.manifest.files}
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", compression) as archive:
        for name, content in entries_of(whole):
            archive.writestr(name, content)
    raw = (tmp_path / "whole.zip").read_bytes()
    damaged = tmp_path / "damaged.zip"
    # Every third byte of the part that zipfile parses itself, a sample of what lies before it.
    positions = [*range(0, len(raw) - 400, 31), *range(len(raw) - 400, len(raw), 3)]
    outcomes = {}
    for at in positions:
        damaged.write_bytes(raw[:at] + bytes([raw[at] ^ 0x5A]) + raw[at + 1 :])
        try:
            loaded = bundles.load(damaged)
            same = {name: loaded.read(name) for name in loaded.manifest.files} == expected
            outcomes[at] = "same" if same and loaded.sha256 == whole.sha256 else "changed"
        except BundleError:
            outcomes[at] = "refused"
        except Exception as error:  # noqa: BLE001 - whatever zipfile raises is what must not reach the caller
            outcomes[at] = repr(error)
    assert {outcome: at for at, outcome in outcomes.items() if outcome not in ("same", "refused")} == {}
    assert list(outcomes.values()).count("refused") > len(positions) / 2


# Model files ---------------------------------------------------------------------------------------


@pytest.fixture
def reaching_out(dummy_bundle, tmp_path):
    """A bundle whose ONNX file takes its weights from a file that lies where the program was started."""
    onnx = pytest.importorskip("onnx", reason="making ONNX files needs the extra `export`")
    weights = onnx.TensorProto(name="w", data_type=1, dims=[4096], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", "secret.bin"), ("length", "16384")):
        weights.external_data.add(key=key, value=value)
    described = [onnx.helper.make_tensor_value_info(name, 1, [4096]) for name in ("x", "y")]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Sum", ["x", "w"], ["y"])], "g", described[:1], described[1:], [weights]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "secret.bin").write_bytes(bytes(16384))
    whole = dummy_bundle(tmp_path / "whole")
    file = replace(whole.manifest.models[0], path="model.onnx", format="onnx", precision="fp32")
    files = {"model.onnx": model.SerializeToString(), "golden.npz": whole.read("golden.npz")}
    return dummy_bundle(tmp_path / "reaching", files=files, models=(file,))


def test_a_model_that_takes_data_from_outside_its_file_is_refused(reaching_out):
    refused("model.onnx in the bundle may take data from files outside it", reaching_out.path)


def test_the_runtime_itself_would_have_read_it(reaching_out, tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    onnxruntime.set_default_logger_severity(4)
    monkeypatch.chdir(tmp_path)
    content = (reaching_out.path / "model.onnx").read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert not session.run(None, {"x": np.zeros(4096, dtype=np.float32)})[0].any()


def test_a_model_in_the_runtimes_own_format_is_refused(dummy_bundle, tmp_path):
    whole = dummy_bundle()
    file = replace(whole.manifest.models[0], path="model.onnx", format="onnx")
    files = {"model.onnx": b"\0\0\0\0ORTM" + bytes(100), "golden.npz": whole.read("golden.npz")}
    refused("outside it", dummy_bundle(tmp_path / "ort", files=files, models=(file,)).path)


# Known answers ------------------------------------------------------------------------------------


def npz(**members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return packed.getvalue()


def npy(array, **changes):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {**np.lib.format.header_data_from_array_1_0(array), **changes})
    return stream.getvalue() + array.tobytes()


def test_arrays_come_back_as_numpy_wrote_them():
    written = {
        "a": np.arange(6, dtype=np.int16).reshape(2, 3),
        "b": np.array(["present", "inconclusive"]),
        "c": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "d": np.array(1.5, dtype=np.float32),
    }
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, **written)
        found = container.arrays(stream.getvalue())
        assert set(found) == set(written)
        for name, values in written.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_array_equal(found[name], values)


def test_a_pickle_among_the_known_answers_is_not_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "evil"),))

    stream = io.BytesIO()
    np.savez(stream, allow_pickle=True, evil=np.array([Evil()], dtype=object))
    with pytest.raises(BundleError, match="no arrays"):
        container.arrays(stream.getvalue())
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "content",
    [
        npz(a=npy(np.zeros(4), shape=(10**15,))),
        npz(a=npy(np.zeros(4), shape=(-1,))),
        npz(a=npy(np.zeros(4), shape=(2,))),
        npz(a=npy(np.zeros(4), descr="|O")),
        npz(a=npy(np.zeros(4), descr="no type")),
        npz(a=b"no array"),
        npz(a=b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535),
    ],
)
def test_known_answers_whose_header_lies_are_refused(content):
    with pytest.raises(BundleError, match="no arrays"):
        container.arrays(content)


def test_known_answers_that_unpack_without_bound_are_refused(monkeypatch):
    monkeypatch.setattr(container, "MAX_FILE_BYTES", 100_000)
    bomb = npz(a=npy(np.zeros(5_000)), b=npy(np.zeros(5_000)), c=npy(np.zeros(5_000)))
    assert len(bomb) < 2_000
    with pytest.raises(BundleError, match="unpack to more"):
        container.arrays(bomb)


# Whatever a manifest holds ------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places_of(value, at=()):
    yield at
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places_of(value[key], (*at, key))


@pytest.fixture
def mutated(dummy_bundle):
    """Function that changes one place of a manifest, and what it was before."""
    bundle = dummy_bundle()
    text = (bundle.path / bundles.MANIFEST).read_text()
    places = [place for place in places_of(json.loads(text)) if place]

    def mutate(number, value, remove):
        parsed = json.loads(text)
        *way, last = places[number % len(places)]
        holder = parsed
        for key in way:
            holder = holder[key]
        if remove:
            del holder[last]
        else:
            holder[last] = value
        (bundle.path / bundles.MANIFEST).write_text(json.dumps(parsed))
        return bundle.path, parsed

    return mutate


def test_any_value_anywhere_in_a_manifest_is_taken_or_a_bundle_error(mutated):
    outcomes = []

    @given(st.integers(0, 10_000), JSON, st.booleans())
    def hold(number, value, remove):
        path, _ = mutated(number, value, remove)
        try:
            bundles.load(path).verify_files()
            outcomes.append("taken")
        except BundleError as error:
            assert len(error.message) < 2_000
            outcomes.append("refused")

    hold()
    assert outcomes.count("refused") > 50


def test_any_bytes_are_a_bundle_or_a_bundle_error(tmp_path):
    @given(st.binary(max_size=300))
    def hold(content):
        (tmp_path / "file.zip").write_bytes(content)
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / bundles.MANIFEST).write_bytes(content)
        for path in (tmp_path / "file.zip", tmp_path / "folder"):
            with pytest.raises(BundleError):
                bundles.load(path)

    hold()


def test_a_manifest_swapped_after_loading_is_noticed(dummy_bundle):
    bundle = dummy_bundle()
    assert bundle.raw_manifest()
    edit_manifest(bundle.path, lambda parsed: parsed.update(version=2))
    with pytest.raises(BundleError, match="changed after it was loaded"):
        bundle.raw_manifest()


def test_sizes_and_digests_are_those_of_the_files(dummy_bundle):
    bundle = dummy_bundle()
    info = bundle.manifest.files["card.md"]
    assert asdict(info) == {"bytes": 7, "sha256": info.sha256}
    assert isinstance(info, FileInfo)
