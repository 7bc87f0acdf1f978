"""What can go wrong with a recorder: each error carries its data and says what the operator should do."""

from collections.abc import Sequence

from lsemvae_edge.errors import DeviceError


class BluetoothUnavailableError(DeviceError):
    """No Bluetooth adapter of this machine that can be used."""

    def __init__(self, reason: str, next_step: str | None = None) -> None:
        super().__init__(f"Bluetooth cannot be used: {reason}.", next_step or "Run `lsemvae-edge doctor bluetooth`.")
        self.reason = reason


class NotInRangeError(DeviceError):
    """A recorder did not answer."""

    def __init__(self, recorder: str, waited_s: float) -> None:
        super().__init__(
            f"{recorder} was not found within {waited_s:.0f} s.",
            "Switch it on, bring it closer, and close other apps that use it.",
        )
        self.recorder, self.waited_s = recorder, waited_s


class NoneEnrolledError(DeviceError):
    """No recorder was ever enrolled on this machine, or none of those enrolled is in range."""

    def __init__(self, enrolled: Sequence[str], waited_s: float = 0.0) -> None:
        names = ", ".join(enrolled)
        super().__init__(
            f"None of the enrolled recorders ({names}) was found within {waited_s:.0f} s."
            if enrolled
            else "No recorder is enrolled on this machine.",
            "Switch the recorder on and bring it closer."
            if enrolled
            else "Run `lsemvae-edge devices scan`, then `lsemvae-edge devices enrol ADDRESS`.",
        )
        self.enrolled, self.waited_s = tuple(enrolled), waited_s


class SeveralInRangeError(DeviceError):
    """More than one enrolled recorder is in range, so none is chosen."""

    def __init__(self, recorders: Sequence[str]) -> None:
        super().__init__(
            f"Several enrolled recorders are in range: {'; '.join(recorders)}.",
            "Switch the others off, or name one: --device ADDRESS.",
        )
        self.recorders = tuple(recorders)


class NotEnrolledError(DeviceError):
    """A recorder that was not enrolled is not recorded from."""

    def __init__(self, recorder: str) -> None:
        super().__init__(
            f"{recorder} is not enrolled on this machine.",
            "If it is yours, run `lsemvae-edge devices enrol ADDRESS` with nobody else's recorder near.",
        )
        self.recorder = recorder


class UnknownRecorderError(DeviceError):
    """No driver knows what was found."""

    def __init__(self, recorder: str, known: Sequence[str]) -> None:
        super().__init__(f"{recorder} is no recorder that is known here.", f"Name a driver: {', '.join(known)}.")
        self.recorder, self.known = recorder, tuple(known)


class WrongRecorderError(DeviceError):
    """Something else answers under an enrolled recorder's name or address."""

    def __init__(self, recorder: str, expected: str, found: str) -> None:
        super().__init__(
            f"{recorder} is not the recorder that was enrolled: it says {found}, enrolled was {expected}.",
            "Do not use it. Find out whose it is; enrol it anew only if you know.",
        )
        self.recorder, self.expected, self.found = recorder, expected, found


class PairingError(DeviceError):
    """The recorder and this machine could not be bonded, or the bond was lost."""

    def __init__(self, recorder: str, reason: str) -> None:
        super().__init__(
            f"{recorder} could not be paired: {reason}.",
            "Press its pairing button, then run `lsemvae-edge devices pair ADDRESS` within a minute.",
        )
        self.recorder, self.reason = recorder, reason


class ConnectionFailedError(DeviceError):
    """Connecting failed, more than once."""

    def __init__(self, recorder: str, attempts: int, reason: str) -> None:
        super().__init__(
            f"{recorder} could not be connected in {attempts} attempts: {reason}.",
            "Bring it closer, switch it off and on, and close other apps that use it.",
        )
        self.recorder, self.attempts, self.reason = recorder, attempts, reason


class LinkLostError(DeviceError):
    """The link broke and did not come back."""

    def __init__(self, recorder: str, silent_s: float) -> None:
        super().__init__(
            f"{recorder} has been silent for {silent_s:.0f} s.",
            "Bring it closer, check its battery, and record again.",
        )
        self.recorder, self.silent_s = recorder, silent_s


class RefusedError(DeviceError):
    """The recorder refused a command."""

    def __init__(self, recorder: str, command: str, reason: str, next_step: str | None = None) -> None:
        super().__init__(
            f"{recorder} refused to {command}: {reason}.", next_step or "Switch it off and on, and try again."
        )
        self.recorder, self.command, self.reason = recorder, command, reason


class UnsupportedRecorderError(DeviceError):
    """The recorder speaks a version, rate or scale that its driver does not know."""

    def __init__(self, what: str, next_step: str | None = None) -> None:
        super().__init__(what, next_step or "Update lsemvae-edge, or the recorder's firmware.")


class NotOfferedError(DeviceError):
    """What was asked is beyond this kind of recorder."""

    def __init__(self, recorder: str, what: str) -> None:
        super().__init__(f"{recorder} cannot {what}.", "Go on without it.")
        self.recorder, self.what = recorder, what


class BatteryEmptyError(DeviceError):
    """The recorder's battery is too low to finish a recording."""

    def __init__(self, recorder: str, percent: int) -> None:
        super().__init__(f"{recorder} has {percent} % of charge left.", "Charge it, then record again.")
        self.recorder, self.percent = recorder, percent


class NoContactError(DeviceError):
    """Electrodes had no contact for too long."""

    def __init__(self, electrodes: Sequence[str], seconds: float) -> None:
        super().__init__(
            f"No contact for {seconds:.0f} s: {', '.join(electrodes)}.",
            "Moisten the skin, hold both hands and the left leg on the electrodes, and record again.",
        )
        self.electrodes, self.seconds = tuple(electrodes), seconds


class SelfTestError(DeviceError):
    """The recorder's own test signal did not come back as it should."""

    def __init__(self, recorder: str, complaint: str) -> None:
        super().__init__(f"{recorder} failed its self-test: {complaint}.", "Do not use it; have it checked.")
        self.recorder, self.complaint = recorder, complaint
