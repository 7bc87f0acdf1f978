"""What a virtual recorder is attached to: any recording, or a simulated heart, without end."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import preprocess
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import LIMB_LEADS, derive_limb_leads, solve_i_ii
from lsemvae_edge.record import Record

HEART_S = 120.0
"""Length of a simulated heart before it begins again."""


class Feed:
    """The patient at a virtual recorder's electrodes.

    Parameters
    ----------
    record : Record
        Its gaps read as zero volts. At another rate than the recorder's it is resampled.
    leads : sequence of str
        Leads the recorder measures; limb leads that the recording lacks are derived, others are zero.
    fs_hz : float
        The recorder's rate.
    mv_per_lsb : float
        The converter's step.
    bits : int
        The converter stops at the ends of this many bits.
    """

    def __init__(self, record: Record, leads: Sequence[str], fs_hz: float, mv_per_lsb: float, bits: int) -> None:
        signal_mv = _rows(record, leads)
        if record.fs_hz != fs_hz:
            signal_mv = _resampled(signal_mv, record.fs_hz, fs_hz)
        limit = 2 ** (bits - 1)
        steps = np.rint(signal_mv / mv_per_lsb)
        self._steps = np.clip(steps, -limit, limit - 1).astype(np.int32)
        self.leads = tuple(leads)

    @property
    def n_samples(self) -> int:
        """Samples before the recording begins again."""
        return int(self._steps.shape[1])

    def steps(self, first: int, n: int) -> NDArray[np.int32]:
        """Return converter steps, shape (n_leads, n), from sample ``first`` on; the recording repeats without end."""
        first %= self.n_samples
        if first + n <= self.n_samples:
            return self._steps[:, first : first + n]
        return self._steps[:, np.arange(first, first + n) % self.n_samples]


def _rows(record: Record, leads: Sequence[str]) -> NDArray[np.float64]:
    signal = np.where(record.gaps, 0.0, record.signal_mv.astype(np.float64))
    rows = {name: signal[record.leads.index(name)] for name in record.leads}
    pair = solve_i_ii({name: row for name, row in rows.items() if name in LIMB_LEADS})
    if pair is not None:
        rows = {**dict(zip(LIMB_LEADS, derive_limb_leads(*pair), strict=True)), **rows}
    if not any(name in rows for name in leads):
        raise BadInputError(f"The recording has none of the leads {', '.join(leads)}.", "Choose another recording.")
    return np.stack([rows.get(name, np.zeros(record.n_samples)) for name in leads])


def _resampled(signal_mv: NDArray[np.float64], fs_in_hz: float, fs_hz: float) -> NDArray[np.float64]:
    spec = replace(preprocess.default_spec().resampler, fs_hz=fs_hz)
    return preprocess.resample(signal_mv, fs_in_hz, spec)[0]
