"""Digits again: where a run starts decides what it gains or loses, and which runs can be averaged.

Networks learn from 800 images, or from something that only looks like them, and are then trained on few others. Their
last layer is small enough for a full Fisher information matrix, which shows what a diagonal leaves out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from course_utils import data, initialization
from course_utils.finetuning.between import average, interpolate
from course_utils.finetuning.methods import freeze_
from course_utils.models import MLP
from course_utils.training import Experiment, cosine, finish

from .shift import PRETRAINING, features, plain_examples

SIZES = (64, 64, 64, 10)
LR = 3e-3
SCRAMBLE = 5  # seed of the one order in which all pixels are scrambled
Examples = tuple[Tensor, Tensor]


def _scrambled(images: Tensor, labels: Tensor) -> Examples:
    order = torch.randperm(images.shape[1], generator=torch.Generator().manual_seed(SCRAMBLE))
    return images[:, order], labels


PRETRAINED: dict[str, Callable[[Tensor, Tensor], Examples]] = {  # start -> what it was pretrained on
    "the same digits": lambda images, labels: (images, labels),
    "scrambled pixels": _scrambled,
    "the next digit": lambda images, labels: (images, (labels + 1) % 10),
}
STARTS = ("random", *PRETRAINED)


def random_network(generator: torch.Generator) -> MLP:
    """A network of three layers with He's start, (images, 64) -> (images, 10)."""
    return initialization.initialize_(MLP(SIZES), "he", generator=generator)


@cache
def pretrained(start: str = "the same digits", seed: int = 0) -> MLP:
    """A network trained for 300 steps on what `PRETRAINED` says. Copy it before it trains on."""
    split = data.digits_split()
    seen = PRETRAINED[start](split.train_images[:PRETRAINING], split.train_labels[:PRETRAINING])
    with torch.enable_grad():  # a picture may be the first to ask for it
        return finish(_experiment(random_network, seen, steps=300).start(seed, device="cpu")).model


def _experiment(model: Callable, examples: Examples, *, steps: int, lr: float = LR) -> Experiment:
    return Experiment(
        model=model,
        batches=data.row_batches(*examples, batch_size=32),
        knobs={"lr": lr},
        schedule=cosine(steps, warmup=min(10, steps - 1)),
        measures={"accuracy": accuracy},
        measure_every=max(1, steps // 15),
        steps=steps,
    )


def transfer_recipe(
    *, start: str = "the same digits", examples: int = 100, steps: int = 150, seed: int = 0
) -> Experiment:
    """Learn to name digits from few examples. start: a name in `STARTS`; seed: which examples."""
    if start not in STARTS:
        raise ValueError(f"start {start!r}: choose one of {', '.join(STARTS)}")
    build = random_network if start == "random" else lambda _: copy.deepcopy(pretrained(start))
    return _experiment(build, plain_examples(examples, seed), steps=steps)


@torch.no_grad()
def accuracy(model: MLP, generator: torch.Generator | None = None) -> float:
    """The share of held-out digits named right."""
    split = data.digits_split()
    guess = model(split.test_images.to(next(model.parameters()).device)).argmax(-1).cpu()
    return (guess == split.test_labels).float().mean().item()


# --- averaging ------------------------------------------------------------------------------------------------------


@cache
def member(start: int, order: int, steps: int = 150) -> MLP:
    """A network fine-tuned on 400 images. start: seed of its pretraining; order: seed of its batches."""
    recipe = _experiment(lambda _: copy.deepcopy(pretrained(seed=start)), plain_examples(400, 0), steps=steps)
    return finish(recipe.start(order, device="cpu")).model


def members(count: int, *, starts: str, seed: int = 0) -> list[MLP]:
    """Fine-tuned networks whose batches came in different orders. starts: "one" for all, or "several", one for each."""
    if starts not in ("one", "several"):
        raise ValueError(f"starts {starts!r}: choose one of one, several")
    first = 100 * seed
    return [member(first + (number if starts == "several" else 0), first + number) for number in range(count)]


def averaged(count: int, *, starts: str, seed: int = 0) -> dict[str, float]:
    """Accuracies: the mean of the members, and of the network whose weights are the members' mean."""
    parts = members(count, starts=starts, seed=seed)
    return {"members": sum(map(accuracy, parts)) / count, "average": accuracy(average(parts))}


def between(a: MLP, b: MLP, points: int = 21) -> tuple[list[float], list[float]]:
    """Accuracy along the straight line from one network's weights to another's: alphas from 0 to 1, accuracies."""
    alphas = torch.linspace(0, 1, points).tolist()
    return alphas, [accuracy(interpolate(a, b, alpha)) for alpha in alphas]


# --- what the diagonal of the Fisher leaves out -----------------------------------------------------------------------


def _head(model: MLP) -> Tensor:
    """Weights and biases of the last layer as one matrix: (classes, width + 1) float64."""
    last = model.layers[-1]
    return torch.cat([last.weight, last.bias[:, None]], dim=1).detach().double()


def _head_inputs(model: MLP, images: Tensor) -> Tensor:
    """What the last layer reads, and a one for the bias: (images, width + 1) float64."""
    with torch.no_grad():
        read = features(model, images)
    return torch.cat([read, torch.ones(len(read), 1)], dim=1).double()


def head_fisher(model: MLP, images: Tensor) -> Tensor:
    """The Fisher information of the last layer, exact and in full: square, one row for each of its numbers.

    For logits W x it is the mean over images of (diag(p) - p pT) times x xT, as a Kronecker product.
    """
    x = _head_inputs(model, images)
    p = (x @ _head(model).T).softmax(1)  # (images, classes)
    spread = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]  # (images, classes, classes)
    full = torch.einsum("nab,ni,nj->aibj", spread, x, x) / len(x)
    return full.reshape(full.shape[0] * full.shape[1], -1)


def judged(move: Tensor, images: Tensor) -> dict[str, float]:
    """What a move of the pretrained network's last layer, (classes, width + 1), changes, and what is expected of it.

    true: the mean KL divergence of its probabilities after the move from those before, in nats.  full, diagonal:
    1/2 m F m with the Fisher matrix in full, and with its diagonal alone, as EWC has it.
    """
    model = pretrained()
    x, head, fisher = _head_inputs(model, images), _head(model), head_fisher(model, images)
    before, after = ((x @ weights.T).log_softmax(1) for weights in (head, head + move))
    flat = move.flatten()
    return {
        "true": (before.exp() * (before - after)).sum(1).mean().item(),
        "full": 0.5 * (flat @ fisher @ flat).item(),
        "diagonal": 0.5 * (fisher.diagonal() * flat**2).sum().item(),
    }


def trained_move(task: str, steps: int, seed: int = 0) -> Tensor:
    """How the last layer moves in its first steps on another task: (classes, width + 1). task: of `PRETRAINED`."""
    split = data.digits_split()
    examples = PRETRAINED[task](split.train_images[PRETRAINING:], split.train_labels[PRETRAINING:])
    model = copy.deepcopy(pretrained())
    freeze_(model, train_last=1)
    run = _experiment(lambda _: model, examples, steps=steps, lr=1e-3).start(seed, device="cpu")
    return _head(finish(run).model) - _head(pretrained())
