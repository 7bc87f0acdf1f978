"""Ways to round beside each other."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="students are torch models; the base install has none")
pytest.importorskip("torchao", reason="the reference's operators come with the extra `export`")
pytest.importorskip("scipy", reason="calibration chooses among training recordings, with the extra `train`")

from lsemvae_edge.quantize import compare, parity, scheme  # noqa: E402


def test_ranges_can_be_measured_in_other_ways(student, quantization, simulated_inputs):
    narrower = compare.with_ranges(quantization, student, simulated_inputs, compare.quantile(0.99))
    widest = compare.with_ranges(quantization, student, simulated_inputs, compare.widest)
    averaged = compare.with_ranges(quantization, student, simulated_inputs, compare.moving_average)
    for name in scheme.layer_names(student):
        scale = widest.activations[name].scale
        assert narrower.activations[name].scale < scale
        assert averaged.activations[name].scale < scale
    assert widest.activations[scheme.SIGNAL] == quantization.activations[scheme.SIGNAL]
    assert widest == replace(quantization, activations=widest.activations)


def test_a_range_by_share_keeps_zero_as_the_bound_of_what_is_never_below():
    values = torch.linspace(0, 1, 1001)
    assert compare.quantile(0.9)(values) == (0.0, pytest.approx(0.9))
    low, high = compare.quantile(0.9)(values - 0.5)
    assert (low, high) == (pytest.approx(-0.4), pytest.approx(0.4))


def test_the_moving_average_follows_what_each_recording_reaches():
    values = torch.stack([torch.tensor([-1.0, 2.0])] * 50 + [torch.tensor([-1.0, 4.0])])
    low, high = compare.moving_average(values)
    assert low == pytest.approx(-1.0)
    assert high == pytest.approx(2.02)


def test_rows_are_written_as_a_table():
    said = parity.Agreement(n=10, mean=0.01, tail=0.02, worst=0.03, latent=0.04, flipped=1)
    row = compare.Row("widest range", 6, 0.015, said, replace(said, n=100, flipped=2), float(np.float64(0.91234)))
    last = compare.table([row]).splitlines()[-1]
    assert last == ("| widest range | 6 | 0.015 | 0.010 | 0.020 | 0.030 | 0.040 | 1 of 10 | 2 of 100 | 0.9123 |")
    assert len({line.count("|") for line in compare.table([row]).splitlines()}) == 1
