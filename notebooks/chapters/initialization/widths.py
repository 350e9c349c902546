"""The best learning rate over the width: standard parametrization against maximal update (Yang & Hu 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from course_utils import data, initialization, sweeps
from course_utils.models import MLP

from .mup import mup_learning_rates

BASE = 32  # the width at which both parametrizations are the same
WIDTHS = (32, 128, 512)
LRS = tuple(2.0**power for power in range(-13, -2))  # 0.00012 to 0.125
STEPS = 40
SCHEMES = {"standard": "width", "mup": "mup"}


def network(generator: torch.Generator, *, width: int, parametrization: str) -> MLP:
    """A ReLU network with three hidden layers for digits."""
    options = {"base_width": BASE} if parametrization == "mup" else {}
    mlp = MLP([64, width, width, width, 10])
    return initialization.initialize_(mlp, SCHEMES[parametrization], generator=generator, **options)


def factors(width: int, parametrization: str) -> dict[str, float]:
    """By parameter, the factor on the learning rate."""
    mlp = MLP([64, width, width, width, 10])
    return mup_learning_rates(mlp, base_width=BASE) if parametrization == "mup" else {}


def sweep(
    *, width: int, parametrization: str, lrs: Sequence[float] = LRS, seeds: Sequence[int] = (0,), steps: int = STEPS
) -> torch.Tensor:
    """Mean loss of the last 10 of a few AdamW steps on digits, for every learning rate and seed: (lrs, seeds).

    nan where a network diverged.
    """
    split = data.digits_split()
    pairs = [(lr, seed) for lr in lrs for seed in seeds]
    done = sweeps.train_many(
        partial(network, width=width, parametrization=parametrization),
        data.row_batches(split.train_images, split.train_labels, batch_size=64),
        steps=steps,
        lr=[lr for lr, _ in pairs],
        seed=[seed for _, seed in pairs],
        lr_factors=factors(width, parametrization),
    )
    return done.losses[-10:].mean(0).view(len(lrs), len(seeds))
