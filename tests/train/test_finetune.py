"""Task models: the published fine-tuning, networks learned end to end, and what both keep and give back."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch; the base install has none")

from lsemvae_edge.cli import main  # noqa: E402
from lsemvae_edge.errors import BadInputError  # noqa: E402
from lsemvae_edge.leads import LIMB_LEADS, LIMB_MATRIX, STANDARD_12  # noqa: E402
from lsemvae_edge.metrics import auroc  # noqa: E402
from lsemvae_edge.model import LSEMVAE  # noqa: E402
from lsemvae_edge.model.baselines import PlainCNN, XResNet1d  # noqa: E402
from lsemvae_edge.model.classifier import LatentClassifier  # noqa: E402
from lsemvae_edge.train import finetune, task_model  # noqa: E402
from lsemvae_edge.train.datasets import open_dataset  # noqa: E402
from lsemvae_edge.train.finetune import LEAD_SETS, Examples, LatentConfig, NetworkConfig  # noqa: E402
from lsemvae_edge.train.prepare import prepare  # noqa: E402
from lsemvae_edge.train.recipes import RECIPES  # noqa: E402

WINDOW = 128


def pooled_model():
    torch.manual_seed(0)
    return LSEMVAE(12, 4 * 8, WINDOW, "masked", encoder="pooled", decoder="conditioned")


@pytest.fixture(scope="module")
def examples():
    """Recordings in which a bump points along lead I, or against it in the positive class."""
    rng = np.random.default_rng(0)
    n, length = 96, 160
    truth = np.arange(n) % 2
    pair = 0.3 * rng.standard_normal((n, 2, length))
    for row, start in enumerate(rng.integers(20, length - 40, n)):
        pair[row, 0, start : start + 10] += 3.0 * (1 - 2 * truth[row])
        pair[row, 1, start : start + 10] += 3.0
    chest = rng.standard_normal((n, 6, length))
    present = np.ones((n, 12), dtype=bool)
    present[::3, 6:] = False
    signals = np.concatenate([LIMB_MATRIX @ pair, chest], axis=1) * present[:, :, None]
    targets = np.stack([truth, np.where(np.arange(n) % 4 == 3, np.nan, truth)], axis=1)
    return Examples(
        *(torch.tensor(part, dtype=torch.float32) for part in (signals,)),
        torch.tensor(present),
        torch.tensor(targets, dtype=torch.float32),
        torch.tensor(truth[:, None], dtype=torch.float32),
    )


def config(network, **changes):
    return NetworkConfig(
        **{"network": network, "epochs": 6, "window": WINDOW, "batch_size": 16, "views": 2, "ema_decay": 0.9} | changes
    )


@pytest.mark.parametrize("network", ["pooled", "plain_cnn", "xresnet1d"])
def test_a_network_learns_an_axis_from_the_limb_leads(examples, network):
    fitted = finetune.fit_network(LIMB_LEADS, examples, config(network), pooled_model())
    scores = finetune.predict_network(fitted, examples, config(network))
    assert scores.shape == (96, 2)
    assert auroc(examples.targets[:, 0].numpy(), scores[:, 0]) > 0.95
    repeated = finetune.fit_network(LIMB_LEADS, examples, config(network), pooled_model())
    assert all(torch.equal(a, b) for a, b in zip(fitted.parameters(), repeated.parameters(), strict=True))


def test_fine_tuning_leaves_the_pre_trained_model_as_it_was(examples):
    model = pooled_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    finetune.fit_network(LIMB_LEADS, examples, config("pooled", epochs=1), model)
    means = finetune.latent_means(model, examples.signals)
    finetune.fit_latent(model, LIMB_LEADS, means, examples.targets[:, 0], LatentConfig(epochs=1))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_leads_that_are_not_shown_do_not_matter(examples):
    told = config("pooled", epochs=1, hide_random=0.5)
    network = finetune.fit_network(STANDARD_12, examples, told, pooled_model())
    changed = examples.signals.clone()
    changed[:, 6:] = torch.randn(changed[:, 6:].shape)
    other = Examples(changed, examples.present, examples.targets, examples.auxiliary)
    shown = [finetune.predict_network(network, one, told, LIMB_LEADS) for one in (examples, other)]
    np.testing.assert_array_equal(*shown)
    both = examples.select(examples.present.all(1).nonzero()[:, 0])
    assert not np.array_equal(
        finetune.predict_network(network, both, told, LIMB_LEADS), finetune.predict_network(network, both, told)
    )


def test_the_published_fine_tuning_reads_the_means_of_the_chosen_leads_alone(examples):
    model = pooled_model()
    means = finetune.latent_means(model, examples.signals)
    assert means.shape == (12, 96, 32)
    leads = LEAD_SETS["I+II+III"]
    fitted = finetune.fit_latent(
        model, leads, means, examples.targets[:, 1], LatentConfig(epochs=40, learning_rate=1e-3)
    )
    assert isinstance(fitted, LatentClassifier)
    assert fitted.classifier[0].in_features == 3 * 32
    scores = finetune.predict_latent(fitted, leads, means)
    changed = means.clone()
    changed[3:] = 0
    np.testing.assert_array_equal(scores, finetune.predict_latent(fitted, leads, changed))
    middle = (160 - WINDOW) // 2
    window = finetune.windows.rescale(examples.signals[..., middle : middle + WINDOW])[:, :3]
    np.testing.assert_allclose(fitted(window).softmax(1)[:, 1].detach().numpy(), scores, atol=1e-5)


def test_one_class_is_refused_with_a_sentence(examples):
    model = pooled_model()
    means = finetune.latent_means(model, examples.signals)
    with pytest.raises(BadInputError, match="one class"):
        finetune.fit_latent(model, LIMB_LEADS, means, torch.zeros(96), LatentConfig(epochs=1))


@pytest.mark.parametrize("told", [LatentConfig(epochs=1), config("pooled", epochs=1), config("plain_cnn", epochs=1)])
def test_a_task_model_comes_back_as_it_was_kept(examples, told, tmp_path):
    model = pooled_model()
    fitted = task_model.fit("6L", examples, ("a", "b"), told, model)
    fitted.save(tmp_path)
    loaded = task_model.load(tmp_path, model)
    assert (loaded.leads, loaded.tasks, loaded.config) == ("6L", ("a", "b"), told)
    np.testing.assert_array_equal(loaded.predict(examples), fitted.predict(examples))
    (tmp_path / task_model.WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(BadInputError, match="no such task model"):
        task_model.load(tmp_path, model)


@pytest.mark.parametrize("n_leads", [1, 6, 12])
def test_baselines_take_any_number_of_leads(n_leads):
    x = torch.randn(2, n_leads, 300)
    assert XResNet1d(n_leads, 3).eval()(x).shape == (2, 3)
    assert PlainCNN(n_leads, 3).eval()(x[:, :, None])[0].shape == (2, 3)


def test_residual_blocks_start_as_their_short_cuts():
    torch.manual_seed(0)
    block = XResNet1d(2, 1).stages[0].eval()
    x = torch.rand(1, 32, 50)
    torch.testing.assert_close(block(x), x)


@pytest.mark.slow
def test_the_command_fits_judges_and_refuses(tmp_path, capsys):
    shards = tmp_path / "shards"
    prepare(open_dataset("synthetic", None, n_patients=120, seed=1), RECIPES["edge"], shards, workers=1)
    told = tmp_path / "config.json"
    told.write_text(json.dumps({"epochs": 1}))
    base = ["train", "finetune", "--shards", str(shards), "--out", str(tmp_path / "task")]
    assert main([*base, "--config", str(told), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["task"] for row in rows] == ["right_heart_pattern", "heart_side"]
    assert task_model.load(tmp_path / "task", None).leads == "6L"
    assert main([*base, "--leads", "7L"]) == 2
    assert main([*base, "--pretrained", str(tmp_path)]) == 3
    told.write_text(json.dumps({"epoch": 1}))
    assert main([*base, "--config", str(told)]) == 2
