"""Every error the package raises on purpose, with its exit code and the next step for the reader."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line returns; stable, documented in ``docs/cli.md``."""

    DONE = 0
    USAGE = 2
    BAD_INPUT = 3
    UNUSABLE_RECORDING = 4
    BUNDLE_REFUSED = 5
    DEVICE = 6
    STORE = 7
    OVER_BUDGET = 8


class LsemvaeError(Exception):
    """Root of all errors of this package.

    Parameters
    ----------
    message : str
        What is wrong, in one sentence.
    next_step : str
        What the reader should do now, in one sentence.
    """

    code: ExitCode = ExitCode.USAGE
    default_next_step = "Run `lsemvae-edge --help`."

    def __init__(self, message: str, next_step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step or self.default_next_step


class UsageError(LsemvaeError):
    """The command was called in a way that has no meaning."""


class MissingExtraError(UsageError):
    """A part of the toolkit needs packages that are not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs packages that are not installed.",
            f"Install them: pip install 'lsemvae-edge[{extra}]'",
        )
        self.extra = extra


class BadInputError(LsemvaeError):
    """A file could not be read as an ECG recording."""

    code = ExitCode.BAD_INPUT
    default_next_step = "Check the file, or export it again from the recorder."


class UnusableRecordingError(LsemvaeError):
    """The recording was read, but no window of it can be analysed."""

    code = ExitCode.UNUSABLE_RECORDING
    default_next_step = "Record again."


class BundleError(LsemvaeError):
    """A model bundle is damaged, untrusted, or not for this software."""

    code = ExitCode.BUNDLE_REFUSED
    default_next_step = "Install the bundle again from a source you trust."


class RuntimeUnavailableError(BundleError):
    """No installed runtime can run any model file of the bundle."""


class DeviceError(LsemvaeError):
    """A recorder could not be used."""

    code = ExitCode.DEVICE
    default_next_step = "Check that the recorder is switched on and charged."


class StoreError(LsemvaeError):
    """Records could not be stored or read back."""

    code = ExitCode.STORE
    default_next_step = "Check free space and permissions of the store."


class OverBudgetError(LsemvaeError):
    """A measured figure is worse than was allowed."""

    code = ExitCode.OVER_BUDGET
