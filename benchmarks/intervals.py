"""Intervals of 95 % for shares: of independent cases, and of cases that come in clusters."""

import math
from collections.abc import Sequence

import numpy as np

DRAWS = 10_000


def wilson(right: int, total: int) -> tuple[float, float]:
    """Return Wilson's interval for a share of independent cases."""
    z, share, n = 1.96, right / total, total
    middle, width = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (middle - width) / (1 + z * z / n)), (middle + width) / (1 + z * z / n)


def clustered(flags: Sequence[bool], clusters: Sequence) -> tuple[float, float]:
    """Return the interval of a share whose cases are alike within a cluster: whole clusters are drawn again.

    Where all flags are alike, no draw differs: then Wilson's interval for as many cases as there are clusters.
    """
    flags, (names, index) = np.asarray(flags, bool), np.unique(np.asarray(clusters), return_inverse=True)
    if flags.all() or not flags.any():
        return wilson(len(names) * int(flags.any()), len(names))
    right, size = np.bincount(index, flags), np.bincount(index)
    drawn = np.random.default_rng(0).integers(len(names), size=(DRAWS, len(names)))
    low, high = np.quantile(right[drawn].sum(1) / size[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)
