"""Digits drawn with a pen on the grid of the data: 8 by 8 pixels of 0 to 16 each.

The data were made from drawings by counting ink, 4 by 4 dots a pixel, so edges are grey. A pen of the same width and
with soft edges makes pixels that look like theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from course_utils.data.images import DARKEST, SIDE

PEN = 0.65  # half the width of a stroke, in pixels: a digit drawn with it has as much ink as one of the data
Point = tuple[float, float]  # x to the right, y down, in pixels; (0.5, 0.5) is the middle of the first pixel

DIGITS: dict[int, tuple[tuple[Point, ...], ...]] = {  # each as lines of points, like a careful hand
    0: (((4, 0.7), (2.7, 1.4), (2, 3), (2, 5), (2.7, 6.6), (4, 7.3),
         (5.3, 6.6), (6, 5), (6, 3), (5.3, 1.4), (4, 0.7)),),
    1: (((2.8, 2.2), (4.3, 0.7), (4.3, 7.3)),),
    2: (((2.2, 1.7), (3.4, 0.7), (4.8, 0.9), (5.5, 2.2), (4.9, 3.7), (2.2, 7.2), (6, 7.2)),),
    3: (((2.2, 0.8), (5, 0.8), (5.4, 2.2), (3.6, 3.7), (5.4, 4.6), (5.6, 6), (4.4, 7.2), (2.2, 7)),),
    4: (((3.6, 0.7), (1.9, 4.8), (6.2, 4.8)), ((4.9, 2.8), (4.6, 7.3))),
    5: (((5.6, 0.8), (2.6, 0.8), (2.4, 3.6), (4.4, 3.3), (5.6, 4.6), (5.4, 6.4), (4, 7.2), (2.2, 6.9)),),
    6: (((4.6, 0.7), (2.7, 2.6), (2.2, 5), (2.8, 6.8), (4.2, 7.3), (5.6, 6.4), (5.4, 4.8), (4, 4.2), (2.5, 5.2)),),
    7: (((2, 0.8), (5.8, 0.8), (4.4, 4), (3.6, 7.3)), ((2.8, 4), (5.6, 4))),
    8: (((4, 0.8), (2.6, 1.9), (4, 3.7), (5.5, 5.4), (4, 7.2), (2.5, 5.6), (4, 3.7), (5.4, 1.9), (4, 0.8)),),
    9: (((5.4, 2.2), (4, 0.8), (2.6, 2), (3, 3.7), (5.4, 3.4), (5.4, 1.4), (5.4, 5.6), (4.4, 7.2), (2.6, 7)),),
}  # fmt: skip


def stroke(lines: Iterable[Sequence[Point]], *, half: float = PEN) -> Tensor:
    """Pixels 0 to 16 under lines drawn with a pen: (64,). A pixel gets less ink the farther its middle is from them."""
    middles = torch.arange(SIDE) + 0.5
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    at = torch.stack([x, y], -1).view(-1, 2)  # (64, 2)
    ink = torch.zeros(len(at))
    for points in lines:
        for a, b in zip(points, [*points[1:], points[-1]], strict=True):
            start = torch.tensor(a, dtype=torch.float)
            along = torch.tensor(b, dtype=torch.float) - start
            share = ((at - start) @ along / (along @ along).clamp(min=1e-9)).clamp(0, 1)
            far = (at - start - share[:, None] * along).norm(dim=-1)
            ink = torch.maximum(ink, (half + 0.5 - far).clamp(0, 1))
    return (DARKEST * ink + 0.5).floor()


def drawn(digit: int, *, size: float = 1.0, right: float = 0.0, down: float = 0.0, half: float = PEN) -> Tensor:
    """A digit of `DIGITS`, of another size around the middle, moved by so many pixels: (64,) in [0, 1]."""
    middle = SIDE / 2
    moved = [[(middle + size * (x - middle) + right, middle + size * (y - middle) + down) for x, y in line]
             for line in DIGITS[digit]]  # fmt: skip
    return stroke(moved, half=half) / DARKEST


def all_drawn(*, size: float = 1.0, right: float = 0.0, down: float = 0.0) -> tuple[Tensor, Tensor]:
    """Each digit at nine places, up to a quarter of a pixel around its own: images (90, 64) and labels (90,)."""
    near = (-0.25, 0.0, 0.25)
    images = [drawn(digit, size=size, right=right + x, down=down + y) for digit in DIGITS for x in near for y in near]
    return torch.stack(images), torch.tensor(list(DIGITS)).repeat_interleave(len(near) ** 2)
