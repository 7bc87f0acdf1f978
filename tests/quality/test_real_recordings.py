"""Real ECGs stay usable; needs the data folder (folds 1-9 of PTB-XL only)."""

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lsemvae_edge.limits import QualityLimits
from lsemvae_edge.preprocess import condition, default_spec
from lsemvae_edge.quality import Quality, assess
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.faults import SPOILED, SWAPS

DATA = os.environ.get("LSEMVAE_EDGE_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="LSEMVAE_EDGE_DATA is not set: no real recordings here")

SPEC = default_spec()
RIGHT_HEART = ("'RVH'", "'RAO/RAE'", "'IRBBB'", "'CRBBB'", "'LPFB'")


def judged(record: Record) -> Quality:
    return assess(record, condition(record, SPEC), SPEC, QualityLimits())


def recordings(every: int, codes: tuple[str, ...] = ("",)) -> list[Record]:
    folder = Path(DATA or "") / "ptbxl_12lead"
    with (folder / "meta.csv").open(encoding="utf-8") as file:
        wanted = {
            int(row["ecg_id"])
            for row in csv.DictReader(file)
            if int(row["strat_fold"]) <= 9 and any(code in row["scp_codes"] for code in codes)
        }
    with np.load(folder / "lead_I_II_500hz_int16uV.npz") as stored:
        rows = [row for row, ecg_id in enumerate(stored["ecg_id"]) if int(ecg_id) in wanted][::every]
        signals = stored["x"][rows] / np.float32(1000)
    return [Record(signal, 500.0, ("I", "II")) for signal in signals]


def test_most_recordings_of_a_clinic_are_usable() -> None:
    assert np.mean([judged(record).usable for record in recordings(every=12)]) >= 0.96


def test_right_heart_recordings_are_not_refused_more_often() -> None:
    assert np.mean([judged(record).usable for record in recordings(every=2, codes=RIGHT_HEART)]) >= 0.95


def test_swapped_electrodes_do_not_change_the_verdict() -> None:
    changed = [
        judged(record).usable != judged(replace(record, signal_mv=(swap @ record.signal_mv).astype(np.float32))).usable
        for record in recordings(every=90)
        for swap in SWAPS.values()
    ]
    assert np.mean(changed) <= 0.03


@pytest.mark.parametrize("name", SPOILED)
def test_spoiled_recordings_are_refused(name: str) -> None:
    spoiled = [SPOILED[name](np.random.default_rng(n), record) for n, record in enumerate(recordings(every=60))]
    assert np.mean([judged(record).usable for record in spoiled]) <= 0.05


def test_rates_agree_with_neurokit() -> None:
    neurokit2 = pytest.importorskip("neurokit2")
    ratios = []
    for record in recordings(every=240):
        quality = judged(record)
        if not quality.usable or quality.window_start_s is None or quality.heart_rate_bpm is None:
            continue
        _, found = neurokit2.ecg_peaks(neurokit2.ecg_clean(record.signal_mv[1], 500), 500)
        peaks_s = found["ECG_R_Peaks"] / 500 - quality.window_start_s
        peaks_s = peaks_s[(peaks_s > 0.1) & (peaks_s < SPEC.window_s - 0.1)]
        ratios.append(quality.heart_rate_bpm / (60 / np.diff(peaks_s).mean()))
    assert np.mean(np.abs(np.array(ratios) - 1) < 0.05) >= 0.9
