"""Panels of 04_initialization, sections 5 to 7: the loss at step 0, deep residual streams, a start from data."""

from __future__ import annotations

import numpy as np

from course_utils import figures, initialization
from course_utils.live import Choice, Explorer, LossView, Shown, Slider, TrainingPanel
from course_utils.pretraining import starts

SCALES = {
    "source": Choice(label="source", options=starts.SOURCES,
                     help="The course's stories, or 8 symbols of which each depends on the two before it."),
    "embedding": Choice(label="embedding scale", options=(0.02, 0.1, 1.0),
                        help="Standard deviation of the embeddings, which are the output matrix, too."),
    "linear": Choice(label="linear scale", options=(0.02, 0.125, 0.5),
                     help="Standard deviation of the weights of every linear layer. 0.125 is 1/sqrt(width)."),
}  # fmt: skip
LOSS = LossView(title="Loss on the training batch and on unseen rows", log_loss=True, log_steps=True,
                curves={"loss": "training", "held-out": "unseen rows"})  # fmt: skip


# --- section 5: the loss at step 0 ----------------------------------------------------------------------------------


def first_loss_panel() -> Explorer:
    """The loss before training over the scale of the embeddings, and what an untrained GPT predicts."""
    scales = np.geomspace(0.01, 2, 10)

    def draw(*, source, embedding, linear):
        start = {"source": source, "linear": linear}
        ladder = starts.levels(source)
        vocabulary = round(np.exp(ladder["ln V"]))
        losses = [starts.first_loss(embedding=float(scale), **start).loss for scale in scales]
        within = scales[starts.WIDTH * scales**2 <= 1]
        formula = [initialization.initial_loss(vocabulary, starts.WIDTH * scale**2) for scale in within]
        series = [
            figures.Series(name="measured", x=scales, y=np.array(losses), markers=True),
            figures.Series(name="the formula, where it holds", x=within, y=np.array(formula), style=1),
        ]
        figure = figures.lines(series, title="Loss at step 0", x_title="embedding scale", y_title="loss (nats)",
                               x_log=True, y_log=True, levels={"ln V": ladder["ln V"]},
                               marks={embedding: "yours"})  # fmt: skip
        now = starts.first_loss(embedding=embedding, **start)
        words = (f"Loss at step 0: {now.loss:.2f} nats, ln V is {ladder['ln V']:.2f}. The token just read has the "
                 f"logit {now.own:.1f} on average, any other one {now.other:.1f} ± {now.spread:.1f}.")
        return Shown(figures=[figure], summary=words)

    free = Slider(label="embedding scale", low=0.01, high=2.0, log=True, help=SCALES["embedding"].help)
    return Explorer(draw, title="The loss at step 0", controls={
        "embedding": (free, 0.1),
        "linear": (SCALES["linear"], 0.02),
        "source": (SCALES["source"], "stories"),
    })  # fmt: skip


def scales_panel() -> TrainingPanel:
    """Pretraining from two scales, on two sources."""
    return TrainingPanel(
        starts.scales_recipe, title="Two scales, two sources", settings=["source", "embedding", "linear"],
        views=[LOSS], controls=SCALES, seeds=True,
    )  # fmt: skip
