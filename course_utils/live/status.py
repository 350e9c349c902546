"""How a panel's run stands, in words: for the eye, for a screen reader, for a test."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from course_utils import evidence, runtime
from course_utils.live.session import Session
from course_utils.live.views import Trace
from course_utils.training import Cost

LATE_STEPS = 50  # two runs are compared by their mean loss over this many last steps


def standing(session: Session, cost: Cost | None, note: str, compared: str) -> dict:
    """The arguments of `LiveFigure.show` that say how a session stands.

    cost: of a step, if it is known.  note: what the learner did last.  compared: how it compares with a pin.
    """
    run, status = session.runs[0], session.status
    loss = f"{run.history['loss'].last:.4g}" if "loss" in run.history.curves else "none yet"
    parts = (_progress(session, status, loss, cost), compared if status != "running" else "", note)
    sentence = " ".join(part for part in parts if part)
    return {
        "status": sentence,
        "summary": sentence,
        "progress": session.step_count / run.experiment.steps,
        "state": {
            "status": status,
            "step": session.step_count,
            "events": sum(len(run.history.events) for run in session.runs),
            "loss": loss,
        },
    }


def _progress(session: Session, status: str, loss: str, cost: Cost | None) -> str:
    run = max(session.runs, key=lambda run: run.status == "diverged")
    total, where, threads = run.experiment.steps, run.device.type.upper(), torch.get_num_threads()
    if where == "CPU":
        where = f"the CPU ({threads} thread{'s' if threads > 1 else ''})"
    at = f"step {session.step_count:,} of {total:,}, loss {loss} nats"
    price = ""
    if cost is not None:
        seconds = runtime.readable_seconds(cost.step_seconds * total * len(session.runs))
        price = f" take about {seconds} and {runtime.readable_bytes(cost.memory * len(session.runs))} of memory"
    return {
        "running": f"Training: {at}, {session.rate:.0f} steps/s on {where}.",
        "finished": f"Finished: {at}.",
        "diverged": run.explain(),
        "ready": f"Paused: {at}." if session.step_count else f"Ready. {total:,} steps{price} on {where}.",
    }[status]


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
    gap = evidence.interval(*late)
    side = "lower" if gap.mean < 0 else "higher"
    pin = pins[-1].name.split(":")[0]
    _, low, high = gap.rounded()
    chance = "chance between seeds may be all" if gap.low <= 0 <= gap.high else "more than chance between seeds"
    of = f"difference, 95 % interval {low} to {high}; {gap.units} seeds"
    return f"Loss {abs(gap.mean):.3f} {side} than {pin} ({of}): {chance}."
