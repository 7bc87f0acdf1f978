"""Operators: who may sign in, and how long one waits after wrong PINs."""

import json
import os
import stat

import pytest

from lsemvae_edge.errors import UsageError
from lsemvae_edge.kiosk import operators


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Files of this test alone."""
    monkeypatch.setenv(operators.VARIABLE, str(tmp_path / "operators.json"))
    monkeypatch.setenv(operators.PAUSES_VARIABLE, str(tmp_path / "pauses.json"))
    return tmp_path


@pytest.fixture
def machine(monkeypatch):
    """A machine whose time and starts the test decides."""

    class Machine:
        boot, now_s = "first", 100.0

    monkeypatch.setattr(operators, "_since_start", lambda: (Machine.boot, Machine.now_s))
    return Machine


def wrong(code="NURSE1", pin="0000"):
    with pytest.raises(operators.SignInError) as caught:
        operators.verify(code, pin)
    return caught.value


def test_a_right_pin_signs_in_whatever_case_the_code_is_typed_in():
    operators.add("nurse1", "2580")
    operators.add("head", "97531", "supervisor")
    assert operators.codes() == ("HEAD", "NURSE1")
    assert operators.verify(" nurse1 ", "2580").role == "operator"
    assert operators.verify("HEAD", "97531").role == "supervisor"
    assert [operators.is_supervisor(code) for code in ("head", "NURSE1", "NOBODY")] == [True, False, False]
    assert not (operators._PAUSES.path()).exists()


def test_neither_code_nor_pin_is_told_apart_when_wrong():
    operators.add("NURSE1", "2580")
    known, unknown = wrong(pin="2581"), wrong(code="NOBODY")
    assert (known.message, known.next_step, known.wait_s) == (unknown.message, unknown.next_step, unknown.wait_s)


def test_the_file_is_its_owners_and_holds_no_pin(files):
    operators.add("NURSE1", "25801379")
    path = files / "operators.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "25801379" not in path.read_text()
    first = operators.read().operators[0]
    operators.add("NURSE2", "25801379")
    assert first.digest != operators.read().operators[1].digest


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_file_that_others_can_read_is_refused(files):
    operators.add("NURSE1", "2580")
    (files / "operators.json").chmod(0o640)
    with pytest.raises(UsageError, match="read by other users") as caught:
        operators.verify("NURSE1", "2580")
    assert caught.value.next_step.startswith("Run `chmod 600")


@pytest.mark.parametrize("pin", ["", "123", "123456789", "25a0", "२५८०", "1111", "1234", "87654321"])
def test_a_pin_that_is_none_or_too_easy_is_refused(pin):
    with pytest.raises(UsageError, match="PIN"):
        operators.add("NURSE1", pin)
    assert operators.codes() == ()


@pytest.mark.parametrize("code", ["", "A" * 13, "Dr Rai", "é1", "A/B"])
def test_a_code_that_is_none_is_refused(code):
    with pytest.raises(UsageError, match="code"):
        operators.add(code, "2580")


def test_a_code_is_given_once_and_changed_or_removed_by_it():
    operators.add("NURSE1", "2580")
    with pytest.raises(UsageError, match="already"):
        operators.add("nurse1", "1379")
    operators.change_pin("nurse1", "1379")
    wrong(pin="2580")
    assert operators.verify("NURSE1", "1379").code == "NURSE1"
    operators.remove("NURSE1")
    wrong(pin="1379")
    for change in (lambda: operators.remove("NURSE1"), lambda: operators.change_pin("NURSE1", "1379")):
        with pytest.raises(UsageError, match="no operator"):
            change()


def test_the_only_supervisor_of_others_stays():
    operators.add("HEAD", "2580", "supervisor")
    operators.add("NURSE1", "2580")
    with pytest.raises(UsageError, match="only supervisor"):
        operators.remove("HEAD")
    operators.remove("NURSE1")
    operators.remove("HEAD")
    assert operators.codes() == ()


def test_pauses_grow_from_half_a_minute_to_ten(machine):
    operators.add("NURSE1", "2580")
    assert [wrong().wait_s for _ in range(4)] == [0.0] * 4
    waits = []
    for _ in range(7):
        waits.append(wrong().wait_s)
        machine.now_s += waits[-1]
    assert waits == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]


def test_in_a_pause_the_right_pin_is_not_looked_at_and_costs_no_further_pause(machine):
    operators.add("NURSE1", "2580")
    for _ in range(5):
        wrong()
    machine.now_s += 12
    told = wrong(pin="2580")
    assert told.message == operators.PAUSED.format(seconds=18)
    machine.now_s += 18
    assert operators.verify("NURSE1", "2580").code == "NURSE1"
    assert wrong().wait_s == 0


def test_one_operators_pause_is_not_anothers(machine):
    operators.add("NURSE1", "2580")
    operators.add("NURSE2", "2580")
    for _ in range(5):
        wrong()
    assert operators.verify("NURSE2", "2580").code == "NURSE2"


def test_another_start_of_the_machine_starts_the_pause_again(machine):
    operators.add("NURSE1", "2580")
    for _ in range(5):
        wrong()
    machine.boot, machine.now_s = "second", 7.0
    assert operators.pause_s("NURSE1") == 23.0
    machine.now_s = 30.0
    assert wrong().wait_s == 60.0


def test_a_new_pin_ends_the_pause(machine):
    operators.add("NURSE1", "2580")
    for _ in range(5):
        wrong()
    operators.change_pin("NURSE1", "1379")
    assert operators.verify("NURSE1", "1379").code == "NURSE1"


def test_where_a_wrong_pin_cannot_be_counted_none_tells_whether_it_was_right(files, monkeypatch):
    operators.add("NURSE1", "2580")
    monkeypatch.setenv(operators.PAUSES_VARIABLE, "/proc/nowhere/pauses.json")
    with pytest.raises(UsageError, match="cannot be written"):
        operators.verify("NURSE1", "0000")


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content | {"schema": "lsemvae-edge/operators/9"},
        lambda content: content | {"more": 1},
        lambda content: content | {"operators": [*content["operators"], *content["operators"]]},
        lambda content: content | {"operators": [content["operators"][0] | {"role": "root"}]},
    ],
    ids=["schema", "key", "twice", "role"],
)
def test_a_damaged_file_signs_nobody_in(files, change):
    operators.add("NURSE1", "2580")
    path = files / "operators.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UsageError) as caught:
        operators.verify("NURSE1", "2580")
    assert caught.value.next_step.startswith("Restore the file")


def test_the_real_clock_of_the_machine_never_runs_backwards_within_a_start():
    boot, first_s = operators._since_start()
    again, then_s = operators._since_start()
    assert boot == again
    assert then_s >= first_s > 0
