"""What every data set gives: entries, one a recording, in a stream; tasks; and a report of what was wrong."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256
from typing import Any, Literal, Protocol

from lsemvae_edge.errors import BadInputError, LsemvaeError
from lsemvae_edge.record import Record

N_FOLDS = 10
MAX_EXAMPLES = 20

Sex = Literal["female", "male"]


@dataclass(frozen=True)
class Task:
    """A question with two answers that a data set has labels for.

    Parameters
    ----------
    name : str
    classes : tuple of str
        ``classes[1]`` is the positive one, target 1.
    stand_in : str, optional
        What the label really is, where it stands in for something that public data do not have.
    """

    name: str
    classes: tuple[str, str]
    stand_in: str | None = None


@dataclass(frozen=True, eq=False)
class Entry:
    """One recording of a data set, before its samples are read.

    Parameters
    ----------
    record_id : str
        Unique in its data set.
    source : str
        The data set, or the part of it that differs in band or scale.
    patient : str
        Recordings of one person share it; so does every split.
    fold : int
        1 to 10: 1-8 for training, 9 for choices, 10 read once.
    load : callable
        Reads the recording; picklable, and raises `LsemvaeError` only.
    age_years : float, optional
    sex : {"female", "male"}, optional
    site, device : str
        Where and with what it was recorded, empty where unknown.
    pacemaker : bool
    targets : mapping of str to int
        Task name to 0 or 1; a task that the recording has no label for is absent.
    auxiliary : tuple of float
        Further statements to learn from, NaN where unknown; only PTB-XL has them.
    marks : frozenset of str
        What else must be told apart in figures; no label. ``right_axis_like`` is the only one so far.
    """

    record_id: str
    source: str
    patient: str
    fold: int
    load: Callable[[], Record]
    age_years: float | None = None
    sex: Sex | None = None
    site: str = ""
    device: str = ""
    pacemaker: bool = False
    targets: Mapping[str, int] = field(default_factory=dict)
    auxiliary: tuple[float, ...] = ()
    marks: frozenset[str] = frozenset()

    def record(self) -> Record:
        """Read the recording, with what the data set says of the person."""
        record = self.load()
        known: dict[str, Any] = {"id": self.record_id, "pacemaker": self.pacemaker}
        if self.age_years is not None:
            known["age_years"] = self.age_years
        return replace(record, meta={**record.meta, **known})


class Kind(StrEnum):
    """Kinds of trouble with a data set, as reports name them."""

    UNREADABLE = "unreadable record"
    LEAD_COUNT = "wrong lead count"
    UNKNOWN_LEAD = "unknown lead name"
    MISSING_FILE = "label for a missing file"
    UNLABELLED = "record without label"
    DUPLICATE = "duplicate id"
    MISSING_VALUE = "missing value"
    BAD_VALUE = "value without meaning"
    CONTRADICTORY = "contradictory leads"
    UNUSED_COLUMN = "column not used"
    ELSEWHERE = "record of another data set"
    ONE_CLASS = "one class only"
    FEW_PATIENTS = "fewer patients than folds"


class RecordError(BadInputError):
    """A recording was left out, for a reason that is counted by its kind."""

    def __init__(self, kind: Kind, message: str, next_step: str | None = None) -> None:
        super().__init__(message, next_step)
        self.kind = kind

    def __reduce__(self) -> tuple[type["RecordError"], tuple[Kind, str, str]]:
        """Cross to another process whole."""
        return type(self), (self.kind, self.message, self.next_step)


def kind_of(error: LsemvaeError) -> Kind:
    """Return under which kind an error from reading a recording is counted."""
    return error.kind if isinstance(error, RecordError) else Kind.UNREADABLE


@dataclass
class Problems:
    """What was wrong, counted by kind, with the first names of each; its size does not grow with the data.

    Parameters
    ----------
    counts : dict of Kind to int
    examples : dict of Kind to list of str
        The first `MAX_EXAMPLES` names (record, file or task), each with what was wrong with it if that differs.
    """

    counts: dict[Kind, int] = field(default_factory=dict)
    examples: dict[Kind, list[str]] = field(default_factory=dict)

    def add(self, kind: Kind, name: str, detail: str = "") -> None:
        """Count one problem of the record, file or task of this name."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        shown = self.examples.setdefault(kind, [])
        if len(shown) < MAX_EXAMPLES:
            shown.append(f"{name}: {detail}" if detail else name)

    def clear(self) -> None:
        """Forget all; a data set does so whenever it is read from its beginning."""
        self.counts.clear()
        self.examples.clear()

    def lines(self) -> list[str]:
        """One line a kind: how many, and the first names."""
        return [
            f"{kind}: {count} ({'; '.join(self.examples[kind])}{'; …' if count > len(self.examples[kind]) else ''})"
            for kind, count in self.counts.items()
        ]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return counts and examples by kind, for JSON."""
        return {
            str(kind): {"count": count, "examples": list(self.examples[kind])} for kind, count in self.counts.items()
        }

    def __bool__(self) -> bool:
        return bool(self.counts)


class DataSet(Protocol):
    """A data set: entries in a stream, in an order that never changes, in memory that does not grow with it.

    ``problems`` is filled while entries are read and cleared when reading begins anew. Objects are picklable.
    """

    @property
    def name(self) -> str:
        """The kind, as `open_dataset` takes it."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the entries may have labels for."""

    @property
    def problems(self) -> Problems:
        """What was wrong so far."""

    def __iter__(self) -> Iterator[Entry]: ...


def fold_of(patient: str) -> int:
    """Return the fold (1 to 10) of a patient in a data set that publishes none: the same on every machine."""
    return 1 + int.from_bytes(sha256(patient.encode()).digest()[:8], "big") % N_FOLDS


def split_commas(value: Any) -> Any:
    """Take ``"a,b"``, as a command line gives it, for ``("a", "b")``."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
