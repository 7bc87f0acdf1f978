"""Keys, signatures and what a machine trusts; every key here is made here."""

import base64
import dataclasses
import json
import os
import re
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge import bundle as bundles
from lsemvae_edge import signing, trust
from lsemvae_edge.bundle import Standing
from lsemvae_edge.errors import BundleError, ExitCode, UsageError


@pytest.fixture(autouse=True)
def _own_store(tmp_path, monkeypatch):
    monkeypatch.delenv(trust.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))


@pytest.fixture
def keys(tmp_path):
    """Function that makes a key pair: its private file and its public key."""

    def make(name="hospital", passphrase=None):
        private, _, public = signing.generate(tmp_path / "keys" / name, passphrase)
        return private, public

    return make


@pytest.fixture
def signed(dummy_bundle, keys, tmp_path):
    """Function that writes and signs a bundle."""
    made = {}

    def make(path="signed", key="hospital", **changes):
        made[key] = made.get(key) or keys(key)
        bundle = dummy_bundle(tmp_path / path, **changes)
        return signing.sign(bundle, signing.read_private(made[key][0], None)), made[key][1]

    return make


def refused(match, call, *arguments, **options):
    with pytest.raises(BundleError, match=match) as caught:
        call(*arguments, **options)
    assert caught.value.code == ExitCode.BUNDLE_REFUSED
    assert caught.value.next_step
    return caught.value.message


def edit_manifest(path, change):
    parsed = json.loads((path / bundles.MANIFEST).read_text())
    change(parsed)
    (path / bundles.MANIFEST).write_text(json.dumps(parsed))


def edit_signature(path, **changes):
    parsed = json.loads((path / bundles.SIGNATURE).read_text())
    (path / bundles.SIGNATURE).write_text(json.dumps({**parsed, **changes}))


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# Keys ---------------------------------------------------------------------------------------------


def test_a_private_key_is_for_its_owner_alone_and_never_written_over(tmp_path):
    private, public, key = signing.generate(tmp_path / "k.v1", None)
    assert (private.name, public.name) == ("k.v1.pem", "k.v1.pub")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert public.read_text() == f"lsemvae-edge-ed25519 {key.base64} {key.id}\n"
    assert re.fullmatch("[0-9a-f]{32}", key.id)
    before = private.read_bytes()
    with pytest.raises(UsageError, match="never written over"):
        signing.generate(tmp_path / "k.v1", None)
    private.unlink()
    with pytest.raises(UsageError, match=r"k\.v1\.pub exists"):
        signing.generate(tmp_path / "k.v1", None)
    assert not private.exists()
    assert before.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_a_public_key_is_read_back(keys):
    private, key = keys()
    assert signing.read_public(private.with_suffix(".pub")) == key


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"ssh-ed25519 AAAA 00",
        b"lsemvae-edge-ed25519 AAAA 00",
        b"lsemvae-edge-ed25519 !!!! 00",
        b"lsemvae-edge-ed25519 " + base64.b64encode(bytes(32)) + b" " + b"0" * 32,
    ],
)
def test_what_is_no_public_key_is_wrong_usage(tmp_path, content):
    (tmp_path / "k.pub").write_bytes(content)
    with pytest.raises(UsageError):
        signing.read_public(tmp_path / "k.pub")


def test_an_encrypted_key_opens_with_its_passphrase_alone(keys):
    private, key = keys("secret", b"open sesame")
    assert b"ENCRYPTED" in private.read_bytes()
    opened = signing.read_private(private, b"open sesame")
    assert opened.public_key().public_bytes_raw() == key.raw
    with pytest.raises(UsageError, match="is encrypted"):
        signing.read_private(private, None)
    with pytest.raises(UsageError, match="not opened by this passphrase"):
        signing.read_private(private, b"open barley")


def test_another_kind_of_key_is_wrong_usage(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    pem = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "ec.pem").write_bytes(pem)
    (tmp_path / "no.pem").write_bytes(b"no key")
    with pytest.raises(UsageError, match="another kind of key"):
        signing.read_private(tmp_path / "ec.pem", None)
    with pytest.raises(UsageError, match="no private key in PEM"):
        signing.read_private(tmp_path / "no.pem", None)
    with pytest.raises(UsageError, match="cannot be read"):
        signing.read_private(tmp_path / "absent.pem", None)


# Signatures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["folder", "archive.zip"])
def test_a_signature_leaves_the_bundle_what_it_was(signed, tmp_path, path):
    bundle, key = signed(path)
    again = bundles.load(tmp_path / path)
    assert signing.check(again) == key
    again.verify_files()
    assert again.read("card.md") == b"# card\n"
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")) == []
    assert again.sha256 == bundle.sha256


def test_folder_and_archive_have_one_signature(signed):
    assert signed("folder")[0].signature == signed("archive.zip")[0].signature


def test_the_archives_bytes_follow_from_its_content(signed, tmp_path):
    signed("a.zip")
    signed("b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_second_signature_replaces_the_first(signed, keys):
    bundle, first = signed()
    private, second = keys("other")
    assert signing.check(signing.sign(bundle, signing.read_private(private, None))) == second
    assert first != second


def test_a_damaged_bundle_is_not_signed(dummy_bundle, keys):
    bundle = dummy_bundle()
    damage(bundle.path / "model.tflite")
    refused("not the file its manifest lists", signing.sign, bundle, signing.read_private(keys()[0], None))
    assert not (bundle.path / bundles.SIGNATURE).exists()


def test_the_signature_is_plain_ed25519_over_a_text_of_two_lines(signed):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    bundle, key = signed()
    text = f"lsemvae-edge/signature/1\n{bundle.sha256}\n".encode()
    raw = base64.b64decode(bundle.signature.signature)
    Ed25519PublicKey.from_public_bytes(key.raw).verify(raw, text)


def test_a_tampered_manifest_is_refused_also_where_nothing_is_trusted(signed):
    bundle, key = signed()
    edit_manifest(bundle.path, lambda m: m["spec"]["tasks"][0].update(upper=0.9))
    message = refused("The signature does not hold", trust.admit, bundles.load(bundle.path))
    assert key.id in message


def test_a_signature_of_another_bundle_is_refused(signed, tmp_path):
    first, _ = signed("first")
    signed("second", version=2)
    (first.path / bundles.SIGNATURE).write_bytes((tmp_path / "second" / bundles.SIGNATURE).read_bytes())
    refused("The signature does not hold", trust.admit, bundles.load(first.path))


def test_a_swapped_key_is_refused(signed, keys):
    bundle, _ = signed()
    edit_signature(bundle.path, key=keys("other")[1].base64)
    refused("The signature does not hold", trust.admit, bundles.load(bundle.path))


@pytest.mark.parametrize("at", [0, 31, 32, 63])
def test_each_half_of_a_signature_counts(signed, at):
    bundle, _ = signed()
    raw = bytearray(base64.b64decode(bundle.signature.signature))
    raw[at] ^= 1
    edit_signature(bundle.path, signature=base64.b64encode(raw).decode())
    refused("The signature does not hold", trust.admit, bundles.load(bundle.path))


def test_a_signature_without_its_first_line_is_one_of_something_else(signed, keys):
    bundle, _ = signed()
    private = signing.read_private(keys("signer")[0], None)
    public = signing.PublicKey(private.public_key().public_bytes_raw())
    bare = base64.b64encode(private.sign(bundle.sha256.encode())).decode()
    edit_signature(bundle.path, key=public.base64, signature=bare)
    refused("The signature does not hold", trust.admit, bundles.load(bundle.path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"signature": base64.b64encode(bytes(63)).decode()}, "63 bytes, not 64: it was cut"),
        ({"signature": ""}, "0 bytes, not 64"),
        ({"key": base64.b64encode(bytes(31)).decode()}, "31 bytes, not 32"),
        ({"signature": "!" * 88}, "no base64"),
        ({"signature": base64.b64encode(bytes(64)).decode() + "\n"}, "no base64|control characters"),
        ({"signature": base64.b64encode(bytes(64)).decode()[:-3] + "B=="}, "no base64"),
        ({"signature": "\u00e9" * 88}, "no base64"),
        ({"signature": 3}, "signature.signature is 3"),
        ({"more": 1}, "unknown keys"),
        ({"schema": "lsemvae-edge/signature/2"}, "has schema"),
    ],
)
def test_a_malformed_signature_is_refused_before_anything_asks_whose_it_is(signed, changes, words):
    bundle, _ = signed()
    edit_signature(bundle.path, **changes)
    refused(words, bundles.load, bundle.path)


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"{", b'{"schema": 1, "schema": 1}', b" " * 2000, b"[" * 900],
)
def test_a_signature_file_that_is_none_is_refused(signed, content):
    bundle, _ = signed()
    (bundle.path / bundles.SIGNATURE).write_bytes(content)
    refused("signature", bundles.load, bundle.path)


def test_a_link_in_place_of_a_signature_is_refused(signed, tmp_path):
    bundle, _ = signed()
    (bundle.path / bundles.SIGNATURE).rename(tmp_path / "elsewhere")
    (bundle.path / bundles.SIGNATURE).symlink_to(tmp_path / "elsewhere")
    refused("is a link", bundles.load, bundle.path)


def test_any_signature_file_is_taken_or_a_bundle_error(signed):
    bundle, _ = signed()
    whole = (bundle.path / bundles.SIGNATURE).read_bytes()

    @given(st.integers(0, len(whole) - 1), st.binary(max_size=3), st.integers(0, 3))
    def hold(at, put, over):
        changed = whole[:at] + put + whole[at + over :]
        (bundle.path / bundles.SIGNATURE).write_bytes(changed)
        try:
            standing = trust.admit(bundles.load(bundle.path)).standing
        except BundleError:
            return
        assert standing.kind == "unknown_key"
        assert json.loads(changed) == json.loads(whole)

    hold()


# Whose bundles are taken --------------------------------------------------------------------------


def test_where_nothing_is_trusted_everything_whole_is_taken_and_called_what_it_is(dummy_bundle, signed, tmp_path):
    unsigned = trust.admit(dummy_bundle())
    assert unsigned.standing == Standing("unsigned")
    bundle, key = signed()
    assert trust.admit(bundle).standing == Standing("unknown_key", None, key.id)
    assert "nobody vouches" in trust.warning(unsigned.standing)
    assert not (tmp_path / "configuration").exists()


def test_a_kiosk_refuses_what_nobody_vouches_for_also_where_nothing_is_trusted(dummy_bundle, signed):
    refused("is not signed", trust.admit, dummy_bundle(), strict=True)
    refused("does not trust", trust.admit, signed()[0], strict=True)


def test_a_trusted_keys_bundle_is_taken_and_others_are_refused(dummy_bundle, signed):
    bundle, key = signed()
    trust.trust_key(key, "District hospital")
    admitted = trust.admit(bundle)
    assert admitted.standing == Standing("signed", "District hospital", key.id)
    assert trust.warning(admitted.standing) is None
    stranger, other = signed("stranger", key="stranger")
    message = refused("which this machine does not trust", trust.admit, stranger)
    assert other.id in message
    refused("The bundle is not signed, and its digest is not pinned", trust.admit, dummy_bundle())


def test_a_pinned_bundle_is_taken_whoever_signed_it(dummy_bundle, signed):
    bundle, key = signed(version=3)
    unsigned = dummy_bundle()
    trust.pin(bundle.sha256, "ours")
    trust.pin(unsigned.sha256, "ours, unsigned")
    assert trust.admit(bundle).standing == Standing("pinned", "ours", key.id)
    edit_signature(bundle.path, signature=base64.b64encode(bytes(64)).decode())
    refused("The signature does not hold", trust.admit, bundles.load(bundle.path))


def test_a_pinned_bundle_that_was_changed_is_another(dummy_bundle):
    bundle = dummy_bundle()
    trust.pin(bundle.sha256, "ours")
    edit_manifest(bundle.path, lambda m: m["spec"]["tasks"][0].update(upper=0.9))
    refused("its digest is not pinned", trust.admit, bundles.load(bundle.path))


def test_the_shipped_bundle_is_taken_wherever_it_lies_also_on_a_pinned_machine(signed, tmp_path):
    trust.trust_key(signed()[1], "hospital")
    shipped = bundles.default()
    assert shipped.standing == Standing("shipped")
    (tmp_path / "copy").mkdir()
    for name in (bundles.MANIFEST, *shipped.manifest.files):
        (tmp_path / "copy" / name).write_bytes((shipped.path / name).read_bytes())
    assert trust.admit(bundles.load(tmp_path / "copy")).standing == Standing("shipped")


def test_a_removed_key_is_no_longer_trusted(signed):
    bundle, key = signed()
    trust.trust_key(key, "hospital")
    trust.pin("ab" * 32, "other")
    removed, left = trust.remove(key.id[:8])
    assert removed == key.id
    assert left.keys == ()
    refused("does not trust", trust.admit, bundle)
    trust.remove("ab" * 32)
    assert trust.admit(bundle).standing.kind == "unknown_key"
    for prefix in ("", "zz", key.id):
        with pytest.raises(UsageError, match="names no key"):
            trust.remove(prefix)


def test_an_id_that_names_several_removes_none():
    trust.pin("ab" + "0" * 62, "a")
    trust.pin("ab" + "1" * 62, "b")
    with pytest.raises(UsageError, match="several"):
        trust.remove("ab")
    assert len(trust.read_store().pins) == 2


def test_a_key_trusted_twice_is_one_key_under_its_last_name(keys):
    _, key = keys()
    trust.trust_key(key, "old name")
    assert [known.name for known in trust.trust_key(key, "new name").keys] == ["new name"]


# Older versions -----------------------------------------------------------------------------------


def test_an_older_version_is_refused_until_the_operator_goes_back(signed):
    old, key = signed("old", version=2)
    new, _ = signed("new", version=5)
    trust.trust_key(key, "hospital")
    trust.admit(old)
    trust.admit(new)
    assert trust.read_store().accepted == {"made-by-hand": 5}
    message = refused("is older than version 5", trust.admit, old)
    assert "version 2" in message
    trust.roll_back(old)
    assert trust.admit(old).standing.kind == "signed"
    trust.admit(new)
    refused("is older than version 5", trust.admit, old)


def test_an_older_pinned_version_is_refused_too(dummy_bundle, tmp_path):
    old, new = dummy_bundle(tmp_path / "old"), dummy_bundle(tmp_path / "new", version=2)
    trust.pin(old.sha256, "old")
    trust.pin(new.sha256, "new")
    trust.admit(new)
    refused("is older than version 2", trust.admit, old)


def test_versions_count_within_a_name(signed):
    trust.trust_key(signed("a", version=5, name="a")[1], "hospital")
    trust.admit(bundles.load(signed("b", version=5, name="b")[0].path))
    assert trust.admit(signed("c", version=1, name="c")[0]).standing.kind == "signed"


def test_nobody_goes_back_to_what_nobody_vouches_for(dummy_bundle, signed):
    bundle, _ = signed()
    refused("does not trust", trust.roll_back, bundle)
    refused("is not signed", trust.roll_back, dummy_bundle())
    damage(bundle.path / "model.tflite")
    refused("not the file its manifest lists", trust.roll_back, bundle)


def test_a_newer_version_whose_files_are_damaged_does_not_shut_out_the_older(signed):
    old, key = signed("old")
    new, _ = signed("new", version=2)
    trust.trust_key(key, "hospital")
    damage(new.path / "model.tflite")
    refused("not the file its manifest lists", trust.admit, new)
    assert trust.admit(old).standing.kind == "signed"


def test_what_nobody_vouches_for_is_not_remembered(dummy_bundle, tmp_path):
    trust.admit(dummy_bundle(tmp_path / "new", version=7))
    assert trust.read_store().accepted == {}


def test_a_version_that_cannot_be_remembered_is_refused(signed, tmp_path, monkeypatch):
    bundle, key = signed()
    trust.trust_key(key, "hospital")

    def no_space(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    refused("cannot be written: No space left", trust.admit, bundle)
    store = tmp_path / "configuration" / "lsemvae-edge"
    assert {entry.name for entry in store.iterdir()} == {"trust.json", ".trust.json.lock"}
    assert [known.id for known in trust.read_store().keys] == [key.id]


# The store ----------------------------------------------------------------------------------------


def test_the_store_is_for_its_owner_alone(keys, tmp_path):
    trust.trust_key(keys()[1], "hospital")
    path = tmp_path / "configuration" / "lsemvae-edge" / "trust.json"
    assert trust.store_path() == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_without_a_configuration_folder_the_store_is_in_the_home(monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert trust.store_path() == Path("/home/someone/.config/lsemvae-edge/trust.json")


def test_without_a_home_the_store_must_be_named(monkeypatch, dummy_bundle):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    refused("no home folder", trust.admit, dummy_bundle())


def test_a_store_that_is_named_and_absent_is_no_empty_one(dummy_bundle, keys, tmp_path, monkeypatch):
    monkeypatch.setenv(trust.VARIABLE, str(tmp_path / "etc" / "trust.json"))
    refused("which does not exist", trust.admit, dummy_bundle())
    trust.trust_key(keys()[1], "hospital")
    refused("is not signed", trust.admit, dummy_bundle(tmp_path / "other"))


def test_a_store_that_others_can_write_is_refused(keys, dummy_bundle):
    trust.trust_key(keys()[1], "hospital")
    trust.store_path().chmod(0o666)
    refused("can be written by other users", trust.admit, dummy_bundle())


KEY = base64.b64encode(bytes(range(32))).decode()
WHOLE = {"schema": trust.SCHEMA, "keys": [{"name": "a", "key": KEY}], "pins": [], "accepted": {"a": 1}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"\0" * 100,
        b" " * (4 * 1024 * 1024 + 1),
        b"[" * 100_000,
        {**WHOLE, "schema": "lsemvae-edge/trust/2"},
        {**WHOLE, "more": 1},
        {**WHOLE, "keys": [{"name": "a", "key": KEY[:-4]}]},
        {**WHOLE, "keys": [{"name": "a", "key": "!"}]},
        {**WHOLE, "keys": WHOLE["keys"] * 2},
        {**WHOLE, "pins": [{"name": "a", "sha256": "0" * 63}]},
        {**WHOLE, "pins": [{"name": "a", "sha256": "0" * 64}] * 2},
        {**WHOLE, "accepted": {"a": 0}},
        {**WHOLE, "accepted": {"a b": 1}},
        {**WHOLE, "accepted": {"a": "1"}},
        {**WHOLE, "accepted": {"a": True}},
        {key: value for key, value in WHOLE.items() if key != "pins"},
    ],
)
def test_a_damaged_store_is_an_error_and_never_an_empty_one(dummy_bundle, content):
    trust.update(lambda store: store)
    trust.store_path().write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    bundle = dummy_bundle()
    before = trust.store_path().read_bytes()
    for call in (lambda: trust.admit(bundle), lambda: trust.pin("ab" * 32, "x"), lambda: trust.remove("ab")):
        refused(r"The trust store .* is damaged", call)
    assert trust.store_path().read_bytes() == before


def test_a_store_that_is_no_file_is_refused_and_not_waited_for(dummy_bundle):
    trust.store_path().parent.mkdir(parents=True)
    os.mkfifo(trust.store_path(), 0o600)
    refused("is not a plain file", trust.admit, dummy_bundle())
    trust.store_path().unlink()
    trust.store_path().mkdir()
    refused("The trust store", trust.admit, dummy_bundle(trust.store_path().parent / "other"))


def test_changes_at_one_time_all_arrive():
    begun = threading.Barrier(8)

    def change(number):
        begun.wait()
        trust.pin(f"{number:064x}", f"number {number}")

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trust.read_store().pins) == 8


# What it costs ------------------------------------------------------------------------------------


def test_the_shipped_bundle_needs_neither_store_nor_cryptography(tmp_path):
    code = """
import sys
from lsemvae_edge.cli import main
code = main(["screen", "--demo", "--json"])
assert code == 0, code
loaded = {name.partition(".")[0] for name in sys.modules}
assert not {"cryptography", "fastjsonschema"} & loaded, loaded
assert "lsemvae_edge.trust" not in sys.modules
"""
    # A store that would be an error if it were read.
    environment = {**os.environ, trust.VARIABLE: str(tmp_path / "absent.json")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"]["trust"] == "shipped"


def test_loading_a_signed_bundle_is_cheap_and_asks_nobody(signed):
    bundle, _ = signed()
    code = f"import sys\nfrom lsemvae_edge import bundle\nbundle.load({str(bundle.path)!r})\n" + (
        "assert not {'cryptography', 'lsemvae_edge.trust', 'fastjsonschema'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_bundle_knows_its_standing_only_after_somebody_asked(signed):
    bundle, _ = signed()
    assert bundles.load(bundle.path).standing is None
    admitted = trust.admit(bundle)
    assert dataclasses.replace(admitted, standing=None) == bundle


def test_a_signed_archive_is_a_plain_one(signed, tmp_path):
    signed("a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert bundles.SIGNATURE in archive.namelist()
        assert archive.testzip() is None
