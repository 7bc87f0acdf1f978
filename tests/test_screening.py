"""The whole way of a recording, on the real runtime and with the bundle that ships."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge import decision, formats, preprocess, quality
from lsemvae_edge.device.simulator import record_demo
from lsemvae_edge.errors import BadInputError, BundleError
from lsemvae_edge.leads import LIMB_LEADS, STANDARD_12, derive_limb_leads
from lsemvae_edge.record import Record
from lsemvae_edge.result import INCONCLUSIVE
from lsemvae_edge.runtime import open_session
from lsemvae_edge.screening import model_ran, screen
from lsemvae_edge.synthetic.electrodes import contact_loss
from lsemvae_edge.synthetic.faults import SPOILED, SWAPS
from lsemvae_edge.synthetic.heart import Heart, simulate

SEEDS = range(6)
DATA = os.environ.get("LSEMVAE_EDGE_DATA")
ANSWERS = {"present", "not_present"}


@pytest.fixture(scope="module")
def shipped() -> bundles.Bundle:
    return bundles.default()


@pytest.fixture(scope="module")
def session(shipped):
    return open_session(shipped)


@pytest.fixture(scope="module")
def run(shipped, session):
    def screened(record, **circumstances):
        return screen(record, shipped, session=session, **circumstances)

    return screened


@pytest.fixture(scope="module")
def heart(run, heart_record):
    """Record a normal heart that this model answers."""
    return next(r for r in (heart_record(seed=seed) for seed in SEEDS) if run(r).outcome in ANSWERS)


def swapped(record: Record, kind: str) -> Record:
    return replace(record, signal_mv=(SWAPS[kind] @ record.signal_mv).astype(np.float32))


def reason(result) -> str | None:
    return result.tasks["right_heart_pattern"].reason


# What gets an answer ------------------------------------------------------------------------------


def test_most_simulated_normal_hearts_get_an_answer(run):
    results = [run(simulate(Heart(), 12.0, 500.0, seed, ("I", "II"))) for seed in SEEDS]
    assert sum(result.outcome in ANSWERS for result in results) >= 5
    for result in results:
        assert result.record.origin == "simulated"
        assert any("no person's result" in note for note in result.wording.notes)
        assert result.heart_rate_bpm == pytest.approx(72, abs=3)


def test_a_demo_recording_is_screened_and_said_to_be_simulated(run):
    result = run(record_demo(0))
    assert result.record.origin == "demo"
    assert model_ran(result)
    assert any("Simulated recording" in note for note in result.wording.notes)
    assert result.record.clock_set is False
    assert result.record.started_at is None


def test_a_recording_of_a_person_is_not_called_simulated(run, heart):
    result = run(heart)
    assert result.record.origin == "file"
    assert not any("imulated" in note for note in result.wording.notes)


def test_two_independent_limb_leads_are_enough_and_the_others_are_said_to_be_derived(run, heart):
    rows = derive_limb_leads(*heart.signal_mv)
    six = replace(heart, signal_mv=rows, leads=LIMB_LEADS, gaps=None)
    pair = replace(heart, signal_mv=rows[[2, 5]], leads=("III", "aVF"), gaps=None)
    result, expected = run(pair), run(six)
    assert result.outcome == expected.outcome
    assert result.outcome in ANSWERS
    assert result.record.leads_measured == ("III", "aVF")
    assert result.record.leads_derived == ("I", "II", "aVR", "aVL")
    assert result.record.leads_masked == ()
    assert result.quality.einthoven_residual is None
    assert expected.quality.einthoven_residual == pytest.approx(0, abs=0.01)
    assert expected.record.leads_derived == ()


def test_chest_leads_change_nothing(run, heart_record):
    twelve = heart_record(leads=STANDARD_12)
    six = replace(twelve, signal_mv=twelve.signal_mv[:6], leads=LIMB_LEADS, gaps=None)
    assert run(twelve).tasks == run(six).tasks


def test_the_order_of_the_rows_changes_nothing(run, heart):
    turned = replace(heart, signal_mv=heart.signal_mv[::-1], leads=heart.leads[::-1], gaps=None)
    assert run(turned).tasks == run(heart).tasks


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_a_common_gain_gives_the_same_logits_and_outcome(run, shipped, session, heart, gain):
    louder = replace(heart, signal_mv=heart.signal_mv * np.float32(gain))
    assert run(louder).tasks == run(heart).tasks
    logits = [session.run(preprocess.apply(r, shipped.spec.preprocess).signal).logits for r in (heart, louder)]
    np.testing.assert_array_equal(*logits)


@pytest.mark.parametrize("amplitude", ["uncalibrated", "relative"])
def test_a_scale_that_is_no_millivolts_is_answered_alike(run, heart, amplitude):
    counts = replace(heart, signal_mv=heart.signal_mv * np.float32(1024), amplitude=amplitude)
    result = run(counts)
    assert result.record.amplitude == amplitude
    assert result.tasks == run(heart).tasks


def test_a_session_may_be_used_again(run, shipped, heart, heart_record):
    first = run(heart)
    run(heart_record(seed=99, rate_bpm=90.0))
    again = run(heart)
    fresh = screen(heart, shipped)
    for result in (again, fresh):
        assert replace(result, timing_ms={}) == replace(first, timing_ms={})


@pytest.mark.skipif(not DATA, reason="LSEMVAE_EDGE_DATA is not set: no six-lead sample here")
def test_the_real_six_lead_sample_gets_an_answer(run):
    result = run(formats.read(Path(DATA) / "kardia6l" / "kardia6l_svg_leads_mV.csv"))
    assert result.outcome in ANSWERS
    assert result.record.duration_s == pytest.approx(9.96, abs=0.01)
    assert result.record.leads_measured == LIMB_LEADS


def test_the_real_dicom_sample_runs_to_a_result(run):
    pydicom_data = pytest.importorskip("pydicom.data")
    path = pydicom_data.get_testdata_file("waveform_ecg.dcm", download=False)
    result = run(formats.read(path))
    assert result.outcome in {*ANSWERS, INCONCLUSIVE}
    assert result.record.leads_measured == LIMB_LEADS
    assert result.record.duration_s == pytest.approx(10.0)


# The result as other programs read it -------------------------------------------------------------

KEYS = {
    "": {
        "schema", "outcome", "tasks", "quality", "heart_rate_bpm", "record", "model", "wording", "timing_ms",
        "software_version",
    },
    "quality": {"usable", "advice", "window_start_s", "window_s", "flags", "einthoven_residual", "leads"},
    "record": {
        "id", "sha256", "origin", "started_at", "clock_set", "device", "duration_s", "fs_hz", "leads_measured",
        "leads_derived", "leads_masked", "amplitude",
    },
    "model": {"id", "sha256", "stand_in", "runtime"},
    "wording": {"headline", "advice", "notes"},
    "timing_ms": {"load", "preprocess", "quality", "inference", "decision", "total"},
}  # fmt: skip


@pytest.mark.parametrize("duration_s", [12.0, 3.0], ids=["answered", "refused"])
def test_the_result_has_its_stable_keys(run, shipped, heart_record, duration_s):
    result = json.loads(json.dumps(run(heart_record(duration_s)).to_dict(), allow_nan=False))
    for place, names in KEYS.items():
        assert names <= set(result[place] if place else result)
    assert result["schema"] == "lsemvae-edge/screening-result/1"
    assert set(result["tasks"]) == {task.name for task in shipped.spec.tasks} == {"right_heart_pattern", "heart_side"}
    for task in result["tasks"].values():
        assert set(task) >= {"outcome", "probability", "reason", "lead_contributions"}
    assert set(result["quality"]["leads"]) == set(LIMB_LEADS)
    for lead in result["quality"]["leads"].values():
        assert set(lead) >= {"usable", "flags"}
    assert result["outcome"] == result["tasks"]["right_heart_pattern"]["outcome"]
    assert result["model"]["sha256"] == shipped.sha256
    assert result["model"]["stand_in"] == "right-heart pattern, not pulmonary hypertension"
    parts = result["timing_ms"]
    assert parts["total"] >= max(parts["load"], parts["preprocess"], parts["inference"])


def test_a_probability_is_given_whenever_the_model_ran(run, heart):
    ran, abstained = run(heart), run(heart, age_years=9.0)
    refused = run(replace(heart, signal_mv=heart.signal_mv[:, :1500], gaps=None))
    assert model_ran(ran)
    assert model_ran(abstained)
    for result in (ran, abstained):
        assert 0 <= result.tasks["right_heart_pattern"].probability <= 1
        for task in result.tasks.values():
            assert (task.probability is None) == (task.outcome == "not_asked")
            assert (task.lead_contributions is None) == (task.probability is None)
        assert set(result.tasks["right_heart_pattern"].lead_contributions) == set(LIMB_LEADS)
    assert not model_ran(refused)
    assert all(task.probability is None for task in refused.tasks.values())
    assert all(task.outcome == INCONCLUSIVE and task.reason for task in refused.tasks.values())


def test_the_words_say_what_the_label_stands_in_for(run, heart):
    result = run(heart)
    assert "Trained on a stand-in label: right-heart pattern, not pulmonary hypertension." in result.wording.notes
    assert decision.RESEARCH_USE in result.wording.notes


# What is refused ----------------------------------------------------------------------------------


def test_one_lead_is_inconclusive_and_its_absent_leads_are_masked(run, heart_record):
    result = run(heart_record(leads=("II",)))
    assert result.outcome == INCONCLUSIVE
    assert not result.quality.usable
    assert result.record.leads_measured == ("II",)
    assert result.record.leads_derived == ()
    assert result.record.leads_masked == ("I", "III", "aVR", "aVL", "aVF")


def test_three_seconds_are_too_few_and_the_missing_ones_are_counted(run, shipped, heart_record):
    result = run(heart_record(3.0))
    missing = int(np.ceil(shipped.spec.preprocess.required_s - 3.0))
    assert missing == 7
    assert f"Record {missing} more seconds." in result.quality.advice
    assert result.wording.advice == result.quality.advice
    assert not model_ran(result)
    assert run(heart_record(3.0 + missing)).quality.usable


def test_below_100_hz_nothing_is_screened(run, heart_record):
    with pytest.raises(BadInputError, match="50 samples a second"):
        run(heart_record(fs_hz=50.0))


def test_noise_is_refused(run):
    rng = np.random.default_rng(3)
    for size_mv in (0.02, 0.3, 2.0):
        for smooth in (1, 5, 25):
            noise = np.convolve(rng.normal(0, size_mv, 12000), np.ones(smooth) / smooth, mode="same").reshape(2, 6000)
            assert run(Record(noise.astype(np.float32), 500.0, ("I", "II"))).outcome == INCONCLUSIVE


def test_a_flat_signal_is_refused(run):
    assert run(Record(np.zeros((2, 6000), dtype=np.float32), 500.0, ("I", "II"))).outcome == INCONCLUSIVE


@pytest.mark.parametrize("row", range(6))
def test_six_measured_leads_of_which_one_is_inverted_are_refused(run, heart_record, row):
    six = heart_record(leads=LIMB_LEADS)
    signal = six.signal_mv.copy()
    signal[row] *= -1
    result = run(replace(six, signal_mv=signal))
    assert result.outcome == INCONCLUSIVE
    assert "leads_inconsistent" in result.quality.flags


@pytest.mark.parametrize("kind", SPOILED)
def test_a_spoiled_heart_gets_no_answer(run, heart_record, kind):
    result = run(SPOILED[kind](np.random.default_rng(5), heart_record(leads=LIMB_LEADS)))
    assert result.outcome == INCONCLUSIVE


def test_contact_lost_in_every_window_is_refused(run, heart_record):
    result = run(contact_loss(heart_record(12.0), 5.5, 6.0))
    assert not model_ran(result)
    assert "Contact was lost" in result.wording.advice


def test_contact_lost_early_leaves_a_window_behind_it(run, shipped, heart_record):
    result = run(contact_loss(heart_record(24.0), 2.0, 5.0))
    assert result.quality.usable
    assert result.quality.window_start_s >= 5.0 + shipped.spec.preprocess.context_s - 0.01


# When the model abstains --------------------------------------------------------------------------


def test_exchanged_arms_are_not_answered(run, heart_record):
    results = [run(swapped(heart_record(seed=seed), "arms")) for seed in SEEDS]
    assert sum(result.outcome == INCONCLUSIVE for result in results) >= 5
    checks = [result for result in results if reason(result) == decision.SWAP_CHECK]
    assert checks
    assert all(result.wording.advice == decision.SWAP_CHECK for result in checks)
    assert all(model_ran(result) for result in checks)


def test_exchanged_arms_that_the_operator_confirmed_are_held_back_no_longer_and_it_is_said(run, heart_record):
    suspected = [swapped(heart_record(seed=seed), "arms") for seed in SEEDS]
    suspected = [record for record in suspected if reason(run(record)) == decision.SWAP_CHECK]
    confirmed = [run(record, electrodes_confirmed=True) for record in suspected]
    assert confirmed
    for result in confirmed:
        # A simulated heart with exchanged arms may be unlike all that the model learned from, which stands.
        assert result.outcome in ANSWERS or reason(result) in (decision.UNFAMILIAR, decision.BETWEEN)
        assert decision.SWAP_CONFIRMED in result.wording.notes


def test_confirming_electrodes_that_were_not_suspected_adds_no_note(run, heart):
    result = run(heart, electrodes_confirmed=True)
    assert result.tasks == run(heart).tasks
    assert decision.SWAP_CONFIRMED not in result.wording.notes


def test_a_child_gets_no_answer(run, heart):
    result = run(heart, age_years=9.0)
    assert result.outcome == INCONCLUSIVE
    assert reason(result) == decision.TOO_YOUNG
    from_file = run(replace(heart, meta={**heart.meta, "age_years": 9.0}))
    assert from_file.tasks == result.tasks


def test_a_paced_heart_gets_no_answer(run, heart):
    result = run(heart, pacemaker=True)
    assert result.outcome == INCONCLUSIVE
    assert reason(result) == decision.PACED
    from_file = run(replace(heart, meta={**heart.meta, "pacemaker": True}))
    assert from_file.tasks == result.tasks


def test_what_the_operator_says_stands_above_the_file(run, heart):
    said_otherwise = replace(heart, meta={**heart.meta, "pacemaker": True, "age_years": 9.0})
    assert run(said_otherwise, pacemaker=False, age_years=40.0).tasks == run(heart).tasks


@pytest.mark.parametrize("rate_bpm", [30.0, 180.0])
def test_far_from_ordinary_rates_the_pattern_is_never_called_absent(run, heart_record, rate_bpm):
    for seed in SEEDS:
        result = run(heart_record(20.0, seed=seed, rate_bpm=rate_bpm))
        assert result.outcome != "not_present"
        if result.heart_rate_bpm is not None:
            assert result.heart_rate_bpm == pytest.approx(rate_bpm, rel=0.1)


# How the window is chosen -------------------------------------------------------------------------


def test_the_window_is_chosen_by_quality_and_the_model_runs_once(shipped, session, heart_record):
    calls = []

    class Counting:
        runtime, model = session.runtime, session.model

        def run(self, signal, mask=None):
            calls.append(signal)
            return session.run(signal, mask)

    record = contact_loss(heart_record(30.0), 4.0, 4.5)
    result = screen(record, shipped, session=Counting())
    spec = shipped.spec
    conditioned = preprocess.condition(record, spec.preprocess)
    chosen = quality.assess(record, conditioned, spec.preprocess, spec.quality)
    assert len(calls) == 1
    np.testing.assert_array_equal(calls[0], preprocess.cut(conditioned, spec.preprocess, chosen.start).signal)
    assert result.quality.window_start_s == chosen.window_start_s


def test_a_refused_recording_opens_no_model(shipped, heart_record, monkeypatch):
    def never(*_):
        raise AssertionError("the model was opened")

    monkeypatch.setattr("lsemvae_edge.screening.open_session", never)
    assert screen(heart_record(3.0), shipped).outcome == INCONCLUSIVE


# Which model answers ------------------------------------------------------------------------------


def test_a_model_file_that_was_changed_is_not_run(shipped, heart_record, tmp_path):
    folder = tmp_path / "changed"
    folder.mkdir()
    for name in ("manifest.json", *shipped.manifest.files):
        (folder / name).write_bytes((shipped.path / name).read_bytes())
    model = folder / shipped.manifest.models[0].path
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleError, match="is not the file its manifest lists"):
        screen(heart_record(), bundles.load(folder))
