"""The decision in C against its oracle bit for bit, and against `lsemvae_edge.decision` on what both can say."""

import ctypes
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lsemvae_edge import decision
from lsemvae_edge.decision import Circumstances
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.quantize.firmware import oracle
from lsemvae_edge.quantize.firmware.host import Library
from lsemvae_edge.result import INCONCLUSIVE, NOT_ASKED
from lsemvae_edge.runtime import Output
from lsemvae_edge.spec import ModelSpec

SANITIZE = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
RHYTHM_UNRELIABLE = 0x20
STEPS = 65536
INT32 = (1 << 31) - 1
REASONS = {
    None: oracle.NO_REASON,
    decision.NOT_ECG: oracle.NOT_ECG,
    decision.TOO_YOUNG: oracle.TOO_YOUNG,
    decision.PACED: oracle.PACED,
    decision.SWAP_CHECK: oracle.ELECTRODE_SWAP,
    decision.UNFAMILIAR: oracle.UNFAMILIAR,
    decision.BETWEEN: oracle.BETWEEN,
    decision.RATE_UNKNOWN: oracle.RATE_UNKNOWN,
    decision.RATE_OUTSIDE: oracle.RATE_OUTSIDE,
}
Image = np.ndarray[Any, np.dtype[Any]]
ADULT = {"age_years": 60, "pacemaker": False, "electrodes_confirmed": False}
STEADY = {"rate_tenths": 700, "rhythm_reliable": True}


@pytest.fixture(scope="module")
def library(firmware) -> Library:
    """Stops at undefined behaviour."""
    return firmware.library("small", *SANITIZE)


@pytest.fixture(scope="module")
def image(firmware) -> Image:
    return firmware.firmware("small").image


@pytest.fixture(scope="module")
def spec(firmware) -> ModelSpec:
    return firmware.firmware("small").spec


persons = st.fixed_dictionaries(
    {
        "age_years": st.sampled_from([None, 0, 17, 18, 60, 255]),
        "pacemaker": st.sampled_from([False, False, False, True]),
        "electrodes_confirmed": st.booleans(),
    }
)
rhythms = st.fixed_dictionaries(
    {
        "rate_tenths": st.sampled_from([0, 1, 399, 400, 401, 700, 1499, 1500, 1501, 65535]),
        "rhythm_reliable": st.sampled_from([True, True, True, False]),
    }
)


def by_c(library: Library, image: Image, answer: oracle.Answer, **told: Any) -> Any:
    """Decide by C; returns its result struct."""
    given_answer = library._answer()
    given_answer.logits[:] = answer.logits.tolist()
    given_answer.mu[:] = answer.mu.tolist()
    given_answer.latent_distance = answer.latent_distance
    for row, values in zip(given_answer.contributions, answer.contributions.tolist(), strict=True):
        row[:] = values
    age = told.get("age_years")
    person = (ctypes.c_uint8 * 4)(
        age is not None, age or 0, told.get("pacemaker", False), told.get("electrodes_confirmed", False)
    )
    result = library.result()
    result.heart_rate_tenths = told.get("rate_tenths", 700)
    result.flags = 0 if told.get("rhythm_reliable", True) else RHYTHM_UNRELIABLE
    # What an earlier run left behind is of no account.
    for task in result.tasks:
        task.outcome, task.reason, task.log_odds, task.probability_q15 = 3, 9, -5, 77
        task.contributions[:] = [1] * len(task.contributions)
    library.c.lsemvae_decide(
        ctypes.c_void_p(image.ctypes.data), ctypes.byref(given_answer), person, ctypes.byref(result)
    )
    assert list(result.logits) == answer.logits.tolist()
    assert result.latent_distance == answer.latent_distance
    return result


def told_by_c(result: Any) -> tuple[oracle.Decision, ...]:
    return tuple(
        oracle.Decision(task.outcome, task.reason, task.log_odds, task.probability_q15, tuple(task.contributions))
        for task in result.tasks
    )


def answer_of(logits: list[int], contributions: np.ndarray, distance: int) -> oracle.Answer:
    return oracle.Answer(
        np.array(logits, dtype=np.int64), contributions.astype(np.int64), np.zeros(32, dtype=np.int64), distance
    )


# ---- bit for bit ----


def wild(image: Image, seed: int) -> Image:
    """Return an image with another decision: calibrations and bounds of every size, tasks that wait for others."""
    rng = np.random.default_rng(seed)
    made = image.copy()
    widest = float(rng.choice([3.0, 1000.0, 32768.0]))
    for task in made["tasks"]:
        task["output"] = rng.integers(0, 4)
        task["slope_q20"] = rng.choice([1 << 20, -INT32, INT32, int(rng.uniform(-3, 3) * (1 << 20))])
        task["intercept"] = int(rng.uniform(-widest, widest) * (STEPS - 1))
        task["lower"], task["upper"] = sorted(int(one * (STEPS - 1)) for one in rng.uniform(-widest, widest, 2))
        task["baseline"] = rng.uniform(-widest, widest, 6) * (STEPS - 1)
        task["asked_task"] = rng.integers(-1, 2)
        task["asked_min"] = int(rng.uniform(-widest, widest) * (STEPS - 1))
    for guard in made["guards"]:
        guard["kind"] = rng.choice([oracle.NOT_ECG, oracle.ELECTRODE_SWAP])
        guard["output"] = rng.integers(0, 4)
        guard["max_logit"] = int(rng.uniform(-widest, widest) * (STEPS - 1))
    made["max_distance"] = rng.choice([0, 1, 10 * STEPS, INT32])
    made["min_age_years"] = rng.integers(0, 100)
    made["min_rate_tenths"], made["max_rate_tenths"] = rng.choice([(0, 65535), (400, 1500), (701, 1500)])
    return made


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32 - 1),
    logits=st.lists(
        st.one_of(st.integers(-5 * STEPS, 5 * STEPS), st.integers(-INT32 - 1, INT32)), min_size=4, max_size=4
    ),
    distance=st.sampled_from([0, 1, 10 * STEPS - 1, 10 * STEPS, INT32]),
    largest=st.sampled_from([1, STEPS, INT32]),
    person=persons,
    rhythm=rhythms,
    tied=st.sampled_from(["lower", "upper", "asked_min", "max_logit", None]),
)
def test_decisions_equal_the_oracles_whatever_the_image_says(
    library, image, seed, logits, distance, largest, person, rhythm, tied
):
    made = wild(image, seed)
    contributions = np.random.default_rng(seed).integers(-largest - 1, largest, (6, 4), endpoint=True)
    answer = answer_of(logits, contributions, distance)
    tie(made, answer, tied)
    result = by_c(library, made, answer, **person, **rhythm)
    assert told_by_c(result) == oracle.decide(made, answer, **person, **rhythm)
    assert result.outcome == result.tasks[0].outcome


@settings(max_examples=300)
@given(log_odds=st.integers(-INT32, INT32) | st.integers(-12 * STEPS, 12 * STEPS))
def test_probabilities_equal_the_oracles_and_are_within_a_step_of_the_truth(library, image, log_odds):
    made = image.copy()
    made["tasks"]["asked_task"] = -1
    made["tasks"]["slope_q20"], made["tasks"]["intercept"] = 0, log_odds
    got = by_c(library, made, answer_of([0] * 4, np.zeros((6, 4)), 0)).tasks[0]
    assert got.log_odds == log_odds
    assert got.probability_q15 == oracle.probability_q15(made, log_odds)
    truth = 1 / (1 + math.exp(min(60.0, max(-60.0, -log_odds / STEPS))))
    assert abs(got.probability_q15 - 32768 * truth) < 0.52


def test_probabilities_of_opposite_log_odds_sum_to_one(image):
    for log_odds in range(0, 20 * STEPS, 7919):
        assert oracle.probability_q15(image, log_odds) + oracle.probability_q15(image, -log_odds) == 1 << 15


@pytest.mark.parametrize("tied", ["lower", "upper", "asked_min", "max_logit"])
def test_what_meets_a_bound_exactly_reaches_it(library, image, tied):
    """Thresholds, levels and guards are met from above, as in Python."""
    made = image.copy()
    answer = answer_of([0, 0, -9 * STEPS, -9 * STEPS], np.zeros((6, 4)), STEPS)
    made["tasks"]["lower"], made["tasks"]["upper"] = 5 * STEPS, 6 * STEPS
    made["tasks"]["asked_min"] = 0
    if tied == "upper":
        made["tasks"]["lower"] = -5 * STEPS
    outcomes = []
    for less in (0, 1):
        tie(made, answer, tied, less)
        result = by_c(library, made, answer, **ADULT, **STEADY)
        assert told_by_c(result) == oracle.decide(made, answer, **ADULT, **STEADY)
        outcomes.append((result.tasks[0].reason, result.tasks[1].outcome))
    met, missed = outcomes
    assert met != missed
    if tied == "asked_min":
        assert (met[1], missed[1]) == (oracle.NEGATIVE, oracle.NOT_ASKED)


def tie(made: Image, answer: oracle.Answer, bound: str | None, less: int = 0) -> None:
    """Set a kind of bound to what an answer says of it, or by some steps above."""
    odds = oracle.log_odds(made, answer)
    for k, task in enumerate(made["tasks"]):
        if bound in ("lower", "upper"):
            task[bound] = odds[k] + less
        elif bound == "asked_min" and task["asked_task"] >= 0:
            task[bound] = odds[task["asked_task"]] + less
    for guard in made["guards"] if bound == "max_logit" else ():
        guard["max_logit"] = answer.logits[guard["output"]] + less


# ---- against the definition ----


def by_definition(
    spec: ModelSpec, logits: list[int], contributions: np.ndarray, distance: float, person: dict, rhythm: dict
) -> dict[str, Any]:
    assert spec.latent is not None
    mean, whitening = np.asarray(spec.latent.mean), np.asarray(spec.latent.whitening)
    away = np.zeros(len(mean))
    away[0] = distance / np.linalg.norm(whitening[:, 0])
    unused = np.zeros(len(mean))
    output = Output(np.array(logits) / STEPS, mean + away, unused, contributions / STEPS, unused)
    seen = Circumstances(
        heart_rate_bpm=rhythm["rate_tenths"] / 10 or None,
        rhythm_reliable=rhythm["rhythm_reliable"],
        available_leads=LIMB_LEADS,
        **person,
    )
    return decision.decide(spec, output, seen)


def log_odds_of(probability: float) -> float:
    return math.log(probability / (1 - probability))


def assert_told_alike(spec: ModelSpec, result: Any, expected: dict[str, Any]) -> None:
    for task, got in zip(spec.tasks, result.tasks, strict=True):
        wanted = expected[task.name]
        names = (INCONCLUSIVE, *task.classes, NOT_ASKED)
        assert names[got.outcome] == wanted.outcome
        assert got.reason == REASONS[wanted.reason]
        if wanted.outcome == NOT_ASKED:
            continue
        assert got.probability_q15 / 32768 == pytest.approx(wanted.probability, abs=1e-4)
        told = dict(zip(LIMB_LEADS, (one / STEPS for one in got.contributions), strict=True))
        assert told == pytest.approx(wanted.lead_contributions, abs=6e-4)


@settings(max_examples=400)
@given(
    pattern=st.integers(-6 * STEPS, 6 * STEPS),
    side=st.integers(-6 * STEPS, 6 * STEPS),
    guards=st.tuples(*[st.sampled_from([-9 * STEPS, -9 * STEPS, -9 * STEPS, STEPS, 9 * STEPS])] * 2),
    distance=st.sampled_from([0.5, 1.0, 10.05, 10.06, 60.0]),
    seed=st.integers(0, 2**32 - 1),
    person=persons,
    rhythm=rhythms,
)
def test_decisions_are_those_of_the_definition(
    library, image, spec, pattern, side, guards, distance, seed, person, rhythm
):
    logits = [pattern, side, *guards]
    for task in spec.tasks:
        value = task.calibration.slope * logits[task.output] / STEPS + task.calibration.intercept
        bounds = [task.lower, task.upper, *(one.asked_if.min_probability for one in spec.tasks if one.asked_if)]
        # There rounding to 16 bits may fall to either side.
        assume(all(abs(value - log_odds_of(bound)) > 3 / STEPS for bound in bounds))
    contributions = np.random.default_rng(seed).integers(-3 * STEPS, 3 * STEPS, (6, 4))
    answer = answer_of(logits, contributions, round(distance * STEPS))
    result = by_c(library, image, answer, **person, **rhythm)
    assert_told_alike(spec, result, by_definition(spec, logits, contributions, distance, person, rhythm))


@pytest.mark.parametrize("rate_tenths", [0, 1, 399, 400, 401, 1499, 1500, 1501, 65535])
def test_an_absent_pattern_is_told_within_the_rates_of_use_alone(library, image, spec, rate_tenths):
    logits, contributions = [-9 * STEPS, 0, -9 * STEPS, -9 * STEPS], np.zeros((6, 4), dtype=np.int64)
    rhythm = {"rate_tenths": rate_tenths, "rhythm_reliable": True}
    result = by_c(library, image, answer_of(logits, contributions, STEPS), **ADULT, **rhythm)
    assert_told_alike(spec, result, by_definition(spec, logits, contributions, 1.0, ADULT, rhythm))


@pytest.mark.parametrize("steps", [-4, 4])
@pytest.mark.parametrize("bound", ["lower", "upper", "asked"])
@pytest.mark.parametrize("k", [0, 1])
def test_a_few_steps_beside_a_threshold_decide_alike(library, image, spec, steps, bound, k):
    task = spec.tasks[k]
    level = spec.tasks[1].asked_if.min_probability if bound == "asked" else getattr(task, bound)
    at = (log_odds_of(level) - task.calibration.intercept) / task.calibration.slope
    logits = [3 * STEPS, 0, -9 * STEPS, -9 * STEPS]
    logits[task.output] = round(at * STEPS) + steps
    contributions = np.zeros((6, 4), dtype=np.int64)
    result = by_c(library, image, answer_of(logits, contributions, STEPS), **ADULT, **STEADY)
    assert_told_alike(spec, result, by_definition(spec, logits, contributions, 1.0, ADULT, STEADY))


@pytest.mark.parametrize("steps", [-2, 2])
@pytest.mark.parametrize("k", [0, 1])
def test_a_few_steps_beside_a_guard_decide_alike(library, image, spec, steps, k):
    logits = [0, 0, -9 * STEPS, -9 * STEPS]
    guard = spec.guards[k]
    logits[guard.output] = round(guard.max_logit * STEPS) + steps
    contributions = np.zeros((6, 4), dtype=np.int64)
    result = by_c(library, image, answer_of(logits, contributions, STEPS), **ADULT, **STEADY)
    expected = by_definition(spec, logits, contributions, 1.0, ADULT, STEADY)
    assert (expected[spec.primary.name].reason in (decision.NOT_ECG, decision.SWAP_CHECK)) == (steps > 0)
    assert_told_alike(spec, result, expected)


def test_reasons_come_in_the_definitions_order(library, image, spec):
    """Take away the first reason, and the next one is told, down to none."""
    logits, distance = [-9 * STEPS, 0, 9 * STEPS, 9 * STEPS], 60.0
    person = {"age_years": 3, "pacemaker": True, "electrodes_confirmed": False}
    rhythm = {"rate_tenths": 2000, "rhythm_reliable": False}
    contributions = np.zeros((6, 4), dtype=np.int64)
    not_ecg = next(one.output for one in spec.guards if one.kind == "not_ecg")
    seen = []
    for change in (
        lambda: logits.__setitem__(not_ecg, -9 * STEPS),
        lambda: person.update(age_years=None),
        lambda: person.update(pacemaker=False),
        lambda: person.update(electrodes_confirmed=True),
        None,
        lambda: rhythm.update(rhythm_reliable=True),
        lambda: rhythm.update(rate_tenths=700),
        lambda: logits.__setitem__(0, round((log_odds_of((spec.primary.lower + spec.primary.upper) / 2)
                                             - spec.primary.calibration.intercept)
                                            / spec.primary.calibration.slope * STEPS)),
        lambda: None,
    ):  # fmt: skip
        result = by_c(library, image, answer_of(logits, contributions, round(distance * STEPS)), **person, **rhythm)
        assert_told_alike(spec, result, by_definition(spec, logits, contributions, distance, person, rhythm))
        seen.append(result.tasks[0].reason)
        if change is None:
            distance = 1.0
        else:
            change()
    assert seen == [
        oracle.NOT_ECG, oracle.TOO_YOUNG, oracle.PACED, oracle.ELECTRODE_SWAP, oracle.UNFAMILIAR, oracle.RATE_UNKNOWN,
        oracle.RATE_OUTSIDE, oracle.NO_REASON, oracle.BETWEEN,
    ]  # fmt: skip


def test_reasons_are_numbered_as_in_the_header(firmware, numbers_of_c):
    names = ("NONE", "QUALITY", "NOT_ECG", "LEADS", "TOO_YOUNG", "PACED", "ELECTRODE_SWAP", "UNFAMILIAR", "BETWEEN",
             "RATE_UNKNOWN", "RATE_OUTSIDE")  # fmt: skip
    mine = (oracle.NO_REASON, oracle.QUALITY, oracle.NOT_ECG, oracle.LEADS, oracle.TOO_YOUNG, oracle.PACED,
            oracle.ELECTRODE_SWAP, oracle.UNFAMILIAR, oracle.BETWEEN, oracle.RATE_UNKNOWN,
            oracle.RATE_OUTSIDE)  # fmt: skip
    outcomes = ("INCONCLUSIVE", "NEGATIVE", "POSITIVE", "NOT_ASKED")
    asked = [*(f"LSEMVAE_REASON_{name}" for name in names), *(f"LSEMVAE_{name}" for name in outcomes)]
    assert numbers_of_c(firmware.folder("small"), *asked) == [
        *mine, oracle.INCONCLUSIVE, oracle.NEGATIVE, oracle.POSITIVE, oracle.NOT_ASKED,
    ]  # fmt: skip
    assert numbers_of_c(firmware.folder("small"), "LSEMVAE_FLAG_RHYTHM_UNRELIABLE") == [RHYTHM_UNRELIABLE]
