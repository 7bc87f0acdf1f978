"""The student with its rounding written out: what int8 means here, in torch.

It is the reference that every runtime's int8 form is compared with, what quantization-aware training trains, and
what ExecuTorch programs and ONNX files are made from.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsemvae_edge.manifest import Quantization, Step
from lsemvae_edge.model import Student, StudentOutput, fold_batch_norm
from lsemvae_edge.model.student import LOGVAR_BOUND, LeadEncoder
from lsemvae_edge.quantize.scheme import HIGH, LOW, SIGNAL, WEIGHT_LIMIT, weight_scales
from lsemvae_edge.runtime import Output

Layer = nn.Conv2d | nn.Linear
Watch = Callable[[str, Tensor], None]


class QuantizedLayer(nn.Module):
    """A convolution or dense layer whose weights are int8, or stay in floating point.

    Parameters
    ----------
    layer : Conv2d or Linear
    rounded : bool
    """

    def __init__(self, layer: Layer, rounded: bool) -> None:
        super().__init__()
        self.rounded = rounded
        self.convolution = (layer.stride, layer.padding) if isinstance(layer, nn.Conv2d) else None
        weight = layer.weight.detach()
        assert layer.bias is not None
        self.register_buffer("bias", layer.bias.detach().clone())
        if rounded:
            scales = weight_scales(weight)
            steps = torch.round(weight / scales.reshape(-1, *[1] * (weight.dim() - 1)))
            self.register_buffer("weight", steps.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT).to(torch.int8))
            self.register_buffer("scales", scales)
            self.register_buffer("zero_points", torch.zeros(len(scales), dtype=torch.int64))
        else:
            self.register_buffer("weight", weight.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to real values."""
        weight: Tensor = self.weight  # type: ignore[assignment]
        bias: Tensor = self.bias  # type: ignore[assignment]
        if self.rounded:
            weight = torch.ops.quantized_decomposed.dequantize_per_channel(
                weight, self.scales, self.zero_points, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT, torch.int8
            )
        if self.convolution is None:
            return nn.functional.linear(x, weight, bias)
        stride, padding = self.convolution
        return nn.functional.conv2d(x, weight, bias, stride, padding)


class Given:
    """What a layer gave, in integers if it has a step; each reader turns them back by itself.

    ExecuTorch's delegate splits where two layers share that.
    """

    def __init__(self, values: Tensor, step: Step | None) -> None:
        self.step = step
        self._kept = values
        if step is not None:
            self._kept = torch.ops.quantized_decomposed.quantize_per_tensor(values, *_told(step))

    def read(self) -> Tensor:
        """Return real values."""
        if self.step is None:
            return self._kept
        real: Tensor = torch.ops.quantized_decomposed.dequantize_per_tensor(self._kept, *_told(self.step))
        return real


class QuantizedEncoder(nn.Module):
    """A lead's encoder with rounded activations; forward as `LeadEncoder`'s.

    ``layer`` and ``given`` are how weights and activations are rounded: here in the operators that exporters know.
    """

    layer: type[nn.Module] = QuantizedLayer
    given: type[Given] = Given

    def __init__(self, encoder: LeadEncoder, name: str, quantization: Quantization) -> None:
        super().__init__()
        self.name = name
        self.steps = {
            layer.removeprefix(f"{name}."): step
            for layer, step in quantization.activations.items()
            if layer.startswith(f"{name}.") or layer == SIGNAL
        }
        self.in_float = {
            layer.removeprefix(f"{name}.") for layer in quantization.float_layers if layer.startswith(f"{name}.")
        }
        convolutions = [layer for layer in encoder.features if isinstance(layer, nn.Conv2d)]
        self.convolutions = nn.ModuleList(
            self.layer(layer, f"conv{k + 1}" not in self.in_float) for k, layer in enumerate(convolutions)
        )
        self.pool = encoder.pool
        self.mu = self.layer(encoder.mu, "mu" not in self.in_float)
        self.logvar = self.layer(encoder.logvar, "logvar" not in self.in_float)
        self.watch: Watch | None = None

    def forward(self, lead: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and log-variance (batch, latent_dim) of a lead (batch, 1, 1, n_samples)."""
        order = [*(f"conv{k + 1}" for k in range(len(self.convolutions))), "pool"]
        x = self.given(lead, None if order[0] in self.in_float else self.steps[SIGNAL])
        for layer, convolution, following in zip(order[:-1], self.convolutions, order[1:], strict=True):
            x = self._give(layer, torch.relu(convolution(x.read())), following in self.in_float)
        pooled = self._give("pool", self.pool(x.read()), bool({"mu", "logvar"} & self.in_float))
        flat = self.given(torch.flatten(pooled.read(), 1), pooled.step)
        mu = self._give("mu", self.mu(self._as_read("mu", flat)), True).read()
        logvar = self._give("logvar", self.logvar(self._as_read("logvar", flat)), True).read()
        return mu, torch.clamp(logvar, -LOGVAR_BOUND, LOGVAR_BOUND)

    def _as_read(self, layer: str, pooled: Given) -> Tensor:
        """Round what was pooled in floating point for a dense layer that reads integers."""
        if pooled.step is None and layer not in self.in_float:
            return self.given(pooled.read(), self.steps["pool"]).read()
        return pooled.read()

    def _give(self, layer: str, values: Tensor, next_in_float: bool) -> Given:
        """Round a layer's output, unless it is in floating point and so is what reads it."""
        given = self.given(values, None if layer in self.in_float and next_in_float else self.steps[layer])
        if self.watch is not None:
            self.watch(f"{self.name}.{layer}", given.read())
        return given


class QuantizedStudent(nn.Module):
    """A student with rounded encoders; fusion and heads are in floating point.

    Parameters
    ----------
    student : Student
        In any mode; batch norms are folded first.
    quantization : Quantization

    Notes
    -----
    ``forward`` takes what the student's takes and returns a plain tuple in the order of `StudentOutput`.
    """

    encoder: type[QuantizedEncoder] = QuantizedEncoder

    def __init__(self, student: Student, quantization: Quantization) -> None:
        super().__init__()
        # Registers the operators that write the rounding down.
        import torchao.quantization.pt2e  # noqa: F401

        self.student = fold_batch_norm(student)
        encoders = list(self.student.encoders)
        self.student.encoders = nn.ModuleList(
            self.encoder(encoder, f"encoder{i}", quantization)  # type: ignore[arg-type]
            for i, encoder in enumerate(encoders)
        )
        self.eval()

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Give the fields of `StudentOutput`."""
        return tuple(self.student(x, mask))

    @torch.inference_mode()
    def activations(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Run it and keep what each layer gives, by the names of `scheme.layer_names`."""
        kept: dict[str, Tensor] = {}
        encoders = [encoder for encoder in self.student.encoders if isinstance(encoder, QuantizedEncoder)]
        for encoder in encoders:
            encoder.watch = kept.__setitem__
        self(x, mask)
        for encoder in encoders:
            encoder.watch = None
        return kept


class FloatStudent(nn.Module):
    """A student with folded batch norms that returns a plain tuple in the order of `StudentOutput`."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = fold_batch_norm(student)
        self.eval()

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Give the fields of `StudentOutput`."""
        return tuple(self.student(x, mask))


def exportable(student: Student, quantization: Quantization | None) -> nn.Module:
    """Return the form of a student that exporters take: int8 if a quantization is given, else float."""
    return FloatStudent(student) if quantization is None else QuantizedStudent(student, quantization)


@torch.inference_mode()
def ask(model: nn.Module, x: Tensor, mask: Tensor) -> StudentOutput:
    """Run a form of the student on a batch."""
    return StudentOutput(*model(x, mask))


class TorchSession:
    """A form of the student in torch, asked like a `Session`."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def run(self, signal: NDArray[np.float32], mask: NDArray[np.float32] | None = None) -> Output:
        """Run the model on one input; see `Session.run`."""
        shown = np.ones(len(signal), dtype=np.float32) if mask is None else mask
        output = ask(self._model, torch.from_numpy(signal)[None, :, None], torch.from_numpy(shown)[None])
        logits, mu, logvar, _, _, contributions = (part[0].numpy() for part in output)
        return Output(logits, mu, logvar, contributions.reshape(len(signal), -1), signal)


def _told(step: Step) -> tuple[float, int, int, int, torch.dtype]:
    return step.scale, step.zero_point, LOW, HIGH, torch.int8
