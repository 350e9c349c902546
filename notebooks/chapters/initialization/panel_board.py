"""Panels of 04_initialization, sections 8 to 10: width, starts from trained models, and the board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from course_utils import data, figures
from course_utils.live import Choice, CurvesView, Explorer, LossView, Shown, Slider, Trace, TrainingPanel
from course_utils.models import GPT, MLP, GPTConfig

from ..stories import ABILITIES
from ..stories import LOSS as STORY_LOSS
from . import board, slicing, warm, widths
from .mup import CoordinateCheck, coordinate_check

OPTIMIZER = Choice(label="optimizer", options=("sgd", "adamw"), help="Plain gradient descent, or AdamW.")
LR = Slider(label="learning rate", low=1e-3, high=1e1, log=True,
            help="How far each step moves the weights. AdamW takes a tenth of it.")  # fmt: skip


# --- section 8: width ---------------------------------------------------------------------------------------------

PARAMETRIZATIONS = {"standard": False, "maximal update": True}  # name -> is it muP
CHECKED = (64, 128, 256, 512)


def coordinate_checks(model: str, *, lr: float = 1e-3, seed: int = 0) -> dict[str, CoordinateCheck]:
    """How far the outputs move in one Adam step over the width, in both parametrizations. model: "MLP" or "GPT"."""
    if model == "MLP":
        split = data.digits_split()
        build, batch = _wide_mlp, (split.train_images[:64], split.train_labels[:64])
    else:
        build, batch = _wide_gpt, data.story_rows(data.stories(4, seed=3))
    sizes = CHECKED if model == "MLP" else CHECKED[:3]
    return {
        name: coordinate_check(build, sizes, *batch, mup=mup, lr=lr, seed=seed)
        for name, mup in PARAMETRIZATIONS.items()
    }


def _wide_mlp(width: int) -> MLP:
    return MLP([64, width, width, 10])


def _wide_gpt(width: int) -> GPT:
    return GPT(GPTConfig(vocab_size=len(data.STORY_VOCAB), width=width, heads=width // 16))  # heads of one size


def coordinate_panel() -> Explorer:
    """One Adam step in models of several widths."""

    def draw(*, model, lr):
        checks = coordinate_checks(model, lr=lr)
        series = [
            figures.Series(name=name, x=np.array(found.widths), y=np.array(found.changes), style=style, markers=True)
            for style, (name, found) in enumerate(checks.items())
        ]
        figure = figures.lines(series, title="How far one step moves the outputs", x_title="width", x_log=True,
                               y_title="root mean square of the change", y_log=True)  # fmt: skip
        figure["layout"]["xaxis"] |= {"tickmode": "array", "tickvals": CHECKED, "ticktext": [str(n) for n in CHECKED]}
        figure["layout"]["yaxis"] |= {"dtick": "D2"}  # not all nine digits
        slopes = " and ".join(f"{found.slope:.2f} ({name})" for name, found in checks.items())
        return Shown(figures=[figure], summary=f"The change grows with the width to the power of {slopes}.")

    return Explorer(draw, title="Coordinate check", controls={
        "model": (Choice(label="model", options=("MLP", "GPT"), help="An MLP on digits, or a GPT on stories."), "MLP"),
        "lr": (Slider(label="learning rate", low=1e-4, high=1e-1, log=True, firm=True,
                      help="Of the one step."), 1e-3),
    })  # fmt: skip


def widths_panel(losses: Callable[[str, int], np.ndarray]) -> Explorer:
    """Stored runs: the loss over the learning rate at several widths. losses(parametrization, width): (lrs, seeds)."""
    rates = np.array(widths.LRS)

    def draw(*, parametrization):
        series, best = [], []
        for style, width in enumerate(widths.WIDTHS):
            found = losses(parametrization, width)
            series.append(figures.Series(name=f"width {width}", x=rates, y=found.mean(1), low=found.min(1),
                                         high=found.max(1), style=style, markers=True))  # fmt: skip
            best.append(f"{rates[found.mean(1).argmin()]:.2g} at width {width}")
        figure = figures.lines(series, title=f"Loss after {widths.STEPS} steps", x_title="learning rate", x_log=True,
                               y_title="loss (nats)", y_range=(0, 2.5))  # fmt: skip
        return Shown(figures=[figure], summary=f"Best learning rate: {', '.join(best)}.")

    chosen = Choice(label="parametrization", options=tuple(widths.SCHEMES), help="Standard, or maximal update (muP).")
    return Explorer(draw, title="Learning rate and width", controls={"parametrization": (chosen, "standard")})


# --- section 9: starts from trained models ------------------------------------------------------------------------


def small_panel() -> TrainingPanel:
    """A small story GPT from random weights, from a slice of a wider one, or that wider one itself."""
    start = Choice(label="start", options=slicing.STARTS,
                   help="Random weights, a slice of the trained story GPT, that slice with the numbers of each matrix "
                        "in random order, or the whole trained GPT.")  # fmt: skip
    return TrainingPanel(
        slicing.small_recipe, title="Starts from a trained model", settings=["start"], views=[STORY_LOSS, ABILITIES],
        controls={"start": start}, seeds=True,
    )  # fmt: skip


def warm_panel() -> TrainingPanel:
    """Noisy digits, from a start that has seen half of them before."""
    start = Choice(label="start", options=warm.STARTS,
                   help="Random weights, weights trained on half of the images, or those shrunk, with noise.")
    views = [
        CurvesView(title="Right", curves={"unseen": "unseen images", "all": "images it learns from"},
                   y_title="share", y_range=(0.4, 1.02)),
        LossView(y_title="loss (nats)", log_loss=True),
    ]  # fmt: skip
    return TrainingPanel(warm.warm_recipe, title="A warm start", settings=["start"], views=views,
                         controls={"start": start}, seeds=True)  # fmt: skip


# --- section 10: the board ----------------------------------------------------------------------------------------

LOST = 0.2  # a share of right digits that is hardly better than chance

@dataclass(frozen=True, kw_only=True)
class BoardView:
    """The newest accuracy of every network, as a board: starts down, networks across; the mean over seeds."""

    title: str = "Unseen digits right"

    def draw(self, traces: Sequence[Trace]) -> dict:
        histories = traces[0].histories
        shares = np.array([
            [np.mean([one[f"{network}, {scheme}"].last for one in histories]) for network in board.NETWORKS]
            for scheme in board.SCHEMES
        ])  # fmt: skip
        return board_figure(shares, title=self.title)


def board_figure(shares: np.ndarray, *, title: str) -> dict:
    """shares: (schemes, networks), each between 0 and 1; nan where there is none yet."""
    return figures.heatmap(shares, title=title, x=tuple(board.NETWORKS), y=board.SCHEMES, x_title="network",
                           y_title="start", z_title="share", z_range=(0, 1))  # fmt: skip


def board_panel() -> TrainingPanel:
    """Every start in every network, trained at once."""
    means = CurvesView(title="Mean over the six starts", curves={name: name for name in board.NETWORKS},
                       y_title="share", y_range=(0, 1.02))  # fmt: skip
    return TrainingPanel(board.board_recipe, title="The board", settings=["optimizer"], views=[BoardView(), means],
                         controls={"optimizer": OPTIMIZER, "lr": LR}, seeds=True)  # fmt: skip


def stored_board_panel(shares: Callable[[str], np.ndarray], rates: Callable[[str], np.ndarray]) -> Explorer:
    """Stored runs: the board with each network at its own best learning rate.

    shares(optimizer), rates(optimizer): (schemes, networks), the shares of right digits and those learning rates.
    """

    def draw(*, optimizer):
        found, best = shares(optimizer), rates(optimizer)
        figure = board_figure(found, title="Unseen digits right, each at its best learning rate")
        rows = [" " * 10 + "".join(f"{'both' if '+' in network else network:>12}" for network in board.NETWORKS)]
        for scheme, row, lrs in zip(board.SCHEMES, found, best, strict=True):
            fields = [f"{share:.0%} {lr:.0e}" for share, lr in zip(row, lrs, strict=True)]
            rows.append(f"{scheme:10}" + "".join(f"{field:>12}" for field in fields))
        lost = [f"{scheme} in {network}" for row, scheme in zip(found, board.SCHEMES, strict=True)
                for share, network in zip(row, board.NETWORKS, strict=True) if share < LOST]  # fmt: skip
        summary = f"Under {LOST:.0%}: {', '.join(lost)}." if lost else f"None is under {LOST:.0%}."
        numbers = ("In numbers, each with its best learning rate", "\n".join(rows))
        return Shown(figures=[figure], texts=[numbers], summary=summary)

    return Explorer(draw, title="The board, tuned", controls={"optimizer": (OPTIMIZER, "sgd")})
