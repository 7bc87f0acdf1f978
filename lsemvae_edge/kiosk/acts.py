"""What the page and the terminal may ask a station for, by name, and which values each act takes."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any

from lsemvae_edge.errors import UsageError
from lsemvae_edge.kiosk.flow import LOOK, NOT_NOW

Act = Callable[..., Awaitable[None]]


def check(act: Act, values: Mapping[str, Any]) -> None:
    """Refuse values that an act does not take; what goes wrong inside an act is then a defect, and is not hidden.

    Parameters
    ----------
    act : callable
        A method; its values are keyword arguments, annotated as ``str`` or ``bool``.
    values : mapping of str to Any
        From a page, so anything that JSON can say.

    Raises
    ------
    UsageError
        If one is missing, of another type, or unknown.
    """
    wanted = _wanted(act)
    is_whole = all(name in values or has_default for name, (_, has_default) in wanted.items())
    # A bool is no str, and the other way round; JSON has no subclasses of either.
    if not is_whole or any(name not in wanted or type(value) is not wanted[name][0] for name, value in values.items()):
        raise UsageError(NOT_NOW, LOOK)


@cache
def _wanted(act: Act) -> dict[str, tuple[type, bool]]:
    """Return type of each value, and whether it may be left out."""
    values = [one for one in inspect.signature(act).parameters.values() if one.kind is one.KEYWORD_ONLY]
    return {one.name: (one.annotation, one.default is not one.empty) for one in values}
