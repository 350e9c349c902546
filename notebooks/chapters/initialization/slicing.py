"""A small model that starts as a slice of a wider, trained one (Xu et al. 2024)."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from course_utils import checkpoint, initialization
from course_utils.models import GPT
from course_utils.training import Experiment

from ..stories import story_recipe

SMALL = 32
STARTS = ("random", "sliced", "shuffled", "pretrained")


@torch.no_grad()
def slice_gpt(big: GPT, width: int) -> GPT:
    """A GPT of this width whose weights are evenly spaced rows and columns of a wider one's.

    It takes whole heads, and every other part of the model at the same places. ValueError for a width that is not
    narrower, or not a whole number of heads.
    """
    heads, config = big.config.heads, big.config
    size = config.width // heads  # of a head
    if not 0 < width < config.width or width % size:
        raise ValueError(f"width {width}: expected a multiple of {size}, a head's width, below {config.width}")
    small = GPT(dataclasses.replace(config, width=width, heads=width // size))
    stream, hidden = _even(config.width, width), _even(4 * config.width, 4 * width)
    kept = (_even(heads, width // size)[:, None] * size + torch.arange(size)).flatten()  # (width,) places in heads
    parts = torch.cat([kept + part * config.width for part in range(3)])  # queries, keys, values
    rows = {"qkv": parts, "up": hidden}
    columns = {"out": kept, "down": hidden}
    wide = dict(big.named_parameters())
    for name, weight in small.named_parameters():
        layer = name.split(".")[-2]
        found = wide[name]
        if layer in ("embed", "position", "head"):
            weight.copy_(found[:, stream])
            continue
        found = found[rows.get(layer, stream)]
        weight.copy_(found if found.ndim == 1 else found[:, columns.get(layer, stream)])
    return small


@torch.no_grad()
def shuffle_(gpt: GPT, generator: torch.Generator) -> GPT:
    """Put the numbers of each weight in random order: what was learned is lost, how large they are is kept."""
    for weight in gpt.parameters():
        order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
        weight.copy_(weight.flatten()[order].view_as(weight))
    return gpt


def _even(many: int, few: int) -> Tensor:
    """`few` of `many` places, evenly spaced: (few,)."""
    return torch.arange(few) * many // few


def small_recipe(*, start: str = "random", steps: int = 400) -> Experiment:
    """Pretrain a story GPT of width 32, from random weights or from a slice of the course's, which has width 64.

    start: "random", "sliced", "shuffled" for a slice with the numbers within each matrix in random order, or
    "pretrained" for the course's own model, as wide as it is.
    """
    if start not in STARTS:
        raise ValueError(f"start {start!r}: choose one of {', '.join(STARTS)}")

    def build(generator: torch.Generator) -> GPT:
        big = checkpoint.load("story_gpt")
        if start == "pretrained":
            return big
        if start in ("sliced", "shuffled"):
            cut = slice_gpt(big, SMALL)
            return shuffle_(cut, generator) if start == "shuffled" else cut
        config = dataclasses.replace(big.config, width=SMALL, heads=big.config.heads * SMALL // big.config.width)
        return initialization.initialize_(GPT(config), "width", generator=generator)

    return dataclasses.replace(story_recipe(steps=steps), model=build)
