"""An explorer: controls on one side, a picture computed from them on the other."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Generator, Mapping
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
    what takes more than a moment; ``draw`` may then be a generator that yields its progress, 0 to 1, and can be
    stopped wherever it does.
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
        self._lock, self._quiet, self._stop = threading.Lock(), False, threading.Event()
        self._worker: threading.Thread | None = None
        self.controls = {name: made.widget(value) for name, (made, value) in controls.items()}
        self._first = {name: widget.value for name, widget in self.controls.items()}
        undo = self.guard(self.defaults)
        self.buttons = {"defaults": button("Defaults", "refresh", "All controls as at first", undo)}
        if act:
            self.buttons = {"act": button(act, "play", act, self.guard(self.act)), **self.buttons}
            self._moved = lambda: self.figure.announce(f"What is shown is from before. Press “{act}”.")
        else:
            self._moved = self.redraw
        for widget in self.controls.values():
            widget.observe(self.guard(lambda _: self._quiet or self._moved()), "value")
        self.figure = LiveFigure()
        row = [*self.controls.values(), *self.buttons.values()]
        self.fill(self.row(row), self.glossary(row), self.figure)
        self.redraw()

    def redraw(self) -> None:
        """Compute the picture for the controls as they stand, and show it."""
        with self._lock:
            shown = self.draw(**{name: widget.value for name, widget in self.controls.items()})
            shown = self._watched(shown) if inspect.isgenerator(shown) else shown
            self.clear_error()
            if shown is None:
                self.figure.announce("Stopped. What is shown is from before.")
                return
            self.shown = shown
            self.figure.show(
                self.shown.figures, texts=self.shown.texts, status=self.shown.summary, summary=self.shown.summary
            )

    def _watched(self, work: Generator[float, None, Shown]) -> Shown | None:
        """What the work comes to, with its progress shown meanwhile; None if it was stopped."""
        while not self._stop.is_set():
            try:
                share = next(work)
            except StopIteration as end:
                return end.value
            if self._worker is not None:
                self.figure.announce(f"Working: {share:.0%} done.", progress=share)
        work.close()
        return None

    def act(self) -> None:
        """Compute on a thread of its own, so that the same button can stop it; pressed again, stop."""
        if self._worker is not None:
            self._stop.set()
            return
        self._stop.clear()
        self._worker = threading.Thread(target=self.guard(self._work), name="course-drawing", daemon=True)
        self._worker.start()

    def _work(self) -> None:
        pressed = self.buttons["act"]
        label, pressed.description, pressed.icon = pressed.description, "Stop", "stop"
        try:
            self.redraw()
        except Exception:
            self._moved()
            raise
        finally:
            self._worker, pressed.description, pressed.icon = None, label, "play"

    def close(self) -> None:
        """Stop what is computed, and remove the card."""
        self._stop.set()
        super().close()

    def defaults(self) -> None:
        """Every control as it was at first."""
        self._quiet = True  # one new picture at the end, not one for each control
        try:
            for name, value in self._first.items():
                self.controls[name].value = value
        finally:
            self._quiet = False
        self._moved()

    def describe(self) -> str:
        return f"{self.title}: a live panel. Controls: {', '.join(self.controls)}. Run this cell, then move one."

    def picture(self):
        return self.shown.figures, self.shown.texts
