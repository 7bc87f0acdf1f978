"""The student in integers alone: int16 activations, int8 weights, and the exact steps between layers.

Arithmetic is TFLite's for 16x8 convolutions (its reference kernels): products are summed exactly, the sum is
multiplied by a 15-bit multiplier and shifted right with halves rounded up. Ranges come from the bundle's own
quantization, so that nothing is measured anew.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lsemvae_edge.errors import BundleError
from lsemvae_edge.manifest import Quantization
from lsemvae_edge.model import Student, fold_batch_norm
from lsemvae_edge.model.student import LeadEncoder
from lsemvae_edge.quantize.scheme import WEIGHT_LIMIT, range_of, weight_scales
from lsemvae_edge.spec import ModelSpec

ACTIVATION_LIMIT = 32767
ROOM = 2.0
"""How much further than the int8 range a layer may go: one of 16 bits, and recordings unlike any are not cut off."""
INPUT_BITS = 11
"""The clipped input fills 11 bits and a sign: 1/256 of its root mean square a step where the clip is 8."""


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """A convolution over time, or a dense layer as one with a kernel of 1.

    Parameters
    ----------
    name : str
        As in `lsemvae_edge.quantize.scheme.layer_names`, without the encoder: ``conv1``, ``mu``.
    weights : array (n_out, kernel, n_in), int8
    bias : array (n_out,), int64
        In steps of the input's scale times the weights'.
    multiplier : array (n_out,), int32
        TFLite's, 31 fractional bits.
    shift : array (n_out,), int32
        TFLite's: negative ones divide.
    weight_scale : array (n_out,), float32
    scale : float
        Of the output, symmetric: a single-precision number.
    stride, padding : int
    rectified : bool
    """

    name: str
    weights: NDArray[np.int8]
    bias: NDArray[np.int64]
    multiplier: NDArray[np.int32]
    shift: NDArray[np.int32]
    weight_scale: NDArray[np.float32]
    scale: float
    stride: int
    padding: int
    rectified: bool

    @property
    def reduced(self) -> NDArray[np.int32]:
        """Multipliers of 15 fractional bits, as the 16x8 kernels use them."""
        rounded = (self.multiplier.astype(np.int64) + (1 << 15)) >> 16
        return np.where(self.multiplier < 0x7FFF0000, rounded, 0x7FFF).astype(np.int32)

    def largest_sum(self) -> NDArray[np.int64]:
        """Return a bound of each channel's sum of products, whatever the input (n_out,)."""
        weights = np.abs(self.weights.astype(np.int64)).sum(axis=(1, 2))
        return np.asarray(weights * (ACTIVATION_LIMIT + 1) + np.abs(self.bias))


@dataclass(frozen=True, eq=False)
class IntegerEncoder:
    """One lead's encoder: convolutions, an average pool over time, and two dense layers that read it."""

    convolutions: tuple[IntegerLayer, ...]
    mu: IntegerLayer
    logvar: IntegerLayer

    @property
    def layers(self) -> tuple[IntegerLayer, ...]:
        """All weighted layers, in order."""
        return (*self.convolutions, self.mu, self.logvar)


@dataclass(frozen=True, eq=False)
class IntegerModel:
    """The encoders in integers, and fusion and heads in floating point for whoever rounds them.

    Parameters
    ----------
    encoders : tuple of IntegerEncoder
        One for each lead.
    groups : tuple of tuple of int
    fused_head : array (n_outputs, latent_dim)
    lead_heads : array (n_leads, n_outputs, latent_dim)
    head_bias : array (n_outputs,)
    input_scale : float
        A power of two.
    n_samples : int
    """

    encoders: tuple[IntegerEncoder, ...]
    groups: tuple[tuple[int, ...], ...]
    fused_head: NDArray[np.float64]
    lead_heads: NDArray[np.float64]
    head_bias: NDArray[np.float64]
    input_scale: float
    n_samples: int

    def quantized(self, signal: NDArray[np.float32]) -> NDArray[np.int16]:
        """Round a model input (n_leads, n_samples) to the steps of the input."""
        limit = 1 << INPUT_BITS
        return np.asarray(np.clip(np.rint(signal / self.input_scale), -limit, limit).astype(np.int16))

    def lengths(self) -> list[int]:
        """Return the number of samples before each convolution and after the last."""
        found = [self.n_samples]
        for layer in self.encoders[0].convolutions:
            kernel = layer.weights.shape[1]
            found.append((found[-1] + 2 * layer.padding - kernel) // layer.stride + 1)
        return found

    @property
    def multiply_adds(self) -> int:
        """Products of one inference in the encoders."""
        lengths = self.lengths()
        total = 0
        for encoder in self.encoders:
            total += sum(n * layer.weights.size for n, layer in zip(lengths[1:], encoder.convolutions, strict=True))
            total += encoder.mu.weights.size + encoder.logvar.weights.size
        return total


def integer_model(student: Student, quantization: Quantization, spec: ModelSpec) -> IntegerModel:
    """Round a student to integers.

    Parameters
    ----------
    student : Student
        In any mode; batch norms are folded.
    quantization : Quantization
        Of the bundle: its ranges are kept, its zero points and float layers are not needed here.
    spec : ModelSpec

    Raises
    ------
    BundleError
        If a sum of products could leave 32 bits, which the C code relies on.
    """
    folded = fold_batch_norm(student)
    input_scale = spec.preprocess.clip / (1 << INPUT_BITS)
    encoders = []
    for i, encoder in enumerate(folded.encoders):
        assert isinstance(encoder, LeadEncoder)
        scale = input_scale
        convolutions = []
        for k, layer in enumerate(one for one in encoder.features if isinstance(one, nn.Conv2d)):
            name = f"conv{k + 1}"
            made = _layer(name, layer, scale, _scale(quantization, f"encoder{i}.{name}"), rectified=True)
            convolutions.append(made)
            scale = made.scale
        dense = [
            _layer(name, getattr(encoder, name), scale, _scale(quantization, f"encoder{i}.{name}"), rectified=False)
            for name in ("mu", "logvar")
        ]
        encoders.append(IntegerEncoder(tuple(convolutions), *dense))
    return IntegerModel(
        encoders=tuple(encoders),
        groups=student.config.groups,
        fused_head=_values(folded.fused_head.weight),
        lead_heads=np.stack([_values(head.weight) for head in folded.lead_heads]),  # type: ignore[arg-type]
        head_bias=_values(folded.fused_head.bias),
        input_scale=input_scale,
        n_samples=spec.preprocess.beat.n_samples,
    )


def quantized_multiplier(value: float) -> tuple[int, int]:
    """Return TFLite's multiplier (31 fractional bits) and shift of a positive real factor."""
    fraction, shift = math.frexp(value)
    multiplier = math.floor(fraction * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier, shift = multiplier >> 1, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def _scale(quantization: Quantization, layer: str) -> float:
    """Return the symmetric 16-bit scale that covers a layer's range."""
    widest = max(abs(bound) for bound in range_of(quantization.activations[layer]))
    return float(np.float32(ROOM * widest / ACTIVATION_LIMIT))


@torch.inference_mode()
def _layer(
    name: str, layer: nn.Conv2d | nn.Linear, scale_in: float, scale_out: float, *, rectified: bool
) -> IntegerLayer:
    assert layer.bias is not None
    weight = layer.weight.detach()
    scales = weight_scales(weight).numpy().astype(np.float32)
    rows = weight.reshape(len(scales), weight.shape[1], -1).numpy()
    steps = np.clip(np.rint(rows / scales[:, None, None]), -WEIGHT_LIMIT, WEIGHT_LIMIT)
    weights = np.ascontiguousarray(steps.transpose(0, 2, 1)).astype(np.int8)
    of_products = scale_in * scales.astype(np.float64)
    bias = np.rint(layer.bias.detach().numpy() / of_products).astype(np.int64)
    found = [quantized_multiplier(float(one) / scale_out) for one in of_products]
    made = IntegerLayer(
        name=name,
        weights=weights,
        bias=bias,
        multiplier=np.array([multiplier for multiplier, _ in found], dtype=np.int32),
        shift=np.array([shift for _, shift in found], dtype=np.int32),
        weight_scale=scales,
        scale=scale_out,
        stride=layer.stride[1] if isinstance(layer, nn.Conv2d) else 1,
        padding=int(layer.padding[1]) if isinstance(layer, nn.Conv2d) else 0,
        rectified=rectified,
    )
    if made.largest_sum().max() >= 1 << 31:
        raise BundleError(
            f"A sum of products of {name} can leave 32 bits.",
            "Choose a smaller student.",
        )
    if any(multiplier and shift >= 0 for multiplier, shift in found):
        raise BundleError(f"A factor of {name} is above one half, which the C code does not take.", "Quantize it anew.")
    return made


def _values(tensor: torch.Tensor) -> NDArray[np.float64]:
    return tensor.detach().numpy().astype(np.float64)
