"""The story GPT: the small language model that a learner carries through the course."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from course_utils import data, initialization
from course_utils.models import GPT, GPTConfig
from course_utils.pretraining.sampling import sample
from course_utils.training import Experiment, constant, cosine

HELD_OUT_SEED = 1_000_003  # stories that no experiment trains on
LR = 1e-2


def story_recipe(
    *,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    context: int = 64,
    init: str = "width",
    schedule: str = "cosine",
    warmup: int = 50,
    steps: int = 1000,
    horizon: int | None = None,
    stories: int = 20_000,
    measured: bool = True,
) -> Experiment:
    """Pretrain a GPT on stories: AdamW, batches of 16 stories.

    init: a scheme of `initialization`.  schedule: "cosine" or "constant"; horizon: the step at which the cosine
    reaches 0, by default the last.  stories: how many different ones there are to learn from.  measured: whether
    the held-out loss, the abilities and a sample are measured on the way.
    """
    config = GPTConfig(vocab_size=len(data.STORY_VOCAB), context=context, width=width, heads=heads, layers=layers)

    def build(generator: torch.Generator) -> GPT:
        return initialization.initialize_(GPT(config), init, generator=generator)

    schedules = {"cosine": lambda: cosine(horizon or steps, warmup=warmup), "constant": lambda: constant}
    if schedule not in schedules:
        raise ValueError(f"schedule {schedule!r}: choose one of {', '.join(schedules)}")
    return Experiment(
        model=build,
        batches=_shortened(data.story_batches(stories), context),
        knobs={"lr": LR, "weight_decay": 0.0},
        schedule=schedules[schedule](),
        steps=steps,
        measures={"held-out": held_out_loss, "abilities": abilities, "sample": story_sample} if measured else {},
        levels=data.ladder(),
    )
