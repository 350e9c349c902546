"""A panel that shows stored runs of many sizes, the law fitted to them, and what it predicts of another run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from course_utils import figures
from course_utils.live import Explorer, Shown, Slider
from course_utils.pretraining import ScalingLaw


def scaling_panel(law: ScalingLaw, rows: Sequence[dict]) -> Explorer:
    """rows: the runs of the fit, each with parameters, tokens, steps and loss."""
    sizes = np.geomspace(2e3, 5e5, 40)  # parameters

    def draw(*, parameters, tokens):
        series = []
        for style, steps in enumerate(sorted({row["steps"] for row in rows})):
            runs = [row for row in rows if row["steps"] == steps]
            seen = float(np.mean([row["tokens"] for row in runs]))
            x = sorted({row["parameters"] for row in runs})
            y = [np.mean([row["loss"] for row in runs if row["parameters"] == size]) for size in x]
            name = f"{seen / 1000:.0f},000 tokens"
            above = np.array(y) - law.floor
            series.append(figures.Series(name=name, x=np.array(x), y=above, style=style, markers=True))
            fit = law.loss(sizes, seen) - law.floor
            series.append(figures.Series(name=f"the law, {name}", x=sizes, y=fit, style=style, faded=True))
        guess = law.loss(sizes, tokens) - law.floor
        series.append(figures.Series(name="the law, your tokens", x=sizes, y=guess, style=4))
        spec = figures.lines(series, title="How far above the floor", x_title="parameters", x_log=True, y_log=True,
                             y_title="loss above the floor (nats per token)", marks={parameters: "yours"})  # fmt: skip
        spec["layout"]["height"], spec["layout"]["margin"]["b"] = 480, 150
        low, high = law.interval(parameters, tokens)
        expected = float(law.loss(parameters, tokens))
        words = f"{parameters:,.0f} parameters and {tokens:,.0f} tokens: expect a loss of {expected:.3f}"
        return Shown(figures=[spec], summary=f"{words}, between {low:.3f} and {high:.3f} nats (2 standard deviations).")

    return Explorer(draw, title="A scaling law", controls={
        "parameters": (Slider(label="parameters", low=3e3, high=5e5, log=True, help="Weights of the model."), 1e5),
        "tokens": (Slider(label="tokens", low=1e5, high=3e6, log=True, help="Words it reads, each once."), 1e6),
    })  # fmt: skip
