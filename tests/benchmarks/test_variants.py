"""Variants of the recipe: what they are, and that they are judged on folds 1-9 alone."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the benchmark trains; the base install has no torch")
pytest.importorskip("litert_torch", reason="the benchmark quantizes, which needs the extra `export`")

from lsemvae_edge.benchmarks import variants
from lsemvae_edge.benchmarks.fits import Fit
from lsemvae_edge.train.config_distill import shipped_recipe


def test_each_variant_differs_from_the_shipped_recipe_and_from_the_others():
    listed = variants.variants(seed=3)
    assert listed[variants.SHIPPED] == ("student", shipped_recipe(seed=3))
    told = [(kind, config.model_dump_json()) for kind, config in listed.values()]
    assert len(set(told)) == len(told)
    assert all(config.student.seed == 3 for _, config in listed.values())


def test_variants_are_judged_without_fold_10_against_the_shipped_recipe(cohort_of, monkeypatch, tmp_path):
    cohort = cohort_of(200, folds=tuple(range(1, 11)))
    monkeypatch.setattr(variants, "load_both", lambda *_: (cohort, cohort))
    monkeypatch.setattr(variants.datasets, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(variants.datasets, "entries", lambda _: [])
    monkeypatch.setattr(variants, "run_all", lambda *_: None)

    def answers(fit, work):
        better = 2.0 * (fit.config.teachers != ())
        noise = np.random.default_rng(0).normal(size=(len(fit.place.held_out), 4)).astype(np.float32)
        truth = np.nan_to_num(fit.place.held_out.targets)
        noise[:, :2] += better * truth
        return {"float" if fit.kind == "student" else fit.kind: noise}

    monkeypatch.setattr(Fit, "answers", answers)
    rows = variants.measure(work=tmp_path, names=("labels alone",), seed=0, processes=1, say=print)
    assert [row["model"] for row in rows if row["task"] == variants.TASKS[0]] == [variants.SHIPPED, "labels alone"]
    assert {row["n"] for row in rows if row["task"] == variants.TASKS[0]} == {int((cohort.fold < 10).sum())}
    shipped, alone = rows[:2]
    assert shipped["auroc_difference"] is None
    assert alone["auroc_difference"]["high"] < 0
