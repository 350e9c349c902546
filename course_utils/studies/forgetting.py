"""The studies behind sections 5 to 8 of 02_fine_tuning: what is kept, what is lost, and what lies between models."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from course_utils import training
from course_utils.finetuning import shift
from course_utils.studies.study import Row, Study

# --- a random head distorts good features (section 6) ---------------------------------------------------------------


def distortion_points() -> Iterator[Row]:
    """Three methods over ten seeds, those that move the features at two learning rates."""
    for seed, (method, lr) in itertools.product(range(10), itertools.product(shift.METHODS, (1e-3, 3e-3))):
        if method != "probe" or lr == 3e-3:  # a probe has its own learning rate
            yield {"method": method, "examples": 400, "lr": lr, "seed": seed}


def distortion_point(*, method: str, examples: int, lr: float, seed: int) -> Row:
    """The share of digits named right in each world at the end, and how far the features moved."""
    run = training.finish(shift.shift_recipe(method=method, examples=examples, lr=lr, seed=seed).start(seed))
    return {name: run.history[name].last for name in (shift.INSIDE, "outside", "drift")}


STUDIES = {
    "distortion": Study(distortion_points, distortion_point),
}
