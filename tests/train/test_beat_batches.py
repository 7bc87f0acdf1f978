"""Batches of average beats."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training runs in torch; the base install has none")
pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge import preprocess  # noqa: E402
from lsemvae_edge.leads import LIMB_MATRIX  # noqa: E402
from lsemvae_edge.synthetic.faults import SWAPS  # noqa: E402
from lsemvae_edge.synthetic.not_ecg import HELD_OUT_KINDS, NOT_ECG  # noqa: E402
from lsemvae_edge.train import beat_batches  # noqa: E402
from lsemvae_edge.train.beat_batches import compose, disturb, scramble, strange_beats, to_input, turn  # noqa: E402

FS_HZ = 125.0
LIMB, ALL = tuple(range(6)), tuple(range(12))
N, N_SAMPLES = 24, 100


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def beats(simulated_inputs):
    """Average beats of twelve leads (24, 12, 100); every third recording has no chest leads."""
    limb = torch.from_numpy(simulated_inputs[:N])
    twelve = torch.cat([limb, 0.5 * limb.flip(1)], dim=1)
    present = torch.ones(N, 12, dtype=torch.bool)
    present[::3, 6:] = False
    return twelve * present[:, :, None], present


@pytest.fixture(scope="module")
def strange():
    return strange_beats(12, 3)


@pytest.fixture
def make(beats, strange):
    def make(leads=LIMB, swapped=6, n_strange=4, alone=0.0, seed=0, signals=None):
        given = beats[0] if signals is None else signals
        return compose(
            given, beats[1], strange,
            leads=leads, fs_hz=FS_HZ, swapped=swapped, n_strange=n_strange, alone=alone, generator=generator(seed),
        )  # fmt: skip

    return make


@pytest.fixture
def undisturbed(monkeypatch):
    """Batches without the random changes that are drawn for each recording."""
    monkeypatch.setattr(beat_batches, "turn", lambda eight, generator: eight)
    monkeypatch.setattr(beat_batches, "disturb", lambda eight, fs_hz, generator: eight)


def test_a_batch_holds_real_swapped_and_strange_inputs(make):
    batch = make()
    assert (batch.n_real, batch.n_swapped, len(batch.x)) == (N, 6, N + 6 + 4)
    assert batch.x.shape[1:] == (6, 1, N_SAMPLES)
    assert torch.isfinite(batch.x).all()
    assert batch.x.abs().max() <= beat_batches.CLIP
    assert (batch.mask == 1).all()


def test_a_teacher_of_twelve_leads_sees_the_chest_leads_that_are_there(make, beats):
    batch = make(ALL, swapped=0, n_strange=0)
    assert batch.x.shape == (N, 12, 1, N_SAMPLES)
    assert torch.equal(batch.mask.bool(), beats[1])
    assert not batch.x[~beats[1]].any(), "what is absent is zero, also after noise"
    assert batch.x[beats[1]].square().mean(dim=(1, 2)).min() > 1e-4


def test_swapped_copies_are_those_of_the_first_recordings(make, undisturbed, beats):
    batch = make(swapped=16, n_strange=0)
    seen = set()
    maps = {kind: torch.tensor(matrix, dtype=torch.float32) for kind, matrix in SWAPS.items()}
    for made, beat in zip(batch.x[N:], beats[0], strict=False):
        matches = []
        for kind, matrix in maps.items():
            six = torch.tensor(LIMB_MATRIX, dtype=torch.float32) @ (matrix @ beat[:2])
            if torch.allclose(to_input(six[None], torch.ones(1, 6))[0], made, atol=1e-4):
                matches.append(kind)
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) > 3


def test_there_are_no_more_swapped_copies_than_recordings(make):
    assert make(swapped=1000).n_swapped == N


def test_half_of_the_strange_inputs_are_scrambled_hearts(make, undisturbed, strange, beats):
    batch = make(swapped=0, n_strange=4)
    six = torch.tensor(LIMB_MATRIX, dtype=torch.float32) @ strange
    known = to_input(six, torch.ones(len(six), 6))
    from_bank = [any(torch.allclose(made, one, atol=1e-4) for one in known) for made in batch.x[N:]]
    assert from_bank == [False, False, True, True]


def test_composing_leaves_the_recordings_and_the_bank_as_they_were(make, beats, strange):
    before = beats[0].clone(), beats[1].clone(), strange.clone()
    make(alone=0.5)
    assert all(torch.equal(a, b) for a, b in zip(before, (*beats, strange), strict=True))


def test_without_changes_the_input_is_that_of_the_device(make, undisturbed, simulated_inputs):
    batch = make(swapped=0, n_strange=0)
    # The fixture's inputs are clipped already; leads that follow from clipped ones are other leads.
    whole = np.abs(simulated_inputs[:N]).max(axis=(1, 2)) < beat_batches.CLIP
    assert whole.sum() > N // 2
    np.testing.assert_allclose(batch.x[whole, :, 0].numpy(), simulated_inputs[:N][whole], atol=1e-4)


@pytest.mark.parametrize("spike", [0.0, 50.0])
def test_scale_and_clip_are_those_of_the_device(simulated_pairs, model_spec, spike):
    spec = model_spec.preprocess
    for pair in simulated_pairs[:6].astype(np.float64):
        beat = pair[:, 300 : 300 + spec.beat.n_samples] - np.median(pair[:, 300 : 300 + spec.beat.n_samples])
        beat[0, 40] += spike
        six = LIMB_MATRIX @ beat
        # The last steps of `preprocess.cut`.
        expected = np.clip(six / np.sqrt(np.mean(six**2)), -spec.clip, spec.clip)
        made = to_input(torch.from_numpy(six.astype(np.float32))[None], torch.ones(1, 6))[0, :, 0]
        np.testing.assert_allclose(made.numpy(), expected, atol=2e-5)
    assert spec.clip == beat_batches.CLIP


def test_a_whole_recording_gives_what_the_device_would_read(heart_record, model_spec):
    from lsemvae_edge.train.recipes import RECIPES

    for axis_deg in (20.0, 120.0):
        record = heart_record(10.0, qrs_axis_deg=axis_deg)
        beat, present = RECIPES["beat"].apply(record)
        made = to_input(torch.from_numpy(beat[None, :6]), torch.from_numpy(present[None, :6]).float())[0, :, 0]
        spec = model_spec.preprocess
        start = (RECIPES["edge"].n_samples - spec.window_samples) // 2
        np.testing.assert_allclose(made.numpy(), preprocess.apply(record, spec, start).signal, atol=2e-5)


def test_the_scale_is_taken_over_the_limb_leads_that_are_there(beats):
    x = beats[0]
    only_two = torch.zeros(N, 12)
    only_two[:, 1] = 1
    made = to_input(x, only_two)[:, :, 0]
    rms = x[:, 1].square().mean(dim=1).sqrt()
    torch.testing.assert_close(made[:, 1], (x[:, 1] / rms[:, None]).clamp(-8, 8))
    assert not made[:, [0, *range(2, 12)]].any()
    # Chest leads keep their relation to the limb leads.
    whole = to_input(x, torch.ones(N, 12))[:, :, 0]
    torch.testing.assert_close(whole[:, :6], to_input(x[:, :6], torch.ones(N, 6))[:, :, 0])


def test_silence_stays_silent():
    assert not to_input(torch.zeros(2, 6, 50), torch.ones(2, 6)).any()
    assert not to_input(torch.ones(2, 6, 50), torch.zeros(2, 6)).any()


def test_the_stated_share_is_seen_with_one_lead_alone(make):
    batch = make(alone=1.0)
    real = batch.mask[:N]
    assert (real.sum(dim=1) == 1).all()
    assert (real[:, 3:] == 0).all(), "a loose electrode leaves I, II or III"
    assert (real.sum(dim=0)[:3] > 0).all()
    assert (batch.mask[N:] == 1).all(), "swapped and strange inputs stay whole"
    assert not batch.x[batch.mask == 0].any()
    assert (make(alone=0.0).mask == 1).all()
    shares = [(make(alone=0.25, seed=seed).mask[:N].sum(dim=1) == 1).float().mean().item() for seed in range(30)]
    assert np.mean(shares) == pytest.approx(0.25, abs=0.06)


def test_a_turn_is_a_small_linear_map_of_the_frontal_plane_and_a_gain_of_each_chest_lead():
    eight = torch.randn(40, 8, 200, generator=generator(5))
    turned = turn(eight, generator())
    for before, after in zip(eight.double(), turned.double(), strict=True):
        matrix = after[:2] @ torch.linalg.pinv(before[:2])
        torch.testing.assert_close(matrix @ before[:2], after[:2], atol=1e-4, rtol=1e-4)
        assert 0 < (matrix - torch.eye(2)).abs().max() < 0.4
        gain = (after[2:] * before[2:]).sum(1) / before[2:].square().sum(1)
        torch.testing.assert_close(gain[:, None] * before[2:], after[2:], atol=1e-4, rtol=1e-4)
        assert 0 < (gain - 1).abs().max() < 0.4
    assert torch.equal(turn(eight, generator(), amount=0.0), eight)


def test_disturbed_beats_stay_recognisable(beats):
    eight = torch.cat([beats[0][:, :2], beats[0][:, 6:]], dim=1)
    disturbed = disturb(eight, FS_HZ, generator())
    assert disturbed.shape == eight.shape
    assert torch.isfinite(disturbed).all()
    still = disturb(eight, FS_HZ, generator(), jitter_s=0.0)
    correlation = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(eight[:, :2], still[:, :2], strict=True)]
    assert 0.8 < min(correlation) < 0.999


def test_disturbing_does_not_depend_on_the_scale(beats):
    eight = torch.cat([beats[0][:, :2], beats[0][:, 6:]], dim=1)
    louder, usual = (disturb(gain * eight, FS_HZ, generator()) for gain in (8, 1))
    torch.testing.assert_close(louder, 8 * usual, atol=1e-3, rtol=1e-4)


def test_the_limb_leads_of_a_batch_obey_einthoven_and_goldberger(make, beats):
    # Far below the clip, which is the one step that is not linear.
    flat = torch.randn(N, 12, N_SAMPLES, generator=generator(4))
    batch = make(signals=flat)
    inside = (batch.x.abs() < beat_batches.CLIP).all(dim=3).all(dim=2).all(dim=1)
    assert inside.sum() > N
    six = batch.x[inside, :6, 0]
    torch.testing.assert_close(six, torch.tensor(LIMB_MATRIX, dtype=six.dtype) @ six[:, :2], atol=1e-4, rtol=0)


def test_scrambling_keeps_the_spectrum_and_loses_the_heartbeat(beats):
    pair = beats[0][:, :2]
    made = scramble(pair, generator())
    assert made.shape == pair.shape
    before, after = torch.fft.rfft(pair).abs(), torch.fft.rfft(made).abs()
    # The mean and the highest frequency have no phase to draw but a sign.
    torch.testing.assert_close(after[..., 1:-1], before[..., 1:-1], atol=1e-3, rtol=1e-3)
    correlation = [abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in zip(pair, made, strict=True)]
    assert np.median(correlation) < 0.5


def test_the_bank_of_strange_beats_leaves_the_held_out_kinds_alone(monkeypatch, strange):
    drawn = []

    def noticed(kind):
        return lambda *arguments: drawn.append(kind) or NOT_ECG[kind](*arguments)

    monkeypatch.setattr(beat_batches, "NOT_ECG", {kind: noticed(kind) for kind in NOT_ECG})
    bank = strange_beats(12, 3)
    assert bank.shape == (12, 2, N_SAMPLES)
    assert torch.isfinite(bank).all()
    assert not set(drawn) & set(HELD_OUT_KINDS)
    assert set(HELD_OUT_KINDS) < set(NOT_ECG)
    assert torch.equal(bank, strange), "the same seed, the same bank"
    assert not torch.equal(strange_beats(12, 4), strange)


def test_the_same_generator_gives_the_same_batch(make):
    first, again, other = make(alone=0.3), make(alone=0.3), make(alone=0.3, seed=1)
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.mask, again.mask)
    assert not torch.equal(first.x, other.x)
