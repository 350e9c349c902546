"""How live the panels are: `python -m benchmarks.live`. Kernel, server and browser on this machine.

The model is the story GPT (2 layers, width 64, 16 stories a step). Compared with the same loop headless, and with two
usual ways to watch a loss in a notebook: plotly's `FigureWidget`, updated ten times a second, and a matplotlib figure
redrawn in the cell as `livelossplot` does.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import nbformat
from playwright.sync_api import sync_playwright

from tests.browser.lab import CHROMIUM_ARGS, Notebook, Server, chromium

STEPS, CHANGES = 300, 60
SETUP = f"""
import time
from chapters.stories import story_recipe
from course_utils import training
def recipe():
    return story_recipe(steps=100_000, horizon=100_000, measured=False)
def headless(steps={STEPS}):
    run = recipe().start(0)
    for _ in range(10): run.step()
    start = time.perf_counter()
    for _ in range(steps): run.step()
    return steps / (time.perf_counter() - start)
"""
PANEL = """
from course_utils.live import TrainingPanel
panel = TrainingPanel(recipe, title="Benchmark")
panel
"""
SIX = """
from IPython.display import display
for i in range(6): display(TrainingPanel(recipe, title=f"Panel {i}"))
"""
FIGURE_WIDGET = f"""
import plotly.graph_objects as go
from IPython.display import display
figure = go.FigureWidget(go.Scatter(x=[], y=[])); display(figure)
run = recipe().start(0); start = last = time.perf_counter()
for _ in range({STEPS}):
    run.step()
    if time.perf_counter() - last > 0.1:
        last = time.perf_counter(); curve = run.history["loss"]
        with figure.batch_update(): figure.data[0].x, figure.data[0].y = curve.steps, curve.values
speed = {STEPS} / (time.perf_counter() - start)
"""
LIVELOSSPLOT = f"""
from livelossplot import PlotLosses
run = recipe().start(0); plot = PlotLosses(); start = last = time.perf_counter()
for _ in range({STEPS}):
    plot.update({{"loss": run.step()}})
    if time.perf_counter() - last > 0.1:
        plot.send(); last = time.perf_counter()
speed = {STEPS} / (time.perf_counter() - start)
"""
# From the key that moves the slider to the animation frame after the picture that counts the change.
LATENCY = """async ([handle, count]) => {
  const figure = handle.closest('.cu-panel').querySelector('.cu-figure'), seen = [];
  for (let i = 0; i < count; i++) {
    const before = figure.dataset.events, start = performance.now();
    const key = i % 20 < 10 ? 'ArrowRight' : 'ArrowLeft';
    handle.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
    await new Promise((done) => {
      const watch = new MutationObserver(() => {
        if (figure.dataset.events === before) return;
        watch.disconnect();
        requestAnimationFrame(() => { seen.push(performance.now() - start); done(); });
      });
      watch.observe(figure, { attributes: true, attributeFilter: ['data-events'] });
    });
    await new Promise((done) => setTimeout(done, 100 + 10 * (i % 10)));
  }
  return seen;
}"""
SPEED = f"""
import time
first, start = panel.session.step_count, time.perf_counter()
while panel.session.step_count < first + {STEPS}: time.sleep(0.01)
print((panel.session.step_count - first) / (time.perf_counter() - start))
"""


def notebook(folder: Path, name: str, cells: list[str]) -> str:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells], metadata=kernel)
    nbformat.write(made, folder / name)
    return name


def number(text: str) -> float:
    return float(text.split()[-1])


def ours(browser, server: Server) -> dict[str, str]:
    """Our panel: headless and live in turns, latency, bytes, and the first picture."""
    opened = Notebook(browser, server, notebook(server.folder, "ours.ipynb", [SETUP, PANEL]))
    start = time.perf_counter()
    opened.run_all()
    panel = opened.panel("Benchmark")
    panel.drawn()
    rows = {"first picture after Run, fresh kernel": f"{time.perf_counter() - start:.1f} s"}
    speeds = {"headless": [], "live": [], "kernel": []}
    for _ in range(3):
        speeds["headless"].append(number(opened.run_code("print(headless())")))
        opened.run_code("panel.reset(); panel.start(); views, panel.figure._views = panel.figure._views, set()")
        speeds["kernel"].append(number(opened.run_code(SPEED)))
        opened.run_code("panel.figure._views = views")
        bytes_before, clock = opened.received, time.perf_counter()
        speeds["live"].append(number(opened.run_code(SPEED)))
        rate = (opened.received - bytes_before) / (time.perf_counter() - clock)
        opened.run_code("panel.pause()")
    plain, kernel, live = (statistics.median(speeds[name]) for name in ("headless", "kernel", "live"))
    rows["headless loop"] = f"{plain:.1f} steps/s"
    rows["our panel, kernel alone"] = f"{kernel:.1f} steps/s ({kernel / plain:.2f} of headless)"
    rows["our panel, with the browser"] = f"{live:.1f} steps/s ({live / plain:.2f} of headless)"
    rows["bytes a second while training"] = f"{rate / 1000:.0f} kB/s"
    opened.run_code("panel.reset(); panel.start()")
    panel.wait_step(20)
    seen = sorted(opened.page.evaluate(LATENCY, [panel.slider("learning rate").element_handle(), CHANGES]))
    rows["slider to picture, p50 / p95"] = f"{statistics.median(seen):.0f} / {seen[int(0.95 * len(seen))]:.0f} ms"
    peak = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)"
    rows["peak memory of the kernel"] = f"{number(opened.run_code(peak)):.0f} MB"
    opened.close()
    return rows


def others(browser, server: Server) -> dict[str, str]:
    """Six panels on a page, and what people use today."""
    opened = Notebook(browser, server, notebook(server.folder, "six.ipynb", [SETUP, PANEL, SIX]))
    opened.run_all()
    for panel in opened.panels():
        panel.drawn()
    rows = {"bytes received at load, six panels and one": f"{opened.received / 1e6:.2f} MB"}
    opened.close()
    for name, cell in (("plotly FigureWidget, ten updates a second", FIGURE_WIDGET), ("livelossplot", LIVELOSSPLOT)):
        opened = Notebook(browser, server, notebook(server.folder, f"{name[:4]}.ipynb", [SETUP, cell]))
        opened.run_all()
        speed, base = (number(opened.run_code(f"print({what})")) for what in ("speed", "headless()"))
        rows[name] = f"{speed:.1f} steps/s ({speed / base:.2f} of headless)"
        opened.close()
    return rows


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    (folder / "notebooks").mkdir()
    server = Server(folder / "notebooks", folder / "server.log")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGS)
            print("| what | measured |\n|---|---|")
            for part in (ours, others):
                for name, value in part(browser, server).items():
                    print(f"| {name} | {value} |", flush=True)
    finally:
        server.close()


if __name__ == "__main__":
    main()
