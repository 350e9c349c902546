"""The frame that every widget of a lesson sits in: its look, its summary as text, and its errors in sight."""

from __future__ import annotations

import functools
import html
import os
import re
import textwrap
import threading
import traceback
from collections.abc import Callable, Sequence

import ipywidgets as widgets

from course_utils.live.card import COLUMNS

RIGHT, WRONG = "#009E73", "#D55E00"
COLOURS = {"predict": "#0072B2", "recall": "#E69F00", "quiz": RIGHT, "map": "#0072B2"}

# JupyterLab's own variables, so that light and dark themes both work; the widths let long options wrap.
STYLE = """<style>
.course-card {border: 1px solid var(--jp-border-color2); border-left-width: 4px; border-radius: 3px;
  background: var(--jp-layout-color1); color: var(--jp-content-font-color1); padding: 10px 16px 12px;
  margin: 4px 0; max-width: 760px; box-sizing: border-box; overflow: hidden}
.course-card .widget-html, .course-card .widget-html-content {height: auto; margin: 0; width: 100%;
  line-height: 1.5; font-size: var(--jp-content-font-size1); color: var(--jp-content-font-color1)}
.course-card.jupyter-widgets-disconnected::before {
  content: "The kernel behind this card has gone. Run this cell again.";
  display: block; font: 600 13px/1.4 var(--jp-ui-font-family); color: var(--jp-error-color0)}
.course-card .jupyter-widgets-disconnected::before {content: none}
.course-card.jupyter-widgets-disconnected :is(button, input) {pointer-events: none; opacity: .5}
.course-card p {margin: 2px 0}
.course-card .course-kind {font-size: var(--jp-ui-font-size0); color: var(--jp-content-font-color2);
  letter-spacing: .06em; text-transform: uppercase}
.course-card .course-quiet {color: var(--jp-content-font-color2)}
.course-card code {background: var(--jp-layout-color2); padding: 0 3px; border-radius: 2px}
.course-card pre {white-space: pre-wrap; font-size: var(--jp-code-font-size); margin: 4px 0}
.course-card summary {cursor: pointer}
.course-card .widget-radio {width: 100%; height: auto; margin: 2px 0}
.course-card .widget-radio-box {width: 100%; max-width: none; margin-bottom: 0 !important}
.course-card .widget-radio-box label {display: flex; align-items: flex-start; gap: 8px; width: fit-content;
  height: auto; line-height: 1.5; padding: 3px 8px 3px 2px; white-space: normal; cursor: pointer;
  font-size: var(--jp-content-font-size1); color: var(--jp-content-font-color1); border-radius: 2px}
.course-card .widget-radio-box label:hover {background: var(--jp-layout-color2)}
.course-card .widget-radio-box label:has(input:disabled) {cursor: default}
.course-card .widget-radio-box input {order: -1; flex: none; margin: 1px 0 0; accent-color: #0072B2}
.course-card .widget-button {width: auto; align-self: flex-start; padding: 0 12px; margin: 6px 8px 2px 0}
.course-card .jp-OutputArea-output {padding: 0; background: none}
.course-card table {margin: 6px 0; font-size: var(--jp-content-font-size1)}
.course-card th, .course-card td {text-align: left !important; padding: 3px 24px 3px 0}
.course-card th {font-weight: 600}
</style>"""


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


class Card:
    """A box of widgets that reads as `summary` wherever there is no front end to draw it.

    A subclass makes its controls, hands them to `__init__`, and draws what is recorded in `refresh`.
    """

    def __init__(self, kind: str, title: str, summary: str, children: list[widgets.Widget]):
        self.summary = summary
        self.lock = threading.RLock()
        self.notice = widgets.HTML()  # about the progress file, or an error
        self.notice.layout.display = "none"
        head = widgets.HTML(f'{STYLE}<p class="course-kind">{rich(kind)}</p><p><b>{rich(title)}</b></p>')
        self.widget = widgets.VBox([head, *children, self.notice])
        self.widget.add_class("course-card")
        self.widget.layout.border_left = f"4px solid {COLOURS[kind]}"

    def tell(self, notice: str) -> None:
        """Show a message below everything else; an empty one changes nothing."""
        if notice:
            self._show(f'<p role="status">{rich(notice)}</p>')

    def guarded(self, callback: Callable) -> Callable:
        """The callback, with its exception shown in the card; raised as well where COURSE_STRICT is set.

        Without this, an exception in a widget's callback ends unseen in a log.
        """

        @functools.wraps(callback)
        def run(*arguments):
            try:
                callback(*arguments)
            except Exception as error:
                self._show(folded(f"✗ {type(error).__name__}: {error}", traceback.format_exc()))
                if os.environ.get("COURSE_STRICT"):
                    raise

        return run

    def _show(self, content: str) -> None:
        self.notice.value = content
        self.notice.layout.display = None

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {**self.widget._repr_mimebundle_(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return "\n".join(textwrap.fill(line, COLUMNS, subsequent_indent="  ") for line in self.summary.splitlines())
