"""What a run has seen so far: curves that stay small, texts, and the knobs that were moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

CAPACITY = 4096  # points a curve keeps at most


@dataclass(frozen=True)
class Event:
    """A knob's change, in force from this step on."""

    step: int
    knob: str
    value: float


class Curve:
    """A number over steps, in at most `CAPACITY` points.

    When it is full, neighbouring points are averaged in pairs, and from then on each point is the mean of twice as
    many values; its step is the last of them. A run of a million steps therefore costs what one of 4,096 costs.
    """

    def __init__(self):
        self._steps: list[int] = []
        self._values: list[float] = []
        self.stride = 1  # values averaged into one point
        self._pending: list[float] = []
        self.last = float("nan")  # the newest value, never averaged

    def add(self, step: int, value: float) -> None:
        self.last = value
        self._pending.append(value)
        if len(self._pending) < self.stride:
            return
        self._steps.append(step)
        self._values.append(sum(self._pending) / self.stride)
        self._pending.clear()
        if len(self._steps) >= CAPACITY:
            self._steps = self._steps[1::2]
            self._values = [(a + b) / 2 for a, b in zip(self._values[::2], self._values[1::2], strict=True)]
            self.stride *= 2

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def steps(self) -> np.ndarray:
        """(points,) int64"""
        return np.array(self._steps, dtype=np.int64)

    @property
    def values(self) -> np.ndarray:
        """(points,) float64"""
        return np.array(self._values, dtype=np.float64)


@dataclass
class History:
    """Curves by name (``history["loss"]``), texts by name (the newest only), and events in order.

    levels: reference losses to draw beside the loss.  status: how the run ended, "ready" while it has not.
    """

    levels: dict[str, float] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    status: str = "ready"

    def add(self, name: str, step: int, value: float) -> None:
        """Add one number to the curve of this name."""
        self.curves.setdefault(name, Curve()).add(step, float(value))

    def record(self, name: str, step: int, measured: float | str | Mapping[str, float]) -> None:
        """Add what a measure returned: a number, several by name, or a text."""
        if isinstance(measured, str):
            self.texts[name] = measured
        elif isinstance(measured, Mapping):
            for part, value in measured.items():
                self.add(part, step, value)
        elif measured is None:
            raise TypeError(f"measure {name!r} gave None: expected a number, a text, or numbers by name")
        else:
            self.add(name, step, measured)

    def __getitem__(self, name: str) -> Curve:
        if name not in self.curves:
            raise KeyError(f"no curve {name!r}: this history has {', '.join(self.curves) or 'none yet'}")
        return self.curves[name]

    @property
    def loss(self) -> np.ndarray:
        """The training loss, (points,), in nats."""
        return self["loss"].values
