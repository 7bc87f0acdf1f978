"""``train evaluate``: the paper's tables for a cohort."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import BadInputError, ExitCode, MissingExtraError, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.benchmarks.study_config import StudyConfig


def add(parts: Commands) -> None:
    """Describe the command."""
    evaluate = parts.add_parser("evaluate", help="models, lead sets, splits and noise: the paper's tables for a cohort")
    evaluate.add_argument("--shards", type=Path, action="append", required=True, metavar="DIR",
                          help="prepared recordings to judge; once for each recipe")  # fmt: skip
    evaluate.add_argument("--teach", type=Path, action="append", default=[], metavar="DIR",
                          help="prepared recordings to learn from, if not the same; once for each recipe")  # fmt: skip
    evaluate.add_argument("--dataset", metavar="KIND", help="where the recordings came from, for noise robustness")
    evaluate.add_argument("--data", type=Path, help="its folder")
    evaluate.add_argument("--study", default="paper", metavar="NAME", help="paper (default) or learning-curve")
    evaluate.add_argument("--config", type=Path, help="JSON file with a study of your own")
    evaluate.add_argument("--print-config", action="store_true", help="print the study as JSON and stop")
    evaluate.add_argument("--work", type=Path, default=Path("runs"), help="where finished stages are kept")
    evaluate.add_argument("--out", type=Path, default=Path("tables"), help="where tables and figures go")
    evaluate.add_argument("--budget", type=float, metavar="MINUTES", help="begin no stage after so long")
    evaluate.add_argument("--processes", type=int, help="stages at a time, one thread each")
    evaluate.add_argument("--final", action="store_true", help="read fold 10 and append to the ledger")
    add_json(evaluate)
    evaluate.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run what is not finished and write the tables."""
    try:
        from lsemvae_edge.benchmarks import study, study_report, table_files, tables
        from lsemvae_edge.benchmarks.stages import Data
        from lsemvae_edge.train.datasets import open_dataset
        from lsemvae_edge.train.shards import open_shards
    except ImportError as error:
        raise MissingExtraError("train evaluate", "train") from error
    config = _config(options)
    if options.print_config:
        print(config.model_dump_json(indent=1))
        return int(ExitCode.DONE)
    study.check(config)
    judged = {open_shards(folder).recipe.name: folder for folder in options.shards}
    taught = judged | {open_shards(folder).recipe.name: folder for folder in options.teach}
    dataset = open_dataset(options.dataset, options.data) if options.dataset else None
    data = Data(taught, judged)
    found = study.run(config, data, options.work, dataset=dataset, final=options.final, say=say)
    if not found.predictions:
        raise BadInputError("No model was judged.", "See the messages above; raise --budget if time ran out.")
    if options.final:
        study_report.record_final(found)
    study_report.write(found, config, options.out, study.whole(data))
    rows = tables.main_table(found.predictions, found.validation, not_run=found.not_run)
    if options.json:
        for one in found.predictions:
            print_json({"model": one.model, "task": one.task, "leads": one.leads, "split": one.split, "n": len(one)})
    else:
        print(
            table_files.to_markdown(
                rows, ("model", "task", "leads", "split", "n", "positive", "auroc", "average_precision", "note")
            )
        )
    say(f"tables and figures: {options.out}")
    return int(ExitCode.DONE)


def _config(options: argparse.Namespace) -> "StudyConfig":
    from pydantic import ValidationError

    from lsemvae_edge.benchmarks.studies import STUDIES
    from lsemvae_edge.benchmarks.study_config import StudyConfig

    if options.study not in STUDIES:
        raise UsageError(f"There is no study {options.study!r}.", f"Choose one of: {', '.join(STUDIES)}.")
    try:
        config = (
            StudyConfig.model_validate_json(options.config.read_text()) if options.config else STUDIES[options.study]
        )
    except (OSError, ValidationError) as error:
        raise UsageError(f"{options.config} is no study: {error}", "See `train evaluate --print-config`.") from error
    told = {"budget_minutes": options.budget, "processes": options.processes}
    return config.model_copy(update={key: value for key, value in told.items() if value is not None})
