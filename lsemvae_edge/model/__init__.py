"""LS-EMVAE in torch: every lead a modality, each with an encoder that gives a Gaussian expert.

Source: "Multimodal Lead-Specific Modeling of ECG for Low-Cost Pulmonary Hypertension Assessment", arXiv:2503.13470.
"""

from lsemvae_edge.model.experts import Fused, hierarchical_fusion, product_of_experts
from lsemvae_edge.model.lsemvae import LSEMVAE, LSEMVAEOutput
from lsemvae_edge.model.student import SIZES, Student, StudentConfig, StudentOutput, channels_last, fold_batch_norm

__all__ = [
    "LSEMVAE",
    "SIZES",
    "Fused",
    "LSEMVAEOutput",
    "Student",
    "StudentConfig",
    "StudentOutput",
    "channels_last",
    "fold_batch_norm",
    "hierarchical_fusion",
    "product_of_experts",
]
