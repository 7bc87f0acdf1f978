"""Shards small enough to train on in a test."""

import hashlib
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from lsemvae_edge.leads import LIMB_MATRIX

N_SAMPLES = 96


@pytest.fixture(scope="session")
def make_shards(tmp_path_factory):
    """Write a folder of real shards: ``n`` oscillations, in folds 1 to 10 in turn, the first without chest leads."""
    from lsemvae_edge.train import recipes, shards
    from lsemvae_edge.train.datasets.entry import Entry

    def made(n=60, *, without_chest=0, seed=0):
        folder = tmp_path_factory.mktemp("shards")
        (folder / "shards").mkdir()
        recipe = replace(recipes.RECIPES["edge"], n_samples=N_SAMPLES)
        rng = np.random.default_rng(seed)
        time = np.arange(N_SAMPLES) / recipe.fs_hz
        frequency, phase = rng.uniform(1, 4, (n, 1, 1)), rng.random((n, 1, 1))
        independent = rng.uniform(0.5, 2, (n, 8, 1)) * np.sin(2 * np.pi * (frequency * time + phase))
        limb = np.einsum("ij,bjn->bin", LIMB_MATRIX, independent[:, :2])
        signals = np.concatenate([limb, independent[:, 2:]], axis=1)
        present = np.ones((n, 12), dtype=bool)
        present[:without_chest, 6:] = False
        signals *= present[:, :, None]
        digests = []
        for begin in range(0, n, 16):
            rows = range(begin, min(begin + 16, n))
            entries = [
                Entry(f"record-{i}", "synthetic", f"patient-{i}", i % 10 + 1, partial(int, 0), targets={}) for i in rows
            ]
            stored = shards.to_storage(signals[begin : begin + 16].astype(np.float32))
            path = folder / "shards" / f"{len(digests):06d}.arrow"
            digests.append(shards.write(path, entries, stored, present[begin : begin + 16], recipe, ()).sha256)
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()
        (folder / "report.json").write_text(json.dumps({"sha256": digest, "shards": len(digests)}))
        return folder

    return made


@pytest.fixture(scope="session")
def shard_folder(make_shards):
    """60 recordings with all leads."""
    return make_shards()
