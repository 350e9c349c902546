"""Random generators of the data: Python's and PyTorch's, from the same kind of seed."""

from __future__ import annotations

import operator
import random

import torch


def python_dice(seed: int) -> random.Random:
    """Python's generator with this seed."""
    return random.Random(_checked(seed))


def torch_dice(seed: int) -> torch.Generator:
    """PyTorch's generator with this seed."""
    return torch.Generator().manual_seed(_checked(seed))


def _checked(seed: int) -> int:
    """The seed as Python's integer. Python's own dice would take None for "now", and -1 for 1."""
    number = operator.index(seed) if hasattr(seed, "__index__") and not isinstance(seed, bool) else -1
    if not 0 <= number < 2**63:
        raise ValueError(f"seed {seed!r}: expected a whole number from 0 to 2**63 - 1")
    return number
