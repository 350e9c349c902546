"""The studies behind 01_pretraining: learning rate and schedule, repeated data, scaling."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from course_utils import data, runtime, training
from course_utils.lesson.study import Row, Studies, Study
from course_utils.models import count_parameters
from course_utils.pretraining.sampling import sample

from ..stories import held_out_loss, story_pool, story_recipe
from . import copying, head_start

# --- learning rate and schedule (section 3) -----------------------------------------------------------------------


def schedule_points() -> Iterator[Row]:
    """Learning rates, horizons of the cosine, and warmup, over ten seeds; two horizons in longer runs, over eight."""
    base = {"lr": 5e-3, "warmup": 50, "horizon": 400, "steps": 400}
    changes = [{"lr": lr} for lr in (3e-4, 2e-3, 5e-3, 2e-2, 1e-1)]
    changes += [{"horizon": 800}, {"horizon": 1600}, {"warmup": 0}, {"lr": 2e-2, "warmup": 0}]
    for seed, change in itertools.product(range(10), changes):
        yield base | change | {"seed": seed}
    for seed, horizon in itertools.product(range(8), (1000, 4000)):
        yield base | {"horizon": horizon, "steps": 1000, "seed": seed}


def schedule_point(*, lr: float, warmup: int, horizon: int, steps: int, seed: int) -> Row:
    """Held-out loss after ``steps`` steps. horizon: the step at which the cosine would reach 0."""
    experiment = story_recipe(steps=steps, warmup=warmup, horizon=horizon, measured=False)
    run = experiment.start(seed)
    run.set("lr", lr)
    training.finish(run)
    return {"loss": held_out_loss(run.model), "status": run.status}


# --- repeated data (section 4) --------------------------------------------------------------------------------------


def repeats_points() -> Iterator[Row]:
    """From 75 to 19,200 different stories, each number read for 1,200 steps of 16."""
    for seed, stories in itertools.product(range(3), (75, 300, 1200, 4800, 19_200)):
        yield {"stories": stories, "seed": seed}


def repeats_point(*, stories: int, seed: int, steps: int = 1200) -> Row:
    """Loss on what was learned and on held-out stories, and the longest span copied from what was learned.

    copied: mean over 50 sampled stories of the longest run of tokens that stands in the training stories; control:
    the same for 50 true stories, because a small language repeats itself.
    """
    run = training.finish(story_recipe(stories=stories, steps=steps, measured=False).start(seed))
    rows, targets = (part[:300] for part in story_pool(stories))
    with torch.no_grad():
        learned = run.model(rows, targets)[1].item()
    tokenizer = data.StoryTokenizer()
    start = torch.full((50, 1), tokenizer.begin)
    made = sample(run.model, start, steps=63, generator=runtime.generator(seed), stop=tokenizer.end)
    pool = story_pool(stories)[0]
    true = story_pool(50, 77)[0]
    return {
        "learned": learned,
        "loss": held_out_loss(run.model),
        "copied": _copied(made, pool),
        "control": _copied(true, pool),
    }


def _copied(rows: torch.Tensor, pool: torch.Tensor) -> float:
    """Mean over rows of the longest span of tokens, padding left out, that stands in a row of the pool."""
    tokenizer = data.StoryTokenizer()
    special = {tokenizer.pad, tokenizer.begin, tokenizer.end}

    def plain(row: torch.Tensor) -> list[int]:
        return [token for token in row.tolist() if token not in special]

    known = [" " + " ".join(map(str, plain(row))) + " " for row in pool]
    text = "|".join(known)
    spans = [_longest(plain(row), text) for row in rows]
    return sum(spans) / len(spans)


def _longest(tokens: list[int], text: str) -> int:
    best = 0
    for start in range(len(tokens)):
        while start + best < len(tokens) and " " + " ".join(map(str, tokens[start : start + best + 1])) + " " in text:
            best += 1
    return best


# --- scaling (section 5) ------------------------------------------------------------------------------------------


def scaling_points() -> Iterator[Row]:
    """Four widths and four amounts of data for the fit, and one larger and longer run that it must predict."""
    for seed, width, steps in itertools.product(range(3), (8, 16, 32, 64), (200, 400, 800, 1600)):
        yield {"width": width, "steps": steps, "seed": seed}
    for seed in range(3):
        yield {"width": 96, "steps": 2400, "seed": seed}


def scaling_point(*, width: int, steps: int, seed: int) -> Row:
    """Held-out loss of a model that reads each of 16 * steps stories once."""
    rows, targets = story_pool(16 * steps, seed=seed)
    batches = list(zip(rows.split(16), targets.split(16), strict=True))
    recipe = story_recipe(width=width, steps=steps, measured=False)
    history_free = {name: getattr(recipe, name) for name in ("model", "knobs", "schedule", "steps")}
    run = training.finish(training.Experiment(batches=batches, **history_free).start(seed))
    return {
        "parameters": count_parameters(run.model),
        "tokens": int((targets >= 0).sum()),
        "loss": held_out_loss(run.model, stories=1000),
    }


STUDIES = Studies(__file__, {
    "schedule": Study(schedule_points, schedule_point),
    "repeats": Study(repeats_points, repeats_point),
    "scaling": Study(scaling_points, scaling_point),
    "copying": Study(copying.points, copying.point),
    "head_start": Study(head_start.points, head_start.point),
})  # fmt: skip
