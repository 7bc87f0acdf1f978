"""Bundles: what is written is read again, and nothing else is."""

import json
import shutil
import warnings
import zipfile

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.errors import BundleError, ExitCode


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
    refused("more", path)


def test_a_missing_file_is_refused(dummy_bundle):
    path = dummy_bundle().path
    (path / "card.md").unlink()
    refused(r"missing files \['card.md'\]", path)


def test_a_listed_name_that_is_a_folder_is_refused(dummy_bundle):
    path = dummy_bundle().path
    (path / "card.md").unlink()
    (path / "card.md").mkdir()
    refused(r"missing files \['card.md'\]", path)


def test_a_file_in_a_subfolder_is_refused(dummy_bundle):
    path = dummy_bundle().path
    (path / "sub").mkdir()
    (path / "sub" / "card.md").write_text("x")
    refused("outside its folder: 'sub/card.md'", path)


def test_a_hidden_file_is_refused(dummy_bundle):
    path = dummy_bundle().path
    (path / ".hidden").write_text("x")
    refused("outside its folder: '.hidden'", path)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "sub/evil", "..\\evil", ".."])
def test_a_name_that_leaves_the_archive_is_refused(dummy_bundle, tmp_path, name):
    archive = zip_of(tmp_path / "evil.zip", [*entries_of(dummy_bundle()), (name, b"x")])
    refused("outside its folder|unlisted", archive)


def test_a_listed_name_that_leaves_the_bundle_is_refused(dummy_bundle, tmp_path):
    bundle = dummy_bundle()
    (tmp_path / "evil").write_bytes((bundle.path / "card.md").read_bytes())
    (bundle.path / "card.md").unlink()
    edit_manifest(bundle.path, lambda parsed: parsed["files"].update({"../evil": parsed["files"].pop("card.md")}))
    refused(r"missing files \['../evil'\]", bundle.path)


@pytest.mark.parametrize("name", ["card.md", bundles.MANIFEST])
def test_a_link_in_place_of_a_file_is_refused(dummy_bundle, tmp_path, name):
    path = dummy_bundle().path
    shutil.move(path / name, tmp_path / "elsewhere")
    (path / name).symlink_to(tmp_path / "elsewhere")
    refused(f"{name} in the bundle is a link", path)


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
    refused("not readable JSON", path)


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
    refused("neither a bundle folder nor an archive", tmp_path / "file.zip")


@pytest.mark.parametrize("archived", [False, True], ids=["folder", "archive"])
def test_too_many_files_are_refused(tmp_path, archived):
    entries = [(f"f{k}", b"") for k in range(bundles.MAX_FILES + 1)]
    if archived:
        path = zip_of(tmp_path / "many.zip", entries)
    else:
        path = tmp_path
        for name, content in entries:
            (path / name).write_bytes(content)
    refused(f"more than {bundles.MAX_FILES} files", path)


@pytest.mark.parametrize("name", ["folder", "archive.zip"])
def test_a_file_above_the_size_limit_is_refused_even_if_listed(dummy_bundle, tmp_path, monkeypatch, name):
    dummy_bundle(tmp_path / name)
    monkeypatch.setattr(bundles, "MAX_FILE_BYTES", 10_000)
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
