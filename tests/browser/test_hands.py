"""What a learner writes, in the page: it trains, its error shows its line, and the mended cell trains again."""

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
