import numpy as np
import pytest

from lsemvae_edge.errors import UsageError
from lsemvae_edge.leads import STANDARD_12, consistency_residual
from lsemvae_edge.synthetic.electrodes import add_noise, contact_loss, lead_off
from lsemvae_edge.synthetic.heart import Heart, simulate


@pytest.mark.parametrize("kind", ["white", "muscle", "mains50", "mains60", "wander", "motion"])
def test_noise_has_the_power_asked_for_and_keeps_einthoven(kind):
    clean = simulate(Heart(), seed=12)
    noisy = add_noise(clean, kind, 10, seed=3)
    noise = (noisy.signal_mv - clean.signal_mv)[:2]
    signal = clean.signal_mv[:2] - np.median(clean.signal_mv[:2], axis=1, keepdims=True)
    assert 10 * np.log10(np.mean(signal**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.05)
    assert consistency_residual(noisy.limb()) < 1e-5
    power = (np.abs(np.fft.rfft(noise)) ** 2).sum(axis=0)
    hertz = np.fft.rfftfreq(clean.n_samples, 1 / clean.fs_hz)
    bands = {"white": (0, 250), "muscle": (18, 155), "mains50": (49, 51), "mains60": (59, 61), "wander": (0, 0.6)}
    band = {**bands, "motion": (0, 10)}[kind]
    assert power[(hertz >= band[0]) & (hertz <= band[1])].sum() > 0.9 * power.sum()


def test_motion_begins_suddenly_and_fades():
    clean = simulate(Heart(wander_mv=0), seed=12)
    noise = np.abs(add_noise(clean, "motion", 0, seed=3).signal_mv - clean.signal_mv)[0]
    step = np.abs(np.diff(noise))
    assert step.max() > 50 * np.median(step)


def test_unknown_noise_is_refused():
    with pytest.raises(UsageError, match="Unknown noise"):
        add_noise(simulate(Heart(), 2), "rain", 10)


@pytest.mark.parametrize(("electrode", "untouched"), [("RA", "III"), ("LA", "II"), ("LL", "I"), ("C2", "II")])
def test_a_loose_electrode_spoils_its_leads_only(electrode, untouched):
    clean = simulate(Heart(), seed=13)
    loose = lead_off(clean, electrode, 2.0, 6.0, seed=1)
    change = np.abs(loose.signal_mv - clean.signal_mv)
    assert change[STANDARD_12.index(untouched)].max() < 1e-6
    assert change[:, : 2 * 500].max() == 0
    assert change[:, 6 * 500 :].max() == 0
    assert np.count_nonzero(change.max(axis=1) > 0.1) == (1 if electrode == "C2" else 11)


def test_an_unknown_electrode_is_refused():
    with pytest.raises(UsageError, match="electrode"):
        lead_off(simulate(Heart(), 2), "N")


def test_contact_loss_is_a_gap_in_every_lead():
    record = contact_loss(simulate(Heart(), 5), 1.0, 1.5)
    assert record.gaps[:, 500:750].all()
    assert record.gaps.sum() == 12 * 250
