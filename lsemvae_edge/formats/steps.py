"""The size of one count where a signal is kept as whole numbers: 1, 2 or 5 times a power of ten."""

from decimal import Decimal

LARGEST = 32767
"""Of 16 bits, with the lowest value left for gaps."""


def smallest(largest: float, powers: range) -> Decimal | None:
    """Return the smallest step of which `LARGEST` hold a value.

    Parameters
    ----------
    largest : float
        Largest absolute value of the signal, in its unit.
    powers : range
        Powers of ten that the format can write.

    Returns
    -------
    Decimal or None
        None if the value is too large.
    """
    steps = (Decimal(digit).scaleb(power) for power in powers for digit in (1, 2, 5))
    return next((step for step in steps if largest <= LARGEST * float(step)), None)
