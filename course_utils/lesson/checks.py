"""Exercise checks: a registry of checkers, and a verdict on a learner's answer that never raises.

A checker is a generator function. It takes the learner's answer (a function, a class, any object) and
yields the outcome of one law after another: None where the law holds, else a hint. The first hint ends the
check, so later laws may rely on earlier ones.

    @exercise("soft-targets", "soft targets")
    def _(answer):
        logits = torch.tensor([[2.0, 0.0, -1.0]])
        mistakes = {"forgot to divide by T": softmax(logits)}
        yield compare(answer(logits, 2.0), softmax(logits / 2), mistakes=mistakes)
        yield law(answer(logits, 9.0).max() < 0.5, "a higher temperature must make the targets flatter")
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from IPython.display import display

from course_utils.learner import STILL_BLANK, all_code, blank, first_own, last_line, name_of
from course_utils.lesson.cards import folded
from course_utils.lesson.compare import CheckerError, compare
from course_utils.lesson.progress import my_progress

Checker = Callable[[object], Iterator[str | None]]

CUT = (
    "no gradient flows through the loss, so no model could learn from it: compute it from the given tensors alone, "
    "without `torch.no_grad()`, `.detach()` or `torch.tensor(...)`"
)
IN_THE_WAY = {  # what torch says of a gradient that it cannot compute
    "numpy()": CUT,
    "inplace operation": "no gradient can be computed: a number that it needs was changed in place; write "
                         "`x = x / 2`, and not `x /= 2`",
}  # fmt: skip

@dataclass(frozen=True)
class Exercise:
    """A checker, and what its exercise is called in a sentence."""

    title: str
    checker: Checker


@dataclass(frozen=True)
class Verdict:
    """Whether an answer passed, the line to print, and the learner's traceback if it raised."""

    passed: bool
    line: str
    trace: str = ""


EXERCISES: dict[str, Exercise] = {}


def exercise(name: str, title: str) -> Callable[[Checker], Checker]:
    """Register a checker. `title` is the noun that the line of success names."""

    def register(checker: Checker) -> Checker:
        EXERCISES[name] = Exercise(title, checker)
        return checker

    return register


def law(holds: object, hint: str) -> str | None:
    """The outcome of a law for a checker to yield: None where it holds (any true value), else the hint."""
    return None if bool(holds) else hint


def teaches(answer: Callable, wanted: Callable, given: torch.Tensor, *rest: object) -> str | None:
    """The outcome of a law for a loss: as a tensor, it sends `given` the gradient that the wanted one sends.

    An answer that is a plain number, of Python or NumPy, has the right value and does not claim to teach.
    """
    if not isinstance(answer(given, *rest), torch.Tensor):
        return None
    given = given.clone().requires_grad_()
    try:
        found = answer(given, *rest)
        if not found.requires_grad:
            return CUT
        slopes = [torch.autograd.grad(loss, given)[0] for loss in (found, wanted(given, *rest))]
    except RuntimeError as error:
        hints = [hint for said, hint in IN_THE_WAY.items() if said in str(error)]
        if not hints:
            raise
        return hints[0]
    return compare(*slopes, what="the gradient of the loss")


def check(name: str, answer: object, *, solution: bool = False) -> None:
    """Print the verdict on an answer, and record that the exercise is solved.

    A `solution` that comes with the notebook is judged the same way and not recorded.
    """
    verdict = judge(name, answer)
    print(verdict.line)
    if verdict.trace:
        display({"text/html": folded("The traceback", verdict.trace), "text/plain": verdict.trace}, raw=True)
    if verdict.passed and not solution:
        progress = my_progress()
        progress.solve(name)
        notice = progress.take_notice()
        if notice:
            print(notice)


def written(mine: Callable, ours: Callable) -> Callable:
    """The learner's own function for a cell to use, or the course's while theirs is blank; prints which one it is."""
    empty = blank(mine)
    print(f"{empty} Until then the course's own is used here." if empty else f"Used here: your {name_of(mine)}.")
    return ours if empty else _lent(mine)


def judge(name: str, answer: object) -> Verdict:
    """The verdict of an exercise's checker: an exception in the answer is part of it.

    Whether the answer is still blank is asked only after a law has failed, so that whatever satisfies the
    laws passes. LookupError for a name that no checker has; CheckerError for a checker to repair.
    """
    if name not in EXERCISES:
        known = ", ".join(EXERCISES) or "none"
        raise LookupError(f"no exercise {name!r} is registered (there is: {known}): import the module that defines it")
    task = EXERCISES[name]
    try:
        with torch.enable_grad():  # whatever the notebook around it has switched off
            hint = next((outcome for outcome in task.checker(_lent(answer)) if outcome is not None), None)
    except CheckerError:
        raise
    except Exception as error:
        return _explain(error, answer)
    if hint is None:
        return Verdict(True, f"✓ {task.title}: right")
    return Verdict(False, f"not yet: {blank(answer) or hint}")


def _lent(answer: object) -> object:
    """The answer, but each call of a function gets numbers of its own, to work in place with."""
    if isinstance(answer, type) or not callable(answer):
        return answer

    @functools.wraps(answer)
    def called(*values, **named):
        return answer(*map(_fresh, values), **{name: _fresh(value) for name, value in named.items()})

    return called


def _fresh(value: object) -> object:
    """A copy of numbers, through which a gradient flows on; modules and generators stay the same."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if type(value) in (list, tuple):
        return type(value)(map(_fresh, value))
    if type(value) is dict:
        return {name: _fresh(one) for name, one in value.items()}
    return value


def _explain(error: Exception, answer: object) -> Verdict:
    """The verdict for an exception, with the traceback from the first line that the learner wrote."""
    name, text = name_of(answer), f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
    codes = all_code(answer)
    start = first_own(error, codes)
    trace = "".join(traceback.format_exception(type(error), error, start or error.__traceback__))
    if text == "NotImplementedError" or start is None and blank(answer):
        return Verdict(False, f"not yet: {blank(answer) or name + STILL_BLANK}")
    if "ellipsis" in text.lower().replace("no ellipsis", ""):  # a type's name; einsum's messages say "no ellipsis"
        return Verdict(False, f"not yet: there is a `...` left in {name} ({text})", trace)
    if start is None:
        hint = f"the check could not use {name}"
        if "NoneType" in text:
            hint = f"{name} returned None: is a `return` missing?"
        return Verdict(False, f"not yet: {hint} ({text})", trace)
    return Verdict(False, f"not yet: {name} raised {text} at {last_line(start, codes)}", trace)
