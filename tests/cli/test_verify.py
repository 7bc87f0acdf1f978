"""``verify``: what it takes, and what each broken bundle is told."""

import json
import sys
from pathlib import Path

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge import golden, signing, trust

STAGES = {"resampled_mv", "filtered_mv", "beat_at", "input", "int8/fed", "int8/logits", "int8/mu", "int8/contributions"}


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the shipped bundle, to be damaged."""
    shipped = bundles.default()
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("manifest.json", *shipped.manifest.files):
        (folder / name).write_bytes((shipped.path / name).read_bytes())
    return folder


def edit_manifest(path, change):
    parsed = json.loads((path / "manifest.json").read_text())
    change(parsed)
    (path / "manifest.json").write_text(json.dumps(parsed))


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def sign(path, stem):
    private = stem.with_name(stem.name + ".pem")
    if not private.exists():
        signing.generate(stem, None)
    signing.sign(bundles.load(path), signing.read_private(private, None))
    return signing.read_public(stem.with_name(stem.name + ".pub"))


def test_the_shipped_bundle_verifies(cli):
    code, out, err = cli("verify")
    assert code == 0
    assert err == ""
    assert bundles.default().spec.id in out
    assert "ships with this software" in out
    assert "litert model-int8.tflite: " in out


def test_verification_names_every_stage_with_its_worst_difference(cli):
    code, out, _ = cli("verify", "--json")
    assert code == 0
    found = json.loads(out)
    shipped = bundles.default()
    assert found["schema"] == "lsemvae-edge/verification/1"
    assert (found["bundle"], found["sha256"]) == (shipped.spec.id, shipped.sha256)
    assert (found["name"], found["version"]) == (shipped.manifest.name, shipped.manifest.version)
    assert found["standing"] == {"kind": "shipped", "name": None, "key": None}
    assert found["files"] == len(shipped.manifest.files)
    (row,) = [row for row in found["runtimes"] if (row["runtime"], row["precision"]) == ("litert", "int8")]
    assert row["model"] in shipped.manifest.files
    stages = {check["stage"]: check for check in row["checks"]}
    assert set(stages) >= STAGES | {"int8/outcome"}
    assert all(check["worst"] <= check["allowed"] for check in stages.values())
    assert stages["int8/outcome"]["worst"] == 0
    assert {row["model"] for row in found["runtimes"]} | set(found["not_run"]) == {
        model.path for model in shipped.manifest.models
    }


def test_a_copy_of_the_shipped_bundle_verifies_at_its_path(cli, copy):
    code, out, _ = cli("verify", copy, "--json")
    assert code == 0
    assert json.loads(out)["standing"]["kind"] == "shipped"


def test_every_model_file_runs_on_every_runtime_that_takes_it(cli, two_format_bundle):
    code, out, _ = cli("verify", two_format_bundle.path, "--json")
    assert code == 0
    ran = {(row["runtime"], row["precision"]) for row in json.loads(out)["runtimes"]}
    assert ran >= {("litert", "int8"), ("onnxruntime", "fp32")}


def test_a_model_that_nothing_here_runs_is_named(cli, two_format_bundle, monkeypatch):
    from lsemvae_edge import runtime

    monkeypatch.setattr(
        runtime, "available", lambda: tuple(e for e in runtime.ENGINES if e.format == "tflite" and e.installed)
    )
    code, out, _ = cli("verify", two_format_bundle.path, "--json")
    assert code == 0
    (onnx,) = [model.path for model in two_format_bundle.manifest.models if model.format == "onnx"]
    assert json.loads(out)["not_run"] == [onnx]
    assert f"{onnx}: not run" in cli("verify", two_format_bundle.path)[1]


def refusals(copy, tmp_path):
    """Each way to break a bundle, on a machine that trusts one key and has taken version 5."""

    def tampered_byte():
        sign(copy, tmp_path / "hospital")
        damage(copy / "model-int8.tflite")

    def tampered_golden():
        sign(copy, tmp_path / "hospital")
        damage(copy / "golden.npz")

    def tampered_manifest():
        sign(copy, tmp_path / "hospital")
        edit_manifest(copy, lambda m: m["spec"]["tasks"][0].update(lower=0.0))

    def old_version():
        edit_manifest(copy, lambda m: m.update(version=4))
        sign(copy, tmp_path / "hospital")

    def wrong_key():
        sign(copy, tmp_path / "stranger")

    def swapped_key():
        sign(copy, tmp_path / "hospital")
        other = sign(copy.parent / "spare", tmp_path / "stranger")
        parsed = json.loads((copy / "signature.json").read_text())
        (copy / "signature.json").write_text(json.dumps({**parsed, "key": other.base64}))

    def no_signature():
        assert not (copy / "signature.json").exists()

    def cut_signature():
        sign(copy, tmp_path / "hospital")
        parsed = json.loads((copy / "signature.json").read_text())
        (copy / "signature.json").write_text(json.dumps({**parsed, "signature": parsed["signature"][:40]}))

    def unlisted_file():
        sign(copy, tmp_path / "hospital")
        (copy / "run.sh").write_text("echo")

    return {
        "tampered byte": (tampered_byte, "model-int8.tflite in the bundle is not the file its manifest lists"),
        "tampered golden": (tampered_golden, "golden.npz in the bundle is not the file its manifest lists"),
        "tampered manifest": (tampered_manifest, "The signature does not hold"),
        "old version": (old_version, "is older than version 5"),
        "wrong key": (wrong_key, "which this machine does not trust"),
        "swapped key": (swapped_key, "The signature does not hold"),
        "no signature": (no_signature, "The bundle is not signed"),
        "cut signature": (cut_signature, "it was cut"),
        "unlisted file": (unlisted_file, "unlisted files ['run.sh']"),
    }


@pytest.mark.parametrize("broken", list(refusals(Path(), Path())))
@pytest.mark.parametrize("command", ["verify", "screen"])
def test_each_broken_bundle_is_refused_with_its_own_message(cli, copy, tmp_path, broken, command, dummy_bundle):
    dummy_bundle(tmp_path / "spare")
    sign(tmp_path / "spare", tmp_path / "hospital")
    key = signing.read_public(tmp_path / "hospital.pub")
    trust.trust_key(key, "District hospital")
    trust.update(lambda store: trust.Store(keys=store.keys, accepted={bundles.load(copy).manifest.name: 5}))
    edit_manifest(copy, lambda m: m.update(version=6))
    break_it, words = refusals(copy, tmp_path)[broken]
    break_it()
    arguments = ("verify", copy) if command == "verify" else ("screen", "--demo", "--bundle", copy)
    code, out, _ = cli(*arguments, "--json")
    assert code == 5
    error = json.loads(out)
    assert error["code"] == 5
    assert words in error["message"]
    assert error["next_step"]
    assert cli(*arguments)[2].splitlines()[0] == f"lsemvae-edge: {error['message']}"


def test_where_nothing_is_trusted_a_changed_manifest_is_another_unsigned_bundle(cli, copy):
    edit_manifest(copy, lambda m: m["spec"]["tasks"][0].update(title="another title"))
    code, out, _ = cli("verify", copy, "--json")
    assert code == 0
    assert json.loads(out)["standing"]["kind"] == "unsigned"
    assert "not signed" in cli("verify", copy)[1]


def test_a_bundle_that_misses_its_known_answers_is_refused(cli, copy, rewritten, tmp_path):
    bundle = bundles.load(copy)
    wrong = {**bundle.golden, "int8/logits": bundle.golden["int8/logits"] + 1}
    changed = rewritten(bundle, tmp_path / "changed", {bundle.manifest.golden: golden.packed(wrong)})
    code, out, _ = cli("verify", changed.path, "--json")
    assert code == 5
    message = json.loads(out)["message"]
    assert "int8/logits of model-int8.tflite on litert" in message


def test_the_schema_is_held_by_a_validator_that_is_not_ours(cli, copy, monkeypatch):
    whole = bundles.load(copy).manifest
    edit_manifest(copy, lambda m: m.update(licence=7))
    monkeypatch.setattr(bundles, "from_dict", lambda cls, value: whole)
    code, out, _ = cli("verify", copy, "--json")
    assert code == 5
    assert "does not fit the schema of bundles: data.licence must be string" in json.loads(out)["message"]


def test_what_is_no_bundle_is_refused(cli, tmp_path):
    assert cli("verify", tmp_path)[0] == 5
    assert cli("verify", tmp_path / "absent")[0] == 5


def test_verification_remembers_nothing(cli, copy, tmp_path):
    edit_manifest(copy, lambda m: m.update(version=9))
    key = sign(copy, tmp_path / "hospital")
    trust.trust_key(key, "District hospital")
    code, out, _ = cli("verify", copy, "--json")
    assert code == 0
    assert json.loads(out)["standing"] == {"kind": "signed", "name": "District hospital", "key": key.id}
    assert trust.read_store().accepted == {}


def test_nothing_of_a_bundle_is_run(cli, copy, tmp_path, rewritten, monkeypatch):
    bundle = bundles.load(copy)
    evil = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n".encode()
    files = {name: evil for name in ("sitecustomize.py", "conftest.py", "torch.py", "numpy.py", "json.py")}
    changed = rewritten(bundle, tmp_path / "evil", files)
    monkeypatch.chdir(changed.path)
    assert cli("verify", changed.path)[0] == 0
    assert not (tmp_path / "ran").exists()
    assert not [name for name in sys.modules if str(changed.path) in str(getattr(sys.modules[name], "__file__", ""))]
