"""Which leads and moments a score rests on, by integrated gradients (Sundararajan et al. 2017, ICML)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor

from lsemvae_edge.errors import BadInputError

Logit = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Saliency:
    """Attributions of a logit to the samples of its input, against a baseline of zero.

    Parameters
    ----------
    leads : tuple of str
        Names of the rows.
    signal : array (n, n_leads, n_samples), float32
        What was attributed.
    attribution : array (n, n_leads, n_samples), float32
        Signed; a record's sum is its logit minus that of the baseline, but for ``delta``.
    by_lead : array (n, n_leads)
        Sum of the attributions' sizes over time, as a share of all leads; a row sums to 1, or is 0 for a model that
        does not react at all.
    logit, logit_of_zero : array (n,)
    delta : array (n,)
        What completeness misses: sum of attributions less the difference of logits. The more steps, the smaller.
    """

    leads: tuple[str, ...]
    signal: NDArray[np.float32]
    attribution: NDArray[np.float32]
    by_lead: NDArray[np.float64]
    logit: NDArray[np.float64]
    logit_of_zero: NDArray[np.float64]
    delta: NDArray[np.float64]

    @property
    def relative_delta(self) -> float:
        """Mean size of ``delta`` over the mean size of the logits' differences: below 0.05 is usual and good."""
        difference = float(np.abs(self.logit - self.logit_of_zero).mean())
        return float(np.abs(self.delta).mean()) / difference if difference else float("nan")

    def mean_by_lead(self) -> dict[str, float]:
        """Return each lead's share, averaged over records."""
        return dict(zip(self.leads, self.by_lead.mean(axis=0).tolist(), strict=True))


def integrated_gradients(
    model: Logit,
    signals: NDArray[np.floating],
    leads: tuple[str, ...],
    *,
    n_steps: int = 64,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
) -> Saliency:
    """Attribute a model's logit to the samples of its input.

    The baseline is zero, which for a filtered, scaled ECG is a flat line. A share by lead says what the model uses, not
    what disease shows; leads that follow from each other by algebra may swap their shares without the logit changing.

    Parameters
    ----------
    model : callable
        From a tensor (batch, n_leads, n_samples) to logits (batch,), in evaluation mode: a record's logit may not
        depend on the other records of its batch, nor on chance.
    signals : array (n, n_leads, n_samples)
    leads : tuple of str
        Names of the rows.
    n_steps : int
        Points of the path from zero to the signal (Gauss-Legendre).
    batch_size : int
        Records at a time; ``n_steps`` copies of one are evaluated together.
    device : torch.device or str
        Where the model is.

    Returns
    -------
    Saliency

    Raises
    ------
    BadInputError
        If the shapes do not fit, or the model does not give one logit a record.
    """
    if signals.ndim != 3 or signals.shape[1] != len(leads) or not len(signals):
        raise BadInputError(f"Signals of shape {signals.shape} do not fit {len(leads)} leads.")
    method = IntegratedGradients(model)
    parts: list[NDArray[np.float32]] = []
    logits: list[NDArray[np.float64]] = []
    for first in range(0, len(signals), batch_size):
        x = torch.as_tensor(np.ascontiguousarray(signals[first : first + batch_size], dtype=np.float32), device=device)
        zero = torch.zeros_like(x)
        with torch.no_grad():
            at_both = [model(point).double().cpu() for point in (x, zero)]
        if at_both[0].shape != (len(x),):
            raise BadInputError(f"The model gave {tuple(at_both[0].shape)} for {len(x)} records, not one logit each.")
        found = method.attribute(
            x, zero, n_steps=n_steps, method="gausslegendre", internal_batch_size=max(n_steps, len(x))
        )
        parts.append(found.detach().cpu().numpy().astype(np.float32))
        logits.append(torch.stack(at_both).numpy())
    attribution, (logit, logit_of_zero) = np.concatenate(parts), np.concatenate(logits, axis=1)
    size = np.abs(attribution).sum(axis=2, dtype=np.float64)
    total = size.sum(axis=1, keepdims=True)
    return Saliency(
        leads=tuple(leads),
        signal=np.asarray(signals, dtype=np.float32),
        attribution=attribution,
        by_lead=np.divide(size, total, out=np.zeros_like(size), where=total > 0),
        logit=logit,
        logit_of_zero=logit_of_zero,
        delta=attribution.sum(axis=(1, 2), dtype=np.float64) - (logit - logit_of_zero),
    )
