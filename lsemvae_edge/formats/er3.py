"""Files of Lepu's (Viatom's) ER3 and M12 as records; the bytes are decoded in ``lsemvae_edge.codecs.lepu``."""

import numpy as np

from lsemvae_edge.codecs import lepu as codec
from lsemvae_edge.formats._build import Channel, build_record
from lsemvae_edge.formats._contract import Format, Hints, Source
from lsemvae_edge.record import Record


def read(source: Source, hints: Hints) -> Record:
    """Read an ER3 file: the leads its lead type names, gaps where a lead had no contact.

    Raises
    ------
    BadInputError
        If the file is damaged, of an unknown version or lead type, or none of its limb leads had contact.
    """
    meta = {"device": "Lepu ER3 or M12"}
    channels = _channels(codec.decode_file(source.data))
    return build_record(channels, format_name="er3", record_id=source.path.stem, meta=meta)


def _channels(content: codec.Er3Recording) -> list[Channel]:
    """Give each channel its lead; one without is named by its place, so that it is listed as left out."""
    words = np.arange(1 << 16, dtype=np.uint16).view(np.int16)
    # A table for all 16-bit words: a day of samples then needs no copy in double precision.
    millivolts = np.where(words == codec.NO_CONTACT, np.nan, words * codec.MV_PER_LSB).astype(np.float32)
    nothing = np.zeros(0, np.float32)
    labels = codec.LEAD_TYPES[content.lead_type]
    return [
        Channel(label or f"channel {number}", millivolts[row.view(np.uint16)] if label else nothing, "mV", codec.FS_HZ)
        for number, (label, row) in enumerate(zip(labels, content.samples, strict=True), start=1)
    ]


def _recognises(source: Source) -> bool:
    return codec.ends_as_file(source.data)


FORMAT = Format("er3", "Lepu ER3", (".er3",), _recognises, read)
