"""Copying from context: what one attention layer cannot do and two can (Olsson et al. 2022)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch

from course_utils import initialization, training
from course_utils.models import GPT, IGNORE, GPTConfig

SYMBOLS, CONTEXT = 24, 32
FIRST = 12  # different symbols in the part that is copied from
SPANS = (3, 7)  # a copied span has 3 to 6 symbols
LAYERS = {"one layer": (1, 32), "one wide layer": (1, 64), "two layers": (2, 32)}  # layers and width that are compared


def copying_rows(generator: torch.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets (count, 32): 12 different symbols in random order, then spans copied from random places.

    A span's first symbol is chance. What comes after it is the only target: it stood there before. Since spans jump,
    no position tells where to look, only the symbols do.
    """
    order = torch.rand(count, SYMBOLS, generator=generator).argsort(1)[:, :FIRST]
    places = torch.arange(FIRST).expand(count, FIRST)  # where in the first part each token stands
    copied = torch.zeros(count, FIRST, dtype=torch.bool)
    left = torch.zeros(count, dtype=torch.long)  # of the span that is being copied
    for _ in range(CONTEXT + 1 - FIRST):
        jump = (left == 0) | (places[:, -1] == FIRST - 1)
        span = torch.randint(*SPANS, (count,), generator=generator)
        start = torch.randint(FIRST - 1, (count,), generator=generator)
        left = torch.where(jump, span, left) - 1
        places = torch.cat([places, torch.where(jump, start, places[:, -1] + 1)[:, None]], 1)
        copied = torch.cat([copied, ~jump[:, None]], 1)
    tokens = order.gather(1, places)  # (count, 33)
    return tokens[:, :-1], tokens[:, 1:].masked_fill(~copied[:, 1:], IGNORE)


def copying_recipe(*, layers: int = 2, width: int = 32, steps: int = 800) -> training.Experiment:
    """Train a tiny GPT to copy; measured: the loss on fresh sequences, and the best induction head."""
    config = GPTConfig(vocab_size=SYMBOLS, context=CONTEXT, width=width, heads=2, layers=layers)

    def batches(generator: torch.Generator, *, batch_size: int = 32):
        return copying_rows(generator, int(batch_size))

    def measure(model: GPT, generator: torch.Generator) -> dict[str, float]:
        rows, targets = copying_rows(generator, 200)
        device = next(model.parameters()).device
        loss = model(rows.to(device), targets.to(device))[1].item()
        return {"held-out": loss, "induction": induction(model, rows).max().item()}

    return training.Experiment(
        model=lambda generator: initialization.initialize_(GPT(config), "width", generator=generator),
        batches=batches,
        knobs={"lr": 3e-3, "weight_decay": 0.0},
        schedule=training.cosine(steps, warmup=50),
        steps=steps,
        measures={"copying": measure},
        measure_every=50,
        levels={"guessing": math.log(SYMBOLS), "one of the 12": math.log(FIRST)},
    )


def attending(attention: Callable, generator: torch.Generator, *, layers: int = 2, width: int = 32) -> GPT:
    """The model of `copying_recipe` with a learner's attention(q, k, v) in each of its layers."""
    gpt = copying_recipe(layers=layers, width=width).model(generator)
    for block in gpt.blocks:
        block.attention.mix = attention
    return gpt


@torch.no_grad()
def induction(model: GPT, rows: torch.Tensor) -> torch.Tensor:
    """How much each head looks at what came after earlier occurrences of the present symbol: (layers, heads).

    A mean over the places where a symbol comes again. 1 for a perfect induction head; a head that looks at all tokens
    alike gets about 0.08.
    """
    maps = model.attention_maps(rows.to(next(model.parameters()).device)).cpu()  # (layers, rows, heads, tokens, tokens)
    before = (rows[:, :, None] == rows[:, None, :]).tril(-1)  # (rows, tokens, tokens) the same symbol, earlier
    after = before.roll(1, -1)  # never wraps: the last column of `before` is empty
    looks = (maps * after[None, :, None]).sum(-1).movedim(2, 1)  # (layers, heads, rows, tokens)
    return looks[:, :, before.any(-1)].mean(-1)


def points() -> Iterator[dict]:
    """One layer, one layer with more weights than the two, and two layers, over ten seeds."""
    for seed, (layers, width) in itertools.product(range(10), LAYERS.values()):
        yield {"layers": layers, "width": width, "seed": seed}


def point(*, layers: int, width: int, seed: int, steps: int = 800) -> dict:
    """Loss and induction every 50 steps, and at the end."""
    run = training.finish(copying_recipe(layers=layers, width=width, steps=steps).start(seed))
    curves = {name: [float(f"{value:.3g}") for value in run.history[name].values] for name in ("held-out", "induction")}
    return {"loss": run.history["held-out"].last, "induction": run.history["induction"].last,
            "losses": curves["held-out"], "inductions": curves["induction"]}  # fmt: skip
