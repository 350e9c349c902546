"""The studies behind 03_distillation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from course_utils import training
from course_utils.lesson.study import Row, Studies, Study

from . import digits, studies_stories

BIASES = tuple(range(9))  # added to the logit of a class that was left out

# --- digits (sections 2 to 4): a seed stands for a split of the images with a teacher of its own, and for a student ---


def sources_points() -> Iterator[Row]:
    """What a student learns from, with few images and with all, and narrow and wide students at two temperatures."""
    few = {"images": 100, "width": 32, "steps": 600, "temperature": 4.0}
    full = {"images": 1257, "width": 64, "steps": 1500, "temperature": 4.0}
    sources = ("labels", "smoothed labels", "teacher")
    rows = [base | {"source": source} for base in (few, full) for source in sources]
    rows.append(few | {"source": "teacher's best guess"})
    rows += [few | {"source": "teacher", "temperature": temperature} for temperature in (1.0, 10.0)]
    narrow = {"images": 1257, "width": 8, "steps": 600, "source": "teacher"}
    rows += [narrow | {"temperature": temperature} for temperature in (1.0, 10.0)]
    for seed, row in itertools.product(range(10), rows):
        yield row | {"seed": seed}
    for seed in range(8):  # 43 times the steps
        yield few | {"source": "labels, equal compute", "seed": seed}


def sources_point(*, seed: int, **settings) -> Row:
    """Accuracy on the test images."""
    run = training.finish(digits.student_recipe(split=seed, measured=False, **settings).start(seed, device="cpu"))
    return {"accuracy": digits.accuracy(run.model, seed)}


def left_out_points() -> Iterator[Row]:
    """A student that never sees one class, for each of the ten, taught and with labels."""
    for seed, left_out in itertools.product(range(8), range(digits.CLASSES)):
        yield {"source": "teacher", "left_out": left_out, "seed": seed}
    for seed, left_out in itertools.product(range(2), range(digits.CLASSES)):
        yield {"source": "labels", "left_out": left_out, "seed": seed}


def left_out_point(*, source: str, left_out: int, seed: int) -> Row:
    """With biases of 0 to 8 on the class left out: the share of its test images that is found, and of all."""
    run = training.finish(digits.left_out_recipe(source=source, left_out=left_out, split=seed, measured=False)
                          .start(seed, device="cpu"))  # fmt: skip
    found = [digits.recalls(run.model, seed, bias=digits.bias_on(left_out, bias)) for bias in BIASES]
    of = {"found": str(left_out), "accuracy": "all"}
    return {name: [round(one[key], 4) for one in found] for name, key in of.items()}


def few_labels_points() -> Iterator[Row]:
    """50 labelled images, and what a teacher, or the student itself, says of more."""
    sources = [(source, size) for source in ("teacher", "teacher's best guess") for size in (50, 200, 1257)]
    for seed, (source, size) in itertools.product(range(10), [*sources, ("labels", 1257), ("own guess", 1257)]):
        yield {"source": source, "transfer": size, "seed": seed}
    for seed in range(8):
        yield {"source": "labels, equal compute", "transfer": 1257, "seed": seed}


def few_labels_point(*, source: str, transfer: int, seed: int) -> Row:
    """Accuracy of the student and of its teacher on the test images."""
    recipe = digits.few_labels_recipe(source=source, transfer=transfer, split=seed, measured=False)
    run = training.finish(recipe.start(seed, device="cpu"))
    return {"accuracy": digits.accuracy(run.model, seed), "teacher": digits.accuracy(digits.teacher(seed), seed)}


STUDIES = Studies(__file__, {
    "digit_sources": Study(sources_points, sources_point),
    "left_out": Study(left_out_points, left_out_point),
    "few_labels": Study(few_labels_points, few_labels_point),
    **studies_stories.STUDIES,
})  # fmt: skip
