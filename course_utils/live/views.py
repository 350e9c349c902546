"""What a panel can show of its runs: each view turns traces into a figure or a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from course_utils import figures
from course_utils.training import History


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The histories of one setting, one for each seed; ``faded`` for a pinned one."""

    name: str
    histories: Sequence[History]
    style: int = 0
    faded: bool = False

    def series(self, curve: str, *, name: str | None = None, style: int | None = None) -> figures.Series | None:
        """The mean over seeds, with the lowest and the highest seed as a band; None before the first value."""
        curves = [history.curves[curve] for history in self.histories if curve in history.curves]
        length = min((len(one) for one in curves), default=0)
        if length == 0:
            return None
        values = np.stack([one.values[:length] for one in curves])  # (seeds, points)
        band = {"low": values.min(0), "high": values.max(0)} if len(curves) > 1 else {}
        return figures.Series(
            name=name or self.name, x=curves[0].steps[:length], y=values.mean(0),
            style=self.style if style is None else style, faded=self.faded, **band,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LossView:
    """The loss over steps, with the reference levels of the experiment and a mark at each moved knob."""

    title: str = "Loss"
    y_title: str = "loss (nats per token)"
    curves: Mapping[str, str] | None = None  # curve -> its name in the legend; the training loss if None
    log_loss: bool = False
    top: float | None = None  # losses above this are cut off, so that the interesting part stays large

    def draw(self, traces: Sequence[Trace]) -> dict:
        series = []
        for trace in traces:
            for offset, (curve, label) in enumerate((self.curves or {"loss": ""}).items()):
                name = f"{trace.name}: {label}" if label and len(traces) > 1 else label or trace.name
                series.append(trace.series(curve, name=name, style=trace.style + offset))
        current = traces[0].histories[0]
        return figures.lines(
            series, title=self.title, x_title="training step", y_title=self.y_title,
            levels=current.levels, marks=_marks(current), y_log=self.log_loss,
            y_range=self._range(series, current),
        )  # fmt: skip

    def _range(self, series, current) -> tuple[float, float] | None:
        if self.top is None or self.log_loss:
            return None
        lows = [*current.levels.values(), *(float(one.y.min()) for one in series if one is not None)]
        lows = [low for low in lows if np.isfinite(low)]
        return (max(0.0, min(lows) - 0.3), self.top) if lows else None


def ahead(spec: dict, history: History, steps: int) -> dict:
    """A figure over training steps that has no line yet: its axes hold the steps and the levels to come."""
    x, y = spec["layout"]["xaxis"], spec["layout"]["yaxis"]
    if x["title"]["text"] == "training step" and all(len(trace["x"]) < 2 for trace in spec["data"]):
        x["range"] = [0, steps]
        if not spec["data"] and spec["layout"]["shapes"] and y["type"] == "linear":
            y.setdefault("range", [0, 1.1 * max(history.levels.values())])
    return spec


@dataclass(frozen=True, kw_only=True)
class CurvesView:
    """Several measures of the current runs over steps, and the same of the pinned ones, faded."""

    title: str
    curves: Mapping[str, str]  # curve -> its name in the legend
    y_title: str
    y_range: tuple[float, float] | None = None

    def draw(self, traces: Sequence[Trace]) -> dict:
        series = []
        for trace in traces:
            for style, (curve, label) in enumerate(self.curves.items()):
                name = f"{trace.name}: {label}" if trace.faded else label
                series.append(trace.series(curve, name=name, style=style))
        return figures.lines(series, title=self.title, x_title="training step", y_title=self.y_title,
                             y_range=self.y_range)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TextView:
    """A text that a measure of this name returns, the newest one."""

    title: str
    name: str

    def body(self, traces: Sequence[Trace]) -> str:
        return traces[0].histories[0].texts.get(self.name, "")


def _marks(history: History, most: int = 12) -> dict[float, str]:
    """The last knob changes, one mark a step; where a knob stood at the start is no change."""
    marks: dict[float, str] = {}
    for event in [event for event in history.events if event.step > 0][-most:]:
        text = f"{event.knob} {event.value:.3g}"
        marks[event.step] = f"{marks[event.step]}, {text}" if event.step in marks else text
    return marks
