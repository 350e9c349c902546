"""Every notebook of the course in a real browser: Run All, then every panel is driven."""

import re

import nbformat
import pytest

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
    panel.slider().focus()
    panel.page.keyboard.press("ArrowRight")
    panel.wait(lambda: panel.number("events") >= 1, "the slider's change")
    panel.click("Pause")
    panel.wait_status("ready")
    step = panel.number("step")
    panel.click("Step")
    panel.wait(lambda: panel.number("step") == step + 1, "one step more")
    panel.click("Reset")
    panel.wait(lambda: panel.number("step") == 0, "step 0")


def drive_explorer(panel):
    frame = panel.number("frame")
    dials = panel.box.locator(".cu-dial .noUi-handle")
    if dials.count():
        dials.first.focus()
        panel.page.keyboard.press("ArrowRight")
    else:
        options = panel.box.locator("select").first.locator("option").all_inner_texts()
        panel.box.locator("select").first.select_option(options[1])
    panel.wait(lambda: panel.number("frame") > frame, "a new picture")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_panel_of_a_notebook_works(path, open_notebook):
    notebook = open_notebook(path.name, height=30_000)  # all of it in one window
    notebook.run_all()
    panels = notebook.panels()
    assert len(panels) == panels_stored(path) > 0
    for panel in panels:
        if not panel.box.locator(".cu-figure").count():
            continue  # a card of words
        panel.drawn()
        drive_training(panel) if panel.trains else drive_explorer(panel)
        assert panel.box.locator(".cu-error").count() == 0
    assert notebook.trainers() == 0


def test_the_prompt_box_refuses_an_unknown_word_and_stays_alive(open_notebook):
    notebook = open_notebook("01_pretraining.ipynb", height=30_000)
    notebook.run_all()
    box = notebook.panel("Prompt box")
    box.drawn()
    line = box.box.locator("input[type=text]")
    line.fill("the dragon")
    line.press("Enter")
    box.box.locator(".cu-error", has_text="unknown word 'dragon'").wait_for()
    line.fill("Ben finds a")
    line.press("Enter")
    box.box.locator(".cu-error").wait_for(state="detached")
    box.wait(lambda: box.box.locator("pre").first.inner_text().startswith("Ben finds a"), "a story of Ben")


FILES = {
    "empty.txt": (b"", "empty"),
    "three.txt": (b"abc", "3 characters"),
    "binary.txt": (bytes(range(256)) * 4, "binary|not UTF-8"),
    "huge.txt": (b"a story " * 12_500_000, "has 100.0 MB: the most is 5.0 MB"),
    "different.txt": ("".join(map(chr, range(0x4E00, 0x4E00 + 300))).encode(), "no character of this text occurs"),
}


def test_a_file_that_is_no_text_gets_a_reason_and_the_panel_lives_on(open_notebook, tmp_path):
    notebook = open_notebook("01_pretraining.ipynb", height=30_000)
    notebook.run_all()
    panel = notebook.panel("Real text")
    panel.drawn()
    chooser = panel.box.locator("input[type=file]")
    for name, (content, reason) in FILES.items():
        (tmp_path / name).write_bytes(content)
        chooser.set_input_files(tmp_path / name)
        panel.box.locator(".cu-error summary", has_text=re.compile(reason)).wait_for()
    (tmp_path / "good.txt").write_text("It was the best of times, it was the worst of times. " * 40)
    chooser.set_input_files(tmp_path / "good.txt")
    panel.wait(lambda: "good.txt: 2,120 characters" in panel.status(), "the new text")
    assert panel.box.locator(".cu-error").count() == 0
    panel.click("Start")
    panel.wait_step(3)
    panel.click("Pause")
    panel.wait_status("ready")
