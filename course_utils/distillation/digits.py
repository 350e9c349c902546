"""Distillation on handwritten digits: the teacher, its students, and what they are compared with.

A student learns from a *source*: the teacher's probabilities, or one of the controls. The teacher's logits are computed
once and travel in the batch, so that a student costs the same whatever it learns from.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import checkpoint, data, training
from course_utils.data.images import SIDE
from course_utils.distillation.methods import distillation_loss, label_smoothing, pseudo_labels
from course_utils.models import MLP

CLASSES = 10
TEACHER = (64, 512, 512, CLASSES)
TEACHER_STEPS = 1500
BATCH = 64
LR = {"teacher": 2e-3, "student": 1e-2}
TEMPERATURE, ALPHA, SMOOTHING = 4.0, 0.9, 0.1


# --- the teacher ------------------------------------------------------------------------------------------------------


def shaken(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to one pixel, up or down and left or right: (n, 64) -> (n, 64)."""
    padded = F.pad(images.view(-1, SIDE, SIDE), (1, 1, 1, 1))  # (n, 10, 10)
    top, left = torch.randint(3, (2, len(images), 1), generator=generator) + torch.arange(SIDE)  # each (n, 8)
    return padded[torch.arange(len(images))[:, None, None], top[:, :, None], left[:, None, :]].flatten(1)


def teacher_recipe(*, split: int = 0, steps: int = TEACHER_STEPS) -> training.Experiment:
    """Train the teacher, 300,000 weights, on all training images, moved a little each time. split: as in `digits`."""
    images, labels, *_ = digits(split)
    drawn = data.row_batches(images, labels, batch_size=BATCH)

    def batches(generator: torch.Generator):
        rows, wanted = drawn(generator)
        return shaken(rows, generator), wanted

    return training.Experiment(
        model=lambda _: MLP(TEACHER),
        batches=batches,
        knobs={"lr": LR["teacher"], "weight_decay": 0.0},
        schedule=training.cosine(steps, warmup=20),
        steps=steps,
    )


@cache
def digits(split: int = 0) -> data.images.Split:
    """The 1,257 images to learn from and the 540 to test with; another number splits them anew."""
    return data.digits_split(split)


@cache
def teacher(split: int = 0) -> MLP:
    """The teacher of this split, on the CPU: the shipped one for split 0, else trained now (some seconds)."""
    if split == 0:
        return checkpoint.load("digit_teacher").eval()
    return training.finish(teacher_recipe(split=split).start(split, device="cpu")).model.eval()


@cache
def answers(split: int = 0) -> Tensor:
    """The teacher's logits for the images to learn from: (1257, 10)."""
    with torch.no_grad():
        return teacher(split)(digits(split).train_images)


@torch.no_grad()
def accuracy(model: nn.Module, split: int = 0, *, bias: Tensor | None = None) -> float:
    """The share of test images that a model names rightly. bias: (10,), added to its logits."""
    return recalls(model, split, bias=bias)["all"]


@torch.no_grad()
def recalls(model: nn.Module, split: int = 0, *, bias: Tensor | None = None) -> dict[str, float]:
    """The share of test images named rightly, of each class ("0" to "9") and of all ("all")."""
    _, _, images, labels = digits(split)
    logits = model(images.to(next(model.parameters()).device)).cpu()
    right = (logits if bias is None else logits + bias).argmax(-1) == labels
    shares = {str(digit): right[labels == digit].float().mean().item() for digit in range(CLASSES)}
    return shares | {"all": right.float().mean().item()}
