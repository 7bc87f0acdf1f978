"""LS-EMVAE at full precision: every ECG lead a modality with an encoder of its own (arXiv:2503.13470)."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.leads import LIMB_LEADS, LIMB_MATRIX, STANDARD_12
from lsemvae_edge.model import fusion as fusions
from lsemvae_edge.model.fusion import FUSIONS, LOGVAR_BOUND, Fusion

EncoderKind = Literal["reference", "pooled"]
DecoderKind = Literal["shared", "conditioned"]
COMPILED_PREFIX = "_orig_mod."


class LSEMVAEOutput(NamedTuple):
    """What a training step needs.

    ``recon`` is (batch, n_samples) from a shared decoder and (batch, n_leads, n_samples) from a conditioned one;
    ``mu`` and ``logvar`` are the experts, (n_leads, batch, latent_dim); ``fused_mu`` and ``fused_logvar`` are the
    posterior that was sampled, (batch, latent_dim).
    """

    recon: Tensor
    mu: Tensor
    logvar: Tensor
    fused_mu: Tensor
    fused_logvar: Tensor


class LSEMVAE(nn.Module):
    """Multimodal variational autoencoder with one encoder for each lead and one decoder.

    Parameters
    ----------
    n_leads : int
        12, or any other number with an encoder and a decoder of kinds ``reference`` and ``shared``.
    latent_dim : int
        Length of a latent vector. A ``pooled`` encoder gives ``latent_dim // steps`` channels at each of its
        ``steps = n_samples // pooled_stride`` time steps, channel by channel.
    n_samples : int
        Samples of each lead.
    fusion : str
        ``reference``: the published model, exact. ``hime``: the prior stays an expert, log-variances are bounded.
        ``masked``: as ``hime``, and any subset of leads may be present. ``average``: the leads' parameters averaged.
        Baselines: ``poe`` (MVAE), ``moe`` (MMVAE), ``mopoe`` (MoPoE); the last two sample a component in training and
        use the average and the full product otherwise.
    encoder : str
        ``reference``: three strided convolutions and two dense layers. ``pooled``: convolutions with batch norm and
        latents in time, which any shift of the signal shifts along.
    decoder : str
        ``shared``: one waveform for all leads, as published. ``conditioned``: one waveform for each lead.
    channels : tuple of int
        Widths of a pooled encoder.
    strides : tuple of int
        Strides of a pooled encoder.

    Raises
    ------
    UsageError
        If the sizes do not fit together.
    """

    def __init__(
        self,
        n_leads: int = 12,
        latent_dim: int = 256,
        n_samples: int = 5000,
        fusion: Fusion = "reference",
        *,
        encoder: EncoderKind = "reference",
        decoder: DecoderKind = "shared",
        channels: tuple[int, ...] = (16, 24, 32),
        strides: tuple[int, ...] = (4, 2, 2),
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise UsageError(f"There is no fusion called {fusion}.", f"Choose one of {', '.join(FUSIONS)}.")
        if encoder not in get_args(EncoderKind) or decoder not in get_args(DecoderKind):
            raise UsageError(f"There is no encoder {encoder} with a decoder {decoder}.", "See LSEMVAE's docstring.")
        self.n_leads, self.latent_dim, self.n_samples = n_leads, latent_dim, n_samples
        self.fusion: Fusion = fusion
        if encoder == "reference":
            _divides(8, n_samples, "n_samples")
            self.encoders = nn.ModuleList(ReferenceEncoder(n_samples, latent_dim) for _ in range(n_leads))
        else:
            self.encoders = nn.ModuleList(
                PooledEncoder(n_samples, latent_dim, channels, strides) for _ in range(n_leads)
            )
        if decoder == "shared":
            _divides(8, n_samples, "n_samples")
            self.shared_decoder: nn.Module = SharedDecoder(n_samples, latent_dim)
        else:
            if n_leads not in (len(LIMB_LEADS), len(STANDARD_12)):
                raise UsageError("A conditioned decoder knows the 6 limb leads or the 12 standard leads.")
            self.shared_decoder = ConditionedDecoder(n_leads, n_samples, latent_dim, channels, strides)

    @property
    def noise_dim(self) -> int:
        """Normal numbers that `forward` needs for each record."""
        return self.latent_dim + (self.n_leads if self.fusion in ("moe", "mopoe") else 0)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return every lead's expert.

        Parameters
        ----------
        x : Tensor (batch, n_leads, n_samples)

        Returns
        -------
        mu, logvar : Tensor (n_leads, batch, latent_dim)
        """
        experts = [encoder(x[:, i : i + 1]) for i, encoder in enumerate(self.encoders)]
        mu, logvar = torch.stack([m for m, _ in experts]), torch.stack([v for _, v in experts])
        if self.fusion != "reference":
            logvar = logvar.clamp(-LOGVAR_BOUND, LOGVAR_BOUND)
        return mu, logvar

    def fuse(self, mu: Tensor, logvar: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the joint posterior of the leads.

        Parameters
        ----------
        mu, logvar : Tensor (n_leads, batch, latent_dim)
        mask : Tensor (batch, n_leads) of bool, optional
            Leads that are present; only for ``fusion="masked"``.

        Returns
        -------
        mu, logvar : Tensor (batch, latent_dim)
        """
        if mask is not None and self.fusion != "masked":
            raise UsageError(f"Fusion {self.fusion} cannot leave leads out.", 'Use fusion="masked".')
        if self.fusion == "reference":
            return fusions.reference(mu, logvar)
        if self.fusion in ("hime", "masked"):
            return fusions.hime(mu, logvar, mask)
        if self.fusion in ("moe", "average"):
            return fusions.mixture(mu, logvar)
        return fusions.product(mu, logvar, torch.ones_like(mu[:, :, :1]))

    def decode(self, z: Tensor) -> Tensor:
        """Return the waveform (batch, n_samples) of all leads, or one each: (batch, n_leads, n_samples)."""
        recon: Tensor = self.shared_decoder(z)
        return recon

    def forward(self, x: Tensor, mask: Tensor | None = None, noise: Tensor | None = None) -> LSEMVAEOutput:
        """Encode, fuse, sample and decode.

        Parameters
        ----------
        x : Tensor (batch, n_leads, n_samples)
        mask : Tensor (batch, n_leads) of bool, optional
            Leads that are present; only for ``fusion="masked"``.
        noise : Tensor (batch, noise_dim), optional
            Standard normal numbers; drawn if not given.
        """
        if noise is None:
            noise = torch.randn(len(x), self.noise_dim, device=x.device)
        noise = noise.to(x.device)
        mu, logvar = self.encode(x)
        if self.training and self.fusion in ("moe", "mopoe"):
            uniform = torch.special.ndtr(noise[:, self.latent_dim :])
            draw = fusions.one_expert if self.fusion == "moe" else fusions.random_product
            fused_mu, fused_logvar = draw(mu, logvar, uniform)
        else:
            fused_mu, fused_logvar = self.fuse(mu, logvar, mask)
        z = fused_mu + noise[:, : self.latent_dim].to(fused_mu.dtype) * torch.exp(0.5 * fused_logvar)
        return LSEMVAEOutput(self.decode(z), mu, logvar, fused_mu, fused_logvar)

    def load_reference_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Load the weights of a published checkpoint, strictly.

        Parameters
        ----------
        state_dict : mapping of str to Tensor
            Keys ``encoders.{i}.conv1|conv2|conv3|fc_mu|fc_logvar.*`` and
            ``shared_decoder.fc|convtrans1|convtrans2|convtrans3.*``, each maybe behind ``_orig_mod.``.

        Raises
        ------
        BadInputError
            If a key is missing, unknown or given twice, or a shape differs.
        """
        plain = {key.removeprefix(COMPILED_PREFIX): value for key, value in state_dict.items()}
        if len(plain) != len(state_dict):
            raise BadInputError(
                "The checkpoint gives some weights twice, with and without `_orig_mod.`.", "Keep one copy of each."
            )
        try:
            self.load_state_dict(plain, strict=True)
        except RuntimeError as error:
            raise BadInputError(
                f"These are not the weights of this model: {error}",
                "Build LSEMVAE with the checkpoint's leads, samples and latent size, encoder and decoder as published.",
            ) from error


class ReferenceEncoder(nn.Module):
    """The published encoder of one lead: (batch, 1, n_samples) to mu and logvar, each (batch, latent_dim)."""

    def __init__(self, n_samples: int, latent_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, 16, 3, stride=2, padding=1)
        self.conv2 = nn.Conv1d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(32, 64, 3, stride=2, padding=1)
        self.fc_mu = nn.Linear(64 * n_samples // 8, latent_dim)
        self.fc_logvar = nn.Linear(64 * n_samples // 8, latent_dim)

    def forward(self, lead: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.conv1(lead))
        hidden = torch.relu(self.conv2(hidden))
        hidden = torch.relu(self.conv3(hidden)).flatten(1)
        return self.fc_mu(hidden), self.fc_logvar(hidden)


class SharedDecoder(nn.Module):
    """The published decoder: (batch, latent_dim) to one waveform (batch, n_samples)."""

    def __init__(self, n_samples: int, latent_dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(latent_dim, 64 * n_samples // 8)
        self.convtrans1 = nn.ConvTranspose1d(64, 32, 4, stride=2, padding=1)
        self.convtrans2 = nn.ConvTranspose1d(32, 16, 4, stride=2, padding=1)
        self.convtrans3 = nn.ConvTranspose1d(16, 1, 4, stride=2, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        hidden = self.fc(z).unflatten(1, (64, -1))
        hidden = torch.relu(self.convtrans1(hidden))
        hidden = torch.relu(self.convtrans2(hidden))
        waveform: Tensor = self.convtrans3(hidden)[:, 0]
        return waveform


class PooledEncoder(nn.Module):
    """Convolutions with batch norm; mu and logvar are maps in time, flattened to (batch, latent_dim).

    Convolutions are two-dimensional with kernels (1, k) and weights laid out channels last: the layout that the student
    has, and twice as quick on a CPU as one-dimensional ones.
    """

    def __init__(self, n_samples: int, latent_dim: int, channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__()
        self.steps = _steps(n_samples, strides)
        _divides(self.steps, latent_dim, "latent_dim")
        layers: list[nn.Module] = []
        n_in = 1
        for i, (n_out, stride) in enumerate(zip(channels, strides, strict=True)):
            layers.append(conv_block(n_in, n_out, 15 if i == 0 else 5, stride))
            n_in = n_out
        self.features = nn.Sequential(*layers)
        self.mu = nn.Conv2d(n_in, latent_dim // self.steps, 1)
        self.logvar = nn.Conv2d(n_in, latent_dim // self.steps, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def maps(self, lead: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (batch, channels, 1, steps), and mu and logvar, each (batch, latent_dim)."""
        features = self.features(lead[:, :, None])
        return features, self.mu(features).flatten(1), self.logvar(features).flatten(1)

    def forward(self, lead: Tensor) -> tuple[Tensor, Tensor]:
        return self.maps(lead)[1:]


def conv_block(n_in: int, n_out: int, kernel: int, stride: int) -> nn.Sequential:
    """Return convolution in time, batch norm and ReLU on (batch, channels, 1, n_samples)."""
    convolution = nn.Conv2d(n_in, n_out, (1, kernel), stride=(1, stride), padding=(0, kernel // 2), bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU())


class ConditionedDecoder(nn.Module):
    """One waveform for each lead from latents in time.

    A shared trunk ends in one output for each independent lead (I, II, and the chest leads if there are 12); the other
    limb leads follow by algebra, so that a reconstruction obeys Einthoven's law and the limb leads keep rank 2.
    """

    limb_matrix: Tensor

    def __init__(
        self, n_leads: int, n_samples: int, latent_dim: int, channels: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.n_samples = n_samples
        self.steps = _steps(n_samples, strides)
        _divides(self.steps, latent_dim, "latent_dim")
        n_independent = n_leads - len(LIMB_LEADS) + 2
        widths = [32, *(2 * width for width in reversed(channels))]
        layers: list[nn.Module] = [nn.Conv1d(latent_dim // self.steps, widths[0], 5, padding=2), nn.ReLU()]
        for n_in, n_out, stride in zip(widths, widths[1:], reversed(strides), strict=False):
            layers += [nn.Upsample(scale_factor=stride), nn.Conv1d(n_in, n_out, 5, padding=2), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.leads = nn.Conv1d(widths[len(strides)], n_independent, 7, padding=3)
        self.register_buffer("limb_matrix", torch.tensor(LIMB_MATRIX, dtype=torch.float32), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        independent = self.leads(self.trunk(z.reshape(len(z), -1, self.steps)))
        limb = self.limb_matrix.to(independent.dtype) @ independent[:, :2]
        return torch.cat([limb, independent[:, 2:]], dim=1)


def _steps(n_samples: int, strides: tuple[int, ...]) -> int:
    total = 1
    for stride in strides:
        total *= stride
    _divides(total, n_samples, "n_samples")
    return n_samples // total


def _divides(divisor: int, value: int, name: str) -> None:
    if value % divisor:
        raise UsageError(f"{name} must be a multiple of {divisor}, not {value}.", f"Choose {name} accordingly.")
