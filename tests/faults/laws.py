"""What must hold of a panel after any event."""

from __future__ import annotations

import json
import linecache
import math
import re
import sys
import threading
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

from course_utils.live.card import Frame
from course_utils.live.controls import Dial
from tests.faults.events import is_panel, is_training, parts_of, until

ROOT = Path(__file__).resolve().parents[2]
STATES = ("running", "ready", "finished", "diverged")


class Watch:
    """Collects what goes wrong where nobody looks: errors shown in cards, and those of threads and callbacks."""

    def __init__(self):
        self.wrong: list[str] = []
        self.told = 0
        show = Frame.show_error

        def shown(frame, error):
            show(frame, error)
            self.told += 1
            problem = fault_of(error, frame._notice.value)
            if problem:
                self.wrong.append(f"{problem}:\n{frame._notice.value}")

        Frame.show_error = shown
        threading.excepthook = lambda args: self.wrong.append(f"on a thread: {args.exc_value!r}")
        InteractiveShell.showtraceback = lambda *_, **__: self.wrong.append(f"in a callback: {sys.exc_info()[1]!r}")

    def check(self) -> None:
        wrong, self.wrong = self.wrong, []
        assert not wrong, "\n".join(wrong)


def fault_of(error: BaseException, shown: str) -> str:
    """What is wrong about an error that a card shows; nothing if it is the course's own sentence to the learner."""
    if not isinstance(error, ValueError):
        return "no sentence to a learner"
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    where = Path(trace.tb_frame.f_code.co_filename)
    line = linecache.getline(str(where), trace.tb_lineno).strip()
    if not where.is_relative_to(ROOT) or not line.startswith("raise "):
        return f"not the course's own sentence, but from {where}: {line}"
    summary = re.search("<summary>(.*?)</summary>", shown, re.DOTALL)
    if not summary or not summary[1].strip() or "Traceback" in summary[1] or len(summary[1]) > 1000:
        return "no readable sentence"
    return ""


def busy() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("course-")]


def check_frame(card) -> None:
    """What is sent to the browser is JSON as it reads it, and no sentence tells of a number that is none."""
    skeleton, content, _ = card.figure._last
    json.dumps([skeleton, content], allow_nan=False)
    status = content["status"]
    assert not re.search(r"\b(nan|None)\b", status) or "Diverged at step" in status, status


def check_dials(card) -> None:
    for dial in (part for part in parts_of(card.box) if isinstance(part, Dial)):
        control, value = dial.control, dial.value
        words = f"{dial.description} stands at {value!r} (slider {dial.slider.value!r}, box {dial.box.value!r})"
        assert math.isfinite(value) and value >= 0 and dial.box.value == value, words
        assert not control.firm or control.low <= value <= control.high, words
        assert not control.whole or value == round(value), words


def check_training(card) -> None:
    """A training panel is in order, and its Reset and Step work."""
    card.buttons["pause"].click()
    assert not busy(), "a thread is left after Pause"
    check_runs(card)
    told = card.figure._last[1]["status"]
    assert told, "it says nothing"
    card.buttons["reset"].click()
    card.buttons["step"].click()
    until(lambda: not card.session.running and not busy(), "one step")
    check_runs(card)
    told = card.figure._last[1]["status"]
    if card.session.step_count == 0:
        assert "Not started: it needs about" in told or card.error, told
        return
    losses = [run.history["loss"].last for run in card.session.runs]
    if card.session.status == "diverged":
        assert "Diverged at step" in told, told
    else:
        assert all(map(math.isfinite, losses)), losses


def check_runs(card) -> None:
    assert card.session.status in STATES
    for run in card.session.runs:
        run.read_mailbox()
        for name, value in run.knobs.items():
            assert value >= 0 and (math.isfinite(value) or name == "clip"), f"{name} is {value!r}"
            dial = card.knobs.get(name)
            assert dial is None or value == dial.value, f"{name} is {value!r}, its dial says {dial.value!r}"


def check_explorer(card) -> None:
    """An explorer has come to rest, and shows something."""
    if getattr(card, "_worker", None) is not None:
        card.buttons["act"].click()
    until(lambda: not busy(), "Stop")
    assert card.figure._last[1]["status"] or card.error, "it says nothing"


def check(card) -> None:
    check_dials(card)
    if is_training(card):
        check_training(card)
    elif is_panel(card):
        check_explorer(card)
