"""Known answers of every stage, as C data: made by Python's definition and LiteRT's reference kernels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import preprocess
from lsemvae_edge.golden import FS_HZ
from lsemvae_edge.quantize.firmware import flatbuffer, oracle
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.heart import drawn, simulate

if TYPE_CHECKING:
    from lsemvae_edge.quantize.firmware.generate import Firmware

HALF_MICROVOLTS_PER_MV = 2000
_HEARTS, _SECONDS = 64, 10.0


@dataclass(frozen=True, eq=False)
class Vector:
    """One recording and what each stage makes of it.

    Parameters
    ----------
    raw_uv : array (2, n_samples), int16
        Leads I and II at `lsemvae_edge.golden.FS_HZ`.
    window : array (2, window), int16
        Filtered, in half microvolts.
    input : array (n_leads, beat), int16
    mu, logvar : array (n_leads, latent_dim), int16
    logits : array (n_outputs,), int32
        With 16 fractional bits.
    outcomes : tuple of int
        As ``lsemvae_outcome``, under ordinary circumstances.
    """

    raw_uv: NDArray[np.int16]
    window: NDArray[np.int16]
    input: NDArray[np.int16]
    mu: NDArray[np.int16]
    logvar: NDArray[np.int16]
    logits: NDArray[np.int32]
    outcomes: tuple[int, ...]


def make(firmware: "Firmware", raw_uv: NDArray[np.int16], kernels: flatbuffer.Reference) -> Vector:
    """Run one recording through Python's preprocessing, the reference kernels and the tail's oracle."""
    spec, model = firmware.spec, firmware.model
    record = Record(raw_uv.astype(np.float32) / np.float32(1000), FS_HZ, ("I", "II"), origin="simulated")
    conditioned = preprocess.condition(record, spec.preprocess)
    window = conditioned.pair[:, : spec.preprocess.window_samples]
    quantized = model.quantized(preprocess.cut(conditioned, spec.preprocess).signal)
    layers = kernels.run(quantized)
    mu, logvar = (
        np.stack([layers[f"encoder{i}.{name}"][0] for i in range(len(quantized))]) for name in ("mu", "logvar")
    )
    answer = oracle.fuse(firmware.image, mu, logvar)
    return Vector(
        raw_uv,
        half_microvolts(window),
        quantized,
        mu,
        logvar,
        answer.logits.astype(np.int32),
        oracle.outcomes(firmware.image, answer),
    )


def half_microvolts(signal_mv: NDArray[np.float64]) -> NDArray[np.int16]:
    """Round filtered leads as the C code keeps them."""
    return np.clip(np.rint(HALF_MICROVOLTS_PER_MV * signal_mv), -32768, 32767).astype(np.int16)


def sources(firmware: "Firmware", tflite: bytes, notice: str) -> dict[str, str]:
    """Return the header and the data of the known answers; ``tflite`` is `flatbuffer.write` of the model."""
    kernels = flatbuffer.Reference(tflite)
    made = [make(firmware, raw, kernels) for raw in firmware.known_uv]
    made += _of_each_outcome(firmware, kernels, {vector.outcomes[0] for vector in made})
    return {"test/lsemvae_vectors.h": notice + _HEADER, "test/lsemvae_vectors.c": notice + _data(made)}


_HEADER = """#ifndef LSEMVAE_VECTORS_H
#define LSEMVAE_VECTORS_H

#include "lsemvae.h"

/* One recording and what each stage makes of it. The window may differ by 1 and the input by 1, where floating point
 * rounds the other way; what follows from the input is exact. */
typedef struct {
    const char *name;
    uint32_t rate_hz, samples;
    const int16_t *raw_uv[2]; /* microvolts */
    const int16_t *window[2]; /* LSEMVAE_WINDOW samples, half microvolts */
    int16_t input[LSEMVAE_LEADS][LSEMVAE_BEAT];
    int16_t mu[LSEMVAE_LEADS][LSEMVAE_LATENT], logvar[LSEMVAE_LEADS][LSEMVAE_LATENT];
    lsemvae_q16 logits[LSEMVAE_OUTPUTS];
    lsemvae_outcome outcomes[LSEMVAE_TASKS];
} lsemvae_vector;

extern const lsemvae_vector lsemvae_vectors[];
extern const uint32_t lsemvae_vector_count;

#endif
"""


def _of_each_outcome(firmware: "Firmware", kernels: flatbuffer.Reference, seen: set[int]) -> list[Vector]:
    """Return simulated hearts with outcomes of the first task that are not among those seen, one each."""
    rng = np.random.default_rng(0)
    found: dict[int, Vector] = {}
    for seed in range(_HEARTS):
        heart = drawn(rng, rate_bpm=(50, 110), qrs_axis_deg=(-90, 180), t_axis_deg=(-40, 120), left_scale=(0.3, 2))
        signal_mv = simulate(heart, _SECONDS, FS_HZ, seed, ("I", "II")).signal_mv
        vector = make(firmware, np.rint(1000 * signal_mv).astype(np.int16), kernels)
        if vector.outcomes[0] not in seen:
            found.setdefault(vector.outcomes[0], vector)
        if seen | set(found) >= {oracle.NEGATIVE, oracle.POSITIVE, oracle.INCONCLUSIVE}:
            break
    return list(found.values())


def _data(made: list[Vector]) -> str:
    parts = ['#include "lsemvae_vectors.h"\n']
    rows = []
    for k, vector in enumerate(made):
        for name, pair in (("raw", vector.raw_uv), ("window", vector.window)):
            for lead, values in zip(("i", "ii"), pair, strict=True):
                parts.append(f"static const int16_t {name}_{k}_{lead}[] = {_list(values)};\n")
        rows.append(
            f'    {{"golden {k}", {FS_HZ:.0f}u, {vector.raw_uv.shape[1]}u, {{raw_{k}_i, raw_{k}_ii}}, '
            f"{{window_{k}_i, window_{k}_ii}},\n"
            + "".join(f"     {_list(values)},\n" for values in (vector.input, vector.mu, vector.logvar))
            + f"     {_list(vector.logits)},\n"
            + "     {"
            + ", ".join(f"(lsemvae_outcome){one}" for one in vector.outcomes)
            + "}},\n"
        )
    parts.append("const lsemvae_vector lsemvae_vectors[] = {\n" + "".join(rows) + "};\n")
    parts.append(f"const uint32_t lsemvae_vector_count = {len(made)}u;\n")
    return "\n".join(parts)


def _list(values: NDArray[Any]) -> str:
    if values.ndim > 1:
        return "{" + ",\n     ".join(_list(row) for row in values) + "}"
    told = values.tolist()
    lines = [", ".join(map(str, told[at : at + 20])) for at in range(0, len(told), 20)]
    return "{" + ",\n     ".join(lines) + "}"
