"""Fusion and heads in C: the fixed-point tail against its oracle bit for bit, both tails against floating point."""

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lsemvae_edge.model.experts import hierarchical_fusion
from lsemvae_edge.model.student import LOGVAR_BOUND
from lsemvae_edge.quantize import parity
from lsemvae_edge.quantize.firmware import oracle
from lsemvae_edge.quantize.firmware.host import Library

SANITIZE = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
FLOAT = "-DLSEMVAE_FLOAT_TAIL"
Q16, Q20 = 65536.0, float(1 << 20)
INT32 = (1 << 31) - 1

Image = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Exact:
    """What an image's integers mean, in double precision."""

    logits: np.ndarray
    contributions: np.ndarray
    mu: np.ndarray
    latent_distance: float


@pytest.fixture(scope="module")
def library(firmware) -> Library:
    """Stops at undefined behaviour."""
    return firmware.library("small", *SANITIZE)


@pytest.fixture(scope="module")
def floating(firmware) -> Library:
    return firmware.library("small", *SANITIZE, FLOAT)


@pytest.fixture(scope="module")
def image(firmware) -> Image:
    return firmware.firmware("small").image


@pytest.fixture(scope="module")
def encoded(firmware, library) -> list[tuple[np.ndarray, np.ndarray]]:
    """Means and log-variances of simulated recordings and of inputs at their bounds."""
    made = firmware.firmware("small")
    edges = parity.extreme(made.spec)
    signals = [*parity.simulated(made.spec, 24).signals, *edges.signals[edges.masks.all(axis=1)]]
    return [library.encode(made.model.quantized(signal)) for signal in signals]


def fused(library: Library, image: Image, mu: np.ndarray, logvar: np.ndarray) -> Any:
    """Fuse by C with another image than the linked one."""
    linked, library.image = library.image, image.ctypes.data
    try:
        return library.fuse(mu, logvar)
    finally:
        library.image = linked


def exactly(image: Image, mu: np.ndarray, logvar: np.ndarray) -> Exact:
    """Fuse by the student's own definition."""
    scales = [image[name].astype(np.float64)[:, None] / 2.0**36 for name in ("mu_scale_q36", "logvar_scale_q36")]
    means, spreads = mu * scales[0], np.clip(logvar * scales[1], -LOGVAR_BOUND, LOGVAR_BOUND)
    experts = [
        (torch.from_numpy(mean[None]), torch.from_numpy(one[None])) for mean, one in zip(means, spreads, strict=True)
    ]
    groups = [np.flatnonzero(image["group"] == group).tolist() for group in range(image["group"].max() + 1)]
    joint = hierarchical_fusion(experts, torch.ones(1, len(experts), dtype=torch.float64), groups)
    parts = np.stack([part.numpy()[0] for part in joint.parts])
    fused_head, lead_heads = (image[name] / 2.0**24 for name in ("fused_head_q24", "lead_heads_q24"))
    contributions = parts @ fused_head.T + np.einsum("lkd,ld->lk", lead_heads, means)
    fused_mu = joint.mu.numpy()[0]
    away = (image["whitening_q16"] / Q16) @ (fused_mu - image["latent_mean_q20"] / Q20)
    logits = image["head_bias_q24"] / 2.0**24 + contributions.sum(axis=0)
    return Exact(logits, contributions, fused_mu, float(np.linalg.norm(away)))


def assert_equal(one: Any, other: oracle.Answer) -> None:
    for name in ("logits", "contributions", "mu", "latent_distance"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def drawn(seed: int, spread: float, shape: tuple[int, int] = (6, 32)) -> tuple[np.ndarray, np.ndarray]:
    """Draw means and log-variances; a spread beyond 1 brings many to their bounds."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, *shape)) * spread * 32768
    mu, logvar = np.clip(np.rint(noise), -32768, 32767).astype(np.int16)
    return mu, logvar


# ---- bit for bit ----


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.01, 0.1, 0.3, 1.0, 1000.0]))
def test_the_fixed_tail_equals_its_oracle(library, image, seed, spread):
    mu, logvar = drawn(seed, spread)
    assert_equal(library.fuse(mu, logvar), oracle.fuse(image, mu, logvar))


@pytest.mark.parametrize("mu", [-32768, -1, 0, 1, 32767])
@pytest.mark.parametrize("logvar", [-32768, 0, 32767])
def test_the_fixed_tail_equals_its_oracle_at_the_bounds(library, image, mu, logvar):
    pair = np.full((6, 32), mu, dtype=np.int16), np.full((6, 32), logvar, dtype=np.int16)
    assert_equal(library.fuse(*pair), oracle.fuse(image, *pair))


def test_the_fixed_tail_equals_its_oracle_on_what_encoders_say(library, image, encoded):
    for mu, logvar in encoded:
        assert_equal(library.fuse(mu, logvar), oracle.fuse(image, mu, logvar))


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_the_fixed_tail_of_other_sizes_equals_its_oracle(firmware, size):
    library, image = firmware.library(size), firmware.firmware(size).image
    for seed in range(5):
        mu, logvar = drawn(seed, 0.3, (library.leads, library.latent))
        assert_equal(library.fuse(mu, logvar), oracle.fuse(image, mu, logvar))


def wild(image: Image, seed: int, largest: float) -> Image:
    """Return an image whose tail is drawn, up to a share of what its numbers can hold."""
    rng = np.random.default_rng(seed)
    made = image.copy()
    for name, bits in (
        ("mu_scale_q36", 31), ("logvar_scale_q36", 31), ("fused_head_q24", 26), ("lead_heads_q24", 26),
        ("head_bias_q24", 31), ("latent_mean_q20", 31), ("whitening_q16", 26),
    ):  # fmt: skip
        made[name] = rng.uniform(-largest, largest, made[name].shape) * ((1 << bits) - 1)
    made["group"] = rng.permutation([0, 1, *rng.integers(0, 2, 4)])
    return made


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    largest=st.sampled_from([1e-4, 0.01, 0.1, 0.7, 1.0]),
    spread=st.sampled_from([0.01, 0.3, 1000.0]),
)
@example(seed=0, largest=1.0, spread=1000.0)
def test_no_image_that_is_taken_leads_a_tail_astray(library, floating, image, seed, largest, spread):
    """Neither overflow, which the build stops at, nor another number than the oracle's."""
    made = wild(image, seed, largest)
    if not library.c.lsemvae_model_holds(ctypes.c_void_p(made.ctypes.data)):
        return
    mu, logvar = drawn(seed, spread)
    assert_equal(fused(library, made, mu, logvar), oracle.fuse(made, mu, logvar))
    fused(floating, made, mu, logvar)


def test_most_of_the_images_above_are_taken(library, image):
    taken = [
        library.c.lsemvae_model_holds(ctypes.c_void_p(made.ctypes.data))
        for made in (wild(image, seed, largest) for seed in range(10) for largest in (0.01, 0.1, 0.7))
    ]
    assert sum(taken) >= 20


# ---- against floating point ----


def test_the_fixed_tail_is_near_what_its_integers_mean(library, image, encoded):
    worst = dict.fromkeys(("logits", "contributions", "mu", "latent_distance"), 0.0)
    for mu, logvar in [*encoded, *(drawn(seed, 0.3) for seed in range(60))]:
        answer, exact = library.fuse(mu, logvar), exactly(image, mu, logvar)
        for name in worst:
            one = Q20 if name == "mu" else Q16
            worst[name] = max(worst[name], float(np.abs(getattr(answer, name) / one - getattr(exact, name)).max()))
    assert max(worst.values()) < 2e-4, worst


def test_the_float_tail_is_within_1e_5_of_the_logit(floating, image, encoded):
    for mu, logvar in [*encoded, *(drawn(seed, spread) for seed in range(30) for spread in (0.3, 1000.0))]:
        answer, exact = floating.fuse(mu, logvar), exactly(image, mu, logvar)
        assert np.abs(answer.logits / Q16 - exact.logits).max() < 1e-5
        assert np.abs(answer.contributions / Q16 - exact.contributions).max() < 1e-5
        assert np.abs(answer.mu / Q20 - exact.mu).max() < 1e-6


def test_both_tails_saturate_alike(library, floating, image):
    made = image.copy()
    made["head_bias_q24"] = (INT32, -INT32, INT32, -INT32)
    made["fused_head_q24"], made["lead_heads_q24"] = 1 << 24, 1 << 23
    made["lead_heads_q24"][:, 1::2] *= -1
    made["fused_head_q24"][1::2] *= -1
    made["mu_scale_q36"] = 1 << 30
    assert library.c.lsemvae_model_holds(ctypes.c_void_p(made.ctypes.data))
    for mu in (-32768, 32767):
        pair = np.full((6, 32), mu, dtype=np.int16), np.zeros((6, 32), dtype=np.int16)
        one, other = fused(library, made, *pair), fused(floating, made, *pair)
        assert_equal(one, oracle.fuse(made, *pair))
        assert set(one.logits.tolist()) == {INT32, -INT32 - 1}
        np.testing.assert_array_equal(one.logits, other.logits)
        np.testing.assert_array_equal(one.contributions, other.contributions)


def test_a_distance_beyond_32_bits_stops_at_the_largest(library, image):
    made = image.copy()
    made["whitening_q16"], made["latent_mean_q20"] = 1 << 25, -(1 << 29)
    mu, logvar = drawn(0, 0.3)
    assert fused(library, made, mu, logvar).latent_distance == INT32
    assert oracle.fuse(made, mu, logvar).latent_distance == INT32


# ---- the exponential ----


@settings(max_examples=300)
@given(exponent=st.integers(-(16 << 20), 4 << 20))
@example(exponent=4 << 20)
@example(exponent=-(16 << 20))
@example(exponent=0)
@example(exponent=-1)
def test_the_exponential_equals_its_oracle_and_is_near_the_truth(library, image, exponent):
    library.c.lsemvae_exp_q24.restype = ctypes.c_uint32
    got = library.c.lsemvae_exp_q24(ctypes.c_void_p(library.image), ctypes.c_int32(exponent))
    assert got == oracle.exp_q24(image, np.asarray(exponent, dtype=np.int64))
    truth = np.exp(exponent / Q20) * 2.0**24
    assert abs(got - truth) <= 0.51 + 2e-6 * truth


def test_the_exponential_never_falls(library):
    library.c.lsemvae_exp_q24.restype = ctypes.c_uint32
    place = ctypes.c_void_p(library.image)
    steps = [library.c.lsemvae_exp_q24(place, ctypes.c_int32(k)) for k in range(-(16 << 20), (4 << 20) + 1, 1009)]
    assert steps == sorted(steps)


# ---- which images are taken ----


@pytest.mark.parametrize("size", ["small", "tiny", "base"])
def test_the_model_of_every_size_holds(firmware, size):
    made = firmware.firmware(size).image
    assert firmware.library(size).c.lsemvae_model_holds(ctypes.c_void_p(made.ctypes.data))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("encoders", 0, "bias", 0), INT32), (("encoders", 5, "bias", 183), -INT32 - 1),
        (("encoders", 3, "multiplier", 7), -1), (("encoders", 1, "shift", 183), 0), (("encoders", 1, "shift", 0), 14),
        (("encoders", 1, "shift", 0), -32), (("exp2_table", 0), 0), (("exp2_table", 256), 1 << 30),
        (("exp2_table", 100), 1 << 30), (("exp2_table", 255), 2**32 - 1), (("fused_head_q24",), INT32),
        # 2^60 for each of six leads and two dimensions.
        (("fused_head_q24", 0, slice(0, 2)), INT32),
        (("lead_heads_q24",), -INT32 - 1), (("whitening_q16",), INT32), (("whitening_q16", 31), -INT32),
        (("latent_mean_q20",), -INT32 - 1),
    ],
)  # fmt: skip
def test_an_image_whose_numbers_could_leave_their_bits_is_refused(library, image, where, value):
    made = image.copy()
    place = made
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value
    if where[0] in ("fused_head_q24", "lead_heads_q24"):
        made["mu_scale_q36"] = 1 << 30
    if where[0] == "latent_mean_q20":
        made["whitening_q16"] = 1 << 27
    assert not library.c.lsemvae_model_holds(ctypes.c_void_p(made.ctypes.data))


def test_heads_that_reach_63_bits_at_most_are_taken(library, image):
    made = image.copy()
    made["mu_scale_q36"], made["fused_head_q24"], made["lead_heads_q24"] = 1 << 30, 0, 0
    made["fused_head_q24"][:, 0] = INT32
    assert library.c.lsemvae_model_holds(ctypes.c_void_p(made.ctypes.data))


def test_sums_of_products_up_to_31_bits_are_taken(library, image):
    made = image.copy()
    row = made["encoders"][0]["weights"][:7].astype(np.int64)
    room = INT32 - int(np.abs(row).sum() << 15)
    made["encoders"][0]["bias"][0] = room
    assert library.c.lsemvae_model_holds(ctypes.c_void_p(made.ctypes.data))
    made["encoders"][0]["bias"][0] = -room - 1
    assert not library.c.lsemvae_model_holds(ctypes.c_void_p(made.ctypes.data))
