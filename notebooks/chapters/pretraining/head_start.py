"""Why "pre": questions about stories, learned from the pretrained story GPT and from scratch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from course_utils import training

from ..stories import QUESTION_LR, question_recipe


def points() -> Iterator[dict]:
    """Both starts over number of examples, and scratch with five times the steps."""
    for seed, examples, start in itertools.product(range(8), (30, 100, 300, 1000, 3000), QUESTION_LR):
        yield {"start": start, "examples": examples, "steps": 300, "seed": seed}
    for seed in range(3):
        yield {"start": "scratch", "examples": 3000, "steps": 1500, "seed": seed}


def point(*, start: str, examples: int, steps: int, seed: int) -> dict:
    """Accuracy on held-out questions at the end."""
    run = training.finish(question_recipe(start=start, examples=examples, steps=steps, seed=seed).start(seed))
    return {"accuracy": run.history["accuracy"].last}
