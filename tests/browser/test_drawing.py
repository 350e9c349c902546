"""The grid of the soft-label explorer in a real browser: drawn on with the mouse, a finger and the keyboard."""

import nbformat
import pytest

from chapters.distillation import drawing
from tests.browser.conftest import open_copy

CELL = "from chapters.distillation.panel_soft_labels import soft_label_panel\nsoft_label_panel()"


@pytest.fixture(scope="module")
def page(browser, server):
    """A page with the explorer alone, for all tests here."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)], metadata=kernel)
    nbformat.write(made, server.folder / "drawing.ipynb")
    notebook = open_copy(browser, server, "drawing.ipynb")
    notebook.run_all()
    notebook.panel("What a teacher says").drawn()
    yield notebook
    notebook.close()
    assert notebook.errors == []


@pytest.fixture
def panel(page):
    panel = page.panel("What a teacher says")
    panel.click("Defaults")
    panel.wait(lambda: "Image 4: its label" in said(panel), "the first image")
    yield panel
    assert panel.box.locator(".cu-error").count() == 0


def said(panel):
    """What the picture of the bars says in words."""
    return panel.box.locator(".cu-plot").first.get_attribute("aria-label")


def ink(panel):
    """The 64 pixels as they are shown, 0 to 16."""
    shown = "nodes => nodes.map((node) => 16 * Number(getComputedStyle(node).opacity))"
    return [round(one) for one in panel.box.locator(".cu-pixel").evaluate_all(shown)]


def empty(panel):
    panel.click("Clear")
    panel.wait(lambda: "Empty" in said(panel) and sum(ink(panel)) == 0, "an empty grid")


def draw(panel, lines):
    """Draw lines of points (x, y), in pixels of the grid, with the mouse."""
    box, mouse = panel.box.locator(".cu-pixels").bounding_box(), panel.page.mouse
    for line in lines:
        first, *rest = [(box["x"] + x * box["width"] / 8, box["y"] + y * box["height"] / 8) for x, y in line]
        mouse.move(*first)
        mouse.down()
        for place in rest:
            mouse.move(*place)
        mouse.up()


@pytest.mark.parametrize("digit", [0, 4, 7])
def test_a_digit_drawn_with_the_mouse_is_recognized(panel, digit):
    empty(panel)
    draw(panel, drawing.DIGITS[digit])
    panel.wait(lambda: f"Your drawing. Most likely {digit}" in said(panel), f"a {digit}")
    wanted = (16 * drawing.drawn(digit)).tolist()
    assert max(abs(a - b) for a, b in zip(ink(panel), wanted, strict=True)) <= 2, "the same pen as in the course"


def test_a_picked_image_is_changed_and_had_again(panel):
    before, pixels = said(panel), ink(panel)
    draw(panel, [[(1, 1), (7, 7)]])
    panel.wait(lambda: "Image 4, changed: it was a" in said(panel), "the changed image")
    assert all(now >= then for now, then in zip(ink(panel), pixels, strict=True)) and ink(panel) != pixels
    panel.click("Image again")
    panel.wait(lambda: said(panel) == before and ink(panel) == pixels, "the image as it was")


def test_shift_erases(panel):
    panel.page.keyboard.down("Shift")
    draw(panel, [[(x, 0.5), (x, 7.5)] for x in range(9)])
    panel.page.keyboard.up("Shift")
    panel.wait(lambda: sum(ink(panel)) == 0, "nothing left")


def test_the_keys_paint_and_erase_and_leave_the_notebook_alone(panel):
    empty(panel)
    keys = panel.page.keyboard
    panel.box.locator(".cu-pixels").focus()
    for key in (*["ArrowUp", "ArrowLeft"] * 9, "ArrowRight", "ArrowRight", "ArrowDown", "Space"):  # edges hold it
        keys.press(key)
    panel.wait(lambda: "Your drawing" in said(panel), "what the teacher says of a dot")
    pixels = ink(panel)
    assert pixels[8 + 2] == 16 and 0 < pixels[8 + 1] == pixels[8 + 3] == pixels[2] < 5, "soft edges"
    assert panel.box.locator(".cu-canvas [aria-live]").inner_text() == "row 2, column 3: 16 of 16"
    assert panel.box.locator(".cu-marker").is_visible()
    for key in ("Delete", "ArrowLeft", "Delete"):
        keys.press(key)
    panel.wait(lambda: sum(value > 0 for value in ink(panel)) == 3, "two pixels erased")
    cells = "() => window.jupyterapp.shell.currentWidget.content.widgets.length"
    assert panel.page.evaluate(cells) == 1
    assert panel.box.locator(".cu-pixels").evaluate("node => node === document.activeElement")


def test_a_finger_draws_and_the_page_does_not_scroll(panel):
    empty(panel)
    box = panel.box.locator(".cu-pixels").bounding_box()
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 4}
    client = panel.page.context.new_cdp_session(panel.page)
    client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    lower = at | {"y": at["y"] + box["height"] / 2}
    client.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [lower]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    panel.wait(lambda: "Your drawing. Most likely 1" in said(panel), "an upright stroke")
    assert panel.box.locator(".cu-pixels").bounding_box()["y"] == box["y"]


def test_the_grid_says_what_it_is_and_follows_the_theme(panel):
    grid = panel.box.locator(".cu-pixels")
    assert "drawing: Image 4: its label is" in grid.get_attribute("aria-label")
    colours = "node => [node, node.children[0]].map((one) => getComputedStyle(one).backgroundColor)"
    light = grid.evaluate(colours)
    panel.notebook.command("apputils:change-theme", theme="JupyterLab Dark")
    panel.page.locator("#jupyterlab-splash").wait_for(state="detached")
    panel.wait(lambda: grid.evaluate(colours) != light, "the dark theme")
    paper, pen = (int(one.strip("rgba()").split(",")[0]) for one in grid.evaluate(colours))
    assert paper < 60 and pen > 180, "light ink on a dark page"
    panel.notebook.command("apputils:change-theme", theme="JupyterLab Light")
    panel.page.locator("#jupyterlab-splash").wait_for(state="detached")
    panel.wait(lambda: grid.evaluate(colours) == light, "the light theme")
