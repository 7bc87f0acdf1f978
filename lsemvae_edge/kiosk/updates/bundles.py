"""A new bundle from a stick: admitted, tried on this machine, copied whole, then switched in one step.

``<data>/lsemvae-edge/bundles/`` holds a folder for each installed bundle, called by its digest, and ``current.json``,
which says which one is used and which one was used before. Nothing but an operator's command changes that file.
"""

import os
import subprocess
import sys
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lsemvae_edge import bundle as model_bundles
from lsemvae_edge.bundle import MANIFEST, SIGNATURE, Bundle, Standing
from lsemvae_edge.errors import BundleError, LsemvaeError, UsageError
from lsemvae_edge.kiosk.updates import audit, durable, pointers
from lsemvae_edge.kiosk.updates.durable import UpdateError
from lsemvae_edge.kiosk.updates.pointers import POINTER, REPAIR, SHIPPED, Pointer, folder
from lsemvae_edge.kiosk.updates.stick import Candidate, find

__all__ = [
    "SHIPPED", "Candidate", "Installed", "UpdateError", "current", "digest_in_use", "find", "folder", "install",
    "installed_path", "previous", "roll_back", "use_shipped",
]  # fmt: skip

_TRIAL_S = 120.0
_PROBE = """
import sys
from lsemvae_edge import bundle, golden, runtime
found = bundle.load(sys.argv[1])
found.verify_files()
session = runtime.open_session(found)
wrong = [check.stage for check in golden.check(found, session) if not check.passed]
print(session.runtime, *wrong)
sys.exit(9 if wrong else 0)
"""


@dataclass(frozen=True)
class Installed:
    """What is used from now on.

    Parameters
    ----------
    bundle : Bundle
        As installed, with its standing.
    previous : str or None
        Digest of the bundle that was used before, or `SHIPPED`.
    runtime : str or None
        What ran the known answers; None if nothing had to be tried.
    changed : bool
        Whether another bundle was used before.
    """

    bundle: Bundle
    previous: str | None
    runtime: str | None
    changed: bool


def install(path: Path, *, roll_back: bool = False, operator: str = "") -> Installed:
    """Install a bundle and use it from now on.

    It is taken whole or not at all; killed at any moment, the kiosk has the one it had before, or the new one.

    Parameters
    ----------
    path : Path
        Folder or archive of the bundle.
    roll_back : bool
        Take it also if it is older than one that was used before.
    operator : str
        Who does it, for the store's audit log.

    Raises
    ------
    BundleError
        If it is damaged, nobody vouches for it, it is older than one before, or its known answers come out otherwise
        on this machine.
    UpdateError
        If the disk refuses, or another update is running.
    """
    with durable.reported("The bundle could not be installed"):
        source = model_bundles.load(path)
        _judge(source, roll_back)
        target = _prepared()
        with durable.one_updater(target):
            durable.discard_drafts(target)
            before = _before(target)
            placed, runtime = _placed(source, target)
            changed = before is None or before.current != placed.sha256
            after = _after(before, placed.sha256)
            with _noted("install", before, placed, operator):
                bundle = _switch(target, placed, after, roll_back)
            _prune(target, after)
    return Installed(bundle, after.previous, runtime, changed)


def roll_back(*, operator: str = "") -> Installed:
    """Use the previous bundle again; a second call undoes the first.

    Parameters
    ----------
    operator : str
        See `install`.

    Raises
    ------
    UsageError
        If there is no previous one.
    BundleError
        If the previous one is damaged, or nobody vouches for it any more.
    UpdateError
        If the disk refuses, or another update is running.
    """
    pointer = pointers.read(folder())
    if pointer is None or pointer.previous is None:
        raise UsageError("There is no previous bundle on this machine.", "Install one: lsemvae-edge bundle install.")
    return _back_to(pointer.previous, "roll_back", operator)


def use_shipped(*, operator: str = "") -> Installed:
    """Use the bundle that ships with the software again, whatever is installed.

    Parameters
    ----------
    operator : str
        See `install`.

    Raises
    ------
    BundleError
        If it was changed.
    UpdateError
        If the disk refuses, or another update is running.
    """
    return _back_to(SHIPPED, "use_shipped", operator)


def current() -> Bundle:
    """Return the bundle that this machine uses, every file checked: the installed one, else the shipped one.

    Raises
    ------
    BundleError
        If it is damaged or no longer vouched for. Another is never taken instead.
    """
    place = folder()
    with pointers.switching(place, exclusive=False):
        pointer = pointers.read(place)
        if pointer is None or pointer.current == SHIPPED:
            return model_bundles.default()
        from lsemvae_edge import trust

        return trust.admit(_installed(place, pointer.current), strict=True)


def installed_path() -> Path | None:
    """Return the folder of the installed bundle in use, its files checked; None where the shipped one is used.

    Unlike `current` this writes nothing, so that root may ask for the kiosk.

    Raises
    ------
    BundleError
        If it is damaged.
    """
    pointer = pointers.read(folder())
    if pointer is None or pointer.current == SHIPPED:
        return None
    return _installed(folder(), pointer.current).path


def digest_in_use() -> str:
    """Return the digest of the bundle that the pointer names, its files unread.

    Raises
    ------
    BundleError
        If the pointer is damaged.
    """
    return _digest(pointers.read(folder()))


def previous() -> str | None:
    """Return the digest of the bundle used before, `SHIPPED`, or None."""
    pointer = pointers.read(folder())
    return pointer.previous if pointer else None


# the steps of an installation ---------------------------------------------------------------------


def _judge(bundle: Bundle, roll_back: bool) -> Standing:
    """Ask the trust store without letting it remember anything: that comes after the switch."""
    from lsemvae_edge import trust

    store = trust.read_store()
    return trust.judge(bundle, replace(store, accepted={}) if roll_back else store, strict=True)


def _prepared() -> Path:
    target = folder()
    existing = next(one for one in (target, *target.parents) if one.exists())
    if os.geteuid() == 0 and existing.stat().st_uid != 0:
        # What root writes there, and in the trust store beside it, the kiosk could not read.
        raise UsageError(
            f"{existing} belongs to another user than root, who runs this.",
            "Run the command as the user that the kiosk runs as: sudo -u USER lsemvae-edge bundle install.",
        )
    durable.make_folder(target, 0o700)
    return target


def _placed(source: Bundle, target: Path) -> tuple[Bundle, str]:
    """Copy a bundle to its place and try it there before it has its name."""
    place = target / source.sha256
    draft = target / f"{durable.DRAFT}{source.sha256}"
    draft.mkdir()
    try:
        for name in source.manifest.files:
            durable.write_new(draft / name, source.read(name))
        durable.write_new(draft / MANIFEST, source.raw_manifest())
        if source.signature:
            durable.write_new(draft / SIGNATURE, model_bundles.dumped(source.signature))
        durable.sync_folder(draft)
        runtime = _tried(draft)
        if _is_whole(place, source.sha256):
            if source.signature:
                # Not by a new folder: the one that is in use would be away for a moment.
                durable.move_into(draft / SIGNATURE, place)
            durable.discard(draft)
        else:
            if place.exists():
                durable.discard(place)
            draft.rename(place)
            durable.sync_folder(target)
    except (OSError, LsemvaeError):
        with suppress(OSError):
            durable.discard(draft)
        raise
    return _installed(target, source.sha256), runtime


def _is_whole(place: Path, digest: str) -> bool:
    try:
        held = model_bundles.load(place)
        held.verify_files()
    except BundleError:
        return False
    return held.sha256 == digest


def _tried(path: Path) -> str:
    """Run a bundle's known answers in a child process with the runtime that will be used; return that runtime's name.

    A child, so that a crash of a runtime becomes a sentence and nothing of a refused bundle stays in this process.
    """
    command = [sys.executable, "-c", _PROBE, str(path)]
    refused = "Do not use this bundle on this machine; tell its maker. The bundle used before stays in use."
    try:
        # The child runs this package's own code with the interpreter that runs us.
        child = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TRIAL_S)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"The bundle's known answers did not come within {_TRIAL_S:g} s.", refused) from error
    # A runtime may have words of its own before.
    said = child.stdout.strip().splitlines()[-1].split() if child.stdout.strip() else []
    if child.returncode == 0 and said:
        return said[0]
    if child.returncode < 0:
        raise BundleError(f"The runtime crashed on the bundle with signal {-child.returncode}.", refused)
    if child.returncode == 9:
        raise BundleError(f"Known answers differ in {said[0]}: {', '.join(said[1:])}.", refused)
    last = child.stderr.strip().splitlines()
    raise BundleError(f"The bundle does not run here: {last[-1] if last else 'no reason was given'}.", refused)


def _switch(target: Path, bundle: Bundle, after: Pointer, older: bool) -> Bundle:
    from lsemvae_edge import trust

    with pointers.switching(target, exclusive=True):
        if older:
            # Before the switch: were it the other way round, a kill between would leave a bundle that is refused.
            trust.roll_back(bundle)
        elif not model_bundles.is_shipped(bundle):
            # What cannot be remembered would be refused at the next start.
            trust.update(lambda store: store)
        durable.replace_file(target / POINTER, pointers.dumped(after))
        if after.current == SHIPPED:
            return bundle
        # After it, for the same reason; if it is killed here, `current` remembers the version.
        return trust.admit(bundle, strict=True)


def _back_to(name: str, act: str, operator: str) -> Installed:
    with durable.reported("The bundle could not be changed"):
        target = _prepared()
        with durable.one_updater(target):
            before = _before(target)
            if name == SHIPPED:
                bundle, runtime = model_bundles.default(), None
                bundle.verify_files()
            else:
                bundle = _installed(target, name)
                _judge(bundle, roll_back=True)
                runtime = _tried(bundle.path)
            after = _after(before, name)
            with _noted(act, before, bundle, operator):
                bundle = _switch(target, bundle, after, older=name != SHIPPED)
            _prune(target, after)
    return Installed(bundle, after.previous, runtime, after != before)


def _noted(act: str, before: Pointer | None, bundle: Bundle, operator: str) -> AbstractContextManager[None]:
    """Leave a note for the store's audit log around a switch."""
    facts = {
        "act": act,
        "before": None if before is None else _digest(before),
        "after": bundle.sha256,
        "name": bundle.manifest.name,
        "version": bundle.manifest.version,
    }
    return audit.changing(audit.BUNDLE, facts, operator=operator)


def _digest(pointer: Pointer | None) -> str:
    return model_bundles.default().sha256 if pointer is None or pointer.current == SHIPPED else pointer.current


def _prune(target: Path, pointer: Pointer) -> None:
    """Keep the two bundles that the pointer names; failing to remove others is no failure of the update."""
    with suppress(OSError):
        for path in target.iterdir():
            if path.is_dir() and path.name not in (pointer.current, pointer.previous):
                durable.discard(path)


# what is installed --------------------------------------------------------------------------------


def _installed(target: Path, digest: str) -> Bundle:
    try:
        bundle = model_bundles.load(target / digest)
        if bundle.sha256 != digest:
            raise BundleError(f"It is another bundle, {bundle.sha256[:12]}.")
        bundle.verify_files()
    except BundleError as error:
        raise BundleError(f"The installed bundle {digest[:12]} is damaged: {error.message}", REPAIR) from error
    return bundle


def _before(target: Path) -> Pointer | None:
    """Read the pointer before an operator's choice takes its place; None if it is damaged, as that choice mends it."""
    try:
        pointer = pointers.read(target)
    except BundleError:
        return None
    if pointer is None:
        # From now on a pointer that is missing is damage, and never taken for "nothing was installed".
        pointer = Pointer()
        durable.replace_file(target / POINTER, pointers.dumped(pointer))
    return pointer


def _after(before: Pointer | None, name: str) -> Pointer:
    if before is None:
        return Pointer(current=name)
    return before if before.current == name else Pointer(current=name, previous=before.current)
