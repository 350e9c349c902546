"""How a panel's run stands, in words: for the eye, for a screen reader, for a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from course_utils import evidence, runtime
from course_utils.live.session import Session
from course_utils.live.views import Trace
from course_utils.training import Cost

LATE_STEPS = 50  # two runs are compared by their mean loss over this many last steps


@dataclass(frozen=True)
class Standing:
    """A session, what it will cost, a note on what the learner did last, and how it compares with a pin."""

    session: Session
    cost: Cost | None
    note: str
    verdict: str

    def shown(self) -> dict:
        """The arguments of `LiveFigure.show` that say how things stand."""
        run = self.session.runs[0]
        status = self.session.status
        started = "loss" in run.history.curves
        loss = f"{run.history['loss'].last:.4g}" if started else "none yet"
        sentence = self._sentence(status, loss)
        return {
            "status": sentence,
            "summary": sentence,
            "progress": self.session.step_count / run.experiment.steps,
            "state": {
                "status": status,
                "step": self.session.step_count,
                "events": sum(len(run.history.events) for run in self.session.runs),
                "loss": loss,
            },
        }

    def _sentence(self, status: str, loss: str) -> str:
        run = max(self.session.runs, key=lambda run: run.status == "diverged")
        total = run.experiment.steps
        at = f"step {self.session.step_count:,} of {total:,}, loss {loss} nats"
        first = {
            "running": f"Training: {at}, {self.session.rate:.0f} steps/s on {self._where(run)}.",
            "finished": f"Finished: {at}.",
            "diverged": run.explain(),
            "ready": f"Paused: {at}." if self.session.step_count else f"Ready. {self._price(run, total)}",
        }[status]
        return " ".join(part for part in (first, self.verdict if status != "running" else "", self.note) if part)

    def _where(self, run) -> str:
        if run.device.type != "cpu":
            return run.device.type.upper()
        threads = torch.get_num_threads()
        return f"the CPU ({threads} thread{'s' if threads > 1 else ''})"

    def _price(self, run, steps: int) -> str:
        runs = len(self.session.runs)
        if self.cost is None:
            return f"{steps:,} steps on {self._where(run)}."
        seconds = runtime.readable_seconds(self.cost.step_seconds * steps * runs)
        memory = runtime.readable_bytes(self.cost.memory * runs)
        return f"{steps:,} steps take about {seconds} and {memory} on {self._where(run)}."


def verdict(traces: Sequence[Trace]) -> str:
    """Is the difference between this run and the newest pin more than the noise between seeds?

    Compared seed by seed, over runs of at least three seeds that stand at the same step; else an empty string.
    """
    this, *pins = traces
    if not pins or len(this.histories) < 3 or len(pins[-1].histories) != len(this.histories):
        return ""
    late = []
    for trace in (this, pins[-1]):
        if any("loss" not in history.curves or history.status == "diverged" for history in trace.histories):
            return ""
        late.append([history.loss[-LATE_STEPS:].mean() for history in trace.histories])
    if this.histories[0]["loss"].steps[-1] != pins[-1].histories[0]["loss"].steps[-1]:
        return ""
    gap = evidence.paired(*late)
    side = "lower" if gap.mean < 0 else "higher"
    pin = pins[-1].name.split(":")[0]
    size = f"Loss {abs(gap.mean):.3f} {side} than {pin} (standard error {gap.standard_error:.3f})"
    noise = "within" if evidence.within_noise(*late) else "more than"
    return f"{size}: {noise} the noise between seeds."
