"""Who works at a kiosk: a code and a PIN for each, and a growing pause after wrong PINs.

A PIN keeps passers-by and mistakes from the page. It has so few digits that whoever can read this file finds it; what
guards the records is the store's key.
"""

import dataclasses
import hmac
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import scrypt
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeVar

from lsemvae_edge import strict_json
from lsemvae_edge.errors import BundleError, UsageError
from lsemvae_edge.language import mark
from lsemvae_edge.operator_file import OperatorFile
from lsemvae_edge.spec import from_dict

SCHEMA = "lsemvae-edge/operators/1"
PAUSES_SCHEMA = "lsemvae-edge/sign-in-pauses/1"
VARIABLE = "LSEMVAE_EDGE_OPERATORS"
"""Environment variable that names the file."""
PAUSES_VARIABLE = "LSEMVAE_EDGE_SIGN_IN_PAUSES"
"""Environment variable that names the file that counts wrong PINs; it must be writable while the kiosk runs."""
FREE_TRIES = 5
"""So many wrong PINs in a row, then a pause."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 600.0

Role = Literal["operator", "supervisor"]
"""At the kiosk, a supervisor may also correct a wrong study id of today. Exports, wipes and updates are commands; who
may run those, the machine's own accounts decide."""

NOT_KNOWN = mark("The code and the PIN do not belong together.")
TRY_AGAIN = mark("Choose your code and type your PIN again.")
PAUSED = mark("Too many wrong PINs. Wait {seconds} seconds.")
ASK_SUPERVISOR = mark("Wait, or ask a supervisor for a new PIN.")

T = TypeVar("T", "Operators", "Pauses")
_COST, _BLOCK, _PARALLEL, _KEY_BYTES = 2**14, 8, 1, 32
_REPAIR = "Restore the file from a copy, or remove it and add the operators again."


class SignInError(UsageError):
    """Nobody was signed in.

    Parameters
    ----------
    message : str
    next_step : str
    wait_s : float
        So long no PIN of this operator is looked at; 0 if the next may be typed at once.
    """

    def __init__(self, message: str, next_step: str, wait_s: float = 0.0) -> None:
        super().__init__(message, next_step)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Operator:
    """Somebody who may sign in.

    Parameters
    ----------
    code : str
        1 to 12 letters, digits or hyphens, in capitals; no name.
    role : {"operator", "supervisor"}
    salt : str
        Hexadecimal.
    digest : str
        scrypt of the PIN, hexadecimal.
    """

    code: str
    role: Role
    salt: str
    digest: str


@dataclass(frozen=True)
class Operators:
    """Content of the file."""

    schema: str = SCHEMA
    operators: tuple[Operator, ...] = ()

    def get(self, code: str) -> Operator | None:
        """Return an operator by code, None if there is no such one."""
        return next((one for one in self.operators if one.code == _plain(code)), None)


@dataclass(frozen=True)
class Pause:
    """Wrong PINs of one operator, without a right one between.

    Parameters
    ----------
    code : str
    wrong : int
    boot : str
        Start of the machine during which the last one was typed.
    at_s : float
        Seconds from that start; no clock is needed.
    """

    code: str
    wrong: int
    boot: str
    at_s: float


@dataclass(frozen=True)
class Pauses:
    """Content of the file that counts wrong PINs."""

    schema: str = PAUSES_SCHEMA
    pauses: tuple[Pause, ...] = ()


def read() -> Operators:
    """Read the file; an absent one is empty.

    Raises
    ------
    UsageError
        If it is damaged, or others can read or write it.
    """
    found = _FILE.read()
    if found is not None and os.name == "posix" and _FILE.path().stat().st_mode & 0o077:
        raise UsageError(
            f"The list of operators {_FILE.path()} can be read by other users.", f"Run `chmod 600 {_FILE.path()}`."
        )
    return found or Operators()


def codes() -> tuple[str, ...]:
    """Codes of all operators, sorted."""
    return tuple(sorted(one.code for one in read().operators))


def is_supervisor(code: str) -> bool:
    """Whether an operator is a supervisor; False for one who is not in the file (any more)."""
    found = read().get(code)
    return found is not None and found.role == "supervisor"


def add(code: str, pin: str, role: Role = "operator") -> Operator:
    """Add an operator.

    Raises
    ------
    UsageError
        If the code is taken or no code, or the PIN is not 4 to 8 digits or too easy to guess.
    """
    made = _made(code, pin, role)

    def change(now: Operators) -> Operators:
        if now.get(made.code):
            raise UsageError(f"There is an operator {made.code} already.", "Choose another code, or change the PIN.")
        return dataclasses.replace(now, operators=(*now.operators, made))

    _update(change)
    return made


def remove(code: str) -> Operator:
    """Remove an operator, and return whom.

    Raises
    ------
    UsageError
        If there is no such one, or it is the only supervisor of others.
    """
    removed: list[Operator] = []

    def change(now: Operators) -> Operators:
        removed.append(_known(now, code))
        left = tuple(one for one in now.operators if one.code != removed[0].code)
        if left and not any(one.role == "supervisor" for one in left) and removed[0].role == "supervisor":
            raise UsageError(f"{removed[0].code} is the only supervisor.", "Add another supervisor first.")
        return dataclasses.replace(now, operators=left)

    _update(change)
    _forget(removed[0].code)
    return removed[0]


def change_pin(code: str, pin: str) -> Operator:
    """Give an operator a new PIN; a pause after wrong ones ends.

    Raises
    ------
    UsageError
        If there is no such operator, or the PIN is not 4 to 8 digits or too easy to guess.
    """
    made: list[Operator] = []

    def change(now: Operators) -> Operators:
        made.append(_made(code, pin, _known(now, code).role))
        others = tuple(one for one in now.operators if one.code != made[0].code)
        return dataclasses.replace(now, operators=(*others, made[0]))

    _update(change)
    _forget(made[0].code)
    return made[0]


def verify(code: str, pin: str) -> Operator:
    """Return the operator if the PIN is theirs; takes as long as scrypt does, so call it apart from a page's loop.

    After `FREE_TRIES` wrong PINs in a row no PIN is looked at for `FIRST_PAUSE_S`, after each further one for twice as
    long, at most `LONGEST_PAUSE_S`. Starting the machine again starts the pause again.

    Raises
    ------
    SignInError
        If not.
    UsageError
        If a wrong PIN cannot be written down: then none is looked at.
    """
    operator = read().get(code)
    if (wait_s := pause_s(code)) > 0:
        raise SignInError(PAUSED.format(seconds=max(1, round(wait_s))), ASK_SUPERVISOR, wait_s)
    # Of somebody unknown a PIN is computed as well, so that the time does not tell.
    digest = _digest(pin, operator.salt if operator else "00" * 16)
    if operator and hmac.compare_digest(digest, operator.digest):
        if _pause(operator.code) is not None:
            _forget(operator.code)
        return operator
    if operator:
        _count(operator.code)
        if (wait_s := pause_s(operator.code)) > 0:
            raise SignInError(PAUSED.format(seconds=max(1, round(wait_s))), ASK_SUPERVISOR, wait_s)
    raise SignInError(NOT_KNOWN, TRY_AGAIN)


def pause_s(code: str) -> float:
    """Seconds for which no PIN of this operator is looked at; 0 if one may be typed."""
    found = _pause(_plain(code))
    if found is None or found.wrong < FREE_TRIES:
        return 0.0
    length_s = min(FIRST_PAUSE_S * 2.0 ** min(found.wrong - FREE_TRIES, 10), LONGEST_PAUSE_S)
    boot, now_s = _since_start()
    return max(0.0, length_s - (now_s - found.at_s if found.boot == boot else now_s))


def _made(code: str, pin: str, role: Role) -> Operator:
    plain = _plain(code)
    if not (1 <= len(plain) <= 12 and plain.isascii() and plain.replace("-", "").isalnum()):
        raise UsageError("A code is 1 to 12 letters, digits or hyphens.", "Choose another code; it need not be a name.")
    if not (4 <= len(pin) <= 8 and pin.isascii() and pin.isdecimal()):
        raise UsageError("A PIN is 4 to 8 digits.", "Choose another PIN.")
    steps = {int(after) - int(before) for before, after in pairwise(pin)}
    if len(steps) == 1 and steps <= {-1, 0, 1}:
        raise UsageError("This PIN is too easy to guess.", "Choose one that is not a row of digits or all the same.")
    if role not in ("operator", "supervisor"):
        raise UsageError(f"There is no role {role!r}.", "Choose operator or supervisor.")
    salt = secrets.token_hex(16)
    return Operator(plain, role, salt, _digest(pin, salt))


def _digest(pin: str, salt: str) -> str:
    return scrypt(
        pin.encode(), salt=bytes.fromhex(salt), n=_COST, r=_BLOCK, p=_PARALLEL, dklen=_KEY_BYTES, maxmem=2**26
    ).hex()


def _known(now: Operators, code: str) -> Operator:
    found = now.get(code)
    if found is None:
        raise UsageError("There is no operator of this code.", "Look which there are.")
    return found


def _plain(code: str) -> str:
    return code.strip().upper()


def _update(change: Callable[[Operators], Operators]) -> None:
    _FILE.update(lambda now: change(now or Operators()))


def _pause(code: str) -> Pause | None:
    found = _PAUSES.read()
    return next((one for one in found.pauses if one.code == code), None) if found else None


def _count(code: str) -> None:
    boot, now_s = _since_start()

    def change(now: Pauses | None) -> Pauses:
        pauses = now.pauses if now else ()
        wrong = sum(one.wrong for one in pauses if one.code == code) + 1
        others = tuple(one for one in pauses if one.code != code)
        return Pauses(pauses=(*others, Pause(code, wrong, boot, round(now_s, 3))))

    _PAUSES.update(change)


def _forget(code: str) -> None:
    if _pause(code) is not None:
        _PAUSES.update(lambda now: Pauses(pauses=tuple(one for one in (now or Pauses()).pauses if one.code != code)))


def _since_start() -> tuple[str, float]:
    """Which start of the machine this is, and the seconds since: neither needs a clock that is set."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return boot, time.monotonic() if clock is None else time.clock_gettime(clock)


def _parsed(raw: bytes, path: Path) -> Operators:
    found = _strict(Operators, raw, f"The list of operators {path}", SCHEMA)
    listed = [one.code for one in found.operators]
    if len(set(listed)) != len(listed) or any(code != _plain(code) for code in listed):
        raise UsageError(f"The list of operators {path} names a code twice, or not in capitals.", _REPAIR)
    return found


def _parsed_pauses(raw: bytes, path: Path) -> Pauses:
    return _strict(Pauses, raw, f"The count of wrong PINs {path}", PAUSES_SCHEMA)


def _strict(kind: type[T], raw: bytes, what: str, schema: str) -> T:
    try:
        found = from_dict(kind, strict_json.parse(raw, what, _REPAIR), what)
    except BundleError as error:
        raise UsageError(error.message, _REPAIR) from error
    if found.schema != schema:
        raise UsageError(f"{what} is {found.schema!r}, not {schema!r}.", _REPAIR)
    return found


_FILE: OperatorFile[Operators] = OperatorFile(
    "The list of operators", "operators.json", VARIABLE, UsageError, _REPAIR, _parsed
)
_PAUSES: OperatorFile[Pauses] = OperatorFile(
    "The count of wrong PINs", "sign-in-pauses.json", PAUSES_VARIABLE, UsageError, _REPAIR, _parsed_pauses
)
