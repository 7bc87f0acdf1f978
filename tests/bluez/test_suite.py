"""The suite itself runs by hand (README.md); what can be checked of it without a guest is checked here."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPTS = ("run", "guest-main", "guest-init", "common.sh")
SCENARIOS = sorted((HERE / "scenarios").glob("*.py"))


@pytest.fixture
def summary(monkeypatch):
    """The module that sums up."""
    monkeypatch.syspath_prepend(str(HERE))
    import summary

    return summary


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_parse(name):
    assert (HERE / name).read_text().startswith("#")
    shell = shutil.which("bash")
    assert shell is not None
    subprocess.run([shell, "-n", HERE / name], check=True)


def test_scenarios_and_what_they_share_compile():
    assert len(SCENARIOS) >= 9
    for path in [*SCENARIOS, *HERE.glob("*.py")]:
        compile(path.read_text(), str(path), "exec")


def test_every_scenario_is_in_the_readme():
    text = (HERE / "README.md").read_text()
    assert [path.stem for path in SCENARIOS if f"`{path.stem}`" not in text] == []


def test_a_scenario_that_is_not_there_is_refused():
    asked = subprocess.run([HERE / "run", "nothing"], capture_output=True, text=True, check=False)
    assert asked.returncode == 2
    assert "There is no scenario nothing." in asked.stderr


def lines(*checks, ended=0, name="recording"):
    guest = {"kernel": "6.1.0-52-amd64", "version": "#1 SMP Debian 6.1.180-1", "bluez": "5.66", "boot_s": 6.5}
    return [
        json.dumps({"guest": guest}),
        *(json.dumps({"check": what, "ok": ok}) for what, ok in checks),
        json.dumps({"fact": {"mtu": 247}}),
        json.dumps({"scenario": name, "ended": ended, "at_s": 30.0}),
    ]


def test_a_run_that_passed(summary):
    result = summary.summarise(lines(("a", True), ("b", True)), ["recording"])
    assert result["passed"]
    assert (result["kernel"], result["bluez"]) == ("6.1.0-52-amd64", "5.66")
    scenario = result["scenarios"]["recording"]
    assert (scenario["boot_s"], scenario["took_s"], scenario["facts"]) == (6.5, 23.5, {"mtu": 247})
    assert "passed recording: 2 of 2 checks, 23.5 s" in summary.table(result)


@pytest.mark.parametrize(
    "written",
    [
        lines(("a", True), ("b", False)),
        lines(("a", True), ended=124),
        lines(),
        lines(("a", True))[:-1],
        [*lines(("a", True))[:-1], '{"scenario": "recor'],
        [],
        [*lines(("a", True)), json.dumps({"kernel_bug": "recording"})],
    ],
    ids=["check", "timeout", "no-check", "no-end", "cut", "nothing", "kernel"],
)
def test_what_failed_or_is_missing_fails_the_run(summary, written):
    result = summary.summarise(written, ["recording"])
    assert not result["passed"]
    assert "FAILED recording" in summary.table(result)


def test_one_failed_scenario_fails_the_run(summary):
    written = [*lines(("a", True)), *lines(("a", False), name="loss")]
    result = summary.summarise(written, ["recording", "loss"])
    assert [scenario["passed"] for scenario in result["scenarios"].values()] == [True, False]
    assert not result["passed"]


def test_the_result_is_a_file_and_an_exit_code(tmp_path):
    written, results = tmp_path / "lines", tmp_path / "results.json"
    for ok, code in ((True, 0), (False, 1)):
        written.write_text("\n".join(lines(("a", ok))))
        ended = subprocess.run([sys.executable, HERE / "summary.py", written, results, "recording"], check=False)
        assert ended.returncode == code
        assert json.loads(results.read_text())["passed"] is ok
