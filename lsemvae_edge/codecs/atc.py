r"""AliveCor's ATC files (KardiaMobile, "Alive File Format" 1.6): bytes in, plain values out.

A file is the signature ``ALIVE\0\0\0``, a version u32, then blocks of: id (4 characters), length u32,
data, checksum u32. The checksum is the sum of all bytes of id, length and data. All numbers are little-endian.
Field order and flag bits follow AliveCor's published reader (ATCpy).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError

SIGNATURE = b"ALIVE\0\0\0"

LEAD_BLOCKS: Mapping[bytes, str] = {
    b"ecg ": "I",
    b"ecg2": "II",
    b"ecg3": "III",
    b"ecg4": "aVR",
    b"ecg5": "aVL",
    b"ecg6": "aVF",
}
"""Block id of the samples of each lead."""

_FILE_HEADER = struct.Struct("<8sI")
_BLOCK_HEADER = struct.Struct("<4sI")
_CHECKSUM = struct.Struct("<I")
_FMT = struct.Struct("<BHHBH")
_INFO = struct.Struct("<32s40s44s32s32s32s52s")
_PCM_16 = 1


@dataclass(frozen=True)
class AtcFilters:
    """What the recorder's software had done to the samples.

    Parameters
    ----------
    mains_hz : int
        Mains frequency where the recording was made, 50 or 60 Hz.
    mains, low_pass, baseline, notch_mains, enhanced : bool
        Which filters were on.
    """

    mains_hz: int
    mains: bool
    low_pass: bool
    baseline: bool
    notch_mains: bool
    enhanced: bool


@dataclass(frozen=True)
class AtcInfo:
    """What the ``info`` block says; empty text where it says nothing.

    The identifiers of recording and phone are personal data: do not pass them on.

    Parameters
    ----------
    date_recorded : str
        ISO 8601.
    recording_uuid, phone_udid, phone_model, recorder_software, recorder_hardware, device_data : str
        As in the file. Older versions keep a location in ``device_data``.
    """

    date_recorded: str = ""
    recording_uuid: str = ""
    phone_udid: str = ""
    phone_model: str = ""
    recorder_software: str = ""
    recorder_hardware: str = ""
    device_data: str = ""


@dataclass(frozen=True, eq=False)
class AtcRecording:
    """The content of an ATC file.

    Parameters
    ----------
    version : int
        File version.
    fs_hz : int
        Sampling rate in hertz.
    resolution_nv : int
        Nanovolts per count.
    filters : AtcFilters
        Filters applied before storing.
    info : AtcInfo
        Recorder and time.
    samples : mapping of lead name to array (n_samples,), int16
        Counts.
    """

    version: int
    fs_hz: int
    resolution_nv: int
    filters: AtcFilters
    info: AtcInfo
    samples: Mapping[str, NDArray[np.int16]]


def decode(data: bytes) -> AtcRecording:
    """Decode an ATC file.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    AtcRecording

    Raises
    ------
    BadInputError
        If the file is cut short, a checksum does not fit, a block repeats, the samples come before
        the block that describes them, or there are none.
    """
    if len(data) < _FILE_HEADER.size:
        raise _damaged("is cut short")
    signature, version = _FILE_HEADER.unpack_from(data)
    if signature != SIGNATURE:
        raise BadInputError("The file does not begin as an ATC file.")
    blocks = _split_blocks(data)
    if b"fmt " not in blocks:
        raise _damaged("lacks the block that gives rate and resolution")
    fs_hz, resolution_nv, filters = _parse_format(blocks[b"fmt "])
    ids = list(blocks)
    samples: dict[str, NDArray[np.int16]] = {}
    for block_id, lead in LEAD_BLOCKS.items():
        if block_id not in blocks:
            continue
        if ids.index(block_id) < ids.index(b"fmt "):
            raise _damaged("has samples before the block that describes them")
        if len(blocks[block_id]) % 2:
            raise _damaged(f"has half a sample in lead {lead}")
        samples[lead] = np.frombuffer(blocks[block_id], "<i2").astype(np.int16)
    if not samples:
        raise _damaged("has no ECG samples")
    info = _parse_info(blocks[b"info"]) if b"info" in blocks else AtcInfo()
    return AtcRecording(version, fs_hz, resolution_nv, filters, info, samples)


def _split_blocks(data: bytes) -> dict[bytes, bytes]:
    """Blocks by id in file order, every checksum verified; ids that mean nothing to us are kept too."""
    blocks: dict[bytes, bytes] = {}
    position = _FILE_HEADER.size
    while position < len(data):
        if len(data) - position < _BLOCK_HEADER.size + _CHECKSUM.size:
            raise _damaged("is cut short")
        block_id, length = _BLOCK_HEADER.unpack_from(data, position)
        end = position + _BLOCK_HEADER.size + length
        if end + _CHECKSUM.size > len(data):
            raise _damaged("is cut short")
        total = int(np.frombuffer(data[position:end], np.uint8).sum(dtype=np.uint64)) & 0xFFFFFFFF
        if _CHECKSUM.unpack_from(data, end)[0] != total:
            raise _damaged(f"has a wrong checksum in block {block_id.decode('ascii', 'replace')!r}")
        if block_id in blocks:
            raise _damaged(f"repeats block {block_id.decode('ascii', 'replace')!r}")
        blocks[block_id] = data[position + _BLOCK_HEADER.size : end]
        position = end + _CHECKSUM.size
    return blocks


def _parse_format(block: bytes) -> tuple[int, int, AtcFilters]:
    if len(block) < _FMT.size:
        raise _damaged("has a short format block")
    encoding, fs_hz, resolution_nv, flags, _ = _FMT.unpack_from(block)
    if encoding != _PCM_16:
        raise BadInputError(f"The ATC file keeps its samples in encoding {encoding}; only 1 (16-bit) is known.")
    if not fs_hz or not resolution_nv:
        raise _damaged("states a rate or a resolution of zero")
    filters = AtcFilters(
        mains_hz=60 if flags & 0x02 else 50,
        mains=bool(flags & 0x04),
        low_pass=bool(flags & 0x08),
        baseline=bool(flags & 0x10),
        notch_mains=bool(flags & 0x20),
        enhanced=bool(flags & 0x40),
    )
    return fs_hz, resolution_nv, filters


def _parse_info(block: bytes) -> AtcInfo:
    # Versions before 1.6 wrote a shorter block; what is not there reads as empty text.
    fields = _INFO.unpack(block[: _INFO.size].ljust(_INFO.size, b"\0"))
    return AtcInfo(*(field.split(b"\0", 1)[0].decode("utf-8", "replace").strip() for field in fields))


def _damaged(how: str) -> BadInputError:
    return BadInputError(f"The ATC file {how}.", "Export the recording again from the Kardia app.")
