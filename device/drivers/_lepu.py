"""Layouts of what Lepu's recorders answer, shared by driver and virtual recorder."""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.codecs import lepu as codec
from lsemvae_edge.device.events import ELECTRODES
from lsemvae_edge.errors import BadInputError

SERVICE = "14839ac4-7d7e-415c-9a42-167340cf2339"
WRITE = "8b00ace7-eb0b-49b0-bbe9-9aee0a26e1a3"
NOTIFY = "0734594a-a8e7-4b1a-a6b1-cd5243059a57"

LIVE_ER3, LIVE_M, STOP, START, INFO = 0x03, 0x06, 0x07, 0x08, 0xE1
INDEX_MODULUS = 2**32

ER1_FS_HZ = 125.0
ER1_MV_PER_LSB = 1.0035 * 1800 / (4096 * 178.74)
ER1_RATE = 0x7D
"""Asks for 125 Hz."""

ER3_RUN = struct.Struct("<B7sIBB6xBBH16x")
"""Run status, start and seconds of the measurement, battery state, percent, cable there, lead type, electrodes off."""
ER3_WAVE = struct.Struct("<B3xIH")
"""Rate (low four bits) and coding (high four), index of the first sample, number of samples."""
M_RUN = struct.Struct("<12xBI7sB15xH6x")
"""Percent, seconds of the measurement, its start, lead type, leads off."""
M_WAVE = struct.Struct("<IH")
ER1_RUN = struct.Struct("<2xBBIB11x")
"""Flags, percent, seconds of the measurement, run status."""
ER1_WAVE = struct.Struct("<H")

RAW, DELTAS = 0, 1
ER1_NO_CONTACT = frozenset({0, 7})
"""Run states in which the electrodes are off: waiting for contact, contact lost."""

ERRORS = {
    0xCC: "frame not understood",
    0xCD: "wrong checksum",
    0xFB: "occupied",
    0xFC: "wrong format",
    0xFD: "not supported",
    0xFF: "failed",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What both layouts of a six-lead recorder's answer say.

    Parameters
    ----------
    measurement : bytes
        When the measurement began, on the recorder's clock; tells one measurement from another.
    seconds : int
        How long it has lasted.
    percent : int
        Charge.
    off : frozenset of str
        Electrodes without contact.
    lead_type : int
        Number in `lsemvae_edge.codecs.lepu.LEAD_TYPES`.
    coding : int
        `RAW` or `DELTAS`.
    first, n : int
        Index of the first sample, and how many there are.
    data : bytes
        The samples.
    """

    measurement: bytes
    seconds: int
    percent: int
    off: frozenset[str]
    lead_type: int
    coding: int
    first: int
    n: int
    data: bytes


def er3_answer(payload: bytes) -> Answer:
    """Understand an answer to `LIVE_ER3`; raises `BadInputError` or `struct.error` on what cannot be one."""
    _, measurement, seconds, _, percent, plugged, lead_type, bits = ER3_RUN.unpack_from(payload)
    wave_info, first, n = ER3_WAVE.unpack_from(payload, ER3_RUN.size)
    if wave_info & 0x0F:
        raise BadInputError(f"an answer at another rate than {codec.FS_HZ:g} Hz")
    off = frozenset(name for bit, name in enumerate(ELECTRODES) if bits >> bit & 1 or not plugged)
    data = payload[ER3_RUN.size + ER3_WAVE.size :]
    return Answer(measurement, seconds, percent, off, lead_type, wave_info >> 4, first, n, data)


def m_answer(payload: bytes) -> Answer:
    """Understand an answer to `LIVE_M`; raises `struct.error` on what cannot be one."""
    percent, seconds, measurement, lead_type, bits = M_RUN.unpack_from(payload)
    first, n = M_WAVE.unpack_from(payload, M_RUN.size)
    # Lead I is told off when LA is, lead II when LL is.
    off = frozenset(name for bit, name in enumerate(("LA", "LL")) if bits >> bit & 1)
    data = payload[M_RUN.size + M_WAVE.size :]
    return Answer(measurement, seconds, percent, off, lead_type, DELTAS, first, n, data)


def i_and_ii(answer: Answer) -> NDArray[np.float32]:
    """Millivolts of leads I and II, shape (2, n); raises `BadInputError` on what is no such signal."""
    if not answer.n and not answer.data:
        return np.zeros((2, 0), np.float32)
    leads = codec.LEAD_TYPES.get(answer.lead_type, ())
    if "I" not in leads or "II" not in leads:
        raise BadInputError(f"an answer of lead type {answer.lead_type}, which lacks lead I or II")
    if answer.coding == DELTAS:
        steps = codec.decode_deltas(answer.data, len(leads))
    elif answer.coding == RAW and len(answer.data) == 2 * len(leads) * answer.n:
        steps = np.frombuffer(answer.data, "<i2").reshape(-1, len(leads)).T
    else:
        raise BadInputError(f"an answer in coding {answer.coding} with {len(answer.data)} bytes")
    if steps.shape[1] != answer.n:
        raise BadInputError(f"an answer with {steps.shape[1]} samples that states {answer.n}")
    return millivolts(steps[[leads.index("I"), leads.index("II")]], codec.MV_PER_LSB)


def millivolts(steps: NDArray[np.int16], mv_per_lsb: float) -> NDArray[np.float32]:
    """Millivolts; NaN where the lead had no contact."""
    return np.where(steps == codec.NO_CONTACT, np.nan, steps * mv_per_lsb).astype(np.float32)
