"""Bad leads point to the electrode that they share."""

import pytest

from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.quality.contact import blamed_electrode, leads_lost_with


@pytest.mark.parametrize(
    ("bad", "electrode"),
    [({"I", "III"}, "LA"), ({"II", "III"}, "LL"), ({"I", "II"}, "RA"), ({"I"}, "LA"), ({"II"}, "LL"), (set(), None)],
)
def test_bad_leads_point_to_the_electrode_they_share(bad: set[str], electrode: str | None) -> None:
    assert blamed_electrode(frozenset(bad)) == electrode


def test_each_loose_electrode_leaves_one_lead() -> None:
    left = {electrode: set(LIMB_LEADS) - leads_lost_with(electrode) for electrode in ("LA", "RA", "LL")}
    assert left == {"LA": {"II"}, "RA": {"III"}, "LL": {"I"}}
