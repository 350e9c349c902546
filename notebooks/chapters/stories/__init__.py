"""The story GPT, the small language model that a learner carries through the course: how it is pretrained, what is
measured, how it shows in a panel, and the questions that it learns to answer afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial

import torch
from torch import Tensor

from course_utils import data, initialization
from course_utils.live import Choice, CurvesView, LossView, Slider, TextView, TrainingPanel
from course_utils.models import GPT, GPTConfig, has_run_away
from course_utils.pretraining.sampling import sample
from course_utils.training import Experiment, constant, cosine

from . import mine
from .abilities import ability_accuracy, judge
from .questions import draw_questions, question_rows

HELD_OUT_SEED = 1_000_003  # of stories that nothing trains on
HELD_OUT = 64  # stories measured on the way, in one pass
WRITTEN = 24  # stories that a model writes to be judged
LR = 5e-3
SCHEDULES = ("cosine", "constant")
Models = Mapping[str, Callable[[], GPT]]  # name -> gives the model, at the moment it is asked for


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
    judged: bool = False,
) -> Experiment:
    """Pretrain a GPT on stories with AdamW, 16 stories a step.

    init: a scheme of `initialization`.  schedule: "cosine" or "constant"; horizon: the step at which the cosine
    reaches 0, the last one by default.  stories: how many different ones there are to learn from.  measured:
    whether to measure the held-out loss, the abilities and a sample on the way.  judged: also what it writes.
    """
    config = GPTConfig(vocab_size=len(data.STORY_VOCAB), context=context, width=width, heads=heads, layers=layers)
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule {schedule!r}: choose one of {', '.join(SCHEDULES)}")
    return Experiment(
        model=lambda generator: initialization.initialize_(GPT(config), init, generator=generator),
        batches=data.row_batches(*_cut(story_pool(stories), context)),
        knobs={"lr": LR, "weight_decay": 0.0},
        schedule=cosine(horizon or steps, warmup=warmup) if schedule == "cosine" else constant,
        steps=steps,
        measures=_measures(measured, judged),
        levels=data.ladder(),
    )


def _measures(measured: bool, judged: bool) -> dict:
    usual = {"held-out": evaluate, "sample": story_sample} if measured else {}
    return usual | ({"written": judge_written} if judged else {})


@cache
def story_pool(stories: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs and targets, each (stories, 64) int64, of stories drawn with this seed."""
    return data.story_rows(data.stories(stories, seed=seed))


def _cut(rows: tuple[Tensor, Tensor], context: int) -> tuple[Tensor, Tensor]:
    """What a model with this context sees of rows: their beginnings."""
    return rows[0][:, :context], rows[1][:, :context]


@torch.no_grad()
def held_out_loss(model: GPT, *, stories: int = 500) -> float:
    """Mean loss in nats per token on stories that nothing trains on."""
    tokens, targets = _cut(story_pool(stories, HELD_OUT_SEED), model.config.context)
    device, total, counted = next(model.parameters()).device, 0.0, 0
    for rows, wanted in zip(tokens.split(100), targets.split(100), strict=True):
        count = int((wanted >= 0).sum())
        total += model(rows.to(device), wanted.to(device))[1].item() * count
        counted += count
    return total / counted


@torch.no_grad()
def evaluate(model: GPT, generator: torch.Generator) -> dict[str, float]:
    """Held-out loss, and the share of held-out tokens guessed right for each ability (`ability_masks`)."""
    device = next(model.parameters()).device
    tokens, targets = (rows.to(device) for rows in _cut(story_pool(HELD_OUT, HELD_OUT_SEED), model.config.context))
    logits, loss = model(tokens, targets)
    return {"held-out": loss.item()} | ability_accuracy(logits, tokens, targets)


def chosen(models: Models, name: str) -> GPT:
    """The model of this name. ValueError, with what to do, for one that has diverged: nobody can look into it."""
    model = models[name]()
    if has_run_away(model):
        raise ValueError(f"{name} has diverged, and answers nothing: press Defaults in its panel, and train it again")
    return model


def write_story(model: GPT, prompt: str = "", *, generator: torch.Generator, **how) -> str:
    """A story that the model writes, from a prompt on. how: temperature and top_k, as in `sample`.

    ValueError for a word that the story language does not have.
    """
    tokenizer = data.StoryTokenizer()
    tokens = torch.tensor([[tokenizer.begin, *tokenizer.encode(prompt)]], device=next(model.parameters()).device)
    steps = model.config.context - tokens.shape[1]
    return tokenizer.decode(sample(model, tokens, steps=steps, generator=generator, stop=tokenizer.end, **how)[0])


def story_sample(model: GPT, generator: torch.Generator) -> str:
    """One story, for a panel to show; the same dice each time, so that only the model changes."""
    return write_story(model, generator=generator)


@torch.no_grad()
def judge_written(model: GPT, generator: torch.Generator, *, stories: int = WRITTEN) -> dict[str, float]:
    """What is right in stories that the model writes, by ability, as "written syntax" and so on (`judge`).

    A share of the stories that show the ability; 0 where none does. "written syntax" is the share of stories that
    the grammar could have written, from the first word to the last.
    """
    tokenizer, device = data.StoryTokenizer(), next(model.parameters()).device
    start = torch.full((stories, 1), tokenizer.begin, device=device)
    made = sample(model, start, steps=model.config.context - 1, generator=generator, stop=tokenizer.end)
    verdicts = [judge(tokenizer.decode(row)) for row in made]
    return {f"written {ability}": _share(verdict[ability] for verdict in verdicts) for ability in verdicts[0]}


def _share(verdicts: Iterable[bool | None]) -> float:
    shown = [verdict for verdict in verdicts if verdict is not None]
    return sum(shown) / max(1, len(shown))


# --- its panel --------------------------------------------------------------------------------------------------------

LOSS = LossView(title="Loss on the training batch and on held-out stories", top=5.0,
                curves={"loss": "training", "held-out": "held-out"})  # fmt: skip
ABILITIES = CurvesView(
    title="What it gets right on held-out stories",
    curves={
        "syntax": "syntax",
        "pronoun": "he or she",
        "thing": "which coloured thing",
        "place": "which place",
        "feeling": "which feeling",
    },
    y_title="share of tokens",
    y_range=(0, 1.02),
)
SAMPLE = TextView(title="A story that it writes now", name="sample")
CONTROLS = {
    "batch_size": Slider(
        label="batch size", low=1, high=64, step=1, whole=True, firm=True,
        help="How many examples one step looks at.",
    ),
    "width": Choice(
        label="width", options=(16, 32, 48, 64, 128),
        help="Numbers that describe one token inside the model.",
    ),
    "layers": Choice(
        label="layers", options=(1, 2, 3, 4),
        help="Transformer blocks, one after the other.",
    ),
    "heads": Choice(
        label="heads", options=(1, 2, 4, 8),
        help="How many places an attention layer can look at once. Must divide the width.",
    ),
    "context": Choice(
        label="context", options=(8, 16, 32, 64),
        help="Tokens the model can see at once.",
    ),
    "schedule": Choice(
        label="schedule", options=("cosine", "constant"),
        help="How the learning rate changes by itself: down to 0 along a cosine, or not at all.",
    ),
    "warmup": Choice(
        label="warmup steps", options=(0, 50, 200),
        help="Steps in which the learning rate rises from 0 before the schedule begins.",
    ),
    "horizon": Choice(
        label="cosine ends at step", options=(400, 800, 1600),
        help="The step at which the cosine reaches 0. The run may end earlier.",
    ),
    "stories": Choice(
        label="different stories", options=(75, 300, 1200, 4800, 19_200),
        help="How many different stories there are to learn from. They are read again and again.",
    ),
    "steps": Choice(
        label="steps", options=(200, 400, 800, 1600),
        help="How long it trains: 16 stories a step.",
    ),
    "start": Choice(
        label="start", options=mine.STARTS,
        help="The pretrained story GPT, the same shape with random weights, or the model that you kept as mine.",
    ),
    "examples": Choice(
        label="examples", options=(30, 100, 300, 1000, 3000),
        help="How many different questions with answers there are to learn from.",
    ),
}  # fmt: skip


def story_panel(
    *,
    title: str,
    recipe: Callable = story_recipe,
    settings: Sequence[str] = (),
    knobs: Sequence[str] = ("lr",),
    views: Sequence = (LOSS, ABILITIES, SAMPLE),
    seeds: bool = False,
    keep: bool = False,
    loss: Callable | None = None,
    schedule: Callable | None = None,
) -> TrainingPanel:
    """A panel that pretrains a story GPT. keep: with a button that stores it as the learner's own (see `mine`).

    loss, schedule: a learner's own, as in `TrainingPanel`.
    """
    return TrainingPanel(
        recipe, title=title, settings=settings, knobs=knobs, views=views, controls=CONTROLS, seeds=seeds, loss=loss,
        schedule=schedule, keep=partial(mine.keep, measure=_for_card) if keep else None,
    )  # fmt: skip


def _for_card(model: GPT) -> tuple[float, str]:
    reads = model.config.context
    part = f"the first {reads} tokens of " if reads < story_pool(500, HELD_OUT_SEED)[0].shape[1] else ""
    return held_out_loss(model, stories=500), f"{part}500 held-out stories"


# --- afterwards: questions about stories ------------------------------------------------------------------------------

TEST_SEED, TEST_QUESTIONS = 2_000_003, 400
QUESTION_LR = {"pretrained": 2e-3, "scratch": 5e-3}  # the better of 1e-3, 2e-3 and 5e-3 for each, tried on other seeds


@cache
def _questions(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return question_rows(draw_questions(count, seed=seed))


@torch.no_grad()
def question_accuracy(model: GPT, generator: torch.Generator | None = None) -> float:
    """The share of held-out questions about stories that the model answers with the right word."""
    rows, answers = _questions(TEST_QUESTIONS, TEST_SEED)
    device = next(model.parameters()).device
    guess = torch.cat([model(part.to(device))[0].argmax(-1).cpu() for part in rows.split(100)])
    return (guess == answers)[answers >= 0].float().mean().item()


def question_recipe(*, start: str = "pretrained", examples: int = 300, steps: int = 300, seed: int = 0) -> Experiment:
    """Learn to answer questions about stories, with the loss on the answer only.

    start: "pretrained" (the course's story GPT), "scratch", or "mine" (what the learner has kept, of whatever width and
    depth).  examples: how many different questions.  seed: which ones.
    """
    rows = _questions(examples, 1000 + seed)
    ready, about = mine.start_model(start, context=rows[0].shape[1])

    def build(generator: torch.Generator) -> GPT:
        if ready is not None:
            return copy.deepcopy(ready)
        fresh = GPT(GPTConfig(vocab_size=len(data.STORY_VOCAB)))
        return initialization.initialize_(fresh, "width", generator=generator)

    return Experiment(
        model=build,
        batches=data.row_batches(*rows),
        knobs={"lr": QUESTION_LR["scratch" if start == "scratch" else "pretrained"], "weight_decay": 0.0},
        schedule=cosine(steps, warmup=min(20, steps - 1)),
        steps=steps,
        measures={"accuracy": question_accuracy},
        measure_every=max(1, steps // 6),
        about=about,
    )
