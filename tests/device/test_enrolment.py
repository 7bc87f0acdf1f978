import json
import os

import pytest

pytest.importorskip("bumble", reason="virtual air needs the extra `simulator`")

from lsemvae_edge.device import enrolment, radio
from lsemvae_edge.device.enrolment import Enrolled, Enrolment
from lsemvae_edge.device.errors import (
    NotEnrolledError,
    NotInRangeError,
    PairingError,
    RefusedError,
    SelfTestError,
    UnknownRecorderError,
    WrongRecorderError,
)
from lsemvae_edge.device.virtual.air import VirtualAir
from lsemvae_edge.errors import DeviceError

ADDRESS = "C0:11:22:33:44:55"
FAST = 10.0
"""A recorder whose clock runs ahead has its test signal sent sooner."""
KNOWN = Enrolled(ADDRESS, "tiny", "Tiny 1", "T001", False, "2026-01-01T00:00:00+00:00", True)


def written(path, **changes):
    recorder = {**vars(KNOWN), **changes}
    path.write_text(json.dumps({"schema": enrolment.SCHEMA, "recorders": [recorder]}))
    path.chmod(0o600)


def test_where_nothing_was_enrolled_the_list_is_empty(enrolment_file):
    assert enrolment.read() == Enrolment()
    with pytest.raises(NotEnrolledError):
        enrolment.read().get(ADDRESS)


def test_the_list_lies_in_the_users_configuration(monkeypatch, tmp_path):
    monkeypatch.delenv(enrolment.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert enrolment.store_path() == tmp_path / "lsemvae-edge" / "recorders.json"


def test_what_is_written_is_read_back_and_belongs_to_its_owner_alone(enrolment_file):
    enrolment.update(lambda _: Enrolment(recorders=(KNOWN,)))
    assert enrolment.read().get(ADDRESS.lower()) == KNOWN
    assert enrolment_file.stat().st_mode & 0o777 == 0o600
    assert enrolment.remove(ADDRESS) == KNOWN
    assert enrolment.read().recorders == ()
    with pytest.raises(NotEnrolledError):
        enrolment.remove(ADDRESS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"schema": "lsemvae-edge/recorders/1"}',
        b'{"schema": "lsemvae-edge/recorders/2", "recorders": []}',
        b'{"schema": "lsemvae-edge/recorders/1", "recorders": [], "more": 1}',
        b'{"schema": "lsemvae-edge/recorders/1", "recorders": [{}]}',
        b"\xff" * 100,
    ],
)
def test_a_damaged_list_is_an_error_and_never_an_empty_list(enrolment_file, content):
    enrolment_file.write_bytes(content)
    enrolment_file.chmod(0o600)
    with pytest.raises(DeviceError):
        enrolment.read()
    with pytest.raises(DeviceError):
        enrolment.update(lambda now: now)
    assert enrolment_file.read_bytes() == content


@pytest.mark.parametrize("changes", [{"bonded": 1}, {"serial": 7}, {"address": ADDRESS.lower()}, {"driver": None}])
def test_a_list_with_a_value_of_another_kind_is_refused(enrolment_file, changes):
    written(enrolment_file, **changes)
    with pytest.raises(DeviceError):
        enrolment.read()


def test_an_address_that_is_there_twice_is_refused(enrolment_file):
    enrolment_file.write_text(json.dumps({"schema": enrolment.SCHEMA, "recorders": [vars(KNOWN)] * 2}))
    enrolment_file.chmod(0o600)
    with pytest.raises(DeviceError, match="twice"):
        enrolment.read()


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_list_that_others_can_write_is_refused(enrolment_file):
    written(enrolment_file)
    enrolment_file.chmod(0o622)
    with pytest.raises(DeviceError, match="other users"):
        enrolment.read()


def test_a_folder_in_its_place_is_refused(enrolment_file):
    enrolment_file.mkdir()
    with pytest.raises(DeviceError, match="not a plain file"):
        enrolment.read()


def test_a_recorder_is_enrolled_with_what_it_says_of_itself(tiny, run, radio_on, enrolment_file):
    async def main():
        async with VirtualAir() as air, radio_on(air) as it:
            host = await air.add(tiny.Recorder(serial="T777"), ADDRESS, clock=FAST)
            enrolled = await enrolment.enrol(it, ADDRESS.lower())
            assert host.recorder.blinked == 1
            assert not host.recorder.running
            return enrolled

    enrolled = run(main())
    assert enrolment.read().recorders == (enrolled,)
    assert (enrolled.address, enrolled.driver, enrolled.name) == (ADDRESS, "tiny", "Tiny 1")
    assert (enrolled.serial, enrolled.bonded, enrolled.simulated) == ("T777", False, True)


def refused(tiny, run, radio_on, expected, *, driver=None, prepare=lambda host: None, address=ADDRESS, **options):
    async def main():
        async with VirtualAir() as air, radio_on(air) as it:
            host = await air.add(tiny.Recorder(**options), ADDRESS, clock=FAST)
            prepare(host)
            with pytest.raises(expected) as error:
                await enrolment.enrol(it, address, driver)
            assert not host.connected
            return error.value

    before = enrolment.read()
    error = run(main(), 20.0)
    assert enrolment.read() == before
    return error


def test_a_test_signal_that_is_wrong_refuses_the_recorder(tiny, run, radio_on, enrolment_file):
    def broken(host):
        host.recorder.broken_test = True

    assert refused(tiny, run, radio_on, SelfTestError, prepare=broken).complaint == "the test signal is too small"


def test_a_recorder_that_refuses_to_test_itself_is_refused(tiny, run, radio_on, enrolment_file):
    def broken(host):
        host.recorder.refuse = 2

    assert refused(tiny, run, radio_on, RefusedError, prepare=broken).reason == "BROKEN"


def test_a_test_signal_that_never_comes_refuses_the_recorder(tiny, run, radio_on, enrolment_file, monkeypatch):
    monkeypatch.setattr(enrolment, "TEST_LIMIT_S", 0.3)

    def silent(host):
        host.recorder.advance = lambda _: []

    assert refused(tiny, run, radio_on, SelfTestError, prepare=silent).complaint == "no test signal came"


def test_a_recorder_that_will_not_pair_is_not_enrolled(tiny, run, radio_on, enrolment_file):
    tiny.only("tiny-bonded")

    def closed(host):
        host.pairing = False

    refused(tiny, run, radio_on, PairingError, prepare=closed, encrypted=True)


def test_what_no_driver_knows_is_enrolled_by_a_driver_s_name_alone(tiny, run, radio_on, enrolment_file, monkeypatch):
    from lsemvae_edge.device import drivers

    monkeypatch.setattr(drivers, "match", lambda services, name: None)
    monkeypatch.setattr(radio, "SETTLE_S", 0.1)
    refused(tiny, run, radio_on, UnknownRecorderError)

    async def main():
        async with VirtualAir() as air, radio_on(air) as it:
            await air.add(tiny.Recorder(), ADDRESS, clock=FAST)
            return await enrolment.enrol(it, ADDRESS, "tiny")

    assert run(main()).driver == "tiny"


def test_an_absent_recorder_is_not_enrolled(tiny, run, radio_on, enrolment_file, monkeypatch):
    from lsemvae_edge.device.radio import Radio

    monkeypatch.setattr(Radio.find, "__defaults__", (0.2,))
    refused(tiny, run, radio_on, NotInRangeError, address="C0:00:00:00:00:99")


def test_another_recorder_under_a_known_address_is_taken_on_purpose_alone(tiny, run, radio_on, enrolment_file):
    written(enrolment_file, serial="T000")
    error = refused(tiny, run, radio_on, WrongRecorderError)
    assert (error.expected, error.found) == ("serial T000", "serial T001")

    async def main():
        async with VirtualAir() as air, radio_on(air) as it:
            await air.add(tiny.Recorder(), ADDRESS, clock=FAST)
            await enrolment.enrol(it, ADDRESS, replace=True)
            return await enrolment.enrol(it, ADDRESS)

    assert run(main()).serial == "T001"
    assert len(enrolment.read().recorders) == 1
