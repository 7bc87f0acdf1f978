"""The paper's tables from predictions, as rows, CSV and Markdown; ``docs/evaluation.md`` says what each figure means.

Of several seeds of one model the median by AUROC stands in every table. Intervals are 95 %, by bootstrap over patients;
those of sensitivity and specificity are exact.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks.published import PUBLISHED
from lsemvae_edge.benchmarks.table_files import Row
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.metrics import MIN_POSITIVES, AtThreshold, Interval
from lsemvae_edge.train.predictions import Predictions, by_key, median_seed, over_folds, validation_of

LEAD_SETS = ("12L", "6L", "I+II+III", "aVR+aVL+aVF", "I", "II", "III", "aVR", "aVL", "aVF")
AGE_BANDS = (("< 40", 0.0, 40.0), ("40-64", 40.0, 65.0), ("65-79", 65.0, 80.0), (">= 80", 80.0, np.inf))
"""Years; PTB-XL's 300 stands for every age over 89 and lies in the last."""
PREVALENCES = (0.01, 0.05, 0.20)
SENSITIVITY = 0.80
NOT_WORSE = -0.02
HALF = 0.5
DECISION_RULE = float | Literal["youden"]


@dataclass(frozen=True)
class NotRun:
    """A row that a table owes and does not have, and why."""

    model: str
    task: str
    leads: str
    split: str
    reason: str


@dataclass(frozen=True)
class Pair:
    """Two to compare on the same records, each a model with its leads."""

    model: str
    leads: str
    reference_model: str
    reference_leads: str

    @property
    def name(self) -> str:
        """Both, in words."""
        return f"{self.model} {self.leads} minus {self.reference_model} {self.reference_leads}"


def main_table(
    predictions: Sequence[Predictions],
    validation: Sequence[Predictions] = (),
    *,
    not_run: Sequence[NotRun] = (),
    rule: DECISION_RULE = SENSITIVITY,
) -> list[Row]:
    """Everything about each model, task, set of leads and split.

    Parameters
    ----------
    predictions : sequence of Predictions
        On held-out records; of several seeds the median stands.
    validation : sequence of Predictions
        The same models and seeds on their validation records, split named by `validation_of`; in cross-validation
        ``fold_of_cv`` says which fold's model gave them. They alone choose the operating point; without them it is
        that of the other folds in cross-validation, else a probability of one half.
    not_run : sequence of NotRun
        Listed with their reasons.
    rule : float or "youden"
        The sensitivity to reach on the validation records, or Youden's point there.

    Returns
    -------
    list of dict
        Values are text, numbers, `Interval`, `Spread`, or None where a figure does not exist.
    """
    return [
        *(_full_row(chosen, of_seeds, validation, rule) for chosen, of_seeds in by_key(predictions, metrics.auroc)),
        *_rows_not_run(not_run),
    ]


def lead_table(
    predictions: Sequence[Predictions], *, published_task: str | None = None, not_run: Sequence[NotRun] = ()
) -> list[Row]:
    """AUROC by set of leads, in one order, with the paper's figure in a column of its own if its task is named."""
    published = {one.leads: one for one in PUBLISHED if one.task == published_task}
    rows = [_ranking_row(chosen) for chosen, _ in by_key(predictions, metrics.auroc)] + _rows_not_run(not_run)
    groups = list(dict.fromkeys((row["model"], row["task"], row["split"]) for row in rows))
    place = {leads: index for index, leads in enumerate(LEAD_SETS)}
    rows.sort(
        key=lambda row: (
            groups.index((row["model"], row["task"], row["split"])),
            place.get(row["leads"], len(place)),
            row["leads"],
        )
    )
    if published:
        for row in rows:
            found = published.get(row["leads"])
            row["published_auroc"] = found.auroc if found else None
    return rows


def difference_table(
    predictions: Sequence[Predictions], pairs: Sequence[Pair], *, not_run: Sequence[NotRun] = ()
) -> list[Row]:
    """Differences of AUROC and average precision, bootstrapped in pairs on the records that both have.

    "better" has an interval above 0, "not worse" a lower bound of at least -0.02, "worse" an interval below 0.
    """
    chosen = {one.key: one for one, _ in by_key(predictions, metrics.auroc)}
    where = list(dict.fromkeys((key[1], key[3]) for key in chosen))
    rows: list[Row] = []
    for pair in pairs:
        for task, split in where:
            one = chosen.get((pair.model, task, pair.leads, split))
            reference = chosen.get((pair.reference_model, task, pair.reference_leads, split))
            if one is not None and reference is not None:
                rows.append({"comparison": pair.name, "task": task, "split": split, **_difference(one, reference)})
    absent = {(gap.model, gap.leads, gap.task, gap.split): gap.reason for gap in not_run}
    for pair in pairs:
        for task, split in dict.fromkeys((gap.task, gap.split) for gap in not_run):
            sides = ((pair.model, pair.leads), (pair.reference_model, pair.reference_leads))
            reasons = [absent[(*side, task, split)] for side in sides if (*side, task, split) in absent]
            if reasons:
                note = f"not run: {reasons[0]}"
                rows.append({"comparison": pair.name, "task": task, "split": split, "note": note})
    return rows


def standard_pairs(predictions: Sequence[Predictions], *, better: str, reference: str, baseline: str) -> list[Pair]:
    """Better against reference, 6L against 12L of the same model, every model against the baseline; of what is there.

    Parameters
    ----------
    better, reference, baseline : str
        Model names.
    """
    there = list(dict.fromkeys((one.model, one.leads) for one in predictions))
    models, leads = (list(dict.fromkeys(part)) for part in zip(*there, strict=True)) if there else ([], [])
    wanted = [Pair(better, of, reference, of) for of in leads]
    wanted += [Pair(model, "6L", model, "12L") for model in models]
    wanted += [Pair(model, of, baseline, of) for of in leads for model in models if model != baseline]
    return [
        pair
        for pair in dict.fromkeys(wanted)
        if (pair.model, pair.leads) in there and (pair.reference_model, pair.reference_leads) in there
    ]


def subgroup_table(
    predictions: Sequence[Predictions],
    validation: Sequence[Predictions] = (),
    *,
    rule: DECISION_RULE = SENSITIVITY,
) -> list[Row]:
    """By sex and age band: discrimination, and the one operating point of everybody applied to each group."""
    models = [chosen for chosen, _ in by_key(predictions, metrics.auroc)]
    points = [operating_thresholds(chosen, validation, rule) for chosen in models]
    groups = [_groups(chosen) for chosen in models]
    rows: list[tuple[int, Row]] = []
    # Group by group, so that models on the same records share their resamples.
    for of_models in zip(*groups, strict=True):
        for index, (group, mask) in enumerate(of_models):
            if mask.any():
                part, (thresholds, how) = models[index].select(mask), points[index]
                decided = _decided(part, thresholds[mask])
                rows.append((index, {**_ranking_row(part), "group": group, "operating_point": how, **decided}))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def noise_table(by_snr: Mapping[float | None, Sequence[Predictions]]) -> list[Row]:
    """AUROC under noise and its change from the clean recordings, paired.

    Parameters
    ----------
    by_snr : mapping
        From decibels (None: as recorded) to predictions on the same records.
    """
    clean = {one.key: one for one, _ in by_key(by_snr.get(None, ()), metrics.auroc)}
    rows: list[Row] = []
    for key in dict.fromkeys(one.key for of_snr in by_snr.values() for one in of_snr):
        for snr_db in sorted(by_snr, key=lambda db: -np.inf if db is None else -db):
            of_key = [one for one in by_snr[snr_db] if one.key == key]
            if not of_key:
                continue
            # The very training that stands for the clean recordings, not the median under each noise.
            same = [one for one in of_key if key in clean and one.seed == clean[key].seed]
            noisy = same[0] if same else median_seed(of_key, metrics.auroc)
            row = {**_ranking_row(noisy), "snr_db": "clean" if snr_db is None else f"{snr_db:g}"}
            if snr_db is not None and same:
                row["difference"] = _difference(noisy, clean[key])["difference"]
            rows.append(row)
    return rows


def learning_table(
    by_leads: Sequence[Row], families: Mapping[str, str], trained_on: Mapping[tuple[str, str, str], int]
) -> list[Row]:
    """Rows of models that differ in the number of training recordings alone.

    Parameters
    ----------
    by_leads : sequence of dict
        Of `lead_table`.
    families : mapping of str to str
        Models to show, and what they have in common.
    trained_on : mapping
        Training recordings by model, kind of split (``"folds"``, ``"cv5"``) and leads.
    """
    return [
        {**row, "family": families[row["model"]], "trained_on": trained_on[key]}
        for row in by_leads
        for key in [(row["model"], "cv5" if row["split"].startswith("B:") else "folds", row["leads"])]
        if row["model"] in families and key in trained_on
    ]


def counted_apart_table(predictions: Sequence[Predictions], kinds: Mapping[str, AbstractSet[str]]) -> list[Row]:
    """Count positives of each kind apart, against the same negatives: what a model sees, and what it does not.

    Parameters
    ----------
    kinds : mapping of str to set of str
        Record ids of each kind; a positive record may be of several.
    """
    rows: list[Row] = []
    for chosen, _ in by_key(predictions, metrics.auroc):
        negative = chosen.truth == 0
        rows.append({**_ranking_row(chosen), "positives_counted": "all"})
        for name, records in kinds.items():
            of_kind = np.isin(chosen.record_id, sorted(records))
            if (of_kind & ~negative).any():
                rows.append({**_ranking_row(chosen.select(negative | of_kind)), "positives_counted": name})
    return rows


def operating_thresholds(
    predictions: Predictions, validation: Sequence[Predictions], rule: DECISION_RULE = SENSITIVITY
) -> tuple[NDArray[np.float64], str]:
    """Choose each record's threshold on the validation records of the model that scored it, and say how.

    Without them, a fold of a cross-validation has its threshold from the out-of-fold scores of the other folds.

    Returns
    -------
    thresholds : array (n,)
    how : str

    Raises
    ------
    BadInputError
        If a patient is both judged and used to choose.
    """
    wanted = (predictions.model, predictions.task, predictions.leads, validation_of(predictions.split))
    given = next((one for one in validation if one.key == wanted and one.seed == predictions.seed), None)
    thresholds = np.full(len(predictions), HALF)
    folds = np.unique(predictions.fold_of_cv)
    if given is None and len(folds) == 1:
        return thresholds, "probability 0.5 (no validation records given)"
    chooser = predictions if given is None else given
    without: list[str] = []
    for fold in folds:
        judged = predictions.fold_of_cv == fold
        choosing = ~judged if given is None else given.fold_of_cv == fold
        if np.isin(predictions.patient[judged], chooser.patient[choosing]).any():
            raise BadInputError(
                f"{predictions.name}: a patient is both judged and used to choose the threshold.",
                "Give validation records of other patients.",
            )
        truth, score = chooser.truth[choosing], chooser.score[choosing]
        if not 0 < truth.sum() < truth.size:
            without.append(str(fold))
        elif rule == "youden":
            thresholds[judged] = metrics.youden_threshold(truth, score)
        else:
            thresholds[judged] = metrics.threshold_at_sensitivity(truth, score, rule)
    how = "Youden's point" if rule == "youden" else f"sensitivity {rule:g}"
    source = "the other folds" if given is None else "validation records"
    note = f"; 0.5 in fold {', '.join(without)}, where they have one class only" if without else ""
    return thresholds, f"{how} on {source}{note}"


def resamples_of(part: Predictions) -> list[NDArray[np.intp]]:
    """Resamples of the patients of some predictions, the same ones for the same patients."""
    return _drawn(tuple(part.patient.tolist()))


def _full_row(
    chosen: Predictions, of_seeds: Sequence[Predictions], validation: Sequence[Predictions], rule: DECISION_RULE
) -> Row:
    thresholds, how = operating_thresholds(chosen, validation, rule)
    row = _ranking_row(chosen)
    row["seeds"] = len(of_seeds)
    row["auroc_of_seeds"] = " ".join(f"{metrics.auroc(one.truth, one.score):.3f}" for one in of_seeds)
    row["auroc_over_folds"] = over_folds(chosen, metrics.auroc)
    wanted: dict[str, metrics.Metric] = {}
    for figure in ("accuracy", "f1", "mcc"):
        wanted[f"{figure}_at_half"] = AtThreshold(figure, HALF)
        row[f"{figure}_over_folds"] = over_folds(chosen, AtThreshold(figure, HALF))
    wanted |= {
        "brier": metrics.brier,
        "ece": metrics.calibration_error,
        "calibration_slope": metrics.calibration_slope,
        "calibration_intercept": metrics.calibration_intercept,
    }
    row["operating_point"] = how
    row["brier_constant"] = metrics.brier_of_constant(chosen.truth) if len(chosen) else None
    return row | _decided(chosen, thresholds) | _bootstrapped(wanted, chosen, chosen.score)


def _ranking_row(chosen: Predictions) -> Row:
    positive = int(chosen.truth.sum())
    row: Row = {
        "model": chosen.model,
        "task": chosen.task,
        "leads": chosen.leads,
        "split": chosen.split,
        "seed": chosen.seed,
        "n": len(chosen),
        "patients": int(np.unique(chosen.patient).size),
        "positive": positive,
        **_bootstrapped({"auroc": metrics.auroc, "average_precision": metrics.average_precision}, chosen, chosen.score),
        "note": "",
    }
    few = min(positive, len(chosen) - positive)
    if few < MIN_POSITIVES:
        rarer = int(positive * 2 <= len(chosen))
        scores = np.sort(chosen.score[chosen.truth == rarer])[::-1]
        listed = f"; their scores: {' '.join(f'{score:.3f}' for score in scores)}" if few else ""
        row["note"] = f"{few} {'positives' if rarer else 'negatives'}: no AUROC below {MIN_POSITIVES}{listed}"
    return row


def _decided(part: Predictions, thresholds: NDArray[np.float64]) -> Row:
    """Figures of the decision; thresholds may differ by record, so scores are counted from them."""
    margin = part.score - thresholds
    counts = metrics.confusion(part.truth, margin >= 0)
    row: Row = {
        "sensitivity": metrics.exact_interval(counts.tp, counts.tp + counts.fn),
        "specificity": metrics.exact_interval(counts.tn, counts.tn + counts.fp),
    }
    wanted: dict[str, metrics.Metric] = {figure: AtThreshold(figure, 0.0) for figure in ("accuracy", "f1", "mcc")}
    for prevalence in PREVALENCES:
        wanted[f"ppv_{prevalence:.0%}"] = AtThreshold("positive_predictive_value", 0.0, prevalence)
        wanted[f"npv_{prevalence:.0%}"] = AtThreshold("negative_predictive_value", 0.0, prevalence)
    return row | _bootstrapped(wanted, part, margin)


def _difference(one: Predictions, reference: Predictions) -> Row:
    common = one.record_id[np.isin(one.record_id, reference.record_id)]
    left, right = one.of_records(common), reference.of_records(common)
    if (left.truth != right.truth).any() or (left.patient != right.patient).any():
        raise BadInputError(f"{one.name} and {reference.name} disagree about the label or patient of a record.")
    row: Row = {
        "n": len(left),
        "positive": int(left.truth.sum()),
        "records_left_out": len(one) + len(reference) - 2 * len(left),
    }
    resamples = resamples_of(left)
    for name, metric in (("difference", metrics.auroc), ("average_precision_difference", metrics.average_precision)):
        row[name] = metrics.difference_with_interval(metric, left.truth, left.score, right.score, resamples)
    row["verdict"] = _verdict(row["difference"])
    row["note"] = "" if row["difference"] else f"fewer than {MIN_POSITIVES} of a class"
    return row


def _verdict(difference: Interval | None) -> str:
    if difference is None:
        return "-"
    if difference.low > 0:
        return "better"
    if difference.low >= NOT_WORSE:
        return "not worse"
    return "worse" if difference.high < 0 else "open"


def _groups(chosen: Predictions) -> list[tuple[str, NDArray[np.bool_]]]:
    age = chosen.age_years
    groups = [(name, chosen.sex == value) for name, value in (("female", "female"), ("male", "male"))]
    groups.append(("sex unknown", ~np.isin(chosen.sex, ("female", "male"))))
    groups += [(f"age {name}", (age >= low) & (age < high)) for name, low, high in AGE_BANDS]
    groups.append(("age unknown", ~np.isfinite(age)))
    return groups


def _rows_not_run(not_run: Sequence[NotRun]) -> list[Row]:
    return [
        {
            "model": gap.model,
            "task": gap.task,
            "leads": gap.leads,
            "split": gap.split,
            "note": f"not run: {gap.reason}",
        }
        for gap in not_run
    ]


def _bootstrapped(
    wanted: Mapping[str, metrics.Metric], part: Predictions, score: NDArray[np.float64]
) -> dict[str, Interval | None]:
    if min(part.truth.sum(), len(part) - part.truth.sum()) < MIN_POSITIVES:
        return dict.fromkeys(wanted)
    return metrics.with_intervals(wanted, part.truth, score, resamples_of(part))


@lru_cache(maxsize=4)
def _drawn(patients: tuple[str, ...]) -> list[NDArray[np.intp]]:
    """1000 resamples; of more than 40,000 records fewer, so that they fit in memory, and never below 100."""
    n_resamples = int(np.clip(40_000_000 // max(len(patients), 1), 100, 1000))
    return metrics.patient_bootstrap(patients, n_resamples)
