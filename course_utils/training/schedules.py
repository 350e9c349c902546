"""Learning-rate schedules: functions from a step to a factor on the learning-rate knob."""

from __future__ import annotations

import math
from collections.abc import Callable


def constant(step: int) -> float:
    """The learning rate as the knob says."""
    return 1.0


def cosine(steps: int, *, warmup: int = 0, end: float = 0.0) -> Callable[[int], float]:
    """Linear warmup, then half a cosine from 1 down to ``end`` at step ``steps`` (Loshchilov & Hutter 2017)."""
    if not 0 <= warmup < steps:
        raise ValueError(f"warmup {warmup} of {steps} steps: expected 0 or more, and fewer than the steps")

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / (steps - warmup))
        return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor
