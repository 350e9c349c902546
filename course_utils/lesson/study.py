"""What a study is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

Row = dict[str, float | int | str | list]  # what `json` can store


@dataclass(frozen=True)
class Study:
    """points: the settings and seeds that are stored.  point: runs one of them."""

    points: Callable[[], Iterator[Row]]
    point: Callable[..., Row]
