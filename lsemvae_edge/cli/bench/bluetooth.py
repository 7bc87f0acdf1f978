"""``bench bluetooth``: a day of recording in minutes, and how fast each driver is read."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import DeviceError, ExitCode, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("bluetooth", help="24 simulated hours, and the throughput of every driver")
    parser.add_argument("--hours", type=float, default=24.0, help="length of the long recordings (default %(default)s)")
    parser.add_argument("--out", type=Path, help="also write a result file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Record for long, and measure."""
    from dataclasses import replace

    from lsemvae_edge.benchmarks import bluetooth, proof

    if options.hours <= 0:
        raise UsageError(f"A recording lasts longer than {options.hours:g} hours.")
    figures = bluetooth.measure(tuple(replace(day, hours=options.hours) for day in bluetooth.DAYS), say)
    if options.out:
        proof.write(options.out, "bluetooth", figures)
    if options.json:
        print_json(figures)
    else:
        for day in figures["days"]:
            memory = [size for size in day["resident_mb"] if size is not None]
            grown = f"{memory[0]:g} MB after the first hour, {memory[-1]:g} MB at the end" if memory else "not known"
            print(
                f"{day['hours']:g} h, clock off by {day['ppm']:+g} ppm: {day['received']['samples']} samples received, "
                f"{day['received'].get('missing', 0)} missing, {day['misplaced']} misplaced; drift error "
                f"{day['drift_error_ppm']} ppm; memory {grown}; took {day['took_s']:g} s"
            )
        for speed in figures["throughput"]:
            print(f"{speed['driver']}: {speed['times_real_time']:g} times real time")
    if figures["broken"]:
        raise DeviceError(f"A long recording went wrong: {'; '.join(figures['broken'])}.", "See the result (--json).")
    return int(ExitCode.DONE)
