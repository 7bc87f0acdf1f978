"""The comparison of the C library with its oracles on real recordings."""

import os

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks import firmware_parity
from lsemvae_edge.quantize.build import model_inputs
from lsemvae_edge.train import datasets
from lsemvae_edge.train.cohort import load_cohort

needs_data = pytest.mark.skipif("LSEMVAE_EDGE_DATA" not in os.environ, reason="LSEMVAE_EDGE_DATA is not set")
FOLD = 9
EVERY = 12


@needs_data
@pytest.mark.slow
def test_recordings_give_what_python_and_the_reference_kernels_give():
    listed = [one for one in datasets.entries(datasets.data_folder()) if one.fold == FOLD][::EVERY]
    signals = model_inputs(load_cohort(listed, [])[0])
    row = firmware_parity.measure(bundles.default(), listed, signals, print)
    assert row["layers_equal"] == 42 * row["inputs"]
    assert row["float_tail_worst"] <= 1e-5
    assert row["flipped"] <= 1
    assert row["recordings"] > 30
    assert row["same_verdict"] == row["recordings"]
    assert row["usable_in_c_alone"] == 0
    assert row["window_worst_lsb"] <= 1
    assert row["input_within_one_lsb"] >= 0.95 * row["input_compared"]
    assert row["same_outcome"] == row["answered"] > 30
    assert row["bundle"] in firmware_parity.table([row])
