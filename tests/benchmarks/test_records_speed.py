"""``bench records`` counts what it says; times are not judged."""

import json
import shutil

from lsemvae_edge.benchmarks import records_speed
from lsemvae_edge.cli import main
from lsemvae_edge.errors import ExitCode


def test_rows_bytes_and_syncs_are_counted(capsys):
    assert main(["bench", "records", "--counts", "3,6", "--screenings", "2", "--json"]) == ExitCode.DONE
    figures = json.loads(capsys.readouterr().out)
    assert [row["records"] for row in figures["times_ms"]] == [3, 6]
    assert figures["bytes_per_record"] > 10_000
    screening = figures["screening"]
    assert screening["passed_to_the_system_bytes"] > records_speed.JOURNAL_S * records_speed.JOURNAL_BYTES_PER_S
    if shutil.which("strace"):
        # Each second of the journal, and each of the three entries, is handed to the disk.
        assert screening["syncs"] >= records_speed.JOURNAL_S + 3
    else:
        assert screening["syncs"] is None


def test_counts_must_grow():
    for counts in ("5,3", "0,1", "many"):
        assert main(["bench", "records", "--counts", counts]) == ExitCode.USAGE
