"""The digits from other worlds: moved, noisy or rotated, for whoever trains on one world and answers in another."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils.data.images import SIDE
from course_utils.values import narrow, one_of, seed_of, wide


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image one pixel up, down, left or right; what leaves the frame is lost."""
    way = torch.randint(4, (len(images),), generator=generator)
    padded = F.pad(images, (1, 1, 1, 1))  # (images, 10, 10)
    corners = ((0, 1), (2, 1), (1, 0), (1, 2))
    options = torch.stack([padded[:, top : top + SIDE, left : left + SIDE] for top, left in corners])
    return options[way, torch.arange(len(images))]


def _noisy(images: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of standard deviation 0.3 on every pixel, cut to [0, 1]."""
    return (images + 0.3 * torch.randn(images.shape, generator=generator)).clamp(0, 1)


def _rotated(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned by up to 45 degrees either way."""
    angle = (2 * torch.rand(len(images), generator=generator) - 1) * math.pi / 4
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack([cos, -sin, zero, sin, cos, zero], dim=-1).view(-1, 2, 3)
    grid = F.affine_grid(turn.to(images), [len(images), 1, SIDE, SIDE], align_corners=False)
    return F.grid_sample(images[:, None], grid, align_corners=False)[:, 0].clamp(0, 1)


SHIFTS = {"moved": _moved, "noisy": _noisy, "rotated": _rotated}


def shift_digits(images: Tensor, shift: str, *, seed: int = 0) -> Tensor:
    """The same digits, moved, noisy or rotated: (n, 64) -> (n, 64) in [0, 1]; labels stay as they are."""
    one_of("shift", shift, SHIFTS)
    square = wide(images, torch.float32).reshape(-1, SIDE, SIDE)
    return narrow(SHIFTS[shift](square, torch.Generator().manual_seed(seed_of(seed))).reshape(images.shape), images)
