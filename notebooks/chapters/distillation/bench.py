"""An explorer that waits for a button, for what takes more than a moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

import ipywidgets as w

from course_utils.live import Explorer
from course_utils.live.controls import Control, button


class Bench(Explorer):
    """Computes when its button is pressed, on a thread of its own, so that the same button can stop it.

    draw: a generator that yields its progress, 0 to 1, can be stopped wherever it does, and returns what to show.
    act: what stands on the button.
    """

    def __init__(
        self,
        draw: Callable[..., Iterator[float]],
        *,
        title: str,
        act: str,
        controls: Mapping[str, tuple[Control, object]],
    ):
        self.label = act
        self._stop, self._worker = threading.Event(), None
        super().__init__(draw, title=title, controls=controls)

    def actions(self) -> dict[str, w.Button]:
        return {"act": button(self.label, "play", self.label, self.guard(self.act)), **super().actions()}

    def moved(self) -> None:
        self.figure.announce(f"What is shown is from before. Press “{self.label}”.")

    def act(self) -> None:
        """Compute; pressed again, stop."""
        if self._worker is not None:
            self._stop.set()
            return
        self._stop.clear()
        self._worker = threading.Thread(target=self.guard(self._work), name="course-drawing", daemon=True)
        self._worker.start()

    def _work(self) -> None:
        pressed = self.buttons["act"]
        pressed.description, pressed.icon = "Stop", "stop"
        try:
            self.redraw()
        except Exception:
            self.moved()
            raise
        finally:
            self._worker, pressed.description, pressed.icon = None, self.label, "play"

    def show(self, work: Iterator[float]) -> None:
        """Show what the work comes to, and its progress meanwhile."""
        while not self._stop.is_set():
            try:
                share = next(work)
            except StopIteration as end:
                return super().show(end.value)
            if self._worker is not None:
                self.figure.announce(f"Working: {share:.0%} done.", progress=share)
        work.close()
        self.clear_error()
        self.figure.announce("Stopped. What is shown is from before.")

    def close(self) -> None:
        """Stop what is computed, and remove the card."""
        self._stop.set()
        super().close()
