"""The parts of the engine: windows, the order of recordings, gradients, checkpoints, when to stop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training runs in torch; the base install has none")
pytest.importorskip("lightning", reason="the engine is Lightning, in the extra `train`")
pytest.importorskip("pyarrow", reason="shards are Arrow files, in the extra `train`")

from lightning.pytorch import Callback  # noqa: E402
from pydantic import ValidationError  # noqa: E402

from lsemvae_edge.errors import BadInputError  # noqa: E402
from lsemvae_edge.train import engine, windows  # noqa: E402
from lsemvae_edge.train.config import ModelConfig  # noqa: E402
from lsemvae_edge.train.config_pretrain import PretrainConfig  # noqa: E402
from lsemvae_edge.train.engine import AtomicCheckpointIO, Pretraining, Progress, why_stop  # noqa: E402
from lsemvae_edge.train.sampling import Batches, Part, Parts, Use, hide_leads  # noqa: E402
from lsemvae_edge.train.shards import open_shards  # noqa: E402

TINY = ModelConfig(recipe="edge", n_samples=64, latent_dim=8, fusion="masked", objective="posterior")


def batches(shards, n_parts=1, index=None, use=Use.TRAIN, **changes):
    options = {"seed": 0, "batch_size": 16, "length": 64, "rescale": True, "noise_dim": 8, **changes}
    return Batches(shards, np.arange(len(shards)) if index is None else index, use, n_parts=n_parts, **options)


@pytest.fixture(scope="module")
def shards(shard_folder):
    return open_shards(shard_folder)


# Windows


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(1, 20))
def test_a_window_is_the_slice_from_its_start(starts, length):
    signals = torch.arange(len(starts) * 3 * 50).reshape(len(starts), 3, 50).float()
    cut = windows.crop(signals, torch.tensor(starts), length)
    expected = [signal[:, start : start + length] for signal, start in zip(signals, starts, strict=True)]
    assert torch.equal(cut, torch.stack(expected))


def test_a_whole_recording_is_its_own_window():
    signals = torch.randn(2, 12, 30)
    assert torch.equal(windows.crop(signals, torch.zeros(2, dtype=torch.int64), 30), signals)


@given(st.floats(1e-3, 1e3), st.integers(0, 2**31))
def test_scale_takes_a_common_gain_away_and_keeps_the_relation_between_leads(gain, seed):
    signals = torch.randn(3, 12, 200, generator=torch.Generator().manual_seed(seed))
    scaled = windows.rescale(gain * signals, clip=1e9)
    assert torch.allclose(scaled, windows.rescale(signals, clip=1e9), rtol=1e-4, atol=1e-5)
    assert torch.allclose(scaled[:, :6].square().mean(dim=(1, 2)), torch.ones(3), atol=1e-4)
    assert torch.allclose(scaled[:, 7] * signals[:, 1], scaled[:, 1] * signals[:, 7], atol=1e-3)


def test_an_absent_lead_stays_zero_and_extremes_are_clipped():
    signals = torch.randn(2, 12, 100)
    signals[0, 6:] = 0
    signals[1, 8, 3] = 1e4
    scaled = windows.rescale(signals)
    assert (scaled[0, 6:] == 0).all()
    assert scaled.max() == 8
    assert torch.equal(windows.rescale(torch.zeros(1, 12, 10)), torch.zeros(1, 12, 10))


# Order and draws


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))
def test_every_recording_enters_an_epoch_exactly_once(shards, n, batch_size, world, accumulate, epoch):
    made = batches(shards, world * accumulate, np.arange(n), batch_size=batch_size)
    entered = []
    for rank in range(world):
        order = Parts(made.n_steps, rank, world, accumulate)
        order.set_epoch(epoch)
        places = list(order)
        assert len(places) == len(order)
        for place in places:
            rows = made.rows(place)
            entered += list(rows[np.array_split(np.arange(len(rows)), world * accumulate)[place.part]])
    assert sorted(entered) == list(range(n))


def test_epochs_differ_in_order_windows_and_noise_but_validation_does_not(shards):
    train, validation = batches(shards), batches(shards, use=Use.VALIDATE)
    first, second = train[Part(0, 0, 0)], train[Part(1, 0, 0)]
    assert list(train.rows(Part(0, 0, 0))) != list(train.rows(Part(1, 0, 0)))
    assert not torch.equal(first["noise"], second["noise"])
    again = batches(shards)[Part(0, 0, 0)]
    assert all(torch.equal(first[key], again[key]) for key in first)
    held = [validation[Part(epoch, 0, 0)] for epoch in (0, 5)]
    assert all(torch.equal(held[0][key], held[1][key]) for key in held[0])


def test_validation_reads_the_middle_of_each_recording(shards):
    batch = batches(shards, use=Use.VALIDATE, rescale=False)[Part(0, 0, 0)]
    assert np.array_equal(batch["signals"].numpy(), shards.signals(np.arange(16))[:, :, 16:80])


@given(st.integers(1, 20), st.integers(1, 8), st.integers(0, 100))
def test_weights_turn_means_over_parts_into_the_mean_over_the_batch(shards, n, n_parts, seed):
    made = batches(shards, n_parts, np.arange(n), batch_size=20, seed=seed, hide_chest=0.4, hide_random=0.4)
    parts = [made[Part(0, 0, part)] for part in range(n_parts)]
    whole = batches(shards, 1, np.arange(n), batch_size=20, seed=seed, hide_chest=0.4, hide_random=0.4)[Part(0, 0, 0)]
    means = [part["weight"] * part["noise"].mean() for part in parts]
    assert torch.stack(means).mean() == pytest.approx(float(whole["noise"].mean()), abs=1e-5)
    seen = [p["alignment_weight"] * p["noise"][:, :1].expand(-1, 12)[p["visible"]].mean() for p in parts]
    expected = whole["noise"][:, :1].expand(-1, 12)[whole["visible"]].mean()
    assert torch.stack(seen).mean() == pytest.approx(float(expected), abs=1e-5)
    assert sum(float(part["share"] * part["weight"]) for part in parts) == pytest.approx(n)


@given(st.integers(0, 1000), st.floats(0, 1), st.floats(0, 1))
def test_leads_are_hidden_but_never_all_and_absent_ones_never_seen(seed, chest, share):
    rng = np.random.default_rng(seed)
    present = rng.random((30, 12)) < 0.3
    present[:, 6] = True
    visible = hide_leads(rng, present, chest * share, chest * (1 - share))
    assert visible.any(axis=1).all()
    assert not (visible & ~present).any()


def test_hiding_the_chest_hides_the_chest_alone_as_often_as_asked():
    present = np.ones((4000, 12), dtype=bool)
    visible = hide_leads(np.random.default_rng(0), present, 0.3, 0.0)
    assert visible[:, :6].all()
    hidden = ~visible[:, 6:].any(axis=1)
    assert (hidden == ~visible[:, 6:].all(axis=1)).all()
    assert hidden.mean() == pytest.approx(0.3, abs=0.03)


# Gradients


class Gradients(Callback):
    def __init__(self):
        self.steps = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.steps.append({name: value.grad.clone() for name, value in pl_module.named_parameters()})


def gradients(shards, tmp_path, **changes):
    """Return the gradients of every step of an epoch of 37 recordings in batches of 16, 16 and 5."""
    config = PretrainConfig(epochs=1, batch_size=16, logger="none", accelerator="cpu", learning_rate=1e-9, **changes)
    torch.manual_seed(0)
    model = TINY.build()

    def make(n_parts):
        return batches(shards, n_parts, np.arange(37), hide_chest=0.5, hide_random=0.3)

    seen = Gradients()
    module = Pretraining(model, True, config, make, None, Progress())
    recorder = engine.Recorder(tmp_path, 37, lambda progress: None, None)
    with engine.quiet():
        engine.make_trainer(config, tmp_path, [seen, recorder]).fit(module)
    return seen.steps


def test_accumulated_gradients_are_those_of_the_whole_batch(shards, tmp_path):
    whole = gradients(shards, tmp_path)
    parts = gradients(shards, tmp_path, accumulate_grad_batches=6)
    assert len(whole) == len(parts) == 3
    for one, other in zip(whole, parts, strict=True):
        for name, value in one.items():
            assert torch.allclose(value, other[name], rtol=1e-4, atol=1e-5 * float(value.abs().max())), name


# Checkpoints


def test_a_broken_off_write_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(stream):
        stream.write(b"half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        engine.write_atomically(path, fail)
    assert path.read_text() == "old"


class Foreign:
    pass


def test_a_checkpoint_that_holds_an_object_is_refused(tmp_path):
    torch.save({"state_dict": Foreign()}, tmp_path / "bad.ckpt")
    with pytest.raises(Exception, match="weights_only"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "bad.ckpt", weights_only=False)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "last.ckpt"
    if content is None:
        torch.save({"state_dict": {}}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"last\.ckpt"):
        engine.read_progress(path)


# When to stop, and configuration


def progress_of(*totals, seconds=60.0):
    rows = [
        {"epoch": epoch, "step": epoch + 1, "train_total": 1.0, "val_total": total, "seconds": seconds}
        for epoch, total in enumerate(totals)
    ]
    return Progress(rows, seconds=seconds * len(rows))


@pytest.mark.parametrize(
    ("totals", "changes", "why"),
    [
        ([], {"epochs": 1}, None),
        ([3, 2], {"epochs": 3}, None),
        ([3, 2, 1], {"epochs": 3}, "epochs"),
        ([3, 1, 2], {"patience": 2}, None),
        ([3, 1, 2, 1], {"patience": 2}, "early_stopping"),
        ([3, 2], {"max_minutes": 3.0}, None),
        ([3, 2], {"max_minutes": 2.9}, "max_minutes"),
        ([3, float("nan")], {}, "diverged"),
    ],
)
def test_training_stops_for_a_reason(totals, changes, why):
    assert why_stop(progress_of(*totals), PretrainConfig(**changes)) == why


def test_the_divergence_counts_more_from_epoch_to_epoch():
    config = PretrainConfig(kl_weight=0.5, kl_warmup_epochs=4)
    assert [config.kl_weight_of(epoch) for epoch in range(6)] == [0, 0.125, 0.25, 0.375, 0.5, 0.5]
    assert PretrainConfig(kl_warmup_epochs=0).kl_weight_of(0) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"unknown": 1},
        {"epochs": 0},
        {"hide_chest": 0.6, "hide_random": 0.6},
        {"train_folds": (1, 9)},
        {"patience": 3, "validation_folds": ()},
        {"precision": "8"},
    ],
)
def test_a_configuration_without_meaning_is_refused(options):
    with pytest.raises(ValidationError):
        PretrainConfig(**options)
