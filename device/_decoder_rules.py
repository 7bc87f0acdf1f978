"""The conformance kit's rules for decoders: good packets, nonsense, and a whole recording."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.device._findings import Findings
from lsemvae_edge.device._nonsense import kept_bytes
from lsemvae_edge.device.driver import GATT_HEADER_BYTES, Decoder, Description, Driver, Stream, Write
from lsemvae_edge.device.events import ELECTRODES, Battery, ClockMark, Contact, Damaged, Event, Frame, Reply
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.recorder import Message, VirtualRecorder
from lsemvae_edge.device.virtual.wire import Wire
from lsemvae_edge.errors import LsemvaeError

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MAX_KEPT_BYTES = 1 << 20
"""What a decoder may hold on to, however long it is fed."""
MAX_EVENTS = 4096
"""Events, or writes, that may come of one notification."""
SETTLE_S, MEASURED_S = 6.0, 2.0
"""A virtual recorder streams for so long; what arrives in the second part is counted."""

_STEP_TOLERANCE = 0.02
"""Single precision leaves a step of a 24-bit converter uncertain by so much of it."""


def golden(
    findings: Findings, driver: Driver, stream: Stream, packets: Sequence[Message], frames: Sequence[Frame]
) -> None:
    """Expect golden packets to decode to the frames stated, bit for bit, and none to be taken for damaged."""
    if not packets:
        findings.expect(not frames, "golden", "there are frames without packets")
        return
    events = _played(findings, driver, stream, packets)
    got = [event for event in events if isinstance(event, Frame)]
    damaged = [event for event in events if isinstance(event, Damaged)]
    findings.expect(not damaged, "golden", f"a golden packet was taken for damaged: {damaged[:1]}")
    if not frames:
        return
    findings.expect(len(got) == len(frames), "golden", f"{len(frames)} frames were expected, {len(got)} came")
    for at, (found, expected) in enumerate(zip(got, frames, strict=False)):
        for name in _differences(found, expected):
            findings.add("golden", f"frame {at} has {name} {getattr(found, name)}, not {getattr(expected, name)}")


def commands(findings: Findings, rule: str, writes: Sequence[Write], description: Description) -> None:
    """Expect writes to go to a characteristic, and to fit into one attribute write."""
    room = description.min_mtu - GATT_HEADER_BYTES
    findings.expect(len(writes) <= MAX_EVENTS, rule, f"makes {len(writes)} writes")
    for write in writes:
        findings.expect(bool(UUID.fullmatch(write.uuid)), rule, f"writes to {write.uuid!r}, no UUID in lower case")
        findings.expect(
            isinstance(write.data, bytes) and 0 < len(write.data) <= room,
            rule,
            f"writes {len(write.data)} bytes, where the smallest MTU it accepts holds 1 to {room}",
        )


def _played(
    findings: Findings, driver: Driver, stream: Stream, packets: Sequence[Message], decoder: Decoder | None = None
) -> list[Event]:
    decoder = driver.decoder(stream) if decoder is None else decoder
    events: list[Event] = []
    for uuid, data in packets:
        _ask(findings, driver, decoder)
        events += _fed(findings, driver, stream, decoder, uuid, data)
    return events


def _ask(findings: Findings, driver: Driver, decoder: Decoder) -> None:
    """Let time pass for a decoder that asks, once after what arrived and once by the clock."""
    for _ in range(2 if driver.description.poll_s is not None else 0):
        try:
            commands(findings, "due", decoder.due(), driver.description)
        except Exception as error:  # noqa: BLE001  # whatever it raises is the finding
            findings.add("due", f"raised {error!r}")


def _fed(
    findings: Findings, driver: Driver, stream: Stream, decoder: Decoder, uuid: str, data: bytes
) -> Sequence[Event]:
    try:
        events = decoder.feed(uuid, data)
    except Exception as error:  # noqa: BLE001  # whatever it raises is the finding
        findings.add("decoder", f"raised {error!r} at {len(data)} bytes: {data[:40].hex()}")
        return ()
    if not isinstance(events, Sequence) or len(events) > MAX_EVENTS:
        findings.add("decoder", f"returned no sequence of events, or an endless one: {type(events).__name__}")
        return ()
    sane: list[Event] = []
    for event in events:
        wrong = _wrong(event, stream)
        if wrong is None:
            sane.append(event)
        else:
            findings.add("events", wrong)
    return sane


def _wrong(event: Event, stream: Stream) -> str | None:
    """Say what an event states that cannot be."""
    try:
        return _wrong_value(event, stream)
    except (TypeError, AttributeError) as error:
        return f"{type(event).__name__} holds something of a wrong kind: {error}"


def _wrong_value(event: Event, stream: Stream) -> str | None:
    match event:
        case Frame():
            return _wrong_frame(event, stream)
        case ClockMark():
            fits = stream.index_modulus is None or 0 <= event.index < stream.index_modulus
            return None if fits and np.isfinite(event.device_time_s) else f"a clock mark is {event}"
        case Battery():
            return None if 0 <= event.percent <= 100 else f"a charge is {event.percent} %"
        case Contact():
            return None if event.off <= set(ELECTRODES) else f"electrodes are called {set(event.off)}"
        case Reply():
            named = event.error is None or (isinstance(event.error, str) and event.error)
            return None if isinstance(event.request, int) and named else f"a reply is {event}"
        case Damaged():
            return None if event.reason and event.n_bytes >= 0 else f"damage is told as {event}"
        case _:
            return f"{type(event).__name__} is no event"


def _wrong_frame(frame: Frame, stream: Stream) -> str | None:
    signal = frame.signal_mv
    if signal.dtype != np.float32 or signal.ndim != 2 or signal.shape[0] != len(stream.leads) or signal.shape[1] < 1:
        return f"a frame has {signal.dtype} of shape {signal.shape} for {len(stream.leads)} leads"
    if np.isinf(signal).any():
        return "a frame holds an infinite sample"
    if np.isnan(signal).any() and frame.off is None:
        return "a frame holds a sample that is no number, and does not say which electrode is off"
    if (frame.index is None) != (stream.index_modulus is None):
        return "frames carry an index without a modulus, or a modulus without index"
    if frame.index is not None and stream.index_modulus is not None and not 0 <= frame.index < stream.index_modulus:
        return f"an index is {frame.index}"
    if frame.device_time_s is not None and not 0 <= frame.device_time_s <= (stream.clock_modulus_s or -1.0):
        return f"a device time is {frame.device_time_s} s, counted modulo {stream.clock_modulus_s}"
    if not (frame.off or frozenset()) <= set(ELECTRODES) or not frame.saturated <= set(stream.leads):
        return f"electrodes off are {frame.off}, leads saturated {frame.saturated}"
    if frame.recording is not None and not 0 <= frame.recording <= 255:
        return f"a recording is numbered {frame.recording}"
    return None


def hostile(findings: Findings, driver: Driver, stream: Stream, nonsense: Sequence[Message]) -> Decoder | None:
    """Expect nonsense neither to raise nor to accumulate; return the decoder that was fed with it."""
    decoder: Decoder = driver.decoder(stream)
    for at, (uuid, data) in enumerate(nonsense):
        if at % 16 == 0:
            _ask(findings, driver, decoder)
        _fed(findings, driver, stream, decoder, uuid, data)
    kept = kept_bytes(decoder)
    findings.expect(
        kept <= MAX_KEPT_BYTES, "memory", f"a decoder held {kept} bytes after {len(nonsense)} notifications"
    )
    return decoder


def independence(
    findings: Findings, driver: Driver, stream: Stream, packets: Sequence[Message], nonsense: Sequence[Message]
) -> None:
    """Expect what one decoder is fed not to show in another."""
    rule = "independence"
    alone = _played(findings, driver, stream, packets)
    one, other = driver.decoder(stream), driver.decoder(stream)
    findings.expect(one is not other, rule, "the same decoder was made twice")
    beside: list[Event] = []
    for at, packet in enumerate(packets):
        for uuid, data in nonsense[at :: max(len(packets), 1)]:
            _fed(findings, driver, stream, other, uuid, data)
        beside += _played(findings, driver, stream, [packet], one)
    same = len(alone) == len(beside) and all(_is_same(a, b) for a, b in zip(alone, beside, strict=True))
    findings.expect(same, rule, "what one decoder is fed shows in another")


def table(findings: Findings, driver: Driver, stream: Stream, recorder: VirtualRecorder) -> None:
    """Expect the recorder to have the characteristics that the driver uses."""
    rows = {row.uuid: row.properties for service in recorder.services for row in service.characteristics}
    for uuid in driver.description.notifies:
        findings.expect(
            bool(rows.get(uuid, frozenset()) & {"notify", "indicate"}), "recorder", f"does not notify of {uuid}"
        )
    try:
        writes = [*driver.start(stream, 1), *driver.stop(stream)]
    except LsemvaeError:
        return
    for write in writes:
        wanted = "write" if write.response else "write-without-response"
        findings.expect(wanted in rows.get(write.uuid, frozenset()), "recorder", f"takes no {wanted} of {write.uuid}")


def streaming(
    findings: Findings,
    driver: Driver,
    recorder: VirtualRecorder,
    feed: Feed | None,
    mtu: int,
    fs_hz: float | None,
) -> None:
    """Expect as many samples as a recording has time for, and those that were played."""
    rule = "streaming"
    wire = Wire(recorder, driver, mtu, fs_hz)
    stream = wire.stream
    events: list[Event] = []
    counted: list[Frame] = []
    try:
        for arrival in wire.record(SETTLE_S + MEASURED_S):
            found = _fed(findings, driver, stream, wire.decoder, arrival.uuid, arrival.data)
            events += found
            if arrival.at_s > SETTLE_S:
                counted += [event for event in found if isinstance(event, Frame)]
    except LsemvaeError as error:
        findings.add(rule, f"was not checked: {error} {error.next_step}")
        return
    frames = [event for event in events if isinstance(event, Frame)]
    n, expected = sum(frame.signal_mv.shape[1] for frame in counted), MEASURED_S * stream.fs_hz
    slack = 2 * stream.frame_s * stream.fs_hz + 1
    findings.expect(abs(n - expected) <= slack, rule, f"{n} samples came in {MEASURED_S:g} s of {stream.fs_hz:g} Hz")
    findings.expect(
        not any(isinstance(event, Damaged) for event in events), rule, "what the recorder sent was taken for damaged"
    )
    awaited = {write.request for write in driver.start(stream, 1)} - {None}
    answered = {event.request for event in events if isinstance(event, Reply) and event.error is None}
    findings.expect(awaited <= answered, rule, "a start that awaits an answer got none")
    if frames:
        signal = np.concatenate([frame.signal_mv for frame in frames], axis=1)
        _check_signal(findings, stream, frames, signal, feed)


def _check_signal(
    findings: Findings, stream: Stream, frames: Sequence[Frame], signal: NDArray[np.float32], feed: Feed | None
) -> None:
    """Without loss on the way every sample is a step of the converter, and the next one that was played."""
    rule = "streaming"
    exact = signal.astype(np.float64) / stream.mv_per_lsb
    steps = np.rint(exact)
    if not np.isfinite(signal).all() or np.abs(exact - steps).max() > _STEP_TOLERANCE:
        findings.add(rule, f"samples are no multiples of the step of {stream.mv_per_lsb:g} mV")
        return
    if stream.index_modulus is not None:
        sizes = np.cumsum([0, *(frame.signal_mv.shape[1] for frame in frames[:-1])])
        first = frames[0].index or 0
        placed = [((frame.index or 0) - first) % stream.index_modulus for frame in frames]
        findings.expect(placed == sizes.tolist(), rule, "the index has gaps or repetitions where nothing was lost")
    if feed is not None:
        findings.expect(_is_played(feed, stream.leads, steps), rule, "samples are not those that were played")


def recovery(
    findings: Findings, driver: Driver, recorder: VirtualRecorder, decoder: Decoder, mtu: int, fs_hz: float | None
) -> None:
    """Expect a decoder that was fed nonsense to read a recorder that is well."""
    recorder.disconnected()
    wire = Wire(recorder, driver, mtu, fs_hz)
    wire.decoder = decoder
    try:
        recovered = any(
            isinstance(event, Frame)
            for arrival in wire.record(SETTLE_S)
            for event in _fed(findings, driver, wire.stream, decoder, arrival.uuid, arrival.data)
        )
    except LsemvaeError:
        return
    findings.expect(recovered, "recovery", f"after nonsense no frame came in {SETTLE_S:g} s of good packets")
    recorder.disconnected()


def _is_played(feed: Feed, leads: Sequence[str], steps: NDArray[np.float64]) -> bool:
    """Whether the samples are a stretch of what was played; leads without a name in common go by their order."""
    if set(leads) <= set(feed.leads):
        rows = [feed.leads.index(lead) for lead in leads]
    elif len(leads) == len(feed.leads):
        rows = list(range(len(leads)))
    else:
        return False
    n = steps.shape[1]
    played = feed.steps(0, feed.n_samples)[rows]
    starts = np.flatnonzero((played == steps[:, :1]).all(axis=0))
    return any(np.array_equal(feed.steps(int(start), n)[rows], steps) for start in starts)


def _is_same(one: Event, other: Event) -> bool:
    if isinstance(one, Frame) and isinstance(other, Frame):
        return not _differences(one, other)
    return one == other


def _differences(one: Frame, other: Frame) -> list[str]:
    """Return the fields in which two frames differ, bit for bit."""
    different = [name for name in Frame.__slots__ if name != "signal_mv" and getattr(one, name) != getattr(other, name)]
    same = one.signal_mv.dtype == other.signal_mv.dtype and np.array_equal(
        one.signal_mv, other.signal_mv, equal_nan=True
    )
    return different if same else ["signal_mv", *different]
