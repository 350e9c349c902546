"""What a learner writes, in the page: it trains, its error shows its line, and the mended cell trains again."""

import os

import pytest

from tests.browser.conftest import CELLS, write_notebook

WRONG = """
from torch.nn import functional as F

def my_loss(model, batch):
    logits = model(batch[0])
    return F.cross_entropy(logits.T, batch[1])
"""
RIGHT = """
from torch.nn import functional as F

calls = 0

def my_loss(model, batch):
    global calls
    calls += 1
    print("call", calls)
    return F.cross_entropy(model(batch[0]), batch[1]) * 1
"""
ENDLESS = """
def my_loss(model, batch):
    while True:
        pass
"""
PANEL = """
panel = TrainingPanel(recipe, title="Mine", loss=my_loss)
panel
"""
SET_SOURCE = """([index, text]) => {
  window.jupyterapp.shell.currentWidget.content.widgets[index].model.sharedModel.setSource(text);
}"""
RUN = """async (index) => {
  window.jupyterapp.shell.currentWidget.content.activeCellIndex = index;
  await window.jupyterapp.commands.execute('notebook:run-cell');
}"""


@pytest.fixture
def mine(open_notebook, server):
    write_notebook(server.folder / "mine.ipynb", [CELLS[0], WRONG, PANEL])
    notebook = open_notebook("mine.ipynb")
    notebook.run_all()
    return notebook


def rewrite(notebook, text):
    """Write the loss anew, and run its cell and the panel's."""
    notebook.page.evaluate(SET_SOURCE, [1, text.strip()])
    notebook.page.evaluate(RUN, 1)
    notebook.run_panel_cell(2)
    return notebook.panel("Mine")


def test_a_learners_loss_fails_is_mended_and_trains(mine):
    panel = mine.panel("Mine")
    panel.drawn()
    panel.box.get_by_text("This panel trains with `my_loss` as its loss: yours.").wait_for()
    panel.click("Start")
    error = panel.box.locator(".cu-error summary")
    error.wait_for()
    assert "line 5: `return F.cross_entropy(logits.T, batch[1])`" in error.inner_text()
    assert "the model's output a tensor of shape (8, 3)" in error.inner_text()
    panel.wait_status("ready")
    assert mine.trainers() == 0

    panel = rewrite(mine, RIGHT)
    panel.click("Start")
    panel.wait_step(20)
    panel.box.get_by_text("call 1").first.wait_for()
    assert panel.box.locator(".cu-error").count() == 0
    panel.wait(lambda: ": the same." in panel.status(), "the comparison with the recipe's loss")
    panel.click("Pause")
    panel.wait_status("ready")
    assert int(mine.run_code("print(calls == panel.session.step_count)").strip() == "True")
    panel.click("Code")
    code = panel.box.locator(".cu-code").inner_text()
    assert "def my_loss(model, batch):" in code and "replace(recipe(), loss=my_loss)" in code

    panel = rewrite(mine, ENDLESS)
    panel.click("Start")
    panel.wait_status("running")
    panel.click("Pause")
    panel.box.get_by_text("did not come back, and was ended at line").first.wait_for()
    assert mine.trainers() == 0


STORIES = """
from functools import partial
from chapters.finetuning.panel_finetuning import question_panel
from chapters.stories import story_panel, story_recipe
from course_utils.live import LossView

story_panel(title="To be kept", recipe=partial(story_recipe, stories=75, measured=False), views=[LossView()],
            settings=["width"], keep=True)
"""
QUESTIONS = """
question_panel(title="Asked", settings=["start"])
"""


def test_a_model_is_kept_by_its_button_and_the_next_panel_starts_from_it(open_notebook, server):
    write_notebook(server.folder / "keeps.ipynb", [STORIES, QUESTIONS])
    notebook = open_notebook("keeps.ipynb")
    notebook.run_all()
    asked, panel = notebook.panel("Asked"), notebook.panel("To be kept")
    start = asked.box.locator(".cu-row select").first
    start.select_option("mine")
    asked.box.locator(".cu-error summary", has_text="there is no model of yours in").wait_for()
    panel.drawn()
    panel.click("Keep as mine")
    panel.wait(lambda: "Nothing to keep yet: press Start first." in panel.status(), "word that there is none")
    panel.click("Start")
    panel.wait_step(5)
    keep = panel.box.locator("button", has_text="Keep as mine")
    assert "for other notebooks" in keep.get_attribute("title")
    keep.focus()
    panel.page.keyboard.press("Enter")
    panel.wait(lambda: "Kept as mine: " in panel.status(), "word that it is kept")
    told = panel.status().partition("Kept as mine: ")[2]
    panel.click("Keep as mine")
    panel.wait(lambda: panel.status().endswith(f"In place of the one before: {told}"), "word of the one before")
    assert sorted(os.listdir(server.log.parent / "home" / "models")) == ["story_gpt.md", "story_gpt.safetensors"]
    start.select_option("scratch")
    start.select_option("mine")
    asked.wait(lambda: f"mine: {told}" in asked.status(), "the name of the model")
    assert asked.box.locator(".cu-error").count() == 0
