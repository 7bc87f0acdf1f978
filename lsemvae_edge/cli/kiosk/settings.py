"""``kiosk settings``: list what is set, or change it."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

from lsemvae_edge.cli._common import Commands, add_json, parse_options, print_json
from lsemvae_edge.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.kiosk.settings import Settings

NONE = "none"


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "settings",
        help="list or change the kiosk's settings",
        description="A list is written with commas, yes or no for a switch, `none` for nothing: printer=none.",
    )
    parser.add_argument("change", nargs="*", metavar="KEY=VALUE", help="for instance site='Health post' attempts=3")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Change what was named, then list everything."""
    from lsemvae_edge.kiosk import settings

    changes = parse_options(options.change)
    found = settings.update(lambda now: changed(now, changes)) if changes else settings.read()
    if options.json:
        print_json({**asdict(found), "schema": "lsemvae-edge/kiosk-settings/1"})
        return int(ExitCode.DONE)
    for name, value in _flat(found).items():
        print(f"{name:18} {_written(value)}")
    return int(ExitCode.DONE)


def changed(now: "Settings", changes: Mapping[str, str]) -> "Settings":
    """Return settings with some of them read from text.

    Raises
    ------
    UsageError
        If there is no such setting, or its text is not one of its values.
    """
    from lsemvae_edge.kiosk.settings import FhirServer

    kinds = {field.name: str(field.type) for field in fields(now) if field.name not in ("schema", "fhir")}
    for name, text in changes.items():
        if name == "fhir" and text == NONE:
            now = replace(now, fhir=None)
        elif name.startswith("fhir.") and name[5:] in {field.name for field in fields(FhirServer)}:
            server = now.fhir or FhirServer(url="")
            value = None if text == NONE else text
            now = replace(
                now, fhir=replace(server, **{name[5:]: value or ""} if name == "fhir.url" else {name[5:]: value})
            )
        elif name in kinds:
            now = replace(now, **{name: _parsed(name, kinds[name], text)})
        else:
            raise UsageError(f"There is no setting called {name}.", "Run `lsemvae-edge kiosk settings` to list them.")
    if now.fhir is not None and not now.fhir.url:
        raise UsageError("The server has no address.", "Set fhir.url=https://… first, or fhir=none.")
    return now


def _parsed(name: str, kind: str, text: str) -> Any:
    if text == NONE and "None" in kind:
        return None
    plain = kind.split("|")[0].strip().strip("'\"").rsplit(".", 1)[-1]
    plain = "tuple" if "tuple" in kind else plain.removeprefix("<class '").removesuffix("'>")
    try:
        return _READERS[plain](text)
    except (KeyError, ValueError) as error:
        raise UsageError(f"{text!r} is not a value for {name}.", "Run `lsemvae-edge kiosk settings --help`.") from error


def _switch(text: str) -> bool:
    return {"yes": True, "no": False, "true": True, "false": False}[text.lower()]


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _number(text: str) -> float:
    value = float(text)
    if not value < float("inf"):
        raise ValueError
    return value


_READERS: dict[str, Callable[[str], Any]] = {
    "str": str, "bool": _switch, "int": int, "float": _number, "tuple": _names,
}  # fmt: skip


def _flat(settings: "Settings") -> dict[str, Any]:
    found = {name: value for name, value in asdict(settings).items() if name != "schema"}
    server = found.pop("fhir")
    return found | ({f"fhir.{name}": value for name, value in server.items()} if server else {"fhir": None})


def _written(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)
