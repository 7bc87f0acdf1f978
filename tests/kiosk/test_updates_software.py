"""New software beside the old: tried on copies, switched in one step, and the way back.

Environments here are small folders whose programs lead to the ones that run the tests; the last test makes a real one.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lsemvae_edge import __version__, signing, trust
from lsemvae_edge.errors import BundleError, StoreError, UsageError
from lsemvae_edge.kiosk import instance
from lsemvae_edge.kiosk.updates import audit, environment, machine, rehearsal, snapshots, software, wheelhouse
from lsemvae_edge.kiosk.updates.durable import UpdateError
from lsemvae_edge.store import database, schema

PYTHON = machine.python()
OWN = "lsemvae_edge-{}-py3-none-any.whl"


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.delenv(trust.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv(software.VARIABLE, str(tmp_path / "software"))


@pytest.fixture
def key(tmp_path):
    """A key that this machine trusts."""
    private, _, public = signing.generate(tmp_path / "maker", None)
    trust.trust_key(public, "Maker")
    return signing.read_private(private, None)


@pytest.fixture
def house(tmp_path, key):
    """Function that makes a signed wheelhouse for this machine."""

    def make(version="1.0", signer=key, processor=None, pythons=(PYTHON,)):
        path = tmp_path / f"house-{version}"
        path.mkdir()
        name = OWN.format(version)
        (path / name).write_bytes(version.encode())
        made = wheelhouse.seal(path, dict.fromkeys(pythons, (name,)), processor or machine.processor())
        return (wheelhouse.sign(made, signer) if signer else made).path

    return make


@pytest.fixture
def light(monkeypatch):
    """Environments without wheels; what was tried in them is listed, and each says which stores it writes."""
    tried = []
    writes = {}

    def build(folder, made, python):
        (folder / "bin").mkdir(parents=True)
        for name, command in (("python", sys.executable), ("lsemvae-edge", f"{sys.executable} -m nothing")):
            (folder / "bin" / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (folder / "bin" / name).chmod(0o755)

    def try_out(folder, version, bundle):
        tried.append((folder.name, version, bundle))
        return writes.get(version, schema.VERSION)

    monkeypatch.setattr(environment, "build", build)
    monkeypatch.setattr(environment, "try_out", try_out)
    return tried, writes


@pytest.fixture
def store(tmp_path):
    """Function that makes a store as software of an earlier version left it."""

    def make(version=schema.VERSION, entries=3):
        folder = tmp_path / "data" / "lsemvae-edge" / "clinic"
        folder.mkdir(parents=True, mode=0o700)
        database.new_file(folder)
        with closing(sqlite3.connect(folder / database.NAME)) as made:
            for step in schema.STEPS[:version]:
                for statement in step:
                    made.execute(statement)
            made.execute(f"PRAGMA user_version = {version}")
            for seq in range(1, entries + 1):
                made.execute(
                    "INSERT INTO entries (seq, kind, boot, boot_seq, at, clock_set, previous, hash, body_sha256)"
                    " VALUES (?, 'attempt', 'b', ?, '', 0, x'00', ?, x'00')",
                    (seq, seq, bytes([seq] * 32)),
                )
            made.commit()
        return folder

    return make


@pytest.fixture
def nowhere(tmp_path):
    return tmp_path / "data" / "lsemvae-edge" / "clinic"


def in_use():
    return (software.folder() / software.CURRENT).resolve().name


def versions():
    return sorted(path.name for path in (software.folder() / software.VERSIONS).iterdir())


# What is taken ------------------------------------------------------------------------------------


def test_a_signed_wheelhouse_is_installed_tried_and_used(house, light, nowhere):
    done = software.install(house(), store=nowhere)
    assert done.changed
    assert (done.version.version, done.version.previous, done.backup, done.entries) == ("1.0", None, None, None)
    assert software.current() == done.version
    assert in_use() == done.version.name
    assert light[0] == [(done.version.name, "1.0", None)]


def test_the_same_wheelhouse_again_is_tried_and_changes_nothing(house, light, nowhere):
    path = house()
    software.install(path, store=nowhere)
    assert not software.install(path, store=nowhere).changed
    assert len(versions()) == 1


def test_an_unsigned_wheelhouse_needs_root_and_the_word(house, light, nowhere, monkeypatch):
    path = house(signer=None)
    with pytest.raises(BundleError, match="not signed") as caught:
        software.install(path, store=nowhere)
    assert "--unsigned" in caught.value.next_step
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="Only root"):
        software.install(path, store=nowhere, unsigned=True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert software.install(path, store=nowhere, unsigned=True).version.key is None


def test_a_key_that_is_not_trusted_is_refused(house, light, nowhere, tmp_path):
    private, _, public = signing.generate(tmp_path / "stranger", None)
    with pytest.raises(BundleError, match=public.id):
        software.install(house(signer=signing.read_private(private, None)), store=nowhere)
    assert not software.folder().exists()


def test_a_damaged_wheel_is_refused_before_anything_is_made(house, light, nowhere):
    path = house()
    (path / OWN.format("1.0")).write_bytes(b"9.9")
    with pytest.raises(BundleError, match="not the file"):
        software.install(path, store=nowhere)
    assert not software.folder().exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [({"processor": "riscv64"}, "for riscv64; this machine"), ({"pythons": ("3.99",)}, r"for Python 3\.99")],
)
def test_a_wheelhouse_for_another_machine_is_refused(house, light, nowhere, options, said):
    with pytest.raises(UsageError, match=said):
        software.install(house(**options), store=nowhere)


def test_an_old_operating_system_is_told(house, light, nowhere, monkeypatch):
    monkeypatch.setattr(machine, "glibc", lambda: (2, 5))
    with pytest.raises(UsageError, match=r"needs glibc 2\.17; this system has 2\.5"):
        software.install(house(), store=nowhere)


def test_a_32_bit_system_is_refused_by_name(house, light, nowhere, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "armv7l")
    monkeypatch.setattr("struct.calcsize", lambda code: 4)
    for call in (lambda: software.install(house(), store=nowhere), lambda: software.roll_back(store=nowhere)):
        with pytest.raises(UsageError, match=r"32-bit system \(armv7l\)"):
            call()


def test_older_software_is_installed_on_purpose_alone(house, light, nowhere):
    old = house("1.9")
    software.install(house("1.10"), store=nowhere)
    with pytest.raises(UsageError, match=r"1\.9, older than 1\.10"):
        software.install(old, store=nowhere)
    assert software.install(old, store=nowhere, older=True).version.version == "1.9"


def test_too_little_room_is_said_before_anything_is_made(house, light, nowhere, monkeypatch):
    path = house()
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((4096, 4096, 9, 9, 9, 0, 0, 0, 0, 255)))
    with pytest.raises(UpdateError, match="MB are free"):
        software.install(path, store=nowhere)
    assert versions() == []


# The trial ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["build", "try_out"])
@pytest.mark.parametrize("fails", [UpdateError("It does not start."), OSError(28, "No space left on device")])
def test_software_that_fails_is_removed_and_the_old_one_stays(house, light, nowhere, monkeypatch, step, fails):
    old = software.install(house("1.0"), store=nowhere).version
    path = house("1.1")

    def fail(*_):
        raise fails

    monkeypatch.setattr(environment, step, fail)
    with pytest.raises(UpdateError):
        software.install(path, store=nowhere)
    assert software.current() == old
    assert versions() == [old.name]


def test_the_bundle_in_use_is_tried_too(house, light, nowhere, rewritten, key):
    from lsemvae_edge import bundle as model_bundles
    from lsemvae_edge.kiosk.updates import bundles

    shipped = model_bundles.default()
    bundle = signing.sign(rewritten(shipped, nowhere.parent / "v2", version=2), key)
    installed = bundles.install(bundle.path).bundle
    software.install(house(), store=nowhere)
    assert light[0][0][2] == installed.path


def test_a_real_trial_asks_doctor_verify_and_the_store(tmp_path, light):
    """The programs that run these tests stand in for those of a new environment."""
    folder = tmp_path / "made"
    (folder / "bin").mkdir(parents=True)
    asked = tmp_path / "asked"
    call = f"import sys; open({str(asked)!r}, 'a').write(' '.join(sys.argv[1:2]) + chr(10)); "
    main = "from lsemvae_edge.cli import main; sys.exit(main())"
    (folder / "program.py").write_text(call + main)
    for name, command in (("python", sys.executable), ("lsemvae-edge", f"{sys.executable} {folder / 'program.py'}")):
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    real = real_try_out()
    assert real(folder, __version__, None) == schema.VERSION
    assert asked.read_text().split() == ["--version", "doctor", "verify"]
    with pytest.raises(UpdateError, match=f"says that it is {__version__}, not 9"):
        real(folder, "9.0", None)
    with pytest.raises(UpdateError, match="does not run the bundle that this kiosk uses: There is no bundle at"):
        real(folder, __version__, tmp_path / "absent")


def real_try_out():
    import importlib.util

    found = importlib.util.find_spec(environment.__name__)
    fresh = importlib.util.module_from_spec(found)
    found.loader.exec_module(fresh)
    return fresh.try_out


def test_what_a_crash_or_an_error_says_ends_in_one_sentence():
    def child(code, out="", err=""):
        return subprocess.CompletedProcess([], code, out, err)

    assert environment._last_line(child(-4)) == "it crashed with signal 4."
    assert environment._last_line(child(2, err="lsemvae-edge: It is so.\nDo that.")) == "It is so."
    assert (
        environment._last_line(child(1, err="x\nERROR: No matching distribution\nmore")) == "No matching distribution"
    )
    assert environment._last_line(child(1)) == "no reason was given"


def test_nothing_of_the_operators_environment_leads_python_or_pip_elsewhere():
    given = {"PYTHONPATH": "/x", "PIP_INDEX_URL": "http://x", "VIRTUAL_ENV": "/y", "HOME": "/h"}
    assert environment._clean(given) == {"HOME": "/h", "PIP_CONFIG_FILE": os.devnull}


# Records ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(1, schema.VERSION + 1))
def test_records_of_every_version_are_led_to_the_new_one_on_a_copy(house, light, store, version):
    folder = store(version)
    light[1]["1.0"] = schema.VERSION
    before = (folder / database.NAME).read_bytes()
    done = software.install(house(), store=folder)
    assert done.entries == 3
    assert snapshots.version_of(folder) == version
    assert (folder / database.NAME).read_bytes() == before
    left = {path.name for path in folder.parent.iterdir()} - {"bundles", audit.FOLDER}
    if version == schema.VERSION:
        assert done.backup is None
        assert left == {"clinic"}
    else:
        assert left == {"clinic", done.backup.name}
        assert snapshots.version_of(done.backup) == version
        assert done.backup.stat().st_mode & 0o077 == 0
        assert (done.backup / database.NAME).stat().st_mode & 0o077 == 0


def test_the_migration_comes_before_the_switch_and_stops_it(house, light, store, monkeypatch):
    old = software.install(house("1.0"), store=store()).version
    folder = software.folder().parent / "data" / "lsemvae-edge" / "clinic"
    with closing(sqlite3.connect(folder / database.NAME)) as made:
        made.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(UpdateError, match=r"could not take over the records, on a copy of them: .*newer software"):
        software.install(house("1.1"), store=folder)
    assert software.current() == old
    assert {path.name for path in folder.parent.iterdir()} == {"clinic", audit.FOLDER}


def test_records_being_written_meanwhile_are_copied_whole(store, tmp_path):
    folder = store()
    with closing(sqlite3.connect(folder / database.NAME, isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE entries SET wrapped_key = NULL")
        writer.execute(
            "INSERT INTO entries (seq, kind, boot, boot_seq, at, clock_set, previous, hash, body_sha256)"
            " VALUES (4, 'attempt', 'b', 4, '', 0, x'00', x'04', x'00')"
        )
        copy = snapshots.take(folder, tmp_path / "copy")
    assert [path.name for path in copy.iterdir()] == [database.NAME]
    assert rehearsal.migrate(copy)["entries"] == 4


def test_a_rehearsal_notices_entries_that_are_no_longer_the_same(store, tmp_path, monkeypatch):
    copy = snapshots.take(store(1), tmp_path / "copy")
    bad = ("DROP TRIGGER entries_are_fixed", "UPDATE entries SET hash = x'00' WHERE seq = 2")
    monkeypatch.setattr(schema, "STEPS", (schema.STEPS[0], (*schema.STEPS[1], *bad), *schema.STEPS[2:]))
    with pytest.raises(StoreError, match="does not read the records as they are"):
        rehearsal.migrate(copy)


def test_copies_that_updates_kept_are_removed_on_request(house, light, store):
    folder = store(1)
    backup = software.install(house(), store=folder).backup
    assert backup.is_dir()
    assert software.remove_backups(folder) == 1
    assert {path.name for path in folder.parent.iterdir()} == {"clinic", audit.FOLDER}


def test_while_the_kiosk_runs_neither_update_nor_way_back_begins(house, light, store):
    folder = store()
    software.install(house("1.0"), store=folder)
    path = house("1.1")
    software.install(path, store=folder)
    with instance.only(folder):
        for call in (lambda: software.install(path, store=folder), lambda: software.roll_back(store=folder)):
            with pytest.raises(UsageError, match="A kiosk is running"):
                call()
    assert software.current().version == "1.1"


def test_what_root_makes_beside_the_records_belongs_to_their_owner(house, light, store, monkeypatch):
    folder = store(1)
    owner = folder.stat()
    given = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, uid, gid, **_: given.append((Path(path).name, uid, gid)))
    done = software.install(house(), store=folder)
    (note,) = (folder.parent / audit.FOLDER).iterdir()
    names = {done.backup.name, database.NAME, instance.NAME, audit.FOLDER, note.name}
    assert set(given) == {(name, owner.st_uid, owner.st_gid) for name in names}


# Back ---------------------------------------------------------------------------------------------


def test_back_to_the_software_before(house, light, store):
    folder = store()
    old = software.install(house("1.0"), store=folder).version
    software.install(house("1.1"), store=folder)
    assert software.roll_back(store=folder).version == old
    assert software.current() == old
    assert light[0][-1][1] == "1.0"
    with pytest.raises(UsageError, match="no earlier version"):
        software.roll_back(store=folder)


def test_back_is_refused_where_the_old_software_cannot_read_the_records(house, light, store):
    folder = store(1)
    light[1].update({"1.0": 1, "1.1": 2})
    software.install(house("1.0"), store=folder)
    new = software.install(house("1.1"), store=folder)
    assert new.backup
    with closing(sqlite3.connect(folder / database.NAME)) as opened_by_the_new_software:
        opened_by_the_new_software.execute("PRAGMA user_version = 2")
    with pytest.raises(UsageError, match=r"of version 2 by now; software 1\.0 knows versions up to 1") as caught:
        software.roll_back(store=folder)
    assert str(new.backup) in caught.value.message
    assert software.current() == new.version


def test_back_works_before_the_new_software_has_opened_the_records(house, light, store):
    folder = store(1)
    light[1].update({"1.0": 1, "1.1": 2})
    software.install(house("1.0"), store=folder)
    software.install(house("1.1"), store=folder)
    assert software.roll_back(store=folder).version.version == "1.0"


def test_two_versions_are_kept(house, light, nowhere):
    made = [software.install(house(f"1.{n}"), store=nowhere).version for n in range(3)]
    assert versions() == sorted(version.name for version in made[1:])


# Cut off ------------------------------------------------------------------------------------------


def test_an_environment_that_was_not_finished_is_never_used_and_removed(house, light, nowhere):
    old = software.install(house("1.0"), store=nowhere).version
    path = house("1.1")
    name = wheelhouse.read(path).name
    (software.folder() / software.VERSIONS / name / "bin").mkdir(parents=True)
    assert software.current() == old
    new = software.install(path, store=nowhere).version
    assert (software.folder() / software.VERSIONS / name / "bin" / "python").exists()
    assert new.name == name


def test_killed_before_any_change_to_a_file_the_old_or_the_new_software_is_in_use(house, light, nowhere, tmp_path):
    # The oldest is removed after the switch.
    software.install(house("0.9"), store=nowhere)
    old = software.install(house("1.0"), store=nowhere).version
    path = house("1.1")
    new = wheelhouse.read(path).name
    shutil.copytree(software.folder(), tmp_path / "kept", symlinks=True)
    seen = set()
    for number in range(1, 60):
        shutil.rmtree(software.folder())
        shutil.copytree(tmp_path / "kept", software.folder(), symlinks=True)
        code = in_child(number, lambda: software.install(path, store=nowhere))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        found = software.current()
        assert found.name in (old.name, new)
        seen.add(found.name)
        assert software.install(path, store=nowhere).version.name == new
    assert number > 6
    assert seen == {old.name, new}


def in_child(number, call):
    """Run a call in a forked process that is killed before its numbered change to a file; return its exit code."""
    child = os.fork()
    if child == 0:
        code = 99
        count = [0]
        writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

        def hook(event, arguments):
            changes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.chmod") or (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & writing
            )
            count[0] += bool(changes)
            if changes and count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            call()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_link_that_leads_nowhere_is_said_and_mended_by_an_update(house, light, nowhere):
    path = house()
    version = software.install(path, store=nowhere).version
    (software.folder() / software.VERSIONS / version.name / software.MARK).unlink()
    with pytest.raises(UpdateError, match="no finished version"):
        software.current()
    newer = software.install(house("1.1"), store=nowhere).version
    assert software.current() == replace(newer, previous=None)


# For real -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_wheelhouse_for_this_machine(tmp_path, key, store):
    """Resolved by the script that makes the one for the kiosks, installed by pip from it alone, tried, and used."""
    root = Path(__file__).parents[2]
    out = tmp_path / "house"
    command = [root / ".ci" / "wheelhouse", out, "--machine", machine.processor(), "--python", PYTHON]
    subprocess.run([sys.executable, *command, "--key", tmp_path / "maker.pem"], check=True, cwd=tmp_path)
    folder = store(1)
    done = software.install(out, store=folder)
    program = software.folder() / software.CURRENT / "bin" / "lsemvae-edge"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert said.strip() == done.version.version == __version__
    assert (done.entries, done.version.store_version) == (3, schema.VERSION)
    assert snapshots.version_of(folder) == 1
    assert snapshots.version_of(done.backup) == 1
    where = "import lsemvae_edge, textual, bleak; print(lsemvae_edge.__file__)"
    python = software.folder() / software.CURRENT / "bin" / "python"
    found = subprocess.run([python, "-I", "-c", where], capture_output=True, text=True, check=True).stdout
    assert str(software.folder()) in found
