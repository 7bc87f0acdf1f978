"""Trainings of a benchmark: each done once, and kept under a name made of everything that decides it."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lsemvae_edge.leads import LIMB_LEADS, STANDARD_12
from lsemvae_edge.model import SIZES, Student
from lsemvae_edge.quantize import build, weights
from lsemvae_edge.train import distill
from lsemvae_edge.train.cohort import Cohort
from lsemvae_edge.train.config_distill import DistillConfig
from lsemvae_edge.train.finetune import Examples, NetworkConfig, fit_network, predict_network
from lsemvae_edge.train.recipes import recipe

PLAIN_CNN = NetworkConfig(network="plain_cnn", epochs=20, learning_rate=4e-3, views=1)
"""The plain strided CNN on six leads of the conditioned window, which students are judged against."""
PLAIN: dict[str, tuple[NetworkConfig, str]] = {
    "cnn": (PLAIN_CNN, "edge"),
    "beat_cnn": (PLAIN_CNN.model_copy(update={"window": recipe("beat").n_samples}), "beat"),
}
"""Plain networks by kind, and the recipe of what they read."""

Say = Callable[[str], None]
Scores = NDArray[np.float32]
Kind = Literal["teachers", "student", "cnn", "beat_cnn"]


@dataclass(frozen=True, eq=False)
class Place:
    """What is learned from, and the recordings of other patients that are judged.

    ``training`` has both folders in one band, ``held_out`` is as a recorder gives it.
    """

    name: str
    training: Cohort
    held_out: Cohort


@dataclass(frozen=True, eq=False)
class Fit:
    """One training whose answers on the held-out recordings are kept on disk.

    Parameters
    ----------
    kind : {"teachers", "student", "cnn", "beat_cnn"}
        Teachers give ``soft`` (of the training recordings) and an array a lead set; a student ``float`` and, if
        ``int8``, ``int8``; the plain CNN, on windows or on average beats, its kind. All of the held-out recordings,
        (n, n_outputs), tasks first.
    place : Place
    config : DistillConfig
        Of teachers and student; of the plain CNN the student's seed alone counts.
    int8 : bool
        Also quantize the student and ask it through LiteRT.
    """

    kind: Kind
    place: Place
    config: DistillConfig
    int8: bool = False

    def before(self) -> "Fit | None":
        """Return the teachers that a student needs."""
        if self.kind != "student" or not self.config.teachers:
            return None
        return Fit("teachers", self.place, self.config)

    def path(self, work: Path) -> Path:
        """Name the result after everything that decides it."""
        training, held_out = self.place.training, self.place.held_out
        told = ["|".join([*training.record_id, "/", *held_out.record_id])]
        if self.kind in PLAIN:
            config, of = PLAIN[self.kind]
            told += [config.model_dump_json(), str(self.config.student.seed), str(recipe(of).to_dict())]
        else:
            told += [str([teacher.model_dump_json() for teacher in self.config.teachers]), str(self.config.folds)]
            told += [str(recipe("beat").to_dict()), str({size: str(of) for size, of in SIZES.items()})]
        if self.kind == "student":
            told += [self.config.model_dump_json(), str(self.int8)]
        key = sha256(" ".join(told).encode()).hexdigest()[:12]
        if self.kind == "teachers":
            return work / f"teachers-{self.place.name}-{key}.npz"
        label = f"student-{self.config.student.size}" if self.kind == "student" else "cnn"
        return work / f"{label}-{self.place.name}-{self.config.student.seed}-{key}.npz"

    def run(self, work: Path) -> Path:
        """Do the training; the teachers that it needs are there."""
        torch.set_num_threads(1)
        path = self.path(work)
        held_out, training = self.place.held_out, self.place.training
        if self.kind == "teachers":
            taught = distill.teach(training, self.config, held_out)
            results = {"soft": taught.soft.numpy(), **{leads: said.numpy() for leads, said in taught.held_out.items()}}
        elif self.kind in PLAIN:
            plain, of = PLAIN[self.kind]
            config = plain.model_copy(update={"seed": self.config.student.seed})
            network = fit_network(LIMB_LEADS, plain_examples(training, of), config)
            results = {self.kind: predict_network(network, plain_examples(held_out, of), config)}
        else:
            before = self.before()
            soft = None if before is None else torch.from_numpy(before.answers(work)["soft"])
            student = distill.distill(training, self.config, soft)
            results = {"float": distill.predict(student, held_out).logits.numpy()}
            if self.int8:
                file = build.quantize(student, training, self.config.student.seed)
                session = build.open_kiosk_file(file)
                results["int8"] = build.ask(session, held_out).logits
                path.with_suffix(".tflite").write_bytes(file)
            for name, content in weights.dump(student).items():
                path.with_suffix(f".{name}").write_bytes(content)
        draft = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(draft, allow_pickle=False, **results)
        draft.replace(path)
        return path

    def answers(self, work: Path) -> dict[str, Scores]:
        """Return what a finished training gave."""
        with np.load(self.path(work), allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}

    def student(self, work: Path) -> Student:
        """Return a finished student."""
        path = self.path(work)
        read = (path.with_suffix(f".{name}").read_bytes() for name in (weights.WEIGHTS, weights.CONFIG))
        return weights.restore(*read)


def run_all(fits: Sequence[Fit], work: Path, processes: int, say: Say) -> None:
    """Do what is not finished, teachers before their students."""
    work.mkdir(parents=True, exist_ok=True)
    for wave in (_unique([fit.before() for fit in fits], work), _unique(fits, work)):
        if not wave:
            continue
        say(f"{len(wave)} trainings to do in {work}")
        # A forked child would inherit torch's thread pools in whatever state they are.
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            for done, future in enumerate(as_completed([pool.submit(fit.run, work) for fit in wave]), 1):
                say(f"[{done}/{len(wave)}] {future.result().name}")


def plain_examples(cohort: Cohort, of: str) -> Examples:
    """Return six limb leads of conditioned windows (recipe ``edge``) or average beats, as plain networks take them."""
    limb = cohort.limb_windows() if of == "edge" else cohort.beats[:, : len(LIMB_LEADS)]
    signals = np.zeros((len(cohort), len(STANDARD_12), limb.shape[2]), dtype=np.float32)
    signals[:, : len(LIMB_LEADS)] = limb
    present = np.zeros((len(cohort), len(STANDARD_12)), dtype=bool)
    present[:, : len(LIMB_LEADS)] = True
    return Examples(
        torch.from_numpy(signals),
        torch.from_numpy(present),
        torch.from_numpy(cohort.targets),
        torch.from_numpy(cohort.auxiliary),
    )


def _unique(fits: Sequence[Fit | None], work: Path) -> list[Fit]:
    named = {fit.path(work): fit for fit in fits if fit is not None}
    return [fit for path, fit in named.items() if not path.is_file()]
