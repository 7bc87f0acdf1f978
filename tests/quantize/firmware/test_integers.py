"""The student in integers, against TFLite's rules and LiteRT's reference kernels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.errors import BundleError
from lsemvae_edge.quantize import parity, release
from lsemvae_edge.quantize.firmware import flatbuffer, integers, oracle
from lsemvae_edge.quantize.firmware.integers import IntegerModel, quantized_multiplier


@given(st.floats(1e-6, 100.0))
def test_a_multiplier_is_its_factor_to_31_bits(factor: float) -> None:
    multiplier, shift = quantized_multiplier(factor)
    assert 1 << 30 <= multiplier < 1 << 31
    assert multiplier * 2.0 ** (shift - 31) == pytest.approx(factor, rel=2.0**-30)


def test_a_factor_too_small_to_matter_is_zero() -> None:
    assert quantized_multiplier(2.0**-40) == (0, 0)


@pytest.mark.parametrize("size", ["small", "tiny", "base"])
def test_the_oracle_equals_the_reference_kernels_in_every_layer(firmware, size) -> None:  # type: ignore[no-untyped-def]
    made = firmware.firmware(size)
    kernels = flatbuffer.Reference(flatbuffer.write(made.model))
    edges = parity.extreme(made.spec)
    for signal in [*parity.simulated(made.spec, 3).signals, *edges.signals[edges.masks.all(axis=1)]]:
        quantized = made.model.quantized(signal)
        expected = kernels.run(quantized)
        for name, values in by_oracle(made.model, quantized).items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)


def by_oracle(model: IntegerModel, quantized: np.ndarray) -> dict[str, np.ndarray]:
    """Run the encoders by the oracle's own convolution."""
    found = {}
    for i, (encoder, row) in enumerate(zip(model.encoders, quantized, strict=True)):
        x = row[:, None]
        for layer in encoder.layers:
            if layer.name == "mu":
                x = found[f"encoder{i}.pool"] = oracle.average(x)[None]
            y = oracle.convolve(
                x,
                layer.weights,
                layer.bias,
                layer.reduced.astype(np.int64),
                layer.shift,
                stride=layer.stride,
                padding=layer.padding,
                rectified=layer.rectified,
            )
            found[f"encoder{i}.{layer.name}"] = y
            x = x if layer.name in ("mu", "logvar") else y
    return found


def test_a_model_whose_sums_could_leave_32_bits_is_refused(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from lsemvae_edge import bundle as bundles

    bundle = bundles.default()
    monkeypatch.setattr(integers, "ACTIVATION_LIMIT", 1 << 28)
    with pytest.raises(BundleError, match="32 bits"):
        integers.integer_model(release.restored(bundle), bundle.manifest.quantization, bundle.spec)  # type: ignore[arg-type]


def test_the_input_is_rounded_to_steps_of_a_power_of_two(firmware) -> None:  # type: ignore[no-untyped-def]
    model = firmware.firmware("small").model
    assert model.input_scale == 1 / 256
    signal = np.array([[0.0, 1 / 256, 0.6 / 256, -8.0, 8.0, 9.0]], dtype=np.float32)
    assert model.quantized(signal).tolist() == [[0, 1, 1, -2048, 2048, 2048]]
