"""The frame of a lesson's cards: predictions, answers, quizzes, the map."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Sequence

import ipywidgets as widgets

from course_utils.live.card import Frame

RIGHT, WRONG = "#009E73", "#D55E00"
COLOURS = {"predict": "#0072B2", "recall": "#E69F00", "quiz": RIGHT, "map": "#0072B2"}


def rich(text: object) -> str:
    """Text as HTML: everything escaped, and what stands between backticks set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(str(text)))


def folded(summary: str, details: str) -> str:
    """A line that opens on a click, as HTML, with preformatted text inside."""
    return f"<details><summary>{rich(summary)}</summary><pre>{html.escape(details)}</pre></details>"


def check_options(question: str, options: Sequence[str]) -> None:
    """ValueError unless there are two different options at least."""
    if len(options) < 2 or len(set(options)) < len(options):
        raise ValueError(f"{question!r} needs two or more different options, not {list(options)}")


def choice(options: Sequence[str]) -> widgets.RadioButtons:
    """One of several, with none chosen yet."""
    return widgets.RadioButtons(options=tuple(options), value=None)


def as_text(question: str, options: Sequence[str]) -> str:
    """A question and its options as lines of plain text."""
    return "\n".join([question, *(f"   ○ {option}" for option in options)])


class LessonCard(Frame):
    """A frame that reads as ``summary`` wherever there is no front end to draw it.

    A subclass makes its controls, hands them to `__init__`, and draws what is recorded in `refresh`.
    """

    indent = "  "

    def __init__(self, kind: str, title: str, summary: str, children: list[widgets.Widget]):
        super().__init__(title)
        self.summary = summary
        self.lock = threading.RLock()
        head = widgets.HTML(f'<p class="course-kind">{rich(kind)}</p><p><b>{rich(title)}</b></p>')
        self.fill(head, *children)
        self.box.add_class("course-card")
        self.box.layout.border_left = f"4px solid {COLOURS[kind]}"

    def tell(self, notice: str) -> None:
        """Show a message below everything else; an empty one changes nothing."""
        if notice:
            self.say(f'<p role="status">{rich(notice)}</p>')

    def describe(self) -> str:
        return self.summary
