"""From a file's channels to a record: which to keep, on which scale, and what to refuse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.formats._contract import MAX_DURATION_S, MAX_FS_HZ
from lsemvae_edge.formats._units import mv_per_unit
from lsemvae_edge.leads import LIMB_LEADS, canonical_name
from lsemvae_edge.record import Amplitude, Origin, Record


@dataclass(frozen=True, eq=False)
class Channel:
    """One signal of a file.

    Parameters
    ----------
    label : str
        The name the file gives it.
    samples : array (n_samples,)
        In ``unit``; NaN where a sample is missing.
    unit : str or None
        As the file states it; None when it states none or is not calibrated.
    fs_hz : float
        Sampling rate in hertz.
    """

    label: str
    samples: NDArray[Any]
    unit: str | None
    fs_hz: float


def check_extent(n_samples: float, fs_hz: float) -> None:
    """Refuse what no electrocardiograph records, before memory is taken for it.

    Raises
    ------
    BadInputError
        If the rate is not a positive number up to ``MAX_FS_HZ``, or the length is zero or over ``MAX_DURATION_S``.
    """
    if not 0 < fs_hz <= MAX_FS_HZ:
        raise BadInputError(f"The file states a sampling rate of {fs_hz:g} Hz, which is not plausible.")
    if n_samples < 1:
        raise BadInputError("The recording has no samples.", "Record again, or export the recording again.")
    if n_samples / fs_hz > MAX_DURATION_S:
        raise BadInputError(
            f"The recording claims to last {n_samples / fs_hz / 3600:.0f} hours; at most 24 are read.",
            "Cut the part to be read into a file of its own.",
        )


def build_record(
    channels: Sequence[Channel],
    *,
    format_name: str,
    record_id: str,
    started_at: datetime | None = None,
    meta: Mapping[str, Any] | None = None,
    origin: Origin = "file",
    uncalibrated_as: Amplitude = "uncalibrated",
) -> Record:
    """Keep the standard leads of a file, in its order, on one scale.

    The limb leads decide: they must share rate, length and scale. A precordial lead that does not fit them,
    a channel that is no standard lead, and a lead without any sample are left out and listed in
    ``meta["ignored_channels"]``.

    Raises
    ------
    BadInputError
        If there is no limb lead with samples, the limb leads do not fit each other, or a lead repeats.
    """
    leads, ignored = _standard_leads(channels)
    present = {name: channel for name, channel in leads.items() if np.isfinite(channel.samples).any()}
    ignored += [f"{name} (no samples)" for name in leads if name not in present]
    limb = [channel for name, channel in present.items() if name in LIMB_LEADS]
    if not limb:
        raise _no_limb_lead(leads, channels)
    reference = _common(limb)
    check_extent(*reference[:2])
    kept = {name: channel for name, channel in present.items() if _fit(channel) == reference}
    ignored += [f"{name} (other rate, length or unit)" for name in present if name not in kept]

    n_samples, fs_hz, unit = reference
    signal = np.empty((len(kept), int(n_samples)), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # too large for float32 becomes a gap in Record
        for row, channel in zip(signal, kept.values(), strict=True):
            row[:] = channel.samples * (mv_per_unit(channel.unit) or 1.0)
    details = {"format": format_name, "id": record_id, **(meta or {})}
    if ignored:
        details["ignored_channels"] = ignored
    return Record(
        signal_mv=signal,
        fs_hz=fs_hz,
        leads=tuple(kept),
        started_at=started_at,
        meta=details,
        amplitude="calibrated" if unit == "mV" else uncalibrated_as,
        origin=origin,
    )


def _standard_leads(channels: Sequence[Channel]) -> tuple[dict[str, Channel], list[str]]:
    leads: dict[str, Channel] = {}
    ignored: list[str] = []
    for channel in channels:
        name = canonical_name(channel.label)
        if name is None:
            ignored.append(channel.label.strip())
        elif name in leads:
            raise BadInputError(
                f"The file names lead {name} twice.", "Export the recording again with one channel per lead."
            )
        else:
            leads[name] = channel
    return leads, ignored


def _fit(channel: Channel) -> tuple[int, float, str]:
    """Return what must agree between channels; units of voltage count as mV, which they will be turned into."""
    unit = "mV" if mv_per_unit(channel.unit) is not None else f"unknown: {(channel.unit or '').strip().lower()}"
    return channel.samples.size, channel.fs_hz, unit


def _common(limb: Sequence[Channel]) -> tuple[int, float, str]:
    fits = [_fit(channel) for channel in limb]
    for index, what in ((1, "sampling rates"), (0, "lengths"), (2, "units, some of them unknown")):
        if len({fit[index] for fit in fits}) > 1:
            raise BadInputError(
                f"The limb leads have different {what}.", "Export the limb leads again, all in the same way."
            )
    return fits[0]


def _no_limb_lead(leads: Mapping[str, Channel], channels: Sequence[Channel]) -> BadInputError:
    if any(name in LIMB_LEADS for name in leads):
        return BadInputError("The limb leads hold no samples, only gaps.", "Record again.")
    labels = [channel.label.strip() for channel in channels]
    shown = ", ".join(labels[:12]) + (", …" if len(labels) > 12 else "")
    return BadInputError(
        f"The file has none of the limb leads {', '.join(LIMB_LEADS)}; its channels are: {shown or 'none'}.",
        "Name the channels by their lead, or export a recording with limb leads.",
    )
