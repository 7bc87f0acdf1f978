"""What was done to a kiosk while its store was closed stands in its audit log after the next start, once."""

import json
import os

import pytest

from lsemvae_edge import bundle as model_bundles
from lsemvae_edge import signing, trust
from lsemvae_edge.errors import StoreError
from lsemvae_edge.kiosk.updates import audit, bundles
from lsemvae_edge.store import Store, StoreKey, places
from lsemvae_edge.store.database import NAME


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.delenv(trust.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in (places.FOLDER_VARIABLE, places.KEY_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(bundles, "_tried", lambda path: "litert")


@pytest.fixture
def made(tmp_path, rewritten):
    """Function that puts a version of the shipped bundle on a stick, signed by a key that this machine trusts."""
    private, _, public = signing.generate(tmp_path / "hospital", None)
    trust.trust_key(public, "District hospital")
    key = signing.read_private(private, None)

    def make(version):
        path = tmp_path / "stick" / f"v{version}"
        path.parent.mkdir(exist_ok=True)
        return signing.sign(rewritten(model_bundles.default(), path, version=version), key).path

    return make


@pytest.fixture
def notes():
    """Function that opens the store as the kiosk does at its start, and returns the audit log's notes of changes."""

    def settled():
        with places.open_store("clinic") as store:
            audit.settle(store)
            return [entry.facts for entry in store.entries(kinds=audit.KINDS)]

    return settled


def waiting():
    return sorted(places.store_folder("clinic").with_name(audit.FOLDER).glob("*.json"))


def test_every_change_of_bundle_is_noted_from_digest_to_digest_with_who_did_it(made, notes):
    places.create_store().close()
    shipped = model_bundles.default().sha256
    second = bundles.install(made(2), operator="cli:root/asha").bundle.sha256
    third = bundles.install(made(3), operator="cli:kiosk").bundle.sha256
    bundles.roll_back(operator="cli:kiosk")
    bundles.use_shipped(operator="cli:kiosk")
    told = [(one["act"], one["before"], one["after"], one["operator"], one["finished"]) for one in notes()]
    assert told == [
        ("install", shipped, second, "cli:root/asha", True),
        ("install", second, third, "cli:kiosk", True),
        ("roll_back", third, second, "cli:kiosk", True),
        ("use_shipped", second, shipped, "cli:kiosk", True),
    ]
    assert waiting() == []
    assert len(notes()) == 4, "once"


def test_what_was_done_before_there_was_a_store_is_noted_in_its_first_start(made, notes):
    bundles.install(made(2), operator="cli:kiosk")
    assert len(waiting()) == 1
    assert waiting()[0].stat().st_mode & 0o077 == 0
    places.create_store().close()
    assert [one["version"] for one in notes()] == [2]


def test_the_same_bundle_again_is_no_change(made, notes):
    places.create_store().close()
    path = made(2)
    bundles.install(path)
    bundles.install(path)
    assert len(waiting()) == 1
    assert len(notes()) == 1


def test_a_switch_that_fails_leaves_no_note(made, notes, monkeypatch):
    places.create_store().close()
    path = made(2)

    def full(*_):
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr(bundles, "_switch", full)
        with pytest.raises(bundles.UpdateError):
            bundles.install(path)
    assert notes() == []


@pytest.mark.parametrize("is_after", [False, True])
def test_a_kill_leaves_a_note_that_says_whether_the_change_took_place(made, notes, monkeypatch, is_after):
    places.create_store().close()
    path, real = made(2), bundles._switch

    class KilledError(BaseException):
        pass

    def killed(*values, **named):
        if is_after:
            real(*values, **named)
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(bundles, "_switch", killed)
        with pytest.raises(KilledError):
            bundles.install(path)
    assert [one["finished"] for one in notes()] == [is_after]


def test_a_store_that_cannot_be_written_loses_no_note(made, tmp_path, notes):
    places.create_store().close()
    bundles.install(made(2))
    locked = Store.open(places.store_folder("clinic"), places.read_key(places.key_path()))
    with locked._log.writing(), places.open_store("clinic", wait_s=0.05) as store, pytest.raises(StoreError):
        audit.settle(store)
    locked.close()
    assert len(waiting()) == 1
    assert len(notes()) == 1


def test_a_kill_between_note_and_removal_notes_nothing_twice(made, notes):
    places.create_store().close()
    bundles.install(made(2))
    (path,) = waiting()
    content = path.read_bytes()
    notes()
    path.write_bytes(content)
    assert len(notes()) == 1
    assert waiting() == []


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", json.dumps({"kind": "attempt", "facts": {}}).encode()])
def test_a_note_that_cannot_be_read_is_said_and_stops_no_start(content, notes):
    places.create_store().close()
    folder = places.store_folder("clinic").with_name(audit.FOLDER)
    folder.mkdir()
    (folder / f"{'0' * 32}.json").write_bytes(content)
    assert [one.get("unreadable") for one in notes()] == [True]
    assert waiting() == []


def test_no_note_holds_the_store_key_or_a_person(made, tmp_path):
    key = StoreKey.create(tmp_path / "other.key", None)
    Store.create(places.store_folder("clinic"), key, kind="clinic").close()
    bundles.install(made(2), operator="cli:kiosk")
    (path,) = waiting()
    assert set(json.loads(path.read_text())) == {"kind", "operator", "facts"}
    assert (places.store_folder("clinic") / NAME).exists()
