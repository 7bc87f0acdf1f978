"""Options that commands with a recorder share; imports nothing heavy, because every command line is built with it."""

import argparse
import os

ADAPTER_VARIABLE = "LSEMVAE_EDGE_ADAPTER"


def add_adapter(parser: argparse.ArgumentParser) -> None:
    """Give a command its ``--adapter``."""
    parser.add_argument(
        "--adapter",
        default=os.environ.get(ADAPTER_VARIABLE),
        metavar="NAME",
        help="Bluetooth adapter: hci0, or tcp:127.0.0.1:PORT for the one of `devices simulate` "
        f"(default: {ADAPTER_VARIABLE}, else the system's)",
    )
