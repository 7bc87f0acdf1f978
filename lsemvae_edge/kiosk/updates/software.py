"""New software from a wheelhouse: installed beside the old, tried there, then switched in one step.

``/opt/lsemvae-edge`` (or ``LSEMVAE_EDGE_SOFTWARE``) holds ``versions/NAME/``, an environment each, and ``current``, a
link to the one in use. An environment that has no ``installed.json`` was never finished, and is never used.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lsemvae_edge import __version__, strict_json, trust
from lsemvae_edge.errors import BundleError, LsemvaeError, UsageError
from lsemvae_edge.kiosk import instance
from lsemvae_edge.kiosk.updates import audit, bundles, durable, environment, machine, snapshots, wheelhouse
from lsemvae_edge.kiosk.updates.durable import UpdateError
from lsemvae_edge.kiosk.updates.wheelhouse import Wheelhouse
from lsemvae_edge.spec import from_dict

VARIABLE = "LSEMVAE_EDGE_SOFTWARE"
"""Environment variable that names where versions lie."""
DEFAULT_FOLDER = Path("/opt/lsemvae-edge")
SCHEMA = "lsemvae-edge/version/1"
MARK = "installed.json"
CURRENT = "current"
VERSIONS = "versions"
_UNPACKED = 5
"""An environment takes so many times the size of its wheels, with what is compiled and pip itself."""
_PIP_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9.+]{1,80}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Version:
    """``installed.json`` of a finished environment.

    Parameters
    ----------
    name : str
        Of its folder.
    version : str
        Of lsemvae-edge.
    store_version : int
        Of the stores that it writes; it reads that and older ones.
    wheelhouse : str
        Digest of ``wheelhouse.json``.
    key : str or None
        Id of the key that signed it.
    previous : str or None
        Name of the version that was in use before.
    schema : str
    """

    name: str
    version: str
    store_version: int
    wheelhouse: str
    key: str | None
    previous: str | None
    schema: str = SCHEMA


@dataclass(frozen=True)
class Updated:
    """What is used from the kiosk's next start on.

    Parameters
    ----------
    version : Version
    changed : bool
        Whether another version was in use before.
    backup : Path or None
        Copy of the store as the software before knew it; None if that reads the store as it will be.
    entries : int or None
        So many entries were led to the new version, on a copy; None if there is no store.
    """

    version: Version
    changed: bool
    backup: Path | None = None
    entries: int | None = None


def folder() -> Path:
    """Return where versions lie."""
    return Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER)


def current() -> Version | None:
    """Return the version in use; None if none was installed from a wheelhouse.

    Raises
    ------
    UpdateError
        If ``current`` leads to none that is finished.
    """
    link = folder() / CURRENT
    if not os.path.lexists(link):
        return None
    try:
        return _version(folder() / VERSIONS / link.readlink().name)
    except (OSError, BundleError) as error:
        raise UpdateError(
            f"{link} leads to no finished version of the software.", "Install one: lsemvae-edge kiosk update PATH."
        ) from error


def install(path: Path, *, store: Path, unsigned: bool = False, older: bool = False, operator: str = "") -> Updated:
    """Install a wheelhouse beside the software in use, try it, and use it from the kiosk's next start on.

    Parameters
    ----------
    path : Path
        Of the wheelhouse.
    store : Path
        Folder of the store that the new software will open; a copy of it is migrated first.
    unsigned : bool
        Take a wheelhouse that nobody vouches for; root alone may.
    older : bool
        Take an older version than the one in use.
    operator : str
        Who does it, for the store's audit log.

    Raises
    ------
    UsageError
        If it is not for this machine, or older.
    BundleError
        If it is damaged, or nobody vouches for it.
    UpdateError
        If it cannot be installed or fails its trial; the software before is still in use.
    """
    processor, python = machine.processor(), machine.python()
    house = wheelhouse.read(path)
    _admit(house, unsigned)
    _check_fits(house, processor, python)
    house.check_files(python)
    with durable.reported("The software could not be installed"):
        target = folder()
        durable.make_folder(target / VERSIONS)
        for made in (target, target / VERSIONS):
            # The kiosk runs as another user than who installs.
            made.chmod(0o755)
        with durable.one_updater(target), _kiosk_stopped(store):
            before = _in_use_before()
            _check_order(house, before, older)
            made = target / VERSIONS / house.name
            _discard_unfinished(target)
            try:
                if not (made / MARK).exists():
                    _check_room(target, house.total_bytes(python))
                    environment.build(made, house, python)
                store_version = environment.try_out(made, house.facts.version, bundles.installed_path())
                entries, backup = _rehearsed(made, store, store_version)
            except (OSError, LsemvaeError):
                if before is None or before.name != house.name:
                    durable.discard(made)
                raise
            changed = before is None or before.name != house.name
            earlier = (before.name if changed else before.previous) if before else None
            key = house.key.id if house.key else None
            version = Version(house.name, house.facts.version, store_version, house.sha256, key, earlier)
            # pip does not wait for the disk, and what it wrote are thousands of files.
            os.sync()
            durable.replace_file(made / MARK, durable.dumped(asdict(version)))
            with _noted("install", before, version, store, operator):
                durable.replace_link(target / CURRENT, f"{VERSIONS}/{version.name}")
            _prune(target, version)
    return Updated(version, changed, backup, entries)


def roll_back(*, store: Path, operator: str = "") -> Updated:
    """Use the version before again.

    Parameters
    ----------
    store : Path
        Folder of the store, which the earlier software must be able to read.
    operator : str
        See `install`.

    Raises
    ------
    UsageError
        If there is none, or the store was written by newer software than it.
    UpdateError
        If it does not run any more, or the disk refuses.
    """
    machine.refuse_32_bit()
    with durable.reported("The software could not be changed"):
        target = folder()
        before = current()
        if before is None or before.previous is None:
            raise UsageError("There is no earlier version of the software on this machine.", "Update from a stick.")
        with durable.one_updater(target), _kiosk_stopped(store):
            try:
                earlier = _version(target / VERSIONS / before.previous)
            except (OSError, BundleError) as error:
                raise UsageError(
                    "The earlier version of the software is no longer on this machine.", "Update from a stick."
                ) from error
            if snapshots.exists(store) and (written := snapshots.version_of(store)) > earlier.store_version:
                backup = backup_of(store, before.name)
                kept = f" A copy from before the update is kept in {backup}." if snapshots.exists(backup) else ""
                raise UsageError(
                    f"The records are of version {written} by now; software {earlier.version} knows versions up to "
                    f"{earlier.store_version} and cannot read them.{kept}",
                    f"Keep software {before.version}, or ask its maker for a corrected one.",
                )
            environment.try_out(target / VERSIONS / earlier.name, earlier.version, bundles.installed_path())
            with _noted("roll_back", before, earlier, store, operator):
                durable.replace_link(target / CURRENT, f"{VERSIONS}/{earlier.name}")
    return Updated(earlier, changed=True)


def backup_of(store: Path, name: str) -> Path:
    """Return where the copy of a store from before the update to a version lies, if one was kept."""
    return store.with_name(f"{store.name}.before-{name}")


def remove_backups(store: Path) -> int:
    """Destroy the copies of a store that updates kept; records that were wiped since are still in them.

    Returns
    -------
    int
        How many there were.
    """
    found = [one for one in store.parent.glob(f"{store.name}.before-*") if one.is_dir() and not one.is_symlink()]
    with durable.reported("The copies could not be removed"):
        for one in found:
            durable.discard(one)
    return len(found)


# who may, and what fits ---------------------------------------------------------------------------


def _admit(house: Wheelhouse, unsigned: bool) -> None:
    store = trust.read_store()
    if house.key and any(trusted.key == house.key.base64 for trusted in store.keys):
        return
    if not unsigned:
        said = f"signed by key {house.key.id}, which this machine does not trust" if house.key else "not signed"
        raise BundleError(
            f"The wheelhouse is {said}.",
            "If you know its maker, trust their key: lsemvae-edge bundle trust KEY.pub. Without a signature, root "
            "alone may install it: --unsigned.",
        )
    if os.geteuid() != 0:
        raise UsageError("Only root may install software that nobody vouches for.", "Run the command with sudo.")


def _check_fits(house: Wheelhouse, processor: str, python: str) -> None:
    facts = house.facts
    if facts.machine != processor:
        raise UsageError(
            f"This wheelhouse is for {facts.machine}; this machine is {processor}.", "Get the one for this machine."
        )
    house.wheels(python)
    has = machine.glibc()
    if has is not None and has < tuple(int(part) for part in facts.glibc.split(".")):
        raise UsageError(
            f"The new software needs glibc {facts.glibc}; this system has {'.'.join(map(str, has))}.",
            "Update the operating system first.",
        )


def _check_order(house: Wheelhouse, before: Version | None, older: bool) -> None:
    running = before.version if before else __version__
    if _order(house.facts.version) < _order(running) and not older:
        raise UsageError(
            f"The wheelhouse holds version {house.facts.version}, older than {running}, which is in use.",
            "To go back on purpose: lsemvae-edge kiosk roll-back, or --older.",
        )


def _order(version: str) -> tuple[int, ...]:
    leading = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(int(part) for part in leading[0].split(".")) if leading else ()


def _check_room(target: Path, wheels_bytes: int) -> None:
    free = os.statvfs(target)
    needed = wheels_bytes * _UNPACKED + _PIP_BYTES
    if free.f_bavail * free.f_frsize < needed:
        raise UpdateError(
            f"The new software needs {needed // 1024 // 1024} MB on {target}; "
            f"{free.f_bavail * free.f_frsize // 1024 // 1024} MB are free.",
            "Free some space on the kiosk's card, then try again.",
        )


# records and bundle -------------------------------------------------------------------------------


@contextmanager
def _kiosk_stopped(store: Path) -> Iterator[None]:
    """Keep the kiosk from writing records that neither the copy nor the check of versions would see."""
    if not snapshots.exists(store):
        yield
        return
    lock = store / instance.NAME
    made_here = not lock.exists()
    with instance.only(store):
        if made_here:
            _owned_alike((lock,), store)
        yield


def _rehearsed(made: Path, store: Path, store_version: int) -> tuple[int | None, Path | None]:
    """Migrate a copy of the store with the new software; keep another one if the software before will need it."""
    if not snapshots.exists(store):
        return None, None
    draft = store.with_name(f"{durable.DRAFT}{store.name}.rehearsal")
    durable.discard(draft)
    try:
        entries = int(environment.rehearse(made, snapshots.take(store, draft)).get("entries", 0))
    finally:
        durable.discard(draft)
    if snapshots.version_of(store) >= store_version:
        return entries, None
    remove_backups(store)
    backup = snapshots.take(store, backup_of(store, made.name))
    _owned_alike((backup, *backup.iterdir()), store)
    return entries, backup


def _owned_alike(paths: Iterable[Path], store: Path) -> None:
    """Give what root made to whom the store belongs, who alone may read it."""
    owner = store.stat()
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


# versions -----------------------------------------------------------------------------------------


def _version(path: Path) -> Version:
    """Read what a finished environment says of itself.

    Raises
    ------
    BundleError
        If it is damaged.
    OSError
        If it is not there.
    """
    raw = (path / MARK).read_bytes()
    found = from_dict(Version, strict_json.parse(raw, MARK), "version")
    if found.schema != SCHEMA or found.name != path.name or not _NAME.fullmatch(found.name):
        raise BundleError(f"{path / MARK} is not of this version.")
    if found.previous is not None and not _NAME.fullmatch(found.previous):
        raise BundleError(f"{path / MARK} names no version before it.")
    return found


def _noted(
    act: str, before: Version | None, after: Version, store: Path, operator: str
) -> AbstractContextManager[None]:
    """Leave a note for the store's audit log around a switch."""
    facts = {
        "act": act,
        "before": before and before.wheelhouse,
        "before_version": before.version if before else __version__,
        "after": after.wheelhouse,
        "version": after.version,
    }
    return audit.changing(audit.SOFTWARE, facts, operator=operator, store=store)


def _in_use_before() -> Version | None:
    """Return the version in use; none if it is damaged, as an operator has just brought another."""
    try:
        return current()
    except UpdateError:
        return None


def _discard_unfinished(target: Path) -> None:
    durable.discard_drafts(target / VERSIONS)
    link = target / CURRENT
    # One that lost its mark may be running.
    in_use = link.readlink().name if link.is_symlink() else None
    for path in (target / VERSIONS).iterdir():
        if path.is_dir() and path.name != in_use and not (path / MARK).exists():
            durable.discard(path)


def _prune(target: Path, version: Version) -> None:
    """Keep the version in use and the one before."""
    with suppress(OSError):
        for path in (target / VERSIONS).iterdir():
            if path.is_dir() and path.name not in (version.name, version.previous):
                durable.discard(path)
