"""A panel in a real browser: every control, by mouse and keyboard, and what goes wrong around it."""

import time

import pytest

from tests.browser.lab import WINDOW, Notebook

PANEL_CELL = 1
# What has the focus in the first panel: its tag, its name for a screen reader, and the style of its outline.
FOCUSED = """() => {
  const node = document.activeElement;
  if (!document.querySelector('.cu-panel').contains(node)) return null;
  const name = node.getAttribute('aria-label') ?? node.labels?.[0]?.textContent ?? node.textContent.trim();
  return [node.tagName, name, getComputedStyle(node).outlineStyle];
}"""


@pytest.fixture
def panel(shared):
    """The first panel of a page that tests share, made anew."""
    shared.errors.clear()
    shared.page.set_viewport_size(WINDOW)
    shared.run_panel_cell(PANEL_CELL)
    made = shared.panel("First panel")
    yield made
    assert made.box.locator(".cu-error").count() == 0
    assert shared.errors == []


@pytest.fixture
def own_panel(open_notebook):
    """The first panel of a page that a test may spoil."""
    notebook = open_notebook("panels.ipynb")
    notebook.run_all()
    made = notebook.panel("First panel")
    made.drawn()
    return made


def start(panel, step=20):
    panel.click("Start")
    panel.wait_step(step)


def in_kernel(panel, expression):
    return panel.notebook.run_code(f"print({expression})").strip()


def select_panel_cell(notebook):
    """Make the cell of the first panel the active one."""
    notebook.page.evaluate(
        "(index) => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = index }", PANEL_CELL
    )


def test_start_pause_step_reset_pin(panel):
    assert panel.status().startswith("Ready.") and panel.number("step") == 0
    assert panel.box.locator("pre").first.inner_text() == "<b>bold</b>", "texts are not read as HTML"
    start(panel)
    assert "steps/s" in panel.status()
    panel.click("Pause")
    panel.wait_status("ready")
    before = panel.number("step")
    panel.click("Step")
    panel.wait(lambda: panel.number("step") == before + 1, "one step more")
    panel.click("Pin")
    panel.wait(lambda: "Pinned" in panel.status(), "word of the pin")
    panel.click("Reset")
    panel.wait(lambda: panel.number("step") == 0, "step 0")
    panel.click("Step")
    panel.wait(lambda: panel.number("step") == 1, "step 1")
    assert "pin 1" in panel.box.locator(".cu-plot .legend").text_content()
    panel.click("Clear pins")
    panel.wait(lambda: "pin 1" not in panel.box.locator(".cu-plot").text_content(), "no pin")


def test_a_slider_moves_by_keyboard_and_by_mouse_while_it_trains(panel):
    start(panel)
    handle = panel.slider("learning rate")
    assert handle.get_attribute("aria-label") == "learning rate"
    handle.focus()
    panel.page.keyboard.press("ArrowRight")
    panel.wait(lambda: panel.number("events") == 1, "the first change")
    box = handle.bounding_box()
    panel.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    panel.page.mouse.down()
    panel.page.mouse.move(box["x"] + 60, box["y"] + box["height"] / 2, steps=6)
    panel.page.mouse.up()
    panel.wait(lambda: panel.number("events") >= 2, "the change by mouse")
    assert "lr " in panel.box.locator(".cu-plot").first.text_content(), "each change is marked on the curve"


def test_an_absurd_learning_rate_typed_in_is_explained_and_reset_works(panel):
    start(panel)
    box = panel.number_box("learning rate")
    box.fill("1e9")
    box.press("Enter")
    panel.wait_status("diverged")
    assert "Diverged at step" in panel.status() and "after lr became 1e+09" in panel.status()
    box.fill("0.01")
    box.press("Enter")
    panel.click("Reset")
    panel.wait(lambda: panel.status().startswith("Ready."), "a fresh run")
    start(panel)


@pytest.mark.parametrize(
    "typed, counts", [("1e9", 1e9), ("-1", 0.01), ("", 0.01), ("NaN", 0.01), ("1e999", 0.01), ("0,05", 0.05), ("0", 0)]
)
def test_what_is_typed_counts_or_the_earlier_number_comes_back(panel, typed, counts):
    box = panel.number_box("learning rate")
    box.fill("")
    box.press_sequentially(typed)
    box.press("Enter")
    knob = "panel.knobs['lr'].value"
    panel.wait(lambda: float(in_kernel(panel, knob)) == counts == float(box.input_value() or -1), f"{counts}")


def test_the_keyboard_reaches_everything_that_has_a_name_and_shows_where_it_is(panel):
    panel.box.locator("button").first.focus()
    seen = []
    for _ in range(40):
        panel.page.keyboard.press("Tab")
        here = panel.page.evaluate(FOCUSED)
        if here is None:
            break
        seen.append(here)
    assert all(name and outline != "none" for _, name, outline in seen), seen
    names = [name for _, name, _ in seen]
    assert names[:4] == ["Step", "Reset", "Pin", "Defaults"]  # Pause and Clear pins have nothing to do yet
    for label in ("learning rate", "learning rate, as a number", "width", "seed", "What the controls do"):
        assert label in names


def test_a_thousand_slider_events_in_five_seconds(panel):
    start(panel)
    handle = panel.slider("learning rate")
    handle.evaluate(
        """async (handle) => {
          const start = performance.now();
          for (let i = 0; i < 1000; i++) {
            const key = i % 20 < 10 ? 'ArrowRight' : 'ArrowLeft';
            handle.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
            const wait = start + 5 * (i + 1) - performance.now();
            if (wait > 0) await new Promise((resume) => setTimeout(resume, wait));
          }
        }"""
    )
    knob, shown = "panel.session.runs[0].knobs['lr']", panel.number_box("learning rate")
    panel.wait(lambda: in_kernel(panel, knob) == "0.01" == shown.input_value(), "the last of the events")
    assert panel.number("events") > 1 and panel.notebook.trainers() == 1
    handle.press("ArrowRight")
    panel.wait(lambda: in_kernel(panel, knob) == "0.013" == shown.input_value(), "one event more")
    step = panel.number("step")
    panel.wait_step(step + 1)
    panel.click("Pause")
    panel.wait_status("ready")


def test_fifty_starts_and_stops(panel):
    for _ in range(50):
        panel.click("Start")
        panel.box.locator("button:not([disabled])", has_text="Pause").click()
        panel.box.locator("button:not([disabled])", has_text="Start").wait_for()
    assert panel.notebook.trainers() == 0
    start(panel, panel.number("step") + 1)


def test_a_setting_begins_a_new_run_and_goes_on(panel):
    start(panel)
    panel.box.locator("select").first.select_option("32")
    panel.wait(lambda: in_kernel(panel, "panel.session.runs[0].model.sizes") == "[4, 32, 3]", "the new run's model")
    panel.wait(lambda: panel.data("status") == "running" and panel.number("step") > 0, "the new run's steps")


def test_starting_another_panel_pauses_this_one(panel):
    start(panel)
    other = panel.notebook.panel("Second panel")
    other.drawn()
    start(other)
    panel.wait_status("ready")
    assert panel.notebook.trainers() == 1


def test_the_cell_run_ten_times_while_training(panel):
    notebook = panel.notebook
    for _ in range(10):
        start(notebook.panel("First panel"), 1)
        notebook.run_panel_cell(PANEL_CELL)
        assert notebook.panel("First panel").data("step") == "0" and notebook.trainers() == 0
    start(notebook.panel("First panel"))
    assert notebook.trainers() == 1


def test_the_kernel_restarted_while_training(own_panel):
    notebook = own_panel.notebook
    start(own_panel)
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    notebook.wait_ready()
    word = "getComputedStyle(document.querySelector('.cu-panel'), '::before').content"
    notebook.page.wait_for_function(f"() => {word}.includes('Run this cell again')")
    assert not own_panel.figure.locator(".cu-status").is_visible(), "it says no longer that it trains"
    notebook.page.evaluate("() => { window.ran = undefined }")
    notebook.run_all()
    fresh = notebook.panel("First panel")
    fresh.drawn()
    start(fresh)
    assert notebook.trainers() == 1


def test_the_page_reloaded_while_training(own_panel):
    notebook = own_panel.notebook
    notebook.command("docmanager:save")
    start(own_panel)
    notebook.page.reload()
    notebook.wait_ready()
    again = notebook.panel("First panel")
    again.drawn()
    again.wait_status("running")
    step = again.number("step")
    again.wait_step(step + 10)
    again.click("Pause")
    again.wait_status("ready")
    assert len(again.notebook.page.locator(".cu-plot .scatterlayer path").all()) > 0, "redrawn from its history"


def test_a_closed_page_pauses_the_run_and_the_next_page_says_so(browser, own_panel):
    notebook = own_panel.notebook
    notebook.command("docmanager:save")
    notebook.run_code("from course_utils.live import figure; figure.SILENCE = 5")
    start(own_panel)
    time.sleep(8)
    own_panel.wait_status("running")  # somebody looks
    notebook.page.close()
    time.sleep(10)
    again = Notebook(browser, notebook.server, notebook.name)
    panel = again.panel("First panel")
    panel.drawn()
    assert again.trainers() == 0 and "The page was closed, so it waits." in panel.status()
    start(panel, panel.number("step") + 1)
    assert again.errors == []
    again.page.close()


def test_a_panel_works_where_anywidget_has_given_it_up(open_notebook):
    notebook = open_notebook("panels.ipynb")
    # anywidget drops every message to a model that was not up within two seconds. Here none is up in time.
    notebook.page.evaluate("""() => {
      AbortSignal.timeout = () => {
        const late = new AbortController();
        queueMicrotask(() => late.abort());
        return late.signal;
      };
    }""")
    notebook.run_all()
    panel = notebook.panel("First panel")
    panel.drawn()
    start(panel)
    panel.click("Pause")
    panel.wait_status("ready")
    given_up = [error for error in notebook.errors if "[anywidget] Failed to initialize model" in error]
    assert given_up == notebook.errors != []
    notebook.errors.clear()


def test_a_second_view_of_the_panel(own_panel):
    notebook = own_panel.notebook
    start(own_panel)
    select_panel_cell(notebook)
    notebook.command("notebook:create-output-view")
    view = notebook.page.locator(".jp-LinkedOutputView .cu-figure")
    view.wait_for()
    notebook.page.wait_for_function("() => document.querySelector('.jp-LinkedOutputView .cu-figure').dataset.step > 0")
    own_panel.click("Pause")
    own_panel.wait_status("ready")
    own_panel.wait(lambda: view.get_attribute("data-step") == own_panel.data("step"), "both views at the same step")


def test_the_last_view_removed_pauses_the_run(own_panel):
    notebook = own_panel.notebook
    start(own_panel)
    select_panel_cell(notebook)
    notebook.command("notebook:delete-cell")
    end = time.monotonic() + 10
    while notebook.trainers():
        assert time.monotonic() < end, "nobody looks, and it still trains"


def change_theme(notebook, theme):
    notebook.command("apputils:change-theme", theme=theme)
    notebook.page.locator("#jupyterlab-splash").wait_for(state="detached")  # JupyterLab's cover while it changes


def test_it_follows_the_theme(panel):
    ink = "() => getComputedStyle(document.querySelector('.cu-plot .xtitle')).fill"
    light = panel.page.evaluate(ink)
    change_theme(panel.notebook, "JupyterLab Dark")
    panel.page.wait_for_function(f"(light) => ({ink})() !== light", arg=light)
    channels = [int(one) for one in panel.page.evaluate(ink).strip("rgba()").split(",")[:3]]
    assert min(channels) > 150, "light ink on a dark page"
    change_theme(panel.notebook, "JupyterLab Light")
    panel.page.wait_for_function(f"(light) => ({ink})() === light", arg=light)


def test_a_narrow_window(panel):
    panel.page.set_viewport_size({"width": 500, "height": 900})
    panel.box.scroll_into_view_if_needed()
    width = "document.querySelector('{}').clientWidth".format
    inside = f"() => {width('.cu-plot .main-svg')} <= {width('.cu-panel')}"
    panel.page.wait_for_function(inside)
    start(panel)
    panel.page.wait_for_function(inside)
    right = panel.box.bounding_box()["x"] + panel.box.bounding_box()["width"]
    for button in panel.box.locator("button").all():
        assert button.bounding_box()["x"] + button.bounding_box()["width"] <= right


def test_a_table_keeps_its_columns_at_700_pixels_and_scrolls_within_its_card(open_notebook):
    notebook = open_notebook("tables.ipynb")
    notebook.command("application:toggle-left-area")
    notebook.page.set_viewport_size({"width": 700, "height": 900})
    notebook.run_all()
    notebook.page.wait_for_function("() => document.querySelectorAll('.cu-text-body').length === 2")
    sizes = """(one) => [one.getBoundingClientRect().right - one.closest('.cu-card').getBoundingClientRect().right < 0,
      one.scrollWidth - one.clientWidth, Math.round(one.clientHeight / parseFloat(getComputedStyle(one).lineHeight))]"""
    (_, beyond, lines), (inside, scrolls, same) = [
        one.evaluate(sizes) for one in notebook.page.locator(".cu-text-body").all()]  # fmt: skip
    assert beyond == 0 and lines == same, "columns within 68 letters fit"
    assert inside and scrolls > 0, "wider ones scroll, and are not broken"
    assert notebook.page.locator(".course-card table").evaluate(sizes)[:2] == [True, 0]


def test_an_explorer_follows_its_control(panel):
    explorer = panel.notebook.panel("Explorer")
    explorer.drawn()
    assert explorer.status() == "power 2"
    explorer.slider("power").press("ArrowRight")
    explorer.wait(lambda: explorer.status() == "power 3", "power 3")
    explorer.click("Defaults")
    explorer.wait(lambda: explorer.status() == "power 2", "power 2 again")


def test_a_figure_says_in_words_what_it_shows(panel):
    label = panel.box.locator(".cu-plot").first.get_attribute("aria-label")
    assert label.startswith("Loss. Ready.")
    panel.click("Step")
    panel.wait(lambda: panel.number("step") == 1, "a step")
    label = panel.box.locator(".cu-plot").first.get_attribute("aria-label")
    assert "At its right end, loss (nats per token): this run 1" in label, label
    assert panel.box.locator(".cu-plot").first.get_attribute("role") == "figure"
    assert panel.box.locator("[aria-live=polite]").count() == 1
