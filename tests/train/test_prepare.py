"""Preparing: the same shards however it runs, every rejected recording named, nothing lost to a kill or a full disk."""

import csv
import fcntl
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="shards need the extra `train`")
pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge.cli import main
from lsemvae_edge.errors import BadInputError, ExitCode, StoreError, UsageError
from lsemvae_edge.leads import STANDARD_12
from lsemvae_edge.synthetic.heart import Heart, simulate
from lsemvae_edge.train.datasets import Synthetic
from lsemvae_edge.train.datasets.entry import Entry, Kind, Problems, RecordError, Task
from lsemvae_edge.train.prepare import prepare
from lsemvae_edge.train.recipes import RECIPES, Reason
from lsemvae_edge.train.shards import open_shards

EDGE = RECIPES["edge"]
COHORT = partial(Synthetic, n_patients=20, faults=("contact_loss",), fault_share=0.3)
COMMAND = [str(Path(sys.executable).with_name("lsemvae-edge")), "train", "prepare", "--dataset", "synthetic"]


def contents(folder):
    """Every file that must not depend on how the preparation went."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name not in ("report.json", "lock")}


@dataclass
class Tiny:
    """Entries from a list."""

    listed: list[Entry]
    name: str = "tiny"
    tasks: tuple[Task, ...] = (Task("ill", ("no", "yes")),)
    problems: Problems = field(default_factory=Problems, init=False)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.listed)

    def __len__(self) -> int:
        return len(self.listed)


def entry(record_id, load, **more):
    return Entry(record_id=record_id, source="here", patient=f"p{record_id}", fold=1, load=load, **more)


def heart(seed=0, duration_s=10.0, leads=STANDARD_12):
    return simulate(Heart(), duration_s, 500.0, seed, leads)


def fails(error):
    raise error


def refuses():
    # A new error each time: one that is raised again and again gathers frames.
    raise BadInputError("Not an ECG.")


def rejected(folder):
    with (folder / "rejected.csv").open(newline="") as stream:
        return {(row["record_id"], row["reason"]): row["message"] for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "shards"
    report = prepare(COHORT(), EDGE, out, shard_size=6, workers=1)
    return out, report


def test_the_report_counts_every_recording(undisturbed):
    out, report = undisturbed
    assert report.seen == 20
    assert report.kept + sum(report.rejected.values()) == 20
    assert report.rejected.keys() == {str(Reason.GAP)}
    assert len(rejected(out)) == report.rejected[str(Reason.GAP)] > 0
    found = open_shards(out)
    assert len(found) == report.kept
    assert found.digest == report.sha256
    assert {*found.record_id} | {record_id for record_id, _ in rejected(out)} == {e.record_id for e in COHORT()}
    said = json.loads((out / "report.json").read_text())
    assert said["kept"] == report.kept
    assert said["peak_mb"]["main"] > 10
    text = "\n".join(report.lines())
    assert f"{report.kept} of 20 recordings" in text
    assert f"left out, long gap: {report.rejected['long gap']}" in text


def test_a_shard_holds_what_the_recipe_gave(undisturbed):
    found = open_shards(undisturbed[0])
    by_id = {e.record_id: e for e in COHORT()}
    for row, record_id in enumerate(found.record_id):
        signal, present = EDGE.apply(by_id[record_id].record())
        np.testing.assert_array_equal(found.signals([row])[0], signal.astype(np.float16).astype(np.float32))
        np.testing.assert_array_equal(found.present[row], present)
        assert found.patient[row] == by_id[record_id].patient
        assert found.fold[row] == by_id[record_id].fold
        for task, target in by_id[record_id].targets.items():
            assert found.targets[task][row] == target


@pytest.mark.parametrize("lost", ["notes/000001.json", "shards/000002.arrow"])
def test_what_is_finished_is_kept_and_what_is_not_is_made_again(undisturbed, tmp_path, lost):
    out = tmp_path / "out"
    prepare(COHORT(), EDGE, out, shard_size=6, workers=1)
    (out / lost).unlink()
    (out / "shards" / "000003.arrow.host.1.tmp").write_bytes(b"half")
    before = {path: path.stat().st_mtime_ns for path in out.glob("shards/*.arrow")}
    report = prepare(COHORT(), EDGE, out, shard_size=6, workers=1)
    assert report.earlier == 14
    assert report.sha256 == undisturbed[1].sha256
    assert contents(out) == contents(undisturbed[0])
    untouched = [path for path in before if path.stem != Path(lost).stem]
    assert untouched
    assert all(path.stat().st_mtime_ns == before[path] for path in untouched)


def test_a_shard_cut_short_is_made_again(undisturbed, tmp_path):
    out = tmp_path / "out"
    prepare(COHORT(), EDGE, out, shard_size=6, workers=1)
    shard = out / "shards" / "000000.arrow"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert prepare(COHORT(), EDGE, out, shard_size=6, workers=1).earlier == 14
    assert contents(out) == contents(undisturbed[0])


def test_bad_recordings_are_named_counted_and_not_fatal(tmp_path):
    dataset = Tiny(
        [
            entry("good", heart, targets={"ill": 1}, sex="female"),
            entry("unreadable", partial(fails, BadInputError("Not an ECG."))),
            entry("no file", partial(fails, FileNotFoundError(2, "No such file", "x.hea"))),
            entry("leads", partial(fails, RecordError(Kind.LEAD_COUNT, "Three leads."))),
            entry("short", partial(heart, 1, 4.0)),
            entry("six", partial(heart, 2, 10.0, STANDARD_12[:6])),
            entry("good", partial(heart, 3)),
            entry("also good", partial(heart, 4)),
        ]
    )
    report = prepare(dataset, RECIPES["reference"], tmp_path / "out", shard_size=3, workers=1)
    assert (report.seen, report.kept) == (8, 2)
    found = rejected(tmp_path / "out")
    assert set(found) == {
        ("unreadable", "unreadable record"),
        ("no file", "unreadable record"),
        ("leads", "wrong lead count"),
        ("short", "recording too short"),
        ("six", "leads missing"),
        ("good", "duplicate id"),
    }
    assert found["unreadable", "unreadable record"] == "Not an ECG."
    assert "x.hea" in found["no file", "unreadable record"]
    assert report.rejected["unreadable record"] == 2
    shards = open_shards(tmp_path / "out")
    assert shards.record_id.tolist() == ["good", "also good"]
    np.testing.assert_array_equal(
        shards.signals([0])[0], RECIPES["reference"].apply(heart())[0].astype(np.float16).astype(np.float32)
    )


def test_a_repeated_id_stays_rejected_after_a_resume(tmp_path):
    listed = [entry(str(k % 5), partial(heart, k)) for k in range(9)]
    whole = prepare(Tiny(listed), EDGE, tmp_path / "whole", shard_size=2, workers=1)
    assert whole.rejected == {"duplicate id": 4}
    prepare(Tiny(listed), EDGE, tmp_path / "again", shard_size=2, workers=1)
    for number in (0, 3):
        (tmp_path / "again" / "notes" / f"{number:06d}.json").unlink()
    prepare(Tiny(listed), EDGE, tmp_path / "again", shard_size=2, workers=1)
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


@pytest.mark.parametrize("listed", [[], [entry("a", partial(fails, BadInputError("Not an ECG.")))]])
def test_only_when_nothing_is_left_it_is_an_error(tmp_path, listed):
    with pytest.raises(BadInputError, match=f"None of the {len(listed)} recordings of tiny"):
        prepare(Tiny(listed), EDGE, tmp_path / "out", workers=1)
    assert len(rejected(tmp_path / "out")) == len(listed)
    with pytest.raises(BadInputError, match="not fully prepared"):
        open_shards(tmp_path / "out")


def test_a_mistake_in_the_software_names_the_recording(tmp_path):
    dataset = Tiny([entry("odd", partial(fails, ZeroDivisionError("division by zero")))])
    with pytest.raises(ZeroDivisionError) as raised:
        prepare(dataset, EDGE, tmp_path / "out", workers=1)
    assert "odd of here" in raised.value.__notes__[0]


def test_too_many_open_files_is_no_fault_of_the_recording(tmp_path):
    dataset = Tiny([entry("a", partial(fails, OSError(24, "Too many open files")))])
    with pytest.raises(StoreError, match="Too many open files"):
        prepare(dataset, EDGE, tmp_path / "out", workers=1)


def test_another_plan_another_content_or_another_writer_is_refused(undisturbed, tmp_path):
    out = tmp_path / "out"
    prepare(COHORT(), EDGE, out, shard_size=6, workers=1)
    with pytest.raises(UsageError, match="recipe differ"):
        prepare(COHORT(), RECIPES["reference"], out, shard_size=6, workers=1)
    with pytest.raises(UsageError, match=r"another plan: shard_size differ \(6 then, 7 now\)"):
        prepare(COHORT(), EDGE, out, shard_size=7, workers=1)
    with pytest.raises(UsageError, match="data differ"):
        prepare(COHORT(seed=1), EDGE, out, shard_size=6, workers=1)
    with (out / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="Another process works"):
            prepare(COHORT(), EDGE, out, shard_size=6, workers=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        prepare(COHORT(), EDGE, tmp_path / "full", workers=1)
    assert contents(out) == contents(undisturbed[0])


@pytest.mark.parametrize("change", ["label", "fewer", "more"])
def test_a_data_set_that_changed_under_a_preparation_is_noticed(tmp_path, change):
    """The list is no part of this data set's plan, as a table of labels is none of a hospital's."""
    listed = [entry(str(k), partial(heart, k)) for k in range(6)]

    class Changing(Tiny):
        def __init__(self, listed):
            self.listed, self.problems = listed, Problems()

    # Not a dataclass to `plan`: only its name counts.
    Changing.__dataclass_fields__ = {}
    prepare(Changing(listed), EDGE, tmp_path / "out", shard_size=2, workers=1)
    changed = {
        "label": [*listed[:5], entry("5", partial(heart, 5), targets={"ill": 1})],
        "fewer": listed[:4],
        "more": [entry("new", partial(heart, 9)), *listed],
    }[change]
    with pytest.raises(BadInputError, match="added, removed or changed"):
        prepare(Changing(changed), EDGE, tmp_path / "out", shard_size=2, workers=1)


def test_a_full_disk_is_an_error_that_says_so_and_the_work_goes_on_later(undisturbed, tmp_path):
    """The file size limit stands for a full disk: the system refuses to write in the same way."""
    out = tmp_path / "out"
    limited = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
from lsemvae_edge.cli import main
sys.exit(main({[*COMMAND[1:], *OPTIONS, "--workers", "1", "--out", str(out)]!r}))"""
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.STORE, done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert "finished shards are kept" in done.stderr
    assert "Traceback" not in done.stderr
    prepare(COHORT(), EDGE, out, shard_size=6, workers=1)
    assert contents(out) == contents(undisturbed[0])


OPTIONS = ["--option", "n_patients=20", "--option", "faults=contact_loss", "--option", "fault_share=0.3"]
OPTIONS += ["--recipe", "edge", "--shard-size", "6"]


def test_the_command_prepares_and_reports(undisturbed, tmp_path, capsys):
    arguments = [*COMMAND[1:], *OPTIONS, "--workers", "1", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--json"]) == ExitCode.DONE
    shown = capsys.readouterr()
    assert json.loads(shown.out)["sha256"] == undisturbed[1].sha256
    assert "20 of 20 recordings, " in shown.err
    assert "/s, 0:00:00 left" in shown.err
    assert main(arguments) == ExitCode.DONE
    assert "20 done before" in capsys.readouterr().out
    assert contents(tmp_path / "out") == contents(undisturbed[0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--option", "n_patients"], "KEY=VALUE"),
        (["--workers", "0"], "At least one worker"),
        (["--shard-size", "0"], "at least one recording"),
        (["--recipe", "cake"], "no recipe 'cake'"),
        (["--option", "colour=red"], "colour"),
    ],
)
def test_wrong_usage_is_said(tmp_path, capsys, arguments, said):
    options = ["--recipe", "edge", "--out", str(tmp_path / "out"), *arguments]
    assert main([*COMMAND[1:], *options]) == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_memory_does_not_grow_with_the_data_set(tmp_path):
    @dataclass
    class Long:
        n: int
        name: str = "long"
        tasks: tuple[Task, ...] = ()
        problems: Problems = field(default_factory=Problems, init=False)

        def __iter__(self) -> Iterator[Entry]:
            yield entry("good", heart)
            for number in range(self.n):
                yield entry(f"r{number}", refuses)

    def peak(n):
        tracemalloc.start()
        prepare(Long(n), EDGE, tmp_path / str(n), shard_size=32, workers=1)
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return reached

    peak(100)
    assert peak(5000) < peak(500) + 200_000
