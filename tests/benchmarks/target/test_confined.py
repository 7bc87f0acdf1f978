"""Limits are set and read in both versions of control groups, and what a visit took is kept with what ended it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.kills import ProofError
from lsemvae_edge.benchmarks.target import confined, control_group, visits
from lsemvae_edge.benchmarks.target.control_group import Group
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session, read
from lsemvae_edge.errors import UsageError

HOG = "import time; held = bytearray(64_000_000); print(len(held), flush=True); time.sleep(60)"


def _files(folder, **texts):
    for name, text in texts.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def first(tmp_path):
    """Root of a system with version 1, in which this process is in a group of its own."""
    _files(
        tmp_path,
        proc__self__cgroup="5:memory:/mine\n2:cpu,cpuacct:/\n0::/\n",
        proc__self__mounts="cgroup /cg/memory cgroup rw,memory 0 0\ncgroup /cg/cpu cgroup rw,cpu,cpuacct 0 0\n",
    )
    (tmp_path / "cg/memory/mine").mkdir(parents=True)
    (tmp_path / "cg/cpu").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def second(tmp_path):
    """Root of a system with version 2, in which both controllers are handed down to this process's group."""
    _files(tmp_path, proc__self__cgroup="0::/mine\n", proc__self__mounts="cgroup2 /cg cgroup2 rw,nosuid 0 0\n")
    home = tmp_path / "cg/mine"
    home.mkdir(parents=True)
    for name, text in {"controllers": "cpu memory pids\n", "subtree_control": "", "type": "domain\n"}.items():
        (home / f"cgroup.{name}").write_text(text)
    (home / "cgroup.procs").write_text("17\n18\n")
    return tmp_path


def test_version_1_is_limited_below_the_process_own_group(first):
    group = Group("g", 512_000_000, 0.5, first)
    memory, cpu = first / "cg/memory/mine/g", first / "cg/cpu/g"
    assert (memory / "memory.limit_in_bytes").read_text() == "512000000"
    assert (int((cpu / "cpu.cfs_quota_us").read_text()), int((cpu / "cpu.cfs_period_us").read_text())) == (
        50000,
        100000,
    )
    told = group.command(["program", "one two"])
    assert told[-2:] == ["program", "one two"]
    assert str(memory / "cgroup.procs") in told[2]
    assert str(cpu / "cgroup.procs") in told[2]
    (memory / "memory.stat").write_text(
        "rss 1\ntotal_rss 7\ntotal_mapped_file 5\ntotal_pgmajfault 3\ntotal_workingset_refault_file 9\n"
    )
    (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    (memory / "memory.max_usage_in_bytes").write_text("11\n")
    (cpu / "cpu.stat").write_text("nr_periods 4\nthrottled_time 1500000000\n")
    assert group.usage() == control_group.Usage(7, 5, 11, 9, 2, 3, 1.5)


def test_version_2_hands_its_controllers_down_and_leaves_no_process_behind(second):
    group = Group("g", 512_000_000, 1.0, second)
    home = second / "cg/mine"
    assert (home / "cgroup.subtree_control").read_text() == "+memory +cpu"
    # Each is written alone; what stands there is the last.
    assert (home / "measuring/cgroup.procs").read_text() == "18"
    assert (home / "g/memory.max").read_text() == "512000000"
    assert (home / "g/cpu.max").read_text() == "100000 100000"
    (home / "g/memory.stat").write_text("anon 7\nfile_mapped 5\npgmajfault 3\nworkingset_refault_file 9\n")
    (home / "g/memory.events").write_text("low 0\nmax 4\noom 1\noom_kill 2\n")
    (home / "g/cpu.stat").write_text("usage_usec 1\nthrottled_usec 1500000\n")
    assert group.usage() == control_group.Usage(7, 5, None, 9, 2, 3, 1.5)


def test_where_no_group_may_be_made_the_way_is_said(first, second, tmp_path):
    (second / "cg/mine/cgroup.controllers").write_text("pids\n")
    with pytest.raises(UsageError, match="not handed down") as caught:
        Group("g", 1, 1.0, second)
    assert "systemd-run" in caught.value.next_step
    with pytest.raises(UsageError, match="no control groups"):
        Group("g", 1, 1.0, tmp_path / "nowhere")


def _makes_groups():
    try:
        with Group(f"try-{os.getpid()}", 64_000_000, 1.0):
            return True
    except UsageError:
        return False


def test_the_kernel_keeps_what_is_started_in_a_group_within_its_limit():
    """With a real group where this process may make one; else that it may not is what is said."""
    if not _makes_groups():
        with pytest.raises(UsageError, match="group"):
            Group(f"real-{os.getpid()}", 32_000_000, 1.0)
        return
    with Group(f"real-{os.getpid()}", 160_000_000, 1.0) as group:
        process = subprocess.Popen(group.command([sys.executable, "-c", HOG]), stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "64000000\n"
        assert group.pids() == [process.pid]
        assert group.usage().anonymous_bytes > 64_000_000
        held = confined.resident(group.pids())
        assert held.own > 64_000_000
        assert any("libc" in path for path in held.paths)
        # Another in the same group goes beyond the limit, and is ended.
        more = HOG.replace("64_000_000", "400_000_000")
        assert subprocess.run(group.command([sys.executable, "-c", more]), capture_output=True, check=False).returncode
        assert group.usage().oom_kills >= 1
    assert process.wait(10) != 0
    process.stdout.close()


SMAPS = """55d0-55d1 r-xp 00001000 fd:01 77 /usr/lib/libshared.so
Rss: 40 kB
Pss: 20 kB
Anonymous: 0 kB
7f00-7f01 rw-p 00000000 00:00 0 [heap]
Rss: {heap} kB
Pss: {heap} kB
Anonymous: {heap} kB
VmFlags: rd wr
"""


def test_pages_of_a_file_count_once_and_own_pages_each_time(tmp_path):
    for pid, heap in ((1, 100), (2, 30)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "smaps").write_text(SMAPS.format(heap=heap))
    held = confined.resident([1, 2, 3], tmp_path)
    assert held == confined.Resident(130 * 1024, 40 * 1024, 170 * 1024, frozenset({"/usr/lib/libshared.so"}))


class _NoGroup:
    def __init__(self, name, memory_bytes, cpus):
        self.memory_bytes, self.cpus = memory_bytes, cpus

    def __enter__(self):
        MADE.append(self)
        return self

    def __exit__(self, *_):
        pass

    def pids(self):
        return [os.getpid()]

    def usage(self):
        return control_group.Usage(5, 0, 200_000_000, 4, self.oom_kills, 1, 0.25)

    oom_kills = 0


MADE: list[_NoGroup] = []


@pytest.fixture
def without_kiosk(monkeypatch):
    """Leave out the kiosk and the kernel: what is tested is what is made of a visit."""
    MADE.clear()

    class Nothing:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def run(self, *_):
            return subprocess.CompletedProcess([], 0, '{"seq": 2}\n', "")

    monkeypatch.setattr(confined, "Group", _NoGroup)
    monkeypatch.setattr(confined.kiosk_browser, "Recorder", Nothing)
    monkeypatch.setattr(confined.kiosk_browser, "Kiosk", Nothing)
    monkeypatch.setattr(visits, "lacking", lambda ui: None)
    monkeypatch.setattr(confined, "SAMPLE_S", 0.01)


def _measured(folder, visit, monkeypatch):
    monkeypatch.setitem(confined.UIS, "terminal", visit)
    bundle = bundles.default()
    with Session(folder, {}, [bundle], 0) as session:
        confined.measure(
            session, Plan([bundle], quick=True, repeats=2), [confined.Limits(512.0, 1.0, "x")], ["terminal"]
        )
    return read(folder)


def _slow(result):
    def visit(group, kiosk):
        import time

        time.sleep(0.1)
        if isinstance(result, Exception) and group.memory_bytes < 1_000_000_000:
            raise result
        return visits.Visit(0.5, 20.0, 150.0)

    return visit


def test_a_visit_that_fits_keeps_its_figures_within_a_limit_lowered_by_what_others_hold(
    tmp_path, without_kiosk, monkeypatch
):
    recorded = _measured(tmp_path / "s", _slow(None), monkeypatch)
    (case,) = recorded.cases
    held_mb = case.facts["held_by_others_mb"]
    assert held_mb > 1, "the libraries of this process"
    assert [group.memory_bytes > 1e9 for group in MADE] == [True, True, False, False]
    assert MADE[-1].memory_bytes == pytest.approx(512e6 - 1e6 * held_mb, abs=1e5)
    (row,) = recorded.facts["confined"]["fits"]
    assert row == {"ui": "terminal", "memory_mb": 512.0, "cpus": 1.0, "fits": True, "visits": 2, "failed": 0, "why": []}
    values = {one.metric: one.values for one in recorded.samples if one.repeat == 1}
    assert values["result_ms"] == (150.0,)
    assert values["peak_mb"][0] == pytest.approx(200 + held_mb, abs=0.1)
    assert values["alone_mb"][0] > held_mb


def test_a_visit_that_the_kernel_ends_does_not_fit_and_says_why(tmp_path, without_kiosk, monkeypatch):
    monkeypatch.setattr(_NoGroup, "oom_kills", property(lambda self: int(self.memory_bytes < 1_000_000_000)))
    recorded = _measured(tmp_path / "s", _slow(ProofError("The terminal ended with -9")), monkeypatch)
    (row,) = recorded.facts["confined"]["fits"]
    assert (row["fits"], row["failed"]) == (False, 2)
    assert row["why"] == ["the kernel killed 1 of its processes for want of memory; The terminal ended with -9"]
    assert not recorded.of("confined", recorded.cases[0].name, "result_ms")
    assert [one.values for one in recorded.of("confined", recorded.cases[0].name, "oom_kills")] == [(1.0,), (1.0,)]


def test_what_does_not_work_without_limits_either_is_skipped(tmp_path, without_kiosk, monkeypatch):
    def broken(group, kiosk):
        raise ProofError("It never starts.")

    recorded = _measured(tmp_path / "s", broken, monkeypatch)
    assert recorded.cases == []
    assert ["It never starts." in one.reason for one in recorded.skipped] == [True]


@pytest.mark.slow
def test_a_visit_by_keys_in_a_real_terminal_ends_in_a_result_that_is_stored():
    pytest.importorskip("textual")
    if not _makes_groups():
        pytest.importorskip("no_control_groups_here", reason="this process may make no control group")
    seen = confined._seen("terminal", 512.0, 1.0)
    assert seen.fault is None
    assert seen.visit is not None
    assert seen.visit.result_ms < 1e3 * seen.visit.visit_s
    assert 30e6 < seen.peaks.anonymous < 512e6
    assert seen.usage.oom_kills == 0


def test_escapes_leave_the_text_that_a_person_reads():
    sent = "\x1b[38;5;1mPattern\x1b[0m \x1b]0;title\x07not\x1b[2;3H\x1b(B seen\x1b[?25l"
    assert visits._plain(sent) == "Pattern not seen"


def test_screens_are_told_apart_by_the_words_that_the_terminal_shows():
    from lsemvae_edge.kiosk.terminal import words

    shown = {name: text for name, text in vars(visits.Shown).items() if name.isupper()}
    assert shown == {name: getattr(words, name) for name in shown}
    assert len(shown) == 7


def test_limits_are_those_of_the_small_board():
    assert [limit.memory_mb for limit in confined.limits()] == [512.0, 436.3]
    assert {limit.cpus for limit in confined.limits()} == {1.0}
    assert Path("/proc/self/smaps").exists()
