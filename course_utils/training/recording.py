"""A run as plain data that any reader of JSON takes, and the run again from it."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import torch

from course_utils.training.history import Event
from course_utils.training.knobs import checked
from course_utils.training.loop import Experiment, Run, advance

PARTS = {"seed", "steps", "knobs", "events"}


def replay(
    experiment: Experiment, recording: Mapping | str | Path, *, device: torch.device | str | None = None
) -> Run:
    """Repeat a recorded run headless: on the same machine and device, bitwise the same weights.

    recording: what `Run.recording` or a panel's `recording` gave, or the path of a file with it. ValueError for
    anything else, and for a panel's recording of several runs.
    """
    recording = _one_run(recording)
    run = experiment.start(recording["seed"], device=device)
    start = {name: checked(name, _number(value), run.knobs) for name, value in recording["knobs"].items()}
    run.knobs.update(start)
    run.start_knobs.update(start)
    changes = deque(Event(**event | {"value": _number(event["value"])}) for event in recording["events"])
    advance(run, recording["steps"], changes)
    for change in changes:  # moved after the last step
        run.set(change.knob, change.value)
    run.read_mailbox()
    return run


def _one_run(recording: Mapping | str | Path) -> Mapping:
    if isinstance(recording, str | Path):
        try:
            recording = json.loads(Path(recording).expanduser().read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise ValueError(f"{recording} is no recording ({error}): give a file that holds one as JSON") from None
    if isinstance(recording, Mapping) and "runs" in recording:  # a panel's
        runs = recording["runs"]
        if len(runs) != 1:
            raise ValueError(f"this recording has {len(runs)} runs: replay each, as recording['runs'][0]")
        recording = runs[0]
    missing = sorted(PARTS - set(recording)) if isinstance(recording, Mapping) else sorted(PARTS)
    if missing:
        raise ValueError(f"this is no recording, it has no {', '.join(missing)}: give what run.recording() gave")
    return recording


def _number(value: float | None) -> float:
    """JSON has no infinity: a limit that is off, as ``clip``, is written as null."""
    return math.inf if value is None else value
