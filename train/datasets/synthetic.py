"""Simulated patients whose truth is known: for tests and for figures of load, never as evidence about patients."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Annotated, ClassVar, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from lsemvae_edge.leads import STANDARD_12, derive_limb_leads
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.electrodes import ELECTRODES, NoiseKind, add_noise, contact_loss, lead_off
from lsemvae_edge.synthetic.faults import SWAPS
from lsemvae_edge.synthetic.heart import Heart, random_heart, simulate
from lsemvae_edge.train.datasets.entry import N_FOLDS, Entry, Problems, Sex, Task, split_commas
from lsemvae_edge.train.datasets.tasks import HEART_SIDE, RIGHT_AXIS_LIKE, RIGHT_HEART

FAULTS = ("lead_off", "contact_loss", "chest_swap", *SWAPS)
CONDUCTION = {"left_delay_ms": (30.0, 60.0), "ectopic_share": (0.05, 0.3), "blocked_share": (0.05, 0.3)}
"""Parameters of `Heart`, of which a patient has at most one, and between which values."""
STAND_IN = "simulated right heart, no patient"

Share = Annotated[float, Field(ge=0, le=1)]
Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]


@dataclass(frozen=True)
class Person:
    """A simulated patient: heart, and which side is overloaded."""

    heart: Heart
    age_years: float
    sex: Sex
    right: bool
    left: bool


@checked_dataclass(config=ConfigDict(extra="forbid"))
class Synthetic:
    """A drawn cohort; each recording follows from the seed and its number alone.

    Parameters
    ----------
    n_patients, records_per_patient : int
    seed : int
    duration_s, fs_hz : float
    right_share, left_share : float
        Share of patients with an overloaded right heart (axis, force to the right or late conduction), and with a
        hypertrophied left one.
    conduction_share : float
        Share of patients with one of: left bundle branch block, ectopic beats, beats dropped in second-degree block.
        Their labels stay.
    noise : tuple of str
        Kinds of which each recording gets one: white, muscle, mains50, mains60, wander, motion.
    snr_low_db, snr_high_db : float
        Between which the noise is drawn.
    faults : tuple of str
        Electrode faults of which a recording may get one: lead_off, contact_loss, chest_swap (two neighbours), or a
        swap of limb electrodes (arms, left_arm_left_leg, right_arm_left_leg, rotated_forward, rotated_backward,
        inverted).
    fault_share : float
        Share of recordings with a fault; their labels stay.
    """

    n_patients: Annotated[int, Field(ge=1)] = 100
    records_per_patient: Annotated[int, Field(ge=1)] = 1
    seed: Annotated[int, Field(ge=0)] = 0
    duration_s: Annotated[float, Field(gt=0)] = 10.0
    fs_hz: Annotated[float, Field(gt=0)] = 500.0
    right_share: Share = 0.3
    left_share: Share = 0.2
    conduction_share: Share = 0.0
    noise: Names = ()
    snr_low_db: float = 10.0
    snr_high_db: float = 30.0
    faults: Names = ()
    fault_share: Share = 0.1
    problems: Problems = field(default_factory=Problems, init=False, repr=False, compare=False)

    name: ClassVar[str] = "synthetic"
    tasks: ClassVar[tuple[Task, ...]] = (
        replace(RIGHT_HEART, stand_in=STAND_IN),
        replace(HEART_SIDE, stand_in=STAND_IN),
    )

    def __post_init__(self) -> None:
        for names, known in ((self.noise, get_args(NoiseKind)), (self.faults, FAULTS)):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise ValueError(f"unknown {', '.join(unknown)}; there are {', '.join(known)}")
        if self.snr_low_db > self.snr_high_db:
            raise ValueError("snr_low_db is above snr_high_db")

    def __len__(self) -> int:
        return self.n_patients * self.records_per_patient

    def __iter__(self) -> Iterator[Entry]:
        for patient in range(self.n_patients):
            person = draw_person(self.seed, patient, self.right_share, self.left_share, self.conduction_share)
            for visit in range(self.records_per_patient):
                yield self._entry(person, patient, visit)

    def _entry(self, person: Person, patient: int, visit: int) -> Entry:
        targets = {RIGHT_HEART.name: int(person.right)}
        if person.right != person.left:
            targets[HEART_SIDE.name] = int(person.right)
        return Entry(
            record_id=f"{self.seed}-{patient}-{visit}",
            source=self.name,
            patient=f"{self.seed}-{patient}",
            fold=1 + patient % N_FOLDS,
            load=partial(draw_record, self, patient, visit),
            age_years=person.age_years,
            sex=person.sex,
            targets=targets,
            marks=frozenset({RIGHT_AXIS_LIKE} if person.heart.qrs_axis_deg > 90 else ()),
        )


def draw_person(
    seed: int, patient: int, right_share: float, left_share: float, conduction_share: float = 0.0
) -> Person:
    """Draw a patient; the same arguments give the same one."""
    rng = np.random.default_rng((seed, patient))
    heart = random_heart(rng)
    right, left = bool(rng.random() < right_share), bool(rng.random() < left_share)
    changed = asdict(heart) | {"qrs_axis_deg": min(heart.qrs_axis_deg, 85.0)}
    if right:
        changed["qrs_axis_deg"] = float(rng.uniform(92, 150))
        changed["right_ratio"] = float(rng.uniform(0.4, 1.2))
        changed["right_delay_ms"] = float(rng.choice([0.0, rng.uniform(15, 45)]))
    if left:
        changed["left_scale"] = float(rng.uniform(1.6, 2.3))
    age_years = float(rng.integers(18, 90))
    sex: Sex = "female" if rng.random() < 0.5 else "male"
    if conduction_share and rng.random() < conduction_share:
        low, high = CONDUCTION[name := str(rng.choice(list(CONDUCTION)))]
        changed[name] = float(rng.uniform(low, high))
    return Person(
        heart=Heart(**changed),
        age_years=age_years,
        sex=sex,
        right=right,
        left=left,
    )


def draw_record(cohort: Synthetic, patient: int, visit: int) -> Record:
    """Record a patient's visit; the same arguments give the same samples."""
    person = draw_person(cohort.seed, patient, cohort.right_share, cohort.left_share, cohort.conduction_share)
    rng = np.random.default_rng((cohort.seed, patient, 1 + visit))
    rate_bpm = float(np.clip(person.heart.rate_bpm + rng.normal(0, 6), 40, 140))
    record = simulate(replace(person.heart, rate_bpm=rate_bpm), cohort.duration_s, cohort.fs_hz, rng)
    if cohort.noise:
        kind: NoiseKind = cohort.noise[int(rng.integers(len(cohort.noise)))]  # type: ignore[assignment]  # checked there
        record = add_noise(record, kind, float(rng.uniform(cohort.snr_low_db, cohort.snr_high_db)), rng)
    if cohort.faults and rng.random() < cohort.fault_share:
        record = _spoiled(record, cohort.faults[int(rng.integers(len(cohort.faults)))], rng)
    return record


def _spoiled(record: Record, fault: str, rng: np.random.Generator) -> Record:
    if fault in SWAPS:
        # Limb electrodes changed among each other leave Wilson's terminal, and so the chest leads, as they were.
        pair: NDArray[np.float64] = SWAPS[fault] @ record.signal_mv[:2]
        signal = np.concatenate([derive_limb_leads(pair[0], pair[1]), record.signal_mv[6:]])
        return replace(record, signal_mv=signal.astype(np.float32), leads=STANDARD_12)
    if fault == "chest_swap":
        first = record.leads.index(f"V{rng.integers(1, 6)}")
        signal = record.signal_mv.copy()
        signal[[first, first + 1]] = signal[[first + 1, first]]
        return replace(record, signal_mv=signal)
    start_s = float(rng.uniform(0, 0.7 * record.duration_s))
    stop_s = start_s + float(rng.uniform(0.1, 0.3)) * record.duration_s
    if fault == "contact_loss":
        return contact_loss(record, start_s, stop_s)
    return lead_off(record, ELECTRODES[int(rng.integers(len(ELECTRODES)))], start_s, stop_s, rng)
