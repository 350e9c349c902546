"""Real JupyterLab in real Chromium: a server on a copy of the notebooks, and a page that a test drives."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import playwright.sync_api

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
TOKEN = "test"
WINDOW = {"width": 1300, "height": 1600}
ANSWERS_WITHIN = 90  # seconds, for a kernel: the page itself would wait for ever
WITHIN = f"""(promise) => Promise.race([promise, new Promise((_, fail) => setTimeout(
  () => fail(new Error('no answer of the kernel within {ANSWERS_WITHIN} s')), {1000 * ANSWERS_WITHIN}))])"""
# The notebook in front: its kernel, and a way to run code there that no cell shows.
KERNEL = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
STATE = """() => {
  const widget = window.jupyterapp?.shell.currentWidget, kernel = widget?.sessionContext?.session?.kernel;
  const { isReady } = widget?.sessionContext ?? {};
  return [isReady, kernel?.connectionStatus, kernel?.status, widget?.context?.isReady].map(String);
}"""
EXECUTE = f"""async (code) => {{
  let printed = '';
  const future = {KERNEL}.requestExecute({{code, store_history: false}});
  future.onIOPub = (message) => {{
    if (message.header.msg_type === 'stream') printed += message.content.text;
    if (message.header.msg_type === 'error') printed += message.content.traceback.join('\\n');
  }};
  await ({WITHIN})(future.done);
  return printed;
}}"""
# Run one cell again, and wait for the panel that takes the place of the old one.
RUN_CELL = f"""async (index) => {{
  const notebook = window.jupyterapp.shell.currentWidget.content;
  const cell = notebook.widgets[index].node;
  cell.querySelectorAll('.cu-panel').forEach((old) => {{ old.dataset.old = 'yes'; }});
  notebook.activeCellIndex = index;
  await ({WITHIN})(window.jupyterapp.commands.execute('notebook:run-cell'));
}}"""
DRAWN = """(index) => window.jupyterapp.shell.currentWidget.content.widgets[index].node
  .querySelector('.cu-panel:not([data-old]) .cu-figure[data-frame]')"""


def chromium() -> str:
    """The path of a Chromium. FileNotFoundError, with what to do, where there is none."""
    names = [os.environ.get("CHROMIUM"), *CHROMIUM_NAMES]
    found = next((path for path in map(shutil.which, filter(None, names)) if path), None)
    if found is None:
        raise FileNotFoundError("no Chromium for the browser tests: `apt-get install chromium`, or set CHROMIUM")
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for_port(port: int) -> None:
    """TimeoutError unless something listens there within two minutes."""
    for _ in range(480):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.25)
    raise TimeoutError(f"nothing listens at port {port}")


# How each front end is started, and where it shows a notebook.
APPS = {
    "lab": (["jupyterlab", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=",
             "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"], "lab/workspaces/w{time}/tree/{name}"),
    "notebook": (["notebook", "--JupyterNotebookApp.expose_app_in_browser=True"], "notebooks/{name}"),
}


class Server:
    """A front end serving a folder, with settings and workspaces of its own."""

    def __init__(self, folder: Path, log: Path, app: str = "lab", port: int | None = None):
        self.port = port or free_port()
        self.folder, self.log, self.app = folder, log, app
        home = log.parent / "home"
        env = os.environ | {
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
            "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
            "JUPYTER_CONFIG_DIR": str(home / "config"),  # nobody's own settings, of Jupyter or of IPython
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "IPYTHONDIR": str(home / "ipython"),
            "COURSE_PROGRESS": str(home / "progress.json"),
            "COURSE_MODELS": str(home / "models"),
        }
        command = [
            sys.executable, "-m", *APPS[app][0], "--allow-root", "--no-browser", "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}",
        ]  # fmt: skip
        # In the tests' own process group: what interrupts them ends the server too.
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=log.open("w"), stderr=subprocess.STDOUT
        )
        try:
            wait_for_port(self.port)
        except TimeoutError:
            raise TimeoutError(f"{app} did not start:\n{self.log.read_text()[-2000:]}") from None

    def address(self, name: str) -> str:
        """Where a notebook is shown."""
        place = APPS[self.app][1].format(time=time.time_ns(), name=name)
        return f"http://127.0.0.1:{self.port}/{place}?token={TOKEN}"

    def _request(self, method: str, path: str) -> bytes:
        url = f"http://127.0.0.1:{self.port}/api/{path}"
        request = urllib.request.Request(url, method=method, headers={"Authorization": f"token {TOKEN}"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.read()

    def stop_kernel(self, name: str) -> None:
        """End the kernel of a notebook: it would go on training, and hold half a gigabyte."""
        for session in json.loads(self._request("GET", "sessions")):
            if session["path"] == name:
                self._request("DELETE", f"sessions/{session['id']}")

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Notebook:
    """One notebook open in a page. Errors of the page are collected in ``errors``."""

    def __init__(self, browser, server: Server, name: str, *, height: int | None = None):
        self.server, self.name = server, name
        self.page = browser.new_page(viewport=WINDOW | ({"height": height} if height else {}))
        self.page.set_default_timeout(60_000)
        self.errors: list[str] = []
        self.received = 0
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(error.stack or str(error)))
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._count))
        self.page.goto(server.address(name))
        self.wait_ready()

    def _count(self, frame) -> None:
        self.received += len(frame)

    def wait_ready(self) -> None:
        """The notebook is drawn, and its kernel is connected and idle."""
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        wanted = ["true", "connected", "idle", "true"]
        try:
            self.page.wait_for_function(f"(wanted) => ({STATE})().join() === wanted.join()", arg=wanted)
        except playwright.sync_api.TimeoutError:
            found = self.page.evaluate(STATE)
            said = self.server.log.read_text()[-3000:]
            raise TimeoutError(f"{self.name} is not ready: expected {wanted}, got {found}\n{said}") from None

    def command(self, name: str, **arguments) -> None:
        self.page.evaluate("([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, arguments])

    def run_all(self, seconds: float = 300) -> None:
        """Run All Cells, to the end; fails on a cell that raised."""
        done = "async () => { window.ran = await window.jupyterapp.commands.execute('notebook:run-all-cells') ?? true }"
        self.page.evaluate(f"() => {{ ({done})() }}")
        self.page.wait_for_function("() => window.ran !== undefined", timeout=seconds * 1000)
        self.page.wait_for_function(f"() => {KERNEL}.status === 'idle'")
        self.top()
        raised = self.page.locator("[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()
        assert not raised, raised[0]

    def run_panel_cell(self, index: int) -> None:
        """Run the cell at this position, and wait until its panel has drawn."""
        self.page.evaluate(RUN_CELL, index)
        self.page.wait_for_function(DRAWN, arg=index)

    def top(self) -> None:
        self.page.evaluate("() => { document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0 }")

    def run_code(self, code: str) -> str:
        """Run code in the kernel, and return what it prints."""
        return self.page.evaluate(EXECUTE, code)

    def trainers(self) -> int:
        """Threads in the kernel that train."""
        count = "sum(thread.name == 'course-training' for thread in threading.enumerate())"
        return int(self.run_code(f"import threading; print({count})"))

    def panels(self) -> list[Panel]:
        return [Panel(self, one) for one in self.page.locator(".cu-panel").all()]

    def panel(self, title: str) -> Panel:
        heading = self.page.locator(".cu-title", has_text=title)
        return Panel(self, self.page.locator(".cu-panel").filter(has=heading).first)

    def close(self) -> None:
        self.page.close()
        self.server.stop_kernel(self.name)


class Panel:
    """One card of the course in the page."""

    def __init__(self, notebook: Notebook, box):
        self.notebook, self.page, self.box = notebook, notebook.page, box
        self.figure = box.locator(".cu-figure").first

    @property
    def trains(self) -> bool:
        return self.box.locator("button", has_text="Start").count() > 0

    def data(self, name: str) -> str:
        return self.figure.get_attribute(f"data-{name}") or ""

    def number(self, name: str) -> float:
        return float(self.data(name) or 0)

    def status(self) -> str:
        return self.figure.locator(".cu-status").inner_text()

    def wait(self, condition, what: str, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds:g} s for: {what}; it says: {self.status()}"
            self.page.wait_for_timeout(30)

    def drawn(self) -> None:
        """The figure has drawn a frame."""
        self.box.scroll_into_view_if_needed()
        self.wait(lambda: self.number("frame") > 0, "a first picture")

    def click(self, label: str) -> None:
        self.box.locator("button", has_text=label).first.click()

    def wait_status(self, status: str) -> None:
        self.wait(lambda: self.data("status") == status, f"status {status}")

    def wait_step(self, step: float) -> None:
        self.wait(lambda: self.number("step") >= step, f"step {step:g}")

    def slider(self, label: str):
        """The handle of the slider with this label."""
        return self.box.locator(".cu-dial").filter(has_text=label).locator(".noUi-handle").first

    def move_first_control(self) -> None:
        """Give the first slider or list another value."""
        control = self.box.locator(".cu-dial .noUi-handle, .cu-row select").first
        if control.evaluate("node => node.tagName") == "SELECT":
            other = control.evaluate("node => [...node.options].findIndex((one) => !one.selected)")
            control.select_option(index=other)
        else:
            at_end = control.get_attribute("aria-valuenow") == control.get_attribute("aria-valuemax")
            control.press("ArrowLeft" if at_end else "ArrowRight")

    def number_box(self, label: str):
        return self.box.locator(".cu-dial").filter(has_text=label).locator("input[type=number]")
