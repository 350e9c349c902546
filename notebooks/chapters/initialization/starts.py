"""Language models from different starts: the scales of embeddings and linear layers, on two sources."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from course_utils import data, initialization, runtime
from course_utils.dice import Dice
from course_utils.initialization.places import places
from course_utils.models import GPT, GPTConfig
from course_utils.training import Experiment, cosine

from ..stories import HELD_OUT_SEED, story_pool
from .markov import CONTEXT, SYMBOLS, markov_source
from .probes import probe

WIDTH = 64
SOURCES = ("stories", "markov")
LR = 5e-3


def scaled_gpt(config: GPTConfig, *, embedding: float, linear: float, generator: torch.Generator) -> GPT:
    """A GPT whose embeddings are N(0, embedding²) and whose linear weights are N(0, linear²)."""
    with Dice(0):  # PyTorch's own start, which ours replaces
        gpt = initialization.initialize_(GPT(config), "normal", std=1.0, generator=generator)
    with torch.no_grad():
        for place in places(gpt):
            place.layer.weight.mul_(embedding if place.kind == "embedding" else linear)
    return gpt


def _config(source: str) -> GPTConfig:
    if source not in SOURCES:
        raise ValueError(f"source {source!r}: choose one of {', '.join(SOURCES)}")
    vocabulary, context = (len(data.STORY_VOCAB), 64) if source == "stories" else (SYMBOLS, CONTEXT)
    return GPTConfig(vocab_size=vocabulary, context=context, width=WIDTH)


def levels(source: str) -> dict[str, float]:
    """The ladder of a source, in nats per token."""
    return data.ladder() if source == "stories" else markov_source().ladder()


def scales_recipe(
    *, source: str = "stories", embedding: float = 0.1, linear: float = 0.125, steps: int = 400, measured: bool = True
) -> Experiment:
    """Pretrain a GPT of width 64 from normal weights of two scales, with AdamW, 16 rows a step.

    source: "stories", or "markov" for symbols that depend on the two before them.  embedding, linear: standard
    deviations.  measured: whether to measure the held-out loss on the way.
    """
    config = _config(source)
    return Experiment(
        model=lambda generator: scaled_gpt(config, embedding=embedding, linear=linear, generator=generator),
        batches=data.row_batches(*story_pool(20_000)) if source == "stories" else _symbols,
        knobs={"lr": LR},
        schedule=cosine(steps, warmup=min(50, steps - 1)),
        steps=steps,
        measures={"held-out": lambda model, _: unseen_loss(model, source)} if measured else {},
        levels=levels(source),
    )


def _symbols(generator: torch.Generator, *, batch_size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    return markov_source().rows(generator, int(batch_size))


@torch.no_grad()
def unseen_loss(model: GPT, source: str, *, rows: int = 64) -> float:
    """Mean loss in nats per token on rows of a source that nothing trains on."""
    tokens, targets = unseen(source, rows)
    device = next(model.parameters()).device
    return model(tokens.to(device), targets.to(device))[1].item()


def unseen(source: str, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a source that nothing trains on, the same each time: inputs and targets."""
    if source == "stories":
        return story_pool(rows, HELD_OUT_SEED)
    return markov_source().rows(runtime.generator(HELD_OUT_SEED), rows)


@dataclass(frozen=True)
class First:
    """An untrained model on unseen rows: its loss, and the logits behind it.

    own: mean logit of the token that was read last; other: mean logit of all others, and their spread (standard
    deviation).
    """

    loss: float
    own: float
    other: float
    spread: float


@torch.no_grad()
def first_loss(*, source: str = "stories", embedding: float = 0.1, linear: float = 0.125, seed: int = 0) -> First:
    """What a GPT predicts before its first step."""
    gpt = scaled_gpt(_config(source), embedding=embedding, linear=linear, generator=runtime.generator(seed))
    tokens, targets = unseen(source, 16)
    logits, loss = gpt(tokens, targets)
    counted = targets >= 0
    read, logits = tokens[counted], logits[counted]  # (places,), (places, vocabulary)
    own = logits.gather(1, read[:, None])
    others = logits.masked_fill(torch.zeros_like(logits, dtype=torch.bool).scatter(1, read[:, None], True), torch.nan)
    others = others[~others.isnan()]
    return First(loss.item(), own.mean().item(), others.mean().item(), others.std().item())


BRANCHES = {"plain": lambda count: 1.0, "1/sqrt(2L)": lambda count: count**-0.5, "zeroed": lambda count: 0.0}


@torch.no_grad()
def stream(*, blocks: int, start: str = "plain", linear: float = 0.125, seed: int = 0) -> list[float]:
    """Mean square of an untrained GPT's residual stream: at its beginning, and after each block.

    start: a factor on the last layer of each of the 2 * blocks branches, a name in `BRANCHES`.
    """
    config = GPTConfig(vocab_size=len(data.STORY_VOCAB), width=WIDTH, layers=blocks)
    gpt = scaled_gpt(config, embedding=0.1, linear=linear, generator=runtime.generator(seed))
    for place in places(gpt):
        if place.ends_branch:
            place.layer.weight.mul_(BRANCHES[start](place.branches))
    tokens, _ = unseen("stories", 4)
    with probe(gpt) as seen:
        gpt(tokens)
    first = gpt.start(tokens).square().mean().item()  # with positions, which the probe does not see
    return [first, *(seen.activations[f"block {number}"].second_moment for number in range(1, blocks + 1))]
