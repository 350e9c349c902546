"""A panel that shows stored runs of many sizes, the law fitted to them, and what it predicts of another run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from course_utils import figures
from course_utils.live import Explorer, Shown, Slider

from .scaling import ScalingLaw


def scaling_panel(law: ScalingLaw, rows: Sequence[dict]) -> Explorer:
    """rows: the runs of the fit, each with parameters, tokens, steps and loss."""
    sizes = np.geomspace(2e3, 5e5, 40)  # parameters
    amounts = sorted({row["steps"] for row in rows})

    def draw(*, parameters, tokens):
        if min(parameters, tokens) < 1:
            raise ValueError(f"{parameters:g} parameters and {tokens:g} tokens: expected 1 or more of each")
        series = []
        for style, steps in enumerate(amounts):
            runs = [row for row in rows if row["steps"] == steps]
            seen = float(np.mean([row["tokens"] for row in runs]))
            name = f"{seen / 1e6:.2f} million tokens"
            series.append(_line(name, sizes, law.loss(sizes, seen) - law.floor, style))
            x, y = ([row[measured] for row in runs] for measured in ("parameters", "loss"))
            series.append(_line(name, x, np.array(y) - law.floor, style, markers=True))
        low, high = law.interval(parameters, tokens)
        expected = float(law.loss(parameters, tokens))
        span = np.array([low, expected, high]) - law.floor
        series.append(_line("your run: expected, and the range", [parameters] * 3, span, len(amounts), markers=True))
        spec = figures.lines(series, title="How far above the floor: stored runs (points) and the law (lines)",
                             x_title="parameters", y_title="loss above the floor (nats per token)",
                             x_log=True, y_log=True)  # fmt: skip
        _tidy_(spec, len(amounts))
        words = f"{parameters:,.0f} parameters and {tokens:,.0f} tokens: expect a loss of {expected:.3f}"
        return Shown(figures=[spec], summary=f"{words}, between {low:.3f} and {high:.3f} nats (2 standard deviations).")

    return Explorer(draw, title="A scaling law", controls={
        "parameters": (Slider(label="parameters", low=3e3, high=5e5, log=True, help="Weights of the model."), 1e5),
        "tokens": (Slider(label="tokens", low=1e5, high=3e6, log=True, help="Words it reads, each once."), 1e6),
    })  # fmt: skip


def _line(name: str, x: Sequence[float], y: Sequence[float], style: int, *, markers: bool = False) -> figures.Series:
    return figures.Series(name=name, x=np.array(x, float), y=np.array(y, float), style=style, markers=markers)


def _tidy_(spec: dict, amounts: int) -> None:
    """Runs as points of their law's colour, one entry in the legend for both; only powers of ten at the axes."""
    for points in spec["data"][1 : 2 * amounts : 2]:
        points |= {"mode": "markers", "showlegend": False}
    for axis in ("xaxis", "yaxis"):
        spec["layout"][axis]["dtick"] = 1
    spec["layout"]["height"] = 440
