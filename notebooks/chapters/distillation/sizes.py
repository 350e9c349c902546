"""Does a bigger teacher make a better student? Teachers of many sizes, each with students of its own, on digits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from course_utils import data, sweeps, training
from course_utils.dice import Dice
from course_utils.distillation.methods import agreement, distillation_loss
from course_utils.models import MLP

from . import digits

TEACHER_WIDTHS = (4, 8, 16, 32, 64, 256)
STUDENT_WIDTH = 8
STEPS = 400
IMAGES = 1257


def _soft(model: MLP, batch: tuple[Tensor, Tensor], *, temperature: float) -> Tensor:
    return distillation_loss(model(batch[0]), batch[1], temperature=temperature, alpha=1.0)


def _train(width: int, seeds: Sequence[int], batches, loss) -> list[MLP]:
    """Networks with one hidden layer, one for each seed, trained side by side."""
    swept = sweeps.train_many(
        lambda _: digits.student(width), batches, steps=STEPS, lr=digits.LR["student"], loss=loss, seed=list(seeds),
        schedule=training.cosine(STEPS, warmup=20), device="cpu",
    )  # fmt: skip
    with Dice(0):  # their weights come from the sweep
        made = [digits.student(width) for _ in seeds]
    for k, one in enumerate(made):
        one.load_state_dict({name: weights[k] for name, weights in swept.parameters.items()})
    return made


def teachers(width: int, seeds: Sequence[int]) -> list[MLP]:
    """Teachers of this width, trained on the labels of all 1,257 images."""
    images, labels, *_ = digits.digits()
    batches = data.row_batches(images, labels, batch_size=digits.BATCH)
    return _train(width, [seed + 1000 for seed in seeds], batches, training.default_loss)


@torch.no_grad()
def _answers(models: Sequence[MLP], images: Tensor) -> Tensor:
    """Each model's logits: (models, images, classes)."""
    return torch.stack([model(images) for model in models])


def students(taught_by: Sequence[MLP], seeds: Sequence[int], *, width: int = STUDENT_WIDTH, images: int = IMAGES,
             temperature: float = 4.0) -> list[MLP]:  # fmt: skip
    """One student for each teacher and seed; it sees no label, only the teacher's answers on so many images."""
    rows = digits.digits().train_images[:images]
    answers = _answers(taught_by, rows)
    whose = {training.batch_generator(seed).initial_seed(): k for k, seed in enumerate(seeds)}

    def batches(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = torch.randint(len(rows), (digits.BATCH,), generator=generator)
        return rows[drawn], answers[whose[generator.initial_seed()], drawn]

    return _train(width, seeds, batches, partial(_soft, temperature=temperature))


def compare(teacher_width: int, seeds: Sequence[int], **settings) -> dict[str, list[float]]:
    """Accuracy of teachers of this width and of their students, and how far they agree, on the test images, by seed.

    settings: those of `students`.
    """
    _, _, images, labels = digits.digits()
    taught_by = teachers(teacher_width, seeds)
    theirs = _answers(taught_by, images)
    own = _answers(students(taught_by, seeds, **settings), images)
    right = {"teacher": theirs, "student": own}
    return {name: (logits.argmax(-1) == labels).float().mean(-1).tolist() for name, logits in right.items()} | {
        "agreement": [agreement(a, b) for a, b in zip(own, theirs, strict=True)]
    }
