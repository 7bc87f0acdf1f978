"""Printing against a real CUPS of our own: told truly, at 100 %, under no id, and nothing stays in the spool."""

import os
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.errors import DeviceError
from lsemvae_edge.kiosk import display, ipp, printing
from lsemvae_edge.kiosk.printing import Job, JobState, Printer

CUPSD = shutil.which("cupsd") or shutil.which("cupsd", path="/usr/sbin:/sbin")
LPADMIN = shutil.which("lpadmin") or shutil.which("lpadmin", path="/usr/sbin:/sbin")
SERVER_BIN = Path("/usr/lib/cups")
PAGE = b"%PDF-1.4\n" + b"study KTM0042Q " * 2000
WITHIN_S = 20.0

needs_cups = pytest.mark.skipif(
    not (CUPSD and LPADMIN and shutil.which("lp") and SERVER_BIN.is_dir() and os.geteuid() == 0),
    reason="a CUPS of one's own needs the packages cups and cups-client, and root",
)

BACKEND = """#!/bin/sh
[ $# -eq 0 ] && exit 0
case "${DEVICE_URI#tofile:/}" in
  slow) while [ ! -e FOLDER/go ]; do sleep 0.05; done;;
  fail) echo "ERROR: out of ink" >&2; exit 1;;
  refuse) exit 5;;
  stop) exit 4;;
  hold) exit 3;;
  paper) echo "STATE: +media-empty-error" >&2; while [ ! -e FOLDER/go ]; do sleep 0.05; done;;
esac
echo "$5" > FOLDER/options-$1
echo "$3" > FOLDER/title-$1
cat ${6:+"$6"} > FOLDER/page-$1
"""
QUEUES = ("ok", "slow", "fail", "refuse", "stop", "hold", "paper")


class Cups:
    """A daemon in a folder of its own, on a socket; `keeps` makes it keep pages, as it does unless told otherwise."""

    def __init__(self, folder: Path, *, keeps: bool = False) -> None:
        self.folder = folder
        self.configuration, self.spool = folder / "etc", folder / "spool"
        self.socket = folder / "sock"
        folder.chmod(0o755)
        for name in ("etc/ssl", "spool/tmp", "cache", "state", "log", "bin/backend"):
            (folder / name).mkdir(parents=True)
        for name in ("daemon", "filter", "cgi-bin", "monitor", "notifier", "driver"):
            if (SERVER_BIN / name).exists():
                (folder / "bin" / name).symlink_to(SERVER_BIN / name)
        backend = folder / "bin/backend/tofile"
        backend.write_text(BACKEND.replace("FOLDER", str(folder)))
        # One that only root can run is run as root, and may write here.
        backend.chmod(0o700)
        (self.configuration / "cups-files.conf").write_text(
            f"ServerRoot {self.configuration}\nRequestRoot {self.spool}\nCacheDir {folder}/cache\n"
            f"StateDir {folder}/state\nServerBin {folder}/bin\nTempDir {self.spool}/tmp\nSystemGroup root\n"
            f"ErrorLog {folder}/log/error_log\nAccessLog {folder}/log/access_log\nPageLog {folder}/log/page_log\n"
        )
        kept = "" if keeps else "PreserveJobFiles No\n"
        (self.configuration / "cupsd.conf").write_text(
            f"LogLevel warn\nListen {self.socket}\nBrowsing No\nWebInterface No\nDefaultAuthType None\n{kept}"
            "<Location />\nOrder allow,deny\nAllow all\n</Location>\n"
            "<Policy default>\n<Limit All>\nOrder deny,allow\n</Limit>\n</Policy>\n"
        )
        command = [
            CUPSD, "-f", "-c", self.configuration / "cupsd.conf", "-s", self.configuration / "cups-files.conf",
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: self.socket.is_socket())

    def add(self, queue: str) -> None:
        command = [LPADMIN, "-p", queue, "-v", f"tofile:/{queue}", "-E", "-o", "printer-error-policy=stop-printer"]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "CUPS_SERVER": str(self.socket)})

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def pages(self) -> list[Path]:
        return sorted(self.spool.glob("d*"))

    def end(self) -> None:
        self.let_go()
        self.process.terminate()
        self.process.wait(20)


def until(holds, within_s=WITHIN_S):
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError("it never came to be")


def settled(printer, job, *states) -> JobState:
    """Return how the job stands as soon as that is one of ``states``."""

    def now():
        state = printer.poll(job)
        return state if state.state in states else None

    return until(now)


@pytest.fixture
def cups(monkeypatch):
    """A daemon, which every command of this test speaks to."""
    # Paths of sockets are short, those of tmp_path are not.
    with tempfile.TemporaryDirectory(prefix="cups-") as folder:
        daemon = Cups(Path(folder))
        monkeypatch.setenv("CUPS_SERVER", str(daemon.socket))
        monkeypatch.setenv("CUPS_SERVERROOT", str(daemon.configuration))
        yield daemon
        daemon.end()


@pytest.fixture
def queue(cups):
    """Function that sets a queue up and returns its printer."""

    def make(name):
        cups.add(name)
        return Printer(name)

    return make


@needs_cups
def test_a_page_arrives_whole_at_full_size_under_a_title_without_an_id(cups, queue):
    printer = queue("ok")
    assert printer.state().state == "ready"
    job = printer.submit(PAGE)
    assert settled(printer, job, "done", "failed") == JobState("done")
    assert (cups.folder / f"page-{job.number}").read_bytes() == PAGE
    options = (cups.folder / f"options-{job.number}").read_text().split()
    assert {"print-scaling=none", "media=A4", "nofit-to-page"} <= set(options)
    assert (cups.folder / f"title-{job.number}").read_text().strip() == printing.TITLE


@needs_cups
def test_after_a_job_nothing_of_the_page_is_in_spool_logs_or_temporary_folders(cups, queue):
    printer = queue("ok")
    job = printer.submit(PAGE)
    settled(printer, job, "done")
    printer.purge(job)
    until(lambda: not cups.pages())
    left = [path for name in ("spool", "log", "cache", "state", "etc") for path in (cups.folder / name).rglob("*")]
    assert [path for path in left if path.is_file() and b"KTM0042Q" in path.read_bytes()] == []


@needs_cups
def test_a_job_on_its_way_is_printing_and_can_be_purged_with_its_page(cups, queue):
    printer = queue("slow")
    job = printer.submit(PAGE)
    assert settled(printer, job, "printing", "failed").state == "printing"
    assert cups.pages()
    printer.purge(job)
    assert settled(printer, job, "failed", "done").reason == printing.CANCELLED
    until(lambda: not cups.pages())


@needs_cups
def test_a_printer_without_paper_says_so_while_the_job_waits(cups, queue):
    printer = queue("paper")
    job = printer.submit(PAGE)
    until(lambda: printer.poll(job).reason == printing.TROUBLES["media-empty"])
    cups.let_go()
    assert settled(printer, job, "done", "failed").is_done


@needs_cups
@pytest.mark.parametrize("name", ["fail", "stop"])
def test_a_printer_that_stops_holds_the_job_and_is_told_as_stopped(cups, queue, name):
    printer = queue(name)
    job = printer.submit(PAGE)
    assert settled(printer, job, "held", "done", "failed") == JobState("held", printing.STOPPED)
    assert printer.state().state == "stopped"
    printer.purge(job)
    until(lambda: not cups.pages())


@needs_cups
def test_a_job_that_the_printer_holds_is_told_as_held(queue):
    printer = queue("hold")
    job = printer.submit(PAGE)
    assert settled(printer, job, "held", "done", "failed") == JobState("held", printing.HELD)


@needs_cups
def test_a_job_that_the_printer_refuses_is_never_called_printed(queue):
    printer = queue("refuse")
    job = printer.submit(PAGE)
    state = settled(printer, job, "done", "failed")
    assert (state.state, state.is_done, state.is_over) == ("failed", False, True)


@needs_cups
def test_purging_a_job_that_is_over_or_unknown_changes_nothing(cups, queue):
    printer = queue("ok")
    job = printer.submit(PAGE)
    settled(printer, job, "done")
    printer.purge(job)
    printer.purge(job)
    printer.purge(Job("ok", 9999))
    assert printer.poll(Job("ok", 9999)) == JobState("failed", printing.FORGOTTEN)


@needs_cups
def test_a_queue_that_does_not_exist_is_named(cups):
    printer = Printer("nowhere")
    assert printer.state().state == "absent"
    with pytest.raises(DeviceError, match="does not exist"):
        printer.submit(PAGE)
    assert any("nowhere" in finding for finding in printing.check("nowhere"))


@needs_cups
def test_a_cups_that_is_set_up_well_is_only_told_where_its_spool_lies(cups, queue, monkeypatch):
    queue("ok")
    monkeypatch.setattr(display, "file_system", lambda path: "tmpfs" if path == cups.spool else "ext4")
    assert printing.check("ok") == []
    monkeypatch.setattr(display, "file_system", lambda path: "ext4")
    (found,) = printing.check("ok")
    assert str(cups.spool) in found


@needs_cups
def test_a_cups_that_keeps_pages_is_found_by_check_and_does_keep_them(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="cups-") as folder:
        daemon = Cups(Path(folder), keeps=True)
        try:
            monkeypatch.setenv("CUPS_SERVER", str(daemon.socket))
            monkeypatch.setenv("CUPS_SERVERROOT", str(daemon.configuration))
            daemon.add("ok")
            printer = Printer("ok")
            settled(printer, printer.submit(PAGE), "done")
            assert daemon.pages()
            assert any("PreserveJobFiles No" in finding for finding in printing.check("ok"))
        finally:
            daemon.end()


def test_without_cups_everything_says_so_and_nothing_raises_but_device_errors(monkeypatch, tmp_path):
    monkeypatch.setenv("CUPS_SERVER", str(tmp_path / "no-socket"))
    printer = Printer("ok")
    assert printer.state() == printing.PrinterState("no_cups", ipp.NO_CUPS)
    with pytest.raises(ipp.NoCupsError):
        printer.poll(Job("ok", 1))
    with pytest.raises(DeviceError):
        printer.submit(PAGE)
    assert any(ipp.NO_CUPS in finding for finding in printing.check("ok"))


def test_without_the_commands_nothing_is_submitted(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="not installed"):
        Printer("ok").submit(PAGE)
    assert any(printing.NO_COMMANDS in finding for finding in printing.check("ok"))


def test_a_command_that_hangs_is_given_up(monkeypatch, tmp_path):
    hanging = tmp_path / "lp"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(hanging.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(printing, "WITHIN_S", 0.2)
    with pytest.raises(DeviceError, match="in time"):
        Printer("ok").submit(PAGE)


def test_a_page_never_touches_a_file_of_ours(monkeypatch, tmp_path):
    taking = tmp_path / "lp"
    taking.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/arguments\nreadlink /proc/self/fd/0 > {tmp_path}/input\n"
                      "echo 'request id is ok-7 (0 file(s))'\n")  # fmt: skip
    taking.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert Printer("ok").submit(b"page") == Job("ok", 7)
    assert (tmp_path / "arguments").read_text().split()[-2:] == ["--", "-"]
    assert (tmp_path / "input").read_text().startswith("pipe:")


def test_without_a_printer_there_is_nothing_to_check():
    assert printing.check(None) == []


@pytest.mark.parametrize("name", ["", "-o", "a b", "a/b", "a'b", "x" * 200, "a\nb"])
def test_what_cannot_be_a_queue_is_refused(name):
    with pytest.raises(DeviceError):
        Printer(name)


@given(st.binary(max_size=200))
def test_any_answer_of_a_printing_service_is_read_or_refused(answer):
    try:
        status, found = ipp.parse(answer)
    except DeviceError:
        return
    assert 0 <= status <= 0xFFFF
    assert all(values for values in found.values())


def test_a_request_reads_back():
    raw = ipp.request(0x0009, "job-uri", "ipp://localhost/jobs/7", ("job-state", "job-state-reasons"))
    operation, found = ipp.parse(raw)
    assert operation == 0x0009
    assert found["job-uri"] == ["ipp://localhost/jobs/7"]
    assert found["requested-attributes"] == ["job-state", "job-state-reasons"]


@pytest.mark.parametrize(
    ("server", "host", "port"),
    [("localhost", "localhost", 631), ("10.0.0.7:8631", "10.0.0.7", 8631), ("[::1]:631/version=1.1", "::1", 631)],
)
def test_the_servers_address_is_read_as_cups_writes_it(monkeypatch, server, host, port):
    monkeypatch.setenv("CUPS_SERVER", server)
    connection = ipp._connection()
    assert (connection.host, connection.port) == (host, port)
