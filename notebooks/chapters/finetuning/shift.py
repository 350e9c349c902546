"""A random head distorts good features: digits, fine-tuned in one world and tested in others.

A network learns without any label to put images right that were moved, rotated or drowned in noise. Then it gets a
new head and a new task, to name the digit, with examples of one world alone: images as they are. What becomes of the
other worlds is the question of Kumar et al. (2022), *Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution*.
"""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import data, initialization
from course_utils.dice import Dice
from course_utils.finetuning.methods import freeze_
from course_utils.models import MLP
from course_utils.training import Experiment, cosine, finish, fit

from ..digits import SHIFTS, shift_digits

PRETRAINING = 800  # of the 1,257 training images; the new task draws its examples from the other 457
COPIES = 5  # of each shift, each with other dice
HIDDEN = (128, 128)
SHIFT_SEED = 999  # of the shifted test images, which nothing trains on
INSIDE = "inside"
DIGITS = 10
PROBE_LR = 1e-2
METHODS = ("probe", "full", "probe then full")


@cache
def pretrained_digits(seed: int = 0) -> MLP:
    """A network that puts images of all worlds right, (images, 64) -> (images, 64). Copy it before it trains on."""
    images = data.digits_split().train_images[:PRETRAINING]
    seen = [images] * COPIES
    seen += [shift_digits(images, shift, seed=copy) for copy in range(COPIES) for shift in SHIFTS]
    experiment = Experiment(
        model=lambda generator: initialization.initialize_(MLP([64, *HIDDEN, 64]), "he", generator=generator),
        batches=data.row_batches(torch.cat(seen), images.repeat(len(seen), 1), batch_size=128),
        loss=lambda model, batch: F.mse_loss(model(batch[0]), batch[1]),
        knobs={"lr": 3e-3},
        schedule=cosine(1000, warmup=20),
        steps=1000,
    )
    with torch.enable_grad():  # a picture may be the first to ask for it
        return finish(experiment.start(seed, device="cpu")).model.eval()


@cache
def test_worlds() -> dict[str, Tensor]:
    """The held-out images as they are ("inside") and under each shift, by name: (540, 64) each."""
    images = data.digits_split().test_images
    return {INSIDE: images} | {shift: shift_digits(images, shift, seed=SHIFT_SEED) for shift in SHIFTS}


def plain_examples(examples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images as they are that the pretraining never saw, (examples, 64), and their digits, (examples,)."""
    split = data.digits_split()
    images, labels = split.train_images[PRETRAINING:], split.train_labels[PRETRAINING:]
    if not 1 <= examples <= len(images):
        raise ValueError(f"examples {examples}: expected 1 to {len(images)}")
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:examples]
    return images[drawn], labels[drawn]


def features(model: MLP, images: Tensor) -> Tensor:
    """What the last layer, the head, reads: (images, width)."""
    seen = []
    hook = model.layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        model(images)
    finally:
        hook.remove()
    return seen[0]


def with_new_head(model: MLP, classes: int, *, generator: torch.Generator) -> MLP:
    """A copy of a network whose last layer is new and random, with Xavier's start."""
    changed = copy.deepcopy(model)
    with Dice(0):  # PyTorch's own start, which ours replaces
        head = nn.Linear(changed.layers[-1].in_features, classes)
    changed.layers[-1] = initialization.initialize_(head, "xavier", generator=generator)
    changed.sizes = [*changed.sizes[:-1], classes]
    return changed


def shift_recipe(
    *, method: str = "full", examples: int = 400, steps: int = 300, lr: float = 3e-3, seed: int = 0
) -> Experiment:
    """Learn to name digits from images as they are, and measure in every world.

    method: "probe" trains the new head alone; "full" trains everything from a random head; "probe then full" trains
    everything from a probe's head.  examples: how many images; seed: which ones.  lr: the highest learning rate, of
    a probe always 0.01.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r}: choose one of {', '.join(METHODS)}")
    how = {"schedule": cosine(steps, warmup=min(20, steps - 1)), "steps": steps}
    batches = data.row_batches(*plain_examples(examples, seed), batch_size=32)

    def build(generator: torch.Generator) -> MLP:
        model = with_new_head(pretrained_digits(), DIGITS, generator=generator)
        if method != "full":
            freeze_(model, train_last=1)
        if method == "probe then full":
            fit(model, batches, lr=PROBE_LR, seed=seed, device="cpu", **how)
            freeze_(model, train="*")
        return model

    return Experiment(
        model=build,
        batches=batches,
        knobs={"lr": PROBE_LR if method == "probe" else lr},
        measures={"worlds": worlds},
        measure_every=max(1, steps // 20),
        **how,
    )


@torch.no_grad()
def worlds(model: MLP, generator: torch.Generator | None = None) -> dict[str, float]:
    """The share of held-out images named right in each world, the mean of the shifted ones, and the drift."""
    device = next(model.parameters()).device
    labels = data.digits_split().test_labels
    right = {
        name: (model(images.to(device)).argmax(-1).cpu() == labels).float().mean().item()
        for name, images in test_worlds().items()
    }
    outside = sum(right[shift] for shift in SHIFTS) / len(SHIFTS)
    return right | {"outside": outside, "drift": drift(model)}


@torch.no_grad()
def drift(model: MLP) -> float:
    """How far the features of shifted images have moved from where pretraining had put them, over their length."""
    device = next(model.parameters()).device
    images = torch.cat([test_worlds()[shift] for shift in SHIFTS])
    before, after = features(pretrained_digits(), images), features(model, images.to(device)).cpu()
    return ((after - before).norm() / before.norm()).item()
