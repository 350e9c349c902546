"""Numbers as they come: widened before they are computed with, and checked where somebody types them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

IGNORE = -100  # a target with this value is not part of the loss (PyTorch's convention)


def wide(values: Tensor, least: torch.dtype = torch.float64) -> Tensor:
    """Values as floating-point numbers of this precision at least, float32 where the device has no more.

    Widen, compute, then `narrow`: half precision ends at 65,504, float32 at 3e38, and 8-bit labels at 255.
    """
    least = torch.float32 if values.device.type == "mps" else least
    return values.to(torch.promote_types(values.dtype, least))


def narrow(result: Tensor, like: Tensor) -> Tensor:
    """A result in the precision of what it was computed from, if that is one: never a whole number."""
    return result.to(like.dtype if like.is_floating_point() else torch.get_default_dtype())


def number(name: str, value: object, expected: str, fits: Callable[[float], bool]) -> object:
    """The value; ValueError that says what was ``expected``, unless it is one number that fits."""
    try:
        one = value.detach() if isinstance(value, Tensor) else value
        good = not isinstance(one, str | bytes) and fits(float(one))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        good = False
    if not good:
        raise ValueError(f"{name} {value!r}: expected {expected}")
    return value


def one_of(name: str, value: object, known: Iterable) -> None:
    """ValueError unless the value is one of those known."""
    if value not in list(known):
        raise ValueError(f"{name} {value!r}: choose one of {', '.join(known)}")


def whole(name: str, value: object, least: float = 1) -> int:
    """The value as Python's integer; ValueError for what is no whole number, or under the least."""
    try:
        count = operator.index(value if not isinstance(value, bool) else None)
    except TypeError:
        raise ValueError(f"{name} {value!r}: expected a whole number") from None
    if count < least:
        raise ValueError(f"{name} {count}: expected {least} or more")
    return count


def seed_of(seed: object) -> int:
    """The seed as Python's integer; ValueError for anything else: Python's own dice take None for "now", -1 for 1."""
    count = operator.index(seed) if hasattr(seed, "__index__") and not isinstance(seed, bool) else -1
    if not 0 <= count < 2**63:
        raise ValueError(f"seed {seed!r}: expected a whole number from 0 to 2**63 - 1")
    return count
