"""Not forgetting: a new task is learned while replay, L2 to the start or EWC hold on to the old one.

The old task is the stories that the model was pretrained on. The new one is questions about them, or letters, another
style of the same language.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils import checkpoint, data, runtime
from course_utils.data.rows import Rows
from course_utils.finetuning.between import interpolate
from course_utils.finetuning.fisher import fisher_diagonal
from course_utils.finetuning.methods import ewc_penalty, l2_sp_penalty, replay_batches
from course_utils.models import GPT, IGNORE
from course_utils.training import Experiment

from ..stories import held_out_loss, story_pool
from . import questions

REPLAYED = 2000  # stories that replay draws from
FISHER_ROWS = 200  # stories that the Fisher is measured on
PLAIN = {"lr": 2e-3, "replay": 0.0, "l2": 0.0, "ewc": 0.0}  # knobs with which nothing holds on to the stories
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


@cache
def start_model() -> GPT:
    """The pretrained story GPT with a head of its own, on the CPU. Copy it before it trains."""
    return questions.untied(checkpoint.load("story_gpt")).requires_grad_(True)


@cache
def start_weights(device: torch.device) -> dict[str, Tensor]:
    """Where every weight stood before fine-tuning, by name."""
    return {name: weight.detach().to(device, copy=True) for name, weight in start_model().named_parameters()}


@cache
def fisher(device: torch.device, labels: str = "sampled") -> dict[str, Tensor]:
    """How much the model's stories hang on each weight: the diagonal of the Fisher information, by name.

    labels: as in `fisher_diagonal`.
    """
    rows = story_pool(FISHER_ROWS)
    found = fisher_diagonal(start_model(), [rows], labels=labels, generator=runtime.generator(0))
    return {name: importance.to(device) for name, importance in found.items()}


def row_loss(model: GPT, batch: Rows) -> Tensor:
    """The mean over rows of each row's mean loss, in nats.

    A story has forty targets, a question one: averaged over targets, one replayed story would outweigh all questions.
    """
    tokens, targets = batch
    logits = model(tokens)[0]  # (rows, tokens, vocabulary)
    each = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORE, reduction="none")  # (rows, tokens)
    return (each.sum(1) / (targets != IGNORE).sum(1).clamp(min=1)).mean()


def kept_loss(model: GPT, batch: Rows, *, l2: float = 0.0, ewc: float = 0.0) -> Tensor:
    """`row_loss` with two anchors, whose strengths are knobs: `l2_sp_penalty` and `ewc_penalty` on stories."""
    loss, device = row_loss(model, batch), batch[0].device
    if l2:
        loss = loss + l2 * l2_sp_penalty(model, start_weights(device))
    if ewc:
        loss = loss + ewc * ewc_penalty(model, fisher(device), start_weights(device))
    return loss


POOLS = {"questions": questions.question_pool, "letters": questions.letter_pool}
MEASURES = {"questions": questions.answers, "letters": questions.letters}


def keep_recipe(
    *, task: str = "questions", examples: int = 300, steps: int = 300, seed: int = 0,
    knobs: Mapping[str, float] | None = None, measured: bool = True,
) -> Experiment:  # fmt: skip
    """Fine-tune the whole story GPT, with knobs against forgetting: replay, l2 and ewc, all 0 at first.

    task: a name in `questions.TASKS`.  examples: how many questions or letters; seed: which ones.  knobs: other
    first values.  measured: whether to measure both tasks on the way.
    """
    if task not in POOLS:
        raise ValueError(f"task {task!r}: choose one of {', '.join(POOLS)}")
    base = questions.question_recipe(examples=examples, steps=steps, seed=seed)
    new = data.row_batches(*POOLS[task](examples, 1000 + seed))
    old = data.row_batches(*story_pool(REPLAYED))
    return replace(
        base,
        model=lambda generator: copy.deepcopy(start_model()),
        batches=replay_batches(new, old),
        loss=kept_loss,
        knobs=dict(base.knobs) | {"replay": 0.0} | dict(knobs or {}),
        measures={"task": MEASURES[task], "old": questions.old_loss} if measured else {},
    )


def both(model: GPT) -> dict[str, float]:
    """How well a model answers ("accuracy"), and what became of the old task ("old", on 500 stories)."""
    return {"accuracy": questions.answers(model)["accuracy"], "old": held_out_loss(model)}


def path(model: GPT, alphas=ALPHAS) -> list[dict[str, float]]:
    """What the models between the start (alpha 0) and a fine-tuned one (alpha 1) can do: `both` for each alpha."""
    begin = copy.deepcopy(start_model()).to(next(model.parameters()).device)
    return [{"alpha": alpha} | both(interpolate(begin, model, alpha)) for alpha in alphas]
