"""Stages of the study: pre-trainings and fits, each kept on disk under a name made of everything that decides it."""

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from lsemvae_edge.benchmarks.study_config import ModelRow
from lsemvae_edge.leads import STANDARD_12
from lsemvae_edge.model import LSEMVAE
from lsemvae_edge.train import finetune
from lsemvae_edge.train.config import PRESETS
from lsemvae_edge.train.finetune import LEAD_SETS, Examples, LatentConfig, TaskNetwork
from lsemvae_edge.train.predictions import NO_FOLD, Predictions
from lsemvae_edge.train.pretrain import pretrain
from lsemvae_edge.train.shards import Shards, open_shards

Say = Callable[[str], None]
PREDICTIONS, WEIGHTS = "predictions", "task_model.safetensors"


@dataclass(frozen=True, eq=False)
class Place:
    """One fold of one split: who teaches, who chooses, who is judged, by record id."""

    split: str
    fold: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    judged: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Name of exactly these recordings."""
        return sha256("|".join([*self.train, "/", *self.validation, "/", *self.judged]).encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Data:
    """Folders of shards: what is learned from and what is judged, for each recipe."""

    taught: dict[str, Path]
    judged: dict[str, Path]

    def digest(self, recipe: str) -> str:
        """Name what these shards hold."""
        return f"{open_shards(self.taught[recipe]).digest[:10]}-{open_shards(self.judged[recipe]).digest[:10]}"


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
            told += [self.row.task_model.model_dump_json(), *self.row.leads, "/", *self.row.shown]
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


def predictions(stage: Stage) -> list[Predictions]:
    """Read what a finished stage said of the judged recordings."""
    return [Predictions.from_csv(path) for path in sorted((stage.folder() / PREDICTIONS).glob("*.csv"))]


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


class Judge:
    """The task models of one finished stage, to ask again: about noise, subsets, attributions."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.row = stage, stage.row
        self.pretrained = pretrained(stage)
        self.tasks = open_shards(stage.data.judged[stage.row.recipe]).tasks

    def task_network(self, leads: str) -> TaskNetwork:
        """Return a network that was learned end to end."""
        config = self.row.task_model
        assert not isinstance(config, LatentConfig)
        weights = load_file(self.stage.folder() / f"{_slug(leads)}.safetensors")
        n_outputs = int(json.loads((self.stage.folder() / "result.json").read_text())["n_outputs"])
        network = TaskNetwork(LEAD_SETS[leads], n_outputs, config.network, self.pretrained)
        network.load_state_dict(weights)
        return network.eval()

    def ask(self, leads: str, examples: Examples) -> NDArray[np.float32]:
        """Return probabilities (n, n_tasks)."""
        config = self.row.task_model
        if not isinstance(config, LatentConfig):
            return finetune.predict_network(self.task_network(leads), examples, config)
        assert self.pretrained is not None
        means = finetune.latent_means(self.pretrained, examples.signals)
        weights = load_file(self.stage.folder() / f"{_slug(leads)}.safetensors")
        columns = []
        for i, _ in enumerate(self.tasks):
            network = finetune.LatentClassifier(self.pretrained, finetune.positions(LEAD_SETS[leads]))
            network.classifier.load_state_dict(
                {key.partition("/")[2]: value for key, value in weights.items() if key.startswith(f"{i}/")}
            )
            columns.append(finetune.predict_latent(network.eval(), LEAD_SETS[leads], means))
        return np.stack(columns, axis=1)


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
    taught, judged = (open_shards(part[stage.row.recipe]) for part in (stage.data.taught, stage.data.judged))
    train = Examples.read(taught, _teaching(stage, taught))
    held_out = rows_of(judged, [*stage.place.validation, *stage.place.judged])
    examples = Examples.read(judged, held_out)
    model = pretrained(stage)
    folder = stage.folder()
    folder.mkdir(parents=True, exist_ok=True)
    config, n_outputs = stage.row.task_model, 0
    if isinstance(config, LatentConfig):
        assert model is not None
        train_means, means = (finetune.latent_means(model, part.signals) for part in (train, examples))
        for leads in stage.row.leads:
            columns, weights = [], {}
            for i, _ in enumerate(taught.tasks):
                network = finetune.fit_latent(model, LEAD_SETS[leads], train_means, train.targets[:, i], config)
                columns.append(finetune.predict_latent(network, LEAD_SETS[leads], means))
                weights |= {f"{i}/{key}": value for key, value in network.classifier.state_dict().items()}
            save_file(weights, folder / f"{_slug(leads)}.safetensors")
            _keep(stage, judged, held_out, leads, np.stack(columns, axis=1))
    else:
        config = config.model_copy(update={"seed": stage.seed})
        for leads in stage.row.leads:
            network_ = finetune.fit_network(LEAD_SETS[leads], train, config, model)
            n_outputs = train.targets.shape[1] + train.auxiliary.shape[1]
            save_file(network_.state_dict(), folder / f"{_slug(leads)}.safetensors")
            _keep(stage, judged, held_out, leads, finetune.predict_network(network_, examples, config))
            for subset in stage.row.shown if leads == stage.row.leads[0] else ():
                seen = finetune.predict_network(network_, examples, config, LEAD_SETS[subset])
                _keep(stage, judged, held_out, subset, seen)
    draft = folder / f"result.{os.getpid()}.part"
    draft.write_text(json.dumps({"model": stage.row.name, "n_outputs": n_outputs, "trained_on": len(train)}))
    draft.replace(folder / "result.json")


def _keep(stage: Stage, shards: Shards, held_out: NDArray[np.int64], leads: str, scores: NDArray[np.float32]) -> None:
    """Write predictions of the recordings that have the leads, one file for each task."""
    needed = [STANDARD_12.index(lead) for lead in LEAD_SETS[leads]]
    has_leads = shards.present[held_out][:, needed].all(axis=1)
    chooses = np.isin(shards.record_id[held_out], stage.place.validation)
    for column, task in enumerate(shards.tasks):
        truth = shards.targets[task.name][held_out]
        for split, part in ((stage.place.split, ~chooses), ("validation", chooses)):
            kept = (truth >= 0) & has_leads & part
            if not kept.any():
                continue
            index = held_out[kept]
            found = Predictions(
                model=stage.row.name,
                task=task.name,
                leads=leads,
                split=split,
                seed=stage.seed,
                record_id=shards.record_id[index],
                patient=shards.patient[index],
                fold_of_cv=np.full(len(index), stage.place.fold if stage.place.split == "cv5" else NO_FOLD),
                truth=truth[kept],
                score=scores[kept, column],
                age_years=shards.age_years[index],
                sex=shards.sex[index],
            )
            found.to_csv(stage.folder() / PREDICTIONS / found.file_name)


def _slug(leads: str) -> str:
    return leads.replace("+", "-")
