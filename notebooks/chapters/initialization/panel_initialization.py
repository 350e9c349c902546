"""Panels about the start of training: what fits into memory, and why units must not start alike."""

from __future__ import annotations

import ipywidgets as w
import numpy as np
import torch

from course_utils import figures, runtime, training
from course_utils.data import STORY_VOCAB, digits_split
from course_utils.live import Choice, CurvesView, Explorer, LossView, Shown, Slider, TrainingPanel
from course_utils.live.controls import button
from course_utils.models import GPT, MLP, GPTConfig

from ..stories import story_recipe
from . import studies
from .memory import NAMED_MODELS, TrainingMemory, parameter_count, training_memory

# --- section 1: what fits -----------------------------------------------------------------------------------------

with torch.device("meta"):  # its shape is all that is asked for
    OURS = {"digit MLP": MLP([64, 128, 10]), "story GPT": GPTConfig(vocab_size=len(STORY_VOCAB))}
SHAPES = OURS | NAMED_MODELS
PARTS = ("weights", "gradients", "optimizer", "activations")
WORKING = "working"  # for the operation at hand
NAMED_POINTS = (*OURS, "gpt2", "llama-2-7b", "llama-2-70b")  # the others would stand on one another
LARGE_GPU = 80e9  # bytes of a large GPU, for comparison
MOST_ROWS = 64  # of a real step: more are counted at once, and trained in minutes
UNITS = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}


class MemoryPanel(Explorer):
    """What training a model holds in memory, beside what is free here; one real step of the models that we have."""

    def __init__(self, *, title: str = "What fits"):
        self._note = ""
        super().__init__(self._draw, title=title, controls={
            "model": (Choice(label="model", options=tuple(SHAPES), help="From the course's own to Llama 2."),
                      "story GPT"),
            "batch": (Slider(label="batch", low=1, high=MOST_ROWS, step=1, whole=True, help="Rows in one step."), 16),
            "precision": (Choice(label="precision", options=("float32", "bfloat16"),
                                 help="bfloat16 halves most numbers; the optimizer keeps an exact copy."), "float32"),
            "optimizer": (Choice(label="optimizer", options=("adamw", "sgd"),
                                 help="AdamW remembers two numbers for each weight, SGD none."), "adamw"),
            "checkpointing": (Choice(label="checkpointing", options=("off", "on"), help="Keep only what each block "
                                     "reads, and compute the rest again in the backward pass."), "off"),
        })  # fmt: skip

    def actions(self) -> dict[str, w.Button]:
        words = "Train one step, if it fits, and see what it holds"
        return {"try": button("Try one step here", "play", words, self.guard(self.try_step)), **super().actions()}

    def memory(self, model: str, **values) -> TrainingMemory:
        """The count for a model of the list; an MLP has no blocks to recompute."""
        recompute = values.pop("checkpointing") == "on" and not isinstance(SHAPES[model], MLP)
        return training_memory(SHAPES[model], checkpointing=recompute, **values)

    def try_step(self) -> None:
        """Train one step with the settings as they stand. What would not fit is refused, with the reason."""
        values = {name: widget.value for name, widget in self.controls.items()}
        self._note = self._refusal(**values) or self._tried(**values)
        self.redraw()

    def _refusal(self, *, model: str, **values) -> str:
        need, have = self.memory(model, **values).total, runtime.memory_available()
        if need > have:
            need, have = runtime.readable_bytes(need), runtime.readable_bytes(have)
            return f"Not started: one step needs about {need}, and {have} are free. Choose less of something."
        if model not in OURS:
            return f"Not started: it would fit, but {model} is not part of this course. Try one of {', '.join(OURS)}."
        if (values["precision"], values["checkpointing"]) != ("float32", "off"):
            return "Not started: the course trains in float32 without checkpointing. Set these two back."
        if values["batch"] > MOST_ROWS:
            return f"Not started: it would fit, but take too long here. Choose at most {MOST_ROWS} rows."
        return ""

    def _tried(self, *, model: str, batch: int, optimizer: str, **_) -> str:
        cost = training.estimate(_our_experiment(model, batch, optimizer))
        held = ", ".join(f"{part} {runtime.readable_bytes(getattr(cost, part))}" for part in PARTS)
        return f"A real step held {runtime.readable_bytes(cost.memory)}: {held}."

    def _draw(self, *, model, **values):
        need, have = self.memory(model, **values), runtime.memory_available()
        unit = next((unit for unit, size in UNITS.items() if need.total >= size), "kB")
        parts = [getattr(need, part) / UNITS[unit] for part in (*PARTS, WORKING)]
        bars = figures.bars([*PARTS, WORKING, "together"], [*parts, sum(parts)], title=f"Training {model}",
                            x_title="what for", y_title=f"memory ({unit})", highlight=[5])  # fmt: skip
        summary = f"{model}: {parameter_count(SHAPES[model]):,} weights. Training holds about "
        summary += f"{runtime.readable_bytes(need.total)}; {runtime.readable_bytes(have)} are free here, so it "
        summary += f"{'fits' if need.total <= have else 'does not fit'}. {self._note}"
        self._note = ""  # it speaks of these settings only
        return Shown(figures=[bars, self._all(model, have, values)], summary=summary)

    def _all(self, model: str, have: int, values: dict) -> dict:
        sizes = {name: parameter_count(shape) for name, shape in SHAPES.items()}
        names = sorted(sizes, key=sizes.get)
        need = [self.memory(name, **values).total / 1e9 for name in names]
        line = figures.Series(name="training holds", x=np.array([sizes[name] for name in names]), y=np.array(need),
                              markers=True)  # fmt: skip
        levels = {"free here (GB)": have / 1e9, "one large GPU (GB)": LARGE_GPU / 1e9}
        spec = figures.lines([line], title="All models of the list, rows as long as each one's context",
                             x_title="weights", y_title="memory (GB)", x_log=True, y_log=True,
                             levels=levels, marks={sizes[model]: model})  # fmt: skip
        words = [name if name in NAMED_POINTS else "" for name in names]
        sides = ["bottom right" if name in OURS else "top left" for name in names]
        spec["data"][0] |= {"mode": "markers+text", "text": words, "textposition": sides, "showlegend": False}
        spec["layout"]["xaxis"] |= {"range": [3.3, 11.5]}  # powers of ten; still, whatever is chosen
        spec["layout"]["yaxis"] |= {"range": [-4.9, 5.3]}
        return spec


def _our_experiment(model: str, batch: int, optimizer: str) -> training.Experiment:
    if isinstance(OURS[model], MLP):
        split = digits_split()
        rows = [(split.train_images[:batch].clone(), split.train_labels[:batch].clone())]  # and not the whole split
        return training.Experiment(model=lambda _: MLP(OURS[model].sizes), batches=rows, optimizer=optimizer)
    batches, config = story_recipe(measured=False).batches, OURS[model]
    knobs = {"lr": 1e-3, "batch_size": batch}
    return training.Experiment(model=lambda _: GPT(config), batches=batches, knobs=knobs, optimizer=optimizer)


# --- section 2: why not zeros --------------------------------------------------------------------------------------


def symmetry_panel() -> TrainingPanel:
    """Hidden units that start alike, and what noise does to them."""
    units = {f"unit {number}": f"unit {number}" for number in range(1, studies.UNITS + 1)}
    return TrainingPanel(
        studies.symmetry_recipe,
        title="Units that start alike",
        settings=["start", "noise"],
        views=[
            CurvesView(title=f"What each of the {studies.UNITS} hidden units answers to one digit", curves=units,
                       y_title="activation", y_range=(-1.05, 1.05)),
            LossView(title="Loss on the digits", y_title="loss (nats)", curves={"loss": "training"}, top=2.6),
        ],
        controls={
            "start": Choice(label="start", options=("zeros", "constant", "lecun"),
                            help="All weights 0, all 0.01, or random (section 3)."),
            "noise": Choice(label="noise", options=(0.0, 1e-6, 1e-4, 1e-2),
                            help="Standard deviation of the random numbers that are added to every weight."),
        },
    )  # fmt: skip
