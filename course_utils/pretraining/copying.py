"""Copying from context: what one attention layer cannot do and two can (Olsson et al. 2022)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from course_utils import initialization, training
from course_utils.models import GPT, IGNORE, GPTConfig

SYMBOLS, CONTEXT = 24, 32
PERIODS = (8, 16)  # a row repeats a sequence of 8 to 15 different symbols


def copying_rows(generator: torch.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets (count, 32): a random sequence again and again. What was seen before is the only target.

    The length of the sequence differs from row to row, so that no position alone tells where to look.
    """
    period = torch.randint(*PERIODS, (count, 1), generator=generator)
    order = torch.rand(count, SYMBOLS, generator=generator).argsort(1)  # different symbols in random order
    places = torch.arange(CONTEXT + 1) % period  # (count, 33)
    tokens = order.gather(1, places)
    targets = tokens[:, 1:].clone()
    targets[torch.arange(CONTEXT) < period] = IGNORE  # nothing tells when the first round ends
    return tokens[:, :-1], targets


def copying_recipe(*, layers: int = 2, steps: int = 1500, width: int = 32) -> training.Experiment:
    """Train a tiny GPT to copy; measured: the loss on fresh sequences, and the best induction head."""
    config = GPTConfig(vocab_size=SYMBOLS, context=CONTEXT, width=width, heads=2, layers=layers)

    def batches(generator: torch.Generator, *, batch_size: int = 32):
        return copying_rows(generator, int(batch_size))

    def measure(model: GPT, generator: torch.Generator) -> dict[str, float]:
        rows, targets = copying_rows(generator, 100)
        device = next(model.parameters()).device
        return {"held-out": model(rows.to(device), targets.to(device))[1].item(), "induction": induction(model, rows)}

    return training.Experiment(
        model=lambda generator: initialization.initialize_(GPT(config), "width", generator=generator),
        batches=batches,
        knobs={"lr": 3e-3, "weight_decay": 0.0},
        schedule=training.cosine(steps, warmup=50),
        steps=steps,
        measures={"copying": measure},
        measure_every=50,
        levels={"guessing": torch.tensor(float(SYMBOLS)).log().item()},
    )


def induction(model: GPT, rows: torch.Tensor) -> float:
    """How much the best head looks, where a symbol comes again, at the token after its last occurrence.

    1 for a perfect induction head; a head that looks at all tokens alike gets about 0.05.
    """
    maps = model.attention_maps(rows.to(next(model.parameters()).device)).cpu()  # (layers, rows, heads, tokens, tokens)
    same = rows[:, :, None] == rows[:, None, :]  # (rows, tokens, tokens)
    before = same.tril(-1)
    last = before.float().mul(torch.arange(rows.shape[1])).argmax(-1)  # the last occurrence before each token
    again = before.any(-1)  # (rows, tokens)
    wanted = (last + 1)[None, :, None, :, None].expand(*maps.shape[:-1], 1)
    looks = maps.gather(-1, wanted)[..., 0].movedim(2, 1)  # (layers, heads, rows, tokens)
    return looks[:, :, again].mean(-1).max().item()


def points() -> Iterator[dict]:
    """One layer and two, over ten seeds."""
    for seed, layers in itertools.product(range(10), (1, 2)):
        yield {"layers": layers, "seed": seed}


def point(*, layers: int, seed: int, steps: int = 1500) -> dict:
    """Loss and induction at the end, and the step at which the loss first fell below half of guessing."""
    run = training.finish(copying_recipe(layers=layers, steps=steps).start(seed))
    curve, guess = run.history["held-out"], run.history.levels["guessing"]
    below = [int(step) for step, loss in zip(curve.steps, curve.values, strict=True) if loss < guess / 2]
    return {
        "loss": curve.last,
        "induction": run.history["induction"].last,
        "copies_from": below[0] if below else -1,
    }
