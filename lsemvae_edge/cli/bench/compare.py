"""``bench compare``: which figures of two sessions, or of two things in one, differ beyond noise."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, parse_options, print_json, say
from lsemvae_edge.errors import ExitCode, OverBudgetError, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("compare", help="which figures of two sessions, or of one, differ beyond noise")
    parser.add_argument("session", nargs="*", type=Path, metavar="SESSION", help="folder of a session: two, or one")
    for side in ("a", "b"):
        told = f"of one session: facts of the cases of side {side.upper()}; repeatable"
        parser.add_argument(f"--{side}", action="append", default=[], metavar="FACT=VALUE", help=told)
    parser.add_argument(
        "--smallest", type=float, default=3.0, metavar="PERCENT", help="effect of interest (default %(default)s)"
    )
    for what in ("part", "metric"):
        parser.add_argument(f"--{what}", action="append", default=[], help=f"look at this {what} alone; repeatable")
    parser.add_argument("--unlike-hosts", action="store_true", help="compare although the hosts differ")
    parser.add_argument("--unlike-bundles", action="store_true", help="compare although the bundles differ")
    parser.add_argument("--fail-if-worse", action="store_true", help="exit 8 if a figure of B is worse beyond noise")
    parser.add_argument("--prove", type=int, metavar="PAIRS", help="prove the comparer by so many pairs measured here")
    parser.add_argument("--seed", type=int, default=0, help="with --prove: of every order (default %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write a result file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compare, or prove the comparer."""
    if options.smallest <= 0:
        raise UsageError(f"An effect of interest is above 0 %, not {options.smallest:g} %.")
    return _prove(options) if options.prove is not None else _compare(options)


def _compare(options: argparse.Namespace) -> int:
    from lsemvae_edge.benchmarks import proof
    from lsemvae_edge.benchmarks.target import compare, session

    a, b = parse_options(options.a), parse_options(options.b)
    recorded = [session.read(folder) for folder in options.session]
    asked = {"smallest": options.smallest / 100, "parts": options.part, "metrics": options.metric}
    if len(recorded) == 2 and not a and not b:
        found = compare.sessions(
            *recorded,
            **asked,
            unlike_hosts=options.unlike_hosts,
            unlike_bundles=options.unlike_bundles,
        )
    elif len(recorded) == 1 and a and b:
        found = compare.within(recorded[0], a, b, **asked)
    else:
        raise UsageError("Compare two sessions, or one with --a and --b.", "Run `lsemvae-edge bench compare --help`.")
    if options.out:
        proof.write(options.out, "compare", found.to_dict())
    if options.json:
        print_json(found.to_dict())
    else:
        print(compare.table(found))
    if options.fail_if_worse and found.worse:
        first = found.worse[0]
        raise OverBudgetError(
            f"{len(found.worse)} figures are worse beyond noise, the first {first.part}, {first.case}, {first.metric}: "
            f"{first.ratio:.3f} times as much.",
            "See the rows whose verdict is `worse`.",
        )
    return int(ExitCode.DONE)


def _prove(options: argparse.Namespace) -> int:
    from lsemvae_edge.benchmarks import proof
    from lsemvae_edge.benchmarks.target import slowed

    if options.session or options.prove < 1:
        raise UsageError("--prove takes a number of pairs of at least 1, and no session.")
    figures = slowed.prove(options.prove, options.seed, options.smallest / 100, say)
    if options.out:
        proof.write(options.out, "comparer", figures)
    if options.json:
        print_json(figures)
    else:
        print(slowed.told(figures))
    if figures["broken"]:
        raise OverBudgetError(
            f"The comparer does not do what it promises: {figures['broken'][0]}.", "See the result (--json)."
        )
    return int(ExitCode.DONE)
