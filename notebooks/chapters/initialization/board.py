"""The board: every start with every optimizer, with and without normalization and residual connections."""

from __future__ import annotations

import itertools
import math
from functools import partial

import torch

from course_utils import data, initialization, sweeps
from course_utils.models import MLP
from course_utils.training import Experiment

SCHEMES = ("normal", "uniform", "xavier", "he", "orthogonal", "lsuv")
NETWORKS = {"plain": {}, "norm": {"norm": True}, "residual": {"residual": True},
            "norm + residual": {"norm": True, "residual": True}}  # fmt: skip
DEPTH, WIDTH, BATCH = 20, 32, 64  # hidden layers, their units, images a step
LR = 1e-2
SHARE = {"sgd": 1.0, "adamw": 0.1}  # of the learning rate: Adam's steps do not shrink with the gradient


def board_network(generator: torch.Generator, *, scheme: str, network: str) -> MLP:
    """A ReLU network of 20 hidden layers for digits; scheme: one of `SCHEMES`, network: one of `NETWORKS`."""
    mlp = MLP([64, *[WIDTH] * DEPTH, 10], **NETWORKS[network])
    fitted = {"inputs": data.digits_split().train_images[:256]} if scheme == "lsuv" else {}
    return initialization.initialize_(mlp, scheme, generator=generator, **fitted)


def cells() -> list[tuple[str, str]]:
    """(network, scheme) of each network, in order."""
    return list(itertools.product(NETWORKS, SCHEMES))


def _accuracies(fleet: sweeps.Fleet, generator: torch.Generator) -> dict[str, float]:
    split = data.digits_split()
    device = next(fleet.parameters()).device
    guess = fleet(split.test_images.to(device)).argmax(-1)  # (networks, images)
    right = (guess == split.test_labels.to(device)).float().mean(1)  # (networks,)
    shares = {f"{network}, {scheme}": share for (network, scheme), share in zip(cells(), right.tolist(), strict=True)}
    means = right.view(len(NETWORKS), -1).mean(1).tolist()  # over starts
    return shares | dict(zip(NETWORKS, means, strict=True))


def board_recipe(*, optimizer: str = "sgd", steps: int = 150) -> Experiment:
    """Train all 24 networks of the board at once on digits, with plain gradient descent ("sgd") or "adamw".

    AdamW takes a tenth of the learning rate.
    """
    if optimizer not in SHARE:
        raise ValueError(f"optimizer {optimizer!r}: choose one of {', '.join(SHARE)}")
    split = data.digits_split()
    builds = [partial(board_network, scheme=scheme, network=network) for network, scheme in cells()]
    return Experiment(
        model=sweeps.fleet(builds),
        batches=data.row_batches(split.train_images, split.train_labels, batch_size=BATCH),
        loss=sweeps.fleet_loss,
        optimizer=optimizer,
        knobs={"lr": LR},
        schedule=lambda step: SHARE[optimizer],
        steps=steps,
        measures={"board": _accuracies},
        measure_every=10,
        levels={"ln 10": math.log(10)},
    )
