"""Reading what a learner wrote: is it still blank, and which of its lines raised?"""

from __future__ import annotations

import dis
import functools
import inspect
import linecache
import traceback
from types import CodeType, TracebackType

# What a body made only of a docstring, `...`, `pass` or `return None` compiles to, from Python 3.11 on.
IDLE = {"RESUME", "NOP", "POP_TOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "COPY_FREE_VARS"}
STILL_BLANK = " is still blank. Write it, run its cell, then run this one again."


def by_hand(answer: object) -> object:
    """What the learner wrote of it: in a `functools.partial`, the function that it is given, else the one it calls."""
    while isinstance(answer, functools.partial):
        answer = next(filter(callable, [*answer.args, *answer.keywords.values()]), answer.func)
    return answer


def name_of(answer: object) -> str:
    """What to call it in a sentence."""
    name = getattr(by_hand(answer), "__name__", None)
    return f"`{name}`" if name else "your answer"


def blank(answer: object) -> str:
    """What to say of an answer that nobody has begun, or ""."""
    if answer is None or answer is ...:
        return "the answer" + STILL_BLANK
    return next((name + STILL_BLANK for name, code in _members(answer).items() if _is_idle(code)), "")


def all_code(answer: object) -> list[CodeType]:
    """What the learner wrote, with the functions inside of functions."""
    codes = list(_members(answer).values())
    for code in codes:  # grows while it is walked
        codes += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    return codes


def first_own(error: BaseException, codes: list[CodeType]) -> TracebackType | None:
    """The traceback from the first line on that the learner wrote; None where no line of it is theirs."""
    start = error.__traceback__
    while start and start.tb_frame.f_code not in codes:
        start = start.tb_next
    return start


def last_line(start: TracebackType, codes: list[CodeType]) -> str:
    """The last of the learner's lines in a traceback: its number in its cell, and its text."""
    frame, line = [one for one in traceback.walk_tb(start) if one[0].f_code in codes][-1]
    return quoted(frame.f_code.co_filename, line)


def quoted(file: str, line: int) -> str:
    """A line of a file or cell, as "line 3: `x = 1`"."""
    source = linecache.getline(file, line).strip()
    return f"line {line}: `{source}`" if source else f"line {line}"


def _members(answer: object) -> dict[str, CodeType]:
    """The code of a function, or of each method of a class, by the name to call it in a sentence."""
    answer = by_hand(answer)
    members = {name_of(answer): answer}
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


def _is_idle(code: CodeType) -> bool:
    steps = list(dis.get_instructions(code))
    values = [step.argval for step in steps if step.opname in ("LOAD_CONST", "RETURN_CONST")]
    return {step.opname for step in steps} <= IDLE and all(value in (None, ...) for value in values)
