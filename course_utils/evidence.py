"""Is a difference more than noise? The statistics of runs that come in pairs, one pair for each seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

FEWEST = 8  # units of replication for a claim: a t interval of fewer is wide, and leans on normal differences


@dataclass(frozen=True)
class Interval:
    """The mean of a - b over units of replication, such as seeds, and the ends of its confidence interval."""

    mean: float
    low: float
    high: float
    units: int

    def __str__(self) -> str:
        mean, low, high = self.rounded()
        return f"{mean} ({low} to {high}; {self.units} pairs)"

    def rounded(self, scale: float = 1) -> tuple[str, str, str]:
        """The mean, the low and the high end times `scale`: to a quarter of the half width or finer, no end as 0."""
        values = [scale * value for value in (self.mean, self.low, self.high)]
        half = (values[2] - values[1]) / 2
        digits = -math.floor(math.log10(half / 2)) if half else 3
        while digits < 12 and any(end and not round(end, digits) for end in values[1:]):
            digits += 1
        rounded = (round(value, digits) or 0.0 for value in values)  # a mean may be 0, which has no sign
        mean, low, high = (f"{value:.{max(digits, 0)}f}".replace("-", "−") for value in rounded)
        return mean, low, high


def interval(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Interval:
    """The paired difference mean(a - b) with its two-sided t interval; a[i] and b[i] come from the same seed.

    ValueError for fewer than two pairs, different lengths, or a value that is not finite: a run that diverged has no
    place in a mean.
    """
    from scipy.special import stdtrit  # takes a while to import, and most of the course goes without

    a, b = _values("a", a), _values("b", b)  # (units,)
    if len(a) != len(b):
        raise ValueError(f"a has {len(a)} values and b {len(b)}: pairs need one of each for every seed")
    if len(a) < 2:
        raise ValueError(f"{len(a)} pair has no interval: run two seeds at least, and {FEWEST} for a claim")
    difference = a - b
    mean, error = difference.mean(), difference.std(ddof=1) / math.sqrt(len(a))
    reach = float(stdtrit(len(a) - 1, (1 + confidence) / 2) * error)
    return Interval(float(mean), float(mean) - reach, float(mean) + reach, len(a))


def above(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether a is above b: the 95 % interval of a - b lies over 0. ValueError for fewer than 8 units."""
    return enough(interval(a, b)).low > 0


def same(a: Sequence[float], b: Sequence[float], *, within: float) -> bool:
    """Whether a and b differ by less than a margin: the 90 % interval of a - b lies within ± `within`.

    Those are two one-sided tests at 5 %. ValueError for fewer than 8 units, or a margin that is not above 0.
    """
    if not within > 0:
        raise ValueError(f"within is {within}: give the largest difference that does not matter, above 0")
    found = enough(interval(a, b, confidence=0.9))
    return -within < found.low and found.high < within


def enough(found: Interval) -> Interval:
    """The same interval. ValueError for fewer than 8 units: too few for a claim."""
    if found.units < FEWEST:
        raise ValueError(
            f"{found.units} units of replication are too few for a claim over chance, which needs {FEWEST}: "
            "run more seeds, or show the interval and claim nothing"
        )
    return found


def _values(name: str, values: Sequence[float]) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double()
    elif not isinstance(values, str | Mapping) and isinstance(values, Iterable):  # the values of a dict, for one
        values = list(values)
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}: expected one value a seed, shape (seeds,)")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(
            f"{name}[{bad[0]}] is {array[bad[0]]}: leave out or count runs that diverged, in both lists"
        )
    return array
