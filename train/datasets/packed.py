"""The packed subset of PTB-XL: samples in npz archives, statements in ``meta.csv``."""

from collections.abc import Iterator
from dataclasses import field
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import LIMB_LEADS, STANDARD_12, derive_limb_leads
from lsemvae_edge.record import Amplitude, Record
from lsemvae_edge.train.datasets import tables
from lsemvae_edge.train.datasets.entry import Entry, Kind, Problems, Task, split_commas
from lsemvae_edge.train.datasets.ptbxl import COLUMNS, LIMB_ONLY, TWELVE_LEAD, band_of_limb_only, entry_of
from lsemvae_edge.train.datasets.tasks import HEART_SIDE, RIGHT_HEART

FS_HZ = 500.0
MAX_RESIDUAL = 0.02
"""Einthoven residual above which the leads of a record contradict each other."""

_MV_PER_UNIT = np.float32(1e-3)
_AMPLITUDE: dict[str, Amplitude] = {TWELVE_LEAD: "calibrated", LIMB_ONLY: "relative"}


@dataclass(config=ConfigDict(extra="forbid"))
class Packed:
    """The packed subset: a folder for each part, with archives of leads I and II and, in one part, of V1 to V6.

    Parameters
    ----------
    path : Path
    parts : tuple of str
        Folders to read.
    same_band : bool
        Filter the unfiltered part as the other one was before us, so that a model cannot learn the folder. For
        training; what is judged stays as a recorder gives it.
    pair_only : bool
        Leads I and II alone, as a six-lead recorder measures them; otherwise all leads that are there or follow.
    """

    path: Path
    parts: Annotated[tuple[str, ...], BeforeValidator(split_commas)] = (TWELVE_LEAD, LIMB_ONLY)
    same_band: bool = False
    pair_only: bool = False
    problems: Problems = field(default_factory=Problems, init=False, repr=False, compare=False)

    name: ClassVar[str] = "packed"
    tasks: ClassVar[tuple[Task, ...]] = (RIGHT_HEART, HEART_SIDE)

    def __post_init__(self) -> None:
        unknown = [part for part in self.parts if part not in _AMPLITUDE]
        if unknown:
            raise ValueError(f"unknown part {', '.join(unknown)}; there are {', '.join(_AMPLITUDE)}")

    def __iter__(self) -> Iterator[Entry]:
        self.problems.clear()
        return tables.streamed(self._entries(), self.problems, self.name)

    def _entries(self) -> Iterator[Entry]:
        for part in self.parts:
            folder = self.path / part
            limb, chest = _positions(folder, "lead_I_II_*.npz"), {}
            if not self.pair_only and any(folder.glob("leads_V1-V6_*.npz")):
                chest = _positions(folder, "leads_V1-V6_*.npz")
            unnamed = set(limb)
            for row in tables.rows(folder / "meta.csv", COLUMNS):
                ecg_id = row["ecg_id"]
                unnamed.discard(ecg_id)
                residual = float(row.get("einthoven_residual") or 0)
                if residual > MAX_RESIDUAL:
                    self.problems.add(Kind.CONTRADICTORY, ecg_id, f"Einthoven residual {residual:.3g}")
                    continue
                if ecg_id not in limb:
                    self.problems.add(Kind.MISSING_FILE, ecg_id)
                    continue
                load = partial(
                    _load,
                    folder,
                    limb[ecg_id],
                    chest.get(ecg_id),
                    pair_only=self.pair_only,
                    filtered=self.same_band and part == TWELVE_LEAD,
                )
                entry = entry_of(row, part, load, self.problems)
                if entry is not None:
                    yield entry
            for ecg_id in sorted(unnamed):
                self.problems.add(Kind.UNLABELLED, ecg_id, f"not in {part}/meta.csv")


def _load(folder: Path, position: int, chest_position: int | None, *, pair_only: bool, filtered: bool) -> Record:
    signal = _samples(_archive(folder, "lead_I_II_*.npz"))[position] * _MV_PER_UNIT
    leads: tuple[str, ...] = ("I", "II")
    if not pair_only:
        signal, leads = derive_limb_leads(signal[0], signal[1]), LIMB_LEADS
    if chest_position is not None:
        chest = _samples(_archive(folder, "leads_V1-V6_*.npz"))[chest_position] * _MV_PER_UNIT
        signal, leads = np.concatenate([signal, chest]), STANDARD_12
    record = Record(signal, FS_HZ, leads, amplitude=_AMPLITUDE[folder.name])
    return band_of_limb_only(record) if filtered else record


@lru_cache(maxsize=4)
def _samples(archive: Path) -> NDArray[Any]:
    """Unpack an archive, once in each process: a compressed array has no random access."""
    with np.load(archive, allow_pickle=False) as data:
        samples: NDArray[Any] = data["x"]
    return samples


def _positions(folder: Path, pattern: str) -> dict[str, int]:
    with np.load(_archive(folder, pattern), allow_pickle=False) as data:
        return {str(ecg_id): i for i, ecg_id in enumerate(data["ecg_id"].tolist())}


def _archive(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise BadInputError(
            f"{folder} has {len(found)} archives {pattern} where one is expected.", "See docs/datasets.md."
        )
    return found[0]
