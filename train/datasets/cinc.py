"""PhysioNet/CinC Challenges 2020 and 2021 (Reyna et al. 2021, PhysioNet 10.13026/34va-7q14)."""

import re
from collections.abc import Iterator
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.train import labels
from lsemvae_edge.train.datasets import tables
from lsemvae_edge.train.datasets.entry import Entry, Kind, Problems, Task, fold_of
from lsemvae_edge.train.datasets.reading import age_years, comments, headers, read_twelve, sex
from lsemvae_edge.train.datasets.tasks import HEART_SIDE, RIGHT_HEART, marks, stand_in_targets

_CODE = re.compile(r"\d{6,18}")
_PTB_XL = re.compile(r"HR\d{5}")
_NOT_A_SOURCE = re.compile(r"training|wfdb|g\d+", re.IGNORECASE)


@dataclass(config=ConfigDict(extra="forbid"))
class CinC:
    """Folders of WFDB headers, each beside its ``.mat``, at any depth, with SNOMED CT codes in ``#Dx``.

    No patient is named: each recording counts as its own, which overstates how far splits keep people apart.

    Parameters
    ----------
    path : Path
    ptb_xl : bool
        Take PTB-XL's records (``HR…``) too. They lack their patients here, so PTB-XL itself is the better source.
    """

    path: Path
    ptb_xl: bool = False
    problems: Problems = field(default_factory=Problems, init=False, repr=False, compare=False)

    name: ClassVar[str] = "cinc"
    tasks: ClassVar[tuple[Task, ...]] = (RIGHT_HEART, HEART_SIDE)

    def __iter__(self) -> Iterator[Entry]:
        self.problems.clear()
        return tables.streamed(self._entries(), self.problems, self.name)

    def _entries(self) -> Iterator[Entry]:
        for header in headers(self.path):
            record_id = header.stem
            if not self.ptb_xl and _PTB_XL.fullmatch(record_id):
                self.problems.add(Kind.ELSEWHERE, record_id)
                continue
            try:
                said = comments(header)
            except BadInputError as error:
                self.problems.add(Kind.UNREADABLE, record_id, error.message)
                continue
            codes = _CODE.findall(said.get("dx", ""))
            label = labels.from_snomed(codes) if codes else None
            if label is None:
                self.problems.add(Kind.UNLABELLED, record_id)
            yield Entry(
                record_id=record_id,
                source=self._source(header),
                patient=record_id,
                fold=fold_of(record_id),
                load=partial(read_twelve, header),
                age_years=age_years(said.get("age", "")),
                sex=sex(said.get("sex", "")),
                pacemaker=any(code in labels.PACED_SNOMED for code in codes),
                targets={} if label is None else stand_in_targets(label),
                marks=frozenset() if label is None else marks(label),
            )

    def _source(self, header: Path) -> str:
        """Name the hospital's folder, which tells recorders apart."""
        parts = header.relative_to(self.path).parts[:-1]
        return "/".join([self.name, *(part for part in parts if not _NOT_A_SOURCE.fullmatch(part))][:2])
