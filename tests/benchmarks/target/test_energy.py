"""Energy: meters read what the kernel and the makers' packages give, and rest is subtracted."""

import sys
from functools import partial
from importlib.metadata import EntryPoint
from itertools import count, pairwise
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.target import energy, meters, meters_kernel, meters_usb, report_part, session
from lsemvae_edge.benchmarks.target.meters import Reading, Sampler
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.errors import UsageError

COUNTED = '''
import os
from contextlib import suppress
from pathlib import Path
from time import monotonic

from lsemvae_edge.benchmarks.target.meters import Reading
from lsemvae_edge.errors import UsageError

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ProcessorTime:
    """Ten watts while a child of this process runs, and one always."""

    name = "processor time"
    measures = "what children of this process spend"
    closed = 0

    def start(self):
        self.begun = self.spent(), monotonic()

    def stop(self):
        spent, seconds = self.spent() - self.begun[0], monotonic() - self.begun[1]
        return Reading(10 * spent + seconds, seconds)

    def close(self):
        type(self).closed += 1

    def spent(self):
        ticks = 0
        for process in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = process.read_text().rpartition(")")[2].split()
                if int(fields[1]) == os.getpid():
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_PER_S


def opened(where):
    if where:
        raise UsageError(f"there is no {where}")
    return ProcessorTime()
'''


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A meter that another package offers, which counts the processor time of the candidates."""
    (tmp_path / "offered_meter.py").write_text(COUNTED)
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("processor-time", "offered_meter:opened", meters.GROUP)
    monkeypatch.setattr(meters, "entry_points", lambda group: [point] if group == meters.GROUP else [])
    yield point
    sys.modules.pop("offered_meter", None)


@pytest.fixture
def hwmon(tmp_path):
    """A tree as Linux shows an INA219 at 2.5 W, behind a sensor of temperature."""
    for number, (name, files) in enumerate(
        [("cpu_thermal", {"temp1_input": "51000"}),
         ("ina219", {"in0_input": "5", "in1_input": "5000", "curr1_input": "500", "power1_input": "2500000"})]
    ):  # fmt: skip
        folder = tmp_path / f"sys/class/hwmon/hwmon{number}"
        folder.mkdir(parents=True)
        for file, text in {"name": name, **files}.items():
            (folder / file).write_text(text + "\n")
    return tmp_path


@pytest.fixture
def rapl(tmp_path):
    """A tree as Linux shows two packages, one with a part of its own."""
    zones = {"intel-rapl": None, "intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:1": "package-1"}
    for zone, name in zones.items():
        folder = tmp_path / "sys/class/powercap" / zone
        folder.mkdir(parents=True)
        if name:
            (folder / "name").write_text(name + "\n")
            (folder / "energy_uj").write_text("1000000\n")
            (folder / "max_energy_range_uj").write_text("262143328850\n")
    return tmp_path


def test_an_ina219_is_read_in_watts_and_integrated(hwmon):
    meter = meters_kernel.ina2xx("", hwmon)
    assert meter.name == "ina219 (hwmon1)"
    meter.start()
    reading = meter.stop()
    assert reading.seconds > 0
    assert reading.watts == pytest.approx(2.5)
    meter.close()


def test_a_chip_can_be_named_and_one_that_is_not_there_is_told(hwmon, tmp_path):
    assert meters_kernel.ina2xx("hwmon1", hwmon).name == meters_kernel.ina2xx("ina219", hwmon).name
    with pytest.raises(UsageError, match=r"The kernel knows no hwmon0\.") as caught:
        meters_kernel.ina2xx("hwmon0", hwmon)
    assert "new_device" in caught.value.next_step
    with pytest.raises(UsageError, match="knows no INA2xx"):
        meters_kernel.ina2xx("", tmp_path / "nothing")
    (hwmon / "sys/class/hwmon/hwmon1/power1_input").unlink()
    with pytest.raises(UsageError, match="tells no power"):
        meters_kernel.ina2xx("", hwmon)


def test_a_chip_that_is_lost_meanwhile_is_an_error(hwmon):
    meter = meters_kernel.ina2xx("", hwmon)
    (hwmon / "sys/class/hwmon/hwmon1/power1_input").write_text("")
    meter.start()
    with pytest.raises(UsageError, match="can no longer be read"):
        meter.stop()


def test_packages_are_added_and_a_counter_that_began_anew_is_followed(rapl, monkeypatch):
    clock = iter([100.0, 102.0])
    monkeypatch.setattr(meters_kernel, "monotonic", lambda: next(clock))
    zones = rapl / "sys/class/powercap"
    (zones / "intel-rapl:1/energy_uj").write_text("262143328000\n")
    meter = meters_kernel.powercap("", rapl)
    assert meter.name == "powercap: package-0, package-1"
    meter.start()
    (zones / "intel-rapl:0/energy_uj").write_text("4000000\n")
    (zones / "intel-rapl:0:0/energy_uj").write_text("9000000\n")
    (zones / "intel-rapl:1/energy_uj").write_text("999149\n")
    assert meter.stop() == Reading(pytest.approx(3 + 1), 2.0)
    assert meters_kernel.powercap("intel-rapl:1", rapl).name == "powercap: package-1"


def test_counters_that_are_absent_or_forbidden_are_told(rapl, tmp_path):
    with pytest.raises(UsageError, match=r"no counter of energy\."):
        meters_kernel.powercap("", tmp_path / "nothing")
    (rapl / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    with pytest.raises(UsageError, match="may not be read") as caught:
        meters_kernel.powercap("", rapl)
    assert "chmod" in caught.value.next_step


def test_readings_of_power_are_integrated_by_trapezoids(monkeypatch):
    assert meters.integrated([(0.0, 1.0), (1.0, 3.0), (3.0, 3.0)]) == Reading(2 + 6, 3.0)
    for few in ([], [(0.0, 1.0)]):
        with pytest.raises(UsageError, match="less than twice"):
            meters.integrated(few)
    ramp = count(1)
    clock = count(10)
    monkeypatch.setattr(meters, "monotonic", lambda: float(next(clock)))
    sampler = Sampler(lambda: float(next(ramp)), 0.001)
    sampler.start()
    while len(sampler._samples) < 5:
        pass
    reading = sampler.stop()
    # Power and time rise by one at each reading, whenever it was.
    levels = 1 + np.arange(reading.seconds + 1)
    assert reading.joules == pytest.approx(sum((a + b) / 2 for a, b in pairwise(levels)))


def test_a_sampler_can_be_started_again(hwmon):
    meter = meters_kernel.ina2xx("", hwmon)
    for microwatts in (1_000_000, 3_000_000):
        (hwmon / "sys/class/hwmon/hwmon1/power1_input").write_text(str(microwatts))
        meter.start()
        assert meter.stop().watts == pytest.approx(microwatts / 1e6)


def test_a_joulescope_is_read_by_its_own_sums(monkeypatch):
    """Its package, as far as it is used: release 1.5.0, ``joulescope/v1/device.py``."""
    device = SimpleNamespace(model="JS220", listening=[], opened=0, closed=0)
    device.open = lambda: setattr(device, "opened", 1)
    device.close = lambda: setattr(device, "closed", 1)
    device.statistics_callback_register = lambda take, source: device.listening.append(take)
    device.statistics_callback_unregister = lambda take, source: device.listening.remove(take)
    package = ModuleType("joulescope")
    package.scan_require_one = lambda name=None, config=None: device
    monkeypatch.setitem(sys.modules, "joulescope", package)
    meter = meters.opened("joulescope")
    assert (meter.name, device.opened) == ("Joulescope JS220", 1)
    meter.start()
    (take,) = device.listening
    for begin_s, joules in ((1.0, 10.0), (1.5, 11.0), (2.0, 12.5)):
        take({"time": {"range": {"value": [begin_s, begin_s + 0.5]}}, "accumulators": {"energy": {"value": joules}}})
    assert meter.stop() == Reading(2.5, 1.0)
    assert device.listening == []
    meter.start()
    with pytest.raises(UsageError, match="less than twice") as caught:
        meter.stop()
    assert "--window" in caught.value.next_step
    meter.close()
    assert device.closed

    def none(name=None, config=None):
        raise RuntimeError("no devices found")

    package.scan_require_one = none
    with pytest.raises(UsageError, match="no devices found"):
        meters.opened("joulescope")


class Ppk2Package(ModuleType):
    """``ppk2_api.ppk2_api`` of release 0.9.2, as far as it is used."""

    def __init__(self, ports):
        super().__init__("ppk2_api.ppk2_api")
        self.made = made = []

        class Device:
            @staticmethod
            def list_devices():
                return ports

            def __init__(self, port, buffer_max_size_seconds=10, buffer_chunk_seconds=0.1, **serial):
                self.did = [port]
                self.stream = b""
                self.ser = SimpleNamespace(close=lambda: self.did.append("closed"))
                made.append(self)

            def __getattr__(self, name):
                return lambda *given: self.did.append((name, *given))

            def get_data(self):
                self.did.append("fetched")
                return self.stream

            def get_samples(self, stream):
                assert self.remainder == {"sequence": b"", "len": 0}
                return [float(byte) for byte in stream], []

        self.PPK2_API = self.PPK2_MP = Device


def test_a_ppk2_is_told_the_voltage_and_fetched_before_it_is_stopped(monkeypatch):
    package = Ppk2Package(["/dev/ttyACM0"])
    monkeypatch.setitem(sys.modules, "ppk2_api", ModuleType("ppk2_api"))
    monkeypatch.setitem(sys.modules, "ppk2_api.ppk2_api", package)
    meter = meters.opened("ppk2:3300")
    (device,) = package.made
    assert device.did == [
        "/dev/ttyACM0", ("get_modifiers",), ("use_ampere_meter",), ("set_source_voltage", 3300),
        ("toggle_DUT_power", "ON"),
    ]  # fmt: skip
    meter.start()
    device.stream = bytes([100, 200] * 500)
    reading = meter.stop()
    assert reading.seconds == pytest.approx(0.01)
    assert reading.watts == pytest.approx(150e-6 * 3.3)
    assert device.did[-3:] == [("start_measuring",), "fetched", ("stop_measuring",)]
    device.stream = b""
    meter.start()
    with pytest.raises(UsageError, match="sent nothing"):
        meter.stop()
    meter.close()
    assert device.did[-1] == "closed"


@pytest.mark.parametrize("ports", [[], ["/dev/ttyACM0", "/dev/ttyACM1"]])
def test_not_one_ppk2_is_a_usage_error(monkeypatch, ports):
    monkeypatch.setitem(sys.modules, "ppk2_api", ModuleType("ppk2_api"))
    monkeypatch.setitem(sys.modules, "ppk2_api.ppk2_api", Ppk2Package(ports))
    with pytest.raises(UsageError, match=f"{len(ports)} PPK2 are connected"):
        meters.opened("ppk2")


@pytest.mark.parametrize("voltage", ["5V", "100", "6000", "²"])
def test_a_ppk2_takes_no_other_voltage(voltage):
    with pytest.raises(UsageError, match="is no supply's voltage"):
        meters_usb.ppk2(voltage)


def test_a_package_that_is_not_installed_is_told_with_its_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "joulescope", None)
    with pytest.raises(UsageError, match="joulescope is not installed") as caught:
        meters.opened("joulescope")
    assert caught.value.next_step == "pip install joulescope"


def test_meters_of_other_packages_are_found_first(offered):
    assert meters.names() == (*meters.BUILT_IN, "processor-time")
    meter, lacks = meters.found()
    assert meter.name == "processor time"
    assert lacks == {}
    with pytest.raises(UsageError, match="there is no such"):
        meters.opened("processor-time:such")
    with pytest.raises(UsageError, match="Unknown meter 'nothing'") as caught:
        meters.opened("nothing")
    assert "processor-time" in caught.value.next_step


def test_a_meter_of_another_package_that_does_not_load_is_told(monkeypatch):
    point = EntryPoint("broken", "not_there_at_all:opened", meters.GROUP)
    monkeypatch.setattr(meters, "entry_points", lambda group: [point])
    with pytest.raises(UsageError, match="meter broken cannot be loaded"):
        meters.opened("broken")


def test_rest_is_subtracted_and_what_is_left_is_shared_by_the_inferences(tmp_path, offered, monkeypatch):
    """The meter counts ten watts for each second of a candidate's processor time, and one watt always."""
    monkeypatch.setattr(energy, "SETTLES_S", 0.05)
    plan = Plan([bundles.default()], runtimes=("litert",), repeats=2)
    with Session(tmp_path / "session", {}, plan.bundles, 4) as one:
        energy.measure(one, plan, "processor-time", window_s=0.5)
    assert sys.modules["offered_meter"].ProcessorTime.closed == 1
    recorded = session.read(tmp_path / "session")
    (case,) = recorded.cases
    assert case.facts["meter"] == "processor time"
    figures = {
        metric: [sample.values[0] for sample in recorded.of("energy", case.name, metric)]
        for metric in ("inference_mj", "idle_mw", "load_mw")
    }
    assert [len(values) for values in figures.values()] == [2, 2, 2]
    # At rest the candidate waits: nothing but the watt that flows anyway, and at most a tick of the clock.
    assert figures["idle_mw"] == pytest.approx([1000] * 2, abs=250)
    assert min(figures["load_mw"]) > max(figures["idle_mw"])
    assert min(figures["inference_mj"]) > 0
    (row,) = recorded.facts["energy"]["rows"]
    interval = row["inference_mj"]
    assert interval["value"] == pytest.approx(np.mean(figures["inference_mj"]), rel=1e-4)
    assert interval["low"] < interval["value"] < interval["high"]
    assert "power at rest subtracted" in report_part.tables(tmp_path / "session", "energy")


def test_a_load_is_held_against_the_rests_on_both_its_sides(tmp_path, monkeypatch):
    """Power at rest rises by a watt from one rest to the next; the load takes four watts more."""

    class Rising:
        name, measures, closed = "rising", "nothing", False

        def __init__(self):
            # Rest, load, rest; each a second.
            self.watts = iter([2.0, 6.5, 3.0])

        def start(self):
            pass

        def stop(self):
            return Reading(next(self.watts), 1.0)

        def close(self):
            pass

    monkeypatch.setattr(energy, "SETTLES_S", 0.0)
    plan = Plan([bundles.default()], runtimes=("litert",), repeats=1)
    with Session(tmp_path / "session", {}, plan.bundles, 4) as one:
        energy.measure_with(one, plan, Rising(), window_s=0.01)
    recorded = session.read(tmp_path / "session")
    name = recorded.cases[0].name
    assert recorded.of("energy", name, "idle_mw")[0].values == (2500.0,)
    assert recorded.of("energy", name, "load_mw")[0].values == (6500.0,)
    assert recorded.of("energy", name, "inference_mj")[0].values[0] > 0
    # One repeat has no interval.
    assert isinstance(recorded.facts["energy"]["rows"][0]["inference_mj"], float)


def test_students_interval_is_that_of_the_books():
    found = energy.with_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    # t(0.975, 4) = 2.776; s = 1.5811.
    assert found == {"value": 3.0, "low": pytest.approx(3 - 1.963, abs=1e-3), "high": pytest.approx(4.963, abs=1e-3)}


def test_without_a_meter_it_is_not_measured_and_each_lack_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(meters, "entry_points", lambda group: [])
    monkeypatch.setitem(sys.modules, "joulescope", None)
    for module, name in ((meters_kernel, "ina2xx"), (meters_kernel, "powercap")):
        monkeypatch.setattr(module, name, partial(getattr(module, name), root=tmp_path))
    with Session(tmp_path / "session", {}, [], 4) as one:
        energy.measure(one, Plan([bundles.default()]))
    recorded = session.read(tmp_path / "session")
    assert recorded.cases == []
    (skipped,) = recorded.skipped
    assert skipped.reason.startswith("no meter (")
    assert all(name in skipped.reason for name in meters.BUILT_IN)
    assert "only by --meter ppk2" in skipped.reason
