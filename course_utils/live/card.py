"""What all live things share: a framed card that says what it is, shows its errors, and has a picture."""

from __future__ import annotations

import html
import os
import textwrap
import traceback
from collections.abc import Callable, Sequence

import ipywidgets as w

from course_utils.live.picture import png

COLUMNS = 96  # JupyterLab breaks longer lines in the middle of a word
_cards: dict[str, Card] = {}  # the newest card of each title: running its cell again closes the earlier one


def _tree(widget: w.Widget) -> list[w.Widget]:
    """A widget, everything in it, and the small widgets of its looks."""
    looks = [getattr(widget, name) for name in ("layout", "style") if isinstance(getattr(widget, name, None), w.Widget)]
    inner = [one for child in getattr(widget, "children", ()) for one in _tree(child)]
    return [widget, *inner, *looks]


class Card:
    """A titled box of widgets. Subclasses give `describe` and `picture`."""

    def __init__(self, title: str):
        earlier = _cards.pop(title, None)
        if earlier is not None:
            earlier.close()
        self.title = title
        self.error: BaseException | None = None
        self._errors = w.HTML()
        self.box = w.VBox()
        self.box.add_class("cu-panel")

    def fill(self, *children: w.Widget) -> None:
        """Put these below the title; with this the card is complete."""
        _cards[self.title] = self
        heading = w.HTML(f'<div class="cu-title">{html.escape(self.title)}</div>')
        self.box.children = [heading, *children, self._errors]

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

    def guard(self, act: Callable) -> Callable:
        """``act``, with its errors shown in the card: ipywidgets would put them where nobody looks."""

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
        self._errors.value = f'<details class="cu-error"><summary>{message}</summary><pre>{trace}</pre></details>'
        if os.environ.get("COURSE_STRICT"):
            raise error

    def clear_error(self) -> None:
        self.error = None
        self._errors.value = ""

    def describe(self) -> str:
        """The card in words: the same in every session, because notebooks are compared as text."""
        raise NotImplementedError

    def picture(self) -> tuple[list[dict], list[tuple[str, str]]] | None:
        """Figures and (title, text) pairs for a stored notebook, after the card has done what it is for; or none."""
        raise NotImplementedError

    def close(self) -> None:
        """Remove the card from the page, and let go of its widgets: ipywidgets keeps each one until it is closed."""
        if _cards.get(self.title) is self:
            del _cards[self.title]
        for widget in _tree(self.box):
            widget.close()

    def __repr__(self) -> str:
        return textwrap.fill(self.describe(), COLUMNS)

    def _repr_mimebundle_(self, **_):
        words = {"text/plain": repr(self)}
        if os.environ.get("COURSE_PICTURES"):  # the notebook is being built: a picture is what gets stored
            picture = self.picture()
            return words | ({"image/png": png(*picture)} if picture else {})
        return self.box._repr_mimebundle_() | words
