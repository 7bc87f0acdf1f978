"""Task models as one thing to fit, keep and ask, whichever way they were fitted."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import STANDARD_12
from lsemvae_edge.model import LSEMVAE
from lsemvae_edge.model.classifier import LatentClassifier
from lsemvae_edge.train import finetune
from lsemvae_edge.train.finetune import LEAD_SETS, Examples, LatentConfig, NetworkConfig, TaskNetwork

TaskConfig = LatentConfig | NetworkConfig
_CONFIG: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)
WEIGHTS, ABOUT = "task_model.safetensors", "task_model.json"


@dataclass(frozen=True, eq=False)
class TaskModel:
    """What answers all tasks of a cohort from one set of leads.

    Parameters
    ----------
    leads : str
        Name in `lsemvae_edge.train.finetune.LEAD_SETS`.
    tasks : tuple of str
    config : LatentConfig or NetworkConfig
    networks : tuple of Module
        One `LatentClassifier` for each task, or one `TaskNetwork` for all.
    pretrained : LSEMVAE, optional
        Whose encoders a latent classifier reads.
    """

    leads: str
    tasks: tuple[str, ...]
    config: TaskConfig
    networks: tuple[LatentClassifier, ...] | tuple[TaskNetwork]
    pretrained: LSEMVAE | None

    def predict(self, examples: Examples, shown: tuple[str, ...] = STANDARD_12) -> NDArray[np.float32]:
        """Return probabilities (n, n_tasks); only a pooled network can be shown fewer leads than it reads."""
        if isinstance(self.config, NetworkConfig):
            network = self.networks[0]
            assert isinstance(network, TaskNetwork)
            return finetune.predict_network(network, examples, self.config, shown)
        assert self.pretrained is not None
        means = finetune.latent_means(self.pretrained, examples.signals)
        columns = [
            finetune.predict_latent(network, LEAD_SETS[self.leads], means)
            for network in self.networks
            if isinstance(network, LatentClassifier)
        ]
        return np.stack(columns, axis=1)

    def save(self, folder: Path, **about: Any) -> None:
        """Write weights and configuration; frozen encoders stay in the run that pre-trained them."""
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(self.config, NetworkConfig):
            weights = self.networks[0].state_dict()
        else:
            heads = [network.classifier for network in self.networks if isinstance(network, LatentClassifier)]
            weights = {f"{i}.{key}": value for i, head in enumerate(heads) for key, value in head.state_dict().items()}
        save_file({key: value.contiguous() for key, value in weights.items()}, folder / WEIGHTS)
        n_outputs = self.networks[0].n_outputs if isinstance(self.networks[0], TaskNetwork) else 2
        described = {"leads": self.leads, "tasks": self.tasks, "config": self.config.model_dump(mode="json")}
        draft = folder / f"{ABOUT}.{os.getpid()}.part"
        draft.write_text(json.dumps({**described, "n_outputs": n_outputs, **about}, indent=1))
        draft.replace(folder / ABOUT)


def fit(
    leads: str, examples: Examples, tasks: tuple[str, ...], config: TaskConfig, pretrained: LSEMVAE | None
) -> TaskModel:
    """Fit a task model for all tasks; see `finetune.fit_latent` and `finetune.fit_network`."""
    if isinstance(config, NetworkConfig):
        network = finetune.fit_network(LEAD_SETS[leads], examples, config, pretrained)
        return TaskModel(leads, tasks, config, (network,), pretrained)
    if pretrained is None:
        raise BadInputError("The published fine-tuning reads encoders.", "Name a pre-training run.")
    means = finetune.latent_means(pretrained, examples.signals)
    heads = tuple(
        finetune.fit_latent(pretrained, LEAD_SETS[leads], means, examples.targets[:, task], config)
        for task in range(len(tasks))
    )
    return TaskModel(leads, tasks, config, heads, pretrained)


def load(folder: Path, pretrained: LSEMVAE | None) -> TaskModel:
    """Read what `TaskModel.save` wrote.

    Parameters
    ----------
    folder : Path
    pretrained : LSEMVAE, optional
        The model whose encoders were read, or whose shapes a pooled network has.

    Raises
    ------
    BadInputError
        If the folder holds no whole task model, or not one on such encoders.
    """
    try:
        about = json.loads((folder / ABOUT).read_text())
        config = _CONFIG.validate_python(about["config"])
        leads, tasks = about["leads"], tuple(about["tasks"])
        weights = load_file(folder / WEIGHTS)
        if isinstance(config, NetworkConfig):
            network = TaskNetwork(LEAD_SETS[leads], about["n_outputs"], config.network, pretrained)
            network.load_state_dict(weights)
            return TaskModel(leads, tasks, config, (network.eval(),), pretrained)
        if pretrained is None:
            raise ValueError("its encoders were not given")
        heads = []
        for task in range(len(tasks)):
            head = LatentClassifier(pretrained, finetune.positions(LEAD_SETS[leads])).eval()
            own = {key.partition(".")[2]: value for key, value in weights.items() if key.startswith(f"{task}.")}
            head.classifier.load_state_dict(own)
            heads.append(head)
        return TaskModel(leads, tasks, config, tuple(heads), pretrained)
    except (OSError, ValueError, KeyError, RuntimeError, ValidationError, SafetensorError) as error:
        raise BadInputError(f"{folder} holds no such task model: {error}.", "Fit it again.") from error
