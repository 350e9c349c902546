"""The studies behind 04_initialization, sections 5 to 10: how models fare from different starts."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from functools import partial

from course_utils import data, sweeps, training
from course_utils.pretraining import board, slicing, starts, warm, widths
from course_utils.pretraining.stories import held_out_loss
from course_utils.studies.study import Row, Study

# --- scales of embeddings and linear layers (section 5) -------------------------------------------------------------


def scales_points() -> Iterator[Row]:
    """Two sources and two scales: long runs on the stories, short and long ones on the Markov source."""
    base = {"source": "markov", "embedding": 0.1, "linear": 0.125, "lr": starts.LR, "steps": 400}
    for seed in range(5):
        for embedding, linear in itertools.product((0.02, 0.1, 1.0), (0.02, 0.125, 0.5)):
            yield base | {"embedding": embedding, "linear": linear, "seed": seed}
        yield base | {"embedding": 1.0, "linear": 0.02, "lr": 2e-2, "seed": seed}
    long = base | {"source": "stories", "steps": 1000}
    for seed, embedding, linear in itertools.product(range(3), (0.02, 0.1, 1.0), (0.02, 0.125)):
        if seed < 2 or (embedding, linear) not in ((0.02, 0.125), (0.1, 0.02)):  # the two that no claim compares
            yield long | {"embedding": embedding, "linear": linear, "seed": seed}
    for seed, (embedding, linear) in itertools.product(range(3, 6), ((0.02, 0.02), (1.0, 0.125))):
        yield long | {"embedding": embedding, "linear": linear, "seed": seed}  # close to each other


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


# --- the board: each cell at the best of three learning rates (section 10) -------------------------------------------

SEEDS = tuple(range(5))
RATES = {"sgd": (1e-2, 3e-2, 1e-1), "adamw": (3e-4, 1e-3, 3e-3)}


def best_rates(builds: Mapping[str, sweeps.Build], *, optimizer: str, steps: int) -> Row:
    """For each network by name: the accuracy on unseen digits of every seed, with the best of three learning rates.

    The best one has the highest mean accuracy. A network that diverged counts as 0.
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
    found = done.accuracy.nan_to_num(0.0).view(len(builds), len(rates), len(SEEDS))
    best = [shares[shares.mean(1).argmax()] for shares in found]  # each (seeds,)
    return {name: [round(share, 4) for share in row.tolist()] for name, row in zip(builds, best, strict=True)}


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


def widths_point(*, parametrization: str, width: int, seeds: int = 3) -> Row:
    """The loss after a few steps: for every learning rate, a list over seeds; 10 for a network that diverged."""
    losses = widths.sweep(width=width, parametrization=parametrization, seeds=range(seeds)).nan_to_num(10.0)
    return {"losses": [[float(f"{loss:.4g}") for loss in row] for row in losses.tolist()]}


# --- slices of a wider model (section 9) ----------------------------------------------------------------------------


def sliced_points() -> Iterator[Row]:
    """A small story GPT from random weights and from a slice, trained for a short and a longer time."""
    for steps, seed, start in itertools.product((100, 400), range(4), ("random", "sliced")):
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
