"""What a study leaves: tables as CSV and Markdown, figures, and the ledger's line."""

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks import abstention, ledger, plots, plots_saliency, table_files, tables
from lsemvae_edge.benchmarks.published import published_table
from lsemvae_edge.benchmarks.study import TEST, Study
from lsemvae_edge.benchmarks.study_config import StudyConfig
from lsemvae_edge.benchmarks.tables import Pair
from lsemvae_edge.train import labels
from lsemvae_edge.train.predictions import by_key
from lsemvae_edge.train.recipes import recipe
from lsemvae_edge.train.shards import Shards


def write(study: Study, config: StudyConfig, out: Path, shards: Shards) -> None:
    """Write every table as CSV and Markdown, every figure as PNG and SVG, and what the study was made of."""
    out.mkdir(parents=True, exist_ok=True)
    main = tables.main_table(study.predictions, study.validation, not_run=study.not_run)
    pairs = [Pair(*four) for four in config.differences]
    by_leads = tables.lead_table(study.predictions, not_run=study.not_run)
    kinds = _components(shards)
    learning = tables.learning_table(by_leads, _families(config), study.trained_on)
    main_leads = [one for one in study.predictions if one.leads in ("12L", "6L")]
    written = {
        "main": (main, table_files.SECTIONS),
        "leads": (by_leads, None),
        "differences": (tables.difference_table(study.predictions, pairs, not_run=study.not_run), None),
        "subgroups": (tables.subgroup_table(main_leads, study.validation), None),
        "counted-apart": (tables.counted_apart_table(main_leads, kinds) if kinds else [], None),
        "noise": (tables.noise_table(study.by_snr), None),
        "learning": (learning, None),
        "abstention": (abstention.abstention_table(main_leads, study.validation), None),
        "published": (published_table(), None),
    }
    for name, (rows, sections) in written.items():
        if rows:
            table_files.write(out, name, rows, sections)
    _draw(study, config, by_leads, out)
    for task, split in dict.fromkeys((row["task"], row["split"]) for row in learning if row["auroc"]):
        of_task = [row for row in learning if (row["task"], row["split"]) == (task, split)]
        plots.learning_curve(of_task, out / "figures", f"learning-{_slug(task, split)}")
    about = {
        "tasks": {task.name: task.stand_in for task in shards.tasks},
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "config": config.model_dump(mode="json"),
        "seconds": study.seconds,
        "relative_delta_of_attributions": {name: one.relative_delta for name, one in study.saliency.items()},
        "not_run": [vars(one) for one in study.not_run],
    }
    (out / "study.json").write_text(json.dumps(about, indent=1) + "\n")


def record_final(study: Study) -> None:
    """Append the figures on fold 10 to the ledger."""
    rows = [
        {"set": one.split, "task": one.task, "model": one.model, "leads": one.leads, "n": len(one)}
        | {"positive": int(one.truth.sum()), "auroc": round(metrics.auroc(one.truth, one.score), 4)}
        for one in study.predictions
        if one.split == TEST and 0 < one.truth.sum() < len(one)
    ]
    ledger.append_study(_commit(), rows)


def _draw(study: Study, config: StudyConfig, by_leads: list[table_files.Row], out: Path) -> None:
    folder = out / "figures"
    shown = config.drawn or tuple(row.name for row in config.rows)
    # Models with lead sets beside 12L and 6L; the others are in the curves.
    with_subsets = {row["model"] for row in by_leads if row["leads"] not in ("12L", "6L")}
    for task, split in dict.fromkeys((one.task, one.split) for one in study.predictions):
        where = _slug(task, split)
        for leads in ("12L", "6L"):
            drawn = [
                one
                for one in study.predictions
                if (one.task, one.split, one.leads) == (task, split, leads)
                and one.model in shown
                and min(one.truth.sum(), (1 - one.truth).sum()) >= metrics.MIN_POSITIVES
            ]
            drawn = [median for median, _ in by_key(drawn, metrics.auroc)]
            if drawn:
                plots.roc_and_precision_recall(drawn, folder, f"roc-{where}-{leads}")
                plots.reliability(drawn, folder, f"reliability-{where}-{leads}")
                plots.decision_curve(drawn, folder, f"decision-{where}-{leads}")
                abstention.plot(drawn, study.validation, folder, f"abstention-{where}-{leads}")
        rows = [
            row
            for row in by_leads
            if (row["task"], row["split"]) == (task, split) and row["model"] in with_subsets and row.get("auroc")
        ]
        if rows:
            plots.lead_forest(rows, folder, f"leads-{where}")
    if study.curves:
        plots.training_curves(study.curves, folder, "pretraining")
    for task in dict.fromkeys(one.task for of_snr in study.by_snr.values() for one in of_snr):
        of_task = {
            snr: [one for one in of if one.task == task and one.leads in ("12L", "6L")]
            for snr, of in study.by_snr.items()
        }
        noise = tables.noise_table(of_task)
        if any(row.get("auroc") for row in noise):
            plots.noise_lines(noise, folder, f"noise-{task}")
    if study.saliency:
        plots_saliency.saliency_by_lead(
            {name: one.mean_by_lead() for name, one in study.saliency.items()}, folder, "saliency"
        )
    for name, one in study.saliency.items():
        slug = re.sub(r"[^A-Za-z0-9]+", "-", name)
        title = f"{name}: attribution to the first task's logit"
        fs_hz = recipe("edge").fs_hz
        plots_saliency.saliency_ecg(
            one.signal[0], one.attribution[0], one.leads, fs_hz, folder, f"saliency-{slug}", title=title
        )


def _slug(task: str, split: str) -> str:
    return f"{task}-{re.sub(r'[^A-Za-z0-9]+', '-', split.partition(':')[0])}"


def _families(config: StudyConfig) -> dict[str, str]:
    """Name, for each row that has siblings with other shares of the patients, the one with the largest share."""
    families = {}
    for row in config.rows:
        siblings = [other for other in config.rows if row.same_but_for_share(other)]
        if len(siblings) > 1:
            families[row.name] = max(siblings, key=lambda other: other.train_share).name
    return families


def _components(shards: Shards) -> dict[str, frozenset[str]]:
    """Return the recordings of each statement that makes PTB-XL's label; none for a data set without them."""
    if shards.auxiliary.shape[1] != labels.N_AUXILIARY:
        return {}
    axis = labels.AUXILIARY_AXES.index(("RAD", "ARAD"))
    column = {code: labels.AUXILIARY_CODES.index(code) for code in sorted(labels.RIGHT_HEART_CODES)}
    column["right axis"] = len(labels.AUXILIARY_CODES) + axis
    stated = {name: shards.auxiliary[:, index] == 1 for name, index in column.items()}
    stated["without IRBBB"] = ~stated["IRBBB"]
    return {name: frozenset(shards.record_id[mask].tolist()) for name, mask in stated.items()}


def _commit() -> str | None:
    asked = subprocess.run(  # noqa: S603
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or None
