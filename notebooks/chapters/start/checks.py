"""Checks of 00_start_here."""

from __future__ import annotations

import math

from course_utils.lesson import check, compare, exercise

__all__ = ["check"]  # a notebook takes it from here, so that its exercises are registered


@exercise("uniform-loss", "the loss of a model that knows nothing")
def _(answer):
    mistakes = {
        "took the logarithm to base 2: nats use the natural one, `math.log`": math.log2(150),
        "took the logarithm to base 10: nats use the natural one, `math.log`": math.log10(150),
        "returned the probability and not the loss": 1 / 150,
        "forgot the minus sign: the loss is -ln(1/n)": -math.log(150),
        "returned the number of words: the loss is its logarithm": 150.0,
        "divided by the number of words: all of them have the same loss": math.log(150) / 150,
    }
    yield compare(answer(150), math.log(150), mistakes=mistakes, what="the loss for 150 words")
    yield compare(answer(2), math.log(2), what="the loss for 2 words")
    yield compare(answer(1), 0.0, what="the loss for 1 word")
