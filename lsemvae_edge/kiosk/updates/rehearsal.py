"""Run by the interpreter of new software before it is used: it says whether it would read this machine's records.

``python -m lsemvae_edge.kiosk.updates.rehearsal`` prints the version of stores that the software writes;
with a folder, it leads the copy of a store in it to that version and says what it found. One JSON object, of schema
`SCHEMA`, which older software reads: its keys stay what they are.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsemvae_edge.errors import ExitCode, LsemvaeError, StoreError

SCHEMA = "lsemvae-edge/rehearsal/1"


def main(arguments: Sequence[str]) -> int:
    """Rehearse, and print what came of it.

    Parameters
    ----------
    arguments : sequence of str
        Nothing, or the folder of a copy.

    Returns
    -------
    int
        An `ExitCode`.
    """
    from lsemvae_edge import __version__
    from lsemvae_edge.store import schema

    told: dict[str, Any] = {"schema": SCHEMA, "version": __version__, "store_version": schema.VERSION}
    try:
        if arguments:
            told |= migrate(Path(arguments[0]))
    except LsemvaeError as error:
        print(json.dumps(told | {"message": error.message, "next_step": error.next_step}))
        return int(error.code)
    print(json.dumps(told))
    return int(ExitCode.DONE)


def migrate(folder: Path) -> dict[str, Any]:
    """Lead a copy of a store to this software's version; no key is needed, as only tables change.

    Returns
    -------
    dict
        ``from``: the version that was found. ``entries``: how many there are, as many as before.

    Raises
    ------
    StoreError
        If it cannot be done, or an entry is not what it was.
    """
    from lsemvae_edge.store import schema
    from lsemvae_edge.store.database import Database

    database = Database(folder, wait_s=5.0)
    try:
        found, before = schema.known_version(database), _entries(database)
        schema.bring_up_to_date(database)
        after = _entries(database)
        with database.reading() as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if after != before or verdict != "ok":
            raise StoreError("The new software does not read the records as they are.", "Keep the software in use.")
        return {"from": found, "entries": len(after)}
    finally:
        database.close()


def _entries(database: Any) -> list[tuple[int, bytes]]:
    with database.reading() as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchone():
            return []
        return list(connection.execute("SELECT seq, hash FROM entries ORDER BY seq"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
