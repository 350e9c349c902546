"""The panels of the first half of 02_fine_tuning: questions, what moves, LoRA's rank, the forgetting meter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from torch import nn

from course_utils import figures, models, training
from course_utils.live import (
    Choice,
    CurvesView,
    Explorer,
    LossView,
    Shown,
    TextView,
    Trace,
    TrainingPanel,
)

from .. import stories
from . import questions, ranks


@dataclass(frozen=True, kw_only=True)
class FrontierView:
    """Two measures against each other: the path of the current runs, and the point that each pinned one reached."""

    title: str
    x: str  # a curve
    y: str  # another one, measured at the same steps
    x_title: str
    y_title: str
    y_range: tuple[float, float] | None = None

    def draw(self, traces: Sequence[Trace]) -> dict:
        series = [self._path(trace) for trace in traces]
        return figures.lines(series, title=self.title, x_title=self.x_title, y_title=self.y_title,
                             y_range=self.y_range)  # fmt: skip

    def _path(self, trace: Trace) -> figures.Series | None:
        x, y = trace.series(self.x), trace.series(self.y)
        if x is None or y is None:
            return None
        shown = slice(-1, None) if trace.faded else slice(0, min(len(x.y), len(y.y)))
        return figures.Series(name=trace.name, x=x.y[shown], y=y.y[shown], style=trace.style, markers=True)


KINDS = CurvesView(
    title="Held-out questions answered right, by kind",
    curves={"accuracy": "all", "place": "place", "colour": "colour", "feeling": "feeling", "who": "who"},
    y_title="share of questions",
    y_range=(0, 1.02),
)
NEW = LossView(title="Loss on the answer", y_title="loss (nats per answer)",
               curves={"loss": "training", "new": "held-out"})  # fmt: skip
BOTH = CurvesView(title="The new loss and the old", y_title="loss (nats)", y_range=(0, 9),
                  curves={"new": "new: held-out answers or letters", "old": "old: held-out stories"})  # fmt: skip
AGAINST = "New against old: up is learned, right is forgotten"
FORGOTTEN = "old loss on held-out stories (nats per token)"
METER = FrontierView(title=AGAINST, x="old", y="accuracy", x_title=FORGOTTEN,
                     y_title="new task: share right", y_range=(-0.02, 1.02))  # fmt: skip
WAYS = ("everything", "LoRA", "biases", "last layer")  # of choosing what moves
CONTROLS = stories.CONTROLS | {
    "moves": Choice(label="what moves", options=WAYS, help="Which weights train. The others stay as they were."),
    "rank": Choice(label="LoRA rank", options=(1, 2, 4, 8, 16, 32), help="Rows of each A. Used by LoRA alone."),
    "stages": Choice(label="how many stages", options=(1, 2, 3, 4),
                     help="Of four: the embeddings, block 1, block 2, and the last norm with the head."),
    "task": Choice(label="new task", options=questions.TASKS, help="Answer questions, or write letters."),
    "counted": Choice(label="loss counts at", options=tuple(questions.COUNTED),
                      help="The answer alone, or every word of the story, the question and the answer."),
}  # fmt: skip


def question_panel(
    *,
    title: str,
    recipe: Callable = questions.question_recipe,
    settings: Sequence[str] = ("start", "examples"),
    knobs: Sequence[str] = ("lr",),
    views: Sequence = (KINDS, NEW),
    **options,
) -> TrainingPanel:
    """A panel that teaches a story GPT to answer questions."""
    controls = CONTROLS | options.pop("controls", {})
    return TrainingPanel(recipe, title=title, settings=settings, knobs=knobs, views=views, controls=controls, **options)


def freeze_panel(*, title: str) -> TrainingPanel:
    """Trains some stages of the GPT, counted from the input or from the output."""

    def recipe(*, moves: str = "last stages", stages: int = 2):
        return questions.question_recipe(moves=moves, stages=stages)

    ends = Choice(label="what moves", options=("last stages", "first stages"), help="From which end stages train.")
    return question_panel(title=title, recipe=recipe, settings=["moves", "stages"], controls={"moves": ends})


# --- what it costs --------------------------------------------------------------------------------------------------


def training_bytes(model: nn.Module) -> int:
    """Bytes of gradients, and of the two numbers that AdamW keeps for each trained weight."""
    return 3 * sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


@cache
def _costs(count: str) -> list[float]:
    runs = {way: questions.question_recipe(moves=way) for way in WAYS}
    if count == "time":
        return [1000 * training.estimate(recipe, trial_steps=8).step_seconds for recipe in runs.values()]
    trained = [recipe.start(0).model for recipe in runs.values()]
    if count == "memory":
        return [training_bytes(model) / 1000 for model in trained]
    return [models.count_parameters(model, trainable_only=True) for model in trained]


AXES = {"weights": "trained weights", "memory": "kilobytes", "time": "milliseconds a step"}
COUNTS = {
    "weights that train": "weights",
    "memory for gradients and AdamW": "memory",
    "time of a step, measured here": "time",
}


def cost_panel(*, title: str) -> Explorer:
    """What each way of choosing what moves costs: trained weights, memory, and time on this machine."""

    def draw(*, count):
        values = _costs(COUNTS[count])
        spec = figures.bars(WAYS, values, title=count.capitalize(), x_title="what moves", y_title=AXES[COUNTS[count]])
        shares = ", ".join(f"{way} {value / values[0]:.0%}" for way, value in zip(WAYS[1:], values[1:], strict=True))
        return Shown(figures=[spec], summary=f"Everything is 100 %: {shares}.")

    counts = Choice(label="count", options=tuple(COUNTS), help="What the bars show.")
    return Explorer(draw, title=title, controls={"count": (counts, next(iter(COUNTS)))})


# --- new against old, stored runs -------------------------------------------------------------------------------------

FAMILIES: dict[str, Callable[[dict], str | None]] = {  # family -> what tells its points apart, or None for others
    "everything, by learning rate": lambda row: f"{row['lr']:g}" if row["moves"] == "everything" else None,
    "LoRA of rank 1, by learning rate": lambda row: _of_lora(row, 1),
    "LoRA of rank 4, by learning rate": lambda row: _of_lora(row, 4),
    "LoRA of rank 16, by learning rate": lambda row: _of_lora(row, 16),
    "last stages, by number": lambda row: str(row["stages"]) if row["moves"] == "last stages" else None,
    "first stages, by number": lambda row: str(row["stages"]) if row["moves"] == "first stages" else None,
    "biases and last layer": lambda row: row["moves"] if row["moves"] in ("biases", "last layer") else None,
}
SHOWN = {
    "learning rate": (0,),
    "learning rate and LoRA": (0, 1, 2, 3),
    "learning rate and frozen parts": (0, 4, 5, 6),
}
SIDES = dict.fromkeys(FAMILIES, "bottom center") | {
    "everything, by learning rate": ["bottom center", "top left", "top left", "top center", "top center"],
    "LoRA of rank 1, by learning rate": ["bottom right"] * 2 + ["bottom center", "bottom right"],
    "LoRA of rank 4, by learning rate": "bottom right",
    "LoRA of rank 16, by learning rate": ["middle left"] * 2 + ["top center", "top right"],
}


def _of_lora(row: dict, rank: int) -> str | None:
    return f"{row['lr']:g}" if row["moves"] == "LoRA" and row["rank"] == rank else None


def frontier(
    x: Sequence[float],
    y: Sequence[float],
    labels: Sequence[str],
    *,
    groups: Sequence[str],
    joined: Sequence[str],
    sides: Mapping[str, str | Sequence[str]],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    ticks: Sequence[float],
) -> dict:
    """Where runs end, new against old, the old loss on a logarithmic axis.

    joined: groups whose points a line joins, in the order given.  sides: group -> where its labels stand, such as
    "bottom right", or a list, one for each point.
    """
    spec = figures.points(x, y, labels, groups=groups, title=AGAINST, x_title=FORGOTTEN,
                          y_title="questions answered right")  # fmt: skip
    for trace in spec["data"]:
        trace["textposition"] = sides[trace["name"]]
        if trace["name"] in joined:
            trace["mode"] = "lines+markers+text"
    spec["layout"]["xaxis"] |= {"type": "log", "range": np.log10(x_range).tolist(), "tickvals": list(ticks)}
    spec["layout"]["yaxis"]["range"] = list(y_range)
    spec["layout"]["height"] = 480
    return spec


def frontier_panel(rows: Sequence[dict], *, title: str) -> Explorer:
    """Stored runs as points: old loss and accuracy, means over seeds; rows as of the study "what_moves"."""
    rows = sorted((row for row in rows if row["counted"] == "the answer"), key=lambda row: row["lr"])

    def draw(*, shown):
        reached: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for name in (list(FAMILIES)[i] for i in SHOWN[shown]):
            for row in rows:
                label = FAMILIES[name](row)
                if label is not None:
                    reached.setdefault((name, label), []).append((row["old"], row["accuracy"]))
        x, y = np.array([np.mean(values, axis=0) for values in reached.values()]).T
        spec = frontier(x, y, [label for _, label in reached], groups=[name for name, _ in reached], sides=SIDES,
                        joined=[name for name in FAMILIES if "learning rate" in name], x_range=(0.55, 9),
                        y_range=(0.4 if min(y) > 0.4 else 0, 1.06), ticks=[0.5, 1, 2, 4, 8])  # fmt: skip
        best = min(((a, label) for (_, label), a, b in zip(reached, x, y, strict=True) if b > 0.9), default=None)
        words = f"{len(reached)} settings, means over seeds."
        if best is not None:
            words += f" Of those over 90 % right, the lowest old loss is {best[0]:.2f} ({best[1]})."
        return Shown(figures=[spec], summary=words)

    shown = Choice(label="show", options=tuple(SHOWN), help="Which ways to fine-tune. Labels say what differs.")
    return Explorer(draw, title=title, controls={"shown": (shown, "learning rate and LoRA")})


# --- LoRA's rank beside the full update -------------------------------------------------------------------------------


class RankPanel(TrainingPanel):
    """Trains LoRA at a chosen rank, and shows its update beside that of a model that was trained in full.

    full: the singular values of the full update, by layer, as from `ranks.spectra`.  layer: a learner's own LoRA layer.
    """

    def __init__(self, full, *, title: str, layer: Callable | None = None):
        self.full = full
        layers = Choice(label="matrix", options=tuple(full), help="Whose singular values are shown.")
        self.layer = layers.widget(next(iter(full)))
        views = (_Spectrum(self), _Ranks(self), KINDS, TextView(title="Merged", name="merged"))
        super().__init__(ranks.rank_recipe, title=title, settings=["rank"], views=views, controls=CONTROLS,
                         model=layer and partial(ranks.with_layers, layer))  # fmt: skip
        self.layer.observe(self.guard(lambda _: self._choose()), "value")
        self.box.children = [*self.box.children[:-2], self.row([self.layer]), *self.box.children[-2:]]

    def _choose(self) -> None:
        if not self.session.running:  # a running session draws ten times a second by itself
            self.redraw()


class _Spectrum:
    """The singular values of one matrix's update: in full, and of LoRA's runs as they stand."""

    def __init__(self, panel: RankPanel):
        self.panel, self.title = panel, "Singular values of the update"

    def draw(self, traces: Sequence[Trace]) -> dict:
        name = self.panel.layer.value
        full = self.panel.full[name].numpy()
        places = np.arange(1, len(full) + 1)
        series = [figures.Series(name="everything trained", x=places, y=full, style=3, faded=True)]
        for trace in traces:
            curves = trace.histories[0].curves
            now = np.array([curves[f"{name} #{i}"].last for i in range(len(full))])
            series.append(
                figures.Series(name=trace.name, x=places, y=now, style=trace.style, faded=trace.faded, markers=True)
            )
        return figures.lines(series, title=f"{self.title} in block {name}", x_title="singular value, largest first",
                             y_title="size")  # fmt: skip


class _Ranks:
    """How many directions hold 90 % of every matrix's update."""

    def __init__(self, panel: RankPanel):
        self.panel, self.title = panel, "Directions that hold 90 % of the update"

    def draw(self, traces: Sequence[Trace]) -> dict:
        names = list(self.panel.full)
        places = np.arange(len(names))
        full = np.array([ranks.rank_for(one, 0.9) for one in self.panel.full.values()])
        series = [figures.Series(name="everything trained", x=places, y=full, style=3, faded=True, markers=True)]
        for trace in traces:
            now = np.array([trace.histories[0].curves[name].last for name in names])
            series.append(
                figures.Series(name=trace.name, x=places, y=now, style=trace.style, faded=trace.faded, markers=True)
            )
        spec = figures.lines(series, title=f"{self.title}, matrix by matrix", x_title="", y_title="directions")
        spec["layout"]["xaxis"] |= {"tickmode": "array", "tickvals": list(places), "ticktext": names,
                                    "tickangle": 90}  # fmt: skip
        spec["layout"]["height"], spec["layout"]["margin"]["b"] = 420, 150  # eight names find room standing upright
        return spec
