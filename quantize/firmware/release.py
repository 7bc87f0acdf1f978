"""Firmware folders, written only if the C code passes its gates and proves itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsemvae_edge import __version__
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.quantize import parity
from lsemvae_edge.quantize.draft import draft
from lsemvae_edge.quantize.firmware import executorch, folder, gates, generate, image, tflm
from lsemvae_edge.quantize.gates import Bounds
from lsemvae_edge.quantize.parity import Asked
from lsemvae_edge.quantize.release import restored


def export(
    bundle: Bundle,
    out: Path,
    *,
    rates_hz: Sequence[int] = image.DEFAULT_RATES_HZ,
    asked: Asked | None = None,
    bounds: Bounds | None = None,
    tflm_python: Path | None = None,
    npu: str = tflm.DEFAULT_NPU,
) -> dict[str, Any]:
    """Write the folder that a firmware team gets.

    Parameters
    ----------
    bundle : Bundle
        With float weights.
    out : Path
        New folder.
    rates_hz : sequence of int
        Sampling rates to hold coefficients for.
    asked : Asked, optional
        Recordings on which the C code is compared with floating point; by default simulated hearts.
    bounds : Bounds, optional
    tflm_python : Path, optional
        Interpreter of an environment with tflite-micro and Vela (``requirements-tflite-micro.txt``). With it the folder
        also holds the encoders compiled for an Ethos-U, and the manifest says what TFLM
        takes for them and for the bundle's own TFLite file.
    npu : str
        Which, see `lsemvae_edge.quantize.firmware.tflm.npu`.

    Returns
    -------
    dict
        The folder's manifest.

    Raises
    ------
    BundleError
        If ``out`` exists, the bundle cannot be rounded, or the sources do not compile or do not prove themselves.
    QuantizationError
        If a gate is not passed; nothing is left at ``out``.
    UsageError
        If there is no C compiler, a sampling rate cannot be had, or ``npu`` names no Ethos-U.
    RuntimeUnavailableError
        If ``tflm_python`` lacks what it is named for.
    """
    with draft(out) as place:
        made = generate.from_bundle(bundle, rates_hz)
        contents = {**generate.contents(made), **executorch.files(_model(bundle, "pte"))}
        micro = None
        if tflm_python is not None:
            contents |= tflm.vela(tflm_python, contents[generate.TFLITE], npu)
            micro = {"encoders": tflm.measure_arena(tflm_python, contents[generate.TFLITE])}
            if (kiosk := _model(bundle, "tflite")) is not None:
                micro["kiosk_file"] = tflm.measure_arena(tflm_python, kiosk)
        agreement = gates.check(contents, made, restored(bundle), asked or parity.simulated(made.spec), bounds)
        about = {
            "model": made.spec.id,
            "bundle_sha256": bundle.sha256,
            "spec_sha256": generate.spec_sha256(made.spec).hex(),
            "software_version": __version__,
            "layout": int(made.image["layout"]),
            "image_bytes": made.image.dtype.itemsize,
            "arena_bytes": made.arena_bytes,
            "multiply_adds": made.model.multiply_adds,
            "rates_hz": [rate.rate_hz for rate in made.rates],
            "stand_in": made.spec.intended_use.stand_in,
            "agreement": agreement,
            "tflm_arena": micro,
            "attribution": made.attribution,
            "licence": made.licence,
        }
        folder.write(contents, about, place)
        folder.prove(place)
    return folder.read(out)


def _model(bundle: Bundle, form: str) -> bytes | None:
    """Return the bundle's model file of a format, int8 before float, where it has one."""
    models = [model for model in bundle.manifest.models if model.format == form]
    models.sort(key=lambda model: model.precision != "int8")
    return bundle.read(models[0].path) if models else None
