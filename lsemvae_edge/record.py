"""One ECG recording, as every other part of the toolkit sees it."""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import LIMB_LEADS, canonical_names

Amplitude = Literal["calibrated", "uncalibrated", "relative"]
Origin = Literal["live", "file", "demo", "simulated"]


@dataclass(frozen=True, eq=False)
class Record:
    """A multi-lead recording.

    Parameters
    ----------
    signal_mv : array (n_leads, n_samples), float32
        Millivolts when ``amplitude`` is ``"calibrated"``; otherwise in the recorder's own scale.
        Samples that were not received are NaN or marked in ``gaps``.
    fs_hz : float
        Sampling rate in hertz.
    leads : tuple of str
        One label a row; aliases are turned into standard names.
    gaps : array of bool, optional
        Samples that were not received: (n_samples,) for all leads or (n_leads, n_samples).
        Always (n_leads, n_samples) afterwards, and always true where the signal is not finite.
    started_at : datetime, optional
        When the first sample was taken.
    meta : mapping, optional
        What else the source says. Keys used by the toolkit: ``device`` (str), ``id`` (str),
        ``age_years`` (float), ``pacemaker`` (bool), ``clock_set`` (bool), ``format`` (str).
    amplitude : {"calibrated", "uncalibrated", "relative"}
        Whether the signal's scale is known to be millivolts.
    origin : {"live", "file", "demo", "simulated"}
        Where the recording comes from.

    Raises
    ------
    BadInputError
        If the shapes contradict each other, the rate is not a positive number, or a lead repeats.
    """

    signal_mv: NDArray[np.float32]
    fs_hz: float
    leads: tuple[str, ...]
    gaps: NDArray[np.bool_] = None  # type: ignore[assignment]  # filled in __post_init__
    started_at: datetime | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    amplitude: Amplitude = "calibrated"
    origin: Origin = "file"

    def __post_init__(self) -> None:
        signal = np.array(self.signal_mv, dtype=np.float32, ndmin=2)
        if signal.ndim != 2:
            raise BadInputError(f"A recording needs a (n_leads, n_samples) signal, not {signal.shape}.")
        leads = canonical_names(self.leads)
        if len(leads) != signal.shape[0]:
            raise BadInputError(f"The recording has {signal.shape[0]} channels but {len(leads)} lead names.")
        if not (np.isfinite(self.fs_hz) and self.fs_hz > 0):
            raise BadInputError(f"The sampling rate must be a positive number, not {self.fs_hz}.")
        if self.amplitude not in get_args(Amplitude):
            raise BadInputError(f"Unknown amplitude kind {self.amplitude!r}.")
        if self.origin not in get_args(Origin):
            raise BadInputError(f"Unknown origin {self.origin!r}.")
        gaps = ~np.isfinite(signal)
        if self.gaps is not None:
            given = np.asarray(self.gaps, dtype=bool)
            if given.shape not in (signal.shape, signal.shape[1:]):
                raise BadInputError(f"Gaps of shape {given.shape} do not fit a signal of {signal.shape}.")
            gaps = gaps | given
        signal[gaps] = np.nan
        signal.flags.writeable = False
        gaps.flags.writeable = False
        for name, value in (
            ("signal_mv", signal),
            ("leads", leads),
            ("gaps", gaps),
            ("fs_hz", float(self.fs_hz)),
            ("meta", MappingProxyType(dict(self.meta))),
        ):
            object.__setattr__(self, name, value)

    @property
    def n_samples(self) -> int:
        """Number of samples in each lead."""
        return int(self.signal_mv.shape[1])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.fs_hz

    def limb(self) -> dict[str, NDArray[np.float32]]:
        """Return the measured limb leads by name, in standard order."""
        return {name: self.signal_mv[self.leads.index(name)] for name in LIMB_LEADS if name in self.leads}

    def sha256(self) -> str:
        """Digest of what was recorded: leads, rate, scale and samples, not where they were kept."""
        digest = sha256()
        digest.update(f"{','.join(self.leads)}|{self.fs_hz!r}|{self.amplitude}|".encode())
        digest.update(np.ascontiguousarray(self.signal_mv, dtype="<f4").tobytes())
        return digest.hexdigest()
