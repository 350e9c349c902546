"""The course where learners have it: installed, with a notebook of their own; and copied to a home."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
START = "00_start_here.ipynb"
WHERE = "import chapters.start, course_utils; print(chapters.start.__file__); print(course_utils.__file__)"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The course as pip installs it, not as an editable one."""
    source, target = tmp_path_factory.mktemp("clone") / "course", tmp_path_factory.mktemp("env") / "site-packages"
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        if (ROOT / name).exists() and not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return target


def run(folder, path):
    """Run the start page in a folder; where its kernel finds the course."""
    notebook = nbformat.read(folder / START, 4)
    notebook.cells.append(nbformat.v4.new_code_cell(WHERE))
    os.environ["PYTHONPATH"] = str(path)  # nbclient's kernels have this process's environment
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return [Path(line) for line in notebook.cells[-1].outputs[0].text.splitlines()]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))


def test_a_notebook_alone_runs_with_the_installed_course(installed, tmp_path):
    shutil.copy(ROOT / "notebooks" / START, tmp_path / START)
    chapter, engine = run(tmp_path, installed)
    assert chapter.is_relative_to(installed) and engine.is_relative_to(installed)


def test_a_copied_folder_of_notebooks_runs_with_its_own_chapters(installed, tmp_path):
    home = tmp_path / "home of a learner" / "notebooks"
    shutil.copytree(ROOT / "notebooks", home, ignore=shutil.ignore_patterns("src", ".*"))
    chapter, engine = run(home, installed)
    assert chapter.is_relative_to(home) and engine.is_relative_to(installed)


def test_the_installed_course_has_what_its_studies_stored_and_what_its_panels_draw_with(installed):
    for folder, base in (("course_utils", ROOT), ("chapters", ROOT / "notebooks")):
        kept = [path.relative_to(base) for path in (base / folder).rglob("*")
                if path.suffix in {".json", ".js", ".css", ".safetensors", ".md", ".py"}]  # fmt: skip
        assert kept and [str(name) for name in kept if not (installed / name).exists()] == []
