"""Stages of the study: pre-trainings and fits, each kept on disk under a name made of everything that decides it."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from lsemvae_edge.benchmarks.study_config import ModelRow
from lsemvae_edge.model import LSEMVAE
from lsemvae_edge.train import finetune, task_model
from lsemvae_edge.train.config import PRESETS
from lsemvae_edge.train.finetune import LEAD_SETS, Examples, NetworkConfig
from lsemvae_edge.train.predictions import Predictions
from lsemvae_edge.train.pretrain import pretrain
from lsemvae_edge.train.shards import Shards, open_shards
from lsemvae_edge.train.task_model import TaskModel

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Place:
    """One fold of one split: who teaches, who chooses, and in cross-validation who is judged, by record id."""

    split: str
    fold: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    judged: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Name of exactly the recordings that are learned from and that choose."""
        return sha256("|".join([*self.train, "/", *self.validation]).encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Data:
    """Folders of shards: what is learned from and what is judged, for each recipe.

    ``tasks`` names those that can be learned; all, if empty.
    """

    taught: dict[str, Path]
    judged: dict[str, Path]
    tasks: tuple[str, ...] = ()

    def digest(self, recipe: str) -> str:
        """Name what these shards hold."""
        return "-".join([_digest(self.taught[recipe]), _digest(self.judged[recipe]), *self.tasks])

    def tasks_of(self, shards: Shards) -> tuple[str, ...]:
        """Return the names of the tasks to learn, in the order of the shards."""
        return tuple(task.name for task in shards.tasks if not self.tasks or task.name in self.tasks)


@dataclass(frozen=True, eq=False)
class Stage:
    """One pre-training, or one task model of each lead set, of one row in one place."""

    row: ModelRow
    seed: int
    place: Place
    data: Data
    work: Path
    kind: str

    def folder(self) -> Path:
        """Where the stage keeps its result."""
        assert self.row.preset is not None or self.kind == "fit"
        preset = PRESETS[self.row.preset].model_dump_json() if self.row.preset else ""
        told = [preset, self.row.pretrain.model_dump_json() if self.row.pretrain else "fresh", str(self.seed)]
        told += [self.place.digest, self.data.digest(self.row.recipe), str(self.row.twelve_lead_only)]
        if self.kind == "fit":
            told += [self.row.task_model.model_dump_json(), *self.row.leads]
        name = f"{self.row.preset or 'network'}-{self.place.split}{self.place.fold}-seed{self.seed}"
        return self.work / self.kind / f"{name}-{sha256('|'.join(told).encode()).hexdigest()[:12]}"

    def before(self) -> "Stage | None":
        """Return the stage that this one needs."""
        if self.kind == "pretrain" or self.row.pretrain is None:
            return None
        return Stage(self.row, self.seed, self.place, self.data, self.work, "pretrain")

    def finished(self) -> bool:
        """Tell whether its result is there."""
        return (self.folder() / "result.json").is_file()

    def run(self) -> float:
        """Do the stage and return its seconds; what an earlier call left half done is continued."""
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        start = time.monotonic()
        (_pretrain if self.kind == "pretrain" else _fit)(self)
        return time.monotonic() - start


def run_all(
    stages: Iterable[Stage], *, processes: int, budget_minutes: float, say: Say
) -> tuple[dict[Path, float], dict[Path, str]]:
    """Run what is not finished, each after the stage it needs.

    Returns
    -------
    seconds : dict
        Of the stages that ran now, by folder.
    failed : dict
        Reason for each stage without a result, by folder.
    """
    waiting: dict[Path, Stage] = {}
    for stage in stages:
        for one in (stage.before(), stage):
            if one is not None and not one.finished():
                waiting.setdefault(one.folder(), one)
    total, seconds, failed = len(waiting), dict[Path, float](), dict[Path, str]()
    deadline = time.monotonic() + 60 * budget_minutes
    running: dict[Future[float], Path] = {}
    # A forked child would inherit torch's thread pools in whatever state they are.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        while waiting or running:
            for folder, stage in list(waiting.items()):
                if len(running) >= processes:
                    break
                needed = stage.before()
                if needed is not None and needed.folder() in failed:
                    failed[folder] = failed[needed.folder()]
                elif time.monotonic() > deadline:
                    failed[folder] = f"the budget of {budget_minutes:g} minutes was spent"
                elif needed is None or needed.finished():
                    running[pool.submit(stage.run)] = folder
                else:
                    continue
                del waiting[folder]
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                folder = running.pop(future)
                error = future.exception()
                if error is None:
                    seconds[folder] = future.result()
                else:
                    failed[folder] = f"{type(error).__name__}: {error}"
                done = total - len(waiting) - len(running)
                say(f"[{done}/{total}] {folder.name}: {failed.get(folder) or f'{seconds[folder]:.0f} s'}")
    return seconds, failed


def judge_signals(stage: Stage, ids: Sequence[str], signals: NDArray[np.float32], split: str) -> list[Predictions]:
    """Ask a finished fit about other signals (n, 12, n_samples) of recordings that the shards have."""
    shards = open_shards(stage.data.judged[stage.row.recipe])
    known = np.isin(np.array(ids), shards.record_id)
    rows = rows_of(shards, ids)
    examples = replace(
        Examples.read(shards, rows, stage.data.tasks_of(shards)), signals=torch.from_numpy(signals[known])
    )
    return [
        found
        for leads, scores in _ask(stage, examples)
        for found in _predictions(stage, shards, rows, leads, scores, split)
    ]


def rows_of(shards: Shards, ids: Sequence[str]) -> NDArray[np.int64]:
    """Return where recordings stand in shards; those that the recipe rejected are left out."""
    place = {str(name): i for i, name in enumerate(shards.record_id)}
    return np.array([place[name] for name in ids if name in place], dtype=np.int64)


def pretrained(stage: Stage) -> LSEMVAE | None:
    """Return the LS-EMVAE that a fit starts from: pre-trained, fresh from the seed, or none."""
    if stage.row.preset is None:
        return None
    torch.manual_seed(stage.seed)
    model = PRESETS[stage.row.preset].build()
    before = stage.before()
    if before is not None:
        model.load_state_dict(load_file(before.folder() / "weights.safetensors"))
    return model.eval()


def task_model_of(stage: Stage, leads: str, model: LSEMVAE | None) -> TaskModel:
    """Return the task model of a finished fit on the `pretrained` model that it started from."""
    return task_model.load(stage.folder() / _slug(leads), model)


def judge(stage: Stage, ids: Sequence[str], split: str) -> list[Predictions]:
    """Ask a finished fit about recordings: one set of predictions for each lead set and task.

    Recordings without a label, or without one of the leads, are left out of what needs it. Answers are kept beside the
    fit.
    """
    shards = open_shards(stage.data.judged[stage.row.recipe])
    rows = rows_of(shards, ids)
    if not len(rows):
        return []
    told = [split, stage.row.name, *stage.row.shown, *ids]
    folder = stage.folder() / f"predictions-{sha256('|'.join(told).encode()).hexdigest()[:10]}"
    if not (folder / "whole").is_file():
        for leads, scores in _ask(stage, Examples.read(shards, rows, stage.data.tasks_of(shards))):
            for found in _predictions(stage, shards, rows, leads, scores, split):
                found.to_csv(folder / found.file_name)
        (folder / "whole").touch()
    return [Predictions.from_csv(path) for path in sorted(folder.glob("*.csv"))]


def _ask(stage: Stage, examples: Examples) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Give each lead set with its probabilities (n, n_tasks)."""
    model = pretrained(stage)
    for leads in stage.row.leads:
        asked = task_model_of(stage, leads, model)
        yield leads, asked.predict(examples)
        for subset in stage.row.shown if leads == stage.row.leads[0] else ():
            yield subset, asked.predict(examples, LEAD_SETS[subset])


def _pretrain(stage: Stage) -> None:
    shards = open_shards(stage.data.taught[stage.row.recipe])
    assert stage.row.preset is not None
    assert stage.row.pretrain is not None
    train = _teaching(stage, shards)
    pretrain(
        shards,
        PRESETS[stage.row.preset],
        stage.row.pretrain.model_copy(update={"seed": stage.seed}),
        stage.folder(),
        train_index=train,
        validation_index=rows_of(shards, stage.place.validation),
    )


def _teaching(stage: Stage, shards: Shards) -> NDArray[np.int64]:
    train = rows_of(shards, stage.place.train)
    return train[shards.present[train].all(axis=1)] if stage.row.twelve_lead_only else train


def _fit(stage: Stage) -> None:
    shards = open_shards(stage.data.taught[stage.row.recipe])
    names = stage.data.tasks_of(shards)
    train = Examples.read(shards, _teaching(stage, shards), names)
    model, config = pretrained(stage), stage.row.task_model
    if isinstance(config, NetworkConfig):
        config = config.model_copy(update={"seed": stage.seed})
    for leads in stage.row.leads:
        task_model.fit(leads, train, names, config, model).save(stage.folder() / _slug(leads))
    draft = stage.folder() / f"result.{os.getpid()}.part"
    draft.write_text(json.dumps({"model": stage.row.name, "trained_on": len(train)}))
    draft.replace(stage.folder() / "result.json")


def _predictions(
    stage: Stage, shards: Shards, rows: NDArray[np.int64], leads: str, scores: NDArray[np.float32], split: str
) -> Iterator[Predictions]:
    has_leads = shards.present[rows][:, list(finetune.positions(LEAD_SETS[leads]))].all(axis=1)
    for column, task in enumerate(stage.data.tasks_of(shards)):
        truth = shards.targets[task][rows]
        kept = (truth >= 0) & has_leads
        index = rows[kept]
        if len(index):
            yield Predictions(
                model=stage.row.name,
                task=task,
                leads=leads,
                split=split,
                seed=stage.seed,
                record_id=shards.record_id[index],
                patient=shards.patient[index],
                fold_of_cv=np.full(len(index), stage.place.fold),
                truth=truth[kept],
                score=scores[kept, column],
                age_years=shards.age_years[index],
                sex=shards.sex[index],
            )


@lru_cache(maxsize=16)
def _digest(folder: Path) -> str:
    return open_shards(folder).digest[:10]


def _slug(leads: str) -> str:
    return leads.replace("+", "-")
