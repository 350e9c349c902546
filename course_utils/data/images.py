"""Handwritten digits: 1,797 images of 8x8 pixels, and shifted versions of them.

The images are scikit-learn's copy of the UCI set (Alpaydin & Kaynak 1998). Its file is read directly, because
importing scikit-learn itself takes seconds and a lot of memory.
"""

from __future__ import annotations

import gzip
import importlib.util
import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils.values import narrow, one_of, seed_of, wide

SIDE = 8  # pixels
DARKEST = 16.0  # the largest value in the file


def digits() -> tuple[Tensor, Tensor]:
    """All images, (1797, 64) float32 in [0, 1], and their labels, (1797,) int64.

    ImportError where scikit-learn is not installed.
    """
    images, labels = _read()
    return images.clone(), labels.clone()


@cache
def _read() -> tuple[Tensor, Tensor]:
    package = importlib.util.find_spec("sklearn")
    if package is None:
        raise ImportError("the digits come with scikit-learn, which is missing: pip install scikit-learn")
    with gzip.open(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz") as file:
        table = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.float32))  # (images, 64 + 1)
    return table[:, :-1] / DARKEST, table[:, -1].long()


class Split(NamedTuple):
    """Images (n, 64) and labels (n,) to train on, and others to test with."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def digits_split(seed: int = 0, test: int = 540) -> Split:
    """The digits in random order, the last ``test`` of them held out; the same split for the same seed."""
    images, labels = digits()
    if not hasattr(test, "__index__") or not 1 <= test < len(images):
        raise ValueError(f"test {test}: expected 1 to {len(images) - 1} of the {len(images)} images")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed_of(seed)))
    train, held_out = order[:-test], order[-test:]
    return Split(images[train], labels[train], images[held_out], labels[held_out])


# --- shifts: the same digits from another world -------------------------------------------------------


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
