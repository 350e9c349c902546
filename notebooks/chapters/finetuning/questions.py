"""Fine-tuning the story GPT to answer questions: where it starts, what may move, and what it forgets meanwhile.

Everything here starts from `stories.question_recipe`, the task of the last section but one of 01_pretraining.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils import data
from course_utils.data.rows import Rows
from course_utils.dice import Dice
from course_utils.finetuning.methods import BIASES, add_lora_, freeze_
from course_utils.models import GPT, IGNORE
from course_utils.training import Experiment

from .. import stories
from ..stories import held_out_loss
from ..stories.questions import QUESTIONS, draw_questions, question_rows

KINDS = tuple(QUESTIONS)  # kinds of questions: place, colour, feeling, who
ALPHA = 8  # of LoRA, at every rank: alpha / rank scales the update
MOVES: dict[str, Callable] = {  # what may move -> what is done to the model before it trains
    "everything": lambda model, **_: freeze_(model, train="*"),
    "last layer": lambda model, **_: freeze_(model, train="head*"),
    "biases": lambda model, **_: freeze_(model, train=BIASES),
    "LoRA": lambda model, rank, generator, **_: add_lora_(model, rank, ALPHA, generator=generator),
    "first stages": lambda model, stages, **_: freeze_(model, train_first=stages),
    "last stages": lambda model, stages, **_: freeze_(model, train_last=stages),
}
LR = dict.fromkeys(MOVES, 2e-3) | {"last layer": 1e-2, "biases": 2e-2, "LoRA": 1e-2}


@cache
def question_pool(count: int, seed: int) -> Rows:
    """Rows of questions with their answers, the answer being the only target; (count, 64) each."""
    return question_rows(draw_questions(count, seed=seed))


@cache
def text_pool(count: int, seed: int) -> Rows:
    """The same rows, every word being a target."""
    return data.story_rows([f"{item.story} {item.question} {item.answer}" for item in draw_questions(count, seed=seed)])


@cache
def letter_pool(count: int, seed: int) -> Rows:
    """Rows of letters, another style of the story language: (count, 64) each."""
    return data.story_rows(data.stories(count, seed=seed, style="letter"))


TASKS = ("questions", "letters")
COUNTED = {"the answer": question_pool, "every word": text_pool}


def untied(model: GPT) -> GPT:
    """The same model with a head of its own, so that the head may move alone; it answers as before."""
    with Dice(0):  # PyTorch's own start, which is replaced
        apart = GPT(replace(model.config, tied=False))
    apart.load_state_dict(model.state_dict())
    return apart


def question_recipe(
    *,
    start: str = "pretrained",
    examples: int = 300,
    moves: str = "everything",
    rank: int = 4,
    stages: int = 1,
    counted: str = "the answer",
    steps: int = 300,
    lr: float | None = None,
    seed: int = 0,
) -> Experiment:
    """Learn to answer questions about stories.

    start: "pretrained" (the story GPT), "scratch" or "mine" (the learner's).  examples: how many different questions;
    seed: which ones.  moves: a name in `MOVES`.  rank: of LoRA.  stages: how many train, for "first stages" and "last
    stages" (see `freeze_`; the story GPT has 4).  counted: "the answer" or "every word": where the loss counts.  lr: by
    default one that suits start and moves.  Measures: as `answers` and `old_loss`.
    """
    for name, value, known in (("moves", moves, MOVES), ("counted", counted, COUNTED)):
        if value not in known:
            raise ValueError(f"{name} {value!r}: choose one of {', '.join(known)}")
    base = stories.question_recipe(start=start, examples=examples, steps=steps, seed=seed)

    def build(generator: torch.Generator) -> GPT:
        model = untied(base.model(generator))
        MOVES[moves](model, rank=rank, stages=stages, generator=generator)
        return model

    usual = stories.QUESTION_LR["scratch"] if start == "scratch" else LR[moves]
    knobs = dict(base.knobs) | {"lr": usual if lr is None else lr}
    measures = {"answers": answers, "old": old_loss}
    batches = data.row_batches(*COUNTED[counted](examples, 1000 + seed))
    return replace(
        base, model=build, batches=batches, knobs=knobs, measures=measures, measure_every=max(1, steps // 12)
    )


def task_recipe(*, task: str = "questions", moves: str = "everything", rank: int = 4) -> Experiment:
    """`question_recipe`, or the same on 300 letters, a style of text that the model has not seen, every word counted.

    task: one of `TASKS`. With letters, the new task is measured as in `letters`.
    """
    if task not in TASKS:
        raise ValueError(f"task {task!r}: choose one of {', '.join(TASKS)}")
    recipe = question_recipe(moves=moves, rank=rank)
    if task == "questions":
        return recipe
    measures = {"letters": letters, "old": old_loss}
    return replace(recipe, batches=data.row_batches(*letter_pool(300, 0)), measures=measures)


# --- measures -----------------------------------------------------------------------------------------------------


@cache
def held_out_questions() -> tuple[Tensor, Tensor, Tensor, tuple[str, ...]]:
    """Questions that nothing trains on: rows (questions, 64), where each answer is guessed and what it is, kinds."""
    items = draw_questions(stories.TEST_QUESTIONS, seed=stories.TEST_SEED)
    rows, targets = question_rows(items)
    places = (targets != IGNORE).int().argmax(1)  # (questions,) the token after which the answer comes
    wanted = targets.gather(1, places[:, None])[:, 0]  # (questions,)
    return rows[:, : int(places.max()) + 1], places, wanted, tuple(item.kind for item in items)


@torch.no_grad()
def answers(model: GPT, generator: torch.Generator | None = None) -> dict[str, float]:
    """On held-out questions: the loss on the answer ("new"), the share answered right, and the same by kind."""
    rows, places, wanted, kinds = held_out_questions()
    device = next(model.parameters()).device
    logits = torch.cat([model(part.to(device))[0].cpu() for part in rows.split(100)])
    logits = logits[torch.arange(len(rows)), places]  # (questions, vocabulary)
    right = (logits.argmax(-1) == wanted).float()
    of_kind = {kind: [i for i, one in enumerate(kinds) if one == kind] for kind in KINDS}
    shares = {kind: right[chosen].mean().item() for kind, chosen in of_kind.items()}
    return {"new": F.cross_entropy(logits, wanted).item(), "accuracy": right.mean().item()} | shares


def old_loss(model: GPT, generator: torch.Generator | None = None) -> dict[str, float]:
    """The loss in nats per token on held-out stories ("old"): what the model was pretrained for."""
    return {"old": held_out_loss(model, stories=64)}


@torch.no_grad()
def letters(model: GPT, generator: torch.Generator | None = None) -> dict[str, float]:
    """On held-out letters: the loss in nats per token ("new"), and the share of next words guessed ("accuracy")."""
    rows, targets = (part.to(next(model.parameters()).device) for part in letter_pool(64, stories.TEST_SEED))
    logits, loss = model(rows, targets)
    counted = targets != IGNORE  # (rows, tokens)
    right = (logits.argmax(-1) == targets)[counted].float()
    return {"new": loss.item(), "accuracy": right.mean().item()}


def examples_needed(accuracy: float, counts: Sequence[int], accuracies: Sequence[float]) -> float:
    """How many examples give this accuracy, interpolated in the logarithm between measured counts (lowest first).

    ValueError for an accuracy outside what was measured.
    """
    reached = np.maximum.accumulate(accuracies)  # more examples do not really harm: a dip is noise
    if not reached[0] <= accuracy <= reached[-1]:
        raise ValueError(f"accuracy {accuracy}: measured are {reached[0]} to {reached[-1]}")
    return float(np.exp(np.interp(accuracy, reached, np.log(counts))))
