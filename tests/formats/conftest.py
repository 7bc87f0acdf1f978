"""Recordings to write and read again."""

from collections.abc import Callable
from datetime import datetime

import numpy as np
import pytest

from lsemvae_edge.leads import LIMB_LEADS, STANDARD_12, derive_limb_leads
from lsemvae_edge.record import Record

MakeRecord = Callable[..., Record]


@pytest.fixture
def make_record() -> MakeRecord:
    """Six or twelve leads of something that beats, in millivolts."""

    def make(n_samples: int = 1500, fs_hz: float = 300.0, n_leads: int = 6, seed: int = 0, **more: object) -> Record:
        rng = np.random.default_rng(seed)
        t = np.arange(n_samples) / fs_hz
        beat = np.exp(-(((t % 0.8) - 0.4) ** 2) / 0.0004)
        limb = derive_limb_leads(0.5 * beat, 0.9 * beat) + rng.normal(0, 0.01, (6, n_samples))
        chest = rng.normal(0, 0.3, (6, n_samples))
        signal = np.concatenate([limb, chest])[:n_leads].astype(np.float32)
        more.setdefault("started_at", datetime(2024, 3, 4, 5, 6, 7, 890123))
        more.setdefault("meta", {"device": "Kardia 6L", "age_years": 45.0, "sex": "female", "pacemaker": False})
        return Record(signal, fs_hz, STANDARD_12[:n_leads] if n_leads > 6 else LIMB_LEADS[:n_leads], **more)  # type: ignore[arg-type]

    return make
