"""The soft-label explorer: a digit, picked or drawn, and what the teacher says about it at any temperature."""

from __future__ import annotations

import ipywidgets as w
import numpy as np
import torch

from course_utils import figures
from course_utils.data.images import DARKEST, SIDE
from course_utils.distillation import soft_targets
from course_utils.live import Explorer, Shown, Slider
from course_utils.live.controls import button

from . import digits as d
from .canvas import Drawing
from .drawing import PEN

NAMES = [str(digit) for digit in range(d.CLASSES)]
FIRST = 4  # the image shown first, a 7


class SoftLabelPanel(Explorer):
    """Test images, which may be drawn on, and the teacher's soft labels for what is on the grid."""

    def __init__(self, *, title: str = "What a teacher says about a digit"):
        _, _, self.images, self.labels = d.digits()
        self.origin: int | None = FIRST  # the image that the drawing began with
        controls = {
            "image": (Slider(label="image", low=0, high=len(self.images) - 1, step=1, whole=True, firm=True,
                             help="Which of the 540 test images. The teacher has not trained on them."), FIRST),
            "temperature": (Slider(label="temperature", low=0.5, high=20, log=True,
                                   help="Divides the logits before the softmax."), 4.0),
            "drawing": (Drawing(label="drawing", side=SIDE, darkest=int(DARKEST), pen=PEN,
                                help="The pixels that the teacher sees. Draw on the image, or on a cleared grid."),
                        self.pixels(FIRST)),
        }  # fmt: skip
        super().__init__(self._say, title=title, controls=controls)
        self.controls["image"].observe(self.guard(lambda change: self.load(change["new"])), "value")

    def actions(self) -> dict[str, w.Button]:
        return {
            "clear": button("Clear", "eraser", "An empty grid, to draw a digit of your own", self.guard(self.clear)),
            "again": button("Image again", "undo", "The picked image without what was drawn on it",
                            self.guard(lambda: self.load(self.controls["image"].value))),
            **super().actions(),
        }  # fmt: skip

    def arrange(self) -> None:
        """The grid stands beside the bars, and not among the controls."""
        self.canvas = self.controls["drawing"]
        dials = [self.controls["image"], self.controls["temperature"], *self.buttons.values()]
        side_by_side = w.Box([self.canvas, self.figure])
        side_by_side.add_class("cu-drawing")
        self.fill(self.row(dials), self.glossary([*dials, self.canvas]), side_by_side)

    def pixels(self, image: int) -> list[int]:
        """An image's inks, 0 to 16, row by row."""
        if not 0 <= image < len(self.images):
            raise ValueError(f"image {image}: choose 0 to {len(self.images) - 1}")
        return (self.images[image] * DARKEST).round().int().tolist()

    def load(self, image: int) -> None:
        """Put an image onto the grid."""
        value = self.pixels(image)
        self.origin = image
        self._put(value)

    def clear(self) -> None:
        """Empty the grid, for a drawing of the learner's own."""
        self.origin = None
        self._put([0] * SIDE**2)

    def _put(self, value: list[int]) -> None:
        if value == self.canvas.value:
            self.redraw()  # the words about it may still be others
        else:
            self.canvas.value = value

    def defaults(self) -> None:
        self.origin = FIRST
        super().defaults()

    def caption(self, drawing: list[int]) -> str:
        """What is on the grid: an image as it was, one that was drawn on, or a drawing."""
        if self.origin is None:
            return "Your drawing" if any(drawing) else "Empty: draw a digit"
        label = int(self.labels[self.origin])
        if drawing == self.pixels(self.origin):
            return f"Image {self.origin}: its label is {label}"
        return f"Image {self.origin}, changed: it was a {label}"

    @torch.no_grad()
    def _say(self, *, image, temperature, drawing) -> Shown:
        if temperature <= 0:
            raise ValueError(f"temperature {temperature:g}: choose a number above 0")
        logits = d.teacher()(torch.tensor(drawing) / DARKEST)  # (10,)
        chances = soft_targets(logits, temperature)
        marked = [] if self.origin is None else [int(self.labels[self.origin])]
        bars = figures.bars(NAMES, chances.numpy(), title=f"What the teacher says at temperature {temperature:g}",
                            x_title="digit", y_title="probability", y_range=(0, 1), highlight=marked)  # fmt: skip
        self.controls["drawing"].caption = caption = self.caption(drawing)
        first, second = chances.topk(2).indices.tolist()
        between = (-(chances * chances.clamp(min=1e-30).log()).sum()).exp().item()
        summary = (f"{caption}. Most likely {first} ({chances[first]:.2g}), then {second} ({chances[second]:.2g}). "
                   f"It hesitates as if between {between:.1f} digits.")  # fmt: skip
        return Shown(figures=[bars], summary=summary)

    def picture(self):
        """For a stored notebook, the grid is drawn as a picture."""
        drawing = self.canvas.value
        ink = figures.heatmap(np.reshape(drawing, (SIDE, SIDE)), title=self.caption(drawing), x_title="pixel",
                              y_title="pixel", z_range=(0, DARKEST))  # fmt: skip
        ink["data"][0] |= {"colorscale": [[0, "#ffffff"], [1, "#000000"]], "showscale": False}
        ink["layout"]["yaxis"] |= {"scaleanchor": "x", "visible": False}
        ink["layout"]["xaxis"] |= {"visible": False}
        return [ink, *self.shown.figures], self.shown.texts


def soft_label_panel() -> SoftLabelPanel:
    """One handwritten digit, picked or drawn, and what the teacher says about it at any temperature."""
    return SoftLabelPanel()
