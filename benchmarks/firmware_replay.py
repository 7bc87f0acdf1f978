"""Recordings on emulated boards: the C library makes the same bits of them there as on this machine.

`benchmarks.firmware_parity` holds the library on this machine against its oracles; here the boards are held against
this machine, every layer, the tail and the result of the whole chain.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.benchmarks import table_files
from lsemvae_edge.benchmarks.fits import Say
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.quantize.firmware import boards, generate
from lsemvae_edge.quantize.firmware.boards import Board
from lsemvae_edge.quantize.firmware.folder import lay_out
from lsemvae_edge.record import Record
from lsemvae_edge.train.datasets.entry import Entry

FILE = "replay.bin"
PV_PER_LSB = 1_000_000
INPUT, RECORDING = 1, 2
MAINS_HZ = 50
_AGE_UNKNOWN = 255


def packed_input(quantized: NDArray[np.int16]) -> bytes:
    """Return a model input (n_leads, n_samples) as the boards read it."""
    return np.uint32(INPUT).tobytes() + quantized.astype("<i2").tobytes()


def packed_recording(record: Record, rates_hz: Sequence[int]) -> bytes | None:
    """Return leads I and II as the boards read them, in whole microvolts; None at a rate that they do not know."""
    try:
        limb = record.limb()
        pair = np.stack([limb[name] for name in ("I", "II")]).astype(np.float64)
    except (LsemvaeError, KeyError):
        return None
    if record.fs_hz not in rates_hz or not np.isfinite(pair).all():
        return None
    known = record.meta.get("age_years")
    told = (
        RECORDING,
        round(record.fs_hz),
        PV_PER_LSB,
        MAINS_HZ,
        int(record.amplitude != "calibrated"),
        _AGE_UNKNOWN if known is None else min(int(known), _AGE_UNKNOWN - 1),
        int(bool(record.meta.get("pacemaker"))),
        pair.shape[1],
    )
    limit = np.iinfo(np.int32)
    steps = np.clip(np.rint(pair * 1000), limit.min, limit.max)
    return np.array(told, dtype="<u4").tobytes() + steps.T.astype("<i4").tobytes()


def measure(
    bundle: Bundle,
    entries: Sequence[Entry],
    signals: NDArray[np.float32],
    work: Path,
    on: Sequence[Board],
    say: Say = print,
) -> list[dict[str, Any]]:
    """Replay model inputs and recordings here and on boards, with every kernel of each.

    Parameters
    ----------
    bundle : Bundle
    entries : sequence of Entry
        Recordings for the whole chain; one at a rate without coefficients is left out.
    signals : array (n, n_leads, n_samples)
        Model inputs, for every layer and the tail.
    work : Path
        Folder to build in.
    on : sequence of Board
    say : callable
        Told of progress.

    Returns
    -------
    list of dict
        One a board and kernel: ``inputs``, ``recordings``, and how many of each are the ``same``.

    Raises
    ------
    BundleError
        If a program does not build, or ends before the last recording.
    """
    made = generate.from_bundle(bundle)
    folder = lay_out(generate.contents(made), work / f"{bundle.spec.id}-replay")
    inputs = [packed_input(made.model.quantized(signal)) for signal in signals]
    rates_hz = [rate.rate_hz for rate in made.rates]
    read = [packed_recording(entry.record(), rates_hz) for entry in entries]
    recordings = [one for one in read if one is not None]
    file = folder / FILE
    file.write_bytes(b"".join([*inputs, *recordings]))
    say(f"{bundle.spec.id}: {len(inputs)} inputs and {len(recordings)} recordings here")
    here = boards.replayed(folder, None, file)
    rows = []
    for one in on:
        for kernels in one.kernels:
            say(f"{bundle.spec.id}: the same on {one.title} with {kernels} kernels")
            there = boards.replayed(folder, one, file, kernels)
            same = [ours == theirs for ours, theirs in zip(here, there, strict=True)]
            rows.append(
                {
                    "model": bundle.spec.id,
                    "board": one.title,
                    "kernels": kernels,
                    "inputs": len(inputs),
                    "inputs_same": sum(same[: len(inputs)]),
                    "recordings": len(recordings),
                    "recordings_same": sum(same[len(inputs) :]),
                }
            )
    return rows


def passed(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every board gave the same bits for everything."""
    return all(row["inputs_same"] == row["inputs"] and row["recordings_same"] == row["recordings"] for row in rows)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Print the comparison as a table."""
    return table_files.to_markdown([dict(row) for row in rows])
