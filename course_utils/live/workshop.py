"""The thread on which a learner's code trains: what it prints is kept, and what never comes back is ended."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from collections import deque
from collections.abc import Iterator
from types import CodeType

from course_utils.learner import quoted

LINES, COLUMNS = 8, 200  # of what was printed, the end
PATIENCE = 3.0  # seconds that a step may go on after Pause, before it counts as one that never comes back


class NeverBack(BaseException):
    """Ends a learner's function that is still at it long after Pause; no ``except Exception`` holds it."""


class Workshop:
    """codes: the learner's code objects; without any, nothing is caught and nothing is ended."""

    def __init__(self, codes: list[CodeType]):
        self.codes = codes
        self._lines: deque[str] = deque(maxlen=LINES)
        self._begun = ""
        self._ended_at = ""

    @property
    def printed(self) -> str:
        """The last lines that were printed."""
        return "\n".join([*self._lines, *([self._begun] if self._begun else [])])

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Around the training, on its thread: sys.stdout and breakpoint() are this thread's meanwhile."""
        if not self.codes:
            yield
            return
        usual, hook = sys.stdout, sys.breakpointhook
        heard = _Heard(usual, self._hear)
        sys.stdout, sys.breakpointhook = heard, _refuse_to_break(hook)
        try:
            yield
        except NeverBack:
            raise NeverBack(f"your code did not come back, and was ended at {self._ended_at}") from None
        finally:
            if sys.stdout is heard:
                sys.stdout = usual
            sys.breakpointhook = hook

    def _hear(self, text: str) -> None:
        *whole, self._begun = (self._begun + text).split("\n")
        self._lines.extend(line[:COLUMNS] for line in whole)
        self._begun = self._begun[-COLUMNS:]

    def wait(self, thread: threading.Thread) -> None:
        """Wait for the end of the thread's step; a learner's function that does not come back is ended."""
        if not self.codes:
            thread.join()
            return
        thread.join(PATIENCE)
        while thread.is_alive():
            line = self._line(thread)
            if line:
                self._ended_at = line
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(NeverBack))
            thread.join(1.0)

    def _line(self, thread: threading.Thread) -> str:
        """Where in the learner's code the thread is, or ""."""
        frame = sys._current_frames().get(thread.ident)
        while frame is not None and frame.f_code not in self.codes:
            frame = frame.f_back
        return quoted(frame.f_code.co_filename, frame.f_lineno) if frame is not None else ""


class _Heard:
    """In the place of sys.stdout: what one thread writes goes to ``hear``, all else where it went."""

    def __init__(self, usual, hear):
        self._usual, self._hear, self._thread = usual, hear, threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() != self._thread:
            return self._usual.write(text)
        self._hear(str(text))
        return len(text)

    def __getattr__(self, name: str):
        return getattr(self._usual, name)


def _refuse_to_break(hook):
    trains = threading.get_ident()

    def breakpoint_hook(*args, **kwargs):
        if threading.get_ident() == trains:
            raise RuntimeError("breakpoint() has no prompt where a panel trains: print, or call the function in a cell")
        return hook(*args, **kwargs)

    return breakpoint_hook
