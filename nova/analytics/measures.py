"""Statistics of one metric over channels. Plain NumPy: no Redis, no files, no clock."""

from collections.abc import Mapping

import numpy as np

from nova.arrays import Floats

PERCENTILES = (10, 25, 50, 75, 90, 99)
#: Beyond it a modified z-score is an outlier's; recommended by Iglewicz and Hoaglin.
OUTLIER_SCORE = 3.5
#: The 75th percentile of the standard normal distribution: for normal values the median of the
#: absolute deviations is so many standard deviations.
NORMAL_MAD = 0.6745
#: Of fewer values nothing can be said about any of them.
LEAST_VALUES = 10


def percentiles(values: Floats) -> Mapping[str, float]:
    """Return the percentiles of values without NaN, at least one.

    Interpolated between the two nearest values: definition 7 of R. J. Hyndman and Y. Fan, "Sample
    Quantiles in Statistical Packages", The American Statistician 50 (1996).
    """
    found = np.percentile(values, PERCENTILES).tolist()
    return {f"p{percent}": value for percent, value in zip(PERCENTILES, found, strict=True)}


def modified_z_scores(values: Floats) -> Floats | None:
    """Return how far each value lies from the median, in robust standard deviations.

        score = 0.6745 * (value - median) / MAD        MAD = median(|value - median|)

    B. Iglewicz and D. Hoaglin, "How to Detect and Handle Outliers", ASQC Quality Press (1993); also
    in the NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.17. Half of the values may be
    arbitrarily wrong before the median or MAD follow them, so outliers cannot hide one another.

    Args:
        values: without NaN.

    Returns:
        The scores; None where there can be none: for fewer than LEAST_VALUES values, or because
        more than half of them are alike, which makes MAD 0.
    """
    if len(values) < LEAST_VALUES:
        return None
    distances = values - np.median(values)
    deviation = np.median(np.abs(distances))
    if not deviation > 0:
        return None
    scores: Floats = NORMAL_MAD * distances / deviation
    return scores
