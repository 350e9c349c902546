"""A grid of pixels that the learner draws on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anywidget
import traitlets


class PixelCanvas(anywidget.AnyWidget):
    """Square pixels of ink 0 to ``darkest``, row by row in ``value``; drawn on with mouse, finger or keys.

    pen: half the width of a stroke, in pixels; its edges are soft.  caption: what stands above the grid.
    TraitError for a value of another size or with too much ink.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    side = traitlets.Int().tag(sync=True)
    darkest = traitlets.Int().tag(sync=True)
    pen = traitlets.Float().tag(sync=True)
    description = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    value = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, *, side: int, darkest: int, pen: float, description: str, help: str, value: Sequence[int]):
        self.help = help
        super().__init__(side=side, darkest=darkest, pen=pen, description=description, value=list(value))

    @traitlets.validate("value")
    def _on_the_grid(self, proposal) -> list[int]:
        value = proposal["value"]
        if len(value) != self.side**2 or not all(0 <= ink <= self.darkest for ink in value):
            raise traitlets.TraitError(f"expected {self.side**2} numbers from 0 to {self.darkest}, got {value}")
        return value


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A square grid of pixels to draw on, as a control: its value is a list of inks, row by row."""

    label: str
    help: str
    side: int
    darkest: int
    pen: float

    def widget(self, value: Sequence[int]) -> PixelCanvas:
        how = {"side": self.side, "darkest": self.darkest, "pen": self.pen}
        return PixelCanvas(**how, description=self.label, help=self.help, value=value)
