"""The panels of the second half of 02_fine_tuning: not forgetting, other worlds, and between two models."""

from __future__ import annotations

import copy

import numpy as np
import torch

from course_utils import data, figures
from course_utils.finetuning import average, interpolate
from course_utils.live import Choice, CurvesView, Explorer, Shown, Slider, TrainingPanel

from ..digits import SHIFTS
from ..stories import Models, chosen
from . import keeping, questions, shift, transfer
from .panel_finetuning import BOTH, CONTROLS, METER, frontier
from .studies import STUDIES

# --- section 5: not forgetting --------------------------------------------------------------------------------------

KEEPERS = {
    "replay": Slider(label="replay share", low=0.0, high=1.0, step=0.01, firm=True,
                     help="The share of rows in a batch that are stories of the old kind."),
    "l2": Slider(label="L2 to the start", low=0.0, high=0.5, step=0.01,
                 help="How strongly every weight is held where it was, all alike."),
    "ewc": Slider(label="EWC", low=0.0, high=20.0, step=0.1,
                  help="How strongly every weight is held where it was, each as much as the stories need it."),
}  # fmt: skip


SIDES = ("bottom right", "top center", "bottom right", ["middle left"] * 2 + ["top left"] * 2, "bottom right")  # by way
PLAIN_END = f"lr {keeping.PLAIN['lr']:g}"  # nothing holds on


def keep_panel(*, title: str) -> TrainingPanel:
    """Fine-tunes the story GPT with three ways to hold on to the stories, each a knob."""
    return TrainingPanel(
        keeping.keep_recipe,
        title=title,
        settings=["task"],
        knobs=["lr", *KEEPERS],
        views=[BOTH, METER],
        controls=KEEPERS | {"task": CONTROLS["task"]},
        seeds=True,
    )


def keepers_panel(*, title: str) -> Explorer:
    """Where stored runs end, new against old: the learning rate alone, replay, L2 to the start, EWC and LoRA."""
    rows = STUDIES.stored("keeping")
    ways = {"learning rate alone": [row for row in rows if all(row[name] == 0 for name in KEEPERS)]}
    for name, control in KEEPERS.items():
        ways[control.label] = [row for row in rows if row[name] > 0 or keeping.PLAIN.items() <= row.items()]
    lora = STUDIES.stored("what_moves", moves="LoRA", rank=4)
    ways["LoRA of rank 4, by learning rate"] = [row for row in lora if row["lr"] > 1e-3]  # slower, it learns half

    def draw(*, way):
        ends = [(name, *end) for name, found in ways.items() if way in ("all", name) for end in _ended(found)]
        groups, x, y, strengths = zip(*ends, strict=True)
        # the ways meet where nothing holds on: there, one label is enough
        labels = ["" if text == PLAIN_END and text in strengths[i + 1 :] else text for i, text in enumerate(strengths)]
        spec = frontier(x, y, labels, groups=groups, joined=list(ways), sides=dict(zip(ways, SIDES, strict=True)),
                        x_range=(0.6, 2.9), y_range=(0.8, 0.98), ticks=[0.6, 0.8, 1, 1.5, 2, 2.5])  # fmt: skip
        start = keeping.both(keeping.start_model())["old"]
        return Shown(figures=[spec], summary=f"Before fine-tuning the old loss is {start:.2f} nats per token.")

    options = Choice(label="way", options=("all", *ways), help="Which ways not to forget are shown.")
    return Explorer(draw, title=title, controls={"way": (options, "all")})


def _ended(rows: list[dict]) -> list[tuple[float, float, str]]:
    """The mean old loss and accuracy of each strength, from the least old loss to the most, and the strength."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(_strength(row), []).append(row)
    return sorted((*(float(np.mean([row[of] for row in group])) for of in ("old", "accuracy")), strength)
                  for strength, group in groups.items())  # fmt: skip


def _strength(row: dict) -> str:
    """What tells a stored run from the others of its way: the strength, or the learning rate."""
    if "rank" in row:
        return f"{row['lr']:g}"
    return next((f"{row[name]:g}" for name in KEEPERS if row.get(name)), f"lr {row['lr']:g}")


# --- section 6: other worlds ----------------------------------------------------------------------------------------

WORLDS = CurvesView(
    title="Digits named right, in each world",
    curves={"inside": "as they are (trained on)", "moved": "moved", "noisy": "noisy", "rotated": "rotated"},
    y_title="share of images",
    y_range=(0, 1.02),
)
DRIFT = CurvesView(
    title="How far the features of shifted images have moved",
    curves={"drift": "distance over their length"},
    y_title="distance",
)
METHOD = Choice(
    label="method", options=shift.METHODS,
    help="Train the new head alone, everything from a random head, or everything from a head that a probe trained.",
)  # fmt: skip
SHOWN = 8  # images in a row
TILE = data.images.SIDE + 2  # an image with its margin


def shift_panel(*, title: str) -> TrainingPanel:
    """Fine-tunes on digits as they are, and measures in every world."""
    examples = Choice(label="examples", options=(50, 100, 400), help="How many images with labels there are.")
    return TrainingPanel(
        shift.shift_recipe,
        title=title,
        settings=["method", "examples"],
        views=[WORLDS, DRIFT],
        controls={"method": METHOD, "examples": examples},
        seeds=True,
    )


def worlds_panel(*, title: str) -> Explorer:
    """Digits as they are, shifted, and as the pretrained network paints them from the shifted ones."""

    def draw(*, world, first):
        chosen = slice(first, first + SHOWN)
        plain, moved = (shift.test_worlds()[name][chosen] for name in (shift.INSIDE, world))
        network = shift.pretrained_digits()  # trains at the first call, so not under no_grad
        with torch.no_grad():
            painted = network(moved).clamp(0, 1)
        rows = torch.cat([_side_by_side(images) for images in (plain, moved, painted)])
        spec = figures.heatmap(rows.numpy(), title="The same digits three times", x_title="digit", y_title="",
                               z_title="ink", z_range=(0, 1))  # fmt: skip
        middles = [TILE * (i + 0.5) - 0.5 for i in range(SHOWN)]
        names = [str(label) for label in data.digits_split().test_labels[chosen].tolist()]
        spec["layout"]["xaxis"] |= {"tickmode": "array", "tickvals": middles, "ticktext": names, "showgrid": False,
                                    "constrain": "domain"}
        spec["layout"]["yaxis"] |= {"tickmode": "array", "tickvals": middles[:3], "showgrid": False,
                                    "ticktext": ["as it is", world, "painted"], "scaleanchor": "x",
                                    "constrain": "domain"}  # fmt: skip
        spec["layout"]["height"] = 320
        left, undone = ((images - plain).square().mean().item() for images in (moved, painted))
        text = f"Mean squared distance to the digit as it is: {left:.3f} {world}, {undone:.3f} painted."
        return Shown(figures=[spec], summary=text)

    last = len(shift.test_worlds()[shift.INSIDE]) - SHOWN
    return Explorer(draw, title=title, controls={
        "world": (Choice(label="world", options=tuple(SHIFTS), help="What is done to a digit."), "moved"),
        "first": (Slider(label="from image", low=0, high=last, step=1, whole=True, firm=True, help="Which images."), 0),
    })  # fmt: skip


def _side_by_side(images: torch.Tensor) -> torch.Tensor:
    """(images, 64) -> (TILE, images * TILE), with a margin of one pixel around each."""
    tiles = torch.nn.functional.pad(images.view(len(images), data.images.SIDE, -1), (1, 1, 1, 1))
    return torch.cat(tiles.unbind(0), dim=1)


# --- section 7: between two models ----------------------------------------------------------------------------------


def between_panel(models: Models, *, title: str) -> Explorer:
    """The GPT whose weights lie between the pretrained one and a fine-tuned one, measured on both tasks."""
    seen: dict[tuple, dict[float, dict[str, float]]] = {}  # model -> alpha -> what was measured

    def measured(model: str, alpha: float) -> dict[float, dict[str, float]]:
        end = copy.deepcopy(chosen(models, model)).cpu()
        key = model, float(sum(weight.detach().double().sum() for weight in end.parameters()))  # it may train on
        known = seen.setdefault(key, {})
        for place in (*keeping.ALPHAS, alpha):
            if place not in known:
                mixed = interpolate(keeping.start_model(), end, place)
                known[place] = questions.answers(mixed) | questions.old_loss(mixed)
        return known

    def draw(*, model, alpha):
        known = measured(model, alpha)
        x = np.array(sorted(known))
        specs = []
        for style, (name, words, top) in enumerate(SHOWN_BETWEEN):
            y = np.array([known[place][name] for place in x])
            series = [figures.Series(name=words, x=x, y=y, style=style, markers=True)]
            specs.append(figures.lines(series, title=words.capitalize(), x_title="alpha: 0 pretrained, 1 fine-tuned",
                                       y_title=top, marks={alpha: "here"}))  # fmt: skip
        now = known[alpha]
        text = f"At alpha {alpha:.2f}: {now['accuracy']:.0%} answered right, old loss {now['old']:.2f} nats per token."
        return Shown(figures=specs, summary=text)

    return Explorer(draw, title=title, controls={
        "model": (Choice(label="to", options=tuple(models), help="The fine-tuned model."), next(iter(models))),
        "alpha": (Slider(label="alpha", low=0.0, high=1.0, step=0.05, firm=True,
                         help="How far from the pretrained model to the fine-tuned one."), 0.5),
    })  # fmt: skip


SHOWN_BETWEEN = (
    ("accuracy", "questions answered right", "share"),
    ("new", "new loss on answers", "loss (nats per answer)"),
    ("old", "old loss on stories", "loss (nats per token)"),
)


def average_panel(*, title: str) -> Explorer:
    """Networks that name digits, and the network with their mean weights; from one start or from several."""

    def draw(*, starts, count):
        parts = transfer.members(count, starts=starts)
        values = [*map(transfer.accuracy, parts), transfer.accuracy(average(parts))]
        labels = [*(f"network {number}" for number in range(1, count + 1)), "average"]
        bars = figures.bars(labels, values, title="Digits named right", x_title="", y_title="share of images",
                            highlight=[count], y_range=(0, 1))  # fmt: skip
        alphas, along = transfer.between(*parts[:2])
        line = figures.Series(name="accuracy", x=np.array(alphas), y=np.array(along), markers=True)
        path = figures.lines([line], title="On the straight line from network 1 to network 2", y_range=(0, 1.02),
                             x_title="alpha: 0 network 1, 1 network 2", y_title="share of images")  # fmt: skip
        mean = sum(values[:-1]) / count
        text = f"The networks name {mean:.0%} of the digits right on average, their average {values[-1]:.0%}."
        return Shown(figures=[bars, path], summary=text)

    return Explorer(draw, title=title, controls={
        "starts": (Choice(label="starts", options=("one", "several"), help="Whether all networks were fine-tuned from "
                          "the same pretrained one, or each from one of its own."), "one"),
        "count": (Slider(label="networks", low=2, high=6, step=1, whole=True, firm=True,
                         help="How many are averaged."), 2),
    })  # fmt: skip


# --- section 8: when it fails ---------------------------------------------------------------------------------------

NAMED = CurvesView(title="Held-out digits named right", curves={"accuracy": "this run"}, y_title="share of images",
                   y_range=(0, 1.02))  # fmt: skip
TRANSFER = {
    "start": Choice(label="start", options=transfer.STARTS,
                    help="Random weights, or what the network was pretrained on."),
    "examples": Choice(label="examples", options=(10, 30, 100, 400), help="How many images with labels there are."),
    "steps": Choice(label="steps", options=(50, 150, 600), help="How long it trains."),
    "draw": Choice(label="which examples", options=(0, 1, 2, 3, 4), help="Other images, as many."),
}  # fmt: skip


def transfer_panel(*, title: str) -> TrainingPanel:
    """Few examples, other starts, and other draws of examples."""

    def recipe(*, start: str = "scrambled pixels", examples: int = 100, steps: int = 150, draw: int = 0):
        return transfer.transfer_recipe(start=start, examples=examples, steps=steps, seed=draw)

    return TrainingPanel(recipe, title=title, settings=list(TRANSFER), views=[NAMED], controls=TRANSFER, seeds=True)
