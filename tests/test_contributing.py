"""CONTRIBUTING's example of a section, followed to the letter: its files are written, its study and notebook run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"`([\w/]+\.py)`:\n\n```python\n(.*?)```", re.DOTALL)
FILES = dict(BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()))


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A copy of the course with the section in it, and a function that runs Python there."""
    copy = tmp_path_factory.mktemp("course")
    for folder in ("course_utils", "notebooks", "tools", "tests/answers"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for file in ("pyproject.toml", "tests/test_exercises.py", "tests/test_wired.py"):
        shutil.copy(ROOT / file, copy / file)
    (copy / "tests/__init__.py").touch()
    for name, text in FILES.items():
        earlier = (copy / name).read_text() + "\n\n" if (copy / name).exists() else ""
        (copy / name).write_text(earlier + text)

    def run(*arguments):
        environment = os.environ | {"PYTHONPATH": f"{copy}:{copy}/notebooks"}
        done = subprocess.run([sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    run("-m", "tools.run_studies", "momentum")
    run("-m", "tools.build_notebooks", "00_start_here")
    return copy, run


def test_a_section_takes_at_most_five_files_in_two_folders():
    assert len(FILES) <= 5 and {name.split("/")[0] for name in FILES} <= {"notebooks", "tests"}


def test_its_study_is_stored_and_its_notebook_shows_the_claim_the_panel_and_the_verdicts(course):
    copy, _ = course
    rows = json.loads((copy / "notebooks/chapters/start/results/momentum.json").read_text())["rows"]
    assert len(rows) == 16
    cells = nbformat.read(copy / "notebooks/00_start_here.ipynb", 4).cells
    outputs = [output for cell in cells[-8:] for output in cell.get("outputs", [])]
    shown = "".join(output.get("text", "") for output in outputs)
    assert "● after 200 steps at one learning rate" in shown
    assert "not yet: " in shown and "✓ a step with momentum: right" in shown
    assert any("Digits, with and without momentum: a live panel." in output.get("data", {}).get("text/plain", "")
               for output in outputs)  # fmt: skip


def test_its_check_takes_the_right_answers_and_names_the_mistakes(course):
    _, run = course
    said = run("-c", """
import re
from chapters.start import checks
from course_utils.lesson import judge
from tests.answers import start
assert all(judge("momentum-step", one).passed for one in start.RIGHT["momentum-step"])
for answer, hint in start.WRONG["momentum-step"]:
    verdict = judge("momentum-step", answer)
    assert not verdict.passed and re.search(hint, verdict.line), verdict.line
print("judged")
""")
    assert said == "judged\n"


def test_what_is_written_there_is_used(course):
    _, run = course
    assert "2 passed" in run("-m", "pytest", "-q", "tests/test_wired.py", "-k", "momentum or each_exercise")


def test_its_files_are_in_the_courses_style(course):
    copy, run = course
    run("-m", "ruff", "check", *FILES)
