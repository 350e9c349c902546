"""A warm start that hurts: trained on a part of the data first, then on all of it (Ash & Adams 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils import data, initialization, sweeps
from course_utils.models import MLP

SIZES = (64, 128, 128, 10)
IMAGES = 400  # to learn from; the first stage sees the first half of them
FIRST_STEPS = 1000
LR = {"sgd": 1e-1, "adamw": 1e-3}
SHRINK, NOISE = 0.4, 0.4  # "shrink and perturb": the old weights times 0.4, and a fresh start times 0.4 added
STARTS = ("fresh", "warm", "shrunk")


def fresh_network(generator: torch.Generator) -> MLP:
    return initialization.initialize_(MLP(SIZES), "he", generator=generator)


def images(split_seed: int = 0, count: int = IMAGES) -> tuple[Tensor, Tensor]:
    """The images that there are to learn from, and their labels."""
    split = data.digits_split(split_seed)
    return split.train_images[:count], split.train_labels[:count]


def half_trained(
    seeds: Sequence[int], *, optimizer: str = "adamw", steps: int = FIRST_STEPS
) -> list[dict[str, Tensor]]:
    """The weights of networks that were trained on the first half of the images, one for each seed."""
    batches = data.row_batches(*images(count=IMAGES // 2), batch_size=64)
    swept = sweeps.train_many(fresh_network, batches, steps=steps, lr=LR[optimizer], seed=seeds, optimizer=optimizer)
    return [{name: stack[number] for name, stack in swept.parameters.items()} for number in range(len(seeds))]


def start_from(old: dict[str, Tensor], generator: torch.Generator, *, start: str) -> MLP:
    """A network that goes on from old weights: "fresh" forgets them, "warm" keeps them, "shrunk" keeps a part."""
    network = fresh_network(generator)
    if start == "fresh":
        return network
    keep, add = (1.0, 0.0) if start == "warm" else (SHRINK, NOISE)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.mul_(add).add_(old[name], alpha=keep)
    return network
