"""The studies behind sections 5 to 8 of 02_fine_tuning: what is kept, what is lost, and what lies between models."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from course_utils import training
from course_utils.lesson.study import Row, Study

from . import keeping, shift, transfer

# --- not forgetting, and between two models (sections 4, 5 and 7) ---------------------------------------------------

TURNED = {"lr": 2e-4, "replay": 0.05}  # knob -> what it is turned to after half of the steps


def keeping_points() -> Iterator[Row]:
    """Learning to answer over four seeds: lower learning rates, and several strengths of each way to hold on."""
    strengths = {"lr": (2e-3, 1e-3, 5e-4), "replay": (0.01, 0.05), "l2": (0.01, 0.03, 0.1), "ewc": (1.0, 3.0, 10.0)}
    changes = [{knob: value} for knob, values in strengths.items() for value in values]
    for seed, change in itertools.product(range(4), changes):
        yield keeping.PLAIN | change | {"seed": seed}


def keeping_point(*, seed: int, **knobs: float) -> Row:
    """Questions answered right and the old loss at the end, and the same on the way back to the start.

    "accuracy at 0.25" is that of the model a quarter of the way from the start; only where nothing holds on.
    """
    model = training.finish(keeping.keep_recipe(seed=seed, knobs=knobs, measured=False).start(seed)).model
    row = keeping.both(model)
    if knobs == keeping.PLAIN:
        for mixed in keeping.path(model, alphas=(0.25, 0.5, 0.75)):
            row |= {f"{name} at {mixed['alpha']:g}": mixed[name] for name in ("accuracy", "old")}
    return row


def turned_points() -> Iterator[Row]:
    """Two knobs over four seeds."""
    for seed, knob in itertools.product(range(4), TURNED):
        yield {"knob": knob, "seed": seed}


def turned_point(*, knob: str, seed: int) -> Row:
    """Learning to answer with nothing to hold on, and a knob turned half way: both tasks then, soon after, and at last.

    "old at 150" is the old loss after 150 of the 300 steps.
    """
    run = keeping.keep_recipe(seed=seed, knobs=keeping.PLAIN, measured=False).start(seed)
    row: Row = {}
    for step in (150, 175, 200):
        while run.step_count < step:
            run.step()
        row |= {f"{name} at {step}": value for name, value in keeping.both(run.model).items()}
        run.set(knob, TURNED[knob])
    return row | keeping.both(training.finish(run).model)


# --- a random head distorts good features (section 6) ---------------------------------------------------------------


def distortion_points() -> Iterator[Row]:
    """Three methods over ten seeds, those that move the features at two learning rates, full for twice as long, too."""
    ways = [(method, lr, 300) for method in shift.METHODS for lr in (1e-3, 3e-3)]
    for seed, (method, lr, steps) in itertools.product(range(10), [*ways, ("full", 1e-3, 600), ("full", 3e-3, 600)]):
        if method != "probe" or lr == 3e-3:  # a probe has its own learning rate
            yield {"method": method, "examples": 400, "lr": lr, "steps": steps, "seed": seed}


def distortion_point(*, seed: int, **settings) -> Row:
    """The share of digits named right in each world at the end, and how far the features moved."""
    run = training.finish(shift.shift_recipe(seed=seed, **settings).start(seed))
    return {name: run.history[name].last for name in (shift.INSIDE, "outside", "drift")}


# --- averages from one start and from several (section 7) -----------------------------------------------------------


def averages_points() -> Iterator[Row]:
    """Two and four networks, fine-tuned from one start and from several, over eight seeds."""
    for seed, starts, count in itertools.product(range(8), ("one", "several"), (2, 4)):
        yield {"starts": starts, "count": count, "seed": seed}


def averages_point(*, starts: str, count: int, seed: int) -> Row:
    """The mean accuracy of the networks, and the accuracy of the network with their mean weights."""
    return transfer.averaged(count, starts=starts, seed=seed)


# --- where transfer is negative (section 8) -------------------------------------------------------------------------


def negative_points() -> Iterator[Row]:
    """Four starts over eight seeds: few examples and more, and longer training."""
    for seed, start, (examples, steps) in itertools.product(
        range(8), transfer.STARTS, ((10, 150), (100, 150), (100, 600))
    ):
        yield {"start": start, "examples": examples, "steps": steps, "seed": seed}


def negative_point(*, start: str, examples: int, steps: int, seed: int) -> Row:
    """The share of held-out digits named right at the end; each seed has examples of its own."""
    recipe = transfer.transfer_recipe(start=start, examples=examples, steps=steps, seed=seed)
    return {"accuracy": training.finish(recipe.start(seed)).history["accuracy"].last}


STUDIES = {
    "keeping": Study(keeping_points, keeping_point),
    "turned": Study(turned_points, turned_point),
    "averages": Study(averages_points, averages_point),
    "negative": Study(negative_points, negative_point),
    "distortion": Study(distortion_points, distortion_point),
}
