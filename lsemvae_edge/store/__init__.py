"""What was recorded and done at a kiosk: appended, encrypted, chained, and on the disk before anybody is told."""

from lsemvae_edge.store import places
from lsemvae_edge.store.chain import Head
from lsemvae_edge.store.entry import Entry, Stored, Verdict
from lsemvae_edge.store.journals import SealedJournal, Unfinished
from lsemvae_edge.store.key import StoreKey
from lsemvae_edge.store.store import Store

__all__ = ["Entry", "Head", "SealedJournal", "Store", "StoreKey", "Stored", "Unfinished", "Verdict", "places"]
