"""What a full-precision model is, as configuration: every figure that decides its weights' shapes."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from lsemvae_edge.model import LSEMVAE
from lsemvae_edge.model.fusion import Fusion
from lsemvae_edge.model.lsemvae import DecoderKind, EncoderKind


class ModelConfig(BaseModel):
    """An LS-EMVAE and the recipe of its input; see `lsemvae_edge.model.LSEMVAE`.

    Parameters
    ----------
    recipe : str
        Name in `lsemvae_edge.train.recipes.RECIPES`; shards made with another are refused.
    objective : str
        ``published``: divergence and alignment look at the plain mean over leads. ``posterior``: at the posterior that
        was sampled.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Literal["reference", "edge"] = "reference"
    n_leads: int = 12
    latent_dim: int = 256
    n_samples: int = 5000
    fusion: Fusion = "reference"
    objective: Literal["published", "posterior"] = "published"
    encoder: EncoderKind = "reference"
    decoder: DecoderKind = "shared"
    channels: tuple[int, ...] = (16, 24, 32)
    strides: tuple[int, ...] = (4, 2, 2)

    def build(self) -> LSEMVAE:
        """Return the model with fresh weights; seed torch before."""
        return LSEMVAE(
            self.n_leads,
            self.latent_dim,
            self.n_samples,
            self.fusion,
            encoder=self.encoder,
            decoder=self.decoder,
            channels=self.channels,
            strides=self.strides,
        )


_COMPACT = ModelConfig(
    recipe="edge",
    latent_dim=16 * 58,
    n_samples=928,
    fusion="masked",
    objective="posterior",
    encoder="pooled",
    decoder="conditioned",
)

PRESETS: dict[str, ModelConfig] = {
    "reference": ModelConfig(),
    "reference-no-moe": ModelConfig(fusion="poe"),
    "reference-no-poe": ModelConfig(fusion="average"),
    "compact": _COMPACT,
    "compact-hime": _COMPACT.model_copy(update={"fusion": "hime"}),
    "compact-no-poe": _COMPACT.model_copy(update={"fusion": "average"}),
    "mvae": _COMPACT.model_copy(update={"fusion": "poe"}),
    "mmvae": _COMPACT.model_copy(update={"fusion": "moe"}),
    "mopoe": _COMPACT.model_copy(update={"fusion": "mopoe"}),
}
"""Models by name."""
