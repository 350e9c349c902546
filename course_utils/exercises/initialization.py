"""Checks of 04_initialization."""

from __future__ import annotations

import torch

from course_utils import runtime
from course_utils.lesson import check, compare, exercise

__all__ = ["check"]  # a notebook takes it from here, so that its exercises are registered


@exercise("different-units", "counting units that differ")
def _(answer):
    """answer(incoming (hidden, inputs), outgoing (outputs, hidden)) -> how many different hidden units there are."""
    incoming = torch.randn(10, 4, generator=runtime.generator(0))
    outgoing = torch.randn(3, 10, generator=runtime.generator(1))
    yield compare(answer(incoming.clone(), outgoing.clone()), 10, what="the count of ten random units")
    for unit, twin in ((3, 1), (5, 1), (8, 0), (9, 2)):
        incoming[unit], outgoing[:, unit] = incoming[twin], outgoing[:, twin]
    incoming[4] = incoming[7] = incoming[1]  # the same inputs, but other outputs
    outgoing[:, 6] = outgoing[:, 1]  # and the other way round
    mistakes = {
        "compared only the weights that come in: those that go out must agree too": 4,
        "compared only the weights that go out: those that come in must agree too": 5,
        "counted only the units that have no twin: twins count once": 3,
        "counted all units, with their twins": 10,
    }
    yield compare(answer(incoming.clone(), outgoing.clone()), 6, mistakes=mistakes, what="the count with some twins")
    same = torch.full((6, 4), 0.1), torch.full((3, 6), 0.1)
    yield compare(answer(same[0].clone(), same[1].clone()), 1, what="the count where all weights are 0.1")
    near = same[0].clone()
    near[2, 0] += 1e-6
    yield compare(answer(near, same[1].clone()), 2, what="the count where one weight differs by a millionth")
