"""Journals as files for ``lsemvae_edge.formats``, offered under its entry-point group."""

from dataclasses import replace

from lsemvae_edge.codecs import journal as codec
from lsemvae_edge.device.replay import decoded
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.formats import Format
from lsemvae_edge.formats._contract import Hints, Source
from lsemvae_edge.record import Record


def read(source: Source, hints: Hints) -> Record:
    """Read the longest part of a journal.

    Raises
    ------
    BadInputError
        If it holds no samples, or contradicts itself.
    """
    parts = decoded(codec.decode(source.data))
    if not parts:
        raise BadInputError("The journal holds no samples.", "Record again.")
    longest = max(parts, key=lambda part: part.duration_s)
    return replace(longest, meta={**longest.meta, "format": FORMAT.name, "id": source.path.stem})


def _recognises(source: Source) -> bool:
    return source.data.startswith(codec.MAGIC[:4])


FORMAT = Format("journal", "journal of a live recording (.lsej)", (".lsej",), _recognises, read)
