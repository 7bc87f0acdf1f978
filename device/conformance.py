"""What a driver has to keep to, checked without a recorder: ``docs/drivers.md`` says how to run it.

`check` returns what is wrong as a list to print, empty if nothing is. It needs no radio and takes seconds.
"""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import get_args

import numpy as np

from lsemvae_edge.device import _decoder_rules as decoding
from lsemvae_edge.device._findings import Finding, Findings
from lsemvae_edge.device._nonsense import LONG, nonsense
from lsemvae_edge.device.driver import Description, Driver, Stream, Write
from lsemvae_edge.device.errors import NotOfferedError
from lsemvae_edge.device.events import Frame
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.recorder import Message, VirtualRecorder
from lsemvae_edge.device.virtual.wire import MTU, Wire
from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.record import Amplitude

__all__ = ["HOSTILE", "Finding", "check"]

HOSTILE = 100_000
"""Notifications of every kind of nonsense that a decoder has to survive."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FS_RANGE_HZ = (1.0, 100_000.0)


def check(
    driver: Driver,
    recorder: VirtualRecorder | None = None,
    packets: Sequence[Message] = (),
    frames: Sequence[Frame] = (),
    *,
    reads: Mapping[str, bytes] | None = None,
    feed: Feed | None = None,
    fs_hz: float | None = None,
    mtu: int = MTU,
    hostile: int = HOSTILE,
    seed: int = 0,
) -> list[Finding]:
    """Hold a driver against the contract.

    Parameters
    ----------
    driver : Driver
    recorder : VirtualRecorder, optional
        One that the driver reads; it is connected, and streams for some seconds of its own time.
    packets : sequence of (str, bytes)
        Golden notifications, in order: characteristic and content.
    frames : sequence of Frame
        What they must decode to, bit for bit; frames only, in order.
    reads : mapping of str to bytes, optional
        What the recorder's characteristics read as; by default what ``recorder`` answers.
    feed : Feed, optional
        What the recorder plays; by default its attribute ``feed``, if it has one.
    fs_hz : float, optional
        Rate to ask for.
    mtu : int
    hostile : int
        How many notifications of nonsense to feed.
    seed : int
        Of the nonsense.

    Returns
    -------
    list of Finding
        Empty if the driver keeps to the contract as far as it could be checked.
    """
    findings = Findings()
    _check_description(findings, driver.description)
    _check_refusals(findings, driver)
    answers = dict(_answers(driver, recorder, mtu) if reads is None else reads)
    try:
        stream = driver.stream(answers, mtu, fs_hz)
    except LsemvaeError as error:
        findings.add("stream", f"nothing more was checked, for want of a recorder's answers: {error}")
        return findings.listed
    except Exception as error:  # noqa: BLE001  # whatever it raises is the finding
        findings.add("stream", f"raised {error!r} at a recorder's own answers")
        return findings.listed
    wrong = Findings()
    _check_stream(wrong, driver.description, stream)
    for finding in wrong.listed:
        findings.add(finding.rule, finding.what)
    if wrong.listed:
        findings.add("stream", "nothing more was checked, because nothing holds with such a stream")
        return findings.listed
    _check_writes(findings, driver, stream)
    decoding.golden(findings, driver, stream, packets, frames)
    bad = list(nonsense(driver, [*packets, *_recorded(driver, recorder, mtu, fs_hz)], hostile, seed))
    decoder = decoding.hostile(findings, driver, stream, bad)
    decoding.independence(findings, driver, stream, packets, bad[:1000])
    if recorder is not None:
        decoding.table(findings, driver, stream, recorder)
        played = getattr(recorder, "feed", None) if feed is None else feed
        decoding.streaming(findings, driver, recorder, played, mtu, fs_hz)
        if decoder is not None:
            decoding.recovery(findings, driver, recorder, decoder, mtu, fs_hz)
    return findings.listed


def _check_description(findings: Findings, description: Description) -> None:
    rule = "description"
    findings.expect(bool(_NAME.fullmatch(description.name)), rule, f"the name {description.name!r} is no-kebab-case")
    findings.expect(bool(description.title.strip()), rule, "it has no title")
    for kind in ("services", "reads", "notifies"):
        uuids = getattr(description, kind)
        wrong = [uuid for uuid in uuids if not decoding.UUID.fullmatch(uuid)]
        findings.expect(not wrong, rule, f"{kind} are not 128-bit UUIDs in lower case: {', '.join(wrong)}")
        findings.expect(len(set(uuids)) == len(uuids), rule, f"one of the {kind} stands there twice")
    findings.expect(bool(description.notifies), rule, "it subscribes to nothing")
    findings.expect(
        bool(description.services or description.local_names), rule, "discovery has neither service nor name to go by"
    )
    for pattern in description.local_names:
        try:
            matches_all = re.fullmatch(pattern, "") is not None
        except re.error as error:
            findings.add(rule, f"the name pattern {pattern!r} is none: {error}")
        else:
            findings.expect(not matches_all, rule, f"the name pattern {pattern!r} fits a recorder without name")
    findings.expect(
        bool(description.leads) and len(set(description.leads)) == len(description.leads),
        rule,
        f"leads are {description.leads}",
    )
    rates = description.fs_hz
    sane = bool(rates) and all(_FS_RANGE_HZ[0] <= rate <= _FS_RANGE_HZ[1] for rate in rates)
    findings.expect(sane and len(set(rates)) == len(rates), rule, f"rates are {rates}")
    findings.expect(description.min_mtu >= 23, rule, f"the smallest MTU there is is 23, not {description.min_mtu}")
    findings.expect(
        description.poll_s is None or description.poll_s > 0, rule, f"it polls every {description.poll_s} s"
    )


def _check_refusals(findings: Findings, driver: Driver) -> None:
    """Answers that no recorder gives, and a rate that none has: refused with a typed error, or understood."""
    reads = driver.description.reads
    noise = random.Random(1).randbytes(LONG)  # noqa: S311  # no secret depends on it
    contents = [b"", b"\0", b"\xff", bytes(LONG), b"\xff" * LONG, noise]
    for answers in [{}, *({uuid: content for uuid in reads} for content in contents)]:
        for mtu, fs_hz in ((driver.description.min_mtu, None), (MTU, None), (MTU, 0.5), (MTU, float("nan"))):
            try:
                stream = driver.stream(answers, mtu, fs_hz)
            except LsemvaeError:
                continue
            except Exception as error:  # noqa: BLE001  # whatever it raises is the finding
                findings.add("stream", f"raised {error!r} at strange answers instead of a typed error")
            else:
                findings.expect(fs_hz is None, "stream", f"a rate of {fs_hz} Hz was not refused")
                _check_stream(findings, driver.description, stream)


def _check_stream(findings: Findings, description: Description, stream: Stream) -> None:
    rule = "stream"
    findings.expect(_FS_RANGE_HZ[0] <= stream.fs_hz <= _FS_RANGE_HZ[1], rule, f"its rate is {stream.fs_hz} Hz")
    findings.expect(
        bool(stream.leads) and len(set(stream.leads)) == len(stream.leads), rule, f"its leads are {stream.leads}"
    )
    findings.expect(0 < stream.mv_per_lsb < 1, rule, f"a step is {stream.mv_per_lsb} mV")
    findings.expect(0 < stream.frame_s < 10, rule, f"a frame comes every {stream.frame_s} s")
    findings.expect(stream.amplitude in get_args(Amplitude), rule, f"its amplitude is {stream.amplitude!r}")
    findings.expect(
        description.indexed == (stream.index_modulus is not None), rule, "it is indexed, or has a modulus, but not both"
    )
    for modulus in (stream.index_modulus, stream.clock_modulus_s):
        findings.expect(modulus is None or modulus > 0, rule, f"a modulus is {modulus}")
    try:
        same = json.loads(json.dumps(stream.settings)) == dict(stream.settings)
    except (TypeError, ValueError):
        same = False
    findings.expect(same, rule, "its settings are no plain JSON values")


def _check_writes(findings: Findings, driver: Driver, stream: Stream) -> None:
    description = driver.description
    asked: list[tuple[str, bool, Callable[[], Sequence[Write]]]] = [
        *(("start", True, partial(driver.start, stream, number)) for number in (0, 1, 254, 255)),
        ("stop", True, partial(driver.stop, stream)),
        ("identify", description.can_identify, driver.identify),
        ("test", description.can_test, partial(driver.test, stream, 1)),
    ]
    for command, offered, make in asked:
        try:
            decoding.commands(findings, command, make(), description)
        except NotOfferedError:
            findings.expect(not offered, command, "is said to be offered, and is not")
        except LsemvaeError as error:
            findings.add(command, f"was not checked: {error} {error.next_step}")
        except Exception as error:  # noqa: BLE001  # whatever it raises is the finding
            findings.add(command, f"raised {error!r}")
        else:
            findings.expect(offered, command, "is not said to be offered, and is")
    if description.can_test:
        _check_judgement(findings, driver, stream)


def _check_judgement(findings: Findings, driver: Driver, stream: Stream) -> None:
    n = int(2 * stream.fs_hz)
    for name, value in (("silence", 0.0), ("nothing", np.nan)):
        try:
            complaint = driver.judge_test(stream, np.full((len(stream.leads), n), value, np.float32))
        except NotOfferedError:
            continue
        except Exception as error:  # noqa: BLE001  # whatever it raises is the finding
            findings.add("judge_test", f"raised {error!r}")
        else:
            findings.expect(isinstance(complaint, str), "judge_test", f"takes {name} for the test signal")


def _answers(driver: Driver, recorder: VirtualRecorder | None, mtu: int) -> dict[str, bytes]:
    if recorder is None:
        return {}
    recorder.connected(mtu)
    has = {row.uuid for service in recorder.services for row in service.characteristics}
    return {uuid: recorder.read(uuid) for uuid in driver.description.reads if uuid in has}


def _recorded(driver: Driver, recorder: VirtualRecorder | None, mtu: int, fs_hz: float | None) -> list[Message]:
    """Return a second's good packets, to make bad ones of."""
    if recorder is None:
        return []
    try:
        wire = Wire(recorder, driver, mtu, fs_hz)
        messages = [(arrival.uuid, arrival.data) for arrival in wire.record(1.0)]
    except LsemvaeError:
        return []
    recorder.disconnected()
    return messages[:200]
