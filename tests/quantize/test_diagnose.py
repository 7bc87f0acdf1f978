"""Where rounding costs, in numbers, words and a picture."""

import copy
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference is a torch model; the base install has none")
pytest.importorskip("torchao", reason="the reference's operators come with the extra `export`")
pytest.importorskip("scipy", reason="calibration chooses among training recordings, with the extra `train`")

from lsemvae_edge.errors import UsageError  # noqa: E402
from lsemvae_edge.leads import LIMB_LEADS  # noqa: E402
from lsemvae_edge.manifest import Step  # noqa: E402
from lsemvae_edge.quantize import explain, inside, scheme  # noqa: E402
from lsemvae_edge.quantize.diagnose import BINS, diagnose, range_of, weights_db  # noqa: E402
from lsemvae_edge.quantize.inside import EXACT_DB, snr_db  # noqa: E402
from lsemvae_edge.runtime.onnx import session_options  # noqa: E402


@pytest.fixture(scope="module")
def signals(simulated_inputs):
    return simulated_inputs[1::4]


@pytest.fixture(scope="module")
def found(student, quantization, signals):
    return diagnose(student, quantization, signals, backends=("reference",))


def by_name(diagnosis):
    return {layer.name: layer for layer in diagnosis.layers}


def test_every_layer_is_diagnosed(found, student, quantization, signals):
    assert [layer.name for layer in found.layers] == scheme.layer_names(student)
    assert [kind.name for kind in found.kinds] == ["conv1", "conv2", "conv3", "conv4", "pool", "mu", "logvar"]
    assert (found.n, found.backends, found.skipped) == (len(signals), ("reference",), {})
    for layer in found.layers:
        assert layer.in_float == (layer.name in quantization.float_layers)
        assert 15 < layer.snr_db["reference"] <= EXACT_DB
        assert sum(layer.range.counts) == layer.range.values - layer.range.cut_low - layer.range.cut_high
        assert len(layer.range.counts) == BINS
        assert 0 < layer.range.steps <= 256
        assert 0 < layer.range.reach <= 1
        assert 0 < layer.range.median_channel <= 1
        if layer.in_float or layer.name.endswith("pool"):
            assert layer.weights_db is None
        else:
            assert 30 < layer.weights_db < 60
    # Errors of both kinds add up like noise.
    assert max(found.weights.rms, found.activations.rms) < found.whole.rms * 1.3
    assert found.whole.rms < 1.3 * np.hypot(found.weights.rms, found.activations.rms)
    order = [layer.worst_db for layer in found.worst_first]
    assert order == sorted(order)


def test_a_layer_too_coarse_stands_out(student, quantization, signals, found):
    name = "encoder3.conv4"
    step = quantization.activations[name]
    coarse = replace(quantization, activations={**quantization.activations, name: Step(30 * step.scale, -128)})
    worse = diagnose(student, coarse, signals, backends=("reference",))
    assert by_name(worse)[name].snr_db["reference"] < by_name(found)[name].snr_db["reference"] - 15
    assert by_name(worse)["encoder3.conv3"].snr_db == by_name(found)["encoder3.conv3"].snr_db
    places = [[layer.name for layer in one.costliest_first].index(name) for one in (worse, found)]
    assert places[0] < places[1]
    assert worse.whole.rms > 1.1 * found.whole.rms
    assert by_name(worse)[name].alone.rms > 5 * by_name(found)[name].alone.rms
    # In floating point itself, it would still be rounded for the next layer.
    assert by_name(worse)[name].spared.rms == pytest.approx(worse.whole.rms, rel=0.2)
    assert by_name(worse)[name].range.steps < 0.2 * by_name(found)[name].range.steps


def test_values_beyond_the_range_are_counted(student, quantization, signals, found):
    name = "encoder1.conv2"
    step = quantization.activations[name]
    tight = replace(quantization, activations={**quantization.activations, name: Step(0.25 * step.scale, -128)})
    cut = by_name(diagnose(student, tight, signals, backends=("reference",)))[name].range
    values = scheme.activations(student, signals)[name]
    assert (
        cut.cut_high == int((values > scheme.range_of(Step(0.25 * step.scale, -128))[1] + 0.125 * step.scale).sum()) > 0
    )
    assert cut.cut_low == 0
    assert by_name(found)[name].range.cut == 0


def test_zero_is_not_cut_off_at_the_bound_of_a_rectified_layer():
    values = np.array([[[0.0, 0.0, 0.5]], [[1.0, 2.54, 3.0]]], dtype=np.float32).reshape(2, 1, 3)
    found = range_of(values, Step(0.01, -128), 4)
    assert (found.cut_low, found.cut_high, found.values) == (0, 1, 6)
    both = range_of(np.array([[[-2.0, 0.0, 2.0]]], dtype=np.float32), Step(0.01, 0), 3)
    assert (both.cut_low, both.cut_high) == (1, 1)
    assert both.cut == pytest.approx(2 / 3)


def test_a_ratio_in_decibels():
    values = np.array([3.0, -4.0])
    assert snr_db(values, values * 1.1) == pytest.approx(20)
    assert snr_db(values, values) == EXACT_DB
    assert snr_db(np.zeros(2), np.zeros(2)) == EXACT_DB
    assert snr_db(np.zeros(2), np.ones(2)) < -100


def test_a_channel_with_one_large_weight_has_coarse_weights(student):
    spoiled = copy.deepcopy(student)
    with torch.no_grad():
        spoiled.encoders[4].logvar.weight[7] = torch.cat([torch.tensor([1.0]), torch.full((47,), 0.0039)])
    before, after = weights_db(student), weights_db(spoiled)
    assert after["encoder4.logvar"] < 33 < before["encoder4.logvar"]
    assert {name for name in before if before[name] != after[name]} == {"encoder4.logvar"}


def test_with_nothing_rounded_nothing_is_lost(student, quantization, signals):
    exact = replace(quantization, float_layers=tuple(scheme.layer_names(student)))
    found = diagnose(student, exact, signals, backends=("reference",))
    assert {layer.snr_db["reference"] for layer in found.layers} == {EXACT_DB}
    assert found.whole.worst < 1e-4
    assert found.costliest_first == ()
    assert "not rounded at all" in explain.sentences(found)[2]


def test_a_backend_that_is_not_installed_is_skipped_and_named(student, quantization, signals, monkeypatch):
    monkeypatch.setattr(inside, "missing", lambda backend: ["litert_torch"] if backend == "litert" else [])
    found = diagnose(student, quantization, signals[:2], backends=("reference", "litert"))
    assert found.backends == ("reference",)
    assert any("LiteRT was left out: litert_torch not installed." in said for said in explain.sentences(found))
    monkeypatch.setattr(inside, "missing", lambda backend: ["everything"])
    with pytest.raises(UsageError, match="No backend"):
        diagnose(student, quantization, signals[:2])


def test_an_unknown_backend_is_refused(student, quantization, signals):
    with pytest.raises(UsageError, match="no backend abacus"):
        diagnose(student, quantization, signals, backends=("abacus",))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["litert", "onnxruntime"])
def test_layers_are_found_inside_each_backend(student, quantization, signals, backend):
    if absent := inside.missing(backend):
        pytest.skip(f"{', '.join(absent)} of the extra `export` not installed")
    mixed = replace(quantization, float_layers=(*quantization.float_layers, "encoder0.conv2", "encoder2.mu"))
    given = inside.BACKENDS[backend](student, mixed, signals)
    expected = inside.in_reference(student, mixed, signals)
    assert list(given) == list(expected)
    for name, values in expected.items():
        assert given[name].size == values.size
        # Kernels may differ by a step here and there, a layer that was mistaken for another by everything.
        assert snr_db(values, given[name].reshape(values.shape)) > 25, name


@pytest.mark.slow
def test_watching_onnx_runtime_does_not_change_what_it_computes(convert, signals):
    onnx = pytest.importorskip("onnx", reason="the graph is read with the extra `export`")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the runtime comes with the extra `onnx`")
    content = convert("onnx-int8")
    model = onnx.ModelProto.FromString(content)
    integers = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in integers)
    sessions = [
        onnxruntime.InferenceSession(one, session_options(), providers=["CPUExecutionProvider"])
        for one in (content, model.SerializeToString())
    ]
    for signal in signals:
        fed = {"signal": signal[None, :, None], "mask": np.ones((1, 6), dtype=np.float32)}
        alone, watched = (session.run(["logits"], fed)[0] for session in sessions)
        np.testing.assert_array_equal(alone, watched)


def test_sentences_are_plain_and_name_the_worst_first(found):
    said = explain.sentences(found, LIMB_LEADS, most=3)
    worst = found.worst_first[0]
    lead = LIMB_LEADS[int(worst.name[len("encoder")])]
    assert said[0].startswith(f"Rounding moves the logits of {found.n} recordings by")
    assert said[2].startswith(f"Lead {lead}, ")
    assert f"{worst.worst_db:.0f} dB" in said[2]
    assert sum(one.startswith("Lead ") for one in said) == 3
    assert any(one.startswith("First convolutions are in floating point") for one in said)
    assert all(one.endswith(".") and "encoder" not in one for one in said)


def test_the_picture_is_drawn_the_same_each_time(found, tmp_path):
    pytest.importorskip("matplotlib", reason="drawing needs the extra `train`")
    for name in ("one.png", "two.png"):
        explain.plot(found, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").stat().st_size > 30_000
