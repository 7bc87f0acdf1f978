"""Which drivers there are, which one an advertisement fits, and what others have to do to bring their own."""

import re
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from lsemvae_edge.device import conformance, drivers
from lsemvae_edge.device.driver import Decoder, Driver
from lsemvae_edge.device.errors import UnknownRecorderError
from lsemvae_edge.errors import DeviceError, ExitCode
from lsemvae_edge.leads import STANDARD_12

DOC = Path(__file__).parents[2] / "docs" / "drivers.md"
ADVERTISED = {
    "open-6l": "Open-6L 0042",
    "lepu-6l": "ER3 1234",
    "lepu-1l": "ER1 1234",
    "ghs": None,
    "kardia-6l": None,
    "polar-h10": "Polar H10 0A1B2C3D",
    "movesense": "Movesense 210330000123",
}
OURS = "3b9e0000-52c4-4f0a-8d1b-6a7f21c0e5d9"


class Other(Driver):
    """A driver of another package: everything but what it does."""

    description = replace(drivers.get("lepu-6l").description, name="other", services=(OURS,), local_names=())

    def stream(self, reads, mtu, fs_hz=None):
        raise NotImplementedError

    def decoder(self, stream):
        raise NotImplementedError


class CallsItselfAnother(Other):
    """Of the entry point ``liar``."""


class NamedOnly(Other):
    """Known by its name alone."""

    description = replace(Other.description, name="named-only", services=(), local_names=(r"Named \d+",))


class WithoutClue(Other):
    """Neither service nor name."""

    description = replace(Other.description, name="without-clue", services=())


class OptIn(Other):
    """Only by name."""

    description = replace(Other.description, name="opt-in", opt_in=True)


@pytest.fixture
def installed(monkeypatch):
    """Function that installs entry points, by name and object reference."""

    def install(**references):
        found = tuple(EntryPoint(name.replace("_", "-"), at, drivers.GROUP) for name, at in references.items())
        monkeypatch.setattr(drivers, "_entry_points", lambda: found)

    module = ModuleType("other_package")
    monkeypatch.setitem(sys.modules, "other_package", module)
    for kind in (Other, CallsItselfAnother, NamedOnly, WithoutClue, OptIn):
        monkeypatch.setattr(module, kind.__name__, kind, raising=False)
    monkeypatch.setattr(module, "no_class", 7, raising=False)
    monkeypatch.setattr(module, "Unfinished", Decoder, raising=False)
    return install


def test_every_built_in_driver_is_there_under_its_name():
    assert set(drivers.names()) >= set(drivers.BUILT_IN)
    for name in drivers.BUILT_IN:
        driver = drivers.get(name)
        assert isinstance(driver, Driver)
        assert driver.description.name == name


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownRecorderError) as caught:
        drivers.get("nonesuch")
    assert "open-6l" in caught.value.next_step
    assert caught.value.code == ExitCode.DEVICE


def test_no_two_built_in_drivers_fit_the_same_advertisement():
    for name, local_name in ADVERTISED.items():
        services = set(drivers.get(name).description.services)
        assert [other for other in drivers.BUILT_IN if drivers._fits(drivers.get(other), services, local_name)] == [
            name
        ]


def test_nothing_fits_a_stranger():
    assert drivers.match([], None) is None
    assert drivers.match(["0000180d-0000-1000-8000-00805f9b34fb"], "Some strap") is None


def test_another_packages_driver_is_listed_got_and_matched(installed):
    installed(other="other_package:Other")
    assert drivers.names() == (*drivers.BUILT_IN, "other")
    assert isinstance(drivers.get("other"), Other)
    assert isinstance(drivers.match([OURS.upper()], "anything"), Other)


def test_a_driver_may_be_known_by_its_name_alone(installed):
    installed(named_only="other_package:NamedOnly")
    assert isinstance(drivers.match([OURS], "Named 12"), NamedOnly)
    for local_name in ("Named", "named 12", "Named 12 more", None):
        assert drivers.match([], local_name) is None


def test_a_driver_without_a_clue_fits_nothing(installed):
    installed(without_clue="other_package:WithoutClue")
    assert drivers.match([OURS], "anything") is None


def test_an_opt_in_driver_is_got_by_name_and_never_matched(installed):
    installed(opt_in="other_package:OptIn")
    assert isinstance(drivers.get("opt-in"), OptIn)
    assert drivers.match([OURS], "anything") is None


def test_a_driver_of_this_package_comes_before_one_of_the_same_name(installed):
    installed(polar_h10="other_package:Other")
    assert drivers.names() == tuple(drivers.BUILT_IN)
    assert type(drivers.get("polar-h10")).__name__ == "PolarH10"


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("no_such_package:Other", "no_such_package"),
        ("other_package:NoSuchClass", "NoSuchClass"),
        ("other_package:no_class", "7 is no Driver class"),
        ("other_package:Unfinished", "no Driver class"),
        ("other_package:CallsItselfAnother", "calls itself 'other'"),
    ],
)
def test_a_broken_driver_is_named_and_breaks_nothing_else(installed, reference, why):
    installed(liar=reference)
    with pytest.raises(DeviceError, match="The driver liar cannot be loaded") as caught:
        drivers.get("liar")
    assert why in str(caught.value)
    assert caught.value.next_step == "Install its package again, or remove it."
    assert drivers.get("open-6l").description.name == "open-6l"
    assert "liar" in drivers.names()


def test_entry_points_are_those_of_the_documented_group():
    text = DOC.read_text(encoding="utf-8")
    assert f'[project.entry-points."{drivers.GROUP}"]' in text
    assert not [entry for entry in drivers._entry_points() if entry.group != drivers.GROUP]


def test_the_documentation_lists_what_there_is():
    text = DOC.read_text(encoding="utf-8")
    table = text.split("## What is there")[1].split("##")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    assert [row[0].strip("`") for row in rows] == list(drivers.BUILT_IN)
    for name, _, leads, rate, lost, altered, bond, _ in rows:
        description = drivers.get(name.strip("`")).description
        assert (bond == "yes") == description.needs_bond
        assert altered.startswith("found") == description.integrity
        assert ("by index" in lost) == description.indexed
        assert f"{description.fs_hz[0]:g}" in rate or f"{min(description.fs_hz):g}" in rate
        assert name == "`ghs`" or ", ".join(description.leads) in leads


def test_the_documented_driver_is_complete_and_keeps_to_the_contract():
    (template,) = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(template.splitlines()) <= 70
    namespace: dict = {}
    exec(compile(template, str(DOC), "exec"), namespace)
    namespace["test_acme_keeps_to_the_contract"]()
    assert issubclass(namespace["Acme"], Driver)
    assert conformance.check(namespace["Acme"](), hostile=2000) == []


@pytest.mark.parametrize("name", ["polar-h10", "movesense"])
def test_a_chest_straps_lead_is_never_a_standard_one(name):
    leads = drivers.get(name).description.leads
    assert leads == ("chest",)
    assert not set(leads) & set(STANDARD_12)
