"""The panels of digits: students of many kinds, and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import figures
from course_utils.live import Choice, CurvesView, Explorer, LossView, Shown, Slider, TrainingPanel
from course_utils.runtime import readable_bytes
from course_utils.training import finish

from . import digits as d
from .bench import Bench
from .panel_soft_labels import NAMES

# --- section 2: a student, live ---------------------------------------------------------------------------------------

TEST = CurvesView(title="Test images named rightly", curves={"accuracy": "student"}, y_title="share", y_range=(0.5, 1))
LOSS = LossView(title="Loss (each source has its own)", y_title="loss (nats)")
DIALS = {
    "temperature": Slider(label="temperature", low=0.5, high=20, log=True,
                          help="Softens teacher and student alike. Acts with the teacher only."),
    "alpha": Slider(label="alpha", low=0, high=1, step=0.05, firm=True,
                    help="The share of the teacher in the loss; the rest is the labels'. Acts with the teacher only."),
    "source": Choice(label="learns from", options=tuple(d.SOURCES), help="The teacher's probabilities, or a control."),
    "images": Choice(label="images", options=(50, 100, 200, 400, 1257), help="How many images it learns from."),
    "width": Choice(label="width", options=(4, 8, 16, 32, 64, 128), help="Hidden units of the student."),
    "steps": Choice(label="steps", options=(600, 1500), help="How long it trains: 64 images a step."),
    "transfer": Choice(label="images for the teacher", options=(50, 100, 200, 400, 800, 1257),
                       help="How many images, labelled or not, the teacher or the student itself names."),
}  # fmt: skip


def taught_by(of: Callable, model: nn.Module, batch: tuple, *, source: str = "teacher",
              temperature: float = d.TEMPERATURE, alpha: float = d.ALPHA) -> Tensor:  # fmt: skip
    """A student's loss whose source "teacher" is a learner's ``of(student, teacher, labels, temperature, alpha)``."""
    if source != "teacher":
        return d.SOURCES.get(source, d.SOURCES["labels"])(model(batch[0]), batch, temperature, alpha)
    images, labels, taught = batch
    return of(model(images), taught, labels, temperature, alpha)


def from_targets(soft: Callable, student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float):
    """The distillation loss with a learner's ``soft(logits, temperature)`` for the teacher's probabilities."""
    p = torch.as_tensor(soft(teacher, temperature)).to(student)  # (images, classes)
    log_q = (student / temperature).log_softmax(-1)
    kl = (torch.xlogy(p, p) - p * log_q).sum(-1).mean()
    return alpha * temperature**2 * kl + (1 - alpha) * F.cross_entropy(student, labels)


def student_panel(*, soft_targets: Callable | None = None) -> TrainingPanel:
    """A student that learns from the teacher, or from one of the controls. soft_targets: a learner's own."""
    return TrainingPanel(
        d.student_recipe,
        title="A student of digits",
        settings=["source", "images", "width", "steps"],
        knobs=["temperature", "alpha", "lr"],
        views=[TEST, LOSS],
        controls=DIALS,
        seeds=True,
        loss=soft_targets and partial(taught_by, partial(from_targets, soft_targets)),
    )


# --- section 3: never saw one class -----------------------------------------------------------------------------------


def left_out_panel() -> Explorer:
    """A student that never sees one class; a bias on this class's logit may be added once it is trained."""

    @cache
    def trained(left_out: int, source: str, temperature: float):
        recipe = d.left_out_recipe(left_out=left_out, source=source, temperature=temperature, measured=False)
        return finish(recipe.start(0, device="cpu")).model.eval()

    def draw(*, left_out, source, temperature, bias):
        model = trained(left_out, source, temperature)
        found = d.recalls(model, bias=d.bias_on(left_out, bias))
        shares = [found[name] for name in NAMES]
        bars = figures.bars(NAMES, shares, title="How many test images of each digit are found", x_title="digit",
                            y_title="share found", y_range=(0, 1), highlight=[left_out])  # fmt: skip
        summary = f"It never saw a {left_out}, and finds {found[str(left_out)]:.0%} of them; {found['all']:.1%} of all."
        return Shown(figures=[bars], summary=summary)

    return Explorer(draw, title="Never saw a digit", controls={
        "left_out": (Choice(label="left out", options=tuple(range(10)), help="The digit it never sees."), 3),
        "source": (Choice(label="learns from", options=("teacher", "labels"),
                          help="The teacher's probabilities, or labels."), "teacher"),
        "temperature": (Choice(label="temperature", options=(1.0, 4.0, 10.0, 20.0), help="Of its training."), 10.0),
        "bias": (Slider(label="bias", low=0, high=8, step=0.25,
                        help="Added to the logit of the digit left out, after training."), 0.0),
    })  # fmt: skip


# --- section 4: few labels --------------------------------------------------------------------------------------------


def few_labels_panel(*, loss: Callable | None = None) -> TrainingPanel:
    """50 labels, and a teacher that says what it thinks of more images. loss: a learner's own distillation loss."""
    return TrainingPanel(
        d.few_labels_recipe,
        title="50 labels and a teacher",
        settings=["source", "transfer"],
        knobs=["temperature", "lr"],
        views=[TEST],
        controls=DIALS | {"source": Choice(label="learns from", options=d.FEW_SOURCES, help="Who names the images.")},
        seeds=True,
        loss=loss and partial(taught_by, loss),
    )


# --- section 5: size, accuracy, time ----------------------------------------------------------------------------------

WIDTHS = (4, 16, 32, 64, 256)


def size_panel() -> Bench:
    """Students of many widths, trained together for several seeds: what they can do, and what they cost."""

    def draw(*, source, images, seeds):
        how = {"source": source, "images": images, "steps": 400}
        made = {}
        for width in WIDTHS:
            yield len(made) / len(WIDTHS)
            made[width] = d.train_students(range(seeds), width=width, **how)
        found = {width: [d.accuracy(model) for model in models] for width, models in made.items()}
        costs = d.prices([*(models[0] for models in made.values()), d.teacher()])
        return _costs_shown(found, costs, d.accuracy(d.teacher()))

    return Bench(draw, title="Cheaper by how much?", act="Train and measure", controls={
        "source": (Choice(label="learns from", options=("teacher", "labels"), help="What the students learn from."),
                   "teacher"),
        "images": (Choice(label="images", options=(100, 400, 1257), help="How many images they learn from."), 1257),
        "seeds": (Choice(label="seeds", options=(3, 5, 10), help="Students of each width, trained side by side."), 3),
    })  # fmt: skip


def _costs_shown(found, costs, taught) -> Shown:
    weights = np.array([cost.weights for cost in costs])
    seen = np.array(list(found.values()))  # (widths, seeds)
    students = figures.Series(name="students (mean, lowest and highest seed)", x=weights[:-1], y=seen.mean(1),
                              low=seen.min(1), high=seen.max(1), markers=True)  # fmt: skip
    accuracy = figures.lines([students], title="Accuracy on test images", x_title="weights", y_title="share",
                             x_log=True, levels={"teacher": taught}, y_range=(0.5, 1))  # fmt: skip
    times = [("one image", "one"), ("64 images at once, for each", "batch")]
    series = [figures.Series(name=name, x=weights, markers=True, style=style,
                             y=np.array([getattr(cost, part) for cost in costs]) * 1e6 / (64 if style else 1))
              for style, (name, part) in enumerate(times)]  # fmt: skip
    time = figures.lines(series, title="Time to answer (the last point is the teacher)", x_title="weights",
                         y_title="microseconds", x_log=True, y_log=True)  # fmt: skip
    for spec in (accuracy, time):
        spec["layout"]["xaxis"]["dtick"] = 1  # powers of ten: more would stand on one another in a narrow window
    rows = [f"{'':>9}{'':>9}{'':>7}{'':>9}{'memory for images':>18}{'ms for images':>16}",
            f"{'':>9}{'weights':>9}{'right':>7}{'disk':>9}{'1':>9}{'64':>9}{'1':>8}{'64':>8}"]  # fmt: skip
    names, right = [*(f"{width} units" for width in found), "teacher"], [*seen.mean(1), taught]
    for name, share, cost in zip(names, right, costs, strict=True):
        sizes = "".join(f"{readable_bytes(size):>9}" for size in (cost.disk, cost.memory, cost.memory_batch))
        rows.append(f"{name:>9}{cost.weights:>9,}{share:>7.1%}{sizes}{cost.one * 1e3:>8.3f}{cost.batch * 1e3:>8.3f}")
    small = next((width for width, row in zip(found, seen.mean(1), strict=True) if row > taught - 0.02), None)
    summary = f"The smallest within 2 points of the teacher: {small} hidden units." if small else "None is near."
    table = ("What each costs on this machine: bytes and milliseconds (ms), measured", "\n".join(rows))
    return Shown(figures=[accuracy, time], texts=[table], summary=summary)
