"""Controls by the field's own names: what each knob or setting is, its range, and a sentence of help."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as w
import traitlets

LABELS = {"description_width": "initial"}
LOG_STEP = 0.1  # decades


@dataclass(frozen=True, kw_only=True)
class Slider:
    """A number from low to high; on a logarithmic scale if ``log``, in steps of ``step`` otherwise.

    Values beyond the ends may be typed, unless the ends are ``firm``: then what is typed becomes the nearer end.
    """

    label: str
    help: str
    low: float
    high: float
    step: float = 0.01
    log: bool = False
    whole: bool = False
    firm: bool = False

    def widget(self, value: float) -> Dial:
        return Dial(self, value)

    def slider(self, value: float) -> w.Widget:
        common = {"description": self.label, "style": LABELS, "tooltip": self.help, "readout": False}
        if self.log:
            exponents = {"min": math.log10(self.low), "max": math.log10(self.high), "step": LOG_STEP}
            return w.FloatLogSlider(value=value, **exponents, **common)
        ends = {"min": self.low, "max": self.high, "step": self.step}
        if self.whole:
            return w.IntSlider(value=int(value), **{name: int(end) for name, end in ends.items()}, **common)
        return w.FloatSlider(value=value, **ends, **common)

    def nearest(self, value: float) -> float:
        """Where a browser shows a value on the slider: it counts steps from the low end, and has the high end too."""
        if not self.low < value < self.high:
            return min(max(value, self.low), self.high)
        if self.log:
            steps = round(math.log10(value / self.low) / LOG_STEP)
            return min(self.low * 10 ** (steps * LOG_STEP), self.high)
        return min(self.low + round((value - self.low) / self.step) * self.step, self.high)

    def typed(self, value: float) -> float | None:
        """What a typed value counts as; None for what no control of the course can be."""
        if not (math.isfinite(value) and value >= 0) or (self.whole and value != round(value)):
            return None
        value = round(value) if self.whole else value
        return min(max(value, self.low), self.high) if self.firm else value

    def tidy(self, value: float) -> float:
        """A value as a slider means it: whole, or with two significant digits on a logarithmic scale."""
        return round(value) if self.whole else float(f"{value:.2g}") if self.log else round(value, 6)


class Dial(w.HBox):
    """A slider with a number box beside it, for values that are typed."""

    value = traitlets.Union([traitlets.Int(), traitlets.Float()])

    def __init__(self, control: Slider, value: float):
        self.control = control
        self.slider = control.slider(value)
        # Not an IntText: it takes 1e9 for 19, letter by letter.
        self.box = w.FloatText(value=value, step=1 if control.whole else None, layout=w.Layout(width="76px"))
        self.word = w.HTML(layout={"display": "none"})  # what is wrong with what was typed
        self.description, self.help = control.label, control.help  # a box has no tooltip
        super().__init__([self.slider, self.box, self.word])
        self.add_class("cu-dial")
        self.value = value
        self.slider.observe(self._slid, "value")
        self.box.observe(self._typed, "value")
        self.observe(self._show, "value")

    @traitlets.validate("value")
    def _of_its_kind(self, proposal) -> float:
        # traitlets makes a whole number of 1e84, which no tensor takes.
        return proposal["value"] if self.control.whole else float(proposal["value"])

    def _slid(self, change) -> None:
        # The browser puts a slider onto its grid, and a typed value outside it moves the slider to its end.
        moved = self.control.tidy(change["new"])
        if moved not in (self.control.tidy(self.control.nearest(self.value)), self.value):
            self.value = moved

    def _typed(self, change) -> None:
        if change["new"] == self.value:
            return
        counts = self.control.typed(change["new"])
        if counts is not None:
            self.value = counts
        self.box.value = self.value  # nothing else is shown than what counts
        self._say("" if counts == change["new"] else self._complaint(change["new"]))

    def _complaint(self, typed: float) -> str:
        if self.control.firm and self.control.typed(typed) is not None:
            return f"from {self.control.low:g} to {self.control.high:g}"
        return f"{typed:g}: expected a {'whole ' if self.control.whole else ''}number, 0 or more"

    def _say(self, words: str) -> None:
        self.word.value = f'<span class="cu-word" role="status">{words}</span>'
        self.word.layout.display = None if words else "none"

    def _show(self, change) -> None:
        self._say("")
        self.box.value = change["new"]
        shown = min(max(change["new"], self.control.low), self.control.high)
        # A slider that was just moved stays where the hand has it: it may have gone on by now.
        if not math.isclose(self.control.tidy(self.slider.value), shown, rel_tol=1e-6):
            self.slider.value = shown


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several values."""

    label: str
    help: str
    options: Sequence

    def widget(self, value) -> w.Widget:
        if value not in self.options:
            raise ValueError(f"{self.label} {value!r}: expected one of {', '.join(map(str, self.options))}")
        layout = w.Layout(width="auto", min_width="120px")
        common = {"description": self.label, "style": LABELS, "tooltip": self.help, "layout": layout}
        made = w.Dropdown(options=list(self.options), value=value, **common)
        made.help = self.help
        return made


Control = Slider | Choice

CONTROLS: Mapping[str, Control] = {
    "lr": Slider(
        label="learning rate", low=1e-5, high=1e1, log=True,
        help="How far each step moves the weights.",
    ),
    "weight_decay": Slider(
        label="weight decay", low=0.0, high=1.0, step=0.01,
        help="How strongly each step pulls the weight matrices towards zero.",
    ),
    "width": Choice(
        label="width", options=(16, 32, 64, 128),
        help="Numbers that describe one token inside the model.",
    ),
    "seed": Slider(
        label="seed", low=0, high=99, step=1, whole=True,
        help="Which dice are thrown for the first weights and the batches. The same seed gives the same run.",
    ),
    "seeds": Choice(
        label="runs", options=(1, 3, 5),
        help="How many runs with different seeds train side by side. A band shows how far apart they are.",
    ),
}  # fmt: skip


def control(name: str, own: Mapping[str, Control]) -> Control:
    """The control of this name: the panel's own, else the course's."""
    table = {**CONTROLS, **own}
    if name not in table:
        raise ValueError(f"no control {name!r}: choose one of {', '.join(table)}, or give it in controls={{...}}")
    return table[name]


def button(label: str, icon: str, tooltip: str, act: Callable[[], None]) -> w.Button:
    """A button with words on it, which calls ``act()``."""
    made = w.Button(description=label, icon=icon, tooltip=tooltip, layout=w.Layout(width="auto", min_width="84px"))
    made.help = tooltip
    made.on_click(lambda _: act())
    return made
