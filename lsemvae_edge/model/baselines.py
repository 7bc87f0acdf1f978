"""Networks over all leads at once, which LS-EMVAE is measured against."""

import torch
from torch import Tensor, nn


class PlainCNN(nn.Module):
    """Strided convolutions over all leads together: (batch, n_leads, 1, n_samples) to logits (batch, n_outputs)."""

    def __init__(self, n_leads: int = 6, n_outputs: int = 4, channels: tuple[int, ...] = (32, 64, 64, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in = n_leads
        for n_out in channels:
            layers += [nn.Conv1d(n_in, n_out, 7, stride=2, padding=3, bias=False), nn.BatchNorm1d(n_out), nn.ReLU()]
            n_in = n_out
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(n_in, n_outputs))

    def forward(self, x: Tensor) -> tuple[Tensor, None, None]:
        """Return the logits in the place where the student has them."""
        return self.head(self.features(x[:, :, 0]).mean(dim=2)), None, None


class XResNet1d(nn.Module):
    """Residual network in the manner of xresnet1d: (batch, n_leads, n_samples) to logits (batch, n_outputs).

    A stem of three convolutions, stages of two residual blocks whose short cuts pool before they project, batch norms
    of the last convolutions started at zero, and the average and maximum over time before the head.

    Sources: He et al., arXiv:1812.01187; for ECG, Strodthoff et al., arXiv:2004.13701. Kernels and widths are smaller,
    as windows at 125 Hz need.
    """

    def __init__(self, n_leads: int = 12, n_outputs: int = 2, widths: tuple[int, ...] = (32, 48, 64, 96)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _conv(n_leads, 32, stride=2), nn.ReLU(), _conv(32, 32), nn.ReLU(), _conv(32, 32), nn.ReLU(),
            nn.MaxPool1d(3, stride=2, padding=1),
        )  # fmt: skip
        blocks: list[nn.Module] = []
        n_in = 32
        for i, width in enumerate(widths):
            blocks += [_Residual(n_in, width, 1 if i == 0 else 2), _Residual(width, width, 1)]
            n_in = width
        self.stages = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(2 * n_in, n_outputs))

    def forward(self, x: Tensor) -> Tensor:
        features = self.stages(self.stem(x))
        logits: Tensor = self.head(torch.cat([features.mean(2), features.amax(2)], dim=1))
        return logits


class _Residual(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        last = _conv(n_out, n_out)
        assert isinstance(last[1], nn.BatchNorm1d)
        nn.init.zeros_(last[1].weight)
        self.convolutions = nn.Sequential(_conv(n_in, n_out, stride=stride), nn.ReLU(), last)
        shortcut: list[nn.Module] = [nn.AvgPool1d(2, ceil_mode=True)] if stride == 2 else []
        if n_in != n_out:
            shortcut.append(_conv(n_in, n_out, kernel=1))
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.convolutions(x) + self.shortcut(x))


def _conv(n_in: int, n_out: int, *, kernel: int = 5, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv1d(n_in, n_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm1d(n_out))
