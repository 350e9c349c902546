"""The panels of story students: copied layers, hints, ways to teach, both KLs, one ability, sizes of teachers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from course_utils import figures
from course_utils.distillation import DIVERGENCES
from course_utils.live import Choice, Explorer, LossView, Shown, Slider, TrainingPanel

from ..stories import ABILITIES
from . import bumps, sizes
from . import stories as s
from .bench import Bench
from .studies import STUDIES

HELD_OUT = LossView(title="Loss on held-out stories", curves={"held-out": "held-out"}, top=3.0)
TAUGHT = LossView(title="Loss (in training, a KL for probabilities)", top=4.0,
                  curves={"loss": "training", "held-out": "held-out"})  # fmt: skip
STEPS = Choice(label="steps", options=(100, 150, 200, 300, 400, 800), help="How long it trains: 16 stories a step.")
DIVERGENCE = Choice(label="divergence", options=tuple(DIVERGENCES),
                    help="Forward KL, reverse KL, or a mix of both. For probabilities and own samples.")  # fmt: skip

COPIED = Choice(label="copied layers", options=tuple(s.COPIED),
                help="Which of the teacher's four layers the student's two start from.")  # fmt: skip


def copied_panel() -> TrainingPanel:
    """Section 6: which layers a student starts from, and what it learns from."""
    controls = {
        "copied": COPIED,
        "targets": Choice(label="learns from", options=s.TARGETS,
                          help="The next tokens of true stories, or the teacher's probabilities of them."),
        "steps": STEPS,
    }  # fmt: skip
    return TrainingPanel(s.copied_recipe, title="Start from the teacher's layers", settings=list(controls),
                         views=[HELD_OUT, ABILITIES], controls=controls, seeds=True)  # fmt: skip


def hint_panel() -> TrainingPanel:
    """Section 6: a hint from the teacher's middle, as a knob."""
    controls = {
        "hint_weight": Slider(label="hint weight", low=1e-4, high=1.0, log=True,
                              help="What the hint counts beside the teacher's probabilities. Type 0 for none."),
        "hint_after": Choice(label="hint for layer", options=(1, 2), help="Which of the student's layers gets it."),
        "steps": STEPS,
    }  # fmt: skip
    return TrainingPanel(s.hint_recipe, title="A hint from a middle layer", settings=["hint_after", "steps"],
                         knobs=["lr", "hint_weight"], views=[HELD_OUT, ABILITIES], controls=controls,
                         seeds=True)  # fmt: skip


def taught_panel(*, copy_layers: Callable | None = None) -> TrainingPanel:
    """Section 7: a story student, taught in several ways. copy_layers: a learner's own."""
    controls = {
        "way": Choice(label="way to teach", options=s.WAYS, help="What the student gets to see."),
        "stories": Choice(label="texts", options=(50, 300, 1200), help="How many different texts there are."),
        "divergence": DIVERGENCE,
        "copied": COPIED,
        "steps": STEPS,
    }
    return TrainingPanel(s.taught_recipe, title="Ways to teach a language", settings=list(controls),
                         views=[TAUGHT, ABILITIES], controls=controls, seeds=True,
                         model=copy_layers and partial(s.copied_by, copy_layers))  # fmt: skip


def ability_panel() -> TrainingPanel:
    """Section 8: one ability alone."""
    controls = {
        "ability": Choice(label="ability", options=s.ABILITIES, help="The only tokens that the student is taught on."),
        "steps": STEPS,
    }
    return TrainingPanel(s.ability_recipe, title="One ability alone", settings=list(controls),
                         views=[ABILITIES], controls=controls, seeds=True)  # fmt: skip


# --- both KLs ---------------------------------------------------------------------------------------------------------


def kl_panel() -> Explorer:
    """Section 7: one bump has to stand for two, and the divergence says which mistake it makes."""
    places = np.arange(bumps.PLACES)

    def draw(*, divergence, distance, share):
        teacher = bumps.two_bumps(distance, share)
        best = bumps.best_bump(teacher, divergence)
        series = [figures.Series(name=name, x=places, y=logits.softmax(-1).numpy(), style=style)
                  for style, (name, logits) in enumerate({"teacher": teacher, "student": best.logits}.items())]
        spec = figures.lines(series, title=f"The nearest single bump: {divergence}", x_title="place",
                             y_title="probability")  # fmt: skip
        between, missed = mistakes(teacher, best.logits)
        words = f"The student is at place {best.centre:.0f}, {best.width:.1f} wide. It puts {between:.0%} where the "
        return Shown(figures=[spec], summary=words + f"teacher says almost nothing, and misses {missed:.0%} of it.")

    return Explorer(draw, title="What each KL ignores", controls={
        "divergence": (Choice(label="divergence", options=tuple(DIVERGENCES), help="What the student makes small."),
                       "forward"),
        "distance": (Slider(label="distance", low=8, high=36, step=1, whole=True, firm=True,
                            help="How far apart the teacher's two bumps are, in places."), 24),
        "share": (Slider(label="share", low=0.5, high=0.95, step=0.05,
                         help="How much of the teacher's probability is in its left bump."), 0.6),
    })  # fmt: skip


def mistakes(teacher: torch.Tensor, student: torch.Tensor, little: float = 0.1) -> tuple[float, float]:
    """What the student says that the teacher hardly would, and what the teacher says that the student hardly would.

    Hardly: at a place where the other's probability is less than a tenth of the own one. Logits (places,).
    """
    theirs, own = teacher.softmax(-1), student.softmax(-1)
    return own[theirs < little * own].sum().item(), theirs[own < little * theirs].sum().item()


# --- sizes of teachers ------------------------------------------------------------------------------------------------


RUNS = {"10, stored": None, "3, trained now": range(3)}  # name -> seeds to train now


def sizes_panel() -> Bench:
    """Section 9: teachers of many sizes and their students, stored ones or trained when the button is pressed."""

    def draw(*, runs, student, temperature):
        found = []
        for width in sizes.TEACHER_WIDTHS:
            yield len(found) / len(sizes.TEACHER_WIDTHS)
            found.append(_compare(width, RUNS[runs], student, temperature))
        names = {"teacher": "teacher", "student": "its student", "agreement": "agreement of the two"}
        series = []
        for style, (key, name) in enumerate(names.items()):
            values = np.array([row[key] for row in found])  # (widths, seeds)
            series.append(figures.Series(name=name, x=np.array(sizes.TEACHER_WIDTHS), y=values.mean(1),
                                         low=values.min(1), high=values.max(1), style=style, markers=True))  # fmt: skip
        spec = figures.lines(series, title="On 540 test images: mean, lowest and highest seed", x_log=True,
                             x_title="hidden units of the teacher", y_title="share of images")  # fmt: skip
        spec["layout"]["xaxis"] |= {"tickmode": "array", "tickvals": list(sizes.TEACHER_WIDTHS)}
        accuracy = [float(np.mean(row["student"])) for row in found]
        best = int(np.argmax(accuracy))
        words = f"teachers of {sizes.TEACHER_WIDTHS[best]} units have the best students, {accuracy[best]:.1%} right."
        return Shown(figures=[spec], summary=f"On average of these runs, {words}")

    return Bench(draw, title="Teachers of many sizes", act="Show", controls={
        "runs": (Choice(label="runs", options=tuple(RUNS), help="Stored ones, or new ones, in some seconds."),
                 next(iter(RUNS))),
        "student": (Choice(label="student's units", options=(4, 8, 16, 32), help="Hidden units of every student."),
                    sizes.STUDENT_WIDTH),
        "temperature": (Choice(label="temperature", options=(1.0, 2.0, 4.0, 8.0), help="Of the soft labels."), 4.0),
    })  # fmt: skip


def _compare(width: int, seeds, student: int, temperature: float) -> dict[str, list[float]]:
    """Accuracies and agreement by seed, trained now or, without seeds, as stored."""
    if seeds is not None:
        return sizes.compare(width, seeds, width=student, temperature=temperature)
    settings = {"teacher_units": width, "student_units": student, "temperature": temperature}
    rows = STUDIES.stored("teacher_sizes", **settings)
    if not rows:
        raise ValueError("no runs are stored with these settings: choose runs “3, trained now”, and press Show")
    return {name: [row[name] for row in rows] for name in ("teacher", "student", "agreement")}
