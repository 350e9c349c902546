"""Predictions: asked and recorded before the run, and brought back after it."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets

from course_utils.lesson.cards import LessonCard, as_text, check_options, choice, rich
from course_utils.lesson.progress import Prediction, Progress, my_progress

_asked: dict[str, tuple[str, ...]] = {}  # the options of each prediction that this kernel has shown


def predict(name: str, question: str, *, options: Sequence[str]) -> PredictCard:
    """Ask for a prediction, and record it before anything runs. `recall(name, ...)` brings it back later."""
    return PredictCard(name, question, options, my_progress())


def recall(name: str, *, answer: str, because: str) -> RecallCard:
    """Show the learner's prediction beside the answer, which must be one of its options.

    `because` completes the sentence "Because ...", full stop included. Where no prediction was made, the
    answer waits behind a button.
    """
    return RecallCard(name, answer, because, my_progress())


class PredictCard(LessonCard):
    """Options of which none is chosen yet; the choice may change until the answer is shown."""

    def __init__(self, name: str, question: str, options: Sequence[str], progress: Progress):
        options = tuple(options)
        check_options(question, options)
        _asked[name] = options
        self.name, self.progress = name, progress
        self._drawn: str | None = None  # the choice that `refresh` has set, to tell it from the learner's
        self.choice = choice(options)
        self.status = widgets.HTML()
        summary = as_text("Predict: " + question, options)
        super().__init__("predict", question, summary, [self.choice, self.status])
        self.refresh()
        self.choice.observe(self.guard(self._choose), "value")
        progress.watch(("predict", name), self.guard(self.refresh))
        self.tell(progress.take_notice())

    def _choose(self, change) -> None:
        if change["new"] in (None, self._drawn):
            return
        self.progress.predict(self.name, change["new"])
        self.refresh()  # takes a choice back that came after the answer was shown
        self.tell(self.progress.take_notice())

    def refresh(self) -> None:
        with self.lock:
            made = self.progress.read().predictions.get(self.name)
            self._drawn = made.last if made and made.last in self.choice.options else None
            self.choice.value = self._drawn
            self.choice.disabled = bool(made and made.revealed)
            text = "Choose one: it is recorded before anything runs."
            if made:
                text = f"✓ Recorded: <b>{rich(made.last)}</b>. You may change it until the answer is shown."
                if made.revealed:
                    text = f"✓ Recorded: <b>{rich(made.last)}</b>. The answer has been shown."
            self.status.value = f'<p class="course-quiet" role="status">{text}</p>'


class RecallCard(LessonCard):
    """A prediction beside the answer. Nothing in its text depends on what this learner predicted."""

    def __init__(self, name: str, answer: str, because: str, progress: Progress):
        if answer not in _asked.get(name, (answer,)):
            raise ValueError(f"recall({name!r}): the answer {answer!r} must be one of {list(_asked[name])}")
        self.name, self.answer, self.because, self.progress = name, answer, because, progress
        self.body = widgets.HTML()
        self.button = widgets.Button(description="Show the answer")
        summary = f"The answer: {answer}. Because {because}"
        super().__init__("recall", "What you predicted, and what happened", summary, [self.body, self.button])
        self.shown = name in progress.read().predictions
        self.refresh()
        self.button.on_click(self.guard(self._show_answer))
        progress.watch(("recall", name), self.guard(self.refresh))
        if self.shown:
            progress.reveal(name)
        self.tell(progress.take_notice())

    def _show_answer(self, _button) -> None:
        self.shown = True
        self.progress.reveal(self.name)
        self.refresh()
        self.tell(self.progress.take_notice())

    def refresh(self) -> None:
        with self.lock:
            made = self.progress.read().predictions.get(self.name)
            self.button.layout.display = "none" if self.shown else None
            lines = [self._predicted(made)]
            if self.shown:
                lines.append(f"The answer: <b>{rich(self.answer)}</b>. Because {rich(self.because)}")
            self.body.value = "".join(f"<p>{line}</p>" for line in lines)

    def _predicted(self, made: Prediction | None) -> str:
        if made is None:
            return "You have made no prediction here."
        first = f" (at first: {rich(made.first)})" if made.first != made.last else ""
        mark = " ✓" if self.shown and made.last == self.answer else ""
        return f"You predicted: <b>{rich(made.last)}</b>{mark}{first}"
