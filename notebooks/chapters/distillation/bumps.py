"""A student that is too small for its teacher, in one dimension: one bump has to stand for two."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from course_utils.distillation.methods import DIVERGENCES

PLACES = 61
TEACHER_WIDTH = 3.0  # standard deviation of each of the teacher's bumps, in places
WIDTHS = torch.linspace(1.5, 20, 75)  # that the student may choose from
CENTRES = torch.linspace(5, PLACES - 6, 103)


def two_bumps(distance: float = 24.0, share: float = 0.6) -> Tensor:
    """The teacher's logits over 61 places, (61,): two bumps this far apart, with this share in the left one."""
    if not 0 < share < 1:
        raise ValueError(f"share {share}: expected a number between 0 and 1")
    middle, place = (PLACES - 1) / 2, torch.arange(PLACES)
    left, right = (-(((place - middle + side * distance / 2) / TEACHER_WIDTH) ** 2) / 2 for side in (1, -1))
    return torch.logaddexp(left + torch.tensor(share).log(), right + torch.tensor(1 - share).log())


@dataclass(frozen=True, eq=False)
class Bump:
    """A student: its centre and width in places, its logits (61,), and how far it is from the teacher, in nats."""

    centre: float
    width: float
    logits: Tensor
    apart: float


def best_bump(teacher: Tensor, divergence: str) -> Bump:
    """The one bump that is nearest to a teacher's logits (61,) by a divergence of `DIVERGENCES`: all are tried."""
    if divergence not in DIVERGENCES:
        raise ValueError(f"divergence {divergence!r}: choose one of {', '.join(DIVERGENCES)}")
    centre, width = (part.flatten() for part in torch.meshgrid(CENTRES, WIDTHS, indexing="ij"))  # (bumps,)
    logits = -(((torch.arange(PLACES) - centre[:, None]) / width[:, None]) ** 2) / 2  # (bumps, places)
    apart = vmap(lambda student: DIVERGENCES[divergence](student, teacher))(logits)  # (bumps,)
    best = int(apart.argmin())
    return Bump(float(centre[best]), float(width[best]), logits[best], float(apart[best]))
