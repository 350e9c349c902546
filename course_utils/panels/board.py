"""Panels of 04_initialization, sections 8 to 10: width, starts from trained models, and the board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from course_utils import figures
from course_utils.live import Choice, LossView, Trace, TrainingPanel
from course_utils.pretraining import board

OPTIMIZER = Choice(label="optimizer", options=("sgd", "adamw"), help="Plain gradient descent, or AdamW.")


# --- section 10: the board ------------------------------------------------------------------------------------------


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
    return TrainingPanel(
        board.board_recipe, title="The board", settings=["optimizer"],
        views=[BoardView(), LossView(title="Median loss of the 24 networks", y_title="loss (nats)", top=3.0)],
        controls={"optimizer": OPTIMIZER}, seeds=True,
    )  # fmt: skip
