"""Handwritten digits: 1,797 images of 8x8 pixels.

The images are scikit-learn's copy of the UCI set (Alpaydin & Kaynak 1998). Its file is read directly, because
importing scikit-learn itself takes seconds and a lot of memory.
"""

from __future__ import annotations

import gzip
import importlib.util
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_utils.values import seed_of

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
