"""What the peers need before they can run: weights, plain CNNs trained and quantized for real, and everyone's AUROC.

Needs torch and the converters; runs in a process of its own, which ends before anything is timed.
"""

import csv
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lsemvae_edge import bundle as bundles
from lsemvae_edge import metrics
from lsemvae_edge.benchmarks import fits, ledger
from lsemvae_edge.benchmarks.judging import plain, ranked
from lsemvae_edge.benchmarks.target import peer_models_litert, peer_models_torch, peers
from lsemvae_edge.benchmarks.target.session import Json
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.model.baselines import PlainCNN
from lsemvae_edge.quantize import release
from lsemvae_edge.quantize.quiet import quiet
from lsemvae_edge.quantize.reference import TorchSession, exportable
from lsemvae_edge.runtime import open_session
from lsemvae_edge.train import calibrate, datasets, windows
from lsemvae_edge.train.cohort import Cohort, load_cohort
from lsemvae_edge.train.finetune import Examples, NetworkConfig, TaskNetwork, fit_network

TASKS = tuple(task.name for task in calibrate.TASKS)
STUDY = Path(__file__).parent.parent / "results" / "study" / "main.csv"
STUDY_A = "A: folds 9-10, 12-lead recordings"
SET_A, FOLD_9 = "A: folds 9-10 of ptbxl_12lead", "fold 9"
CHANNELS: Mapping[str, tuple[int, ...]] = {"cnn": (48, 64, 96, 160), "beat_cnn": (48, 64, 96, 160)}
"""Widths at which a plain CNN's int8 file is about as large as that of `small`; kinds as in `fits.PLAIN`."""
LEDGER_NAME = "peers"
CALIBRATION = 256
"""Training recordings that show the quantizer the ranges of activations."""

Say = Callable[[str], None]
Scores = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Recordings:
    """Folds 1 to 8 to learn from, in one band, and those that all are judged on."""

    training: Cohort
    judged: Cohort
    name: str


class ExportedCNN(nn.Module):
    """A plain CNN as converters like it best: 2-D convolutions with batch norms folded in, and a layer that pools.

    Takes (1, 6, 1, n_samples), gives logits (1, n_outputs).
    """

    def __init__(self, network: PlainCNN, n_outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        stages = list(network.features)
        for convolution, norm in zip(stages[::3], stages[1::3], strict=True):
            assert isinstance(convolution, nn.Conv1d)
            assert isinstance(norm, nn.BatchNorm1d)
            folded = fuse_conv_bn_eval(convolution, norm)
            flat = nn.Conv2d(
                folded.in_channels, folded.out_channels, (1, folded.kernel_size[0]), (1, folded.stride[0]),
                (0, int(folded.padding[0])),
            )  # fmt: skip
            assert folded.bias is not None
            flat.load_state_dict({"weight": folded.weight.detach()[:, :, None], "bias": folded.bias.detach()})
            layers += [flat, nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        head = network.head[1]
        assert isinstance(head, nn.Linear)
        self.head = nn.Linear(head.in_features, n_outputs)
        self.head.load_state_dict({"weight": head.weight.detach()[:n_outputs], "bias": head.bias.detach()[:n_outputs]})
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map leads to logits."""
        logits: Tensor = self.head(self.features(x))
        return logits


def write_reference(path: Path, seed: int) -> None:
    """Write the published classifier of six leads with weights drawn at random: its cost does not depend on them."""
    from safetensors.torch import save_file

    if path.is_file():
        return
    torch.manual_seed(seed)
    draft = path.with_suffix(f".{os.getpid()}.part")
    save_file(peer_models_torch.network_on("cpu").state_dict(), draft)
    draft.replace(path)


def load(final: bool) -> Recordings:
    """Read what the plain CNNs learn from, and fold 9, or with ``final`` set A.

    Raises
    ------
    BadInputError
        If ``LSEMVAE_EDGE_DATA`` names no data.
    """
    listed = datasets.entries(datasets.data_folder())
    taught = [entry for entry in listed if entry.fold < metrics.VALIDATION_FOLD]
    folds = (metrics.VALIDATION_FOLD, metrics.TEST_FOLD) if final else (metrics.VALIDATION_FOLD,)
    asked = [entry for entry in listed if entry.fold in folds and (not final or entry.source == datasets.TWELVE_LEAD)]
    training, _ = load_cohort(taught, TASKS, same_band=True)
    judged, _ = load_cohort(asked, TASKS)
    return Recordings(training, judged, SET_A if final else FOLD_9)


def cnn_file(kind: str, work: Path, recordings: Recordings, seed: int, say: Say) -> Path:
    """Train a plain CNN on folds 1 to 8 and quantize it, unless that is done already; the file lies in ``work``."""
    config, of = fits.PLAIN[kind]
    config = config.model_copy(update={"seed": seed})
    told = [kind, str(CHANNELS[kind]), config.model_dump_json(), *recordings.training.record_id]
    path = work / f"plain-{kind}-{seed}-{sha256('|'.join(told).encode()).hexdigest()[:12]}.tflite"
    if not path.is_file():
        say(f"Training the plain CNN of {peers.READS[kind]}s, {config.epochs} epochs")
        examples = fits.plain_examples(recordings.training, of)
        network = trained(examples, config, CHANNELS[kind])
        draft = path.with_suffix(f".{os.getpid()}.part")
        draft.write_bytes(to_int8(ExportedCNN(network, len(TASKS)), cnn_inputs(examples, config)[:CALIBRATION]))
        draft.replace(path)
    return path


def trained(examples: Examples, config: NetworkConfig, channels: Sequence[int]) -> PlainCNN:
    """Fit a plain CNN of given widths on six limb leads."""
    n_outputs = examples.targets.shape[1] + examples.auxiliary.shape[1]
    torch.manual_seed(config.seed)
    task_network = TaskNetwork(LIMB_LEADS, n_outputs, "plain_cnn", None)
    task_network.network = PlainCNN(len(LIMB_LEADS), n_outputs, tuple(channels))
    fitted = fit_network(LIMB_LEADS, examples, config, network=task_network).network
    assert isinstance(fitted, PlainCNN)
    return fitted


def cnn_inputs(examples: Examples, config: NetworkConfig) -> Scores:
    """Return the middle window of each recording as a plain CNN reads it (n, 6, window)."""
    begin = windows.centre(examples.signals.shape[-1], config.window)
    cut = windows.rescale(examples.signals[:, :, begin : begin + config.window])
    return np.asarray(cut[:, : len(LIMB_LEADS)].numpy())


def to_int8(network: ExportedCNN, shown: Scores) -> bytes:
    """Convert and quantize by the tools that make our own TFLite file, its head left in floating point as ours is.

    Parameters
    ----------
    network : ExportedCNN
    shown : array (n, 6, n_samples)
        Inputs whose activations set the ranges.
    """
    with quiet():
        import litert_torch
        from ai_edge_quantizer import quantizer
        from ai_edge_quantizer.qtyping import TFLOperationName

        converted = litert_torch.convert(network, (torch.zeros(1, *shown.shape[1:])[:, :, None],))
        with TemporaryDirectory() as folder:
            path = Path(folder) / "cnn.tflite"
            converted.export(str(path))
            float_file = path.read_bytes()
        quantize = quantizer.Quantizer(bytearray(float_file))
        quantize.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
        for name in ("INPUT", "OUTPUT", "FULLY_CONNECTED"):
            quantize.update_quantization_recipe(".*", TFLOperationName(name), algorithm_key="no_quantize")
        key, taken = _signature(float_file)
        ranges = quantize.calibrate({key: [{taken: signal[None, :, None]} for signal in shown]})
        return bytes(quantize.quantize(ranges).quantized_model)


def judged_cnn(kind: str, file: Path, recordings: Recordings) -> dict[str, Json]:
    """Judge a plain CNN's int8 file through LiteRT."""
    config, of = fits.PLAIN[kind]
    said = peer_models_litert.open_cnn(file.read_bytes())
    logits = [said(signal) for signal in cnn_inputs(fits.plain_examples(recordings.judged, of), config)]
    return _row(recordings, np.stack(logits)[:, 0], f"this run: its int8 file through LiteRT, on {recordings.name}")


def judged_ours(bundle: str, runtime: str, precision: str, file: str | None, recordings: Recordings) -> dict[str, Json]:
    """Judge one form of a bundle's student: a file in a runtime, or the student in torch."""
    held = bundles.load(Path(bundle))
    if runtime == "torch":
        quantization = held.manifest.quantization if precision == "int8" else None
        session: Any = TorchSession(exportable(release.restored(held), quantization))
    else:
        session = open_session(held, runtime, next(model for model in held.manifest.models if model.path == file))
    output = held.spec.primary.output
    beats = recordings.judged.beats[:, : len(LIMB_LEADS)]
    logits = np.array([session.run(signal).logits[output] for signal in beats])
    return _row(recordings, logits, f"this run: {precision} through {runtime}, on {recordings.name}")


def reference_row(study: Path = STUDY) -> dict[str, Json] | None:
    """Return the published classifier's AUROC, six leads, from the committed study; None where that is not at hand."""
    if not study.is_file():
        return None
    wanted = {"model": "reference", "task": TASKS[0], "leads": "6L", "split": STUDY_A}
    with study.open(newline="") as stream:
        for row in csv.DictReader(stream):
            if all(row[name] == value for name, value in wanted.items()):
                return {
                    "auroc": float(row["auroc"]),
                    "low": float(row["auroc_low"]),
                    "high": float(row["auroc_high"]),
                    "n": int(row["n"]),
                    "positive": int(row["positive"]),
                    "set": SET_A,
                    "source": "committed study, benchmarks/results/study/main.csv",
                }
    return None


def append_to_ledger(bundle: str, rows: Iterable[Mapping[str, Json]]) -> None:
    """Keep a reading of set A."""
    ledger.append(bundles.load(Path(bundle)), LEDGER_NAME, [dict(row) for row in rows])


def _row(recordings: Recordings, score: Scores, source: str) -> dict[str, Json]:
    truth = recordings.judged.targets[:, 0]
    found = plain(ranked(truth, score, recordings.judged.patient))
    interval = found["auroc"] or {"value": None, "low": None, "high": None}
    return {
        "auroc": interval["value"],
        "low": interval["low"],
        "high": interval["high"],
        "n": found["n"],
        "positive": found["positive"],
        "set": recordings.name,
        "source": source,
    }


def _signature(content: bytes) -> tuple[str, str]:
    """Return the name of a TFLite file's only signature, and of its only input there."""
    from ai_edge_litert.interpreter import Interpreter

    ((key, told),) = Interpreter(model_content=content).get_signature_list().items()
    (taken,) = told["inputs"]
    return key, taken
