"""An explorer: controls on one side, a picture computed from them on the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import ipywidgets as w

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

    controls: name -> (control, first value).
    """

    def __init__(self, draw: Callable[..., Shown], *, title: str, controls: Mapping[str, tuple[Control, object]]):
        super().__init__(title)
        self.draw, self.shown = draw, Shown()
        self._lock = threading.Lock()
        self.controls = {name: made.widget(value) for name, (made, value) in controls.items()}
        self._first = {widget: widget.value for widget in self.controls.values()}
        self.buttons = self.actions()
        for widget in self.controls.values():
            widget.observe(self.guard(lambda _: self._quiet or self.moved()), "value")
        self.figure = LiveFigure()
        self.arrange()
        self.redraw()

    def actions(self) -> dict[str, w.Button]:
        """The buttons, by name."""
        return {"defaults": button("Defaults", "refresh", "All controls as at first", self.guard(self.defaults))}

    def arrange(self) -> None:
        """Controls and buttons in a row, and the figure below."""
        row = [*self.controls.values(), *self.buttons.values()]
        self.fill(self.row(row), self.glossary(row), self.figure)

    def moved(self) -> None:
        """What happens when a control has moved."""
        self.redraw()

    def redraw(self) -> None:
        """Compute the picture for the controls as they stand, and show it."""
        with self._lock:
            self.show(self.draw(**{name: widget.value for name, widget in self.controls.items()}))

    def show(self, shown: Shown) -> None:
        """Show this."""
        self.shown = shown
        self.clear_error()
        self.figure.show(shown.figures, texts=shown.texts, status=shown.summary, summary=shown.summary)

    def defaults(self) -> None:
        """Every control as it was at first."""
        self.put_back()
        self.moved()

    def describe(self) -> str:
        return f"{self.title}: a live panel. Controls: {', '.join(self.controls)}. Run this cell, then move one."

    def picture(self):
        return self.shown.figures, self.shown.texts
