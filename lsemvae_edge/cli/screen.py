"""``screen``: from a recording to a result a health worker can read."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.cli.devices import _options as device_options
from lsemvae_edge.errors import BadInputError, ExitCode, LsemvaeError, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.bundle import Bundle
    from lsemvae_edge.record import Record
    from lsemvae_edge.result import ScreeningResult
    from lsemvae_edge.runtime import Session


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "screen", help="screen recordings", description="Screen recordings. Research use, not a diagnosis."
    )
    parser.add_argument("path", nargs="*", type=Path, help="recording, or folder of recordings")
    parser.add_argument("--demo", action="store_true", help="screen a simulated recording; with --ui, a demonstration")
    parser.add_argument(
        "--ui", choices=("web", "terminal"), help="run the kiosk (default without a recording: on a display the page)"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the page's address and open no browser")
    parser.add_argument("--port", type=int, default=0, help="of the page, on this machine alone (default: a free one)")
    parser.add_argument(
        "--device", metavar="ADDRESS", help="record from an enrolled recorder; `auto`: the only one of them in range"
    )
    device_options.add_adapter(parser)
    parser.add_argument(
        "--limit", type=float, default=60.0, metavar="SECONDS", help="longest live recording (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which simulated person (default %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also leave the result there as JSON and PDF")
    parser.add_argument(
        "--store",
        nargs="?",
        const="",
        metavar="STUDY_ID",
        help="keep recording and result in this machine's store (default id: the recording's)",
    )
    parser.add_argument("--bundle", type=Path, help="model bundle (default: the installed one, else the shipped one)")
    parser.add_argument("--runtime", help="litert, tflite-runtime or onnxruntime (default: the first that fits)")
    parser.add_argument("--age", type=float, metavar="YEARS", help="age of the person, if the file does not say")
    parser.add_argument(
        "--pacemaker", action=argparse.BooleanOptionalAction, default=None, help="the person has (no) pacemaker"
    )
    parser.add_argument(
        "--electrodes-confirmed", action="store_true", help="the electrodes were checked after a swap warning"
    )
    parser.add_argument("--units", help="unit of a CSV file that states none: mV, uV or V")
    parser.add_argument(
        "--fs", type=float, metavar="HZ", help="sampling rate of a CSV file that states none, or asked of a recorder"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Screen every recording, the highest exit code counts; or run the kiosk."""
    given = [bool(options.path), options.demo, options.device is not None].count(True)
    if given > 1 or (options.ui is not None and (options.path or options.device is not None)):
        raise UsageError("Give recordings, --device, --demo or --ui, one of them.", "Run `lsemvae-edge screen FILE`.")
    if options.ui is not None or not given:
        return _kiosk(options)
    bundle = _bundle(options)
    worst = int(ExitCode.DONE)
    station = _Station(bundle, options)
    paths = _recordings(options.path) if options.path else [None]
    for number, path in enumerate(paths, 1):
        if len(paths) > 1 and sys.stderr.isatty():
            say(f"[{number}/{len(paths)}] {path}")
        worst = max(worst, station.serve(path, several=len(paths) > 1))
    return worst


def _kiosk(options: argparse.Namespace) -> int:
    """Run the kiosk until it is ended."""
    if options.json or options.out or options.store is not None:
        raise UsageError("The kiosk has no --json, --out or --store: it keeps everything.", "Name a recording.")
    from lsemvae_edge.kiosk import serve, settings

    ui = serve.choose_ui(options.ui)
    plan = serve.Plan(
        bundle=_bundle(options),
        settings=settings.read(),
        ui=ui,
        demo=options.demo,
        seed=options.seed,
        adapter=options.adapter,
        fs_hz=options.fs,
        port=options.port,
        browser=not options.no_browser,
    )
    return serve.run(plan)


def _bundle(options: argparse.Namespace) -> "Bundle":
    from lsemvae_edge.kiosk.updates import bundles as installed

    return _admitted(options.bundle) if options.bundle else installed.current()


def _admitted(path: Path) -> "Bundle":
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge import trust

    bundle = trust.admit(bundles.load(path))
    if bundle.standing is not None and (note := trust.warning(bundle.standing)):
        say(note)
    return bundle


class _Station:
    """Screens one recording after another with one loaded model."""

    def __init__(self, bundle: "Bundle", options: argparse.Namespace) -> None:
        self._bundle = bundle
        self._options = options
        self._session: Session | None = None

    def serve(self, path: Path | None, *, several: bool) -> int:
        """Screen and show one recording; an unreadable one among several does not stop the rest."""
        try:
            record = self._read(path)
            result = self._screen(record)
            self._show(path if several else None, record, result)
        except LsemvaeError as error:
            if not several:
                raise
            self._show_error(path, error)
            return int(error.code)
        from lsemvae_edge.screening import model_ran

        return int(ExitCode.DONE if model_ran(result) else ExitCode.UNUSABLE_RECORDING)

    def _read(self, path: Path | None) -> "Record":
        if self._options.device is not None:
            from lsemvae_edge.cli.devices import _live

            return _live.run(_live.capture(self._options, self._bundle.spec))
        if path is None:
            from lsemvae_edge.device.simulator import record_demo

            return record_demo(seed=self._options.seed)
        from lsemvae_edge import formats

        return formats.read(path, units=self._options.units, fs_hz=self._options.fs)

    def _screen(self, record: "Record") -> "ScreeningResult":
        from lsemvae_edge.screening import screen

        options = self._options
        if options.runtime and self._session is None:
            from lsemvae_edge.runtime import open_session

            self._session = open_session(self._bundle, options.runtime)
        return screen(
            record,
            self._bundle,
            session=self._session,
            age_years=options.age,
            pacemaker=options.pacemaker,
            electrodes_confirmed=options.electrodes_confirmed,
        )

    def _show(self, path: Path | None, record: "Record", result: "ScreeningResult") -> None:
        from lsemvae_edge import report

        if self._options.store is not None:
            self._keep(record, result)
        if self._options.json:
            print_json(result.to_dict())
        else:
            if path is not None:
                print(f"{path}:")
            print(report.terminal(result, colour=sys.stdout.isatty()), flush=True)
        if self._options.out:
            if sys.stderr.isatty():
                say("Writing the report ...")
            stem = f"{result.record.id or 'recording'}-{result.record.sha256[:8]}"
            files = report.write(result, record, self._options.out, stem)
            say("Report: " + ", ".join(str(file) for file in files.values()))

    def _keep(self, record: "Record", result: "ScreeningResult") -> None:
        """Keep recording and result before they are shown."""
        import secrets

        from lsemvae_edge import study_id
        from lsemvae_edge.kiosk import settings
        from lsemvae_edge.screening import SIMULATED_ORIGINS, model_ran
        from lsemvae_edge.store import places
        from lsemvae_edge.visit import Attempt, Visit, band_of

        options, known = self._options, settings.read()
        told = options.store or "".join(char for char in (record.meta.get("id") or "") if char.isalnum())
        checked = study_id.checked(told, known.study_id_pattern, known.check_character and bool(options.store))
        age_years = options.age if options.age is not None else record.meta.get("age_years")
        pacemaker = options.pacemaker if options.pacemaker is not None else record.meta.get("pacemaker")
        visit = Visit(secrets.token_hex(16), checked, "", band_of(age_years), pacemaker, consent=None)
        ended = "screened" if model_ran(result) else "refused"
        attempt = Attempt(visit, 1, ended, record, result, None, options.electrodes_confirmed)  # type: ignore[arg-type]
        with places.open_store("demo" if record.origin in SIMULATED_ORIGINS else "clinic") as store:
            entry = store.append(attempt)
        say(f"Kept as {entry.seq}.")

    def _show_error(self, path: Path | None, error: LsemvaeError) -> None:
        from lsemvae_edge.cli import error_object

        if self._options.json:
            print_json({**error_object(error), "path": str(path)})
        else:
            print(f"{path}:\n{error.message}\n{error.next_step}", flush=True)


def _recordings(paths: list[Path]) -> list[Path]:
    """List the recordings; of a folder every file but the hidden ones and the signal files of WFDB headers."""
    from lsemvae_edge.formats.wfdb import SIGNAL_EXTENSIONS

    listed: list[Path] = []
    for path in paths:
        if not path.is_dir():
            listed.append(path)
            continue
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        headers = {file.stem for file in files if file.suffix == ".hea"}
        inside = [file for file in files if file.suffix not in SIGNAL_EXTENSIONS or file.stem not in headers]
        if not inside:
            raise BadInputError(f"{path} is a folder without recordings.", "Name a recording.")
        listed += inside
    return listed
