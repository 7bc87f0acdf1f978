"""The generated header of sizes, and the arena that follows from them."""

from lsemvae_edge import __version__
from lsemvae_edge.quantize.firmware.image import FORMAT, MAGIC, Rate, layer_table
from lsemvae_edge.quantize.firmware.integers import IntegerModel
from lsemvae_edge.quantize.firmware.plan import ALIGN, Buffer, Plan, plan
from lsemvae_edge.spec import ModelSpec

MAX_BEATS = 40
_COPY, _BEATS, _JUDGE, _ALIGN, _AVERAGE, _ENCODE, _FUSE, _DECIDE = range(8)


def arena(spec: ModelSpec, model: IntegerModel) -> Plan:
    """Plan the arena of ``lsemvae_run``.

    Sizes are those of the C structs, which a compiler holds against them.
    """
    blocks = int(2 * spec.preprocess.window_s)
    window, beat = spec.preprocess.window_samples, spec.preprocess.beat.n_samples
    n_leads, (n_outputs, latent) = len(model.encoders), model.fused_head.shape
    return plan(
        [
            Buffer("WINDOW", 4 * window + 8 + 2 * blocks * 24 + 8, _COPY, _AVERAGE),
            Buffer("BEATS", 8 + 4 * MAX_BEATS // 2 + 4 * window + 16 + 16 * MAX_BEATS, _BEATS, _ALIGN),
            Buffer("SCRATCH", 8 * window, _JUDGE, _JUDGE),
            Buffer("PLACES", 2 * MAX_BEATS, _ALIGN, _AVERAGE),
            Buffer("INPUT", 2 * n_leads * beat, _AVERAGE, _ENCODE),
            Buffer("ACTIVATIONS", activations(model).size, _ENCODE, _ENCODE),
            Buffer("MU", 2 * n_leads * latent, _ENCODE, _FUSE),
            Buffer("LOGVAR", 2 * n_leads * latent, _ENCODE, _FUSE),
            Buffer("ANSWER", 4 * (n_outputs * (1 + n_leads) + latent + 1), _FUSE, _DECIDE),
        ]
    )


def activations(model: IntegerModel) -> Plan:
    """Plan one encoder's activations: a layer's output lives until the next has read it, the pool is in place."""
    lengths = model.lengths()[1:]
    sizes = [2 * n * len(layer.bias) for n, layer in zip(lengths, model.encoders[0].convolutions, strict=True)]
    # Layers alternate between two places, each as large as its largest tenant.
    return plan([Buffer("A", max(sizes[0::2]), 0, 1), Buffer("B", max(sizes[1::2], default=0), 0, 1)])


def header(spec: ModelSpec, model: IntegerModel, rates: tuple[Rate, ...], layout: int) -> str:
    """Return ``lsemvae_config.h``."""
    n_outputs, latent = model.fused_head.shape
    beat, whole, inner = spec.preprocess.beat, arena(spec, model), activations(model)
    one = round(1 / model.input_scale)
    encoder = model.encoders[0]
    sizes = {
        "LEADS": len(model.encoders),
        "OUTPUTS": n_outputs,
        "TASKS": len(spec.tasks),
        "GUARDS": len(spec.guards),
        "GROUPS": len(model.groups),
        "LATENT": latent,
        "FS_HZ": round(spec.preprocess.fs_hz),
        "WINDOW": spec.preprocess.window_samples,
        "BAND_TAPS": len(spec.preprocess.band.taps),
        "RATES": len(rates),
        "RESAMPLE_TAPS_MAX": max(rate.taps.shape[1] for rate in rates),
        "RESAMPLE_TAPS_TOTAL": sum(rate.taps.size for rate in rates),
        "BEAT": beat.n_samples,
        "BEAT_BEFORE": beat.before_samples,
        "BEAT_AFTER": beat.after_samples,
        "BEAT_ALIGN": beat.align_samples,
        "BEAT_LEAST": beat.min_beats,
        "INPUT_ONE": one,
        "INPUT_LIMIT": round(spec.preprocess.clip * one),
        "LAYERS": len(encoder.layers),
        "CONVOLUTIONS": len(encoder.convolutions),
        "CHANNELS_TOTAL": sum(len(layer.bias) for layer in encoder.layers),
        "WEIGHTS_TOTAL": sum(layer.weights.size for layer in encoder.layers),
        "CHANNELS_MAX": max(len(layer.bias) for layer in encoder.layers),
        "WIDTH_MAX": max(layer.weights[0].size for layer in encoder.layers),
        "MULTIPLY_ADDS": model.multiply_adds,
    }
    plans = {f"AT_{name}": offset for name, offset in whole.offsets.items()} | {
        "ARENA_BYTES": whole.size,
        "ARENA_ALIGN": ALIGN,
        **{f"ACTIVATION_{name}": offset for name, offset in inner.offsets.items()},
        "ACTIVATION_BYTES": inner.size,
    }
    image = {"IMAGE_MAGIC": f"0x{MAGIC:08X}", "IMAGE_FORMAT": FORMAT, "IMAGE_LAYOUT": f"0x{layout:08X}"}
    lines = [
        "/* Sizes of one model. Generated; an image of another model fits these sources if its layout is equal. */",
        "#ifndef LSEMVAE_CONFIG_H",
        "#define LSEMVAE_CONFIG_H",
        "",
        f'#define LSEMVAE_VERSION "{__version__}"',
        *(f"#define LSEMVAE_{name} {value}u" for name, value in (sizes | plans | image).items()),
        f"#define LSEMVAE_RATES_HZ {{{', '.join(f'{rate.rate_hz}u' for rate in rates)}}}",
        "#define LSEMVAE_CONTEXT_BYTES (sizeof(lsemvae_context))",
        "",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def layers(model: IntegerModel) -> str:
    """Return the C text of the table of layers."""
    rows = [
        "    {" + ", ".join(f".{name} = {value}u" for name, value in row.items()) + "}," for row in layer_table(model)
    ]
    return "const lsemvae_layer lsemvae_layers[LSEMVAE_LAYERS] = {\n" + "\n".join(rows) + "\n};\n"
