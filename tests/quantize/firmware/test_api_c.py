"""What callers of the C library rely on: order of calls, refusals, zeroed results, the next person, interrupts."""

import ctypes
from zlib import crc32

import numpy as np
import pytest

from lsemvae_edge import __version__
from lsemvae_edge.quantize.firmware import generate, image
from lsemvae_edge.quantize.firmware.host import Library, Recorder, RefusedError
from lsemvae_edge.synthetic.heart import Heart, simulate

OK, BAD_ARGUMENT, BAD_RATE, BAD_IMAGE, NOT_BEGUN = range(5)
NOT_READY, UNUSABLE, RAN = range(3)
INCONCLUSIVE, QUALITY, PACED = 0, 1, 5
SATURATED = 2
HEADER_BYTES = 16
"""Before what the CRC covers: magic, format, bytes, crc."""


@pytest.fixture(scope="module")
def library(firmware):
    return firmware.library("small")


@pytest.fixture(scope="module")
def blob(firmware) -> bytes:
    return image.blob(firmware.firmware("small").image)


@pytest.fixture(scope="module")
def heart() -> np.ndarray:
    """Leads I and II (2, 6000) in microvolts at 500 Hz."""
    return np.rint(1000 * simulate(Heart(), 12.0, 500.0, 3, ("I", "II")).signal_mv).astype(np.int32)


def recorded(library: Library, samples: np.ndarray, **more) -> Recorder:
    recorder = Recorder(library, 500, **more)
    recorder.push(*samples)
    return recorder


def refusal(library: Library, *told, **more) -> int:
    """What lsemvae_init answers."""
    try:
        Recorder(library, *told, **more)
    except RefusedError as error:
        return error.status
    return OK


def sealed(made: np.ndarray) -> bytes:
    """An image with the CRC of what it holds."""
    content = bytearray(made.tobytes())
    content[12:16] = crc32(content[HEADER_BYTES:]).to_bytes(4, "little")
    return bytes(content)


# ---- init ----


@pytest.mark.parametrize("rate_hz", image.DEFAULT_RATES_HZ)
@pytest.mark.parametrize("mains_hz", [0, 50, 60])
def test_init_takes_every_rate_of_the_image(library, blob, rate_hz, mains_hz):
    assert refusal(library, rate_hz, 1, mains_hz) == OK
    assert refusal(library, rate_hz, 2**32 - 1, mains_hz, blob=blob) == OK


def test_init_refuses_what_it_cannot_use(library):
    config = (ctypes.c_uint64 * 4)()
    context = (ctypes.c_uint64 * 8192)()
    assert library.c.lsemvae_init(None, config) == BAD_ARGUMENT
    assert library.c.lsemvae_init(context, None) == BAD_ARGUMENT
    assert refusal(library, 500, 0) == BAD_ARGUMENT
    assert refusal(library, 500, 1000, 55) == BAD_ARGUMENT
    for rate_hz in (0, 1, 124, 126, 501, 2**32 - 1):
        assert refusal(library, rate_hz) == BAD_RATE


def test_init_refuses_an_image_off_a_words_boundary(library, blob):
    room = ctypes.create_string_buffer(len(blob) + 8)
    begin = -ctypes.addressof(room) % 4
    for shift, answer in ((0, OK), (1, BAD_ARGUMENT), (2, BAD_ARGUMENT), (3, BAD_ARGUMENT)):
        ctypes.memmove(ctypes.addressof(room) + begin + shift, blob, len(blob))
        config = (ctypes.c_uint32 * 6)(500, 1000, 50, 0)
        ctypes.c_uint64.from_buffer(config, 16).value = ctypes.addressof(room) + begin + shift
        assert library.c.lsemvae_init((ctypes.c_uint64 * 8192)(), config) == answer


@pytest.mark.parametrize("word", ["magic", "format", "bytes", "crc", "layout"])
def test_init_refuses_another_header(library, firmware, word):
    made = firmware.firmware("small").image.copy()
    made[word] += 1
    assert refusal(library, 500, blob=made.tobytes()) == BAD_IMAGE
    if word != "crc":
        assert refusal(library, 500, blob=sealed(made)) == BAD_IMAGE


def test_init_refuses_every_flipped_bit(library, blob):
    for at in [*np.random.default_rng(0).integers(0, 8 * len(blob), 150).tolist(), 0, 8 * len(blob) - 1]:
        broken = bytearray(blob)
        broken[at // 8] ^= 1 << at % 8
        assert refusal(library, 500, blob=bytes(broken)) == BAD_IMAGE


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("rates", 0, "up"), 0), (("rates", 0, "down"), 0), (("rates", 1, "down"), 2**21), (("rates", 0, "reach"), 0),
        (("rates", 0, "taps"), 17), (("rates", 3, "reach"), 40), (("rates", 3, "up"), 2), (("rates", 2, "at"), 2**31),
        (("rates", 3, "at"), 249), (("rates", 0, "rate_hz"), 0), (("rates", 0, "rate_hz"), 40_000),
        (("resample_taps", slice(0, 16)), 2**30), (("band_taps", slice(0, 119)), -(2**30)), (("max_bridge_ms",), 1001),
        (("tasks", 0, "output"), 4), (("tasks", 1, "output"), -1), (("tasks", 1, "asked_task"), 2),
        (("tasks", 1, "asked_task"), -2), (("guards", 0, "output"), 4), (("guards", 1, "output"), -1),
        (("group", 5), 2), (("group", 0), -1), (("model_id", 63), 65),
        (("encoders", 5, "shift", 0), 0), (("encoders", 0, "shift", 183), -47), (("encoders", 0, "shift", 7), 127),
    ],
)  # fmt: skip
def test_init_refuses_an_image_that_would_lead_out_of_it(library, firmware, where, value):
    """Even one whose CRC is right."""
    made = firmware.firmware("small").image.copy()
    assert refusal(library, 500, blob=sealed(made)) == OK
    place = made
    for step in where[:-1]:
        place = place[step]
    assert np.any(place[where[-1]] != value)
    place[where[-1]] = value
    assert refusal(library, 500, blob=sealed(made)) == BAD_IMAGE


def test_an_image_of_the_same_layout_takes_the_linked_ones_place(library, firmware, heart):
    made = firmware.firmware("small").image.copy()
    made["head_bias_q24"] += 1 << 24
    linked, sent = recorded(library, heart).run(), recorded(library, heart, blob=sealed(made)).run()
    assert (linked.state, sent.state) == (RAN, RAN)
    assert [b - a for a, b in zip(linked.logits, sent.logits, strict=True)] == [65536] * 4


# ---- order of calls ----


@pytest.mark.parametrize("content", [0, 0xFF, 0x4D])
def test_a_context_that_never_began_is_refused(library, content):
    c = library.c
    context = (ctypes.c_uint8 * (1 << 16))(*[content] * (1 << 16))
    arena = (ctypes.c_uint64 * 8192)()
    result = library.result()
    samples = (ctypes.c_int32 * 10)()
    assert c.lsemvae_push(context, samples, samples, ctypes.c_size_t(10), 0) == NOT_BEGUN
    assert c.lsemvae_push(context, samples, samples, ctypes.c_size_t(10), 1) == NOT_BEGUN
    assert c.lsemvae_push_gap(context, ctypes.c_size_t(3)) == NOT_BEGUN
    assert c.lsemvae_set_person(context, samples) == NOT_BEGUN
    assert c.lsemvae_run(context, arena, ctypes.c_size_t(ctypes.sizeof(arena)), ctypes.byref(result)) == NOT_BEGUN
    assert not any(bytes(result))
    assert not c.lsemvae_ready(context)
    for told in (c.lsemvae_spec_sha256, c.lsemvae_model_id):
        told.restype = ctypes.c_void_p
        assert told(context) is None
    c.lsemvae_reset(context, None, ctypes.c_size_t(0), None)
    assert c.lsemvae_push_gap(context, ctypes.c_size_t(3)) == NOT_BEGUN


def test_after_a_refused_init_the_context_has_not_begun(library, heart):
    recorder = recorded(library, heart)
    config = (ctypes.c_uint32 * 6)(501, 1000, 50, 0)
    assert library.c.lsemvae_init(recorder._context, config) == BAD_RATE
    assert not recorder.ready
    with pytest.raises(RefusedError, match="not begun"):
        recorder.push(*heart)
    assert not any(bytes(recorder._context))


def test_null_pointers_are_refused(library, heart):
    c, recorder = library.c, Recorder(library, 500)
    samples, n = (ctypes.c_int32 * 10)(), ctypes.c_size_t(10)
    result, arena = library.result(), recorder._arena
    whole = ctypes.c_size_t(ctypes.sizeof(arena))
    before = bytes(recorder._context)
    assert c.lsemvae_push(None, samples, samples, n, 0) == BAD_ARGUMENT
    assert c.lsemvae_push(recorder._context, None, samples, n, 0) == BAD_ARGUMENT
    assert c.lsemvae_push(recorder._context, samples, None, n, 0) == BAD_ARGUMENT
    assert c.lsemvae_push(recorder._context, None, None, ctypes.c_size_t(0), 0) == OK
    assert c.lsemvae_push(recorder._context, None, None, n, 7) == OK
    assert c.lsemvae_push_gap(None, n) == BAD_ARGUMENT
    assert c.lsemvae_set_person(None, samples) == BAD_ARGUMENT
    assert c.lsemvae_set_person(recorder._context, None) == BAD_ARGUMENT
    assert c.lsemvae_run(recorder._context, arena, whole, None) == BAD_ARGUMENT
    assert c.lsemvae_run(None, arena, whole, ctypes.byref(result)) == BAD_ARGUMENT
    assert not c.lsemvae_ready(None)
    c.lsemvae_reset(None, None, ctypes.c_size_t(0), None)
    assert bytes(recorder._context) == before


@pytest.mark.parametrize(("shift", "less"), [(0, 1), (1, 0), (2, 0), (4, 0), (0, 1 << 13)])
def test_run_refuses_an_arena_too_small_or_off_its_boundary(library, heart, shift, less):
    recorder = recorded(library, heart)
    size = library.sizes["ARENA_BYTES"]
    arena = (ctypes.c_uint64 * (size // 8 + 2))()
    result = recorder.run()
    answer = library.c.lsemvae_run(
        recorder._context, ctypes.byref(arena, shift), ctypes.c_size_t(size - less), ctypes.byref(result)
    )
    assert answer == BAD_ARGUMENT
    assert not any(bytes(result))
    assert not any(bytes(arena))
    assert library.c.lsemvae_run(recorder._context, None, ctypes.c_size_t(size), ctypes.byref(result)) == BAD_ARGUMENT


# ---- run ----


def test_before_a_whole_window_the_result_is_all_zero(library, heart):
    recorder = Recorder(library, 500)
    # Sample k of the model's rate needs raw sample 4 k + 32; the first is 8, the window's last 236 + 927 later.
    needed = 4 * (8 + 236 + 927) + 32 + 1
    recorder.push(*heart[:, : needed - 1])
    assert not recorder.ready
    result = recorder.run()
    assert result.state == NOT_READY
    assert not any(bytes(result))
    recorder.push(*heart[:, needed - 1 : needed])
    assert recorder.ready
    assert recorder.run().state == RAN


def test_a_heart_is_answered_and_nothing_but_the_arena_is_touched(library, heart):
    recorder = recorded(library, heart)
    size = library.sizes["ARENA_BYTES"]
    arena = (ctypes.c_uint8 * (size + 64))(*[0xA5] * (size + 64))
    at = -ctypes.addressof(arena) % 8
    result = library.result()
    before = bytes(recorder._context)
    answer = library.c.lsemvae_run(
        recorder._context, ctypes.byref(arena, at), ctypes.c_size_t(size), ctypes.byref(result)
    )
    assert answer == OK
    assert bytes(recorder._context) == before
    assert bytes(arena)[at + size :] == b"\xa5" * (64 - at)
    assert (result.state, result.advice) == (RAN, 0)
    assert result.beats_averaged >= 3
    assert result.first_sample == (5999 - 32) // 4 - 118 - 927
    # What lay in the arena before is of no account.
    assert bytes(recorder.run()) == bytes(result)


def test_a_refused_window_leaves_every_task_inconclusive_for_its_quality(library):
    flat = np.full((2, 6000), 1234, dtype=np.int32)
    result = recorded(library, flat).run()
    assert result.state == UNUSABLE
    assert result.advice != 0
    assert result.outcome == INCONCLUSIVE
    assert [(task.outcome, task.reason) for task in result.tasks] == [(INCONCLUSIVE, QUALITY)] * 2
    assert not any(result.logits)
    assert result.beats_averaged == 0


def test_a_clipped_window_is_refused_as_saturated(library, heart):
    """For what the band filter's output cannot hold, though the front end could."""
    struck = heart.copy()
    struck[1, 3000:3040] += 60_000
    result = recorded(library, struck).run()
    assert result.state == UNUSABLE
    assert result.lead_flags[1] & SATURATED
    assert not result.lead_flags[0] & SATURATED


def test_what_is_told_of_the_person_reaches_the_decision(library, heart):
    recorder = recorded(library, heart)
    recorder.person(age_years=60)
    plain = recorder.run()
    recorder.person(age_years=60, pacemaker=True)
    paced = recorder.run()
    assert plain.tasks[0].reason != PACED
    assert (paced.tasks[0].outcome, paced.tasks[0].reason) == (INCONCLUSIVE, PACED)
    assert list(paced.logits) == list(plain.logits)


def test_contexts_side_by_side_do_not_know_of_each_other(library, heart):
    alone = bytes(recorded(library, heart).run())
    one, other = Recorder(library, 500), Recorder(library, 125)
    for k in range(0, heart.shape[1], 100):
        one.push(*heart[:, k : k + 100])
        other.push(*(7 * heart[:, k : k + 25]))
        other.run()
    assert bytes(one.run()) == alone


# ---- the next person ----


def test_reset_leaves_nothing_of_the_person_and_keeps_the_configuration(library, heart):
    recorder, fresh = recorded(library, heart, mains_hz=60), Recorder(library, 500, mains_hz=60)
    recorder.person(age_years=44, pacemaker=True, electrodes_confirmed=True)
    recorder.gap(3)
    result = recorder.run()
    assert any(bytes(recorder._arena))
    size = ctypes.c_size_t(ctypes.sizeof(recorder._arena))
    library.c.lsemvae_reset(recorder._context, recorder._arena, size, ctypes.byref(result))
    assert not any(bytes(result))
    assert not any(bytes(recorder._arena))
    assert bytes(recorder._context) == bytes(fresh._context)
    assert not recorder.ready
    recorder.push(*heart)
    fresh.push(*heart)
    assert bytes(recorder.run()) == bytes(fresh.run())


def test_reset_takes_what_there_is(library, heart):
    recorder = recorded(library, heart)
    library.c.lsemvae_reset(recorder._context, None, ctypes.c_size_t(99), None)
    assert bytes(recorder._context) == bytes(Recorder(library, 500)._context)
    arena = (ctypes.c_uint8 * 16)(*[9] * 16)
    library.c.lsemvae_reset(None, arena, ctypes.c_size_t(10), None)
    assert bytes(arena) == b"\0" * 10 + b"\x09" * 6


# ---- interrupts ----


@pytest.fixture(scope="module")
def interrupted(firmware, tmp_path_factory):
    """A library whose lock and unlock call back."""
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "hooks.h").write_text(
        "extern void (*lsemvae_test_lock)(void), (*lsemvae_test_unlock)(void);\n"
        "__attribute__((weak)) void (*lsemvae_test_lock)(void), (*lsemvae_test_unlock)(void);\n"
        "#define LSEMVAE_LOCK() do { if (lsemvae_test_lock) lsemvae_test_lock(); } while (0)\n"
        "#define LSEMVAE_UNLOCK() do { if (lsemvae_test_unlock) lsemvae_test_unlock(); } while (0)\n"
    )
    return Library(firmware.folder("small"), folder, flags=("-include", str(folder / "hooks.h")))


def test_samples_may_come_while_run_works(interrupted, heart):
    """An interrupt right after the copy, with so many samples that the ring holds another window."""
    quiet = bytes(recorded(interrupted, heart).run())
    recorder = recorded(interrupted, heart)
    calls = []
    kind = ctypes.CFUNCTYPE(None)

    def unlocked():
        calls.append("unlock")
        recorder.push(*(3 * heart[::-1]))
        recorder.gap(1000)

    hooks = {"lock": kind(lambda: calls.append("lock")), "unlock": kind(unlocked)}
    places = {name: ctypes.c_void_p.in_dll(interrupted.c, f"lsemvae_test_{name}") for name in hooks}
    try:
        for name, place in places.items():
            place.value = ctypes.cast(hooks[name], ctypes.c_void_p).value
        assert bytes(recorder.run()) == quiet
        assert calls == ["lock", "unlock"]
        assert not recorder.ready
    finally:
        for place in places.values():
            place.value = None


# ---- what this is ----


def test_the_library_tells_what_it_is(library, firmware):
    c, made = library.c, firmware.firmware("small")
    c.lsemvae_version.restype = c.lsemvae_model_id.restype = ctypes.c_char_p
    c.lsemvae_spec_sha256.restype = ctypes.POINTER(ctypes.c_uint8)
    c.lsemvae_rates.restype = ctypes.c_size_t
    recorder = Recorder(library, 250)
    assert c.lsemvae_version().decode() == __version__
    assert c.lsemvae_model_id(recorder._context).decode() == made.spec.id
    assert bytes(c.lsemvae_spec_sha256(recorder._context)[:32]) == generate.spec_sha256(made.spec)
    rates = ctypes.POINTER(ctypes.c_uint32)()
    n = c.lsemvae_rates(ctypes.byref(rates))
    assert tuple(rates[:n]) == image.DEFAULT_RATES_HZ
    assert c.lsemvae_rates(None) == n


def test_the_context_is_as_large_as_its_macro_says(library, firmware, numbers_of_c):
    size, told, align = numbers_of_c(
        firmware.folder("small"), "sizeof(lsemvae_context)", "LSEMVAE_CONTEXT_BYTES", "LSEMVAE_ARENA_ALIGN"
    )
    assert size == told < 1 << 16
    assert align == 8
    recorder = Recorder(library, 500)
    recorder.push(*np.random.default_rng(0).integers(-(2**31), 2**31, (2, 8000)))
    assert not any(bytes(recorder._context)[size:])
