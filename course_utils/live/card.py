"""What all live things and all cards of a lesson share: a frame that says what it is and shows its errors."""

from __future__ import annotations

import functools
import html
import json
import os
import textwrap
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import ipywidgets as w
import numpy as np
from IPython.display import display

FOLDER = Path(__file__).parent
PICTURE = "application/vnd.course.picture"  # figures and texts as JSON, of which a build makes a picture
COLUMNS = 96  # JupyterLab breaks longer lines in the middle of a word
# Stands below each card, and is seen where no kernel stands behind it: as stored, and when a saved notebook is opened
# again. JupyterLab's own words there are "Error displaying widget: model not found".
STORED = """<style>
.jp-OutputArea:has(.cu-card:not(.jupyter-widgets-disconnected)) .cu-stored {display: none}
.jp-OutputArea-child:not(:has(.cu-card)):has(+ .jp-OutputArea-child .cu-stored) .jupyter-widgets {display: none}
</style><div class="cu-stored" data-card="{card}">{picture}<p><i>Not live. Run this cell (Shift+Enter), or the whole
notebook (Run, Run All Cells), to work with it. Where its kernel still runs, reload the page.</i></p></div>"""


@functools.cache
def stylesheet() -> w.Widget:
    """The looks of every card: one widget that all cards hold, so that a page gets them once."""
    return w.HTML(f"<style>{(FOLDER / 'style.css').read_text()}</style>", layout={"display": "none"})


def _tree(widget: w.Widget) -> list[w.Widget]:
    """A widget, everything in it, and the small widgets of its looks; without what all cards share."""
    if widget is stylesheet():
        return []
    looks = [getattr(widget, name) for name in ("layout", "style") if isinstance(getattr(widget, name, None), w.Widget)]
    inner = [one for child in getattr(widget, "children", ()) for one in _tree(child)]
    return [widget, *inner, *looks]


class Frame:
    """A box of widgets with a sentence in its place where there is no kernel. Subclasses give `describe`."""

    indent = ""  # of a sentence's further lines, as text

    def __init__(self, title: str):
        self.title = title
        self.error: BaseException | None = None
        self._notice = w.HTML(layout={"display": "none"})  # an error, or a word about the progress file
        self._stored = None  # the output below the box
        self.box = w.VBox()
        self.box.add_class("cu-card")

    def fill(self, *children: w.Widget) -> None:
        """Put these into the box; with this it is complete."""
        self.box.children = [stylesheet(), *children, self._notice]

    def guard(self, act: Callable) -> Callable:
        """``act``, with its errors shown in the card: ipywidgets would put them where nobody looks."""

        @functools.wraps(act)
        def guarded(*args):
            try:
                return act(*args)
            except Exception as error:
                self.show_error(error)
                return None

        return guarded

    def show_error(self, error: BaseException) -> None:
        """Show the message, with the traceback folded; raise too where COURSE_STRICT is set, as in tests."""
        self.error = error
        trace = html.escape("".join(traceback.format_exception(error)))
        # A ValueError is the course's own sentence to the learner; any other error needs its name to be looked up.
        message = html.escape(str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
        self.say(f'<details class="cu-error"><summary>{message}</summary><pre>{trace}</pre></details>')
        if os.environ.get("COURSE_STRICT"):
            raise error

    def clear_error(self) -> None:
        self.error = None
        self.say("")

    def say(self, content: str) -> None:
        """Show this, as HTML, below everything else."""
        self._notice.value = content
        self._notice.layout.display = None if content else "none"

    def describe(self) -> str:
        """The card in words: the same in every session, because notebooks are compared as text."""
        raise NotImplementedError

    def picture(self) -> tuple[list[dict], list[tuple[str, str]]] | None:
        """Figures and (title, text) pairs for a stored notebook, after the card has done what it is for; or none."""
        return None

    def close(self) -> None:
        """Remove the card from the page, and let go of its widgets: ipywidgets keeps each one until it is closed."""
        for widget in _tree(self.box):
            widget.close()

    def __repr__(self) -> str:
        lines = self.describe().splitlines()
        return "\n".join(textwrap.fill(line, COLUMNS, subsequent_indent=self.indent) for line in lines)

    def _repr_mimebundle_(self, **_):
        words = {"text/plain": repr(self)}
        if not os.environ.get("COURSE_PICTURES"):
            return self.box._repr_mimebundle_() | words
        picture = self.picture()  # the notebook is being built: a picture is what gets stored
        if picture is None:
            return words
        return words | {PICTURE: json.dumps(picture, default=lambda array: np.asarray(array).tolist())}

    def _ipython_display_(self) -> None:
        display(self._repr_mimebundle_(), raw=True)
        self._stored = display({"text/html": self._below()}, raw=True, display_id=True)

    def _below(self, images: str = "") -> str:
        card = "" if os.environ.get("COURSE_PICTURES") else self.box.model_id  # figure.js may have to put it back
        return STORED.replace("{picture}", images).replace("{card}", card)

    def keep_picture(self, png_urls: Sequence[str], summary: str) -> None:
        """Store these pictures, as ``data:`` addresses, with the notebook, for whoever opens it without a kernel."""
        images = "".join(f'<img src="{html.escape(url)}" alt="{html.escape(summary)}">' for url in png_urls)
        if self._stored is not None:
            self._stored.update({"text/html": self._below(images)}, raw=True)


_cards: dict[str, Card] = {}  # the newest card of each title: running its cell again closes the earlier one


class Card(Frame):
    """A titled frame around something live. Subclasses give `describe` and `picture`."""

    def __init__(self, title: str):
        earlier = _cards.pop(title, None)
        if earlier is not None:
            earlier.close()
        super().__init__(title)
        self._first: dict[w.Widget, object] = {}  # what each control was at first
        self._quiet = False  # while several controls move: one picture at the end, not one for each
        self.box.add_class("cu-panel")

    def fill(self, *children: w.Widget) -> None:
        """Put these below the title; with this the card is complete."""
        _cards[self.title] = self
        super().fill(w.HTML(f'<div class="cu-title">{html.escape(self.title)}</div>'), *children)

    def row(self, widgets: Sequence[w.Widget], help: str = "") -> w.Widget:
        """Widgets side by side, wrapping in a narrow window, with a sentence of help on the group."""
        line = w.Box(list(widgets), layout=w.Layout(display="flex", flex_flow="row wrap", align_items="center"))
        line.add_class("cu-row")
        if not help or not widgets:
            return line
        return w.VBox([w.HTML(f'<div class="cu-help">{html.escape(help)}</div>'), line])

    def glossary(self, controls: Sequence[w.Widget]) -> w.Widget:
        """What each control does, folded."""
        entries = [(html.escape(one.description), html.escape(one.help)) for one in controls]
        rows = "".join(f"<dt>{label}</dt><dd>{text}</dd>" for label, text in entries)
        return w.HTML(f'<details class="cu-help"><summary>What the controls do</summary><dl>{rows}</dl></details>')

    def put_back(self) -> None:
        """Every control as it was at first."""
        self._quiet = True
        try:
            for widget, value in self._first.items():
                widget.value = value
        finally:
            self._quiet = False

    def close(self) -> None:
        """Remove the card from the page, and let go of its widgets."""
        if _cards.get(self.title) is self:
            del _cards[self.title]
        super().close()
