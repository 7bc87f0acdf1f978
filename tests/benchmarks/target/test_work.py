"""Work is counted from files as it is known from the shapes, and held against ceilings of the same session."""

import math

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.target import convolutions, counted, profile, roofline, work
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session, read

SMALL = convolutions.Shape(8, (1, 3), (1, 12))


@pytest.fixture(scope="module")
def shipped():
    return bundles.default()


@pytest.mark.slow
def test_the_shipped_file_does_the_multiply_adds_of_the_student_that_it_was_made_from(shipped):
    sizes = pytest.importorskip("lsemvae_edge.benchmarks.sizes")
    weights = pytest.importorskip("lsemvae_edge.quantize.weights")
    (model,) = shipped.manifest.models
    found = counted.count(shipped.read(model.path), "tflite")
    shape = weights.restore(shipped.read(weights.WEIGHTS), shipped.read(weights.CONFIG)).config
    assert found.macs == sizes.multiply_adds(shape, shipped.golden["input"].shape[2])
    assert found.macs == found.macs_in("int8") + found.macs_in("fp32")
    assert found.macs_in("int8") > 0.9 * found.macs
    # One layer of the file stays in floating point beside the first ones; the rest is shapes and small constants.
    left = [one.shape.split(" × ") for one in found.operators if (one.kind, one.precision) == ("CONV_2D", "fp32")]
    more = 3 * sum(math.prod(map(int, dims)) for dims in left)
    assert found.weight_bytes == pytest.approx(sizes.weight_bytes(shape) + more, abs=500)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_convolutions_are_counted_by_hand(format, precision):
    if format == "onnx":
        pytest.importorskip("onnx")
    found = counted.count(convolutions.MAKERS[format](SMALL, precision, 0), format)
    assert found.macs == SMALL.macs == convolutions.DEPTH * 12 * 3 * 8 * 8
    assert found.macs_in(precision) == found.macs
    weights = convolutions.DEPTH * 3 * 8 * 8
    biases = convolutions.DEPTH * 8 * 4
    steps = 5 if format == "onnx" and precision == "int8" else 0
    assert found.weight_bytes == pytest.approx(weights * (1 if precision == "int8" else 4) + biases, abs=steps)
    if format == "tflite":
        each = 12 * 8 * (1 if precision == "int8" else 4)
        assert found.activation_bytes == 2 * convolutions.DEPTH * each
        assert found.intensity_mac_per_byte == found.macs / (found.weight_bytes + found.activation_bytes)


def test_operators_alone_are_those_of_the_file_and_each_is_there_once(shipped):
    content = shipped.read(shipped.manifest.models[0].path)
    alone = profile.single_operators(content)
    everything = counted.count(content, "tflite").operators
    assert sorted(place for _, places in alone.values() for place in places) == list(range(len(everything)))
    assert len(alone) < len(everything) / 3
    for file, places in alone.values():
        inside = counted.count(file, "tflite").operators
        assert len(inside) == profile.COPIES
        first = everything[places[0]]
        assert {(one.kind, one.macs, one.precision) for one in inside} == {(first.kind, first.macs, first.precision)}
        for place in places:
            assert everything[place].macs == first.macs


def test_an_operator_alone_gives_what_it_gives_in_the_model(shipped):
    from ai_edge_litert import interpreter as litert

    content = shipped.read(shipped.manifest.models[0].path)
    options = {"experimental_op_resolver_type": litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    whole = litert.Interpreter(model_content=content, experimental_preserve_all_tensors=True, **options)
    whole.allocate_tensors()
    for detail, golden in zip(whole.get_input_details(), ("input", None), strict=True):
        value = shipped.golden[golden][0] if golden else np.ones(detail["shape"])
        whole.set_tensor(detail["index"], np.asarray(value, detail["dtype"]).reshape(detail["shape"]))
    whole.invoke()
    kinds = ("CONV_2D", "FULLY_CONNECTED", "MEAN")
    operators = {one["index"]: one for one in whole._get_ops_details()}
    seen = 0
    for file, places in profile.single_operators(content).values():
        operator = operators[places[0]]
        if operator["op_name"] not in kinds:
            continue
        alone = litert.Interpreter(model_content=file, **options)
        alone.allocate_tensors()
        (taken,), (given,) = alone.get_input_details(), alone.get_output_details()
        alone.set_tensor(taken["index"], whole.get_tensor(operator["inputs"][0]))
        alone.invoke()
        np.testing.assert_array_equal(alone.get_tensor(given["index"]), whole.get_tensor(operator["outputs"][0]))
        seen += 1
    assert seen >= 5


def _recorded(folder, shipped, precision="int8", ceilings=True):
    facts = {"size": "small", "precision": precision, "runtime": "litert", "threads": 1, "sha256": shipped.sha256}
    with Session(folder, {}, [shipped], 0) as session:
        for runtime, rate in (("litert", 100.0), ("litert with XNNPACK", 400.0)) if ceilings else ():
            told = {"kind": "conv2d int8", "runtime": runtime, "of": "litert", "threads": 1}
            session.sample("ceilings", session.case("ceilings", runtime, **told), "gmac_per_s", 0, [rate])
        if ceilings:
            session.case("ceilings", "memory copy", kind="memory copy", runtime="numpy", of="numpy", threads=1)
            session.sample("ceilings", "memory copy", "gb_per_s", 0, [10.0])
        case = session.case("work", "small", file=shipped.manifest.models[0].path, **facts)
        session.sample("work", case, "inference_ms", 0, [0.1, 0.1, 0.3])
        work.measure(session, Plan([shipped], quick=True, runtimes=("onnxruntime",)))
    return read(folder).facts["work"]


def test_each_model_is_a_fraction_of_the_ceiling_of_its_own_kernels_and_of_the_quickest(tmp_path, shipped):
    facts = _recorded(tmp_path / "s", shipped)
    (model,), (row,) = facts["models"], facts["roofline"]
    assert row["gmac_per_s"] == pytest.approx(model["macs"] / 0.1e-3 / 1e9)
    assert row["ceiling_gmac_per_s"] == 100.0
    assert row["fraction"] == pytest.approx(row["gmac_per_s"] / 100.0)
    assert row["best_fraction"] == pytest.approx(row["gmac_per_s"] / 400.0)
    assert row["intensity_mac_per_byte"] == model["intensity_mac_per_byte"]
    # 10 GB/s feed less than 100 GMAC/s at this intensity.
    assert model["intensity_mac_per_byte"] < 10
    assert row["binds"] == "memory"


@pytest.mark.parametrize("more", [{"ceilings": False}, {"precision": "fp32"}])
def test_without_a_ceiling_of_its_precision_a_model_has_no_fraction(tmp_path, shipped, more):
    facts = _recorded(tmp_path / "s", shipped, **more)
    assert facts["roofline"] == []
    assert len(facts["models"]) == 1


def test_the_profile_adds_up_to_the_operators_of_the_file(tmp_path, shipped):
    with Session(tmp_path / "s", {}, [shipped], 0) as session:
        profile.measure(session, Plan([shipped], quick=True, runs=2))
    rows = read(tmp_path / "s").facts["work"]["profile"]
    everything = counted.count(shipped.read(shipped.manifest.models[0].path), "tflite")
    *kinds, summed, whole = rows
    assert sum(row["operators"] for row in kinds) == len(everything.operators) == whole["operators"]
    assert sum(row["macs"] or 0 for row in kinds) == everything.macs == summed["macs"]
    assert sum(row["taken_us"] for row in kinds) == pytest.approx(summed["taken_us"])
    assert [row["taken_us"] for row in kinds] == sorted((row["taken_us"] for row in kinds), reverse=True)
    assert whole["operator"] == profile.WHOLE
    assert whole["fraction"] == 1.0


def test_rows_follow_from_the_folder_of_a_session_that_goes_on(tmp_path, shipped):
    with Session(tmp_path / "s", {}, [shipped], 0):
        assert roofline.rows(tmp_path / "s", lambda _: None) == []
