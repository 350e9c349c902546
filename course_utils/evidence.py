"""Is a difference more than noise? The statistics of runs that are paired by their seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Paired:
    """The mean of a - b over pairs, the standard error of that mean, and the number of pairs."""

    mean: float
    standard_error: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.mean:+.3g} ± {self.standard_error:.2g} (mean ± standard error, {self.pairs} pairs)"


def paired(a: Sequence[float], b: Sequence[float]) -> Paired:
    """The paired difference a - b, where a[i] and b[i] come from the same seed.

    The standard error is std(a - b, ddof=1) / sqrt(n). ValueError for fewer than two pairs, different
    lengths, or a value that is not finite: a run that diverged has no place in a mean.
    """
    a, b = _values("a", a), _values("b", b)  # (seeds,)
    if len(a) != len(b):
        raise ValueError(f"a has {len(a)} values and b {len(b)}: pairs need one of each for every seed")
    if len(a) < 2:
        raise ValueError(f"{len(a)} pair has no standard error: run two seeds at least, better ten")
    difference = a - b
    return Paired(float(difference.mean()), float(difference.std(ddof=1)) / math.sqrt(len(a)), len(a))


def holds(a: Sequence[float], b: Sequence[float], sigmas: float = 2) -> bool:
    """Whether a is above b by more than `sigmas` standard errors of the paired difference."""
    result = paired(a, b)
    return result.mean > sigmas * result.standard_error


def within_noise(a: Sequence[float], b: Sequence[float], sigmas: float = 2) -> bool:
    """Whether neither is above the other: not `holds(a, b)` and not `holds(b, a)`."""
    result = paired(a, b)
    return abs(result.mean) <= sigmas * result.standard_error


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
