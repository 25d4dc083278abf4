"""Arithmetic on arrays of channels that more than one domain needs. Plain NumPy."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; NaN where the denominator is not above 0."""
    result: Floats = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def signed_log(values: Floats) -> Floats:
    """Logarithm of 1 + value, negative for negative values: for what has a heavy tail."""
    result: Floats = np.copysign(np.log1p(np.abs(values)), values)
    return result
