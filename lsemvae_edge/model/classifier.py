"""Task models on pre-trained encoders: the published one, and the one for latents in time."""

import torch
from torch import Tensor, nn

from lsemvae_edge.errors import UsageError
from lsemvae_edge.model import fusion as fusions
from lsemvae_edge.model.lsemvae import LSEMVAE, PooledEncoder, conv_block


class LatentClassifier(nn.Module):
    """The published task model: the means of the chosen leads, concatenated, through two dense layers.

    Parameters
    ----------
    pretrained : LSEMVAE
        Its encoders of the chosen leads are taken over, both heads of each; nothing else is.
    leads : tuple of int
        Positions of the leads that are read.
    n_outputs : int
        Logits; 2 for the two classes of one task, as published.
    """

    def __init__(self, pretrained: LSEMVAE, leads: tuple[int, ...], n_outputs: int = 2) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(pretrained.encoders[i] for i in leads)
        self.classifier = nn.Sequential(
            nn.Linear(pretrained.latent_dim * len(leads), 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, n_outputs)
        )

    def means(self, x: Tensor) -> Tensor:
        """Return the concatenated means (batch, n_leads * latent_dim) of leads (batch, n_leads, n_samples)."""
        return torch.cat([encoder(x[:, i : i + 1])[0] for i, encoder in enumerate(self.encoders)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map the chosen leads (batch, n_leads, n_samples) to logits (batch, n_outputs)."""
        logits: Tensor = self.classifier(self.means(x))
        return logits


class PooledClassifier(nn.Module):
    """Features of each lead, and of all leads beside the joint posterior, pooled over time, through two dense layers.

    Pooling comes last, so that a beat counts the same wherever it falls in the window.

    Parameters
    ----------
    pretrained : LSEMVAE
        With ``pooled`` encoders; those of the chosen leads are taken over.
    leads : tuple of int
        Positions of the leads that are read, in groups of three for the fusion.
    n_outputs : int
        Logits.
    width : int
        Channels of each lead after the last convolution.
    joint_width : int
        Channels of the convolutions over the maps of all leads and of the joint posterior together, which see how leads
        relate at each moment, hence the electrical axis.
    hidden : int
    """

    def __init__(
        self,
        pretrained: LSEMVAE,
        leads: tuple[int, ...],
        n_outputs: int,
        *,
        width: int = 48,
        joint_width: int = 64,
        hidden: int = 64,
    ) -> None:
        super().__init__()
        encoders = [pretrained.encoders[i] for i in leads]
        first = encoders[0]
        if not isinstance(first, PooledEncoder):
            raise UsageError("This task model reads pooled encoders.", "Use LatentClassifier.")
        self.encoders = nn.ModuleList(encoders)
        n_features, n_latent = first.mu.in_channels, first.mu.out_channels
        self.n_latent = n_latent
        self.lead_blocks = nn.ModuleList(conv_block(n_features, width, 5, 2) for _ in leads)
        self.joint_block = nn.Sequential(
            conv_block(n_latent * (len(leads) + 1), joint_width, 5, 1), conv_block(joint_width, joint_width, 5, 2)
        )
        self.head = nn.Sequential(
            nn.Linear(width * len(leads) + joint_width, hidden),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(hidden, n_outputs),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits and what they were read from.

        Parameters
        ----------
        x : Tensor (batch, n_leads, n_samples)
        mask : Tensor (batch, n_leads) of bool, optional
            Leads that are present; what an absent lead holds has no influence.

        Returns
        -------
        logits : Tensor (batch, n_outputs)
        pooled : Tensor (batch, width * n_leads + joint_width)
        """
        pooled, mus, logvars = [], [], []
        for i, (encoder, block) in enumerate(zip(self.encoders, self.lead_blocks, strict=True)):
            assert isinstance(encoder, PooledEncoder)
            features, mu, logvar = encoder.maps(x[:, i : i + 1])
            mus.append(mu)
            logvars.append(logvar.clamp(-fusions.LOGVAR_BOUND, fusions.LOGVAR_BOUND))
            seen = block(features).mean((2, 3))
            pooled.append(seen if mask is None else seen * mask[:, i : i + 1])
        joint, _ = fusions.hime(torch.stack(mus), torch.stack(logvars), mask)
        if mask is not None:
            mus = [mu * mask[:, i : i + 1] for i, mu in enumerate(mus)]
        maps = [each.reshape(len(x), self.n_latent, 1, -1) for each in (joint, *mus)]
        pooled.append(self.joint_block(torch.cat(maps, dim=1)).mean((2, 3)))
        together = torch.cat(pooled, dim=1)
        return self.head(together), together
