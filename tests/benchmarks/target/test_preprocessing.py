"""Preprocessing beside others: they clean the same leads, what comes out agrees, and a missing library is named."""

import os

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge import formats, preprocess
from lsemvae_edge.benchmarks.target import preprocessing, report_part
from lsemvae_edge.benchmarks.target import session as sessions
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.synthetic.heart import Heart, simulate

pytest.importorskip("scipy", reason="an oracle of the measurement")
pytest.importorskip("neurokit2", reason="the peer is in the extra `dev`")
pytest.importorskip("wfdb", reason="the peer is in the extra `dev`")

from lsemvae_edge.benchmarks.target import peer_cleaning


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return formats.write(
        simulate(Heart(), 10.0, 500.0, 0, LIMB_LEADS), tmp_path_factory.mktemp("recording") / "heart.lser"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Session with one repeat of everything, each library in its own process."""
    folder = tmp_path_factory.mktemp("session") / "s"
    with pytest.MonkeyPatch.context() as patch, Session(folder, {}, [bundles.default()], seed=1) as session:
        # Simulated hearts alone; real recordings have a test of their own.
        patch.delenv("LSEMVAE_EDGE_DATA", raising=False)
        preprocessing.measure(session, Plan([bundles.default()], repeats=1, runs=3))
    return folder


@pytest.fixture(scope="module")
def measured(folder):
    return sessions.read(folder)


def test_every_library_cleans_and_reads_in_a_process_of_its_own(measured):
    cleaned = {sample.case: sample.values for sample in measured.samples if sample.metric == "clean_ms"}
    assert set(cleaned) == set(preprocessing.CLEANERS)
    assert all(len(values) == 3 and min(values) > 0 for values in cleaned.values())
    read = {sample.case for sample in measured.samples if sample.metric == "read_ms"}
    assert read == {preprocessing.OURS, preprocessing.WFDB}
    peak_mb = {sample.case: sample.values[0] for sample in measured.samples if sample.metric == "peak_rss_mb"}
    assert peak_mb[preprocessing.OURS] < peak_mb[preprocessing.NEUROKIT2]
    assert all(case.facts["does"] for case in measured.cases)


def test_ratios_are_the_peers_over_ours(measured):
    values = {(sample.case, sample.metric): np.median(sample.values) for sample in measured.samples}
    rows = measured.facts["preprocessing"]["ratios"]
    assert {(row["ours"], row["peer"]) for row in rows if row["wanted"]} == {
        (own, preprocessing.NEUROKIT2) for own in (preprocessing.OURS, preprocessing.FILTERS, preprocessing.EACH)
    }
    for row in rows:
        expected = values[row["peer"], row["what"]] / values[row["ours"], row["what"]]
        assert row["ratio"] == pytest.approx(expected)
        # One repeat has no interval.
        assert row["low"] is None


def test_what_comes_out_agrees_with_scipy_and_neurokit2(measured):
    rows = measured.facts["preprocessing"]["agreement"]
    by_scipy = [row for row in rows if row["with"].startswith("scipy")]
    by_neurokit2 = [row for row in rows if row["with"] == "neurokit2"]
    assert len(by_scipy) == len(by_neurokit2) >= 1
    assert all(row["worst_difference"] < 1e-5 for row in by_scipy)
    assert all(row["lowest_correlation"] > 0.99 for row in by_neurokit2)


def test_the_tables_can_be_printed(folder):
    text = report_part.tables(folder, preprocessing.PART)
    assert "neurokit2" in text
    assert "Agreement" in text


@pytest.mark.parametrize("fs_hz", [500.0, 300.0, 250.0])
def test_scipys_filters_and_ours_do_not_differ_at_any_rate(fs_hz):
    spec = preprocess.default_spec()
    record = simulate(Heart(wander_mv=0.3), 10.0, fs_hz, 5, ("I", "II"))
    theirs = peer_cleaning.ByScipy(fs_hz, spec).clean(record.signal_mv.astype(float))
    np.testing.assert_allclose(preprocess.condition(record, spec).pair, theirs, atol=1e-5)


def test_a_filter_that_is_a_little_off_is_seen():
    """The comparison with neurokit2 can fail: a delay is removed, another shape is not."""
    t = np.arange(1000) / 125
    wave = np.sin(2 * np.pi * 3 * t) + np.sin(2 * np.pi * 5 * t**1.1)
    best = max(peer_cleaning._alike(wave, np.roll(wave, 7), delay) for delay in peer_cleaning._delays())
    assert best > 0.999
    squared = wave * np.abs(wave)
    assert max(peer_cleaning._alike(wave, squared, delay) for delay in peer_cleaning._delays()) < 0.99


def test_all_three_of_ours_are_what_they_are_called(recording):
    record, spec = formats.read(recording), preprocess.default_spec()
    whole = peer_cleaning.clean_by_us(str(recording), "all")()
    np.testing.assert_array_equal(whole.signal, preprocess.apply(record, spec).signal)
    filters = peer_cleaning.clean_by_us(str(recording), "filters")()
    each, _, _ = peer_cleaning.clean_by_us(str(recording), "each lead")()
    assert filters.shape == each.shape
    np.testing.assert_allclose(filters, each, atol=1e-5)
    cleaned = peer_cleaning.clean_by_neurokit2(str(recording))()
    assert np.shape(cleaned) == (6, 5000)


def test_a_library_that_is_not_here_is_skipped_by_name(monkeypatch, tmp_path):
    found = preprocessing.find_spec
    monkeypatch.setattr(preprocessing, "find_spec", lambda name: None if name in ("neurokit2", "wfdb") else found(name))
    with Session(tmp_path / "s", {}, [bundles.default()], seed=1) as session:
        preprocessing.measure(session, Plan([bundles.default()], repeats=1, runs=1))
    recorded = sessions.read(tmp_path / "s")
    assert {(one.what, one.reason) for one in recorded.skipped} == {
        ("neurokit2", "not installed: pip install neurokit2"),
        ("wfdb", "not installed: pip install wfdb"),
        ("agreement", "it needs neurokit2 and scipy"),
    }
    assert {row["peer"] for row in recorded.facts["preprocessing"]["ratios"]} == {preprocessing.SCIPY}


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("LSEMVAE_EDGE_DATA"), reason="LSEMVAE_EDGE_DATA is unset")
def test_on_real_recordings_they_agree_as_well():
    rows = {(row["with"], row["on"]): row for row in peer_cleaning.agreement(real=True)}
    assert len(rows) == 4
    real = {library: row for (library, on), row in rows.items() if "fold 9" in on}
    assert real["scipy, our coefficients"]["worst_difference"] < 1e-5
    assert real["neurokit2"]["lowest_correlation"] > 0.99
    assert real["neurokit2"]["leads"] == 2 * peer_cleaning.REAL
