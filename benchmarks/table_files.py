"""Rows of a table as CSV, for programs, and as Markdown, for people."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lsemvae_edge.metrics import Interval
from lsemvae_edge.train.predictions import Spread

Row = dict[str, Any]

NAMES = ("model", "task", "leads", "split")
SECTIONS: Mapping[str, Sequence[str]] = {
    "Discrimination": (*NAMES, "n", "positive", "auroc", "average_precision", "seeds", "auroc_of_seeds", "note"),
    "Probability of one half, as the paper counts: mean ± standard deviation over folds": (
        *NAMES, "auroc_over_folds", "accuracy_over_folds", "f1_over_folds", "mcc_over_folds",
    ),
    "Probability of one half, all records": (*NAMES, "accuracy_at_half", "f1_at_half", "mcc_at_half"),
    "Operating point": (
        *NAMES, "operating_point", "sensitivity", "specificity", "accuracy", "f1", "mcc",
    ),
    "Predictive values at a stated prevalence": (
        *NAMES, "ppv_1%", "npv_1%", "ppv_5%", "npv_5%", "ppv_20%", "npv_20%",
    ),
    "Calibration": (*NAMES, "brier", "brier_constant", "ece", "calibration_slope", "calibration_intercept"),
}  # fmt: skip
"""How the main table is cut for reading."""

HEADINGS: Mapping[str, str] = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "auroc_of_seeds": "AUROC of each seed",
    "auroc_over_folds": "AUROC",
    "accuracy_over_folds": "accuracy",
    "f1_over_folds": "F1",
    "mcc_over_folds": "MCC",
    "accuracy_at_half": "accuracy",
    "f1_at_half": "F1",
    "mcc_at_half": "MCC",
    "operating_point": "operating point",
    "f1": "F1",
    "mcc": "MCC",
    "brier": "Brier",
    "brier_constant": "Brier of a constant",
    "ece": "ECE",
    "calibration_slope": "slope",
    "calibration_intercept": "intercept",
    "snr_db": "SNR (dB)",
    "difference": "AUROC difference",
    "average_precision_difference": "average precision difference",
    "records_left_out": "records left out",
    "positives_counted": "positives counted",
    "published_auroc": "paper's AUROC (PH by catheter, another cohort; not comparable)",
    "auroc_std": "± over folds",
    "aurc": "AURC",
    **{f"{short}_{share}": f"{short.upper()} at {share}" for short in ("ppv", "npv") for share in ("1%", "5%", "20%")},
}


def write(folder: Path, name: str, rows: Sequence[Row], sections: Mapping[str, Sequence[str]] | None = None) -> None:
    """Write a table as ``NAME.csv``, every column, and ``NAME.md``; each whole or not at all.

    Parameters
    ----------
    folder : Path
    name : str
    rows : sequence of dict
        Of `lsemvae_edge.benchmarks.tables`.
    sections : mapping, optional
        From a heading to the columns under it (`SECTIONS` for the main table); by default one table of all columns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / f"{name}.csv", to_csv(rows))
    if sections is None:
        text = to_markdown(rows)
    else:
        text = "\n\n".join(f"### {title}\n\n{to_markdown(rows, columns)}" for title, columns in sections.items())
    _replace(folder / f"{name}.md", text + "\n")


def to_csv(rows: Sequence[Row]) -> str:
    """Give every column; an interval takes three (``x``, ``x_low``, ``x_high``), a spread ``x`` and ``x_std``."""
    flat = [_flat(row) for row in rows]
    kinds: dict[str, dict[str, None]] = {}
    for row, source in zip(flat, rows, strict=True):
        for column in source:
            kinds.setdefault(column, {}).update(dict.fromkeys(row[column]))
    columns = [name for parts in kinds.values() for name in parts]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: value for parts in row.values() for name, value in parts.items()} for row in flat)
    return text.getvalue()


def to_markdown(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """Print rows as Markdown; without columns named, all that hold something."""
    if columns is None:
        found = dict.fromkeys(column for row in rows for column in row)
        columns = [name for name in found if any(cell(row.get(name)) not in ("-", "") for row in rows)]
    elif "note" not in columns and any(_not_run(row) for row in rows):
        columns = [*columns, "note"]
    lines = [
        " | ".join(HEADINGS.get(name, name.replace("_", " ")) for name in columns),
        "|".join(["---"] * len(columns)),
    ]
    lines += [" | ".join(cell(row.get(name)) for name in columns) for row in rows]
    return "\n".join(f"| {line} |" if line[:3] != "---" else f"|{line}|" for line in lines)


def cell(value: Any) -> str:
    """Print one value."""
    if value is None:
        return "-"
    if isinstance(value, Interval):
        return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"
    if isinstance(value, float):
        return f"{value:.3f}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _not_run(row: Row) -> bool:
    return str(row.get("note", "")).startswith("not run")


def _flat(row: Row) -> dict[str, dict[str, Any]]:
    """Spread each value over its columns of a CSV."""
    flat: dict[str, dict[str, Any]] = {}
    for name, value in row.items():
        if isinstance(value, Interval):
            flat[name] = {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        elif isinstance(value, Spread):
            flat[name] = {name: value.mean, f"{name}_std": value.std}
        else:
            flat[name] = {name: "" if value is None else value}
    return flat


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
