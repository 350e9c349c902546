"""What goes wrong around a panel: reloads on a slow page, a server or kernel that has gone, other front ends."""

import re
import time

import pytest

from tests.browser.lab import SlowPage, busy

DRAWS_WITHIN = 20  # seconds, on a page six times slower than its machine, with a busy loop beside it
RELOADS = 20


@pytest.fixture
def slow(open_notebook):
    """A page with a panel, throttled, saved, and with the other core busy."""
    notebook = open_notebook("panels.ipynb")
    notebook.run_all()
    notebook.panel("First panel").drawn()
    notebook.command("docmanager:save")
    with SlowPage(notebook.page, 6), busy():
        yield notebook


def reload_(notebook):
    """Reload the page; seconds from its kernel's answer to the panel's first picture."""
    notebook.page.reload()
    notebook.wait_ready()
    panel = notebook.panel("First panel")
    start = time.monotonic()
    panel.box.scroll_into_view_if_needed()
    panel.wait(lambda: panel.number("frame") > 0, "a first picture", DRAWS_WITHIN)
    return panel, time.monotonic() - start


def frames_a_second(panel, seconds=4):
    first, start = panel.number("frame"), time.monotonic()
    panel.page.wait_for_timeout(1000 * seconds)
    return (panel.number("frame") - first) / (time.monotonic() - start)


def views(notebook):
    return int(notebook.run_code("print(len(panel.figure._views))"))


def threads(notebook):
    return int(notebook.run_code("import threading; print(threading.active_count())"))


def test_twenty_reloads_while_it_trains(slow):
    panel = slow.panel("First panel")
    panel.click("Start")
    panel.wait_step(5)
    usual, count = frames_a_second(panel), threads(slow)
    for _ in range(RELOADS):
        panel, _ = reload_(slow)
        panel.wait_status("running")
    step = panel.number("step")
    panel.wait_step(step + 1)
    assert frames_a_second(panel) > usual / 2
    assert views(slow) == 1 and slow.trainers() == 1 and threads(slow) <= count + 2
    panel.click("Pause")
    panel.wait_status("ready")
    assert "Unknown subshell" not in slow.server.log.read_text()


def test_twenty_reloads_after_a_run_has_ended(slow):
    panel = slow.panel("First panel")
    panel.click("Step")
    panel.wait_step(1)
    for _ in range(RELOADS):
        panel, _ = reload_(slow)
    step = panel.number("step")
    panel.click("Step")
    panel.wait(lambda: panel.number("step") == step + 1, "a step")
    assert views(slow) == 1 and slow.trainers() == 0
    assert "Unknown subshell" not in slow.server.log.read_text()
