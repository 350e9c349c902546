"""What this learner has done, kept in one small JSON file that never stands in the way."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

FILE_NAME = ".progress.json"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A choice made before the run: the first, the last, and whether the answer has been shown since."""

    first: str
    last: str
    revealed: bool = False


@dataclass(frozen=True, kw_only=True)
class Record:
    """All that is remembered: predictions, solved exercises, and quizzes as (right, questions)."""

    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    exercises: frozenset[str] = frozenset()
    quizzes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def to_json(self) -> str:
        raw = {
            "predictions": {name: asdict(made) for name, made in self.predictions.items()},
            "exercises": sorted(self.exercises),
            "quizzes": {name: list(score) for name, score in self.quizzes.items()},
        }
        return json.dumps(raw, indent=1, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Record:
        """The inverse of `to_json`; ValueError for any other text."""
        try:
            raw = json.loads(text)
            predictions = {name: Prediction(**made) for name, made in raw["predictions"].items()}
            quizzes = {name: (right, of) for name, (right, of) in raw["quizzes"].items()}
            exercises = frozenset(list.copy(raw["exercises"]))  # a string would pass for a list of letters
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a progress file: {error}") from error
        values = {
            str: [*exercises, *(text for made in predictions.values() for text in (made.first, made.last))],
            bool: [made.revealed for made in predictions.values()],
            int: [number for score in quizzes.values() for number in score],
        }
        if any(type(value) is not kind for kind, found in values.items() for value in found):
            raise ValueError("not a progress file: a value of another kind")
        return Record(predictions=predictions, exercises=exercises, quizzes=quizzes)


class Progress:
    """A `Record` and its file: read before each change, written after it, safe to call from any thread.

    The file is replaced as a whole, so it is never half written. A file that was read and makes no sense is kept aside
    as `.damaged`. One that cannot be read is left alone. Then, and where nothing can be written, everything goes on in
    memory and `take_notice` says so, once. A folder that was there is never made again: it may have been renamed.
    Two kernels may share a file, because each reads it again before it adds something.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._has_folder = self.path.parent.exists()
        self._may_write = True  # never over what could not be read
        self._lock = threading.RLock()
        self._record = Record()
        self._in_file = True  # whether the file, if there is one, knows all that memory knows
        self._said: set[str] = set()
        self._notices: list[str] = []
        self._watchers: dict[Hashable, Callable[[], None]] = {}

    def leave_alone(self, why: str) -> None:
        """Go on in memory, without the file."""
        self._in_file = self._may_write = False
        self._say(f"The progress file {self.path} {why}: your progress is kept until this kernel stops.")

    def read(self) -> Record:
        """The newest record, from the file where it can be read."""
        with self._lock:
            if self._in_file:
                self._load()
            return self._record

    def predict(self, name: str, option: str) -> None:
        """Record a choice. The first one is kept beside the last; after `reveal` nothing changes any more."""

        def chosen(made: Prediction | None) -> Prediction:
            made = made or Prediction(first=option, last=option)
            return made if made.revealed else replace(made, last=option)

        self._enter("predictions", name, chosen)

    def reveal(self, name: str) -> None:
        """The answer is on the screen: the prediction, if there is one, can no longer change."""
        self._enter("predictions", name, lambda made: made and replace(made, revealed=True))

    def solve(self, name: str) -> None:
        """Record that an exercise's check passed."""
        self._change(lambda record: replace(record, exercises=record.exercises | {name}))

    def score(self, name: str, right: int, of: int) -> None:
        """Record a quiz's score, unless an earlier one was better."""
        self._enter("quizzes", name, lambda best: max((right, of), best or (0, of)))

    def forget(self) -> None:
        """Start from nothing, in the file too."""
        self._change(lambda record: Record())

    def watch(self, key: Hashable, callback: Callable[[], None]) -> None:
        """Call back after each change; a later watcher with the same key takes the earlier one's place."""
        with self._lock:
            self._watchers[key] = callback

    def take_notice(self) -> str:
        """What the learner must be told about the file, or ""; each thing is said once."""
        with self._lock:
            text, self._notices = " ".join(self._notices), []
            return text

    def _enter(self, part: str, name: str, value: Callable) -> None:
        """Record what `value` makes of what stands under a name so far, None if nothing does; None changes nothing."""

        def change(record: Record) -> Record:
            known = getattr(record, part)
            new = value(known.get(name))
            return record if new is None else replace(record, **{part: {**known, name: new}})

        self._change(change)

    def _change(self, change: Callable[[Record], Record]) -> None:
        with self._lock:
            before = self.read()
            self._record = change(before)
            if self._record == before:
                return
            self._save()
            watchers = list(self._watchers.values())
        for callback in watchers:  # without the lock: a watcher may wait for another thread that needs it
            callback()

    def _load(self) -> None:
        try:
            self._record = Record.from_json(self.path.read_text(encoding="utf-8-sig"))  # Windows' editor marks it
        except FileNotFoundError:
            if self._record != Record() and self.path.parent.exists():
                self._say(f"The progress file {self.path.name} is gone; your next step writes it again.")
        except ValueError:
            self._set_aside()
        except OSError as error:
            self.leave_alone(f"cannot be read ({error.strerror or error})")

    def _set_aside(self) -> None:
        """Move a damaged file out of the way."""
        aside = self.path.with_name(self.path.name + ".damaged")
        try:
            while aside.exists():  # an earlier one may hold more than this one
                aside = aside.with_name(aside.name + ".damaged")
            os.replace(self.path, aside)
        except OSError:
            self.leave_alone("is damaged")
        else:
            self._say(f"The progress file {self.path.name} is damaged. It is kept as {aside.name}; a new one is begun.")

    def _save(self) -> None:
        if not self._may_write:
            return
        temporary = None
        try:
            if not self._has_folder:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._has_folder = True
            target = self.path.resolve()  # a link stays a link
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".tmp")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(self._record.to_json())
            os.replace(temporary, target)
            self._in_file = True
        except OSError as error:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            self._in_file = False
            why = f"cannot be written ({error.strerror or error})"
            self._say(f"The progress file {self.path} {why}: your progress is kept until this kernel stops.")

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._notices.append(text)


_opening = threading.Lock()


def my_progress() -> Progress:
    """This learner's progress: the file named in COURSE_PROGRESS, or `.progress.json` beside the notebook."""
    with _opening:  # two threads must not open one file as two records
        return _open_once(os.environ.get("COURSE_PROGRESS") or FILE_NAME)


@functools.cache
def _open_once(path: str) -> Progress:
    try:
        return Progress(Path(path).expanduser().absolute())  # absolute: a later os.chdir must not move it
    except (RuntimeError, OSError) as error:  # no home folder, or the present folder is gone
        nowhere = Progress(path)
        nowhere.leave_alone(f"has no place ({error})")
        return nowhere
