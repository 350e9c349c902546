"""Panels of 04_initialization, sections 5 to 7: the loss at step 0, deep residual streams, a start from data."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from course_utils import data, figures, initialization, runtime
from course_utils.dice import Dice
from course_utils.live import Choice, CurvesView, Explorer, LossView, Shown, Slider, TrainingPanel
from course_utils.models import ACTIVATIONS, MLP

from . import deep, starts
from .theory import initial_loss

SCALES = {
    "source": Choice(label="source", options=starts.SOURCES,
                     help="The course's stories, or 8 symbols of which each depends on the two before it."),
    "embedding": Choice(label="embedding scale", options=(0.02, 0.1, 1.0),
                        help="Standard deviation of the embeddings, which are the output matrix, too."),
    "linear": Choice(label="linear scale", options=(0.02, 0.125, 0.5),
                     help="Standard deviation of the weights of every linear layer. 0.125 is 1/sqrt(width)."),
    "steps": Choice(label="steps", options=(400, 1000), help="How long it trains: 16 rows a step."),
}  # fmt: skip
LOSS = LossView(title="Loss on the training batch and on unseen rows", log_loss=True,
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
        formula = [initial_loss(vocabulary, starts.WIDTH * scale**2) for scale in within]
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

    free = Slider(label="embedding scale", low=0.01, high=2.0, log=True, firm=True,
                  help=SCALES["embedding"].help)
    return Explorer(draw, title="The loss at step 0", controls={
        "embedding": (free, 0.1),
        "linear": (SCALES["linear"], 0.02),
        "source": (SCALES["source"], "stories"),
    })  # fmt: skip


def scales_panel() -> TrainingPanel:
    """Pretraining from two scales, on two sources."""
    return TrainingPanel(
        starts.scales_recipe, title="Two scales, two sources", settings=["source", "embedding", "linear", "steps"],
        views=[LOSS], controls=SCALES, seeds=True,
    )  # fmt: skip


# --- section 6: residual streams -------------------------------------------------------------------------------------


def stream_panel() -> Explorer:
    """How large a GPT's residual stream grows, block by block."""

    def draw(*, blocks, linear):
        grown = {start: starts.stream(blocks=blocks, start=start, linear=linear) for start in starts.BRANCHES}
        series = [
            figures.Series(name=start, x=np.arange(blocks + 1), y=np.array(sizes), style=style, markers=True)
            for style, (start, sizes) in enumerate(grown.items())
        ]
        figure = figures.lines(series, title="The residual stream of an untrained GPT", x_title="blocks passed",
                               y_title="mean square", y_log=True)  # fmt: skip
        ends = ", ".join(f"{start} {sizes[-1]:.3g}" for start, sizes in grown.items())
        return Shown(figures=[figure], summary=f"Mean square after {blocks} blocks: {ends}.")

    return Explorer(draw, title="A residual stream", controls={
        "blocks": (Slider(label="blocks L", low=1, high=48, step=1, whole=True, firm=True,
                          help="Each block adds two branches to the stream."), 12),
        "linear": (SCALES["linear"], 0.125),
    })  # fmt: skip


DEEP = {
    "start": Choice(label="start of the branches", options=tuple(deep.STARTS),
                    help="As plain weights, divided by the root of the number of blocks, at zero, or behind a gate "
                         "that starts at zero."),
    "blocks": Choice(label="blocks", options=(4, 16, 64), help="Residual blocks of one layer each."),
    "optimizer": Choice(label="optimizer", options=("sgd", "adamw"),
                        help="Plain gradient descent, or AdamW with a smaller part of the learning rate."),
}  # fmt: skip


def deep_panel() -> TrainingPanel:
    """A deep residual network without normalization, trained on digits."""
    views = [
        LossView(y_title="loss (nats)", top=4.0),
        CurvesView(title="Unseen digits", curves={"accuracy": "right"}, y_title="share", y_range=(0, 1.02)),
    ]
    return TrainingPanel(
        deep.deep_recipe, title="Depth without normalization", settings=["start", "blocks", "optimizer"],
        views=views, controls=DEEP, seeds=True,
    )  # fmt: skip


# --- section 7: a start from data -------------------------------------------------------------------------------------


def lsuv_panel(*, depth: int = 12) -> Explorer:
    """LSUV, one layer at a time: the size of every layer's outputs while the first layers are scaled already."""
    images = data.digits_split().train_images[:256]

    def draw(*, scaled, activation, start):
        sizes = [64, *[64] * (depth - 1), 10]
        with Dice(0):
            mlp = initialization.initialize_(MLP(sizes, activation=activation), start, generator=runtime.generator(0))
        before = initialization.output_stds(mlp, images)
        for number in range(scaled):
            _scale_(mlp.layers[number], initialization.output_stds(mlp, images)[number])
        now = initialization.output_stds(mlp, images)
        layers = np.arange(1, depth + 1)
        series = [figures.Series(name=f"{scaled} layers scaled", x=layers, y=np.array(now), markers=True),
                  figures.Series(name="before", x=layers, y=np.array(before), style=1, faded=True)]
        figure = figures.lines(series, title="What each layer gives", x_title="layer", y_log=True,
                               y_title="standard deviation", levels={"one": 1.0})  # fmt: skip
        return Shown(figures=[figure], summary=_next_step(scaled, now))

    return Explorer(draw, title="LSUV, layer by layer", controls={
        "scaled": (Slider(label="layers scaled", low=0, high=depth, step=1, whole=True, firm=True,
                          help="How many layers, from the input on, have been divided by their outputs' std."), 0),
        "activation": (Choice(label="activation", options=tuple(ACTIVATIONS), help="After each hidden layer."), "gelu"),
        "start": (Choice(label="start", options=("orthogonal", "lecun", "he", "normal"),
                         help="The weights before any is scaled."), "orthogonal"),
    })  # fmt: skip


def _scale_(layer: nn.Linear, std: float) -> None:
    with torch.no_grad():
        layer.weight.div_(std)


def _next_step(scaled: int, stds: list[float]) -> str:
    if scaled == len(stds):
        return f"All layers scaled: standard deviations from {min(stds):.3f} to {max(stds):.3f}."
    return f"Next: layer {scaled + 1} gives {stds[scaled]:.3g}, so its weights will be divided by that."
