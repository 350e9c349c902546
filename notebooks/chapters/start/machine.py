"""A card that says what the learner's machine offers, and what this means for the course."""

from __future__ import annotations

import html

import ipywidgets as w

from course_utils import runtime
from course_utils.live.card import Card
from course_utils.live.controls import button
from course_utils.training import Experiment, estimate


class MachineCard(Card):
    """Device, cores, threads and free memory, and the measured time of one training step of ``experiment``."""

    def __init__(self, experiment: Experiment, *, title: str = "This machine"):
        super().__init__(title)
        self.experiment = experiment
        self.facts = w.HTML()
        self.again = button("Measure again", "refresh", "Time a few training steps", self.guard(self.measure))
        self.fill(self.facts, self.again)
        self.measure()

    def measure(self) -> None:
        """Time a few training steps, and show what they say."""
        here = runtime.machine()
        cost = estimate(self.experiment)
        whole = runtime.readable_seconds(cost.step_seconds * self.experiment.steps)
        threads = runtime.choose_threads(cost.weights // 4)
        rows = {
            "trains on": "the CPU, which is enough" if here.device == "cpu" else "a GPU, so larger settings are fine",
            "processor": str(here),
            "threads": f"{threads} for the course's small models, because more would wait for each other",
            "one training step": f"{cost.step_seconds * 1000:.0f} ms for the story GPT",
            f"{self.experiment.steps:,} steps": f"about {whole} and {runtime.readable_bytes(cost.memory)} of memory",
        }
        cells = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in rows.items())
        self.facts.value = f'<div class="cu-help"><dl>{cells}</dl></div>'

    def describe(self) -> str:
        return f"{self.title}: a live card with its device, cores, memory and speed. Run this cell to see yours."

    def picture(self):
        return None  # the machine that built the notebook says nothing about the reader's
