"""Data sets: each a small adapter that gives the same entries, whatever files it comes from.

`open_dataset` opens one by its kind; `docs/datasets.md` says where each comes from and what is special about it.
"""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.train.datasets.cinc import CinC
from lsemvae_edge.train.datasets.code15 import Code15
from lsemvae_edge.train.datasets.cohort_check import CohortCheck, check_cohort
from lsemvae_edge.train.datasets.entry import (
    DataSet,
    Entry,
    Kind,
    Problems,
    RecordError,
    Sex,
    Task,
    fold_of,
    kind_of,
)
from lsemvae_edge.train.datasets.folder import HospitalFolder
from lsemvae_edge.train.datasets.mimic import MimicEcg
from lsemvae_edge.train.datasets.other_recorders import other_recorders
from lsemvae_edge.train.datasets.packed import Packed
from lsemvae_edge.train.datasets.ptbxl import DATABASE, LIMB_ONLY, TWELVE_LEAD, PtbXl, listed_ids
from lsemvae_edge.train.datasets.synthetic import Synthetic
from lsemvae_edge.train.datasets.tasks import HEART_SIDE, RIGHT_AXIS_LIKE, RIGHT_HEART

__all__ = [
    "DATA_VARIABLE",
    "HEART_SIDE",
    "KINDS",
    "LIMB_ONLY",
    "RIGHT_AXIS_LIKE",
    "RIGHT_HEART",
    "TWELVE_LEAD",
    "CinC",
    "Code15",
    "CohortCheck",
    "DataSet",
    "Entry",
    "HospitalFolder",
    "Kind",
    "MimicEcg",
    "Packed",
    "Problems",
    "PtbXl",
    "RecordError",
    "Sex",
    "Synthetic",
    "Task",
    "check_cohort",
    "data_folder",
    "entries",
    "fold_of",
    "kind_of",
    "listed_ids",
    "open_dataset",
    "other_recorders",
]

DATA_VARIABLE = "LSEMVAE_EDGE_DATA"

KINDS: MappingProxyType[str, Callable[..., DataSet]] = MappingProxyType(
    {adapter.name: adapter for adapter in (Packed, PtbXl, MimicEcg, Code15, CinC, HospitalFolder, Synthetic)}
)
"""Adapters by the name that ``--dataset`` takes."""


def open_dataset(kind: str, path: Path | None, **options: Any) -> DataSet:
    """Open a data set.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.
    path : Path or None
        Its folder; None for a data set without files.
    **options
        Fields of the adapter, as values or as the text a command line has.

    Raises
    ------
    UsageError
        If there is no such kind or option, or an option's value has no meaning.
    BadInputError
        If the folder is absent.
    """
    adapter = KINDS.get(kind)
    if adapter is None:
        raise UsageError(f"There is no data set of kind {kind!r}.", f"Choose one of: {', '.join(KINDS)}.")
    if adapter is not Synthetic:
        if path is None:
            raise UsageError(f"The data set {kind} needs a folder.", "Name it with --data.")
        if not path.is_dir():
            raise BadInputError(f"There is no folder {path}.", "Name the data set's folder with --data.")
        options = {"path": path, **options}
    try:
        return adapter(**options)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'options'}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        )
        known = [name for name in inspect.signature(adapter).parameters if name != "path"]
        raise UsageError(
            f"The data set {kind} cannot be opened so: {wrong}.", f"Its options are: {', '.join(known) or 'none'}."
        ) from None


def data_folder() -> Path:
    """Return the folder that ``LSEMVAE_EDGE_DATA`` names.

    Raises
    ------
    BadInputError
        If the variable is unset or names no folder.
    """
    value = os.environ.get(DATA_VARIABLE)
    if not value or not Path(value).is_dir():
        raise BadInputError(
            f"{DATA_VARIABLE} does not name a folder with training data.",
            f"Set {DATA_VARIABLE} to a PTB-XL download (see docs/training.md).",
        )
    return Path(value)


def entries(folder: Path) -> list[Entry]:
    """List the student's recordings in a folder: the packed subset, or the same of a PTB-XL download.

    Raises
    ------
    BadInputError
        If the folder holds neither.
    """
    if (folder / TWELVE_LEAD).is_dir():
        return list(Packed(folder))
    if (folder / DATABASE).is_file():
        return list(PtbXl(folder, listed=True))
    raise BadInputError(
        f"{folder} holds neither the packed subset nor a PTB-XL download.",
        "Point it at the folder that has ptbxl_database.csv and records500/.",
    )
