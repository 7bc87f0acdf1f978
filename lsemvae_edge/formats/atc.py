"""AliveCor ATC files as records; the bytes are decoded in ``lsemvae_edge.codecs.atc``."""

import numpy as np

from lsemvae_edge.codecs import atc as codec
from lsemvae_edge.formats import _person
from lsemvae_edge.formats._build import Channel, build_record
from lsemvae_edge.formats._contract import Format, Hints, Source
from lsemvae_edge.record import Record


def read(source: Source, hints: Hints) -> Record:
    """Read an ATC file; identifiers of recording, phone and place stay out of the record.

    Raises
    ------
    BadInputError
        If the file is damaged.
    """
    content = codec.decode(source.data)
    channels = [
        Channel(lead, counts.astype(np.float64) * content.resolution_nv, "nV", float(content.fs_hz))
        for lead, counts in content.samples.items()
    ]
    meta = {"device": content.info.recorder_hardware} if content.info.recorder_hardware else {}
    return build_record(
        channels,
        format_name="atc",
        record_id=source.path.stem,
        started_at=_person.timestamp(content.info.date_recorded),
        meta=meta,
    )


def _recognises(source: Source) -> bool:
    return source.data.startswith(codec.SIGNATURE)


FORMAT = Format("atc", "AliveCor ATC", (".atc",), _recognises, read)
