"""TensorFlow Lite Micro: the model as data, its operators, the library around it, and what its own package says."""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.errors import RuntimeUnavailableError, UsageError
from lsemvae_edge.quantize.firmware import flatbuffer, tflm
from lsemvae_edge.quantize.firmware.folder import lay_out
from lsemvae_edge.quantize.firmware.host import Recorder, RefusedError, build, compiler
from lsemvae_edge.quantize.targets import QuantizationError

TFLM = os.environ.get("LSEMVAE_EDGE_TFLM")
needs_tflm = pytest.mark.skipif(
    TFLM is None, reason="LSEMVAE_EDGE_TFLM names no interpreter; requirements-tflite-micro.txt is its environment"
)
STUBS = Path(__file__).parent / "stubs" / "tflm"
NOT_ENCODED = 5
ENGINE = """
#include "lsemvae_core.h"
typedef int (*engine)(const int16_t *input, int16_t *mu, int16_t *logvar);
engine lsemvae_engine;
int lsemvae_encode_leads(const struct lsemvae_image *image, const int16_t (*input)[LSEMVAE_BEAT], uint8_t *scratch,
                         int16_t (*mu)[LSEMVAE_LATENT], int16_t (*logvar)[LSEMVAE_LATENT]) {
    (void)image;
    (void)scratch;
    return lsemvae_engine(input[0], mu[0], logvar[0]);
}
"""
"""Lets Python be the encoders."""


@pytest.fixture(scope="module")
def int16x8(firmware) -> bytes:  # type: ignore[no-untyped-def]
    return flatbuffer.write(firmware.firmware("small").model)


@pytest.fixture(scope="module")
def int8() -> bytes:
    return bundles.default().read("model-int8.tflite")


@pytest.fixture(scope="module")
def inputs(firmware):  # type: ignore[no-untyped-def]
    """The known recordings, the extremes, and noise over the whole range."""
    golden = bundles.default().golden["input"]
    limit = firmware.library("small").sizes["INPUT_LIMIT"]
    noise = np.random.default_rng(0).integers(-limit, limit, (8, *golden.shape[1:]), endpoint=True)
    flat = [np.full(golden.shape[1:], value) for value in (limit, -limit, 0)]
    known = [firmware.firmware("small").model.quantized(one) for one in golden]
    return np.stack([*known, *flat, *noise]).astype(np.int16)


def changed(content: bytes, change) -> bytes:  # type: ignore[no-untyped-def]
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    change(model)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


# ---- the files ----


def test_the_array_is_the_file_and_is_aligned(int16x8, tmp_path) -> None:
    lay_out(tflm.files(int16x8), tmp_path)
    # Not at the beginning of a section, where everything is aligned.
    (tmp_path / "before.cc").write_text('extern "C" char before; char before = 1;\n')
    made = tmp_path / "model.so"
    sources = [str(tmp_path / "before.cc"), str(tmp_path / "tflm" / "lsemvae_tflm_model.cc")]
    subprocess.run(["c++", "-std=c++17", "-Wall", "-Werror", "-shared", "-fPIC", *sources, "-o", str(made)], check=True)
    library = ctypes.CDLL(str(made))
    length = ctypes.c_uint.in_dll(library, "lsemvae_tflm_model_bytes").value
    data = (ctypes.c_uint8 * length).in_dll(library, "lsemvae_tflm_model")
    assert bytes(data) == int16x8
    assert ctypes.addressof(data) % 16 == 0


def test_the_resolver_has_exactly_the_operators_of_the_model(int16x8, int8) -> None:
    text = tflm.files(int16x8)["tflm/lsemvae_tflm_operators.h"].decode()
    assert re.findall(r"->(Add\w+)\(\)", text) == ["AddAveragePool2D", "AddConv2D", "AddPad", "AddSlice"]
    assert "MicroMutableOpResolver<4>" in text
    listed = tflm.operators(int8)
    text = tflm.files(int8)["tflm/lsemvae_tflm_operators.h"].decode()
    assert len(re.findall(r"->Add\w+\(\)", text)) == len(listed)
    assert f"MicroMutableOpResolver<{len(listed)}>" in text
    assert {"CONV_2D", "DIV", "EXP"} < set(listed)


def test_an_operator_that_tflm_lacks_is_refused_by_name(int16x8) -> None:
    from ai_edge_litert import schema_py_generated as schema

    def to_unknown(model):  # type: ignore[no-untyped-def]
        for code in model.operatorCodes:
            if code.builtinCode == schema.BuiltinOperator.PAD:
                code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.HASHTABLE_LOOKUP

    with pytest.raises(QuantizationError, match="HASHTABLE_LOOKUP"):
        tflm.files(changed(int16x8, to_unknown))


def test_a_constant_outside_the_flatbuffer_is_refused(int16x8) -> None:
    def outside(model):  # type: ignore[no-untyped-def]
        buffer = max(model.buffers, key=lambda one: 0 if one.data is None else len(one.data))
        buffer.offset, buffer.size, buffer.data = 160_000, len(buffer.data), None

    with pytest.raises(QuantizationError, match="outside the flatbuffer, at 160000"):
        tflm.files(changed(int16x8, outside))


def test_a_tensor_without_a_buffer_is_refused(int16x8) -> None:
    def beyond(model):  # type: ignore[no-untyped-def]
        model.subgraphs[0].tensors[3].buffer = len(model.buffers)

    with pytest.raises(QuantizationError, match="has no buffer"):
        tflm.check_inside(changed(int16x8, beyond))


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"PK\x03\x04ET12 and more"])
def test_what_is_no_tflite_file_is_refused(content) -> None:
    with pytest.raises(QuantizationError, match="no TFLite file"):
        tflm.files(content)


# ---- the library around another engine ----


@pytest.fixture(scope="module")
def engine_library(firmware, tmp_path_factory):  # type: ignore[no-untyped-def]
    """The library compiled without encoders; the test gives them."""
    from lsemvae_edge.quantize.firmware.host import Library

    into = tmp_path_factory.mktemp("engine")
    (into / "engine.c").write_text(ENGINE)
    return Library(firmware.folder("small"), into, flags=("-DLSEMVAE_OWN_ENCODERS", str(into / "engine.c")))


def with_engine(library, engine):  # type: ignore[no-untyped-def]
    kind = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.POINTER(ctypes.c_int16)] * 3)
    shape = library.leads, library.sizes["BEAT"]

    def called(told, mu, logvar):  # type: ignore[no-untyped-def]
        answer = engine(np.ctypeslib.as_array(told, shape).copy())
        if answer is None:
            return 0
        for place, values in zip((mu, logvar), answer, strict=True):
            np.ctypeslib.as_array(place, (library.leads, library.latent))[:] = values
        return 1

    kept = kind(called)
    ctypes.c_void_p.in_dll(library.c, "lsemvae_engine").value = ctypes.cast(kept, ctypes.c_void_p).value
    return kept


def result_of(library, raw_uv) -> bytes:  # type: ignore[no-untyped-def]
    recorder = Recorder(library, 500)
    recorder.push(raw_uv[0], raw_uv[1])
    return bytes(recorder.run())


def in_litert(content):  # type: ignore[no-untyped-def]
    kernels = flatbuffer.Reference(content)

    def run(quantized):  # type: ignore[no-untyped-def]
        layers = kernels.run(quantized)
        return [np.stack([layers[f"encoder{k}.{name}"][0] for k in range(6)]) for name in ("mu", "logvar")]

    return run


def in_tflm(content):  # type: ignore[no-untyped-def]
    def run(quantized):  # type: ignore[no-untyped-def]
        mu, logvar = tflm.run(Path(TFLM), content, quantized[None])
        return mu[0], logvar[0]

    return run


@pytest.mark.parametrize("engine", [in_litert, pytest.param(in_tflm, marks=needs_tflm)])
def test_a_run_with_another_engine_gives_the_same_result_bit_for_bit(firmware, engine_library, int16x8, engine) -> None:  # type: ignore[no-untyped-def]
    kept = with_engine(engine_library, engine(int16x8))
    for raw_uv in firmware.firmware("small").known_uv:
        result = result_of(engine_library, raw_uv)
        assert result == result_of(firmware.library("small"), raw_uv)
        assert result[0] == 2, "the model ran"
    del kept


def test_an_engine_that_fails_leaves_no_result(firmware, engine_library) -> None:  # type: ignore[no-untyped-def]
    kept = with_engine(engine_library, lambda quantized: None)
    recorder = Recorder(engine_library, 500)
    recorder.push(*firmware.firmware("small").known_uv[0])
    with pytest.raises(RefusedError) as refused:
        recorder.run()
    assert refused.value.status == NOT_ENCODED
    made = engine_library.result()
    room = ctypes.create_string_buffer(engine_library.sizes["ARENA_BYTES"] + 8)
    ctypes.memset(ctypes.byref(made), 0xFF, ctypes.sizeof(made))
    aligned = ctypes.byref(room, -ctypes.addressof(room) % 8)
    size = ctypes.c_size_t(engine_library.sizes["ARENA_BYTES"])
    assert engine_library.c.lsemvae_run(recorder._context, aligned, size, ctypes.byref(made)) == NOT_ENCODED
    assert not any(bytes(made)), "zeroed, which says not ready"
    del kept


def test_without_an_engine_nothing_links(firmware, tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = build(firmware.folder("small"), tmp_path, flags=("-DLSEMVAE_OWN_ENCODERS",))
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    done = subprocess.run(
        [compiler(), "-Wl,--no-as-needed", str(tmp_path / "main.c"), str(made), "-o", str(tmp_path / "program")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert set(re.findall(r"undefined reference to `(\w+)'", done.stderr)) == {"lsemvae_encode_leads"}


# ---- the C++ of the folder, over stubs: TFLM itself is no package ----


@pytest.fixture(scope="module")
def tflm_folder(firmware, int16x8, tmp_path_factory):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("tflm") / "firmware"
    return lay_out({**firmware.contents("small"), **tflm.files(int16x8)}, folder)


@pytest.fixture(scope="module")
def build_in(tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    """One place for several configurations, so that what they share is compiled once."""
    return tmp_path_factory.mktemp("build-tflm")


def configured(
    cmake: str, folder: Path, build_in: Path, *options: str, flags: str = ""
) -> subprocess.CompletedProcess[str]:
    includes = " ".join(f"-I{folder / name}" for name in ("include", "src"))
    # The stub looks into the library, so these hold for all of it.
    flags = f"-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror {includes} {flags}"
    command = [cmake, "-S", str(folder / "tflm"), "-B", str(build_in), f"-DCMAKE_CXX_FLAGS={flags}", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def built_and_run(cmake: str, build_in: Path) -> subprocess.CompletedProcess[str]:
    subprocess.run([cmake, "--build", str(build_in), "-j2"], check=True, capture_output=True, text=True)
    return subprocess.run([str(build_in / "lsemvae_tflm_test")], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arena", "define", "code", "said"),
    [
        (
            65536,
            "WHOLE",
            0,
            r"tflm arena 1968 of 65536 bytes\nlsemvae selftest: PASS model=\S+-small-\w+ spec=\w+ vectors=[2-9]\n",
        ),
        (1024, "WHOLE", 1, "TensorFlow Lite Micro does not take the model in 1024 bytes\n"),
        (65536, "OUTPUTS=11", 1, "TensorFlow Lite Micro does not take the model in 65536 bytes\n"),
        (65536, "FAILS", 4, "tflm arena .*\nlsemvae selftest: FAIL stage=encoder vector=golden 0\n"),
    ],
)
def test_the_sample_builds_and_tells_whether_the_answers_are_the_known_ones(  # type: ignore[no-untyped-def]
    cmake, tflm_folder, build_in, arena, define, code, said
) -> None:
    """Whole; with too small an arena; with a model of other outputs; with an engine that fails."""
    options = f"-DTFLM_DIR={STUBS}", f"-DLSEMVAE_TFLM_ARENA_BYTES={arena}"
    done = configured(cmake, tflm_folder, build_in, *options, flags=f"-DSTUB_{define}")
    assert done.returncode == 0, done.stderr
    ran = built_and_run(cmake, build_in)
    assert ran.returncode == code
    assert re.fullmatch(said, ran.stdout)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "holds no TensorFlow Lite Micro"),
        (("-DTFLM_DIR=/nowhere",), "holds no TensorFlow Lite Micro"),
        ((f"-DTFLM_DIR={STUBS}", "-DLSEMVAE_TFLM_MODEL=ethos-u"), "has no ethos-u/lsemvae_tflm_model.cc"),
    ],
)
def test_what_is_missing_is_said_when_it_is_configured(cmake, tflm_folder, tmp_path, options, why) -> None:
    done = configured(cmake, tflm_folder, tmp_path, *options)
    assert done.returncode != 0
    assert why in " ".join(done.stderr.split())


def test_a_checkout_that_was_not_built_is_said_to_be_one(cmake, tflm_folder, tmp_path) -> None:
    checkout = shutil.copytree(STUBS, tmp_path / "checkout")
    make = checkout / "tensorflow" / "lite" / "micro" / "tools" / "make"
    make.mkdir(parents=True)
    (make / "Makefile").touch()
    done = configured(cmake, tflm_folder, tmp_path / "build", f"-DTFLM_DIR={checkout}")
    assert "is a checkout that was not built" in " ".join(done.stderr.split())


def test_the_library_of_a_built_checkout_is_found(cmake, tflm_folder, tmp_path) -> None:
    """Its headers come from the checkout, its code from the library alone."""
    checkout = shutil.copytree(STUBS, tmp_path / "checkout", ignore=shutil.ignore_patterns("*.cc"))
    place = checkout / "gen" / "some_target" / "lib"
    place.mkdir(parents=True)
    includes = [f"-I{one}" for one in (checkout, tflm_folder / "include", tflm_folder / "src")]
    source = STUBS / "tensorflow" / "lite" / "micro" / "stub.cc"
    compiled = ["c++", "-std=c++17", "-DTF_LITE_STATIC_MEMORY", *includes, "-c", str(source), "-o", "stub.o"]
    subprocess.run(compiled, cwd=place, check=True)
    subprocess.run(["ar", "rcs", "libtensorflow-microlite.a", "stub.o"], cwd=place, check=True)
    done = configured(cmake, tflm_folder, tmp_path / "build", f"-DTFLM_DIR={checkout}")
    assert done.returncode == 0, done.stderr
    assert "PASS" in built_and_run(cmake, tmp_path / "build").stdout


# ---- TFLM's own package, and Vela ----


@needs_tflm
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_tflm_gives_the_numbers_of_the_c_library_bit_for_bit(firmware, inputs, size) -> None:  # type: ignore[no-untyped-def]
    library = firmware.library(size)
    mu, logvar = tflm.run(Path(TFLM), flatbuffer.write(firmware.firmware(size).model), inputs)
    for k, one in enumerate(inputs):
        expected = library.encode(one)
        np.testing.assert_array_equal(mu[k], expected[0])
        np.testing.assert_array_equal(logvar[k], expected[1])
    assert len(np.unique(mu)) > 500, "not all alike"


@needs_tflm
def test_the_arena_is_measured(int16x8, int8) -> None:
    ours, whole = (tflm.measure_arena(Path(TFLM), content) for content in (int16x8, int8))
    for told in (ours, whole):
        assert told["activation_bytes"] + told["persistent_bytes"] == told["used_bytes"]
        assert told["used_bytes"] <= told["smallest_bytes"] < 2 * told["used_bytes"]
        assert told["machine"] == "x86_64"
    assert ours["used_bytes"] < 0.7 * whole["used_bytes"]
    # At the least the input, the twelve outputs, and the larger of two neighbouring layers.
    assert ours["activation_bytes"] > 2 * (600 + 12 * 32)


@needs_tflm
def test_a_file_that_tflm_does_not_run_is_said_with_its_reason(int16x8) -> None:
    def int4(model):  # type: ignore[no-untyped-def]
        from ai_edge_litert import schema_py_generated as schema

        for tensor in model.subgraphs[0].tensors:
            if tensor.type == schema.TensorType.INT8:
                tensor.type = schema.TensorType.FLOAT16

    with pytest.raises(RuntimeUnavailableError, match=r"cannot do what was asked of tflite-micro: .*RuntimeError"):
        tflm.measure_arena(Path(TFLM), changed(int16x8, int4))


@needs_tflm
@pytest.mark.parametrize("config", ["ethos-u55-128", "ethos-u85-256", "ethos-u55-32/Ethos_U55_Deep_Embedded/Sram_Only"])
def test_vela_compiles_all_of_it_and_its_report_is_kept(int16x8, config) -> None:
    made = tflm.vela(Path(TFLM), int16x8, config)
    accelerator = config.split("/")[0]
    assert set(made) == {
        f"ethos-u/model-{accelerator}.tflite",
        "ethos-u/report.json",
        *(f"ethos-u/{name}" for name in tflm.MODEL_FILES),
    }
    compiled = made[f"ethos-u/model-{accelerator}.tflite"]
    assert tflm.operators(compiled) == ["ethos-u"]
    assert re.findall(r"->(Add\w+)", made["ethos-u/lsemvae_tflm_operators.h"].decode()) == ["AddEthosU"]
    report = json.loads(made["ethos-u/report.json"])
    assert report["schema"] == tflm.VELA_SCHEMA
    assert report["accelerator_configuration"].lower().replace("_", "-") == accelerator
    assert report["what"] == "estimates of the compiler, no measurement"
    cycles = report["cycles"]
    assert cycles["total"] >= cycles["npu"] > 0
    assert report["inference_ms"] == pytest.approx(1000 * cycles["total"] / report["clock_hz"])
    assert 1200 < report["bytes"]["sram"] < 64 * 1024 or "Sram_Only" in config
    if "/" in config:
        assert (report["system_config"], report["memory_mode"]) == ("Ethos_U55_Deep_Embedded", "Sram_Only")


@needs_tflm
def test_what_vela_compiled_has_the_inputs_and_outputs_of_the_model(int16x8) -> None:
    """So that the same C++ feeds it."""
    from ai_edge_litert import schema_py_generated as schema

    def ends(content: bytes):  # type: ignore[no-untyped-def]
        (graph,) = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)).subgraphs
        tensors = [graph.tensors[place] for place in (*graph.inputs, *graph.outputs)]
        return [(one.name, tuple(one.shape), one.type, list(one.quantization.scale)) for one in tensors]

    compiled = tflm.vela(Path(TFLM), int16x8)["ethos-u/model-ethos-u55-128.tflite"]
    assert len(ends(compiled)) == 1 + 12
    assert ends(compiled) == ends(int16x8)


@needs_tflm
def test_the_sample_is_built_with_what_vela_compiled(cmake, tflm_folder, int16x8, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The stub has no NPU: this shows that data, operators and options fit together."""
    folder = shutil.copytree(tflm_folder, tmp_path / "firmware")
    lay_out(tflm.vela(Path(TFLM), int16x8), folder)
    options = f"-DTFLM_DIR={STUBS}", "-DLSEMVAE_TFLM_MODEL=ethos-u"
    done = configured(cmake, folder, tmp_path / "build", *options)
    assert done.returncode == 0, done.stderr
    assert "PASS" in built_and_run(cmake, tmp_path / "build").stdout


@needs_tflm
def test_vela_may_not_leave_work_to_the_processor(int8) -> None:
    with pytest.raises(QuantizationError, match=r"Vela leaves .*DIV.* to the processor"):
        tflm.vela(Path(TFLM), int8)


@pytest.mark.parametrize("config", ["", "cortex-m55", "ethos-n78-1", "ethos-u55-128/Ethos_U55_Deep_Embedded"])
def test_what_names_no_npu_is_refused(config) -> None:
    with pytest.raises(UsageError, match="names no Ethos-U"):
        tflm.vela(Path(sys.executable), b"", config)


def test_an_environment_without_the_packages_is_said_to_lack_them(int16x8) -> None:
    for ask in (tflm.measure_arena, tflm.vela):
        with pytest.raises(RuntimeUnavailableError, match="No module named"):
            ask(Path(sys.executable), int16x8)


def test_an_interpreter_that_does_not_start_is_named(int16x8) -> None:
    with pytest.raises(UsageError, match="/nowhere/python does not start"):
        tflm.measure_arena(Path("/nowhere/python"), int16x8)


@needs_tflm
@pytest.mark.slow
def test_an_export_with_that_environment_holds_the_npu_s_files_and_the_arena(tmp_path, capsys) -> None:
    from lsemvae_edge import cli

    out = tmp_path / "firmware"
    options = ["--tflm-python", str(TFLM), "--npu", "ethos-u55-256"]
    assert cli.main(["export", "--format", "c", "--out", str(out), *options]) == 0
    manifest = json.loads((out / "firmware.json").read_text())
    assert set(manifest["tflm_arena"]) == {"encoders", "kiosk_file"}
    for arena in manifest["tflm_arena"].values():
        assert 0 < arena["used_bytes"] <= arena["smallest_bytes"]
    assert {"ethos-u/model-ethos-u55-256.tflite", "ethos-u/report.json", "tflm/main.cc"} < set(manifest["files"])
    capsys.readouterr()
    assert cli.main(["verify", str(out)]) == 0
