"""A story GPT that learns from a larger one: its layers, its probabilities, its text, its judgement of own samples.

The teacher is the checkpoint `story_teacher`, of four layers. A student has two, and AdamW trains it on 16 stories a
step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn

from course_utils import checkpoint, data, initialization, runtime, training
from course_utils.distillation.methods import DIVERGENCES, copy_layers_, forward_kl, hidden, hint_loss, on_policy_loss
from course_utils.models import GPT, IGNORE, GPTConfig

from ..stories.abilities import ability_accuracy, ability_masks
from .writing import write

HELD_OUT_SEED, HELD_OUT = 1_000_003, 64  # stories that nothing trains on, measured on the way in one pass
POOL = 20_000  # true stories, more than a run reads
LR, WARMUP = 5e-3, 20
COPIED = {"none": None, "1 and 2": (0, 1), "1 and 3": (0, 2), "1 and 4": (0, 3), "2 and 4": (1, 3)}  # teacher's layers
TARGETS = ("labels", "probabilities")
WAYS = ("labels", "text", "probabilities", "own samples")
ABILITIES = ("syntax", "pronoun", "feeling", "thing", "place")
WRITTEN_AT_ONCE = 100


@cache
def teacher() -> GPT:
    """The teacher, frozen, on the device where its students train."""
    return checkpoint.load("story_teacher").to(runtime.device()).eval().requires_grad_(False)


def student(generator: torch.Generator, *, width: int = 64, layers: int = 2, copied: str = "none") -> GPT:
    """A fresh student; copied: which of the teacher's layers it starts from, a name in `COPIED`."""
    config = GPTConfig(vocab_size=len(data.STORY_VOCAB), width=width, layers=layers)
    made = initialization.initialize_(GPT(config), "width", generator=generator)
    if _known("copied", copied, COPIED) != "none":
        copy_layers_(made, teacher(), layers=COPIED[copied])
    return made


def copied_by(copy_layers: Callable, generator: torch.Generator, *, copied: str = "none") -> GPT:
    """`student`, whose layers a learner's ``copy_layers(student, teacher, layers)`` copies."""
    made = student(generator)
    if copied != "none":
        copy_layers(made, copy.deepcopy(teacher()), list(COPIED[copied]))
    return made.requires_grad_(True)  # also what came out of the frozen teacher as it was


def _known(what: str, name: str, options) -> str:
    if name not in options:
        raise ValueError(f"{what} {name!r}: choose one of {', '.join(options)}")
    return name


# --- texts ------------------------------------------------------------------------------------------------------------


@cache
def true_texts(stories: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Stories of the language as inputs and targets, each (stories, 64)."""
    return data.story_rows(data.stories(stories, seed=seed))


@cache
def written_texts(stories: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Stories that the teacher wrote, mistakes and all, as inputs and targets, each (stories, 64) on the CPU."""
    generator, rows = runtime.generator(seed), []
    for start in range(0, stories, WRITTEN_AT_ONCE):
        rows.append(own_texts(teacher(), min(WRITTEN_AT_ONCE, stories - start), generator))
    return tuple(torch.cat(parts).cpu() for parts in zip(*rows, strict=True))


def own_texts(model: GPT, stories: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Stories that a model writes, as inputs and targets, each (stories, context), laid out as true ones are."""
    tokenizer, context = data.StoryTokenizer(), model.config.context
    begin = torch.full((stories, 1), tokenizer.begin, device=next(model.parameters()).device)
    tokens = write(model, begin, steps=context - 1, generator=generator, stop=tokenizer.end)
    tokens = nn.functional.pad(tokens, (0, context + 1 - tokens.shape[1]), value=tokenizer.end)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    over = inputs == tokenizer.end  # a story that does not fit loses its last token's target, as it has none
    return inputs.masked_fill(over, tokenizer.pad), targets.masked_fill(over, IGNORE)


@torch.no_grad()
def _taught(inputs: Tensor) -> Tensor:
    """The teacher's logits on rows: (rows, tokens, vocabulary) on the CPU."""
    device = next(teacher().parameters()).device
    return torch.cat([teacher()(part.to(device))[0].cpu() for part in inputs.split(100)])


# --- measures ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def evaluate(
    model: GPT | nn.ModuleDict, generator: torch.Generator | None = None, *, stories: int = HELD_OUT
) -> dict[str, float]:
    """Held-out loss, and the share of held-out tokens guessed right for each ability."""
    model = model["student"] if isinstance(model, nn.ModuleDict) else model
    device = next(model.parameters()).device
    inputs, targets = (part.to(device) for part in true_texts(stories, HELD_OUT_SEED))
    logits, loss = model(inputs, targets)
    return {"held-out": loss.item()} | ability_accuracy(logits, inputs, targets)


def flawless(model: GPT, *, stories: int = 200, seed: int = 0) -> dict[str, float]:
    """Of stories that the model writes: the share that the language could have written, and how many of these differ.

    different: the number of different flawless stories, as a share of all that it wrote.
    """
    tokenizer = data.StoryTokenizer()
    inputs, _ = own_texts(model, stories, runtime.generator(seed))
    right = [text for text in map(tokenizer.decode, inputs) if data.grammatical(text)]
    return {"flawless": len(right) / stories, "different": len(set(right)) / stories}


@cache
def teacher_level(stories: int = HELD_OUT) -> float:
    """The teacher's own loss on the same held-out stories."""
    return evaluate(teacher(), stories=stories)["held-out"]


# --- recipes ----------------------------------------------------------------------------------------------------------


def _experiment(model: Callable, batches: Callable, loss: Callable, steps: int, **knobs) -> training.Experiment:
    return training.Experiment(
        model=model,
        batches=batches,
        loss=loss,
        knobs={"lr": LR, "weight_decay": 0.0, **knobs},
        schedule=training.cosine(steps, warmup=min(WARMUP, steps - 1)),
        steps=steps,
        measures={"held-out": evaluate},
        measure_every=max(1, min(50, steps // 8)),
        levels={"teacher": teacher_level()},
    )


def _live_teacher(model: GPT, batch: tuple[Tensor, Tensor]) -> Tensor:
    """KL from the teacher's probabilities on a batch of stories."""
    inputs, targets = batch
    with torch.no_grad():
        taught = teacher()(inputs)[0]
    return forward_kl(model(inputs)[0], taught, targets)


def copied_recipe(*, copied: str = "1 and 3", targets: str = "probabilities", steps: int = 100) -> training.Experiment:
    """Train a student of two layers on true stories.

    copied: which of the teacher's layers it starts from, a name in `COPIED`.  targets: "labels", the next tokens of
    the stories, or the teacher's "probabilities" of them.
    """
    loss = training.default_loss if _known("targets", targets, TARGETS) == "labels" else _live_teacher
    return _experiment(partial(student, copied=copied), data.row_batches(*true_texts(POOL)), loss, steps)


def taught_recipe(*, way: str = "probabilities", stories: int = 300, divergence: str = "forward",
                  copied: str = "none", steps: int = 400, seed: int = 0) -> training.Experiment:  # fmt: skip
    """Train a student of two layers on few texts.

    way: "labels" (true stories), "text" (stories that the teacher wrote), "probabilities" (the teacher's, at each
    token of these), or "own samples" (the teacher's, on what the student itself writes in each step).
    divergence: a name in `DIVERGENCES`, for the last two.  copied: which of the teacher's layers it starts from, a
    name in `COPIED`.  seed: which texts.
    """
    build = partial(student, copied=_known("copied", copied, COPIED))
    apart = DIVERGENCES[_known("divergence", divergence, DIVERGENCES)]
    if _known("way", way, WAYS) == "own samples":
        return _experiment(build, _dice, on_policy_loss(teacher(), _say, divergence=divergence), steps)
    inputs, targets = true_texts(stories, seed + 7) if way == "labels" else written_texts(stories, seed)
    if way != "probabilities":
        return _experiment(build, data.row_batches(inputs, targets), training.default_loss, steps)
    taught = _taught(inputs)

    def batches(generator: torch.Generator, *, batch_size: int = 16):
        drawn = torch.randint(len(inputs), (int(batch_size),), generator=generator)
        return inputs[drawn], targets[drawn], taught[drawn]

    def loss(model: GPT, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return apart(model(batch[0])[0], batch[2], batch[1])

    return _experiment(build, batches, loss, steps)


def _dice(generator: torch.Generator, *, batch_size: int = 16) -> tuple[int, int]:
    """How many stories the student shall write, and with which dice."""
    return int(batch_size), int(torch.randint(2**31, (1,), generator=generator))


def _say(model: GPT, batch: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return own_texts(model, batch[0], runtime.generator(batch[1]))


def hint_recipe(*, width: int = 32, hint_after: int = 1, steps: int = 150) -> training.Experiment:
    """Train a narrow student of two layers on the teacher's probabilities, with a hint from inside the teacher.

    hint_after: the student's layer that the teacher's middle, after its second layer, is a hint for.
    The knob ``hint_weight`` is what the hint counts beside the probabilities.
    """

    def build(generator: torch.Generator) -> nn.ModuleDict:
        regressor = nn.Linear(width, teacher().config.width)
        return nn.ModuleDict({"student": student(generator, width=width), "regressor": regressor})

    def loss(model: nn.ModuleDict, batch: tuple[Tensor, Tensor], *, hint_weight: float = 0.001) -> Tensor:
        taught = _live_teacher(model["student"], batch)
        if hint_weight == 0:
            return taught
        with torch.no_grad():
            hint = hidden(teacher(), batch[0], 2)
        seen = batch[1] != IGNORE
        mine = hidden(model["student"], batch[0], hint_after)
        return taught + hint_weight * hint_loss(mine[seen], hint[seen], model["regressor"])

    return _experiment(build, data.row_batches(*true_texts(POOL)), loss, steps)


def ability_recipe(*, ability: str = "place", steps: int = 150) -> training.Experiment:
    """Train a student of two layers on the teacher's probabilities, at those tokens alone that test one ability.

    For "syntax", tokens that test another ability, too, are left out.
    """
    inputs, targets = true_texts(POOL)
    return _experiment(student, data.row_batches(inputs, _only(ability)), _live_teacher, steps)


@cache
def _only(ability: str) -> Tensor:
    """Targets of the true stories where this ability is tested, and no other: (stories, 64), -100 elsewhere."""
    inputs, targets = true_texts(POOL)
    masks = ability_masks(inputs, targets)
    wanted = masks[_known("ability", ability, masks)]
    if ability == "syntax":  # the others have no token in common
        wanted = wanted & ~torch.stack([mask for name, mask in masks.items() if name != ability]).any(0)
    return targets.masked_fill(~wanted, IGNORE)
