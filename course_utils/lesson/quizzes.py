"""The quiz that closes a notebook: multiple choice, with a reply to every option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as widgets

from course_utils.lesson.cards import RIGHT, WRONG, LessonCard, as_text, check_options, choice, rich
from course_utils.lesson.progress import Progress, my_progress


@dataclass(frozen=True)
class Question:
    """A question: each option with the reply to it (why it is right or wrong), and the right option."""

    text: str
    replies: Mapping[str, str]
    answer: str

    def __post_init__(self):
        check_options(self.text, tuple(self.replies))
        if self.answer not in self.replies:
            raise ValueError(f"{self.text!r}: the answer {self.answer!r} must be one of {list(self.replies)}")
        silent = [option for option, reply in self.replies.items() if not reply.strip()]
        if silent:
            raise ValueError(f"{self.text!r}: say why {silent[0]!r} is right or wrong; its reply is empty")


def quiz(name: str, questions: Sequence[Question]) -> QuizCard:
    """Ask questions. The first choice of each counts; the best score over all attempts is recorded."""
    return QuizCard(name, questions, my_progress())


class QuizCard(LessonCard):
    """Questions below one another; after the first choice the others may be tried for their replies."""

    def __init__(self, name: str, questions: Sequence[Question], progress: Progress):
        if not questions:
            raise ValueError(f"quiz({name!r}) needs one question at least")
        self.name, self.questions, self.progress = name, tuple(questions), progress
        self.first: dict[int, str] = {}  # question -> the option chosen first
        self.choices = [choice(tuple(question.replies)) for question in self.questions]
        self.replies = [widgets.HTML() for _ in self.questions]
        self.score = widgets.HTML()
        title = f"{len(self.questions)} questions"
        texts = [as_text(f"{i}. {q.text}", tuple(q.replies)) for i, q in enumerate(self.questions, 1)]
        summary = "\n".join([f"Quiz: {title}", *texts])
        super().__init__("quiz", title, summary, [*map(self._row, range(len(self.questions))), self.score])
        self.refresh()
        for i, buttons in enumerate(self.choices):
            buttons.observe(self.guard(lambda change, i=i: self._choose(i, change["new"])), "value")
        progress.watch(("quiz", name), self.guard(self.refresh))
        self.tell(progress.take_notice())

    def _row(self, i: int) -> widgets.Widget:
        text = widgets.HTML(f"<p><b>{i + 1}.</b> {rich(self.questions[i].text)}</p>")
        return widgets.VBox([text, self.choices[i], self.replies[i]], layout={"margin": "8px 0 0"})

    @property
    def right(self) -> int:
        """How many first choices were right."""
        return sum(option == self.questions[i].answer for i, option in self.first.items())

    def _choose(self, i: int, option: str) -> None:
        with self.lock:
            completes = i not in self.first and len(self.first) == len(self.questions) - 1
            self.first.setdefault(i, option)
        question = self.questions[i]
        mark, colour = ("✓ Right.", RIGHT) if option == question.answer else ("✗ Not this one.", WRONG)
        self.replies[i].value = (
            f'<p role="status" style="border-left: 3px solid {colour}; padding-left: 10px">'
            f"<b>{mark}</b> {rich(question.replies[option])}</p>"
        )
        if completes:
            self.progress.score(self.name, self.right, len(self.questions))
        self.refresh()
        self.tell(self.progress.take_notice())

    def refresh(self) -> None:
        with self.lock:
            missing = len(self.questions) - len(self.first)
            text = "The first choice of each question counts."
            if missing == 0:
                text = f"<b>{self.right} of {len(self.questions)}</b> right at the first choice."
            best = self.progress.read().quizzes.get(self.name)
            if best:
                text += f" Your best so far: {best[0]} of {best[1]}."
            self.score.value = f'<p class="course-quiet" role="status">{text}</p>'
