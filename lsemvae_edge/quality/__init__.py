"""Whether a recording can be analysed, where, and what the operator should do if not."""

from lsemvae_edge.quality.assessment import LeadQuality, Quality, assess, unusable

__all__ = ["LeadQuality", "Quality", "assess", "unusable"]
