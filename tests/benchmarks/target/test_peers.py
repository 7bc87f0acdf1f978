"""Peers: they are what they are called, they read the same file, and ratios are the peers' figures over ours."""

import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="peers are torch models; the base install has none")
pytest.importorskip("litert_torch", reason="plain CNNs are converted, which needs the extra `export`")

from lsemvae_edge import bundle as bundles  # noqa: E402
from lsemvae_edge import formats, preprocess  # noqa: E402
from lsemvae_edge.benchmarks import fits, ledger  # noqa: E402
from lsemvae_edge.benchmarks.target import peer_models, peer_models_litert, peer_models_torch, peer_training, peers  # noqa: E402
from lsemvae_edge.benchmarks.target import session as sessions  # noqa: E402
from lsemvae_edge.benchmarks.target.peer_training import ExportedCNN, Recordings  # noqa: E402
from lsemvae_edge.benchmarks.target.plan import Plan  # noqa: E402
from lsemvae_edge.benchmarks.target.session import Session  # noqa: E402
from lsemvae_edge.decision import probability  # noqa: E402
from lsemvae_edge.leads import LIMB_LEADS, STANDARD_12  # noqa: E402
from lsemvae_edge.model.baselines import PlainCNN  # noqa: E402
from lsemvae_edge.runtime import open_session  # noqa: E402
from lsemvae_edge.synthetic.heart import Heart, simulate  # noqa: E402
from lsemvae_edge.train import windows  # noqa: E402
from lsemvae_edge.train.recipes import recipe  # noqa: E402


@pytest.fixture
def record():
    return simulate(Heart(), 10.0, 500.0, 0, LIMB_LEADS)


@pytest.fixture
def recording(record, tmp_path):
    return formats.write(record, tmp_path / "heart.lser")


@pytest.fixture
def network():
    """A plain CNN with norms that have seen data."""
    torch.manual_seed(3)
    found = PlainCNN(6, 5, (8, 12))
    with torch.no_grad():
        for _ in range(10):
            found(torch.randn(16, 6, 1, 101) * 2 + 0.3)
    return found.eval()


def test_the_reference_is_the_published_classifier_of_six_leads():
    network = peer_models_torch.network_on("meta")
    # Six encoders of three convolutions and two dense heads, then 256 numbers a lead to 128 and 2.
    n_bytes = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert n_bytes == pytest.approx(492.5e6, rel=0.001)
    assert len(network.encoders) == 6
    assert network.classifier[0].in_features == 6 * 256


def test_the_published_input_is_the_recipes_of_the_same_leads():
    twelve = simulate(Heart(), 10.0, 500.0, 4, STANDARD_12)
    expected, _ = recipe("reference").apply(twelve)
    np.testing.assert_allclose(peer_models.published_input(twelve), expected[:6], atol=1e-6)
    pytest.importorskip("neurokit2", reason="the peer is in the extra `dev`")
    np.testing.assert_allclose(peer_models.published_input_by_neurokit(twelve), expected[:6], atol=1e-2)


def test_two_measured_leads_are_enough_for_the_published_input(record):
    pair = simulate(Heart(), 10.0, 500.0, 0, ("I", "II"))
    both = peer_models.published_input(record), peer_models.published_input(pair)
    assert np.corrcoef(both[0].ravel(), both[1].ravel())[0, 1] > 0.999


def test_a_plain_cnn_reads_what_it_was_trained_with(record):
    spec = preprocess.default_spec()
    conditioned, _ = recipe("edge").apply(record)
    begin = windows.centre(conditioned.shape[1], peer_models.WINDOW)
    assert fits.PLAIN_CNN.window == peer_models.WINDOW
    cut = torch.from_numpy(conditioned[None, :, begin : begin + peer_models.WINDOW])
    expected = windows.rescale(cut)[0, :6].numpy()
    np.testing.assert_allclose(peer_models.window_of(record, spec), expected, atol=1e-5)


def test_the_exported_cnn_says_what_the_trained_one_says(network):
    x = torch.randn(3, 6, 1, 101)
    with torch.no_grad():
        torch.testing.assert_close(ExportedCNN(network, 2)(x), network(x)[0][:, :2], atol=1e-5, rtol=1e-5)


def test_its_int8_file_says_nearly_the_same_and_is_int8(network):
    shown = np.random.default_rng(0).normal(size=(32, 6, 101)).astype(np.float32)
    content = peer_training.to_int8(ExportedCNN(network, 2), shown)
    said = peer_models_litert.open_cnn(content)
    logits = np.stack([said(signal) for signal in shown])
    with torch.no_grad():
        exact = network(torch.from_numpy(shown)[:, :, None])[0][:, :2].numpy()
    assert np.corrcoef(logits[:, 0], exact[:, 0])[0, 1] > 0.98
    assert np.abs(logits - exact).max() < 0.2 * np.ptp(exact)
    assert np.abs(logits - exact).max() > 0
    from lsemvae_edge.quantize.targets import tflite

    anatomy = tflite.inspect(content)
    assert (anatomy.int8_layers, anatomy.float_layers) == (2, 1)


@pytest.mark.slow
def test_a_plain_cnn_is_trained_once_and_judged_by_its_file(cohort_of, tmp_path, monkeypatch):
    quick = {kind: (config.model_copy(update={"epochs": 1}), of) for kind, (config, of) in fits.PLAIN.items()}
    monkeypatch.setattr(fits, "PLAIN", quick)
    recordings = Recordings(cohort_of(40, folds=(1, 2), prefix="t"), cohort_of(80, folds=(9,)), "fold 9")
    said = []
    file = peer_training.cnn_file("beat_cnn", tmp_path, recordings, 0, said.append)
    assert len(said) == 1
    size = next(len(bundles.default().read(m.path)) for m in bundles.default().manifest.models if m.precision == "int8")
    assert file.stat().st_size == pytest.approx(size, rel=0.1)
    assert peer_training.cnn_file("beat_cnn", tmp_path, recordings, 0, said.append) == file
    assert len(said) == 1
    assert peer_training.cnn_file("beat_cnn", tmp_path, recordings, 1, said.append) != file
    row = peer_training.judged_cnn("beat_cnn", file, recordings)
    # Noise teaches nothing.
    assert row["low"] < 0.5 < row["high"]
    assert (row["n"], row["positive"], row["set"]) == (80, 20, "fold 9")


def test_the_references_auroc_is_the_committed_one(tmp_path):
    row = peer_training.reference_row()
    assert row["set"] == peer_training.SET_A
    assert row["low"] < row["auroc"] < row["high"]
    assert (row["n"], row["positive"]) == (540, 48)
    assert peer_training.reference_row(tmp_path / "absent.csv") is None


def test_the_way_ends_in_the_probability_that_screening_states(record, recording, monkeypatch):
    bundle = bundles.default()
    model = bundle.manifest.models[0]
    told = []
    monkeypatch.setattr(
        "lsemvae_edge.decision.probability", lambda task, logit: told.append(probability(task, logit)) or told[-1]
    )
    run = peer_models.student_in_runtime(str(bundle.path), model.path, "litert", str(recording))
    stages = run()
    assert set(stages) == {"decode_ms", "preprocess_ms", "inference_ms"}
    output = open_session(bundle).run(preprocess.apply(record, bundle.spec.preprocess).signal)
    assert told == [probability(bundle.spec.primary, float(output.logits[bundle.spec.primary.output]))]


def session_of(folder, figures):
    """A session of peers with given medians, a value a repeat."""
    session = Session(folder, {}, [bundles.default()], seed=0)
    found = []
    with session:
        for name, (facts, metrics) in figures.items():
            session.case(peers.PART, name, **facts)
            found.append(peers._Peer(name, facts, None, None))
            for metric, values in metrics.items():
                for repeat, value in enumerate(values):
                    session.sample(peers.PART, name, metric, repeat, value)
        rows = [{"name": "ours", "auroc": 0.9, "set": "fold 9"}, {"name": peers.REFERENCE, "auroc": 0.6, "set": "A"}]
        return peers._ratios(session, found, rows)


def test_a_ratio_stands_beside_both_aurocs_and_says_whether_it_is_reached(tmp_path):
    ours = {"runtime": "litert", "precision": "int8", "role": "ours", "file_bytes": 1000}
    theirs = {"runtime": "torch", "precision": "fp32", "role": "peer", "file_bytes": 2_000_000}
    noise = np.array([1.0, 1.01, 0.99, 1.02, 0.98, 1.0])
    figures = {
        "ours": (ours, {"inference_ms": 0.1 * noise, "whole_ms": 1.0 * noise}),
        peers.REFERENCE: (theirs, {"inference_ms": 30.0 * noise[::-1], "whole_ms": 19.0 * noise[::-1]}),
        "plain CNN": ({**theirs, "file_bytes": 1100}, {"inference_ms": 0.2 * noise}),
    }
    rows = session_of(tmp_path / "s", figures)
    by = {(row["peer"], row["what"]): row for row in rows}
    latency = by[peers.REFERENCE, "inference_ms"]
    assert latency["ratio"] == pytest.approx(300, rel=0.05)
    assert latency["low"] < latency["ratio"] < latency["high"]
    assert latency["reached"] is True
    assert (latency["auroc_ours"], latency["auroc_peer"], latency["auroc_on"]) == (0.9, 0.6, "fold 9 / A")
    assert by[peers.REFERENCE, "file_bytes"]["ratio"] == 2000
    assert by[peers.REFERENCE, "file_bytes"]["reached"] is True
    assert by[peers.REFERENCE, "whole_ms"]["reached"] is False
    assert by["plain CNN", "inference_ms"]["wanted"] is None
    assert by["plain CNN", "inference_ms"]["auroc_peer"] is None
    assert "19 times less, not 20" in (tmp_path / "s" / "log.txt").read_text()


@pytest.mark.slow
def test_the_reference_is_measured_in_turn_with_ours_and_this_process_imports_no_torch(tmp_path, monkeypatch):
    """The whole command without data: plain CNNs and AUROCs are missing by name, latency and memory are there."""
    monkeypatch.delenv("LSEMVAE_EDGE_DATA", raising=False)
    out, work = tmp_path / "s", tmp_path / "work"
    code = (
        "import sys\nfrom lsemvae_edge.cli import main\n"
        "if __name__ == '__main__':\n"
        "    code = main(['bench', 'peers', '--repeats', '1', '--runs', '4', '--runtime', 'litert',"
        f" '--out', {str(out)!r}, '--work', {str(work)!r}])\n"
        "    assert 'torch' not in sys.modules\n    sys.exit(code)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    recorded = sessions.read(out)
    cases = {case.name: case.facts for case in recorded.cases}
    assert cases[peers.REFERENCE]["file_bytes"] == pytest.approx(492.5e6, rel=0.001)
    (ours,) = [name for name, facts in cases.items() if facts["role"] == "ours"]
    for name in (ours, peers.REFERENCE):
        for metric in ("inference_ms", "whole_ms", "peak_rss_mb", "load_ms", "start_to_result_ms", "whole_decode_ms"):
            assert recorded.of(peers.PART, name, metric), (name, metric)
    assert "plain CNNs, and AUROCs but the study's" in {one.what for one in recorded.skipped}
    ratios = {row["what"]: row["ratio"] for row in recorded.facts["peers"]["ratios"] if row["peer"] == peers.REFERENCE}
    assert ratios["file_bytes"] > 1000
    assert ratios["peak_rss_mb"] > 5
    names = [row["name"] for row in recorded.facts["peers"]["auroc"]]
    assert names[0] == peers.REFERENCE
    assert json.dumps(recorded.facts["peers"])


def test_a_reading_of_set_a_goes_to_the_ledger(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "ledger.jsonl")
    peer_training.append_to_ledger(str(bundles.default().path), [{"name": "ours", "auroc": 0.8}])
    (entry,) = map(json.loads, (tmp_path / "ledger.jsonl").read_text().splitlines())
    assert (entry["what"], entry["bundle"]) == (peer_training.LEDGER_NAME, bundles.default().spec.id)


def test_a_bundle_without_float_weights_has_no_student_in_torch():
    assert peers._students(Plan([bundles.default()], runtimes=("litert",))) == {}
    named = peers._students(Plan([bundles.default()]))
    assert set(named.values()) == ({"fp32", "int8"} if peers.WEIGHTS in bundles.default().manifest.files else set())
    assert set(peers._students(Plan([bundles.default()], precisions=("fp32",))).values()) <= {"fp32"}
