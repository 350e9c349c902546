"""The studies behind 04_initialization, sections 5 to 10: how models fare from different starts."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from course_utils import data, runtime, sweeps, training
from course_utils.data.images import Split
from course_utils.lesson.study import Row, Study

from ..stories import held_out_loss
from . import board, slicing, starts, warm, widths

# --- scales of embeddings and linear layers (section 5) -------------------------------------------------------------


def scales_points() -> Iterator[Row]:
    """Two sources and two scales: long runs on the stories, short and long ones on the Markov source."""
    base = {"source": "markov", "embedding": 0.1, "linear": 0.125, "lr": starts.LR, "steps": 400}
    for seed in range(5):
        for embedding, linear in itertools.product((0.02, 0.1, 1.0), (0.02, 0.125, 0.5)):
            yield base | {"embedding": embedding, "linear": linear, "seed": seed}
        yield base | {"embedding": 1.0, "linear": 0.02, "lr": 2e-2, "seed": seed}
    long = base | {"source": "stories", "steps": 1000}
    for seed, embedding, linear in itertools.product(range(6), (0.02, 0.1, 1.0), (0.02, 0.125)):
        if seed < 2 or (embedding, linear) != (0.02, 0.125):  # no claim compares it
            yield long | {"embedding": embedding, "linear": linear, "seed": seed}


def scales_point(*, source: str, embedding: float, linear: float, lr: float, steps: int, seed: int) -> Row:
    """The first loss, and the loss on rows that nothing trains on: on the way, and at the end."""
    run = starts.scales_recipe(source=source, embedding=embedding, linear=linear, steps=steps).start(seed)
    run.set("lr", lr)
    history = training.finish(run).history
    return {
        "first": float(history.loss[0]),
        "loss": starts.unseen_loss(run.model, source, rows=500),
        "losses": [float(f"{loss:.4g}") for loss in history["held-out"].values],
        "status": run.status,
    }


# --- the board: each cell at its best learning rate (section 10) ------------------------------------------------------

SEEDS = tuple(range(5))
RATES = {  # half a power of ten apart
    "sgd": tuple(10 ** (power / 2) for power in range(-12, 0)),
    "adamw": tuple(10 ** (power / 2) for power in range(-9, -1)),
}


def best_rates(builds: Mapping[str, sweeps.Build], *, optimizer: str, steps: int) -> Row:
    """For each network by name: every seed's share of right test digits, at its best learning rate, and that rate.

    The best rate is the one with the most training digits right, on average over the seeds. A network that diverged
    counts as 0. A rate is given as its power of ten.
    """
    split, rates = data.digits_split(), RATES[optimizer]
    runs = list(itertools.product(builds.values(), rates, SEEDS))
    done = sweeps.train_many(
        [build for build, _, _ in runs],
        data.row_batches(split.train_images, split.train_labels, batch_size=64),
        steps=steps,
        lr=[lr for _, lr, _ in runs],
        seed=[seed for _, _, seed in runs],
        optimizer=optimizer,
        test=(split.test_images, split.test_labels),
    )
    network = runs[0][0](runtime.generator(0))
    known = torch.stack([_right(network, done.parameters, k, split) for k in range(len(runs))])
    known[[step is not None for step in done.diverged_at]] = 0.0
    found, known = (part.cpu().nan_to_num(0.0).view(len(builds), len(rates), -1) for part in (done.accuracy, known))
    best = known.mean(2).argmax(1).tolist()  # of each network, the place of its rate
    row = {f"{name}, log10 lr": math.log10(rates[place]) for name, place in zip(builds, best, strict=True)}
    for name, shares, place in zip(builds, found, best, strict=True):
        row[name] = [round(share, 4) for share in shares[place].tolist()]
    return row


@torch.no_grad()
def _right(network: nn.Module, parameters: Mapping[str, Tensor], number: int, split: Split) -> Tensor:
    """The share of training digits that a network of a sweep gets right."""
    weights = {name: weight[number] for name, weight in parameters.items()}
    device = next(iter(weights.values())).device
    guess = functional_call(network.to(device), weights, (split.train_images.to(device),)).argmax(-1)
    return (guess == split.train_labels.to(device)).float().mean()


def board_points() -> Iterator[Row]:
    """Every network of the board, with both optimizers."""
    for optimizer, network in itertools.product(RATES, board.NETWORKS):
        yield {"optimizer": optimizer, "network": network}


def board_point(*, optimizer: str, network: str, steps: int = 150) -> Row:
    """Accuracy on unseen digits, by start and seed."""
    builds = {scheme: partial(board.board_network, scheme=scheme, network=network) for scheme in board.SCHEMES}
    return best_rates(builds, optimizer=optimizer, steps=steps)


# --- width (section 8) ----------------------------------------------------------------------------------------------


def widths_points() -> Iterator[Row]:
    """Both parametrizations at every width."""
    for parametrization, width in itertools.product(widths.SCHEMES, widths.WIDTHS):
        yield {"parametrization": parametrization, "width": width}


def widths_point(*, parametrization: str, width: int, seeds: int = 5) -> Row:
    """The loss after a few steps: for every learning rate, a list over seeds; 10 for a network that diverged."""
    losses = widths.sweep(width=width, parametrization=parametrization, seeds=range(seeds)).nan_to_num(10.0)
    return {"losses": [[float(f"{loss:.4g}") for loss in row] for row in losses.tolist()]}


# --- slices of a wider model (section 9) ----------------------------------------------------------------------------


def sliced_points() -> Iterator[Row]:
    """A small story GPT from random weights, a slice, and a slice in disorder, trained shortly and for longer."""
    for steps, seed, start in itertools.product((100, 400), range(8), ("random", "sliced", "shuffled")):
        yield {"start": start, "steps": steps, "seed": seed}


def sliced_point(*, start: str, steps: int, seed: int) -> Row:
    """Loss on held-out stories at the end."""
    recipe = dataclasses.replace(slicing.small_recipe(start=start, steps=steps), measures={})
    return {"loss": held_out_loss(training.finish(recipe.start(seed)).model)}


# --- a warm start that hurts (section 9) ----------------------------------------------------------------------------


def warm_points() -> Iterator[Row]:
    """Two networks."""
    for shape in warm.SHAPES:
        yield {"shape": shape}


def warm_point(*, shape: str, seeds: int = 10) -> Row:
    """For each start, the shares of images that it gets right: of those that it learned from, and of unseen ones."""
    found = warm.compare_starts(shape, range(100, 100 + seeds))
    return {f"{start}, {name}": shares for start, parts in found.items() for name, shares in parts.items()}


STUDIES = {
    "scales": Study(scales_points, scales_point),
    "board": Study(board_points, board_point),
    "widths": Study(widths_points, widths_point),
    "sliced": Study(sliced_points, sliced_point),
    "warm": Study(warm_points, warm_point),
}
