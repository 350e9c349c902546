"""Claims: what a section teaches, checked each time it is printed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import torch

from course_utils.evidence import Interval, enough
from course_utils.live.card import COLUMNS

SCALES = {"": 1, "nats": 1, "points": 100, "%": 100}  # by which a number is multiplied: a share of 0.12 is 12 points


def claim(
    text: str,
    ok: bool,
    *,
    stored: bool = False,
    found: Interval | Sequence[Interval] = (),
    unit: str = "",
    of: str = "seeds",
    **measured: float,
) -> None:
    """Print `✓ text` for what was measured now, `● text` for stored runs, `✗ text (measured: ...)` if it fails.

    `ok` is a comparison's result; a number is refused, since almost any number would count as true.
    found: what `interval` found in stored runs, printed after the text: `(0.12 nats, 0.08 to 0.16; 8 seeds)`. Stored
    numbers are the same everywhere. Numbers that were measured now are not, so they are printed only if it fails.
    ValueError for an interval of fewer than 8 units, which is printed by itself, and claims nothing.
    unit: of these numbers, "nats", or "points" or "%" for shares.  of: what the units of replication are.
    """
    if isinstance(ok, torch.Tensor) and ok.dtype == torch.bool and ok.ndim == 0:
        ok = bool(ok)
    if not isinstance(ok, bool | np.bool_):
        raise TypeError(f"claim: ok is {ok!r}, not True or False; pass a comparison, such as accuracy > 0.6")
    found = tuple(map(enough, (found,) if isinstance(found, Interval) else found))
    line = f"{('●' if stored or found else '✓') if ok else '✗'} {' '.join(text.split())}"
    if found:
        line += f" ({_told(found, unit, of)})"
    if measured and not ok:
        values = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in measured.items())
        line += f" (measured: {values})"
    print(textwrap.fill(line, COLUMNS, subsequent_indent="  "))


def _told(found: Sequence[Interval], unit: str, of: str) -> str:
    intervals = (one.rounded(SCALES[unit]) for one in found)
    told = [f"{f'{mean} {unit}'.rstrip()}, {low} to {high}" for mean, low, high in intervals]
    return "; ".join([*told, " or ".join(sorted({str(one.units) for one in found})) + f" {of}"])


def _short(value: object) -> str:
    try:
        return str(value) if isinstance(value, bool) else f"{value:.4g}"
    except (TypeError, ValueError):  # no number: a text, an array, None
        return str(value)
