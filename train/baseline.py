"""The plain six-lead CNN that every student is measured against."""

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
