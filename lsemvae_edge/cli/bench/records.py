"""``bench records``: how quick a store stays as it grows, and what a screening writes."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("records", help="list, open and export against the number of records; bytes and syncs")
    parser.add_argument("--counts", default="50,500", metavar="N,N", help="records, growing (default %(default)s)")
    parser.add_argument("--screenings", type=int, default=20, help="whose writes are counted (default %(default)s)")
    parser.add_argument("--out", type=Path, help="also write a result file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Fill, time, count, and print."""
    from lsemvae_edge.benchmarks import proof, records_speed

    try:
        counts = [int(text) for text in options.counts.split(",")]
    except ValueError as error:
        raise UsageError(f"Counts are whole numbers with commas, not {options.counts!r}.") from error
    if counts != sorted(set(counts)) or counts[0] < 1 or options.screenings < 1:
        raise UsageError("Counts must grow, and begin at 1 or more; at least one screening is counted.")
    figures = records_speed.measure(counts, say, screenings=options.screenings)
    if options.out:
        proof.write(options.out, "records", figures)
    if options.json:
        print_json(figures)
        return int(ExitCode.DONE)
    names = list(figures["times_ms"][0])
    print(" ".join(f"{name:>24}" for name in names))
    for row in figures["times_ms"]:
        print(" ".join(f"{row[name]:>24}" for name in names))
    screening, year = figures["screening"], figures["year"]
    print(f"a screening writes {screening['written_bytes']} bytes with {screening['syncs']} syncs;")
    print(
        f"{year['screenings']} a year write {year['written_gb']} GB with {year['syncs']} syncs, "
        f"and the store grows by {year['store_gb']} GB"
    )
    return int(ExitCode.DONE)
