"""Predictions survive their file, and nothing wrong gets in."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.metrics import auroc
from lsemvae_edge.train.predictions import NO_FOLD, Predictions, by_key, file_name, median_seed, over_folds, pool

COLUMNS = ("record_id", "patient", "fold_of_cv", "truth", "score", "age_years", "sex")
text = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\u2028\u2029\x85"), max_size=12)
rows = st.lists(
    st.tuples(
        text,
        st.integers(-1, 4),
        st.integers(0, 1),
        st.floats(0, 1),
        st.one_of(st.just(float("nan")), st.floats(0, 300)),
        st.sampled_from(["", "female", "male"]),
    ),
    max_size=15,
)


def made(n=60, seed=0, folds=5, **names):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3 == 0
    score = 1 / (1 + np.exp(-(1.5 * truth + rng.normal(size=n))))
    names = {"model": "m", "task": "t", "leads": "6L", "split": "cv5", "seed": seed, **names}
    return Predictions(
        **names,
        record_id=np.array([f"r{i}" for i in range(n)]),
        patient=np.array([f"p{i // 2}" for i in range(n)]),
        fold_of_cv=np.arange(n) // 2 % folds if folds else np.full(n, NO_FOLD),
        truth=truth.astype(int),
        score=score,
        age_years=np.full(n, 50.0),
        sex=np.full(n, "female"),
    )


@given(rows, text, text)
def test_a_file_gives_back_what_was_written(tmp_path_factory, rows, model, split):
    people, folds, truth, score, age, sex = zip(*rows, strict=True) if rows else [()] * 6
    ids = [f'{i}, "{person}"' for i, person in enumerate(people)]
    before = Predictions(model, "t", "I+II+III", split, 3, ids, people, folds, truth, score, age, sex)
    path = tmp_path_factory.mktemp("p") / before.file_name
    before.to_csv(path)
    after = Predictions.from_csv(path)
    assert (after.key, after.seed, after.name) == (before.key, 3, before.name)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        assert getattr(after, name).dtype.kind == getattr(before, name).dtype.kind
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no draft is left


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[: len(content) // 2], "rows"),
        (lambda content: "record_id,score\n1,0.5\n", "no whole predictions"),
        (lambda content: content.replace("predictions/1", "predictions/9"), "schema"),
        (lambda content: content.replace("truth", "label", 1), "truth"),
        (lambda content: content.replace("r7,p3,3,0,0.", "r7,p3,3,0,x.", 1), "could not convert"),
        (lambda content: "", "no whole predictions"),
    ],
)
def test_a_damaged_file_is_named_and_refused(tmp_path, damage, words):
    path = tmp_path / "p.csv"
    made().to_csv(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(BadInputError, match=words) as caught:
        Predictions.from_csv(path)
    assert str(path) in caught.value.message
    assert "run the command again" in caught.value.next_step


def test_a_missing_file_is_bad_input(tmp_path):
    with pytest.raises(BadInputError, match="nowhere"):
        Predictions.from_csv(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"truth": np.full(60, 2)}, "labels other than"),
        ({"truth": np.full(60, -1)}, "labels other than"),
        ({"score": np.full(60, np.nan)}, "no probabilities"),
        ({"score": np.full(60, 1.2)}, "no probabilities"),
        ({"score": np.full(59, 0.2)}, "different lengths"),
        ({"record_id": np.full(60, "r1")}, "r1 twice"),
    ],
)
def test_columns_that_contradict_are_refused(change, words):
    with pytest.raises(BadInputError, match=words):
        replace(made(), **change)


def test_different_predictions_have_different_files():
    names = {
        file_name(model, task, leads, split, seed)
        for model in ("a b", "a-b", "A b")
        for task in ("t", "t ")
        for leads in ("I+II", "I-II")
        for split in ("cv5", "x" * 300)
        for seed in (0, 1)
    }
    assert len(names) == 48
    assert max(map(len, names)) < 200


def test_pooled_folds_are_the_whole_again():
    whole = made()
    parts = [whole.select(whole.fold_of_cv == fold) for fold in range(5)]
    pooled = pool(parts).of_records(whole.record_id)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(pooled, name), getattr(whole, name))


def test_what_does_not_belong_together_is_not_pooled():
    with pytest.raises(BadInputError, match="different things"):
        pool([made(seed=0), made(seed=1)])
    with pytest.raises(BadInputError, match="twice"):
        pool([made(), made()])
    with pytest.raises(BadInputError, match="no predictions"):
        pool([])


def test_records_without_a_prediction_are_named():
    with pytest.raises(BadInputError, match="r60 and 1 more"):
        made().of_records(["r1", "r60", "r61"])


def test_the_spread_over_folds_is_that_of_the_folds():
    whole = made()
    values = [auroc(whole.truth[whole.fold_of_cv == f], whole.score[whole.fold_of_cv == f]) for f in range(5)]
    spread = over_folds(whole, auroc)
    assert (spread.mean, spread.std, spread.folds) == (
        pytest.approx(np.mean(values)),
        pytest.approx(np.std(values, ddof=1)),
        5,
    )
    assert str(spread) == f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert over_folds(made(folds=0), auroc) is None


def test_a_fold_of_one_class_is_left_out_and_counted():
    whole = made()
    truth = np.where(whole.fold_of_cv == 2, 0, whole.truth)
    spread = over_folds(replace(whole, truth=truth), auroc)
    assert (spread.folds, spread.left_out) == (4, 1)
    assert "1 of 5 folds without both classes" in str(spread)


def test_the_median_seed_stands_for_its_model():
    seeds = [made(seed=seed) for seed in range(5)]
    ranked = sorted(seeds, key=lambda one: auroc(one.truth, one.score))
    assert median_seed(seeds, auroc) is ranked[2]
    assert median_seed(ranked[:2], auroc) is ranked[0]


def test_seeds_are_grouped_by_what_they_share_in_the_order_given():
    ours, other = [made(seed=seed) for seed in range(3)], [made(seed=1, leads="12L")]
    (first, seeds), (second, alone) = by_key([ours[2], *other, ours[0], ours[1]], auroc)
    assert seeds == [ours[2], ours[0], ours[1]]
    assert first is median_seed(ours, auroc)
    assert (second, alone) == (other[0], other)
