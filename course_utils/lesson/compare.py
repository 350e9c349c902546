"""Comparing a learner's result with what is expected, in words that say what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

import numpy as np
import torch


class CheckerError(ValueError):
    """A mistake in a checker, raised for its author to see; a learner's mistake becomes a hint instead."""


def compare(
    result: object,
    expected: object,
    *,
    mistakes: Mapping[str, object] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    what: str = "your result",
) -> str | None:
    """None when the result is the expected one, else a hint: what it is, what it should be.

    Numbers, lists of numbers, arrays and tensors count as the same when shape and values agree, whatever
    their type and device; a mask must be boolean. Tuples, lists and dicts are compared item by item,
    anything else by `==`. `mistakes` gives for each plausible mistake the value that it leads to; its key
    ends the sentence "it looks as if you ...". CheckerError for a mistake that leads to the expected value:
    these inputs cannot tell it from a right answer.
    """
    tolerance = {"rtol": rtol, "atol": atol}
    problem = _difference(result, expected, what, tolerance)
    for mistake, value in (mistakes or {}).items():
        if _difference(value, expected, what, tolerance) is None:
            raise CheckerError(f"{mistake!r} leads to the expected value: choose inputs that tell the two apart")
        if problem and _difference(result, value, what, tolerance) is None:
            return f"it looks as if you {mistake}"
    return problem


def _difference(result: object, expected: object, what: str, tolerance: dict) -> str | None:
    if result is None and expected is not None:
        return f"{what} is None: is a `return` missing?"
    if result is ...:
        return f"{what} is still `...`"
    if isinstance(expected, Mapping):
        return _items(result, expected, what, tolerance)
    numbers = as_numbers(expected)
    if numbers is not None:
        return _numbers(result, numbers, what, tolerance)
    if isinstance(expected, tuple | list):
        return _sequence(result, expected, what, tolerance)
    same = as_numbers(result) is None and result == expected  # an array would answer for each of its items
    return None if same else f"{what} is {_short(result)}, expected {_short(expected)}"


def _items(result: object, expected: Mapping, what: str, tolerance: dict) -> str | None:
    if not isinstance(result, Mapping):
        return f"{what} is {_kind(result)}, expected a dict"
    for key in expected:
        if key not in result:
            return f"{what} has no entry {key!r}"
    for key in result:
        if key not in expected:
            return f"{what} has an entry {key!r} too many"
    pairs = ((result[key], expected[key], f"entry {key!r} of {what}") for key in expected)
    return next(filter(None, (_difference(*pair, tolerance) for pair in pairs)), None)


def _sequence(result: object, expected: tuple | list, what: str, tolerance: dict) -> str | None:
    if not isinstance(result, tuple | list):
        return f"{what} is {_kind(result)}, expected {len(expected)} items"
    if len(result) != len(expected):
        return f"{what} has {len(result)} items, expected {len(expected)}"
    pairs = ((r, e, f"item {i} of {what}") for i, (r, e) in enumerate(zip(result, expected, strict=True)))
    return next(filter(None, (_difference(*pair, tolerance) for pair in pairs)), None)


def _numbers(result: object, expected: np.ndarray, what: str, tolerance: dict) -> str | None:
    got = as_numbers(result)
    if got is None:
        wanted = f"an array of shape {expected.shape}" if expected.shape else "a number"
        return f"{what} is {_kind(result)}, expected {wanted}"
    if got.shape != expected.shape:
        turned = " (transposed?)" if got.ndim > 1 and got.shape == expected.shape[::-1] else ""
        return f"{what} has shape {got.shape}, expected {expected.shape}{turned}"
    if (got.dtype.kind == "b") != (expected.dtype.kind == "b"):
        return f"{what} holds {_content(got)}, expected {_content(expected)}"
    close = np.isclose(got, expected, equal_nan=True, **tolerance)
    if close.all():
        return None
    if np.isnan(got).any() and not np.isnan(expected).any():
        return f"{what} contains nan" if got.shape else f"{what} is nan, expected {_short(expected.item())}"
    return _factor(got, expected, what, tolerance) or _worst(got, expected, close, what)


def _factor(got: np.ndarray, expected: np.ndarray, what: str, tolerance: dict) -> str | None:
    """The hint for a result that is the expected one up to a constant factor."""
    used = np.isfinite(expected) & (np.abs(expected) > 100 * tolerance["atol"])
    if got.dtype.kind == "b" or used.sum() < 3 or not np.isfinite(got).all():
        return None
    factor = float(np.median(got[used] / expected[used]))
    if abs(factor) < 1e-3 or not np.isclose(got, factor * expected, **tolerance).all():
        return None
    return f"{what} " + ("has the wrong sign" if np.isclose(factor, -1) else f"is {factor:.4g} times what is expected")


def _worst(got: np.ndarray, expected: np.ndarray, close: np.ndarray, what: str) -> str:
    if not got.shape:
        return f"{what} is {_short(got.item())}, expected {_short(expected.item())}"
    with np.errstate(invalid="ignore"):  # inf - inf
        gap = np.where(close, 0.0, np.abs(got.astype(float) - expected.astype(float)))
    at = tuple(int(i) for i in np.unravel_index(np.argmax(np.nan_to_num(gap, nan=np.inf)), got.shape))
    place = f"{what} at [{', '.join(map(str, at))}]"
    wrong = f" ({(~close).sum()} of {close.size} values differ)" if close.size > 1 else ""
    return f"{place} is {_short(got[at].item())}, expected {_short(expected[at].item())}{wrong}"


def is_finite(value: object) -> bool:
    """Whether no number in it is nan or infinite. What holds no numbers is left for `compare` to name."""
    numbers = as_numbers(value)
    return numbers is None or bool(np.isfinite(numbers).all())


def as_numbers(value: object) -> np.ndarray | None:
    """Numbers, nested lists of them, arrays and tensors as one array; None for anything else."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.double() if value.is_floating_point() else value).numpy()
    if isinstance(value, tuple | list):
        items = [as_numbers(item) for item in value]
        same = items and all(item is not None and item.shape == items[0].shape for item in items)
        return np.stack(items) if same else None
    if isinstance(value, Fraction | Decimal):
        value = float(value)
    if isinstance(value, bool | int | float | np.generic | np.ndarray):
        array = np.asarray(value)
        return array if array.dtype.kind in "biuf" else None
    return None


def _content(array: np.ndarray) -> str:
    return "booleans" if array.dtype.kind == "b" else "numbers"


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
