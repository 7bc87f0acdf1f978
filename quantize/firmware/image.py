"""All that the C code reads, as one block of bytes: linked in as a constant, or sent over the air.

The block is one C struct without pointers. Its definition is a NumPy record type, from which the struct's text, its
initializer and the relocatable blob are made, so that the three cannot differ.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import preprocess
from lsemvae_edge.errors import BundleError, UsageError
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.limits import QualityLimits
from lsemvae_edge.quantize.firmware.integers import IntegerModel
from lsemvae_edge.spec import ModelSpec

MAGIC = 0x4D45534C
"""``LSEM`` in a little-endian file."""
FORMAT = 1
UNBOUNDED = (1 << 31) - 1
DEFAULT_RATES_HZ = (125, 250, 300, 500)
QRS_UNITS_PER_MV = 2 * 1000 * 16
"""``lsemvae_qrs_size`` counts sixteenths of half a microvolt."""
MAX_RESAMPLE_TAPS = 4096
"""Of one rate, over all phases: 16 KB of flash."""

_REASON_OF_GUARD = {"not_ecg": 2, "electrode_swap": 6}
"""Guards by their place among the C header's ``lsemvae_reason``."""
_BOUNDED = (
    "alike", "doubt", "quiet", "contrast", "qrs_s", "residual", "after", "after_snr", "coherence", "roundness",
    "rank_one", "alignment", "line", "fast", "slow", "peakedness", "asymmetry",
)  # fmt: skip
_SINGLE = (
    "min_lead_size", "max_unexplained", "max_jump", "max_hiss", "max_wander", "notable_wander", "max_mains",
    "notable_mains", "max_rhythm_doubt", "min_beat_correlation",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Rate:
    """A recorder's sampling rate and the resampler's taps for it (up, taps), 30 fractional bits."""

    rate_hz: int
    up: int
    down: int
    taps: NDArray[np.int32]


def rates(spec: ModelSpec, rates_hz: Sequence[int]) -> tuple[Rate, ...]:
    """Return the resampler's coefficients for some sampling rates.

    Raises
    ------
    UsageError
        If a rate is below the contract's, or needs more coefficients than `MAX_RESAMPLE_TAPS`.
    """
    made = []
    for rate_hz in sorted(set(rates_hz)):
        least = spec.preprocess.resampler.min_input_hz
        if rate_hz < least:
            raise UsageError(f"{rate_hz} Hz is below {least:g} Hz.", f"Sample at {least:g} Hz or more.")
        up, down, phases = preprocess.polyphase_taps(float(rate_hz), spec.preprocess.resampler)
        if phases.size > MAX_RESAMPLE_TAPS:
            raise UsageError(
                f"{rate_hz} Hz needs {phases.size} coefficients.",
                f"Choose a rate whose ratio to {spec.preprocess.fs_hz:g} Hz is simpler, such as 250, 300 or 500 Hz.",
            )
        made.append(Rate(rate_hz, up, down, np.stack([_sums_to(phase, 1.0, 30) for phase in phases])))
    return tuple(made)


def layer_table(model: IntegerModel) -> list[dict[str, int]]:
    """Return shape and offsets of each weighted layer; every encoder has the same."""
    table, weight_at, channel_at = [], 0, 0
    lengths = model.lengths()
    encoder = model.encoders[0]
    samples = [*pairwise(lengths), (1, 1), (1, 1)]
    for layer, (before, after) in zip(encoder.layers, samples, strict=True):
        n_out, kernel, n_in = layer.weights.shape
        table.append(
            {
                "in_channels": n_in,
                "out_channels": n_out,
                "kernel": kernel,
                "stride": layer.stride,
                "padding": layer.padding,
                "in_samples": before,
                "out_samples": after,
                "rectified": int(layer.rectified),
                "weight_at": weight_at,
                "channel_at": channel_at,
            }
        )
        weight_at += layer.weights.size
        channel_at += n_out
    return table


def build(spec: ModelSpec, model: IntegerModel, chosen: Sequence[Rate], spec_sha256: bytes) -> NDArray[Any]:
    """Fill the image.

    Parameters
    ----------
    spec : ModelSpec
    model : IntegerModel
    chosen : sequence of Rate
    spec_sha256 : bytes
        32, of the contract as JSON.

    Returns
    -------
    array () of a record type
        In little-endian order, aligned as a C compiler aligns it.

    Raises
    ------
    BundleError
        If a number of the contract does not fit its format.
    """
    return _Filled(spec, model, chosen, spec_sha256).image


def blob(image: NDArray[Any]) -> bytes:
    """Return the image's bytes."""
    return image.tobytes()


def declaration(image: NDArray[Any]) -> str:
    """Return the C text that declares the image's type and the structs inside."""
    return "\n".join(_structs(image.dtype, "lsemvae_image", {}))


def initializer(image: NDArray[Any]) -> str:
    """Return the C text that defines the image."""
    lines = list(_initial(image[()], image.dtype, 1))
    return "const struct lsemvae_image lsemvae_linked_image = {\n" + "\n".join(lines) + "\n};\n"


class _Filled:
    """An image under construction."""

    def __init__(self, spec: ModelSpec, model: IntegerModel, chosen: Sequence[Rate], spec_sha256: bytes) -> None:
        self.spec, self.model, self.rates = spec, model, chosen
        self.image: NDArray[Any] = np.zeros((), dtype=self._type())
        image = self.image
        image["magic"], image["format"], image["bytes"] = MAGIC, FORMAT, image.dtype.itemsize
        image["layout"] = crc32("\n".join(_structs(image.dtype, "lsemvae_image", {})).encode())
        image["spec_sha256"] = np.frombuffer(spec_sha256, dtype=np.uint8)
        name = spec.id.encode("ascii", "replace")[:63]
        image["model_id"] = np.frombuffer(name.ljust(64, b"\0"), dtype=np.uint8)
        self._signal()
        image["limits"] = self._limits(spec.quality)
        self._tables()
        self._tail()
        self._decision()
        for place, encoder in zip(image["encoders"], model.encoders, strict=True):
            place["weights"] = np.concatenate([layer.weights.ravel() for layer in encoder.layers])
            place["bias"] = np.concatenate([layer.bias for layer in encoder.layers])
            place["multiplier"] = np.concatenate([layer.reduced for layer in encoder.layers])
            place["shift"] = np.concatenate([layer.shift for layer in encoder.layers])
        content = image.tobytes()
        image["crc"] = crc32(content[image.dtype.fields["layout"][1] :])  # type: ignore[index]

    def _type(self) -> np.dtype[Any]:
        model, spec = self.model, self.spec
        n_leads, (n_outputs, latent) = len(model.encoders), model.fused_head.shape
        window, encoder = spec.preprocess.window_samples, model.encoders[0]
        if not any(set(leads) <= set(LIMB_LEADS) for leads in spec.accepted_lead_sets):
            raise BundleError("A device has all six limb leads, for which this model gives no answer.")
        if window % 4:
            raise BundleError(f"A window of {window} samples cannot be analysed on a device: it is no multiple of 4.")
        channels = sum(len(layer.bias) for layer in encoder.layers)
        weights = sum(layer.weights.size for layer in encoder.layers)
        bounds = _record([("low", "<i4"), ("high", "<i4")])
        return _record(
            [
                *((name, "<u4") for name in ("magic", "format", "bytes", "crc", "layout")),
                ("spec_sha256", "u1", 32),
                ("model_id", "u1", 64),
                (
                    "rates",
                    _record([(name, "<u4") for name in ("rate_hz", "up", "down", "taps", "reach", "at")]),
                    len(self.rates),
                ),
                ("resample_taps", "<i4", sum(rate.taps.size for rate in self.rates)),
                ("band_taps", "<i4", (len(spec.preprocess.band.taps) + 1) // 2),
                ("max_bridge_ms", "<u4"),
                ("min_correlation", "<i4"),
                (
                    "limits",
                    _record(
                        [
                            *((name, bounds) for name in _BOUNDED),
                            *((name, "<i4") for name in ("n_beats_low", "n_beats_high")),
                            *((name, "<i4") for name in ("rate_low_tenths", "rate_high_tenths")),
                            *((name, "<u4") for name in ("qrs_low", "qrs_high", "max_held_ms", "max_rail_ms")),
                            *((name, "<i4") for name in _SINGLE),
                        ]
                    ),
                ),
                ("exp2_table", "<u4", 257),
                ("mu_scale_q36", "<i4", n_leads),
                ("logvar_scale_q36", "<i4", n_leads),
                ("fused_head_q24", "<i4", (n_outputs, latent)),
                ("lead_heads_q24", "<i4", (n_leads, n_outputs, latent)),
                ("head_bias_q24", "<i4", n_outputs),
                ("group", "<i4", n_leads),
                ("latent_mean_q20", "<i4", latent),
                ("whitening_q16", "<i4", (latent, latent)),
                ("max_distance", "<i4"),
                (
                    "tasks",
                    _record(
                        [
                            *((name, "<i4") for name in ("output", "primary", "slope_q20", "intercept")),
                            *((name, "<i4") for name in ("lower", "upper", "asked_task", "asked_min")),
                            ("baseline", "<i4", n_leads),
                        ]
                    ),
                    len(spec.tasks),
                ),
                ("guards", _record([(name, "<i4") for name in ("kind", "output", "max_logit")]), len(spec.guards)),
                *((name, "<u4") for name in ("min_age_years", "min_rate_tenths", "max_rate_tenths")),
                ("cosine", "<i2", window // 4 + 1),
                ("hann", "<i2", window // 2),
                (
                    "encoders",
                    _record(
                        [
                            ("bias", "<i4", channels),
                            ("multiplier", "<i2", channels),
                            ("shift", "i1", channels),
                            ("weights", "i1", weights),
                        ]
                    ),
                    n_leads,
                ),
            ]
        )

    def _signal(self) -> None:
        image, at = self.image, 0
        for place, rate in zip(image["rates"], self.rates, strict=True):
            n_taps = rate.taps.shape[1]
            for name, value in (
                ("rate_hz", rate.rate_hz), ("up", rate.up), ("down", rate.down), ("taps", n_taps),
                ("reach", n_taps // 2), ("at", at),
            ):  # fmt: skip
                place[name] = value
            image["resample_taps"][at : at + rate.taps.size] = rate.taps.ravel()
            at += rate.taps.size
        half = _fixed(np.asarray(self.spec.preprocess.band.taps), 30)[: len(image["band_taps"])]
        half[-1] = -2 * half[:-1].sum()
        image["band_taps"] = half
        image["max_bridge_ms"] = round(1000 * self.spec.preprocess.max_bridge_s)
        image["min_correlation"] = _q16(self.spec.preprocess.beat.min_correlation)

    def _limits(self, limits: QualityLimits) -> NDArray[Any]:
        made: NDArray[Any] = np.zeros((), dtype=self.image["limits"].dtype)
        for name in _BOUNDED:
            low, high = getattr(limits, name)
            made[name] = (_q16(low), _q16(high))
        for name in _SINGLE:
            made[name] = _q16(getattr(limits, name))
        made["n_beats_low"], made["n_beats_high"] = limits.n_beats
        made["rate_low_tenths"], made["rate_high_tenths"] = (round(10 * rate) for rate in limits.rate_bpm)
        made["qrs_low"], made["qrs_high"] = (round(QRS_UNITS_PER_MV * size) for size in limits.qrs_mv)
        made["max_held_ms"], made["max_rail_ms"] = round(1000 * limits.max_held_s), round(1000 * limits.max_rail_s)
        unused = {"window_step_s", "max_windows_judged", "retry_distance_s", "max_einthoven_residual",
                  "max_lead_contradiction", "n_beats", "rate_bpm", "qrs_mv", "max_held_s", "max_rail_s"}  # fmt: skip
        if left := {field.name for field in fields(limits)} - unused - set(_BOUNDED) - set(_SINGLE):
            raise BundleError(f"The device's checks do not know the limit {sorted(left)[0]}.")
        return made

    def _tables(self) -> None:
        window = self.spec.preprocess.window_samples
        self.image["cosine"] = np.rint(32767 * np.cos(2 * np.pi * np.arange(window // 4 + 1) / window))
        self.image["hann"] = np.rint(32767 * np.hanning(window)[: window // 2])
        self.image["exp2_table"] = np.rint(2.0 ** (np.arange(257) / 256) * (1 << 30))

    def _tail(self) -> None:
        image, model = self.image, self.model
        image["mu_scale_q36"] = _fixed(np.array([one.mu.scale for one in model.encoders]), 36)
        image["logvar_scale_q36"] = _fixed(np.array([one.logvar.scale for one in model.encoders]), 36)
        image["fused_head_q24"] = _fixed(model.fused_head, 24)
        image["lead_heads_q24"] = _fixed(model.lead_heads, 24)
        image["head_bias_q24"] = _fixed(model.head_bias, 24)
        for number, group in enumerate(model.groups):
            image["group"][list(group)] = number
        if latent := self.spec.latent:
            image["latent_mean_q20"] = _fixed(np.asarray(latent.mean), 20)
            image["whitening_q16"] = _fixed(np.asarray(latent.whitening), 16)
            # 0 would say that there is no latent space to be far from.
            image["max_distance"] = max(1, _q16(latent.max_distance))

    def _decision(self) -> None:
        spec = self.spec
        names = [task.name for task in spec.tasks]
        for place, task in zip(self.image["tasks"], spec.tasks, strict=True):
            place["output"], place["primary"] = task.output, int(task.role == "primary")
            place["slope_q20"] = _fixed(np.array([task.calibration.slope]), 20)[0]
            place["intercept"] = _q16(task.calibration.intercept)
            place["lower"], place["upper"] = _log_odds(task.lower), _log_odds(task.upper)
            place["asked_task"] = names.index(task.asked_if.task) if task.asked_if else -1
            place["asked_min"] = _log_odds(task.asked_if.min_probability) if task.asked_if else 0
            place["baseline"] = _fixed(np.asarray(task.lead_baseline), 16)
        for place, guard in zip(self.image["guards"], spec.guards, strict=True):
            place["kind"], place["output"] = _REASON_OF_GUARD[guard.kind], guard.output
            place["max_logit"] = _q16(guard.max_logit)
        use = spec.intended_use
        self.image["min_age_years"] = math.ceil(use.min_age_years)
        self.image["min_rate_tenths"] = round(10 * use.min_heart_rate_bpm)
        self.image["max_rate_tenths"] = round(10 * use.max_heart_rate_bpm)


def _record(members: Sequence[Any]) -> np.dtype[Any]:
    return np.dtype(list(members), align=True)


def _fixed(values: NDArray[np.float64], bits: int) -> NDArray[np.int64]:
    steps = np.rint(np.asarray(values, dtype=np.float64) * 2.0**bits)
    if np.abs(steps).max(initial=0) > UNBOUNDED:
        raise BundleError(f"A number of the model, {np.abs(values).max():g}, does not fit {31 - bits} bits.")
    return steps.astype(np.int64)


def _q16(value: float) -> int:
    """Return a bound with 16 fractional bits; one that is too large for them is none."""
    return int(np.clip(round(value * 65536), -UNBOUNDED, UNBOUNDED))


def _log_odds(probability: float) -> int:
    if probability <= 0:
        return -UNBOUNDED
    return UNBOUNDED if probability >= 1 else _q16(math.log(probability / (1 - probability)))


def _sums_to(taps: NDArray[np.float64], total: float, bits: int) -> NDArray[np.int32]:
    """Round taps so that they sum exactly; the largest takes what rounding left."""
    steps = _fixed(taps, bits)
    steps[np.argmax(np.abs(steps))] += round(total * 2**bits) - int(steps.sum())
    return steps.astype(np.int32)


_C_TYPES = {"<i4": "int32_t", "<u4": "uint32_t", "<i2": "int16_t", "|i1": "int8_t", "|u1": "uint8_t"}


def _members(kind: np.dtype[Any]) -> Iterator[tuple[str, np.dtype[Any], tuple[int, ...]]]:
    assert kind.names is not None
    assert kind.fields is not None
    for name in kind.names:
        member = kind.fields[name][0]
        base, shape = member.subdtype or (member, ())
        yield name, base, shape


def _structs(kind: np.dtype[Any], name: str, known: dict[np.dtype[Any], str]) -> Iterator[str]:
    """Yield declarations, inner structs first."""
    lines = []
    for member, base, shape in _members(kind):
        if base.names is None:
            told = _C_TYPES[base.str]
        else:
            if base not in known:
                known[base] = "lsemvae_bounds" if base.names == ("low", "high") else f"lsemvae_{_singular(member)}"
                yield from _structs(base, known[base], known)
            told = f"struct {known[base]}"
        lines.append(f"    {told} {member}{''.join(f'[{n}]' for n in shape)};")
    yield f"struct {name} {{\n" + "\n".join(lines) + "\n};\n"


def _singular(name: str) -> str:
    return name if name == "limits" else name.removesuffix("s")


def _initial(value: Any, kind: np.dtype[Any], depth: int) -> Iterator[str]:
    indent = "    " * depth
    for name, base, shape in _members(kind):
        if base.names is None:
            yield from _numbers(name, np.asarray(value[name]), indent)
        elif shape:
            yield f"{indent}.{name} = {{"
            for item in value[name]:
                yield f"{indent}    {{"
                yield from _initial(item, base, depth + 2)
                yield f"{indent}    }},"
            yield f"{indent}}},"
        else:
            yield f"{indent}.{name} = {{"
            yield from _initial(value[name], base, depth + 1)
            yield f"{indent}}},"


def _numbers(name: str, values: NDArray[Any], indent: str) -> Iterator[str]:
    suffix = "u" if values.dtype.kind == "u" and values.dtype.itemsize == 4 else ""
    if values.ndim == 0:
        yield f"{indent}.{name} = {values}{suffix},"
        return
    yield f"{indent}.{name} = {_nested(values, suffix, indent)},"


def _nested(values: NDArray[Any], suffix: str, indent: str) -> str:
    """Return a braced list, nested as the array is, in lines of 110 columns."""
    if values.ndim > 1:
        return "{" + ", ".join(_nested(row, suffix, indent) for row in values) + "}"
    lines, line = [], ""
    for item in values.tolist():
        told = f"{item}{suffix}, "
        if len(line) + len(told) > 100:
            lines.append(line.rstrip())
            line = ""
        line += told
    lines.append(line.rstrip().rstrip(","))
    return "{" + f"\n{indent}    ".join(lines) + "}"
