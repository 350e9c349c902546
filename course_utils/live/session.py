"""Runs in training on a thread of their own, steered from outside by a mailbox."""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Callable

from IPython import get_ipython

from course_utils.live.workshop import Workshop
from course_utils.training import Cost, Experiment, Run, estimate

FRAME_SECONDS = 0.1
HAND_SECONDS = 0.25  # after a moved knob: while a hand is on it, the next move's picture shall not have to wait
SWITCH_SECONDS = 0.0005  # how long other threads, which carry messages and pictures, may have to wait for Python

_one_at_a_time = threading.RLock()  # taken before any session's own lock
_training: Session | None = None


class Session:
    """Trains one experiment (over one or more seeds) on its own thread, and calls ``draw`` about ten times a second.

    ``draw`` says whether it drew: if nobody could take a picture yet, it is called again after the next step.

    Only the training thread touches the models while it runs. All methods may be called from any thread, and
    return at once, or within one training step. Starting a session pauses any other: on two cores, two
    trainings at once would only slow each other down.
    """

    def __init__(self, draw: Callable[[], bool], fail: Callable[[BaseException], None],
                 workshop: Workshop | None = None):  # fmt: skip
        self._draw, self._fail, self._workshop = draw, fail, workshop or Workshop([])
        self._control = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.runs: list[Run] = []
        self.rate = 0.0  # steps a second, over the last second or so

    def load(self, experiment: Experiment, seeds: list[int]) -> None:
        """Throw the present runs away and prepare new ones, at step 0."""
        with self._control:
            self.pause()
            self.runs = [experiment.start(seed) for seed in seeds]
            self.rate = 0.0

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def status(self) -> str:
        """ "running", "ready", "finished" or "diverged"; a group has finished when none of its runs can go on."""
        if self.running:
            return "running"
        return self._open_status()

    def _open_status(self) -> str:
        states = {run.status for run in self.runs}
        return "ready" if "ready" in states else "diverged" if "diverged" in states else "finished"

    @property
    def step_count(self) -> int:
        return max((run.step_count for run in self.runs), default=0)

    def start(self, steps: int | None = None) -> None:
        """Train on, for a number of steps or to the end. Nothing happens if it trains already, or has ended."""
        global _training
        with _one_at_a_time, self._control:
            if self.running or self._open_status() != "ready":
                return
            other, _training = _training, self
            if other is not None and other is not self:
                other.pause()
            self._stop.clear()
            self._thread = threading.Thread(target=self._train, args=(steps,), name="course-training", daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """Stop after the present step, and wait for it."""
        with self._control:
            thread = self._thread
            self._stop.set()
            if thread is not None and thread is not threading.current_thread():
                self._workshop.wait(thread)
                self._thread = None

    def stop(self) -> None:
        """Stop after the present step, without waiting for it: for the training thread itself."""
        self._stop.set()

    def set(self, knob: str, value: float) -> None:
        """Move a knob of every run; takes effect at the next step."""
        for run in self.runs:
            run.set(knob, value)

    def estimate(self, experiment: Experiment) -> Cost | None:
        """What a step costs, measured on a throwaway copy; None while training."""
        with self._control:
            return None if self.running else estimate(experiment)

    def _train(self, steps: int | None) -> None:
        usual = sys.getswitchinterval()
        _leave_no_trace()
        try:
            sys.setswitchinterval(SWITCH_SECONDS)
            with self._workshop.open():
                self._loop(steps)
        except BaseException as error:  # shown in the panel; a thread's own exceptions reach nobody
            self._fail(error)
        finally:
            sys.setswitchinterval(usual)
            self._thread = None
            self._draw()

    def _loop(self, steps: int | None) -> None:
        done, counted, since = 0, 0, time.perf_counter()
        moved, next_frame = False, 0.0
        while not self._stop.is_set() and (steps is None or done < steps) and self._open_status() == "ready":
            ready = [run for run in self.runs if run.status == "ready"]
            # A moved knob is marked on the curve at once, before the step that shows what it does.
            moved = any([run.read_mailbox() for run in ready]) or moved
            if (moved or time.perf_counter() >= next_frame) and self._draw():
                next_frame = time.perf_counter() + (HAND_SECONDS if moved else FRAME_SECONDS)
                moved = False
            for run in ready:
                run.step()
            done, counted = done + 1, counted + 1
            now = time.perf_counter()
            if now - since > 0.5:
                self.rate, since, counted = counted / (now - since), now, 0


def _leave_no_trace() -> None:
    """Let this thread's messages name no request that they answer.

    ipykernel 7.4.0 sends what a page says of a widget to the subshell whose request the kernel's last word on that
    widget answered. A thread's words answer the newest request there was; after a reload nobody listens there.
    """
    parent = getattr(getattr(get_ipython(), "kernel", None), "_shell_parent", None)
    if parent is not None:
        parent.set({})


@atexit.register
def _end() -> None:
    """End a run before its kernel ends: it would draw a picture into a connection that has just been closed."""
    if _training is not None:
        _training.pause()
