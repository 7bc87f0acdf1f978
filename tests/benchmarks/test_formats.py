"""The table of forms: rows of a bundle that is converted here, on recordings made up here."""

import numpy as np
import pytest

pytest.importorskip("litert_torch", reason="the benchmark converts, which needs the extra `export`")

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks import formats
from lsemvae_edge.quantize import targets
from lsemvae_edge.synthetic.heart import Heart, simulate
from lsemvae_edge.train import calibrate, datasets
from lsemvae_edge.train.cohort import load_cohort
from lsemvae_edge.train.datasets import Entry

TASKS = [task.name for task in calibrate.TASKS]


@pytest.fixture(scope="module")
def recordings():
    """Sixty hearts, half of fold 9, half of fold 10."""
    listed = [
        Entry(
            record_id=str(k),
            source=datasets.TWELVE_LEAD,
            patient=str(k),
            fold=(metrics.VALIDATION_FOLD, metrics.TEST_FOLD)[k % 2],
            load=lambda k=k: simulate(Heart(qrs_axis_deg=40.0 + 2 * k), 10.0, 500.0, k),
            age_years=50.0,
            sex="female",
            targets={TASKS[0]: int(k >= 30), TASKS[1]: int(k >= 30)},
        )
        for k in range(60)
    ]
    cohort, _ = load_cohort(listed, TASKS)
    return formats.Recordings(cohort, cohort.fold == metrics.VALIDATION_FOLD, "fold 9")


@pytest.fixture(scope="module")
def rows(small_bundle, recordings):
    some = tuple(one for one in targets.targets() if one.format in ("tflite", "c"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "targets", lambda: some)
        return formats.measure([small_bundle], recordings, final=False, say=lambda text: None)


def test_a_row_a_form_and_a_row_a_pair(rows):
    forms = [row["form"] for row in rows if "other" not in row]
    assert forms == [formats.EAGER, formats.REFERENCE, "tflite-int8", "tflite-fp32"]
    assert [(row["form"], row["other"]) for row in rows if "other" in row] == [("tflite-fp32", "tflite-int8")]


def test_rows_say_what_is_inside(rows):
    by_form = {row["form"]: row for row in rows if "other" not in row}
    assert by_form["tflite-int8"]["int8_layers"] == "30 of 48"
    assert by_form["tflite-fp32"]["int8_layers"] == "0 of 48"
    assert by_form["tflite-int8"]["bytes"] < by_form["tflite-fp32"]["bytes"]
    assert by_form["tflite-int8"]["stated"] == "schema 3"


def test_differences_are_on_all_recordings_and_ranks_on_the_judged_ones(rows):
    by_form = {row["form"]: row for row in rows if "other" not in row}
    assert by_form["tflite-int8"]["n"] == 60
    assert by_form["tflite-int8"]["recordings"] == "30 of fold 9"
    assert by_form["tflite-int8"]["positive"] == 15
    assert float(by_form["tflite-fp32"]["worst"]) < 1e-4
    assert float(by_form["tflite-int8"]["worst"]) > 1e-3
    assert by_form["tflite-fp32"]["flipped"] == "0 (0.00%)"
    assert by_form[formats.EAGER]["auroc_difference"] is None
    assert by_form["tflite-fp32"]["auroc_difference"].value == pytest.approx(0, abs=1e-6)
    assert np.isfinite(by_form["tflite-int8"]["auroc"].value)


def test_the_table_is_printed_in_parts_and_kept(rows, tmp_path):
    text = formats.table(rows)
    assert text.count("### ") == 2
    assert "| tflite-fp32 | tflite-int8 |" in text
    formats.write(rows, tmp_path)
    assert (tmp_path / "formats.csv").read_text().count("\n") == len(rows) + 1
