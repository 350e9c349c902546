"""Claims: what a section teaches, checked each time it is printed."""

from __future__ import annotations

import textwrap

import numpy as np
import torch

from course_utils.live.card import COLUMNS


def claim(text: str, ok: bool, **measured: float) -> None:
    """Print `✓ text`, or `✗ text (measured: name value, ...)` when it does not hold.

    `ok` is a comparison's result; a number is refused, since almost any number would count as true.
    """
    if isinstance(ok, torch.Tensor) and ok.dtype == torch.bool and ok.ndim == 0:
        ok = bool(ok)
    if not isinstance(ok, bool | np.bool_):
        raise TypeError(f"claim: ok is {ok!r}, not True or False; pass a comparison, such as accuracy > 0.6")
    text = " ".join(text.split())
    values = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in measured.items())
    line = f"✓ {text}" if ok else f"✗ {text} (measured: {values})" if values else f"✗ {text}"
    print(textwrap.fill(line, COLUMNS, subsequent_indent="  "))


def _short(value: object) -> str:
    try:
        return str(value) if isinstance(value, bool) else f"{value:.4g}"
    except (TypeError, ValueError):  # no number: a text, an array, None
        return str(value)
