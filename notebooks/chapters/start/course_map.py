"""The course at a glance: its notebooks, and how much of each this learner has done."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path

import ipywidgets as widgets

from course_utils.lesson.cards import LessonCard, rich
from course_utils.lesson.progress import Progress, Record, my_progress

NOTEBOOKS = {
    "00": "Start here",
    "01": "Pretraining",
    "02": "Fine-tuning",
    "03": "Distillation",
    "04": "Initialization",
}
LOOKS = """<style>
.course-card .jp-OutputArea-output { padding: 0; background: none; }
.course-card table { margin: 6px 0; font-size: var(--jp-content-font-size1); }
.course-card th, .course-card td { text-align: left !important; padding: 3px 24px 3px 0; }
.course-card th { font-weight: 600; }
</style>"""
COLUMNS = ("Notebook", "Predictions", "Exercises", "Quiz")
TASKS = ("predict", "check", "quiz")  # the calls whose first argument names something that can be done


@dataclass(frozen=True)
class Contents:
    """What can be done in a notebook: the names of its predictions, exercises and quizzes."""

    predict: frozenset[str] = frozenset()
    check: frozenset[str] = frozenset()
    quiz: frozenset[str] = frozenset()


def contents(notebook: Path) -> Contents:
    """Read a notebook's code for `predict("name", ...)`, `check("name", ...)` and `quiz("name", ...)`."""
    found: dict[str, set[str]] = {task: set() for task in TASKS}
    for source in _code_cells(notebook):
        try:
            tree = ast.parse(source)
        except SyntaxError:  # a magic command, or the learner's unfinished line
            continue
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
                continue
            called = getattr(node.func, "id", getattr(node.func, "attr", None))
            if called in found and isinstance(node.args[0].value, str):
                found[called].add(node.args[0].value)
    return Contents(**{task: frozenset(names) for task, names in found.items()})


def _code_cells(notebook: Path) -> list[str]:
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError):  # half saved, or no notebook at all: nothing to count
        return []


def course_map() -> CourseMap:
    """Show the notebooks beside this one with what is done of each, and a button that forgets it."""
    return CourseMap(Path.cwd(), my_progress())


class CourseMap(LessonCard):
    """A table of the course. What is done in another kernel appears when the cell runs again."""

    def __init__(self, folder: Path, progress: Progress):
        self.progress = progress
        self.files = {number: min(folder.glob(f"{number}_*.ipynb"), default=None) for number in NOTEBOOKS}
        self.contents = {number: contents(file) for number, file in self.files.items() if file}
        self.table = widgets.Output()  # its links open as tabs; those of an HTML widget reload the page
        self.forget = widgets.Button(description="Forget my progress")
        self.really = widgets.Button(description="Yes, forget all of it", button_style="danger")
        self.keep = widgets.Button(description="Keep it")
        titles = " · ".join(f"{number} {title}" for number, title in NOTEBOOKS.items())
        looks = widgets.HTML(LOOKS, layout={"display": "none"})
        buttons = widgets.HBox([self.forget, self.really, self.keep])
        super().__init__("map", "Your way through the course", f"Course map: {titles}", [looks, self.table, buttons])
        self.forget.on_click(self.guard(lambda _: self._ask(True)))
        self.keep.on_click(self.guard(lambda _: self._ask(False)))
        self.really.on_click(self.guard(self._forget))
        self._ask(False)
        self.refresh()
        progress.watch("map", self.guard(self.refresh))
        self.tell(progress.take_notice())

    def _ask(self, asking: bool) -> None:
        for button, shown in ((self.forget, not asking), (self.really, asking), (self.keep, asking)):
            button.layout.display = None if shown else "none"

    def _forget(self, _button) -> None:
        self.progress.forget()
        self._ask(False)
        self.tell(self.progress.take_notice())

    def refresh(self) -> None:
        with self.lock:
            record = self.progress.read()
            rows = [self._row(number, record) for number in NOTEBOOKS]
            head = "".join(f'<th scope="col">{column}</th>' for column in COLUMNS)
            data = {"text/html": f"<table><tr>{head}</tr>{''.join(rows)}</table>", "text/plain": self.summary}
            self.table.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)

    def _row(self, number: str, record: Record) -> str:
        title, file = f"{number} {NOTEBOOKS[number]}", self.files[number]
        if file is None:
            cells = f'<th scope="row">{rich(title)}</th><td colspan="3">to come</td>'
            return f'<tr class="course-quiet">{cells}</tr>'
        here = self.contents[number]
        done = [
            _share(len(here.predict & record.predictions.keys()), len(here.predict)),
            _share(len(here.check & record.exercises), len(here.check)),
            ", ".join(_score(record, name) for name in sorted(here.quiz)) or "none",
        ]
        link = f'<a href="{rich(file.name)}">{rich(title)}</a>'
        return f'<tr><th scope="row">{link}</th>{"".join(f"<td>{cell}</td>" for cell in done)}</tr>'


def _share(done: int, of: int) -> str:
    return f"{done} of {of}{' ✓' if done == of else ''}" if of else "none"


def _score(record: Record, quiz: str) -> str:
    right, of = record.quizzes.get(quiz, (0, 0))
    return f"{right} of {of} right" if of else "not yet"
