"""One server and one browser for all browser tests."""

import itertools
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import sync_playwright

from tests.browser.lab import CHROMIUM_ARGS, ROOT, Notebook, Server, chromium

numbers = itertools.count()
# A line of a traceback. Jupyter has some of its own in the log, of pages that have left and kernels that start.
OURS = re.compile(r'File ".*/(?:course_utils|chapters)/.*')
CELLS = [
    """
import time
import torch
from course_utils import figures, runtime
from course_utils.live import *
from course_utils.models import MLP
from course_utils.training import Experiment

DATA = torch.randn(64, 4, generator=runtime.generator(0)), torch.arange(64) % 3

def batches(generator, *, batch_size=8):
    chosen = torch.randint(64, (int(batch_size),), generator=generator)
    return DATA[0][chosen], DATA[1][chosen]

def recipe(*, width=16):
    return Experiment(model=lambda g: MLP([4, width, 3]), batches=batches, knobs={"lr": 0.01}, steps=10**7,
                      measures={"text": lambda m, g: "<b>bold</b>"}, levels={"ln 3": 1.0986})
""",
    """
panel = TrainingPanel(recipe, title="First panel", settings=["width"], knobs=["lr", "weight_decay"],
                      views=[LossView(), TextView(title="Sample", name="text")])
panel
""",
    """
def bent(*, power):
    x = torch.linspace(0, 1, 50).numpy()
    line = figures.Series(name="x", x=x, y=x**power)
    return Shown(figures=[figures.lines([line], title="Powers", x_title="x", y_title="y")], summary=f"power {power}")

Explorer(bent, title="Explorer", controls={
    "power": (Slider(label="power", help="How bent.", low=1, high=5, step=1, whole=True), 2)})
""",
    """
TrainingPanel(recipe, title="Second panel")
""",
]
PICKER = [
    """
from chapters.pretraining.picker import FilePicker

taken = []
FilePicker(label="A text:", limit=1000, on_file=lambda name, content: taken.append((name, content)),
           on_refused=taken.append)
""",
]
TABLES = [
    """
from chapters.start.course_map import course_map

course_map()
""",
    """
from course_utils.live import Explorer, Shown

HEAD = "          "  # nothing stands above the names

def table(columns):
    rows = ["".join([start, *(f"{n:>8}" for n in range(columns))]) for start in (HEAD, f"{'first':10}")]
    return Shown(texts=[("A table", "\\n".join(rows))])

Explorer(lambda: table(7), title="Fits", controls={})
""",
    """
Explorer(lambda: table(12), title="Too wide", controls={})
""",
]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Print what failed when it fails: these tests take long, and their end may not be seen."""
    report = yield
    if report.failed:
        terminal = item.config.pluginmanager.get_plugin("terminalreporter")
        terminal.write_line(f"\n{item.nodeid}, {report.when}:\n{report.longreprtext}")
    return report


def write_notebook(path, texts):
    """A notebook of these code cells."""
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in texts]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", home / "notebooks", ignore=shutil.ignore_patterns(".*", "src"))
    write_notebook(home / "notebooks" / "panels.ipynb", CELLS)
    write_notebook(home / "notebooks" / "picker.ipynb", PICKER)
    write_notebook(home / "notebooks" / "tables.ipynb", TABLES)
    running = Server(home / "notebooks", home / "server.log")
    yield running
    running.close()
    assert OURS.findall(running.log.read_text()) == []


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGS)
        yield started
        started.close()


def open_copy(browser, server, name, **size):
    copy = f"{Path(name).stem}-{next(numbers)}.ipynb"  # a test that saves leaves the others' notebook alone
    shutil.copy(server.folder / name, server.folder / copy)
    return Notebook(browser, server, copy, **size)


@pytest.fixture
def open_notebook(browser, server):
    """Opens a notebook of the server's folder; after the test, its page must have had no error."""
    opened = []

    def open_(name, **size):
        opened.append(open_copy(browser, server, name, **size))
        return opened[-1]

    yield open_
    for notebook in opened:
        notebook.close()
        assert notebook.errors == []


@pytest.fixture(scope="session")
def shared(browser, server):
    """A page with panels, for all tests that leave it as they found it."""
    notebook = open_copy(browser, server, "panels.ipynb")
    notebook.run_all()
    yield notebook
    notebook.close()
