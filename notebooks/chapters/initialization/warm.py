"""A warm start that hurts: trained on half of the data first, then on all of it (Ash & Adams 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from course_utils import data, initialization, runtime, sweeps
from course_utils.models import MLP
from course_utils.training import Experiment, fit

from ..digits import shift_digits

SHAPES = {"wide": (64, 128, 128, 10), "deep": (64, 64, 64, 64, 64, 10)}
IMAGES = 400  # to learn from; the first stage sees the first half of them
FIRST_STEPS, STEPS = 1000, 400
LR = 3e-3
SHRINK, NOISE = 0.4, 0.4  # "shrink and perturb": the old weights times 0.4, and a fresh start times 0.4 added
STARTS = ("fresh", "warm", "shrunk")
Weights = dict[str, Tensor]


def fresh_network(generator: torch.Generator, *, shape: str) -> MLP:
    """A ReLU network for digits with He's start; shape: a name in `SHAPES`."""
    return initialization.initialize_(MLP(SHAPES[shape]), "he", generator=generator)


@cache
def noisy_digits() -> dict[str, tuple[Tensor, Tensor]]:
    """Noisy images and their labels: "half", "all", and "unseen" ones."""
    split = data.digits_split()
    images, labels = shift_digits(split.train_images[:IMAGES], "noisy", seed=1), split.train_labels[:IMAGES]
    unseen = shift_digits(split.test_images, "noisy", seed=2)
    half = images[: IMAGES // 2], labels[: IMAGES // 2]
    return {"half": half, "all": (images, labels), "unseen": (unseen, split.test_labels)}


def continued(generator: torch.Generator, *, old: Callable[[], Weights], start: str, shape: str) -> MLP:
    """A network that goes on from old weights: "fresh" forgets them, "warm" keeps them, "shrunk" keeps a part."""
    if start not in STARTS:
        raise ValueError(f"start {start!r}: choose one of {', '.join(STARTS)}")
    network = fresh_network(generator, shape=shape)
    if start == "fresh":
        return network
    keep, add = (1.0, 0.0) if start == "warm" else (SHRINK, NOISE)
    known = old()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.mul_(add).add_(known[name], alpha=keep)
    return network


@cache
def _half_trained(seed: int) -> Weights:
    network = fresh_network(runtime.generator(seed), shape="wide")
    batches = data.row_batches(*noisy_digits()["half"], batch_size=64)
    fit(network, batches, steps=FIRST_STEPS, lr=LR, seed=seed, device="cpu")
    return {name: weight.detach() for name, weight in network.named_parameters()}


def warm_recipe(*, start: str = "fresh") -> Experiment:
    """Train on 400 noisy digits with AdamW, from a start that has seen half of them, or none.

    start: "fresh", "warm", or "shrunk" for 0.4 times the old weights with 0.4 times a fresh start added.
    """

    def build(generator: torch.Generator) -> MLP:
        old = partial(_half_trained, generator.initial_seed())
        return continued(generator, old=old, start=start, shape="wide")

    return Experiment(
        model=build,
        batches=data.row_batches(*noisy_digits()["all"], batch_size=64),
        knobs={"lr": LR},
        steps=STEPS,
        measures={"right": _shares},
        measure_every=20,
    )


def _shares(model: nn.Module, generator: torch.Generator) -> dict[str, float]:
    device = next(model.parameters()).device
    return {
        name: (model(images.to(device)).argmax(-1).cpu() == labels).float().mean().item()
        for name, (images, labels) in noisy_digits().items()
        if name != "half"
    }


def compare_starts(shape: str, seeds: Sequence[int]) -> dict[str, dict[str, list[float]]]:
    """Accuracy of every start by seed, on "all" images that it learned from and on "unseen" ones."""
    digits, network = noisy_digits(), fresh_network(runtime.generator(0), shape=shape)
    common = {"lr": LR, "device": "cpu"}
    first = sweeps.train_many(partial(fresh_network, shape=shape), data.row_batches(*digits["half"], batch_size=64),
                              steps=FIRST_STEPS, seed=seeds, **common)  # fmt: skip
    found = {}
    for start in STARTS:
        builds = [partial(continued, old=partial(_row, first.parameters, k), start=start, shape=shape)
                  for k in range(len(seeds))]  # fmt: skip
        done = sweeps.train_many(builds, data.row_batches(*digits["all"], batch_size=64), steps=STEPS,
                                 seed=[seed + 1000 for seed in seeds], **common)  # fmt: skip
        found[start] = {
            name: [_right(network, _row(done.parameters, k), *digits[name]) for k in range(len(seeds))]
            for name in ("all", "unseen")
        }
    return found


@torch.no_grad()
def _right(network: nn.Module, weights: Weights, images: Tensor, labels: Tensor) -> float:
    """The share of images that a network with these weights gets right."""
    guess = functional_call(network, weights, (images,)).argmax(-1)
    return round((guess == labels).float().mean().item(), 4)


def _row(stacked: Weights, number: int) -> Weights:
    return {name: weights[number] for name, weights in stacked.items()}
