"""A command finds its store, key and passphrase."""

import pytest

from lsemvae_edge.errors import StoreError
from lsemvae_edge.store import Store, StoreKey, places


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for variable in (
        places.FOLDER_VARIABLE, places.KEY_VARIABLE, places.PASSPHRASE_VARIABLE, "CREDENTIALS_DIRECTORY"
    ):  # fmt: skip
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("sys.stdin", None)


def test_places_follow_the_environment(tmp_path, monkeypatch):
    assert places.store_folder("clinic") == tmp_path / "data" / "lsemvae-edge" / "clinic"
    assert places.key_path() == tmp_path / "config" / "lsemvae-edge" / "store.key"
    monkeypatch.setenv(places.FOLDER_VARIABLE, str(tmp_path / "usb"))
    monkeypatch.setenv(places.KEY_VARIABLE, str(tmp_path / "stick" / "a.key"))
    assert places.store_folder("demo") == tmp_path / "usb" / "demo"
    assert places.key_path() == tmp_path / "stick" / "a.key"


def test_a_clinics_store_is_never_made_by_the_way():
    with pytest.raises(StoreError, match="no store") as told:
        places.open_store("clinic")
    assert told.value.next_step == "Run `lsemvae-edge kiosk setup`."
    assert not places.key_path().exists()


def test_the_store_of_demonstrations_is_made_when_it_is_wanted(make_attempt, make_record):
    with places.open_store("demo") as store:
        assert store.kind == "demo"
        seq = store.append(make_attempt(record=make_record(origin="simulated"))).seq
    with places.open_store("demo") as store:
        assert store.read(seq).attempt.record.origin == "simulated"
    assert places.demo_key_path().stat().st_mode & 0o777 == 0o600
    assert not places.key_path().exists()
    assert not places.store_folder("clinic").exists()


def test_a_clinics_store_is_set_up_and_opened():
    with places.create_store() as store:
        assert store.folder == places.store_folder("clinic")
    with places.open_store("clinic") as store:
        assert store.kind == "clinic"
    with pytest.raises(StoreError, match="not empty"):
        places.create_store()


def test_a_missing_key_is_told(tmp_path):
    places.create_store().close()
    places.key_path().rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="no key"):
        places.open_store("clinic")


def test_a_passphrase_comes_from_a_file_a_credential_or_the_terminal(tmp_path, monkeypatch):
    places.create_store("seven wet dogs").close()
    with pytest.raises(StoreError, match="needs a passphrase"):
        places.open_store("clinic")
    asked = []
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
        patch.setattr("getpass.getpass", lambda prompt: asked.append(prompt) or "seven wet dogs")
        places.open_store("clinic").close()
    assert asked
    (tmp_path / places.CREDENTIAL).write_text("seven wet dogs\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    places.open_store("clinic").close()
    wrong = tmp_path / "wrong"
    wrong.write_text("six wet dogs\n")
    monkeypatch.setenv(places.PASSPHRASE_VARIABLE, str(wrong))
    with pytest.raises(StoreError, match="not the passphrase"):
        places.open_store("clinic")
    wrong.write_text("seven wet dogs\r\nsecond line")
    places.open_store("clinic").close()
    monkeypatch.setenv(places.PASSPHRASE_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(StoreError, match="passphrase file"):
        places.open_store("clinic")


def test_a_key_is_changed_with_its_file(make_attempt):
    with places.create_store() as store:
        seq = store.append(make_attempt()).seq
        old = StoreKey.read(places.key_path())
        assert places.rotate(store) == 2
        store.note("print", {})
    assert StoreKey.read(places.key_path()).secret != old.secret
    assert [path.name for path in places.key_path().parent.iterdir()] == ["store.key"]
    with places.open_store("clinic") as store:
        assert store.read(seq).attempt.record is not None
    with pytest.raises(StoreError, match="not that of the store"):
        Store.open(places.store_folder("clinic"), old)


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_a_change_of_key_that_is_cut_leaves_a_store_that_opens(moment, make_attempt, monkeypatch):
    store = places.create_store()
    seq = store.append(make_attempt()).seq

    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "before the commit":
            patch.setattr(Store, "rotate", cut)
        else:
            patch.setattr(places, "_into_place", cut)
        with pytest.raises(KeyboardInterrupt):
            places.rotate(store)
    store.close()
    with places.open_store("clinic") as again:
        assert again.read(seq).attempt.record is not None
        assert places.rotate(again) == (3 if moment == "after the commit" else 2)
    with places.open_store("clinic") as again:
        assert again.verify().ok
    names = sorted(path.name.split("-")[0] for path in places.key_path().parent.iterdir())
    # A key is never destroyed on a guess.
    assert names == (["store.key"] if moment == "after the commit" else ["store.key", "store.key.unused"])


def test_a_key_that_waits_for_its_place_does_not_hide_what_is_wrong(monkeypatch):
    places.create_store().close()
    StoreKey.create(places.key_path().with_name("store.key.new"))
    places.open_store("clinic").close()
    monkeypatch.setattr("lsemvae_edge.store.schema.VERSION", 1)
    with pytest.raises(StoreError, match="newer software"):
        places.open_store("clinic")
    assert places.key_path().exists()
