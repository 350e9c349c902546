"""Deep residual networks without normalization, on digits, from four starts of their branches."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from course_utils import data, initialization
from course_utils.models import MLP
from course_utils.training import Experiment

WIDTH = 32
BATCH = 64
LR = 3e-2
SHARE = {"sgd": 1.0, "adamw": 0.03}  # of the learning rate: Adam's steps do not shrink with the gradient


class Gated(nn.Module):
    """A residual MLP whose branches each pass a gate, a single number that starts at 0 (Bachlechner et al. 2021).

    Input (batch, sizes[0]) -> output (batch, sizes[-1]), as for the MLP within.
    """

    def __init__(self, mlp: MLP):
        super().__init__()
        self.mlp = mlp
        self.gates = nn.Parameter(torch.zeros(len(mlp.layers) - 2))

    def forward(self, x: Tensor) -> Tensor:
        first, *branches, head = self.mlp.layers
        x = self.mlp.act(first(x))  # (batch, width)
        for gate, layer in zip(self.gates, branches, strict=True):
            x = x + gate * self.mlp.act(layer(x))
        return head(x)


def _shrink_(mlp: MLP) -> MLP:
    """Branches divided by the root of their number, so that together they add as much as one would."""
    branches = mlp.layers[1:-1]
    with torch.no_grad():
        for layer in branches:
            layer.weight.div_(len(branches) ** 0.5)
    return mlp


STARTS: dict[str, tuple[str, Callable[[MLP], nn.Module]]] = {  # scheme, and what is done after it
    "plain": ("lecun", lambda mlp: mlp),
    "1/sqrt(blocks)": ("lecun", _shrink_),
    "zeroed": ("zero_branches", lambda mlp: mlp),
    "gated": ("lecun", Gated),
}


def deep_network(generator: torch.Generator, *, blocks: int, start: str, width: int = WIDTH) -> nn.Module:
    """A residual GELU network with this many blocks of one layer; start: a name in `STARTS`."""
    if start not in STARTS:
        raise ValueError(f"start {start!r}: choose one of {', '.join(STARTS)}")
    scheme, then = STARTS[start]
    mlp = MLP([64, *[width] * (blocks + 1), 10], activation="gelu", residual=True)
    return then(initialization.initialize_(mlp, scheme, generator=generator))


def plain_network(generator: torch.Generator, *, scheme: str, activation: str, layers: int = 20) -> MLP:
    """A network of this many hidden layers with nothing that helps; scheme: of `initialization`, "lsuv" included."""
    fitted = {"inputs": data.digits_split().train_images[:256]} if scheme == "lsuv" else {}
    mlp = MLP([64, *[WIDTH] * layers, 10], activation=activation)
    return initialization.initialize_(mlp, scheme, generator=generator, **fitted)


def deep_recipe(*, blocks: int = 4, start: str = "plain", optimizer: str = "sgd", steps: int = 200) -> Experiment:
    """Train a residual network on digits, 64 a step, with plain gradient descent ("sgd") or "adamw"."""
    split = data.digits_split()
    return Experiment(
        model=partial(deep_network, blocks=blocks, start=start),
        batches=data.row_batches(split.train_images, split.train_labels, batch_size=BATCH),
        optimizer=optimizer,
        knobs={"lr": LR},
        schedule=lambda step: SHARE[optimizer],
        steps=steps,
        measures={"accuracy": _accuracy},
        measure_every=20,
        levels={"ln 10": math.log(10)},
    )


def _accuracy(model: nn.Module, generator: torch.Generator) -> float:
    split = data.digits_split()
    device = next(model.parameters()).device
    guess = model(split.test_images.to(device)).argmax(-1).cpu()
    return (guess == split.test_labels).float().mean().item()
