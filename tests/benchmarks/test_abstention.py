"""Coverage and risk: counted by hand, whatever the order; table and figure of a study."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="figures need the extra `train`")

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks import abstention
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.train.predictions import NO_FOLD, Predictions, validation_of

recordings = st.lists(st.tuples(st.booleans(), st.integers(0, 10), st.integers(0, 5)), min_size=1, max_size=40)


@given(recordings)
def test_every_point_is_the_error_of_the_surest(rows):
    truth, score, doubt = (np.array(column) for column in zip(*rows, strict=True))
    curve = metrics.coverage_risk(truth, score, 5, doubt)
    assert curve.coverage[-1] == 1.0
    assert curve.risk[-1] == pytest.approx(np.mean((score >= 5) != truth))
    for coverage, risk, level in zip(curve.coverage, curve.risk, np.unique(doubt), strict=True):
        answered = doubt <= level
        assert coverage == pytest.approx(answered.mean())
        assert risk == pytest.approx(np.mean(((score >= 5) != truth)[answered]))
    assert min(curve.risk) - 1e-12 <= curve.area <= max(curve.risk) + 1e-12


def test_sensitivity_and_specificity_are_those_of_the_answered():
    curve = metrics.coverage_risk([1, 1, 0, 0], [0.9, 0.2, 0.1, 0.7], 0.5, [0.0, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(curve.sensitivity, [1, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(curve.specificity, [np.nan, np.nan, 1, 0.5])
    np.testing.assert_allclose(curve.risk, [0, 0.5, 1 / 3, 0.5])
    assert curve.area == pytest.approx((0 + 0.5 + 1 / 3 + 0.5) / 4)
    with pytest.raises(ValueError, match="no recording"):
        metrics.coverage_risk([], [], 0.5, [])


def made(split, n=300, seed=0, first=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 5 == 0
    names = np.arange(first, first + n).astype(str)
    score = 1 / (1 + np.exp(-(2.5 * truth - 2 + rng.normal(size=n))))
    return Predictions(
        "m",
        "side",
        "6L",
        split,
        0,
        names,
        names,
        np.full(n, NO_FOLD),
        truth,
        score,
        np.full(n, 60.0),
        np.full(n, "male"),
    )


def test_a_table_row_holds_the_figures_of_its_coverages():
    one, chooser = made("fold 10"), made(validation_of("fold 10"), seed=1, first=1000)
    (row,) = abstention.abstention_table([one], [chooser])
    assert row["operating_point"] == "sensitivity 0.8 on validation records"
    threshold = metrics.threshold_at_sensitivity(chooser.truth, chooser.score, 0.8)
    called = one.score >= threshold
    assert row["risk_at_100%"] == pytest.approx(np.mean(called != one.truth))
    assert row["sensitivity_at_100%"] == pytest.approx(np.mean(called[one.truth == 1]))

    def far(p):
        return np.abs(np.log(p / (1 - p)) - np.log(threshold / (1 - threshold)))

    surest = np.argsort(-far(one.score))[: round(0.9 * len(one))]
    assert row["risk_at_90%"] == pytest.approx(np.mean(called[surest] != one.truth[surest]))
    assert row["risk_at_75%"] < row["risk_at_100%"]


def test_the_figure_is_the_same_bytes_each_time_and_never_empty(tmp_path):
    one, chooser = made("fold 10"), made(validation_of("fold 10"), seed=1, first=1000)
    first, second = (abstention.plot([one], [chooser], tmp_path / name, "x") for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert "Answered (%)" in first[1].read_text()
    with pytest.raises(BadInputError):
        abstention.plot([], [], tmp_path, "x")
