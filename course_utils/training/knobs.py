"""What may be moved while a run trains, and the values that it takes."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Mapping


def keyword_knobs(function: object) -> dict[str, float]:
    """The keyword-only arguments of a function with their defaults; NaN where there is none.

    An argument whose default is no number, such as a teacher, is not a knob.
    """
    if not callable(function):
        return {}
    parameters = inspect.signature(function).parameters.values()
    only = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    found = {name: math.nan if default is inspect.Parameter.empty else default for name, default in only.items()}
    return {name: value for name, value in found.items() if isinstance(value, numbers.Real) and type(value) is not bool}


def checked(knob: str, value: float, known: Mapping[str, float]) -> float:
    """A knob's value as a plain number, 0 or more."""
    if knob not in known:
        raise ValueError(f"no knob {knob!r}: this run has {', '.join(known)}")
    try:
        if isinstance(value, str | bytes | bool):  # "0.1" is a slip, even where float() reads it
            raise TypeError
        number = value if isinstance(value, int) else float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{knob} {value!r}: expected a number") from None
    if math.isnan(number) or number < 0:
        raise ValueError(f"{knob} {number}: expected a number, 0 or more")
    return number
