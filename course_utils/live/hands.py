"""What a learner wrote trains in a panel: in place of the recipe's part, with its slips told in its own lines."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from course_utils.dice import Dice
from course_utils.learner import all_code, blank, by_hand, first_own, last_line, name_of, quoted
from course_utils.live.workshop import NeverBack
from course_utils.training import Experiment, Run
from course_utils.training.batches import kind_of

ALIKE = 0.01  # relative: the same loss by another order of sums, or in another type


class Hands:
    """A learner's own ``model``, ``batches``, ``loss`` or ``schedule`` for an experiment; a part that is None is not
    asked for, and one that is still blank leaves the recipe's. One whose keyword-only arguments have names of settings
    is told these; `given` is what trains."""

    def __init__(self, **parts: Callable | None):
        asked = {part: own for part, own in parts.items() if own is not None}
        self.blank = {part: blank(own) for part, own in asked.items() if callable(own) or own is ... if blank(own)}
        self.used = {part: own for part, own in asked.items() if part not in self.blank}
        self.codes = [code for own in self.used.values() for code in all_code(own)]

    def begin(self, recipes: Experiment, load: Callable[[Experiment], None], settings: Mapping):
        """Load the recipe's experiment with their parts in it, or bare if they cannot begin; also gives the error."""
        self._lowest, self.given = 0.0, {}
        self._first: tuple[float, float] | None = None  # their loss and the recipe's, of the same first batch
        try:
            given = {part: _told(one, settings) for part, one in self.used.items()}
            own = given | ({"about": ""} if "model" in given else {})
            if callable(own.get("loss")):
                own["loss"] = self._compared(own["loss"], recipes.loss)
            experiment = replace(recipes, **own)
            load(experiment)
        except Exception as error:
            if not self.used:
                raise
            load(recipes)
            return recipes, self.explain(error, None)
        self.given = given
        return experiment, None

    def whose(self) -> str:
        """Whose code trains, in a sentence or two; "" where the recipe's is all that was asked for."""
        own = [f"{name_of(one)} {'as' if by_hand(one) is getattr(one, 'func', one) else 'in'} its {part}"
               for part, one in self.used.items()]  # fmt: skip
        blank = [f"{word[0].upper()}{word[1:]} Until then the recipe's own {part} trains."
                 for part, word in self.blank.items()]  # fmt: skip
        return " ".join([f"This panel trains with {' and '.join(own)}: yours."] * bool(own) + blank)

    def remark(self) -> str:
        """What their loss's values say, beside the recipe's own."""
        if self._first is None or math.isnan(self._first[1]):
            return ""
        mine, theirs = self._first
        words = f"Your loss began at {mine:.4g}, the recipe's own gives {theirs:.4g} for the same batch"
        if abs(mine - theirs) <= ALIKE * max(abs(mine), abs(theirs)):
            return f"{words}: the same."
        if self._lowest < 0 <= theirs:
            return f"{words}. Yours was below 0: is a minus sign missing, or one too many?"
        return f"{words}: not the same. A sum in place of a mean, another part of the batch?"

    def explain(self, error: BaseException, run: Run | None) -> BaseException:
        """An error of a run with their code in it, or before there was one, as a sentence with its line."""
        if not self.used:
            return error
        names = " or ".join(name_of(own) for own in self.used.values())
        start = first_own(error, self.codes)
        what = f"{type(error).__name__}: {error}".removesuffix(": ").rstrip(".")
        if isinstance(error, NeverBack):
            said = str(error)
        elif start is not None:
            said = f"{names} raised {what} at {last_line(start, self.codes)}"
        else:
            places = [quoted(code.co_filename, code.co_firstlineno) for code in self.codes[:1]]
            said = f"with {names}{''.join(f' ({place})' for place in places)}, {what}"
        at = f"Step {run.step_count + 1}: " if run is not None else ""
        still = "" if run is not None else " Until then the recipe's own trains."
        told = ValueError(f"{at}{said}.{_shapes(error)} Mend it, run its cell, then run this one again.{still}")
        told.__cause__ = error
        return told

    def _compared(self, own: Callable, recipes: Callable) -> Callable:
        """Their loss, noting its first value beside that of the recipe's loss."""

        @functools.wraps(own)
        def loss(model: nn.Module, batch: object, **knobs: float) -> Tensor:
            value = own(model, batch, **knobs)
            if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta:
                number = float(value.detach())
                self._lowest = min(self._lowest, number)
                if self._first is None:
                    self._first = number, math.nan  # where the recipe's wants what only its batches or knobs have
                    with contextlib.suppress(Exception), torch.no_grad(), Dice(0):  # dropout's dice stay where they are
                        self._first = number, float(recipes(model, batch, **knobs))
            return value

        return loss


def _told(own: object, settings: Mapping) -> object:
    known = inspect.signature(own).parameters.values() if callable(own) else ()
    asked = {one.name: settings[one.name] for one in known if one.kind is one.KEYWORD_ONLY and one.name in settings}
    return functools.partial(own, **asked) if asked else own


def _shapes(error: BaseException) -> str:
    """What was on the table when a step failed, from the frame of that step."""
    step = Run.step.__wrapped__.__code__
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code is step]
    batch = frames[-1].f_locals.get("batch") if frames else None
    if not isinstance(batch, list | tuple):
        return ""
    names = ("inputs", "targets") if len(batch) == 2 else [f"batch[{number}]" for number in range(len(batch))]
    table = [f"{name} {kind_of(one)}" for name, one in zip(names, batch, strict=True)]
    try:
        with torch.no_grad(), Dice(0):
            out = frames[-1].f_locals["self"].model(batch[0])
        table.append(f"the model's output {kind_of(out[0] if isinstance(out, tuple) else out)}")
    except Exception:  # then that is what failed
        table.append("the model's output cannot be had")
    return f" In this step: {', '.join(table)}."
