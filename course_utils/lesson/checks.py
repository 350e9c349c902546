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

import dis
import functools
import inspect
import linecache
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType

import torch
from IPython.display import display

from course_utils.lesson.cards import folded
from course_utils.lesson.compare import CheckerError, compare
from course_utils.lesson.progress import my_progress

Checker = Callable[[object], Iterator[str | None]]

# What a body made only of a docstring, `...`, `pass` or `return None` compiles to, from Python 3.11 on.
IDLE = {"RESUME", "NOP", "POP_TOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "COPY_FREE_VARS"}
CUT = (
    "no gradient flows through the loss, so no model could learn from it: compute it from the given tensors alone, "
    "without `torch.no_grad()`, `.detach()` or `torch.tensor(...)`"
)
IN_THE_WAY = {  # what torch says of a gradient that it cannot compute
    "numpy()": CUT,
    "inplace operation": "no gradient can be computed: a number that it needs was changed in place; write "
                         "`x = x / 2`, and not `x /= 2`",
}  # fmt: skip
STILL_BLANK = " is still blank. Write it, run its cell, then run this one again."


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
    return Verdict(False, f"not yet: {_blank(answer) or hint}")


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
    name, text = _name(answer), f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
    codes = _all_code(answer)
    start = error.__traceback__
    while start and start.tb_frame.f_code not in codes:
        start = start.tb_next
    trace = "".join(traceback.format_exception(type(error), error, start or error.__traceback__))
    if text == "NotImplementedError" or start is None and _blank(answer):
        return Verdict(False, f"not yet: {_blank(answer) or name + STILL_BLANK}")
    if "ellipsis" in text.lower():  # the type's name in Python's and torch's messages
        return Verdict(False, f"not yet: there is a `...` left in {name} ({text})", trace)
    if start is None:
        hint = f"the check could not use {name}"
        if "NoneType" in text:
            hint = f"{name} returned None: is a `return` missing?"
        return Verdict(False, f"not yet: {hint} ({text})", trace)
    frame, line = [one for one in traceback.walk_tb(start) if one[0].f_code in codes][-1]
    source = linecache.getline(frame.f_code.co_filename, line).strip()
    place = f"line {line}: `{source}`" if source else f"line {line}"
    return Verdict(False, f"not yet: {name} raised {text} at {place}", trace)


def _members(answer: object) -> dict[str, CodeType]:
    """The code of a function, or of each method of a class, by the name to call it in a sentence."""
    if isinstance(answer, functools.partial):
        answer = answer.func
    members = {_name(answer): answer}
    if isinstance(answer, type):
        members = {f"`{answer.__name__}.{name}`": member for name, member in vars(answer).items()}
    found = {}
    for name, member in members.items():
        for wrapper in ("fget", "__func__"):  # a property, a static method
            member = getattr(member, wrapper, member)
        code = getattr(inspect.unwrap(member), "__code__", None)
        if code:
            found[name] = code
    return found


def _all_code(answer: object) -> list[CodeType]:
    """What the learner wrote, with the functions inside of functions."""
    codes = list(_members(answer).values())
    for code in codes:  # grows while it is walked
        codes += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    return codes


def _blank(answer: object) -> str:
    """What to say of an answer that nobody has begun, or ""."""
    if answer is None or answer is ...:
        return "the answer" + STILL_BLANK
    return next((name + STILL_BLANK for name, code in _members(answer).items() if _is_idle(code)), "")


def _is_idle(code: CodeType) -> bool:
    steps = list(dis.get_instructions(code))
    values = [step.argval for step in steps if step.opname in ("LOAD_CONST", "RETURN_CONST")]
    return {step.opname for step in steps} <= IDLE and all(value in (None, ...) for value in values)


def _name(answer: object) -> str:
    name = getattr(answer, "__name__", None)
    return f"`{name}`" if name else "your answer"
