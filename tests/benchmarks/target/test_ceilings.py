"""Ceilings are measured in every runtime that is here, beside the models, and the best shape is one."""

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.target import ceilings, convolutions
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session, read
from lsemvae_edge.errors import UsageError

SHAPES = (convolutions.Shape(8, (1, 3), (1, 12)), convolutions.Shape(16, (3, 3), (6, 6)))


@pytest.fixture(scope="module")
def little():
    """Make what is measured small: what is tested is what is kept, not how quick it is."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(convolutions, "QUICK_SHAPES", SHAPES)
        patched.setattr(ceilings, "COPIES", (("memory copy", 100_000, 2),))
        patched.setattr(ceilings, "RUNS_A_TURN", 1)
        patched.setattr(ceilings, "MODEL_RUNS_A_TURN", 1)
        yield


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, little):
    return _measured(tmp_path_factory.mktemp("ceilings") / "s", runtimes=("litert",), threads=(1,))


def _measured(folder, **plan):
    bundle = bundles.default()
    with Session(folder, {}, [bundle], 0) as session:
        ceilings.measure(session, Plan([bundle], quick=True, repeats=2, runs=2, **plan))
    return read(folder)


def test_a_ceiling_is_the_best_shape_and_every_value_is_kept(recorded):
    rows = {case.name: case.facts for case in recorded.cases if case.part == "ceilings"}
    best = [name for name in rows if recorded.of("ceilings", name, "gmac_per_s")]
    told = {(rows[name]["kind"], rows[name]["runtime"]) for name in best if rows[name]["threads"] == 1}
    kinds = [
        (kind, runtime) for kind in ("conv2d int8", "conv2d fp32") for runtime in ("litert", "litert with XNNPACK")
    ]
    assert told == set(kinds)
    for name in best:
        rate = [value for one in recorded.of("ceilings", name, "gmac_per_s") for value in one.values]
        spent = {
            shape: [
                value for one in recorded.of("ceilings", f"{name} · {shape.name}", "run_ms") for value in one.values
            ]
            for shape in SHAPES
        }
        (chosen,) = (shape for shape in SHAPES if shape.name == rows[name]["shape"])
        assert rate == pytest.approx([chosen.macs / value / 1e6 for value in spent[chosen]], rel=1e-4)
        assert all(len(values) == len(rate) == 2 * 2 for values in spent.values())


def test_the_models_are_timed_in_the_same_run(recorded):
    models = [case for case in recorded.cases if case.part == "work"]
    assert {case.facts["runtime"] for case in models} == {"litert"}
    for case in models:
        assert [len(one.values) for one in recorded.of("work", case.name, "inference_ms")] == [2, 2]
    (copied,) = (case for case in recorded.cases if case.name == "memory copy")
    assert all(value > 0 for one in recorded.of("ceilings", copied.name, "gb_per_s") for value in one.values)


def test_a_runtime_that_is_not_here_is_skipped_by_name_and_none_is_an_error(tmp_path, little, monkeypatch):
    missing = [
        ceilings.Ceiling("onnxruntime", "onnxruntime", "onnx", needs=("no_such_package",)),
    ]
    monkeypatch.setattr(ceilings, "CEILINGS", tuple(missing))
    with pytest.raises(UsageError, match="No runtime is here"):
        _measured(tmp_path / "t", runtimes=("onnxruntime",))
    assert ("onnxruntime", "the package no_such_package is not installed") in [
        (one.what, one.reason) for one in read(tmp_path / "t").skipped
    ]


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_the_same_convolutions_give_the_same_in_both_runtimes(precision):
    """Files made without a converter do what they say: LiteRT and ONNX Runtime compute a chain of layers alike."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    import numpy as np
    from ai_edge_litert import interpreter as litert

    shape = SHAPES[1]
    model = onnx.load_from_string(convolutions.onnx(shape, precision))
    opened = litert.Interpreter(model_content=convolutions.tflite(shape, precision))
    opened.allocate_tensors()
    # The same weights: drawn in the order of each format's own layout, so one layout is copied into the other.
    details = {one["name"]: one for one in opened.get_tensor_details()}
    for held in model.graph.initializer:
        if held.name in ("w0", "w1", "w2"):
            values = np.transpose(opened.get_tensor(details[held.name]["index"]), (0, 3, 1, 2))
            held.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values), held.name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    signal = np.random.default_rng(1).normal(size=(1, 6, 6, 16)).astype(np.float32)
    fed = np.clip(np.rint(signal / convolutions.SCALE), -128, 127).astype(np.int8) if precision == "int8" else signal
    opened.set_tensor(opened.get_input_details()[0]["index"], fed)
    opened.invoke()
    given = opened.get_tensor(opened.get_output_details()[0]["index"]).transpose(0, 3, 1, 2)
    (other,) = session.run(None, {"in": np.ascontiguousarray(signal.transpose(0, 3, 1, 2))})
    assert given.std() > 0
    if precision == "int8":
        assert np.abs(given.astype(int) - other.astype(int)).max() <= 1
    else:
        np.testing.assert_allclose(given, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_programs_hold_nothing_outside_the_delegate():
    pytest.importorskip("executorch")
    from lsemvae_edge.quantize.targets import pte

    for precision, integers in (("int8", convolutions.DEPTH), ("fp32", 0)):
        anatomy = pte.inspect(convolutions.pte(SHAPES[0], precision))
        assert anatomy.delegates == 1
        assert anatomy.outside == ()
        assert (anatomy.int8_layers, anatomy.float_layers) == (integers, convolutions.DEPTH - integers)
