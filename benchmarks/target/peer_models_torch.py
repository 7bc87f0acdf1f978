"""Peers in PyTorch: the published classifier, and our own student."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.target.peer_models import (
    PUBLISHED_SAMPLES,
    Array,
    Run,
    ours,
    published_input,
    published_input_by_neurokit,
    way,
)
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.model import LSEMVAE
from lsemvae_edge.model.classifier import LatentClassifier


def reference(weights: str, recording: str | None = None, filters: str = "ours") -> Run:
    """Hold the published six-lead classifier at full precision, as PyTorch runs it.

    Its file is mapped, not copied: of all ways to load it this one takes least memory and time.

    Parameters
    ----------
    weights : str
        File of its weights.
    recording : str, optional
    filters : {"ours", "neurokit2"}
        Whose code the published cleaning runs by.
    """
    network = network_on("meta")
    network.load_state_dict(load_file(weights), assign=True)
    network.eval()

    @torch.inference_mode()
    def probability(signal: Array) -> float:
        return float(network(torch.from_numpy(signal)[None]).softmax(1)[0, 1])

    if recording is None:
        made = np.random.default_rng(0).normal(size=(len(LIMB_LEADS), PUBLISHED_SAMPLES)).astype(np.float32)
        return lambda: probability(made)
    return way(recording, published_input if filters == "ours" else published_input_by_neurokit, probability)


def student_in_torch(bundle: str, precision: str, recording: str | None = None) -> Run:
    """Hold a bundle's student in PyTorch: its float weights, or those with every rounding of int8 written out."""
    from lsemvae_edge.quantize import release
    from lsemvae_edge.quantize.reference import TorchSession, exportable

    held = bundles.load(Path(bundle))
    quantization = held.manifest.quantization if precision == "int8" else None
    session = TorchSession(exportable(release.restored(held), quantization))
    return ours(held, session, recording)


def network_on(device: str) -> LatentClassifier:
    """Make the published classifier of six leads, its weights drawn at random on a real device."""
    with torch.device(device):
        return LatentClassifier(LSEMVAE(n_leads=len(LIMB_LEADS), fusion="reference"), tuple(range(len(LIMB_LEADS))))
