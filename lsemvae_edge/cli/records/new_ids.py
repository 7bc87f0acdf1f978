"""``records new-ids``: study ids to print on cards."""

import argparse
from collections.abc import Iterator

from lsemvae_edge.cli._common import Commands, add_json, print_json
from lsemvae_edge.errors import BadInputError, ExitCode, UsageError

MOST = 100_000


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "new-ids",
        help="make study ids with their check characters, to print on cards",
        description="Numbers are left out where two neighbours could change places unnoticed, about one of fifty.",
    )
    parser.add_argument("prefix", help="letters or digits that all begin with, such as a site's")
    parser.add_argument("--first", type=int, default=1, metavar="N", help="first number (default %(default)s)")
    parser.add_argument("--count", type=int, default=20, metavar="N", help="how many (default %(default)s)")
    parser.add_argument("--digits", type=int, default=4, metavar="N", help="of the number (default %(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print an id a line; each keeps the rules of this kiosk."""
    from lsemvae_edge import study_id
    from lsemvae_edge.kiosk import settings

    if not 1 <= options.count <= MOST or options.first < 0 or not 1 <= options.digits <= 12:
        raise UsageError(f"Make 1 to {MOST} ids, from 0 or more, with 1 to 12 digits.", "Run it with other numbers.")
    rules = settings.read()
    if not rules.check_character:
        raise UsageError(
            "Study ids of this kiosk have no check character.", "Set `check_character` of the kiosk's settings."
        )
    for made in _made(options):
        study_id.checked(made, rules.study_id_pattern, True)
        if options.json:
            print_json({"schema": "lsemvae-edge/study-id/1", "study_id": made})
        else:
            print(made)
    return int(ExitCode.DONE)


def _made(options: argparse.Namespace) -> Iterator[str]:
    from lsemvae_edge import study_id

    number, left = options.first, options.count
    # The prefix by itself says first whether anything can be made of it.
    study_id.check_character(study_id.normalise(options.prefix))
    while left:
        if len(str(number)) > options.digits:
            raise UsageError(f"Numbers of {options.digits} digits are used up.", "Take more digits, or another prefix.")
        try:
            made = study_id.make(f"{options.prefix}{number:0{options.digits}}")
        except BadInputError as error:
            if error.message != study_id.BLIND:
                raise
        else:
            left -= 1
            yield made
        number += 1
