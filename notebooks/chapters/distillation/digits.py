"""Distillation on handwritten digits: the teacher, its students, and what they are compared with.

A student learns from a *source*: the teacher's probabilities, or one of the controls. The teacher's logits are computed
once and travel in the batch, so that a student costs the same whatever it learns from.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import checkpoint, data, sweeps, training
from course_utils.data.images import SIDE
from course_utils.dice import Dice
from course_utils.distillation.methods import distillation_loss, label_smoothing, pseudo_labels
from course_utils.models import MLP, count_parameters

from .measures import answer_time

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
    model = teacher(split)  # may train now, and needs gradients for it
    with torch.no_grad():
        return model(digits(split).train_images)


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


# --- students ---------------------------------------------------------------------------------------------------------


def _from_teacher(logits: Tensor, batch: tuple, temperature: float, alpha: float) -> Tensor:
    _, labels, taught = batch
    return distillation_loss(logits, taught, labels, temperature=temperature, alpha=alpha)


def _from_labels(logits: Tensor, batch: tuple, temperature: float, alpha: float) -> Tensor:
    return label_smoothing(logits, batch[1], smoothing=0.0)


def _from_smoothed(logits: Tensor, batch: tuple, temperature: float, alpha: float) -> Tensor:
    return label_smoothing(logits, batch[1], smoothing=SMOOTHING)


def _from_best_guess(logits: Tensor, batch: tuple, temperature: float, alpha: float) -> Tensor:
    return label_smoothing(logits, pseudo_labels(batch[2]), smoothing=0.0)


SOURCES = {  # what a student may learn from
    "teacher": _from_teacher,
    "labels": _from_labels,
    "smoothed labels": _from_smoothed,
    "labels, equal compute": _from_labels,
    "teacher's best guess": _from_best_guess,
}


def source_loss(source: str) -> Callable:
    """``loss(model, (images, labels, teacher's logits))``; temperature and alpha act on the source "teacher" only."""
    if source not in SOURCES:
        raise ValueError(f"source {source!r}: choose one of {', '.join(SOURCES)}")
    of = SOURCES[source]

    def loss(model: nn.Module, batch: tuple, *, temperature: float = TEMPERATURE, alpha: float = ALPHA) -> Tensor:
        return of(model(batch[0]), batch, temperature, alpha)

    return loss


def transfer_set(split: int = 0, *, images: int = 1257, left_out: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The first so many training images, their labels and the teacher's logits, without one class if wanted."""
    rows, labels, *_ = digits(split)
    if not CLASSES <= images <= len(rows):
        raise ValueError(f"images {images}: expected {CLASSES} to {len(rows)}")
    kept = (labels != left_out).nonzero().flatten() if left_out is not None else torch.arange(len(rows))
    kept = kept[kept < images]
    return rows[kept], labels[kept], answers(split)[kept]


def student_recipe(
    *,
    source: str = "teacher",
    images: int = 100,
    width: int = 32,
    steps: int = 600,
    left_out: int | None = None,
    temperature: float = TEMPERATURE,
    alpha: float = ALPHA,
    split: int = 0,
    measured: bool = True,
) -> training.Experiment:
    """Train a student with one hidden layer on what a source says about the first so many images.

    source: a name in `SOURCES`; "labels, equal compute" takes as many more steps as the teacher's forward passes would
    pay for.  left_out: a class that no image of the transfer set belongs to.  temperature, alpha: first values of the
    knobs.  measured: accuracy on the test images, and the left-out class's recall, on the way.
    """
    drawn = transfer_set(split, images=images, left_out=left_out)
    knobs = {"temperature": temperature, "alpha": alpha}
    return _experiment(drawn, source, width, steps, split, left_out, knobs, measured)


def left_out_recipe(
    *, left_out: int = 3, source: str = "teacher", temperature: float = 10.0, split: int = 0, measured: bool = True
) -> training.Experiment:
    """Train a student on all images but those of one class; nobody tells it that there is another class."""
    longer = {"images": 1257, "width": 64, "steps": 1500, "alpha": 1.0}
    how = {"source": source, "temperature": temperature, "split": split, "measured": measured}
    return student_recipe(left_out=left_out, **longer, **how)


def bias_on(digit: int, bias: float) -> Tensor:
    """A bias for the logit of one class: (10,)."""
    return bias * F.one_hot(torch.tensor(digit), CLASSES).float()


FEW = 50  # labelled images of section 4


def few_labels_recipe(
    *, source: str = "teacher", transfer: int = 1257, steps: int = 600, split: int = 0, measured: bool = True
) -> training.Experiment:
    """Train a student where only the first 50 images have labels.

    source: those of labels see these 50 images alone. With "teacher" and "teacher's best guess" the teacher says what
    it thinks of the first ``transfer`` images, and labels play no part; with "own guess" a student of the 50 labels
    names these images itself, and a new student learns from that.
    """
    if source not in FEW_SOURCES:
        raise ValueError(f"source {source!r}: choose one of {', '.join(FEW_SOURCES)}")
    rows, labels, taught = transfer_set(split, images=FEW if "labels" in source else transfer)
    if source == "own guess":
        source, labels = "labels", _own_guess(split)[: len(rows)]
    return _experiment((rows, labels, taught), source, 32, steps, split, None, {"alpha": 1.0}, measured)


FEW_SOURCES = ("teacher", "teacher's best guess", "own guess", "labels", "labels, equal compute")


@cache
def _own_guess(split: int) -> Tensor:
    """What a student of 50 labels says of all images, its labels for the 50: (1257,)."""
    (one,) = train_students([split], source="labels", images=FEW, split=split)
    images, labels, *_ = digits(split)
    with torch.no_grad():
        guess = one(images).argmax(-1)
    return torch.cat([labels[:FEW], guess[FEW:]])


def _experiment(drawn, source, width, steps, split, left_out, knobs, measured) -> training.Experiment:
    steps = equal_steps(width, steps) if source == "labels, equal compute" else steps
    loss = source_loss(source)

    def batches(generator: torch.Generator):
        chosen = torch.randint(len(drawn[0]), (BATCH,), generator=generator)
        return tuple(part[chosen] for part in drawn)

    def measure(model: nn.Module, _: torch.Generator) -> dict[str, float]:
        found = recalls(model, split)
        return {"accuracy": found["all"]} | ({} if left_out is None else {"left out": found[str(left_out)]})

    return training.Experiment(
        model=lambda _: student(width),
        batches=batches,
        loss=loss,
        knobs={"lr": LR["student"], "weight_decay": 0.0} | knobs,
        schedule=training.cosine(steps, warmup=20),
        steps=steps,
        measures={"test": measure} if measured else {},
        measure_every=max(1, steps // 24),
    )


def student(width: int) -> MLP:
    """A student that has learned nothing."""
    return MLP([TEACHER[0], width, CLASSES])


def equal_steps(width: int, steps: int) -> int:
    """Steps on labels that multiply as often as ``steps`` steps with a teacher, whose forward pass is counted.

    A forward pass multiplies once for each weight and image, a training step about three times.
    """
    with Dice(0):  # made to be counted
        own, taught = count_parameters(student(width)), count_parameters(MLP(TEACHER))
    return round(steps * (3 * own + taught) / (3 * own))


def train_students(seeds: Sequence[int], **settings) -> list[MLP]:
    """Students of several seeds, trained side by side (`sweeps`). settings: those of `student_recipe`."""
    alone = student_recipe(measured=False, **settings)
    lr, temperature, alpha = (alone.knobs[name] for name in ("lr", "temperature", "alpha"))
    swept = sweeps.train_many(
        alone.model,
        alone.batches,
        steps=alone.steps,
        lr=lr,
        loss=partial(alone.loss, temperature=temperature, alpha=alpha),
        seed=list(seeds),
        schedule=alone.schedule,
        device="cpu",
    )
    with Dice(0):  # their weights come from the sweep
        made = [student(settings.get("width", 32)) for _ in seeds]
    for k, one in enumerate(made):
        one.load_state_dict({name: weights[k] for name, weights in swept.parameters.items()})
    return made


# --- what a model costs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a model costs once it only answers.

    weights: their number.  disk: bytes of its checkpoint.  memory, memory_batch: bytes that the weights and the values
    on the way hold at most, measured while it answers one image, and 64 at once.  one, batch: seconds of these answers.
    """

    weights: int
    disk: int
    memory: int
    memory_batch: int
    one: float
    batch: float


def prices(models: Sequence[MLP], *, rounds: int = 5, repeats: int = 40, batch: int = 64) -> list[Price]:
    """What each model costs, timed fairly: in turns, so that a busy moment of the machine hits all alike.

    A time is the smallest of the rounds' medians (`answer_time`): other work on the machine can only add to it.
    """
    images = digits().test_images[:batch]
    times = [[[answer_time(model, rows, repeats=repeats).median for model in models] for rows in (images[:1], images)]
             for _ in range(rounds)]  # fmt: skip
    one, many = np.array(times).min(0)  # each (models,)
    return [
        Price(weights=count_parameters(model), disk=_disk(model), memory=_memory(model, images[:1]),
              memory_batch=_memory(model, images), one=one[k], batch=many[k])
        for k, model in enumerate(models)
    ]  # fmt: skip


def _disk(model: MLP) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return checkpoint.save(model, Path(folder) / "model", card={}).stat().st_size


@torch.no_grad()
def _memory(model: MLP, images: Tensor) -> int:
    def answer():
        held = [weights.detach() for weights in model.parameters()]  # what no operation makes has to be shown
        return held, model(images.clone())

    return training.peak_memory(answer)
