"""``train``: from data sets to models, and the figures of them."""

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.train import bundle, distill, evaluate, finetune, prepare, pretrain, recalibrate

PARTS = (prepare, pretrain, finetune, evaluate, distill, bundle, recalibrate)


def add(commands: Commands) -> None:
    """Describe the command and its parts."""
    parser = commands.add_parser("train", help="prepare data, train, evaluate and pack a model")
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for part in PARTS:
        part.add(parts)
