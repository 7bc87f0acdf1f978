"""A new store: there whole, or not at all."""

import tempfile
import uuid
from pathlib import Path

from lsemvae_edge import __version__
from lsemvae_edge.errors import StoreError
from lsemvae_edge.store import schema
from lsemvae_edge.store.database import WAIT_S, Database, new_file
from lsemvae_edge.store.entry import CREATED
from lsemvae_edge.store.journals import FOLDER
from lsemvae_edge.store.key import StoreKey, sync_folder
from lsemvae_edge.store.log import Kind, Log, key_check


def make(folder: Path, key: StoreKey, kind: Kind) -> None:
    """Make what `lsemvae_edge.store.Store.create` opens.

    Raises
    ------
    StoreError
        If the folder is not empty, or cannot be written.
    """
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.exists() and any(folder.iterdir()):
            raise StoreError(f"The folder {folder} is not empty.", "Open the store in it, or name another folder.")
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as draft:
            made = Path(draft) / "store"
            made.mkdir(mode=0o700)
            _fill(made, key, kind)
            made.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise StoreError(
            f"A store cannot be made in {folder}: {error.strerror or error}.",
            "Free space, or make the folder above it writable.",
        ) from error


def _fill(folder: Path, key: StoreKey, kind: Kind) -> None:
    (folder / FOLDER).mkdir(mode=0o700)
    new_file(folder)
    database = Database(folder, WAIT_S)
    try:
        schema.bring_up_to_date(database)
        id = uuid.uuid4().hex
        with database.writing() as connection:
            check = key_check(key, id, kind)
            connection.execute("INSERT INTO store (one, id, kind, key_check) VALUES (1, ?, ?, ?)", (id, kind, check))
        log = Log(database, key)
        with log.writing() as connection:
            log.append(connection, CREATED, {"kind": kind, "software_version": __version__})
    finally:
        database.close()
    sync_folder(folder)
