"""The studies behind the first half of 02_fine_tuning: examples, what moves, rank, and the learning rate."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from course_utils import training
from course_utils.lesson.study import Row, Studies, Study

from ..stories import held_out_loss
from . import questions, studies_forgetting

LORA_RATES = (1e-3, 2e-3, 5e-3, 1e-2)


def _trained(**settings) -> Row:
    """Train on questions with these settings; how well it answers at the end, and what became of the old task."""
    run = replace(questions.question_recipe(**settings), measures={}).start(settings["seed"])
    training.finish(run)
    return questions.answers(run.model) | {"old": held_out_loss(run.model), "trained": run.history.loss[-20:].mean()}


def start_points() -> Iterator[Row]:
    """Both starts over number of examples, where their accuracies can be compared."""
    asked = {"pretrained": (30, 100, 300, 1000), "scratch": (100, 300, 1000, 3000)}
    for seed, (start, counts) in itertools.product(range(8), asked.items()):
        for examples in counts:
            yield {"start": start, "examples": examples, "seed": seed}


def start_point(*, start: str, examples: int, seed: int) -> Row:
    """Answers and old loss after 300 steps."""
    return _trained(start=start, examples=examples, seed=seed)


def longer_points() -> Iterator[Row]:
    """Scratch with 3,000 examples and five times the steps."""
    yield from ({"start": "scratch", "examples": 3000, "steps": 1500, "seed": seed} for seed in range(3))


def longer_point(**settings) -> Row:
    """Answers and old loss at the end."""
    return _trained(**settings)


def moves_points() -> Iterator[Row]:
    """300 examples: learning rates, ways to choose what moves, ranks of LoRA, and where the loss counts."""
    base = {"moves": "everything", "rank": 4, "stages": 1, "lr": 2e-3, "counted": "the answer"}
    changes = [{"lr": lr} for lr in (2e-4, 5e-4, 1e-3, 2e-3, 5e-3)]
    changes += [{"counted": "every word"}, {"moves": "last layer", "lr": 1e-2}, {"moves": "biases", "lr": 2e-2}]
    changes += [{"moves": "LoRA", "rank": rank, "lr": lr} for lr in LORA_RATES for rank in (1, 4, 16)]
    changes += [{"moves": f"{end} stages", "stages": n} for end in ("first", "last") for n in (1, 2, 3)]
    for seed, change in itertools.product(range(4), changes):
        yield base | change | {"seed": seed}


def moves_point(**settings) -> Row:
    """Answers and old loss after 300 steps."""
    return _trained(examples=300, **settings)


STUDIES = Studies(__file__, {
    "question_start": Study(start_points, start_point),
    "longer": Study(longer_points, longer_point),
    "what_moves": Study(moves_points, moves_point),
    **studies_forgetting.STUDIES,
})  # fmt: skip
