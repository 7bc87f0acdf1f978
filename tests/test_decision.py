"""From logits to outcomes and words: every refusal, its precedence, and the exact sentences."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge import decision
from lsemvae_edge.decision import Circumstances, decide, probability, tripped, unanswered, word
from lsemvae_edge.errors import BundleError
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.result import SCHEMA, ModelInfo, QualityResult, RecordInfo, ScreeningResult, TaskResult
from lsemvae_edge.runtime import Output
from lsemvae_edge.spec import Calibration, LatentSpec

ORDINARY = Circumstances(heart_rate_bpm=70.0, rhythm_reliable=True, available_leads=LIMB_LEADS, age_years=50.0)
PRIMARY, SIDE = "right_heart_pattern", "heart_side"
CLEAR = {"not_present": -3.0, "present": 3.0}


FAR = 4.0
LATENT = LatentSpec(mean=(0.0, 0.0), whitening=((1.0, 0.0), (0.0, 1.0)), max_distance=FAR)


def output(primary=0.0, side=0.0, swap=-5.0, not_ecg=-5.0, distance=0.0, contributions=None):
    nothing = np.zeros(2, dtype=np.float32)
    return Output(
        np.array([primary, side, swap, not_ecg], dtype=np.float32),
        np.array([distance, 0.0], dtype=np.float32),
        nothing,
        np.zeros((6, 4), dtype=np.float32) if contributions is None else contributions,
        nothing,
    )


@pytest.fixture(scope="module")
def model_spec(model_spec):
    return replace(model_spec, latent=LATENT)


def logit(value):
    return float(np.log(value / (1 - value)))


def decided(spec, circumstances=None, **logits):
    return decide(spec, output(**logits), circumstances or ORDINARY)


def worded(spec, results, advice=None, confirmed_swap=False, simulated=False):
    return word(spec, results, advice, confirmed_swap, simulated)


@pytest.mark.parametrize(("value", "outcome"), [(-3.0, "not_present"), (3.0, "present")])
def test_clear_logits_are_answered(model_spec, value, outcome):
    result = decided(model_spec, primary=value)[PRIMARY]
    assert result.outcome == outcome
    assert result.reason is None
    assert result.probability == pytest.approx(1 / (1 + np.exp(-value)))


def test_thresholds_belong_to_the_positive_side(model_spec):
    def outcome_at(value):
        # Thresholds equal to a probability to the last bit, whatever the rounding of the sigmoid.
        exact = probability(model_spec.primary, value)
        at_upper = replace(model_spec.primary, lower=exact / 2, upper=exact)
        at_lower = replace(model_spec.primary, lower=exact, upper=1.0)
        spec_of = [replace(model_spec, tasks=(task, model_spec.tasks[1])) for task in (at_upper, at_lower)]
        return [decided(spec, primary=value)[PRIMARY].outcome for spec in spec_of]

    assert outcome_at(0.25) == ["present", "inconclusive"]
    value, below = np.float32(0.25), np.nextafter(np.float32(0.25), np.float32(-1))
    exact = probability(model_spec.primary, float(value))
    single = replace(model_spec, tasks=(replace(model_spec.primary, lower=exact, upper=exact), model_spec.tasks[1]))
    assert decided(single, primary=value)[PRIMARY].outcome == "present"
    assert decided(single, primary=below)[PRIMARY].outcome == "not_present"


@given(st.floats(0.4001, 0.5999))
def test_between_the_thresholds_there_is_no_answer(model_spec, value):
    result = decided(model_spec, primary=logit(value))[PRIMARY]
    assert (result.outcome, result.reason) == ("inconclusive", decision.BETWEEN)
    assert result.probability == pytest.approx(value, abs=1e-6)


@given(st.floats(-1e30, 1e30), st.floats(0.1, 3), st.floats(-3, 3))
def test_a_probability_is_one_and_grows_with_its_logit(model_spec, value, slope, intercept):
    task = replace(model_spec.primary, calibration=Calibration(slope, intercept))
    assert 0.0 <= probability(task, value) <= 1.0
    assert probability(task, value) <= probability(task, value + 1)
    assert probability(task, -intercept / slope) == pytest.approx(0.5)


REFUSALS = [
    (decision.NOT_ECG, {}, {"not_ecg": 2.0}),
    (decision.LEADS_NOT_ACCEPTED, {"available_leads": ("I",)}, {}),
    (decision.TOO_YOUNG, {"age_years": 17.9}, {}),
    (decision.PACED, {"pacemaker": True}, {}),
    (decision.SWAP_CHECK, {}, {"swap": 1.0}),
    (decision.UNFAMILIAR, {}, {"distance": FAR}),
]


@pytest.mark.parametrize(("reason", "circumstances", "logits"), REFUSALS)
@pytest.mark.parametrize("primary", CLEAR.values())
def test_each_refusal_leaves_no_answer_and_keeps_the_probability(model_spec, reason, circumstances, logits, primary):
    results = decided(model_spec, replace(ORDINARY, **circumstances), primary=primary, side=4.0, **logits)
    assert results[PRIMARY].outcome == "inconclusive"
    assert results[PRIMARY].reason == reason
    assert results[PRIMARY].probability == pytest.approx(1 / (1 + np.exp(-primary)))
    assert results[SIDE].outcome == ("inconclusive" if primary > 0 else "not_asked")


@pytest.mark.parametrize("first", range(len(REFUSALS)))
def test_the_first_of_several_refusals_is_given(model_spec, first):
    circumstances, logits = {}, {}
    for _, more_circumstances, more_logits in REFUSALS[first:]:
        circumstances.update(more_circumstances)
        logits.update(more_logits)
    results = decided(model_spec, replace(ORDINARY, **circumstances), primary=3.0, **logits)
    assert results[PRIMARY].reason == REFUSALS[first][0]


@pytest.mark.parametrize(("reason", "circumstances", "logits"), REFUSALS)
def test_a_refusal_comes_before_thresholds_and_rate(model_spec, reason, circumstances, logits):
    unreliable = replace(ORDINARY, rhythm_reliable=False, heart_rate_bpm=None, **circumstances)
    for primary in (0.0, -3.0):
        assert decided(model_spec, unreliable, primary=primary, **logits)[PRIMARY].reason == reason


@pytest.mark.parametrize(
    "circumstances",
    [{"age_years": 18.0}, {"age_years": None}, {"pacemaker": None}, {"pacemaker": False}, {"age_years": 99.0}],
)
def test_adults_and_unasked_questions_are_answered(model_spec, circumstances):
    assert decided(model_spec, replace(ORDINARY, **circumstances), primary=3.0)[PRIMARY].outcome == "present"


def test_any_accepted_set_of_leads_will_do(model_spec):
    spec = replace(model_spec, accepted_lead_sets=(LIMB_LEADS, ("II",)))
    answered = {("II",): "present", ("II", "V1"): "present", ("I",): "inconclusive", (): "inconclusive"}
    for leads, outcome in answered.items():
        assert decided(spec, replace(ORDINARY, available_leads=leads), primary=3.0)[PRIMARY].outcome == outcome


def test_a_guard_objects_from_its_level_on(model_spec):
    just_below = float(np.nextafter(np.float32(1.0), np.float32(0)))
    assert tripped(model_spec, output(swap=just_below)) == set()
    assert tripped(model_spec, output(swap=1.0)) == {"electrode_swap"}
    assert tripped(model_spec, output(swap=1.0, not_ecg=2.0)) == {"electrode_swap", "not_ecg"}
    assert tripped(model_spec, output(swap=np.inf)) == {"electrode_swap"}


@pytest.mark.parametrize("primary", CLEAR.values())
def test_a_recording_unlike_all_that_the_model_learned_from_gets_no_answer(model_spec, primary):
    near = float(np.nextafter(np.float32(FAR), np.float32(0)))
    assert tripped(model_spec, output(distance=near)) == set()
    assert decided(model_spec, primary=primary, distance=near)[PRIMARY].outcome in CLEAR
    for distance in (FAR, -FAR, 1e9):
        assert tripped(model_spec, output(distance=distance)) == {"unfamiliar"}
        refused = decided(model_spec, primary=primary, distance=distance)[PRIMARY]
        assert (refused.outcome, refused.reason) == ("inconclusive", decision.UNFAMILIAR)


def test_without_a_described_latent_space_nothing_is_unfamiliar(model_spec):
    undescribed = replace(model_spec, latent=None)
    assert tripped(undescribed, output(distance=1e9)) == set()
    assert decided(undescribed, primary=3.0, distance=1e9)[PRIMARY].outcome == "present"


def test_a_suspected_swap_that_the_operator_confirmed_is_answered(model_spec):
    confirmed = replace(ORDINARY, electrodes_confirmed=True)
    assert decided(model_spec, primary=3.0, swap=5.0)[PRIMARY].reason == decision.SWAP_CHECK
    assert decided(model_spec, confirmed, primary=3.0, swap=5.0)[PRIMARY].outcome == "present"
    # Confirming electrodes excuses nothing else.
    assert decided(model_spec, confirmed, primary=3.0, swap=5.0, distance=FAR)[PRIMARY].reason == decision.UNFAMILIAR
    assert decided(model_spec, confirmed, primary=3.0, swap=5.0, not_ecg=5.0)[PRIMARY].reason == decision.NOT_ECG


UNSURE_RATE = [
    (decision.RATE_UNKNOWN, {"heart_rate_bpm": None}),
    (decision.RATE_UNKNOWN, {"rhythm_reliable": False}),
    (decision.RATE_OUTSIDE, {"heart_rate_bpm": 39.9}),
    (decision.RATE_OUTSIDE, {"heart_rate_bpm": 150.1}),
    (decision.RATE_OUTSIDE, {"heart_rate_bpm": float("nan")}),
]


@pytest.mark.parametrize(("reason", "circumstances"), UNSURE_RATE)
def test_the_pattern_is_never_called_absent_at_an_unsure_rate_but_may_be_seen(model_spec, reason, circumstances):
    seen = replace(ORDINARY, **circumstances)
    absent = decided(model_spec, seen, primary=-3.0)[PRIMARY]
    assert (absent.outcome, absent.reason) == ("inconclusive", reason)
    assert absent.probability == pytest.approx(probability(model_spec.primary, -3.0))
    assert decided(model_spec, seen, primary=3.0)[PRIMARY].outcome == "present"


@pytest.mark.parametrize("rate", [40.0, 150.0])
def test_the_bounds_of_the_rate_are_inside(model_spec, rate):
    assert decided(model_spec, replace(ORDINARY, heart_rate_bpm=rate), primary=-3.0)[PRIMARY].outcome == "not_present"


circumstances = st.builds(
    Circumstances,
    heart_rate_bpm=st.none() | st.floats(0, 300),
    rhythm_reliable=st.booleans(),
    available_leads=st.sampled_from([LIMB_LEADS, ("I", "II"), ()]),
    age_years=st.none() | st.floats(0, 100),
    pacemaker=st.none() | st.booleans(),
    electrodes_confirmed=st.booleans(),
)
logits = st.floats(width=32, allow_nan=False, allow_infinity=False)
distances = st.floats(0, 2 * FAR, width=32)


@given(circumstances, logits, logits, logits, logits, distances)
def test_nothing_ever_reassures_outside_the_intended_use(model_spec, seen, primary, side, swap, not_ecg, distance):
    results = decided(model_spec, seen, primary=primary, side=side, swap=swap, not_ecg=not_ecg, distance=distance)
    assert list(results) == [PRIMARY, SIDE]
    result = results[PRIMARY]
    assert result.outcome in ("present", "not_present", "inconclusive")
    assert (result.reason is None) == (result.outcome != "inconclusive")
    if result.outcome == "not_present":
        assert seen.rhythm_reliable
        assert seen.heart_rate_bpm is not None
        assert 40 <= seen.heart_rate_bpm <= 150
    if result.outcome != "inconclusive":
        assert np.isfinite([primary, side, swap, not_ecg]).all()
        assert set(LIMB_LEADS) <= set(seen.available_leads)
        assert seen.age_years is None or seen.age_years >= 18
        assert not seen.pacemaker
        assert swap < 1 or seen.electrodes_confirmed
        assert not_ecg < 2
        assert distance < FAR


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["primary", "side", "swap", "not_ecg"])
def test_a_logit_that_is_no_number_is_never_answered(model_spec, which, value):
    with pytest.raises(BundleError, match="a number that is none"):
        decided(model_spec, **{"primary": 3.0, "side": 4.0, which: value})


def test_a_latent_space_or_contribution_that_is_no_number_is_never_answered(model_spec):
    with pytest.raises(BundleError, match="a number that is none"):
        decided(model_spec, primary=3.0, distance=np.nan)
    with pytest.raises(BundleError, match="a number that is none"):
        decided(model_spec, primary=3.0, contributions=np.full((6, 4), np.nan, dtype=np.float32))


def test_what_each_lead_added_is_told_in_log_odds_over_an_average_recording(model_spec):
    baseline = (0.5, 0.0, 0.0, 0.0, 0.0, -1.0)
    task = replace(model_spec.primary, calibration=Calibration(2.0, 7.0), lead_baseline=baseline)
    spec = replace(model_spec, tasks=(task, model_spec.tasks[1]))
    contributions = np.zeros((6, 4), dtype=np.float32)
    contributions[:, 0] = [1.0, -0.25, 0.0, -0.0001, 0.1234567, -1.0]
    contributions[:, 1] = 100.0
    told = decided(spec, primary=3.0, contributions=contributions)[PRIMARY].lead_contributions
    assert told == {"I": 1.0, "II": -0.5, "III": 0.0, "aVR": 0.0, "aVL": 0.247, "aVF": 0.0}
    assert list(told) == list(LIMB_LEADS)
    assert "-0.0" not in json.dumps({lead: told[lead] for lead in ("III", "aVR", "aVF")})


def test_the_leads_contributions_explain_how_far_a_recording_is_from_an_average_one(model_spec):
    rng = np.random.default_rng(0)
    recordings = rng.normal(size=(50, 6, 4)).astype(np.float32)
    baseline = tuple(float(value) for value in recordings.mean(axis=0)[:, 0])
    task = replace(model_spec.primary, calibration=Calibration(1.7, -0.4), lead_baseline=baseline)
    spec = replace(model_spec, tasks=(task, model_spec.tasks[1]))
    logits = recordings.sum(axis=1)[:, 0] + 0.3
    for contributions, value in zip(recordings[:10], logits[:10], strict=True):
        told = decided(spec, primary=float(value), contributions=contributions)[PRIMARY].lead_contributions
        assert sum(told.values()) == pytest.approx(1.7 * (value - logits.mean()), abs=0.005)


def test_contributions_are_told_of_available_leads_whenever_there_is_a_probability(model_spec):
    alone = replace(ORDINARY, available_leads=("II",))
    assert list(decided(model_spec, alone, primary=3.0)[PRIMARY].lead_contributions) == ["II"]
    for results in (
        decided(model_spec, primary=-3.0),
        decided(model_spec, primary=3.0, not_ecg=5.0),
        unanswered(model_spec, "Keep still."),
    ):
        for result in results.values():
            assert (result.lead_contributions is None) == (result.probability is None)


def test_the_side_is_asked_only_when_the_pattern_is_likely(model_spec):
    unlikely = decided(model_spec, primary=logit(0.39), side=4.0)[SIDE]
    assert unlikely == TaskResult("not_asked", None, None)
    for side, outcome in ((4.0, "right"), (-4.0, "left"), (0.0, "inconclusive")):
        asked = decided(model_spec, primary=logit(0.9), side=side)[SIDE]
        assert asked.outcome == outcome
        assert asked.probability == pytest.approx(1 / (1 + np.exp(-side)))


def test_when_the_model_did_not_run_every_task_is_inconclusive_without_probability(model_spec):
    results = unanswered(model_spec, "Too much movement.")
    assert results == {name: TaskResult("inconclusive", None, "Too much movement.") for name in (PRIMARY, SIDE)}


def test_the_sentences_are_those_that_were_settled():
    assert decision.NO_REASSURANCE == (
        "This does not rule out disease. If the person is breathless, faints or has swollen legs, refer."
    )
    assert decision.SWAP_CHECK.rstrip(".") == "Swap check: left hand on L, right hand on R; record again"
    assert (decision.PATTERN_SEEN, decision.PATTERN_NOT_SEEN, decision.NO_ANSWER) == (
        "Pattern seen",
        "Pattern not seen",
        "No answer",
    )


def test_a_pattern_seen_is_referred(model_spec):
    wording = worded(model_spec, decided(model_spec, primary=3.0, side=4.0))
    assert wording.headline == "Pattern seen: right-heart pattern"
    assert wording.advice.startswith("Refer this person to a clinician.")
    assert "side of overload: right." in wording.notes


def test_a_pattern_not_seen_never_reassures(model_spec):
    wording = worded(model_spec, decided(model_spec, primary=-3.0))
    assert wording.headline == "Pattern not seen: right-heart pattern"
    assert wording.advice == decision.NO_REASSURANCE


def test_no_answer_says_why_and_what_to_do(model_spec):
    wording = worded(model_spec, decided(model_spec, primary=0.0))
    assert wording.headline == "No answer"
    assert wording.advice == f"{decision.BETWEEN} {decision.REFER_OR_REPEAT}"
    swapped = worded(model_spec, decided(model_spec, primary=3.0, swap=5.0))
    assert swapped.headline == "No answer"
    assert swapped.advice == decision.SWAP_CHECK
    refused = worded(model_spec, unanswered(model_spec, "Keep still."), advice="Keep still.")
    assert refused.advice == "Keep still."
    assert worded(model_spec, unanswered(model_spec, None)).advice == decision.REFER_OR_REPEAT


def test_a_confirmed_swap_is_said_beside_the_result(model_spec):
    confirmed = decided(model_spec, replace(ORDINARY, electrodes_confirmed=True), primary=3.0, swap=5.0)
    assert decision.SWAP_CONFIRMED in worded(model_spec, confirmed, confirmed_swap=True).notes
    assert decision.SWAP_CONFIRMED not in worded(model_spec, confirmed).notes


def test_a_simulated_recording_is_said_to_be_no_persons(model_spec):
    results = decided(model_spec, primary=3.0)
    note = "Simulated recording: this is no person's result."
    assert worded(model_spec, results, simulated=True).notes[0] == note
    assert note not in worded(model_spec, results).notes


def test_a_model_with_a_real_label_has_no_note_of_a_stand_in(model_spec):
    real = replace(model_spec, intended_use=replace(model_spec.intended_use, stand_in=None))
    notes = worded(real, decided(real, primary=3.0)).notes
    assert not any("stand-in" in note for note in notes)
    assert decision.RESEARCH_USE in notes


@given(circumstances, logits, logits, logits, logits, st.booleans())
def test_the_words_carry_their_notes_and_never_a_figure(model_spec, seen, primary, side, swap, not_ecg, simulated):
    results = decided(model_spec, seen, primary=primary, side=side, swap=swap, not_ecg=not_ecg)
    wording = worded(model_spec, results, simulated=simulated)
    headlines = {"present": "Pattern seen:", "not_present": "Pattern not seen:", "inconclusive": "No answer"}
    assert wording.headline.startswith(headlines[results[PRIMARY].outcome])
    text = " ".join([wording.headline, wording.advice, *wording.notes])
    assert "Trained on a stand-in label: right-heart pattern, not pulmonary hypertension." in wording.notes
    assert wording.notes[-1] == "Research use, not a diagnosis."
    assert not any(character.isdigit() or character == "%" for character in text)
    assert "probab" not in text.lower()
    assert all(sentence.endswith((".", "again")) for sentence in (wording.advice, *wording.notes))


def test_a_result_is_plain_json_under_its_schema(model_spec):
    results = decided(model_spec, primary=3.0, side=4.0)
    result = ScreeningResult(
        outcome=results[PRIMARY].outcome,
        tasks=results,
        quality=QualityResult(True, None, 0.2, 7.4, (), None, {}),
        heart_rate_bpm=71.0,
        record=RecordInfo(
            None, "0" * 64, "file", None, None, None, 10.0, 500.0, ("I", "II"), LIMB_LEADS[2:], (), "calibrated"
        ),
        model=ModelInfo("made-by-hand", "0" * 64, model_spec.intended_use.stand_in, "litert"),
        wording=worded(model_spec, results),
        timing_ms={"load": 0.0, "preprocess": 0.0, "inference": 0.0, "total": 0.0},
        software_version="0",
    )
    parsed = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert parsed["schema"] == SCHEMA == "lsemvae-edge/screening-result/1"
    assert parsed["outcome"] == "present"
    assert parsed["tasks"][PRIMARY] == {
        "outcome": "present",
        "probability": pytest.approx(0.9526, abs=1e-4),
        "reason": None,
        "lead_contributions": dict.fromkeys(LIMB_LEADS, 0.0),
    }
    stable = {"outcome", "tasks", "quality", "heart_rate_bpm", "model", "timing_ms", "record", "software_version"}
    assert stable <= set(parsed)
