"""Mixed precision by search: which layers to leave in floating point so that rounding loses no more than is allowed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from lsemvae_edge.manifest import Quantization
from lsemvae_edge.model import Student, fold_batch_norm
from lsemvae_edge.quantize import scheme
from lsemvae_edge.quantize.reference import FloatStudent, QuantizedStudent, ask
from lsemvae_edge.quantize.targets import QuantizationError

RANKED_ON = 200
"""Inputs that candidates are ranked on; what is allowed is measured as the caller measures it."""
_BYTES_MORE = 3
"""A weight in floating point, less one of eight bits."""

Group = tuple[str, ...]
Loss = Callable[[Quantization], float]


@dataclass(frozen=True)
class Left:
    """One decision: ``layers`` stay in floating point, which adds ``more_bytes``.

    ``rms`` is how far logits lie from floating point then, ``loss`` what the caller measured.
    """

    layers: Group
    more_bytes: int
    rms: float
    loss: float


@dataclass(frozen=True)
class Search:
    """What a search found.

    Parameters
    ----------
    quantization : Quantization
        As given, with more layers in floating point where that was needed.
    rms, loss : float
        As given.
    bound : float
    steps : tuple of Left
        In the order in which they were decided; none if the loss was allowed from the first.
    reasons : tuple of str
        The same in words.
    """

    quantization: Quantization
    rms: float
    loss: float
    bound: float
    steps: tuple[Left, ...]
    reasons: tuple[str, ...]

    @property
    def float_layers(self) -> Group:
        """All layers in floating point."""
        return self.quantization.float_layers

    @property
    def more_bytes(self) -> int:
        """How much larger a file becomes by the layers that were found."""
        return sum(step.more_bytes for step in self.steps)


def search(
    student: Student, quantization: Quantization, signals: NDArray[np.float32], allowed: Loss, bound: float
) -> Search:
    """Leave the costliest layers in floating point, one after another, until rounding loses no more than is allowed.

    Two searches are made, and the one that adds fewer bytes counts: over kinds of layers, the same in all leads, and
    over single layers. Each takes the candidate after which logits lie closest to floating point, and in the end
    gives back what turns out not to be needed.

    Parameters
    ----------
    student : Student
    quantization : Quantization
        Its ``float_layers`` stay in floating point.
    signals : array (n, n_leads, n_samples)
        Model inputs to rank candidates on.
    allowed : callable
        Measures the loss of a quantization.
    bound : float
        Largest loss that is allowed.

    Raises
    ------
    QuantizationError
        If the loss is too large with a single kind of layer rounded.
    """
    searching = _Searching(student, quantization, signals, allowed, bound)
    rms, loss = searching.rms(()), allowed(quantization)
    if loss <= bound:
        said = f"No further layer needs floating point: the loss is {loss:.4g}, {bound:.4g} are allowed."
        return Search(quantization, rms, loss, bound, (), (said,))
    found = {
        "kinds of layers": searching.greedy(searching.kinds),
        "single layers": searching.greedy([(layer,) for kind in searching.kinds for layer in kind]),
    }
    sizes = {name: sum(step.more_bytes for step in steps) for name, steps in found.items() if steps is not None}
    if not sizes:
        raise QuantizationError(
            f"Whichever layers are left in floating point, the loss stays above {bound:.4g}.",
            "Check the calibration set, or train on with rounding: `--method qat`.",
        )
    best = min(sizes, key=sizes.__getitem__)
    steps = found[best] or ()
    layers = tuple(sorted({*quantization.float_layers, *(layer for step in steps for layer in step.layers)}))
    return Search(
        replace(quantization, float_layers=layers),
        rms,
        loss,
        bound,
        steps,
        (*_reasons(steps, rms, loss, bound), *(_other(name, size) for name, size in sizes.items() if name != best)),
    )


class _Searching:
    """What both searches share."""

    def __init__(
        self, student: Student, quantization: Quantization, signals: NDArray[np.float32], allowed: Loss, bound: float
    ) -> None:
        self._student, self._quantization = student, quantization
        self._allowed, self._bound = allowed, bound
        few = signals[:: -(-len(signals) // RANKED_ON)]
        self._input = torch.from_numpy(np.ascontiguousarray(few))[:, :, None], torch.ones(few.shape[:2])
        self._exact = ask(FloatStudent(student), *self._input).logits
        self._bytes = more_bytes(student)
        rounded = [layer for layer in self._bytes if layer not in quantization.float_layers]
        kinds = dict.fromkeys(layer.split(".")[1] for layer in rounded)
        self.kinds: list[Group] = [tuple(one for one in rounded if one.endswith(f".{kind}")) for kind in kinds]

    def mixed(self, groups: Iterable[Group]) -> Quantization:
        """Return the quantization with more layers in floating point."""
        more = {layer for group in groups for layer in group}
        return replace(self._quantization, float_layers=tuple(sorted({*self._quantization.float_layers, *more})))

    def rms(self, groups: Iterable[Group]) -> float:
        """Return how far logits lie from floating point."""
        given = ask(QuantizedStudent(self._student, self.mixed(groups)), *self._input).logits
        return float((given - self._exact).square().mean().sqrt())

    def greedy(self, candidates: Sequence[Group]) -> tuple[Left, ...] | None:
        """Search over some groups of layers; None if the bound is not reached before all but one are taken."""
        taken: list[Group] = []
        left = list(candidates)
        while len(left) > 1:
            taken.append(min(left, key=lambda group: self.rms([*taken, group])))
            left.remove(taken[-1])
            if self._allowed(self.mixed(taken)) <= self._bound:
                return self._told(self._needed(taken))
        return None

    def _needed(self, taken: list[Group]) -> list[Group]:
        """Give back groups without which the loss is still allowed, the largest first."""
        for group in sorted(taken[:-1], key=self._size, reverse=True):
            without = [one for one in taken if one != group]
            if self._allowed(self.mixed(without)) <= self._bound:
                taken = without
        return taken

    def _told(self, taken: list[Group]) -> tuple[Left, ...]:
        return tuple(
            Left(
                layers=group,
                more_bytes=self._size(group),
                rms=self.rms(taken[: place + 1]),
                loss=self._allowed(self.mixed(taken[: place + 1])),
            )
            for place, group in enumerate(taken)
        )

    def _size(self, group: Group) -> int:
        return sum(self._bytes[layer] for layer in group)


def more_bytes(student: Student) -> dict[str, int]:
    """Return by how much each layer that has weights makes a file larger if it stays in floating point."""
    folded = fold_batch_norm(student)
    sizes = {}
    for name in scheme.layer_names(student):
        encoder, layer = name.split(".")
        if layer == "pool":
            continue
        number = int(encoder.removeprefix("encoder"))
        place = f"features.{2 * (int(layer.removeprefix('conv')) - 1)}" if layer.startswith("conv") else layer
        sizes[name] = _BYTES_MORE * folded.get_parameter(f"encoders.{number}.{place}.weight").numel()
    return sizes


def _reasons(steps: Sequence[Left], rms: float, loss: float, bound: float) -> tuple[str, ...]:
    said = [f"With {loss:.4g} the loss is above the {bound:.4g} that are allowed."]
    for step in steps:
        said.append(
            f"{', '.join(step.layers)} in floating point: the logits' distance from floating point goes from {rms:.3g} "
            f"to {step.rms:.3g} rms, the loss from {loss:.4g} to {step.loss:.4g}, for {step.more_bytes / 1000:.1f} kB."
        )
        rms, loss = step.rms, step.loss
    return tuple(said)


def _other(name: str, size: int) -> str:
    return f"A search over {name} would have added {size / 1000:.1f} kB."
