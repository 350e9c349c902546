"""An explorer: controls on one side, a picture computed from them on the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from course_utils.live.card import Card
from course_utils.live.controls import Control, button
from course_utils.live.figure import LiveFigure


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What an explorer's function returns: figures, texts as (title, body), and a sentence that sums it up."""

    figures: list[dict] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    summary: str = ""


class Explorer(Card):
    """Calls ``draw(**values)`` whenever a control moves, and shows what it returns.

    controls: name -> (control, first value).  act: a label makes it wait for a button of that name instead, for
    what takes more than a moment.
    """

    def __init__(
        self,
        draw: Callable[..., Shown],
        *,
        title: str,
        controls: Mapping[str, tuple[Control, object]],
        act: str | None = None,
    ):
        super().__init__(title)
        self.draw = draw
        self.shown = Shown()
        self._lock = threading.Lock()
        self.controls = {name: made.widget(value) for name, (made, value) in controls.items()}
        self._first = {name: widget.value for name, widget in self.controls.items()}
        undo = self.guard(self.defaults)
        self.buttons = {"defaults": button("Defaults", "refresh", "All controls as at first", undo)}
        if act:
            self.buttons = {"act": button(act, "play", act, self.guard(self.redraw)), **self.buttons}
        else:
            for widget in self.controls.values():
                widget.observe(self.guard(lambda _: self.redraw()), "value")
        self.figure = LiveFigure()
        row = [*self.controls.values(), *self.buttons.values()]
        self.fill(self.row(row), self.glossary(row), self.figure)
        self.redraw()

    def redraw(self) -> None:
        """Compute the picture for the controls as they stand, and show it."""
        with self._lock:
            self.shown = self.draw(**{name: widget.value for name, widget in self.controls.items()})
            self.clear_error()
            self.figure.show(
                self.shown.figures, texts=self.shown.texts, status=self.shown.summary, summary=self.shown.summary
            )

    def defaults(self) -> None:
        """Every control as it was at first."""
        for name, value in self._first.items():
            self.controls[name].value = value
        self.redraw()

    def describe(self) -> str:
        return f"{self.title}: a live panel. Controls: {', '.join(self.controls)}. Run this cell, then move one."

    def picture(self):
        return self.shown.figures, self.shown.texts
