"""``train recalibrate``: a bundle's calibration and thresholds from a site's own labelled recordings."""

import argparse
from dataclasses import asdict
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, parse_options, print_json, say
from lsemvae_edge.errors import BadInputError, ExitCode, MissingExtraError, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("recalibrate", help="refit a bundle's calibration and thresholds on your own recordings")
    parser.add_argument("--cohort", type=Path, required=True, metavar="LABELS.CSV",
                        help="table with columns patient, file, and one of 0 and 1 named after each task")  # fmt: skip
    parser.add_argument("--data", type=Path, help="folder that its files are named from (default: the table's)")
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="option of the data set `folder`"
    )
    parser.add_argument("--bundle", type=Path, help="bundle to start from (default: the shipped one)")
    parser.add_argument("--prevalence", type=float, help="share of positives in use (default: the cohort's)")
    parser.add_argument(
        "--sensitivity", type=float, help="share of the positives to find, promised with confidence 0.9 (default 0.75)"
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder, or archive ending in .zip")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Refit, validate locally, and write the bundle's next version."""
    from lsemvae_edge import bundle as bundles

    try:
        from lsemvae_edge.quantize import release
        from lsemvae_edge.train import datasets
        from lsemvae_edge.train.calibrate import MISSED
        from lsemvae_edge.train.recalibrate import recalibrate, report
    except ImportError as error:
        raise MissingExtraError("train recalibrate", "export") from error
    sensitivity = 1 - MISSED if options.sensitivity is None else options.sensitivity
    for name, value in (("--sensitivity", sensitivity), ("--prevalence", options.prevalence)):
        if value is not None and not 0 < value < 1:
            raise UsageError(f"{name} lies between 0 and 1, not at {value:g}.")
    if not options.cohort.is_file():
        raise BadInputError(f"There is no table {options.cohort}.", "Name the table of labels with --cohort.")
    if options.out.exists():
        raise UsageError(f"{options.out} exists.", "Name a new folder or archive.")
    bundle = bundles.load(options.bundle) if options.bundle else bundles.default()
    told = {"labels": options.cohort, **parse_options(options.option)}
    cohort = datasets.open_dataset("folder", options.data or options.cohort.parent, **told)
    found = recalibrate(bundle, cohort, prevalence=options.prevalence, sensitivity=sensitivity, say=say)
    for line in cohort.problems.lines():
        say(line)
    made = release.recalibrated(bundle, found, options.out, cohort=options.cohort.name)
    if options.json:
        print_json(
            {
                "schema": "lsemvae-edge/recalibration/1",
                "bundle": str(made.path),
                "id": made.spec.id,
                "sha256": made.sha256,
                **asdict(found),
            }
        )
    else:
        print(report(found))
        print(f"\n{made.path}: {made.spec.id}, version {made.manifest.version} ({made.sha256[:12]})")
    return int(ExitCode.DONE)
