"""Every notebook of the course in a real browser: Run All, then every panel is driven."""

import re

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import TimeoutError

from tests.browser.lab import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def panels_stored(path):
    """How many live panels the stored notebook speaks of."""
    outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
    texts = [output.get("data", {}).get("text/plain", "") for output in outputs]
    return sum(bool(re.search(r": a live (panel|card)", text)) for text in texts)


def drive_training(panel):
    panel.click("Start")
    panel.wait_step(3)
    panel.move_first_control()
    panel.wait(lambda: panel.number("events") >= 1 or panel.data("status") == "finished", "the slider's change")
    pause(panel)
    if panel.data("status") == "finished":  # a short run may end before the change: it then acts on the next one
        panel.click("Reset")
        panel.wait(lambda: panel.data("step") == "0", "step 0")
    step = panel.number("step")
    panel.click("Step")
    panel.wait(lambda: panel.number("step") == step + 1, "one step more")
    assert panel.number("events") >= 1
    panel.click("Reset")
    panel.wait(lambda: panel.data("step") == "0", "step 0")


def pause(panel):
    """Press Pause, unless the run ends by itself before the press arrives: Pause is then disabled."""
    if panel.data("status") == "running":
        try:
            panel.box.locator("button", has_text="Pause").first.click(timeout=10_000)
        except TimeoutError:
            assert panel.data("status") != "running"
    panel.wait(lambda: panel.data("status") in ("ready", "finished"), "the end of training")


def drive_explorer(panel):
    frame = panel.number("frame")
    panel.move_first_control()
    buttons = panel.box.locator(".cu-row button")
    if buttons.count() > 1:  # an explorer that waits for its own button
        buttons.first.click()
    waits = re.compile("What is shown is from before|Working")
    panel.wait(lambda: panel.number("frame") > frame and not waits.match(panel.status()), "a new picture", 120)


def drive_prompt_box(panel):
    """An unknown word is refused by name, and the next prompt is answered."""
    line = panel.box.locator("input[type=text]")
    line.fill("the dragon")
    line.press("Enter")
    panel.box.locator(".cu-error", has_text="unknown word 'dragon'").wait_for()
    line.fill("Ben finds a")
    line.press("Enter")
    panel.box.locator(".cu-error").wait_for(state="detached")
    panel.wait(lambda: panel.box.locator("pre").first.inner_text().startswith("Ben finds a"), "a story of Ben")


FILES = {
    "empty.txt": (b"", "empty"),
    "three.txt": (b"abc", "3 characters"),
    "binary.txt": (bytes(range(256)) * 4, "binary|not UTF-8"),
    "huge.txt": (b"a story " * 12_500_000, "has 100.0 MB: the most is 5.0 MB"),
    "different.txt": ("".join(map(chr, range(0x4E00, 0x4E00 + 300))).encode(), "no character of this text occurs"),
}


def drive_own_file(panel, folder):
    """A file that is no text gets a reason, and a good one after it is trained on."""
    chooser = panel.box.locator("input[type=file]")
    for name, (content, reason) in FILES.items():
        (folder / name).write_bytes(content)
        chooser.set_input_files(folder / name)
        panel.box.locator(".cu-error summary", has_text=re.compile(reason)).wait_for()
    (folder / "good.txt").write_text("It was the best of times, it was the worst of times. " * 40)
    chooser.set_input_files(folder / "good.txt")
    panel.wait(lambda: "good.txt: 2,120 characters" in panel.status(), "the new text")
    assert panel.box.locator(".cu-error").count() == 0
    drive_training(panel)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_panel_of_a_notebook_works(path, open_notebook, tmp_path):
    notebook = open_notebook(path.name, height=30_000)  # all of it in one window
    notebook.run_all()
    panels = notebook.panels()
    assert len(panels) == panels_stored(path) > 0
    for panel in panels:
        if not panel.box.locator(".cu-figure").count():
            continue  # a card of words
        panel.drawn()
        drive_training(panel) if panel.trains else drive_explorer(panel)
        if panel.box.locator("input[type=text]").count():
            drive_prompt_box(panel)
        if panel.box.locator("input[type=file]").count():
            drive_own_file(panel, tmp_path)
        assert panel.box.locator(".cu-error").count() == 0
    assert notebook.trainers() == 0
    found = Axe().run(notebook.page, context=".cu-card").response
    assert found["passes"], "it has looked at the cards"
    violations = [(one["id"], one["impact"], one["nodes"][0]["html"][:300]) for one in found["violations"]]
    assert violations == []
