"""``bench sizes``: search the student's shape."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    sizes = parts.add_parser("sizes", help="student shapes: accuracy against weights, multiply-adds, latency")
    sizes.add_argument("--shape", action="append", metavar="NAME", help="only this shape or named size; repeatable")
    sizes.add_argument("--teachers", action="store_true", help="also learn from teachers, as the shipped bundle does")
    sizes.add_argument("--seeds", type=int, default=1, help="seeds of each shape (default %(default)s)")
    sizes.add_argument("--plot", type=Path, metavar="PATH", help="draw the figure there (PNG, SVG or PDF)")
    sizes.add_argument("--out", type=Path, metavar="DIR", help="also write sizes.csv and sizes.md there")
    sizes.add_argument("--work", type=Path, default=Path("runs"), help="where finished trainings are kept")
    sizes.add_argument("--processes", type=int, default=2, help="trainings at a time (default %(default)s)")
    add_json(sizes)
    sizes.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a row for each shape; fold 10 is never read."""
    try:
        from lsemvae_edge.benchmarks import judging, sizes, table_files
    except ImportError as error:
        raise MissingExtraError("bench sizes", "export") from error
    chosen = {sizes.describe(shape): shape for shape in map(sizes.named_shape, options.shape or ())}
    rows = sizes.evaluate(
        work=options.work,
        shapes=chosen or sizes.GRID,
        teachers=options.teachers,
        seeds=options.seeds,
        processes=options.processes,
        say=say,
    )
    if options.out is not None:
        table_files.write(options.out, "sizes", rows)
    if options.plot is not None:
        say(f"Drawn: {sizes.draw(rows, options.plot)}")
    if options.json:
        for row in rows:
            print_json(judging.plain(row))
    else:
        print(table_files.to_markdown(rows))
    return int(ExitCode.DONE)
