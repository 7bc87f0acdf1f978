"""Units of voltage."""

_MV_PER_UNIT = {
    "v": 1e3, "volt": 1e3, "volts": 1e3,
    "mv": 1.0, "millivolt": 1.0, "millivolts": 1.0,
    "uv": 1e-3, "microvolt": 1e-3, "microvolts": 1e-3,
    "nv": 1e-6, "nanovolt": 1e-6, "nanovolts": 1e-6,
}  # fmt: skip


def mv_per_unit(unit: str | None) -> float | None:
    """Return how many millivolts one unit is, or None when the text names no unit of voltage.

    Case does not matter, and both micro signs (U+00B5, U+03BC) count as ``u``.
    """
    if unit is None:
        return None
    return _MV_PER_UNIT.get(unit.strip().lower().replace("\u00b5", "u").replace("\u03bc", "u"))
