"""Other rates, bands and windows: the same beat in seconds, and a table of what they give."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the benchmark trains; the base install has no torch")
pytest.importorskip("litert_torch", reason="the benchmark quantizes, which needs the extra `export`")

from lsemvae_edge import preprocess
from lsemvae_edge.benchmarks import inputs
from lsemvae_edge.train.config_distill import DistillConfig, FitConfig
from lsemvae_edge.train.datasets import Synthetic
from lsemvae_edge.train.recipes import beat_recipe

SHAPES = inputs.contracts()


@pytest.mark.parametrize("name", SHAPES)
def test_a_contract_keeps_everything_in_seconds_but_what_it_is_named_for(name):
    device, spec = preprocess.default_spec(), SHAPES[name]
    assert spec.beat.n_samples / spec.fs_hz == pytest.approx(0.8, abs=1e-9)
    assert spec.beat.before_samples / spec.fs_hz == pytest.approx(
        device.beat.before_samples / device.fs_hz, abs=1 / spec.fs_hz
    )
    gain = preprocess.frequency_response(spec, np.array([0.0, spec.band.low_hz, 5.0, spec.band.high_hz]))
    assert gain == pytest.approx([0.0, 0.5, 1.0, 0.5], abs=0.02)
    assert f"window {spec.window_s:.1f}".removesuffix(".0") in name
    assert f"{spec.fs_hz:g} Hz" in name


def test_the_same_heart_gives_the_same_beat_at_another_rate():
    record = next(iter(Synthetic(n_patients=1))).load()
    (slow, _), (fast, _) = (beat_recipe(inputs.at_rate(fs_hz, 30.0)).apply(record) for fs_hz in (125.0, 250.0))
    similar = np.corrcoef(slow[:6].ravel(), fast[:6, ::2].ravel())[0, 1]
    assert fast.shape[1] == 2 * slow.shape[1]
    assert similar > 0.98


def test_each_input_has_a_row_for_each_task(monkeypatch, tmp_path):
    quick = FitConfig(size="tiny", epochs=1, batch_size=16)
    names = list(SHAPES)[:2]
    monkeypatch.setattr(inputs, "contracts", lambda: {name: SHAPES[name] for name in names})
    monkeypatch.setattr(inputs, "shipped_recipe", lambda seed: DistillConfig(student=quick))
    monkeypatch.setattr(inputs.datasets, "data_folder", lambda: tmp_path)
    entries = list(Synthetic(n_patients=60, right_share=0.5))
    monkeypatch.setattr(inputs.datasets, "entries", lambda _: entries)
    rows = inputs.measure(seeds=1, processes=1, say=lambda _: None)
    assert [row["input"] for row in rows] == [name for name in names for _ in inputs.TASKS]
    judged = sum(7 <= entry.fold < 10 for entry in entries)
    assert {row["n"] + row["rejected"] for row in rows if row["task"] == inputs.TASKS[0]} == {judged}
    assert inputs.table(rows).count("\n") == 1 + len(rows)
