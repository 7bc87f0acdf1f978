"""A new bundle from a stick: whole or not at all, tried before it is used, and never another one silently."""

import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsemvae_edge import bundle as model_bundles
from lsemvae_edge import signing, trust
from lsemvae_edge.errors import BundleError, ExitCode, UsageError
from lsemvae_edge.kiosk.updates import bundles
from lsemvae_edge.kiosk.updates.durable import UpdateError
from lsemvae_edge.kiosk.updates.pointers import POINTER

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.delenv(trust.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def key(tmp_path):
    """A key that this machine trusts."""
    private, _, public = signing.generate(tmp_path / "hospital", None)
    trust.trust_key(public, "District hospital")
    return signing.read_private(private, None)


@pytest.fixture
def made(key, tmp_path, rewritten):
    """Function that puts a version of the shipped bundle on a stick, signed."""

    def make(version, path=None, signer=key, **changes):
        shipped = model_bundles.default()
        bundle = rewritten(shipped, path or tmp_path / "stick" / f"v{version}", version=version, **changes)
        return (signing.sign(bundle, signer) if signer else bundle).path

    (tmp_path / "stick").mkdir()
    return make


@pytest.fixture
def untried(monkeypatch):
    """Known answers are not run, where a test is about files."""
    monkeypatch.setattr(bundles, "_tried", lambda path: "litert")


def version_in_use():
    return bundles.current().manifest.version


def leftovers():
    return [path.name for path in bundles.folder().iterdir() if path.name.startswith(".draft-")]


# What is taken ------------------------------------------------------------------------------------


def test_where_nothing_was_installed_the_shipped_bundle_is_used_and_nothing_is_written(tmp_path):
    assert bundles.current().standing.kind == "shipped"
    assert not (tmp_path / "data").exists()


def test_a_signed_bundle_is_tried_copied_and_used(made):
    path = made(2)
    done = bundles.install(path)
    assert (done.runtime, done.changed, done.previous) == ("litert", True, "shipped")
    assert done.bundle.standing.kind == "signed"
    shutil.rmtree(path)
    bundle = bundles.current()
    assert (bundle.manifest.version, bundle.standing.name) == (2, "District hospital")
    assert bundle.path == bundles.folder() / bundle.sha256
    assert not any(one.is_symlink() for one in bundle.path.iterdir())
    assert trust.read_store().accepted == {bundle.manifest.name: 2}
    assert leftovers() == []


def test_an_archive_is_installed_as_a_folder(made, tmp_path, untried):
    bundles.install(made(2, tmp_path / "stick" / "v2.zip"))
    assert bundles.current().path.is_dir()
    assert version_in_use() == 2


def test_the_same_bundle_again_changes_nothing(made, untried):
    bundles.install(made(2))
    done = bundles.install(made(2, Path(os.environ["XDG_DATA_HOME"]) / "again"))
    assert (done.changed, done.previous, version_in_use()) == (False, "shipped", 2)


def test_a_bundle_that_was_signed_anew_takes_its_new_signature_along(made, tmp_path, untried):
    path = made(2)
    bundles.install(path)
    private, _, public = signing.generate(tmp_path / "other", None)
    trust.trust_key(public, "Other hospital")
    signing.sign(model_bundles.load(path), signing.read_private(private, None))
    assert bundles.install(path).bundle.standing.name == "Other hospital"
    assert bundles.current().standing.name == "Other hospital"


@pytest.mark.parametrize("trusting", [True, False])
def test_what_nobody_vouches_for_is_refused_and_leaves_nothing(made, untried, trusting):
    path = made(2, signer=None)
    if not trusting:
        trust.remove(trust.read_store().keys[0].id)
    with pytest.raises(BundleError, match="not signed"):
        bundles.install(path)
    assert not bundles.folder().exists()
    assert version_in_use() == 1


def test_an_older_version_is_taken_on_purpose_alone(made, untried):
    old = made(2)
    bundles.install(made(3))
    with pytest.raises(BundleError, match="older than version 3"):
        bundles.install(old)
    assert version_in_use() == 3
    bundles.install(old, roll_back=True)
    assert version_in_use() == 2


def test_two_bundles_are_kept(made, untried):
    digests = [bundles.install(made(version)).bundle.sha256 for version in (2, 3, 4)]
    held = {path.name for path in bundles.folder().iterdir() if path.is_dir()}
    assert held == set(digests[1:])


# The trial ----------------------------------------------------------------------------------------


def test_a_bundle_with_other_answers_than_it_states_is_refused(made):
    bundles.install(made(2))
    stated = dict(model_bundles.default().golden)
    stated["int8/logits"] = stated["int8/logits"] + np.float32(5)
    content = io.BytesIO()
    np.savez_compressed(content, **stated)
    wrong = made(3, files={model_bundles.default().manifest.golden: content.getvalue()})
    with pytest.raises(BundleError, match=r"Known answers differ in litert: int8/logits") as caught:
        bundles.install(wrong)
    assert caught.value.code == ExitCode.BUNDLE_REFUSED
    assert version_in_use() == 2
    assert trust.read_store().accepted == {model_bundles.default().manifest.name: 2}
    assert leftovers() == []


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.kill(os.getpid(), 11)", "crashed on the bundle with signal 11"),
        ("raise SystemExit('no such operator')", "does not run here: no such operator"),
        ("import time; time.sleep(60)", "did not come within"),
    ],
)
def test_a_runtime_that_crashes_fails_or_hangs_is_a_sentence(made, monkeypatch, program, said):
    monkeypatch.setattr(bundles, "_PROBE", program)
    monkeypatch.setattr(bundles, "_TRIAL_S", 2.0)
    with pytest.raises(BundleError, match=said):
        bundles.install(made(2))
    assert version_in_use() == 1
    assert leftovers() == []


# Back ---------------------------------------------------------------------------------------------


def test_back_to_the_bundle_before_and_forth_again(made):
    bundles.install(made(2))
    bundles.install(made(3))
    done = bundles.roll_back()
    assert (done.bundle.manifest.version, version_in_use(), done.runtime) == (2, 2, "litert")
    assert trust.read_store().accepted == {done.bundle.manifest.name: 2}
    bundles.roll_back()
    assert version_in_use() == 3
    assert trust.read_store().accepted == {done.bundle.manifest.name: 3}


def test_back_to_the_shipped_bundle(made, untried):
    bundles.install(made(2))
    bundles.roll_back()
    assert bundles.current().standing.kind == "shipped"
    bundles.roll_back()
    assert version_in_use() == 2
    bundles.use_shipped()
    assert bundles.current().standing.kind == "shipped"


def test_back_to_nothing_is_wrong_usage():
    with pytest.raises(UsageError, match="no previous bundle"):
        bundles.roll_back()


def test_back_to_a_bundle_whose_key_is_no_longer_trusted_is_refused(made, tmp_path, untried):
    private, _, public = signing.generate(tmp_path / "other", None)
    trust.trust_key(public, "Other hospital")
    bundles.install(made(2, signer=signing.read_private(private, None)))
    bundles.install(made(3))
    trust.remove(public.id)
    with pytest.raises(BundleError, match="does not trust"):
        bundles.roll_back()
    assert version_in_use() == 3


# Damage -------------------------------------------------------------------------------------------


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["file", "manifest", "missing", "unlisted", "folder"])
def test_a_damaged_bundle_is_an_error_and_never_another_model(made, untried, how):
    path = made(3)
    bundles.install(made(2))
    place = bundles.install(path).bundle.path
    if how == "file":
        damage(place / bundles.current().manifest.models[0].path)
    elif how == "manifest":
        damage(place / "manifest.json")
    elif how == "missing":
        next(one for one in place.iterdir() if one.suffix == ".tflite").unlink()
    elif how == "unlisted":
        (place / "more").write_text("")
    else:
        shutil.rmtree(place)
    with pytest.raises(BundleError, match="damaged") as caught:
        bundles.current()
    assert "--roll-back" in caught.value.next_step
    bundles.roll_back()
    assert version_in_use() == 2
    bundles.install(path)
    assert version_in_use() == 3


def test_the_folder_in_use_is_found_without_writing_anything(made, untried, tmp_path):
    assert bundles.installed_path() is None
    bundle = bundles.install(made(2)).bundle
    trust.update(lambda store: replace(store, accepted={}))
    before = trust.store_path().stat()
    assert bundles.installed_path() == bundle.path
    assert trust.store_path().stat() == before
    damage(bundle.path / "manifest.json")
    with pytest.raises(BundleError, match="damaged"):
        bundles.installed_path()


def test_a_damaged_bundle_is_mended_from_the_stick(made, untried):
    path = made(2)
    place = bundles.install(path).bundle.path
    damage(place / "manifest.json")
    bundles.install(path)
    assert version_in_use() == 2
    assert bundles.previous() == "shipped"


def test_a_lost_pointer_is_damage_and_not_the_shipped_bundle(made, untried):
    path = made(2)
    bundles.install(path)
    (bundles.folder() / POINTER).unlink()
    with pytest.raises(BundleError, match="is missing"):
        bundles.current()
    bundles.install(path)
    assert version_in_use() == 2


pointer_like = st.one_of(
    st.binary(max_size=60),
    st.fixed_dictionaries(
        {"schema": st.sampled_from(["lsemvae-edge/installed/1", "x"]), "current": st.text(max_size=70)},
        optional={"previous": st.none() | st.sampled_from(["shipped", "../..", "a" * 64]), "more": st.none()},
    ).map(lambda value: json.dumps(value).encode()),
)


@given(content=pointer_like)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_pointer_of_any_content_leads_to_an_error_or_a_bundle(content):
    bundles.folder().mkdir(parents=True, exist_ok=True)
    (bundles.folder() / POINTER).write_bytes(content)
    with pytest.raises(BundleError):
        bundles.current()


def test_a_bundle_whose_key_was_withdrawn_is_not_used(made, untried):
    bundles.install(made(2))
    trust.pin("0" * 64, "nothing")
    trust.remove(trust.read_store().keys[0].id)
    with pytest.raises(BundleError, match="does not trust"):
        bundles.current()


def test_a_pointer_led_to_an_older_bundle_by_hand_is_refused(made, untried):
    bundles.install(made(2))
    bundles.install(made(3))
    pointer = bundles.folder() / POINTER
    told = json.loads(pointer.read_text())
    pointer.write_text(json.dumps({**told, "current": told["previous"], "previous": told["current"]}))
    with pytest.raises(BundleError, match="older than version 3"):
        bundles.current()


# Sticks -------------------------------------------------------------------------------------------


def test_a_stick_pulled_while_copying_changes_nothing(made, untried, monkeypatch):
    bundles.install(made(2))
    path = made(3)
    read = model_bundles.Bundle.read

    def pulled(bundle, name):
        content = read(bundle, name)
        if bundle.path == path:
            shutil.rmtree(path, ignore_errors=True)
        return content

    monkeypatch.setattr(model_bundles.Bundle, "read", pulled)
    with pytest.raises(BundleError):
        bundles.install(path)
    monkeypatch.setattr(model_bundles.Bundle, "read", read)
    assert version_in_use() == 2
    assert leftovers() == []


def test_a_stick_whose_file_changes_after_it_was_checked_is_refused(made, untried):
    path = made(2)
    damage(next(path.glob("*.tflite")))
    with pytest.raises(BundleError, match="not the file its manifest lists"):
        bundles.install(path)
    assert version_in_use() == 1


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "huge"])
def test_what_is_no_plain_file_of_the_listed_size_is_refused(made, untried, what):
    path = made(2)
    file = next(path.glob("*.tflite"))
    content = file.read_bytes()
    file.unlink()
    if what == "link":
        (path.parent / "elsewhere").write_bytes(content)
        file.symlink_to(path.parent / "elsewhere")
    elif what == "pipe":
        os.mkfifo(file)
    elif what == "folder":
        file.mkdir()
    else:
        with file.open("wb") as stream:
            stream.truncate(200 * 1024**3)
    with pytest.raises(BundleError):
        bundles.install(path)
    assert version_in_use() == 1


def test_a_stick_is_searched_without_following_links(made, tmp_path):
    stick = tmp_path / "stick"
    made(2, stick / "a" / "b")
    made(3, stick / "v3.zip")
    made(4, stick / "unsigned", signer=None)
    made(5, tmp_path / "elsewhere")
    (stick / "link").symlink_to(tmp_path / "elsewhere")
    made(6, stick / "far" / "too" / "deep")
    (stick / "notes.zip").write_text("no archive")
    os.mkfifo(stick / "pipe.zip")
    found = bundles.find(stick)
    assert [(one.path.name, bool(one.standing)) for one in found] == [
        ("v3.zip", True), ("b", True), ("unsigned", False), ("notes.zip", False)
    ]  # fmt: skip
    assert "not signed" in found[2].refusal
    assert trust.read_store().accepted == {}


def test_a_stick_of_very_many_files_is_searched_in_part(made, tmp_path):
    for number in range(bundles_searched() + 5):
        (tmp_path / "stick" / f"{number:04}").touch()
    made(2, tmp_path / "stick" / "z")
    assert bundles.find(tmp_path / "stick") == []


def bundles_searched():
    from lsemvae_edge.kiosk.updates import stick

    return stick.FIND_AT_MOST


def test_no_stick_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        bundles.find(tmp_path / "stick")


def test_root_does_not_write_into_the_folder_of_the_kiosks_user(made, untried, tmp_path):
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    path = made(2)
    (tmp_path / "data").mkdir()
    os.chown(tmp_path / "data", 12345, 12345)
    with pytest.raises(UsageError, match="belongs to another user") as caught:
        bundles.install(path)
    assert "sudo -u" in caught.value.next_step
    assert list((tmp_path / "data").iterdir()) == []


# Cut off ------------------------------------------------------------------------------------------


def test_a_second_update_at_the_same_time_is_refused(made, untried, monkeypatch):
    path = made(2)
    monkeypatch.setattr(bundles, "_tried", lambda _: bundles.install(path))
    with pytest.raises(UpdateError, match="Another update is running"):
        bundles.install(path)
    assert version_in_use() == 1


def at_event(number, act):
    """Act before the numbered change that this process makes to a file; return what counts them."""
    count = [0]

    def changes(event, arguments):
        if event == "open":
            return isinstance(arguments[2], int) and arguments[2] & WRITING and arguments[0] != os.devnull
        return event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")

    def hook(event, arguments):
        if changes(event, arguments):
            count[0] += 1
            if count[0] == number:
                act()

    sys.addaudithook(hook)
    return count


def full():
    raise OSError(errno.ENOSPC, "No space left on device")


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def in_child(number, act, call):
    """Run a call in a forked process; return its exit code, -9 if it was killed, 10 for a typed error."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            at_event(number, act)
            call()
            code = 0
        except (UpdateError, BundleError) as error:
            code = 10 if error.next_step else 98
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
def test_killed_before_any_change_to_a_file_the_old_or_the_new_bundle_is_there(made, untried, first, tmp_path):
    before = 1 if first else 2
    if not first:
        bundles.install(made(2))
    path = made(3)
    kept = tmp_path / "kept"
    seen = set()
    for number in range(1, 100):
        if kept.exists():
            restore(kept, tmp_path)
        else:
            keep(kept, tmp_path)
        code = in_child(number, killed, lambda: bundles.install(path))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        found = version_in_use()
        assert found in (before, 3)
        seen.add(found)
        bundles.install(path)
        assert version_in_use() == 3
        assert leftovers() == []
    assert number > 15
    assert seen == {before, 3}


def test_killed_while_going_back_the_old_or_the_new_bundle_is_there(made, untried, tmp_path):
    bundles.install(made(2))
    bundles.install(made(3))
    kept = tmp_path / "kept"
    keep(kept, tmp_path)
    seen = set()
    for number in range(1, 100):
        restore(kept, tmp_path)
        code = in_child(number, killed, bundles.roll_back)
        if code == 0:
            break
        seen.add(version_in_use())
    assert number > 4
    assert seen <= {2, 3}
    assert 3 in seen
    assert version_in_use() == 2


def test_a_disk_that_is_full_at_any_change_is_an_error_and_changes_nothing_or_all(made, untried, tmp_path):
    bundles.install(made(2))
    path = made(3)
    kept = tmp_path / "kept"
    keep(kept, tmp_path)
    failed = 0
    for number in range(1, 100):
        restore(kept, tmp_path)
        code = in_child(number, full, lambda: bundles.install(path))
        # Tidying up may fail without harm.
        assert code in (0, 10), number
        assert version_in_use() in ((2, 3) if code else (3,))
        failed += code == 10
        if number > 36:
            break
    assert failed > 12


def test_a_full_disk_says_so(made, monkeypatch):
    path = made(2)
    monkeypatch.setattr(bundles, "_tried", lambda _: full())
    with pytest.raises(
        UpdateError, match=r"No space left on device\. What was installed before is unchanged"
    ) as caught:
        bundles.install(path)
    assert caught.value.next_step.startswith("Free some space")
    assert caught.value.code == ExitCode.STORE
    assert version_in_use() == 1
    assert leftovers() == []


def fill(path):
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_on_a_card_that_is_really_full_the_old_bundle_stays(made, untried, tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=False).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    try:
        monkeypatch.setenv("XDG_DATA_HOME", str(small))
        bundles.install(made(2))
        fill(small / "ballast")
        path = made(3)
        with pytest.raises(UpdateError, match="No space left"):
            bundles.install(path)
        assert version_in_use() == 2
        (small / "ballast").unlink()
        bundles.install(path)
        assert version_in_use() == 3
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_trust_store_that_cannot_remember_is_noticed_before_the_switch(made, untried, monkeypatch):
    path = made(2)

    def unwritable(change):
        raise BundleError("The trust store cannot be written.")

    monkeypatch.setattr(trust, "update", unwritable)
    with pytest.raises(BundleError, match="cannot be written"):
        bundles.install(path)
    assert bundles.current().standing.kind == "shipped"


def test_killed_at_random_moments_with_its_real_trial(made):
    bundles.install(made(2))
    path = made(3)
    program = "import sys; from lsemvae_edge.kiosk.updates import bundles; bundles.install(bundles.Path(sys.argv[1]))"
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", program, path], check=True)
    took_s = time.monotonic() - begun
    rng = random.Random(5)
    for _ in range(8):
        bundles.roll_back() if version_in_use() == 3 else None
        child = subprocess.Popen([sys.executable, "-c", program, path], start_new_session=True)
        time.sleep(rng.uniform(0.2, 1.0) * took_s)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        assert version_in_use() in (2, 3)
    bundles.install(path)
    assert version_in_use() == 3
    assert leftovers() == []


def keep(kept, tmp_path):
    kept.mkdir()
    for name in ("data", "configuration"):
        if (tmp_path / name).exists():
            shutil.copytree(tmp_path / name, kept / name)


def restore(kept, tmp_path):
    for name in ("data", "configuration"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        if (kept / name).exists():
            shutil.copytree(kept / name, tmp_path / name)


def test_the_kill_harness_notices_a_switch_that_comes_too_early(made, untried, tmp_path, monkeypatch):
    bundles.install(made(2))
    path = made(3)
    placed = bundles._placed

    def too_early(source, target):
        pointer = target / POINTER
        pointer.write_text(json.dumps({**json.loads(pointer.read_text()), "current": source.sha256}))
        return placed(source, target)

    monkeypatch.setattr(bundles, "_placed", too_early)
    kept = tmp_path / "kept"
    keep(kept, tmp_path)
    neither = 0
    for number in range(1, 30):
        restore(kept, tmp_path)
        if in_child(number, killed, lambda: bundles.install(path)) == 0:
            break
        try:
            version_in_use()
        except BundleError:
            neither += 1
    assert neither
