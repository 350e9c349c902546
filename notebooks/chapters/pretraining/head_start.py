"""Why "pre": a task learned from the pretrained story GPT, and the same task from scratch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache

import torch

from course_utils import checkpoint, data, initialization, training
from course_utils.models import GPT, GPTConfig

TEST_SEED, TEST_QUESTIONS = 2_000_003, 400
LR = {"pretrained": 2e-3, "scratch": 5e-3}  # the better of 1e-3, 2e-3 and 5e-3 for each, tried on other seeds


@cache
def _questions(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return data.question_rows(data.questions(count, seed=seed))


@torch.no_grad()
def accuracy(model: GPT, generator: torch.Generator | None = None) -> float:
    """The share of held-out questions about stories that the model answers with the right word."""
    rows, answers = _questions(TEST_QUESTIONS, TEST_SEED)
    device = next(model.parameters()).device
    guess = torch.cat([model(part.to(device))[0].argmax(-1).cpu() for part in rows.split(100)])
    return (guess == answers)[answers >= 0].float().mean().item()


def question_recipe(*, start: str = "pretrained", examples: int = 300, steps: int = 300, seed: int = 0):
    """Learn to answer questions about stories, with the loss on the answer only.

    start: "pretrained" (the course's story GPT) or "scratch".  examples: how many different questions.  seed:
    which ones.
    """
    if start not in LR:
        raise ValueError(f"start {start!r}: choose one of {', '.join(LR)}")

    def build(generator: torch.Generator) -> GPT:
        if start == "pretrained":
            return checkpoint.load("story_gpt")
        fresh = GPT(GPTConfig(vocab_size=len(data.STORY_VOCAB)))
        return initialization.initialize_(fresh, "width", generator=generator)

    return training.Experiment(
        model=build,
        batches=data.row_batches(*_questions(examples, 1000 + seed)),
        knobs={"lr": LR[start], "weight_decay": 0.0},
        schedule=training.cosine(steps, warmup=min(20, steps - 1)),
        steps=steps,
        measures={"accuracy": accuracy},
        measure_every=max(1, steps // 6),
    )


def points() -> Iterator[dict]:
    """Both starts over number of examples, and scratch with five times the steps."""
    for seed, examples, start in itertools.product(range(4), (30, 100, 300, 1000, 3000), LR):
        yield {"start": start, "examples": examples, "steps": 300, "seed": seed}
    for seed in range(3):
        yield {"start": "scratch", "examples": 3000, "steps": 1500, "seed": seed}


def point(*, start: str, examples: int, steps: int, seed: int) -> dict:
    """Accuracy on held-out questions at the end."""
    run = training.finish(question_recipe(start=start, examples=examples, steps=steps, seed=seed).start(seed))
    return {"accuracy": run.history["accuracy"].last}
