"""The C reference sends, byte for byte, what the virtual recorder sends for the same steps."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsemvae_edge.device.drivers.open6l import CLOCK, CONTROL, DATA, INFO
from lsemvae_edge.device.events import ELECTRODES
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.open6l import VirtualOpen6L

REFERENCE = Path(__file__).parents[2] / "device" / "reference"
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1")
NAMES = {DATA: "data", CLOCK: "clock", CONTROL: "control"}
BOOT = bytes.fromhex("04030201")

OPENING = ("connect 247", "info", "write 0104f40103", "wait 100")
SCRIPTS = {
    "a recording": (*OPENING, "wait 1000", "write 0205"),
    "the least MTU": ("connect 23", "write 0104f40103", "write 0105fa0003", "wait 60", "write 0206"),
    "an MTU between": ("connect 100", "write 0104f40103", "wait 100"),
    "an MTU too small for the full rate": ("connect 99", "write 0104f40103", "write 0105fa0003", "wait 100"),
    "refusals": (
        "connect 247",
        *(
            f"write {text}"
            for text in ("09aa", "0100f40101", "0105", "020500", "01052c0101", "0401f40102", "0401f40102")
        ),
        "write 0102f40101",
        "write 0203",
        "write 0204",
        "battery 0",
        "write 0102f40101",
    ),
    "no request id": ("connect 247", "write", "write 01"),
    "a self-test": ("connect 247", "off 15", "write 0404f40103", "wait 1200", "write 0205"),
    "contact": (*OPENING, "off 1", "wait 20", "off 10", "wait 48", "off 0", "wait 80"),
    "lost samples": (*OPENING, "lose 7", "wait 100", "lose 900", "wait 3000"),
    "the ends of the converter": (*OPENING, "wait 3200"),
    "a lost link": (*OPENING, "disconnect", "wait 720", "connect 247", "write 0104f40104", "wait 100"),
    "a lost link for long": (*OPENING, "disconnect", "wait 15000", "connect 247", "write 0104f40104", "wait 100"),
    "another rate": (*OPENING, "write 0201", "wait 8", "write 0109fa0005", "wait 1100", "write 0201"),
    "a late start": ("wait 5000", "connect 247", "write 0104f40103", "wait 60"),
    "blinking": (*OPENING, "write 0301", "wait 40", "write 0302"),
    "ten minutes": ("connect 247", "write 0104fa0003", "wait 601000", "write 0201"),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The example port, compiled."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("reference") / "example_host"
    sources = [str(REFERENCE / name) for name in ("example_host.c", "open6l.c")]
    subprocess.run([*compiler.split(), *FLAGS, "-o", str(made), *sources], check=True, timeout=60)
    return made


class Formula(Feed):
    """What the example port has for a patient."""

    def __init__(self):
        self.leads = ("I", "II")

    def steps(self, first, n):
        k = np.arange(first, first + n)
        lead_i = np.where(k % 1000 == 999, 2**23 - 1, k * 1237 % 200003 - 100000)
        lead_ii = np.where(k % 1500 == 1499, -(2**23), k * 733 % 300007 - 150000)
        return np.stack([lead_i, lead_ii]).astype(np.int32)


def sent_by_c(program, steps):
    done = subprocess.run(
        [str(program)], input="\n".join(steps), capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split("\n")[:-1]


def sent_by_python(steps):
    virtual = VirtualOpen6L(Formula())
    lines = []
    for step in steps:
        word, argument = (step + " ").split(" ")[:2]
        messages = ()
        if word == "connect":
            virtual.connected(int(argument))
        elif word == "disconnect":
            virtual.disconnected()
        elif word == "write":
            blinked = virtual.identified
            messages = virtual.write(CONTROL, bytes.fromhex(argument))
            lines += ["blink"] * (virtual.identified - blinked)
            lines += ["error 0d"] * (len(messages) == 0)
        elif word == "info":
            value = virtual.read(INFO)
            lines.append(f"info {(value[:2] + BOOT + value[6:]).hex()}")
        elif word == "wait":
            messages = virtual.advance(int(argument) / 1000)
        elif word == "lose":
            virtual.lose(int(argument))
        elif word == "off":
            virtual.off = frozenset(name for bit, name in enumerate(ELECTRODES) if int(argument) >> bit & 1)
        elif word == "battery":
            virtual.battery_percent = 80 if argument == "1" else 1
        lines += [f"{NAMES[uuid]} {data.hex()}" for uuid, data in messages]
    return lines


@pytest.mark.parametrize("steps", SCRIPTS.values(), ids=SCRIPTS)
def test_the_reference_sends_what_the_virtual_recorder_sends(program, steps):
    assert sent_by_c(program, steps) == sent_by_python(steps)


def test_the_first_packets_are_those_worked_out_by_hand(program):
    lines = sent_by_c(program, ["connect 23", "write 0104fa0003", "wait 8", "write 0201"])
    # Samples 0 and 2 of the formula: -100000 and -150000, then -97526 and -148534.
    assert lines == [
        "control 010400",
        "clock 000000000000000000000000",
        "data 010300000000" + "8002" + "6079fe" + "10b6fd" + "0a83fe" + "cabbfd",
        "control 020100",
    ]


REQUESTS = st.sampled_from(["0104f40103", "0104fa0003", "0404f40107", "0404fa0007", "0205", "0306"])
STEPS = st.one_of(
    # Multiples of 4 ms, so that both rates sample the formula where it is defined.
    st.integers(0, 3000).map(lambda fours: f"wait {4 * fours}"),
    st.sampled_from(["connect 23", "connect 100", "connect 247", "disconnect"]),
    REQUESTS.map(lambda text: f"write {text}"),
    st.binary(max_size=6).map(lambda data: f"write {data.hex()}"),
    st.integers(1, 300).map(lambda n: f"lose {n}"),
    st.integers(0, 15).map(lambda mask: f"off {mask}"),
    st.sampled_from(["battery 0", "battery 1", "info"]),
)


@settings(max_examples=60)
@given(steps=st.lists(STEPS, min_size=5, max_size=25))
def test_they_agree_whatever_is_done(program, steps):
    assert sent_by_c(program, steps) == sent_by_python(steps)


def test_firmware_needs_nothing_but_three_string_functions(tmp_path):
    compiler, lister = shutil.which("cc") or shutil.which("gcc"), shutil.which("nm")
    if compiler is None or lister is None:
        pytest.skip("no C compiler")
    made = tmp_path / "open6l.o"
    command = [compiler, *FLAGS, "-ffreestanding", "-c", "-o", str(made), str(REFERENCE / "open6l.c")]
    subprocess.run(command, check=True, timeout=60)
    listed = subprocess.run([lister, "-u", str(made)], capture_output=True, text=True, check=True, timeout=60).stdout
    assert {line.split()[-1] for line in listed.splitlines() if line.split()} <= {"memcpy", "memset", "strlen"}


def test_header_and_driver_have_the_same_uuids():
    text = (REFERENCE / "open6l.h").read_text(encoding="utf-8")
    (body,) = [line.strip() for line in text.splitlines() if line.strip().startswith("{ 0xfb")]
    least_first = [part.strip() for part in body.strip("{ }").split(",")]
    least_first[least_first.index("(k)")] = "0x02"
    assert bytes(int(part, 16) for part in reversed(least_first)).hex() == DATA.replace("-", "")
