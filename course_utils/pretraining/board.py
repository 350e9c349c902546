"""The board: every start with every optimizer, with and without normalization and residual connections."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import data, initialization, runtime, sweeps
from course_utils.models import MLP
from course_utils.training import Experiment

SCHEMES = ("normal", "uniform", "xavier", "he", "orthogonal", "lsuv")
NETWORKS = {"plain": {}, "norm": {"norm": True}, "residual": {"residual": True},
            "norm + residual": {"norm": True, "residual": True}}  # fmt: skip
DEPTH, WIDTH, BATCH = 20, 32, 64  # hidden layers, their units, images a step
LR = 1e-1
SHARE = {"sgd": 1.0, "adamw": 0.01}  # of the learning rate: Adam's steps do not shrink with the gradient
LOST = 1e4  # a network with a larger loss no longer counts


def board_network(generator: torch.Generator, *, scheme: str, network: str) -> MLP:
    """A ReLU network of 20 hidden layers for digits; scheme: one of `SCHEMES`, network: one of `NETWORKS`."""
    mlp = MLP([64, *[WIDTH] * DEPTH, 10], **NETWORKS[network])
    fitted = {"inputs": data.digits_split().train_images[:256]} if scheme == "lsuv" else {}
    return initialization.initialize_(mlp, scheme, generator=generator, **fitted)


class Board(nn.Module):
    """All networks of the board: images (batch, 64) -> logits (networks, batch, 10), in the order of `cells`."""

    def __init__(self, generator: torch.Generator):
        super().__init__()
        seed = generator.initial_seed()  # every network from the same dice, as if it were alone
        self.groups = nn.ModuleList(
            sweeps.Together([board_network(runtime.generator(seed), scheme=scheme, network=network)
                             for scheme in SCHEMES])
            for network in NETWORKS
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([group(images) for group in self.groups])


def cells() -> list[tuple[str, str]]:
    """(network, scheme) of each network of a `Board`."""
    return list(itertools.product(NETWORKS, SCHEMES))


def _loss(board: Board, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The median loss, with the gradient of the sum, so that each network takes its own step."""
    images, labels = batch
    logits = board(images)  # (networks, batch, 10)
    each = F.cross_entropy(logits.movedim(0, -1), labels[:, None].expand(-1, len(logits)), reduction="none").mean(0)
    total = each.where(each < LOST, 0.0).sum()
    return total - (total - each.nan_to_num(LOST).median()).detach()


def _accuracies(board: Board, generator: torch.Generator) -> dict[str, float]:
    split = data.digits_split()
    device = next(board.parameters()).device
    guess = board(split.test_images.to(device)).argmax(-1).cpu()  # (networks, images)
    right = (guess == split.test_labels).float().mean(1)
    return {f"{network}, {scheme}": share for (network, scheme), share in zip(cells(), right.tolist(), strict=True)}


def board_recipe(*, optimizer: str = "sgd", steps: int = 150) -> Experiment:
    """Train all 24 networks of the board at once on digits, with plain gradient descent ("sgd") or "adamw".

    AdamW takes a hundredth of the learning rate.
    """
    if optimizer not in SHARE:
        raise ValueError(f"optimizer {optimizer!r}: choose one of {', '.join(SHARE)}")
    split = data.digits_split()
    return Experiment(
        model=Board,
        batches=data.row_batches(split.train_images, split.train_labels, batch_size=BATCH),
        loss=_loss,
        optimizer=optimizer,
        knobs={"lr": LR},
        schedule=lambda step: SHARE[optimizer],
        steps=steps,
        measures={"board": _accuracies},
        measure_every=10,
        levels={"ln 10": torch.tensor(10.0).log().item()},
    )
