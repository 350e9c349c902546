"""Many deep networks trained side by side: every start at once, and a map of depth and scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from course_utils import figures
from course_utils.initialization import mean_field
from course_utils.live import Choice, CurvesView, TrainingPanel
from course_utils.live.views import Trace

from . import studies
from .studies import MAP_BIAS, MAP_DEPTHS, MAP_SCALES, STARTS, map_name

DRAWN = ("normal 0.02", "uniform", "xavier", "he", "orthogonal x √2", "lsuv")  # as curves: six that differ
TRAINABLE = 6  # correlation lengths that a trainable network may be deep (Schoenholz et al. 2017)


@dataclass(frozen=True, kw_only=True)
class BarsView:
    """The newest values of several measures of the current runs, side by side."""

    title: str
    curves: dict[str, str]  # curve -> its label
    y_title: str
    y_range: tuple[float, float] | None = None

    def draw(self, traces: Sequence[Trace]) -> dict:
        values = [newest(traces[0], curve) for curve in self.curves]
        return figures.bars(list(self.curves.values()), values, title=self.title, x_title="",
                            y_title=self.y_title, y_range=self.y_range)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MapView:
    """A field for each depth and scale, with theory's boundary over it."""

    title: str

    def draw(self, traces: Sequence[Trace]) -> dict:
        depths = MAP_DEPTHS[::-1]  # the deepest at the top
        found = [[newest(traces[0], f"{map_name(depth, scale)}: right") for scale in MAP_SCALES] for depth in depths]
        spec = figures.heatmap(np.array(found), title=self.title, x=[f"{scale:g}" for scale in MAP_SCALES],
                               y=[str(depth) for depth in depths], x_title="scale of the weights, σ_w²",
                               y_title="hidden layers", z_range=(0, 1), z_title="right")  # fmt: skip
        scales, depth = _boundary_line()
        rows = np.log2(depths[0] / np.clip(depth, depths[-1] / 1.37, depths[0] * 1.37))  # within the outer fields
        place = {"x": np.interp(scales, MAP_SCALES, np.arange(len(MAP_SCALES))), "y": rows}
        for pen in ({"color": "#000000", "width": 5}, {"color": "#ffffff", "width": 3, "dash": "dash"}):
            line = {"type": "scatter", "mode": "lines", "line": pen, "showlegend": False, "hoverinfo": "skip"}
            spec["data"].append(line | place)
        return spec


def newest(trace: Trace, curve: str) -> float:
    """The newest value of a curve, as a mean over the seeds; nan before there is one."""
    values = [history.curves[curve].last for history in trace.histories if curve in history.curves]
    return float(np.mean(values)) if values else float("nan")


def boundary(scale: float) -> float:
    """How deep a tanh network of the map may be, says theory, for this sigma_w squared."""
    return TRAINABLE * mean_field(scale**0.5, MAP_BIAS**0.5, "tanh").xi_c


@cache
def _boundary_line() -> tuple[np.ndarray, np.ndarray]:
    """Scales and depths along the boundary."""
    scales = np.linspace(MAP_SCALES[0], MAP_SCALES[-1], 60)
    return scales, np.array([boundary(scale) for scale in scales])


def starts_panel() -> TrainingPanel:
    """Every start at once, in networks of one depth."""
    return TrainingPanel(
        studies.deep_recipe,
        title="Train them all",
        settings=["depth", "activation"],
        views=[
            CurvesView(title="Loss on test digits", curves={f"{start}: loss": start for start in DRAWN},
                       y_title="loss (nats)", y_range=(0, 3)),
            BarsView(title="Test digits guessed right", curves={f"{start}: right": start for start in STARTS},
                     y_title="share", y_range=(0, 1)),
        ],
        seeds=True,
        controls={
            "depth": Choice(label="layers", options=(3, 10, 30, 50), help="Layers of each network."),
            "activation": Choice(label="activation", options=("relu", "tanh", "gelu", "linear"),
                                 help="What each unit applies to its sum."),
        },
    )  # fmt: skip


def map_panel() -> TrainingPanel:
    """tanh networks of many depths and scales at once."""
    title = f"Test digits guessed right; dashed: {TRAINABLE} correlation lengths"
    return TrainingPanel(studies.map_recipe, title="Depth and scale", views=[MapView(title=title)])
