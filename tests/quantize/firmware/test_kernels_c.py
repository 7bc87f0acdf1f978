"""The C convolution and the encoder's walk against the oracle: plain, and with the loops for Arm's instructions."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lsemvae_edge.quantize.firmware import boards, oracle
from lsemvae_edge.quantize.firmware.host import WARNINGS, compiler

INSTRUCTIONS = Path(__file__).parent / "arm"
"""Headers that say in plain C what Arm's instructions and CMSIS-NN do, so that the loops written with them run here."""
KERNELS = {
    "plain": (),
    "dsp": ("-DLSEMVAE_USE_DSP",),
    "mve": ("-DLSEMVAE_USE_MVE",),
    "cmsis-nn": ("-DLSEMVAE_USE_CMSIS_NN",),
}
SANITIZE = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
WIDEST = 160
"""Weights of one output channel of ``small``, which rooms inside the kernels are made for."""


class CLayer(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint16) for name in ("in_channels", "out_channels", "kernel", "stride", "padding")),
        *((name, ctypes.c_uint16) for name in ("in_samples", "out_samples")),
        ("rectified", ctypes.c_uint8),
        *((name, ctypes.c_uint32) for name in ("weight_at", "channel_at")),
    )


@dataclass(frozen=True)
class Shape:
    """Of a layer. Values are drawn by ``seed``, all at their bounds where ``extreme``."""

    n_in: int
    n_out: int
    kernel: int
    stride: int
    padding: int
    n_samples: int
    rectified: bool
    extreme: bool
    seed: int

    @property
    def n_samples_out(self) -> int:
        return (self.n_samples + 2 * self.padding - self.kernel) // self.stride + 1


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    kernel = draw(st.integers(1, 9))
    padding = draw(st.integers(0, kernel - 1))
    return Shape(
        n_in=draw(st.integers(1, WIDEST // kernel)),
        n_out=draw(st.integers(1, 7)),
        kernel=kernel,
        stride=draw(st.integers(1, 4)),
        padding=padding,
        n_samples=draw(st.integers(max(1, kernel - 2 * padding), 40)),
        rectified=draw(st.booleans()),
        extreme=draw(st.booleans()),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@pytest.fixture(scope="module")
def libraries(firmware, tmp_path_factory) -> Callable[[str], ctypes.CDLL]:
    """The kernels alone, stopping at undefined behaviour."""
    folder, kept = firmware.folder("small"), {}

    def library(kernels: str) -> ctypes.CDLL:
        if kernels not in kept:
            made = tmp_path_factory.mktemp(kernels) / "kernels.so"
            sources = [str(folder / "src" / f"lsemvae_{name}.c") for name in ("kernels", "kernels_cmsis_nn", "numbers")]
            include = [f"-I{place}" for place in (INSTRUCTIONS, folder / "include", folder / "src")]
            flags = [*WARNINGS, "-O2", "-g", "-fPIC", "-shared", *SANITIZE, *KERNELS[kernels]]
            subprocess.run([compiler(), *flags, *include, *sources, "-o", str(made)], check=True)  # a compiler
            kept[kernels] = ctypes.CDLL(str(made))
        return kept[kernels]

    return library


def drawn(shape: Shape, kind: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw an input (n_samples, n_in), weights (n_out, kernel, n_in), and a record with them and their scaling."""
    rng = np.random.default_rng(shape.seed)
    weights_shape = (shape.n_out, shape.kernel, shape.n_in)
    if shape.extreme:
        x = rng.choice(np.array([-32768, 32767], dtype=np.int16), (shape.n_samples, shape.n_in))
        weights = rng.choice(np.array([-127, 127], dtype=np.int8), weights_shape)
    else:
        x = rng.integers(-32768, 32768, (shape.n_samples, shape.n_in)).astype(np.int16)
        weights = rng.integers(-127, 128, weights_shape).astype(np.int8)
    encoder = np.zeros((), dtype=kind)
    at, channel_at = places(shape)
    encoder["weights"] = rng.integers(-127, 128, encoder["weights"].shape)
    encoder["weights"][at : at + weights.size] = weights.ravel()
    room = (1 << 31) - 1 - (np.abs(weights.astype(np.int64)).sum(axis=(1, 2)) << 15)
    share = rng.choice([-1.0, 1.0]) if shape.extreme else rng.uniform(-1, 1, shape.n_out)
    channels = slice(channel_at, channel_at + shape.n_out)
    encoder["bias"][channels] = (room * share).astype(np.int64)
    encoder["multiplier"][channels] = 32767 if shape.extreme else rng.integers(0, 32768, shape.n_out)
    # Mostly such that steps of the output are met, not passed by.
    encoder["shift"][channels] = rng.choice([*range(-20, -10), -1, -2, -31, -17, -18, -16], shape.n_out)
    # A channel so small that it is nothing has neither.
    nothing = channel_at + np.flatnonzero(rng.random(shape.n_out) < 0.05)
    encoder["multiplier"][nothing] = encoder["shift"][nothing] = 0
    return x, weights, encoder


def places(shape: Shape) -> tuple[int, int]:
    """Offsets of a layer's weights and channels, odd ones as well."""
    return shape.seed % 5, shape.seed % 3


def by_c(library: ctypes.CDLL, shape: Shape, x: np.ndarray, encoder: np.ndarray) -> np.ndarray:
    """Run the C convolution between guards that nothing may touch."""
    at, channel_at = places(shape)
    layer = CLayer(
        shape.n_in, shape.n_out, shape.kernel, shape.stride, shape.padding, shape.n_samples, shape.n_samples_out,
        int(shape.rectified), at, channel_at,
    )  # fmt: skip
    room = np.full(shape.n_samples_out * shape.n_out + 16, 0x5A5A, dtype=np.int16)
    arguments = (ctypes.c_void_p(values.ctypes.data) for values in (encoder, np.ascontiguousarray(x), room[8:]))
    library.lsemvae_convolve(ctypes.byref(layer), *arguments)
    assert (room[:8] == 0x5A5A).all()
    assert (room[-8:] == 0x5A5A).all()
    return room[8:-8].reshape(shape.n_samples_out, shape.n_out)


def by_oracle(shape: Shape, x: np.ndarray, weights: np.ndarray, encoder: np.ndarray) -> np.ndarray:
    channels = slice(places(shape)[1], places(shape)[1] + shape.n_out)
    bias, multiplier, shift = (encoder[name][channels].astype(np.int64) for name in ("bias", "multiplier", "shift"))
    return oracle.convolve(
        x, weights, bias, multiplier, shift, stride=shape.stride, padding=shape.padding, rectified=shape.rectified
    )


@pytest.mark.parametrize("kernels", KERNELS)
@settings(max_examples=150)
@given(shape=shapes())
@example(shape=Shape(1, 16, 7, 2, 3, 100, True, True, 0))
@example(shape=Shape(32, 7, 5, 2, 2, 13, True, True, 1))
@example(shape=Shape(48, 32, 1, 1, 0, 1, False, True, 2))
@example(shape=Shape(1, 3, 7, 1, 6, 1, False, False, 3))
@example(shape=Shape(1, 1, 1, 4, 0, 1, False, False, 4))
def test_every_kernel_equals_the_oracle(libraries, firmware, kernels, shape):
    x, weights, encoder = drawn(shape, firmware.firmware("small").image["encoders"].dtype)
    got = by_c(libraries(kernels), shape, x, encoder)
    np.testing.assert_array_equal(got, by_oracle(shape, x, weights, encoder))


@pytest.mark.parametrize("kernels", KERNELS)
def test_kernels_read_nothing_beyond_their_input(libraries, firmware, kernels):
    """The input ends where the next page may not be read."""
    import mmap

    libc = ctypes.CDLL(None, use_errno=True)
    room = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(room))
    assert libc.mprotect(ctypes.c_void_p(begin + mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    try:
        for shape in (
            Shape(1, 4, 7, 2, 3, 100, True, False, 5),
            Shape(3, 4, 5, 1, 0, 9, True, False, 6),
            Shape(12, 3, 5, 2, 2, 25, True, False, 7),
            Shape(5, 2, 1, 1, 0, 1, False, False, 8),
            # The last pair of samples ends where the input does.
            Shape(1, 2, 7, 2, 0, 97, True, False, 9),
            Shape(3, 2, 5, 1, 0, 10, True, False, 10),
        ):
            x, weights, encoder = drawn(shape, firmware.firmware("small").image["encoders"].dtype)
            last = np.frombuffer(room, dtype=np.int16, count=x.size, offset=mmap.PAGESIZE - x.nbytes).reshape(x.shape)
            last[:] = x
            got = by_c(libraries(kernels), shape, last, encoder)
            np.testing.assert_array_equal(got, by_oracle(shape, x, weights, encoder))
    finally:
        assert libc.mprotect(ctypes.c_void_p(begin + mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE), 3) == 0


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("shift", range(-29, 0))
def test_halves_of_a_step_are_rounded_up(libraries, firmware, kernels, shift):
    """As TFLite's rule for 64-bit sums says: also those of negative numbers."""
    shape = Shape(1, 5, 1, 1, 0, 3, False, False, 15)
    encoder = np.zeros((), dtype=firmware.firmware("small").image["encoders"].dtype)
    odd = np.array([-3, -1, 1, 3, 0])
    # Half a step is 2^14 times 2^(-shift).
    encoder["bias"][:5], encoder["multiplier"][:5], encoder["shift"][:5] = odd << -shift, 1 << 14, shift
    got = by_c(libraries(kernels), shape, np.zeros((3, 1), dtype=np.int16), encoder)
    assert got.tolist() == [[-1, 0, 1, 2, 0]] * 3


@pytest.mark.parametrize(
    ("sums", "mean"), [([1, 0], 1), ([-1, 0], -1), ([3, 0, 0, 0], 1), ([1, 0, 0, 0], 0), ([-2, 0, 0, 0], -1)]
)
def test_the_average_rounds_halves_away_from_zero(sums, mean):
    assert oracle.average(np.array(sums, dtype=np.int16)[:, None]).tolist() == [mean]


@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize("scale", [1, 40, 32767])
def test_an_encoder_equals_the_oracle_layer_by_layer(firmware, size, scale):
    """Also far beyond the input's own bound, where every layer saturates."""
    model, library = firmware.firmware(size).model, firmware.library(size)
    noise = np.random.default_rng(scale).standard_normal((len(model.encoders), model.n_samples))
    quantized = np.clip(np.rint(noise * 256 * scale), -32768, 32767).astype(np.int16)
    layers: dict[str, np.ndarray] = {}
    mu, logvar = library.encode(quantized, layers)
    assert len(layers) == len(model.encoders) * (len(model.encoders[0].layers) + 1)
    for i, (encoder, row) in enumerate(zip(model.encoders, quantized, strict=True)):
        x = row[:, None]
        for layer in encoder.layers:
            if layer.name == "mu":
                x = oracle.average(x)[None]
                np.testing.assert_array_equal(layers[f"encoder{i}.pool"], x[0])
            y = oracle.convolve(
                x, layer.weights, layer.bias, layer.reduced.astype(np.int64), layer.shift, stride=layer.stride,
                padding=layer.padding, rectified=layer.rectified,
            )  # fmt: skip
            np.testing.assert_array_equal(layers[f"encoder{i}.{layer.name}"], y.ravel(), err_msg=layer.name)
            x = x if layer.name in ("mu", "logvar") else y
        np.testing.assert_array_equal(mu[i], layers[f"encoder{i}.mu"])
        np.testing.assert_array_equal(logvar[i], layers[f"encoder{i}.logvar"])


def test_activations_stay_inside_their_plan(firmware):
    library = firmware.library("small")
    size = library.sizes["ACTIVATION_BYTES"]
    scratch = np.full(size + 64, 0x5A, dtype=np.uint8)
    at = -scratch.ctypes.data % 8
    row = np.random.default_rng(0).integers(-2048, 2049, library.sizes["BEAT"]).astype(np.int16)
    out = np.zeros((2, library.latent), dtype=np.int16)
    library.c.lsemvae_encode(
        ctypes.c_void_p(library.image), ctypes.c_uint32(0), ctypes.c_void_p(row.ctypes.data),
        ctypes.c_void_p(scratch.ctypes.data + at), ctypes.c_void_p(out[0].ctypes.data),
        ctypes.c_void_p(out[1].ctypes.data), None, None,
    )  # fmt: skip
    assert out.any()
    assert (scratch[at + size :] == 0x5A).all()


# ---- on the instructions themselves ----

# Random layers by the plain kernel and by another, both on the emulated processor.
_PROGRAM = """
#include "board.h"
#include "lsemvae_core.h"

void plain_convolve(const lsemvae_layer *layer, const struct lsemvae_encoder *encoder, const int16_t *in, int16_t *out);

static struct lsemvae_encoder encoder;
static int16_t in[4096], one[4096], other[4096];
static uint32_t state = 1;

static uint32_t drawn(uint32_t below) {
    state = state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)(state >> 4) * below) >> 28);
}

int main(void) {
    uint32_t equal = 0;
    for (uint32_t turn = 0; turn < 400; turn++) {
        uint32_t extreme = drawn(2);
        lsemvae_layer layer = {.kernel = (uint16_t)(1 + drawn(9)), .stride = (uint16_t)(1 + drawn(4)),
                               .out_channels = (uint16_t)(1 + drawn(7)), .rectified = (uint8_t)drawn(2),
                               .weight_at = drawn(5), .channel_at = drawn(3)};
        layer.in_channels = (uint16_t)(1 + drawn(LSEMVAE_WIDTH_MAX / layer.kernel));
        layer.padding = (uint16_t)drawn(layer.kernel);
        layer.in_samples = (uint16_t)(layer.kernel + drawn(20));
        layer.out_samples = (uint16_t)((layer.in_samples + 2u * layer.padding - layer.kernel) / layer.stride + 1u);
        for (uint32_t k = 0; k < sizeof in / sizeof *in; k++) {
            in[k] = (int16_t)(extreme != 0 ? (drawn(2) != 0 ? 32767 : -32768) : (int32_t)drawn(65536) - 32768);
        }
        for (uint32_t k = 0; k < LSEMVAE_WEIGHTS_TOTAL; k++) {
            encoder.weights[k] = (int8_t)(extreme != 0 ? (drawn(2) != 0 ? 127 : -127) : (int32_t)drawn(255) - 127);
        }
        for (uint32_t k = 0; k < LSEMVAE_CHANNELS_TOTAL; k++) {
            encoder.bias[k] = (int32_t)drawn(1u << 28) - (1 << 27);
            encoder.multiplier[k] = (int16_t)drawn(32768);
            encoder.shift[k] = (int8_t)(-1 - (int32_t)drawn(24));
        }
        plain_convolve(&layer, &encoder, in, one);
        lsemvae_convolve(&layer, &encoder, in, other);
        equal += memcmp(one, other, sizeof *one * layer.out_samples * layer.out_channels) == 0 ? 1u : 0u;
    }
    char line[] = "equal 000\\n";
    line[6] = (char)('0' + equal / 100);
    line[7] = (char)('0' + equal / 10 % 10);
    line[8] = (char)('0' + equal % 10);
    board_write(line);
    return 0;
}
"""


@pytest.mark.parametrize(("board", "kernels"), [("mps2-an386", "dsp"), ("mps3-an547", "dsp"), ("mps3-an547", "mve")])
def test_kernels_equal_the_plain_one_on_the_emulated_processor(firmware, tmp_path, board, kernels):
    lacking = boards.missing(boards.board(board))
    if lacking:
        pytest.skip(f"{' and '.join(lacking)} not installed")
    folder = shutil.copytree(firmware.folder("tiny"), tmp_path / "tiny")
    (tmp_path / "main.c").write_text(_PROGRAM)
    make = ["make", "--no-print-directory", f"BOARD={board}", f"KERNELS={kernels}", "show"]
    shown = subprocess.run(make, cwd=folder, capture_output=True, text=True, check=True).stdout  # our own Makefile
    told = dict(line.split(" ", 1) for line in shown.splitlines())
    example, elf = "examples/baremetal", str(tmp_path / "kernels.elf")
    compile_one = [told["compiler"], *told["flags"].split(), *WARNINGS, f"-I{example}"]
    plain = [flag for flag in compile_one if not flag.startswith("-DLSEMVAE_USE")]
    kernel, renamed = "src/lsemvae_kernels.c", str(tmp_path / "plain.o")
    sources = [str(tmp_path / "main.c"), f"{example}/arm.c", kernel, "src/lsemvae_numbers.c", renamed]
    linker = ["-nostartfiles", f"-L{example}/boards", f"-T{board}.ld"]
    for command in (
        [*plain, "-Dlsemvae_convolve=plain_convolve", "-c", kernel, "-o", renamed],
        [*compile_one, *sources, *linker, "-o", elf],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # a compiler
        assert done.returncode == 0, done.stderr
    # The listing, as the disassembler of some releases does not know the vector instructions.
    listing = subprocess.run([*compile_one, "-S", kernel, "-o", "-"], cwd=folder, capture_output=True,
                             text=True, check=True).stdout  # fmt: skip
    assert {"dsp": "\tsmlad\t", "mve": "\tvmladava.s16\t"}[kernels] in listing
    options = ["-nographic", "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native"]
    emulator = told["emulator"].split()[:3]
    ran = subprocess.run(
        [*emulator, *options, "-kernel", elf], capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert "equal 400" in ran.stdout + ran.stderr
