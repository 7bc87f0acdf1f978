"""Reports on paper, through a queue of CUPS: at 100 %, under a title without an id, and nothing left in the spool."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsemvae_edge.errors import DeviceError
from lsemvae_edge.kiosk import display, ipp
from lsemvae_edge.language import mark

TITLE = "ECG report"
"""Of every job: CUPS keeps titles in its history and its log."""
OPTIONS = ("print-scaling=none", "media=A4", "fit-to-page=false")
"""A millimetre of the report is a millimetre on paper."""
WITHIN_S = 30.0

READY = mark("The printer is ready.")
STOPPED = mark("The printer is stopped; what is printed waits until it runs again.")
ABSENT = mark("There is no print queue called {queue}.")
ABSENT_STEP = mark("Set the printer up in CUPS, or choose another: `lsemvae-edge kiosk settings printer=NAME`.")
NO_COMMANDS = mark("The printing commands of CUPS are not installed.")
NO_COMMANDS_STEP = mark("Install the packages cups and cups-client, or run the kiosk without a printer.")
REFUSED = mark("The printing service refused the report: {reason}.")
REFUSED_STEP = mark("Check the printer; the result is kept and can be printed later.")
SLOW = mark("The printing service did not answer in time.")
HELD = mark("The report is held in the print queue; look at the printer.")
CANCELLED = mark("Printing was cancelled.")
ABORTED = mark("The printer gave the report up.")
FORGOTTEN = mark("The printing service no longer knows the report; look whether the page came out.")

TROUBLES = {
    "media-empty": mark("The printer has no paper."),
    "media-needed": mark("The printer has no paper."),
    "media-jam": mark("Paper is jammed in the printer."),
    "cover-open": mark("The printer's cover is open."),
    "door-open": mark("The printer's cover is open."),
    "toner-empty": mark("The printer has no toner."),
    "marker-supply-empty": mark("The printer has no ink or toner."),
    "offline": mark("The printer is switched off or not connected."),
    "connecting-to-device": mark("The printer is looked for; check that it is switched on and connected."),
    "shutdown": mark("The printer is switched off or not connected."),
}
"""What printers report by keyword, most telling first."""

_QUEUE = re.compile(r"[^\s/#?'\"\\-][^\s/#?'\"\\]{0,126}")
_ACCEPTED = re.compile(r"\S+-(\d+) ")
_PENDING, _HELD, _PROCESSING, _JOB_STOPPED, _CANCELLED, _ABORTED, _COMPLETED = range(3, 10)
_PRINTER_STOPPED = 5


@dataclass(frozen=True)
class PrinterState:
    """How a queue stands, with one sentence for the operator."""

    state: Literal["ready", "stopped", "absent", "no_cups"]
    text: str


@dataclass(frozen=True)
class Job:
    """One report in a queue."""

    queue: str
    number: int


@dataclass(frozen=True)
class JobState:
    """How a job stands.

    Parameters
    ----------
    state : {"held", "printing", "done", "failed"}
    reason : str
        Why it waits or failed, in one sentence; empty where nothing is wrong.
    """

    state: Literal["held", "printing", "done", "failed"]
    reason: str = ""

    @property
    def is_done(self) -> bool:
        """Whether the page was printed."""
        return self.state == "done"

    @property
    def is_over(self) -> bool:
        """Whether it will change no more."""
        return self.state in ("done", "failed")


class Printer:
    """One queue of CUPS.

    Parameters
    ----------
    queue : str
        Its name.

    Raises
    ------
    DeviceError
        If no queue can be called that.
    """

    def __init__(self, queue: str) -> None:
        if not _QUEUE.fullmatch(queue):
            raise DeviceError(f"A print queue cannot be called {queue!r}.", ABSENT_STEP)
        self.queue = queue

    def state(self) -> PrinterState:
        """Return how the queue stands; never raises, for a kiosk without a printer still screens."""
        try:
            found = ipp.printer(self.queue)
        except ipp.NoCupsError as error:
            return PrinterState("no_cups", error.message)
        except DeviceError as error:
            return PrinterState("stopped", error.message)
        if found is None:
            return PrinterState("absent", ABSENT.format(queue=self.queue))
        stopped = found.get("printer-state") == [_PRINTER_STOPPED] or found.get("printer-is-accepting-jobs") == [False]
        trouble = _trouble(found.get("printer-state-reasons", []))
        if stopped:
            return PrinterState("stopped", trouble or STOPPED)
        return PrinterState("ready", trouble or READY)

    def submit(self, pdf: bytes, title: str = TITLE) -> Job:
        """Give a page to the queue; its bytes go through a pipe, never through a file of ours.

        Parameters
        ----------
        pdf : bytes
        title : str
            Must not say whose it is; see `TITLE`.

        Raises
        ------
        DeviceError
            If CUPS does not take it.
        """
        options = [word for option in OPTIONS for word in ("-o", option)]
        answer = _run("lp", "-d", self.queue, "-t", title, *options, "--", "-", given=pdf)
        accepted = _ACCEPTED.search(answer)
        if accepted is None:
            raise DeviceError(ipp.STRANGE, ipp.STRANGE_STEP)
        return Job(self.queue, int(accepted[1]))

    def poll(self, job: Job) -> JobState:
        """Return how a job stands.

        Raises
        ------
        DeviceError
            If CUPS does not answer.
        """
        found = ipp.job(job.number)
        if found is None:
            return JobState("failed", FORGOTTEN)
        state = next(iter(found.get("job-state", [])), None)
        reasons = [*found.get("job-printer-state-reasons", []), *found.get("job-state-reasons", [])]
        trouble = _trouble(reasons)
        if state == _COMPLETED:
            return JobState("done")
        if state in (_CANCELLED, _ABORTED):
            return JobState("failed", trouble or (CANCELLED if state == _CANCELLED else ABORTED))
        if state in (_HELD, _JOB_STOPPED):
            return JobState("held", trouble or HELD)
        if state == _PROCESSING:
            return JobState("printing", trouble or "")
        # A job that waits is not told why; its queue is.
        queue = self.state()
        if queue.state != "ready":
            return JobState("held", queue.text)
        return JobState("printing", trouble or "")

    def purge(self, job: Job) -> None:
        """Take a job out of the queue, with its page; one that is over has left nothing to take.

        Raises
        ------
        DeviceError
            If it could not be taken out.
        """
        if self.poll(job).is_over:
            return
        try:
            _run("cancel", "-x", f"{job.queue}-{job.number}")
        except DeviceError:
            # It may have ended between the question and the command.
            if not self.poll(job).is_over:
                raise


def check(queue: str | None) -> list[str]:
    """Return what should be put right before the kiosk prints people's reports; empty if nothing was found.

    Parameters
    ----------
    queue : str or None
        None: there is no printer, and nothing to check.
    """
    if queue is None:
        return []
    findings = [] if _command("lp") and _command("cancel") else [f"{NO_COMMANDS} {NO_COMMANDS_STEP}"]
    state = Printer(queue).state()
    if state.state == "absent":
        findings.append(f"{state.text} {ABSENT_STEP}")
    elif state.state == "no_cups":
        findings.append(f"{state.text} {ipp.NO_CUPS_STEP}")
    elif state.state == "stopped":
        findings.append(f"{state.text} Run `cupsenable {queue}`.")
    return [*findings, *_spool_findings()]


def _spool_findings() -> list[str]:
    root = Path(os.environ.get("CUPS_SERVERROOT", "/etc/cups"))
    findings = []
    daemon, files = _directives(root / "cupsd.conf"), _directives(root / "cups-files.conf")
    if daemon is None:
        findings.append(f"{root / 'cupsd.conf'} cannot be read: whether CUPS keeps printed pages is not known.")
    else:
        kept = daemon.get("preservejobfiles")
        # Where nothing is said, CUPS keeps pages for a day.
        if kept is None or kept.lower() not in ("no", "off", "false"):
            findings.append(f"CUPS keeps printed pages. Write `PreserveJobFiles No` into {root / 'cupsd.conf'}.")
        if daemon.get("preservejobhistory", "yes").lower() in ("no", "off", "false"):
            findings.append(
                "CUPS forgets jobs at once, so that nobody can tell whether a page was printed. "
                f"Write `PreserveJobHistory Yes` into {root / 'cupsd.conf'}."
            )
        if daemon.get("loglevel", "warn").lower() in ("debug", "debug2"):
            findings.append(f"CUPS logs too much. Write `LogLevel warn` into {root / 'cupsd.conf'}.")
    spool = Path((files or {}).get("requestroot", "/var/spool/cups"))
    kind = display.file_system(spool)
    if kind not in display.MEMORY_FILE_SYSTEMS and not _overlaid_by_memory(spool, kind):
        findings.append(
            f"Pages on their way to the printer are written to a disk in {spool}. "
            f"Mount a tmpfs there, or write `RequestRoot /run/cups-spool` into {root / 'cups-files.conf'}."
        )
    return findings


def _overlaid_by_memory(path: Path, kind: str | None) -> bool:
    """Return whether what is written there goes to memory over a read-only root, as overlayroot arranges it."""
    overlay = Path("/media/root-rw")
    return kind == "overlay" and overlay.is_dir() and display.in_memory(overlay)


def _directives(path: Path) -> dict[str, str] | None:
    """Return the plain directives of a configuration of CUPS by their names in small letters; None if unreadable."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    words = (line.split(None, 1) for line in lines if line.strip() and not line.lstrip().startswith(("#", "<")))
    return {parts[0].lower(): parts[1].strip() for parts in words if len(parts) == 2}


def _trouble(reasons: list[ipp.Value]) -> str | None:
    keywords = {re.sub(r"-(report|warning|error)$", "", str(reason)) for reason in reasons}
    return next((text for keyword, text in TROUBLES.items() if keyword in keywords), None)


def _run(name: str, *arguments: str, given: bytes = b"") -> str:
    """Run a command of CUPS; what it complains about becomes a sentence."""
    command = _command(name)
    if command is None:
        raise DeviceError(NO_COMMANDS, NO_COMMANDS_STEP)
    try:
        done = subprocess.run(  # noqa: S603
            [command, *arguments],
            input=given,
            capture_output=True,
            timeout=WITHIN_S,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(SLOW, REFUSED_STEP) from error
    except OSError as error:
        raise DeviceError(NO_COMMANDS, NO_COMMANDS_STEP) from error
    if done.returncode:
        complaint = done.stderr.decode("utf-8", "replace")
        if "scheduler" in complaint.lower() or "unable to connect" in complaint.lower():
            raise ipp.NoCupsError
        reason = re.sub(rf"^(\S*/)?{name}: (Error - )?", "", " ".join(complaint.split()))[:200].rstrip(".")
        raise DeviceError(REFUSED.format(reason=reason or "no reason given"), REFUSED_STEP)
    return done.stdout.decode("utf-8", "replace")


def _command(name: str) -> str | None:
    return shutil.which(name)
