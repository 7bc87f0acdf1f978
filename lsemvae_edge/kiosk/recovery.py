"""After a power cut: what was being recorded becomes an interrupted attempt of its visit."""

from typing import TYPE_CHECKING

from lsemvae_edge.codecs import journal as codec
from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.language import mark
from lsemvae_edge.record import Record
from lsemvae_edge.visit import Attempt

if TYPE_CHECKING:
    from lsemvae_edge.store import Entry, Store

CUT = mark("The kiosk stopped during this recording.")


def recover(store: "Store") -> "list[Entry]":
    """Store every recording that was never finished, and return what was stored.

    The newest part is kept: an earlier one may be another person's. What cannot be decoded is stored without a signal,
    so that the attempt is known to have been made.

    Parameters
    ----------
    store : Store

    Raises
    ------
    StoreError
        If the store cannot be written; the journals are still there then.
    """
    stored = []
    for left in store.unfinished():
        record = _decoded(left.data) if left.data else None
        stored.append(store.append(Attempt(left.visit, left.number, "interrupted", record, None, CUT)))
    return stored


def _decoded(data: bytes) -> Record | None:
    from lsemvae_edge.device import replay

    try:
        parts = replay.decoded(codec.decode(memoryview(data)))
    except LsemvaeError:
        return None
    return parts[-1] if parts else None
