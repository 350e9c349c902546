"""The studies behind sections 6 to 9 of 03_distillation: students of the story teacher, and sizes of teachers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from course_utils import training
from course_utils.lesson.study import Row, Study

from . import sizes
from . import stories as s

STORIES = 400  # held-out ones


def _abilities(model) -> Row:
    """Held-out loss, and the share guessed right of each ability."""
    return {name.replace("held-out", "loss"): value for name, value in s.evaluate(model, stories=STORIES).items()}


# --- copied layers and hints (section 6) ------------------------------------------------------------------------------


def copied_points() -> Iterator[Row]:
    """Copied layers or none, times labels or probabilities, over ten seeds; and three other choices of layers."""
    for seed, copied, targets in itertools.product(range(10), ("none", "1 and 3"), s.TARGETS):
        yield {"copied": copied, "targets": targets, "steps": 100, "seed": seed}
    for seed, copied in itertools.product(range(5), ("1 and 2", "1 and 4", "2 and 4")):
        yield {"copied": copied, "targets": "probabilities", "steps": 100, "seed": seed}


def copied_point(*, seed: int, **settings) -> Row:
    """Held-out loss and abilities at the end."""
    return _abilities(training.finish(s.copied_recipe(**settings).start(seed)).model)


def hint_points() -> Iterator[Row]:
    """Without a hint, and with one of each weight."""
    for seed, weight in itertools.product(range(8), (0.0, 0.001, 0.1)):
        yield {"hint_weight": weight, "steps": 300, "seed": seed}


def hint_point(*, hint_weight: float, steps: int, seed: int) -> Row:
    """Held-out loss early, after a third of the steps, and at the end."""
    run = s.hint_recipe(steps=steps).start(seed)
    run.set("hint_weight", hint_weight)
    curve = training.finish(run).history["held-out"]
    early = next(value for step, value in zip(curve.steps, curve.values, strict=True) if step >= steps / 3)
    return {"early": float(early), "loss": s.evaluate(run.model, stories=STORIES)["held-out"]}


# --- ways to teach (section 7) ----------------------------------------------------------------------------------------


WAYS = (("labels", 50, "forward"), ("labels", 300, "forward"), ("text", 300, "forward"),
        ("probabilities", 300, "forward"), ("probabilities", 300, "reverse"),
        ("own samples", 0, "forward"))  # fmt: skip
STARTED = (
    ("text", "forward"), ("probabilities", "forward"), ("probabilities", "reverse"), ("own samples", "forward"),
    ("own samples", "reverse"),
)  # fmt: skip


def ways_points() -> Iterator[Row]:
    """Each way to teach, from texts of its own for each seed; the last with a student of copied layers."""
    for seed, (way, stories, divergence) in itertools.product(range(3), WAYS):
        yield {"way": way, "stories": stories, "divergence": divergence, "steps": 400, "seed": seed}
    for seed, (way, divergence) in itertools.product(range(3), STARTED):
        yield {"way": way, "stories": 300, "divergence": divergence, "copied": "1 and 3", "steps": 150, "seed": seed}


def ways_point(*, seed: int, **settings) -> Row:
    """Held-out loss and abilities at the end, and how many of 200 stories that the student writes are flawless."""
    model = training.finish(s.taught_recipe(**settings, seed=seed).start(seed)).model
    return _abilities(model) | s.flawless(model)


# --- one ability (section 8) ------------------------------------------------------------------------------------------


def ability_points() -> Iterator[Row]:
    """Each ability alone."""
    for seed, ability in itertools.product(range(2), s.ABILITIES):
        yield {"ability": ability, "steps": 400, "seed": seed}


def ability_point(*, seed: int, **settings) -> Row:
    """Every ability at the end."""
    return _abilities(training.finish(s.ability_recipe(**settings).start(seed)).model)


# --- sizes of teachers (section 9) ------------------------------------------------------------------------------------

STUDENTS = ((8, 4.0), (8, 1.0), (32, 4.0))  # a student's units, the temperature


def sizes_points() -> Iterator[Row]:
    """Teachers of every size with students of 8 units, at another temperature, and with larger students."""
    for seed, teacher, (student, temperature) in itertools.product(range(10), sizes.TEACHER_WIDTHS, STUDENTS):
        yield {"teacher_units": teacher, "student_units": student, "temperature": temperature, "seed": seed}


def sizes_point(*, teacher_units: int, student_units: int, temperature: float, seed: int) -> Row:
    """Accuracy of a teacher and of its student on the test images, and how far they agree."""
    found = sizes.compare(teacher_units, [seed], width=student_units, temperature=temperature)
    return {name: values[0] for name, values in found.items()}


STUDIES = {
    "copied_layers": Study(copied_points, copied_point),
    "hints": Study(hint_points, hint_point),
    "ways_to_teach": Study(ways_points, ways_point),
    "one_ability": Study(ability_points, ability_point),
    "teacher_sizes": Study(sizes_points, sizes_point),
}
