"""A live figure: plotly in the browser, fed with small binary frames.

plotly's own `FigureWidget` carries 5 MB of JavaScript for each figure and sends its data as JSON. Here one shared
widget model carries plotly.min.js, compressed, once per page, and a frame holds only what changed.
"""

from __future__ import annotations

import functools
import gzip
import importlib.resources
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import traitlets
from IPython import get_ipython

from course_utils.kernel import keep_listening

FOLDER = Path(__file__).parent
UNANSWERED = 2  # frames that may be under way to a browser that has not yet drawn them
PATIENCE = 2.0  # seconds after which a silent browser gets a frame all the same
SILENCE = 60.0  # seconds without any answer after which its page must have been closed: a hidden page answers too


class PlotlyLibrary(ipywidgets.Widget):
    """plotly.min.js from the installed plotly package, gzipped, for each page that asks. One per kernel.

    Not in its state: a page that is loaded again waits four seconds for the state of all widgets together.
    """

    def __init__(self):
        super().__init__()
        script = importlib.resources.files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
        self.code = gzip.compress(script, compresslevel=6)
        self.on_msg(lambda *_: self.send({"type": "code"}, [self.code]))


plotly_library = functools.cache(PlotlyLibrary)


@dataclass
class _View:
    """A figure on a page: which tab, which load of it, and since when it owes an answer."""

    tab: str
    load: str
    owes_since: float | None = None

    @property
    def silent(self) -> bool:
        if self.owes_since is None or _cells.running:
            return False
        return time.monotonic() - max(self.owes_since, _cells.ended) > SILENCE


class _Cells:
    """Whether a cell runs: where callbacks wait for cells, no page's answer arrives meanwhile."""

    def __init__(self):
        self.running, self.ended = False, 0.0
        shell = get_ipython()
        if shell is not None:
            shell.events.register("pre_run_cell", lambda *_: self._now(True))
            shell.events.register("post_run_cell", lambda *_: self._now(False))

    def _now(self, running: bool) -> None:
        self.running, self.ended = running, time.monotonic()


_cells = _Cells()
keep_listening()


class LiveFigure(anywidget.AnyWidget):
    """Shows plotly figures, a status line and texts, and redraws them when told to.

    on_ready: called, on a widget callback's thread, when a browser view appears.
    on_alone: called when the last view has gone.  on_picture: called with pictures, as addresses, and a sentence,
    when a run has stood for a moment.
    """

    _esm = FOLDER / "figure.js"
    library = traitlets.Instance(PlotlyLibrary).tag(sync=True, **ipywidgets.widget_serialization)
    # anywidget drops all messages to a model that was not up within two seconds, as on a busy page. A plain widget
    # carries the frames: it is up at once.
    channel = traitlets.Instance(ipywidgets.Widget).tag(sync=True, **ipywidgets.widget_serialization)

    def __init__(self, *, on_ready=None, on_alone=None, on_picture: Callable[[list[str], str], None] | None = None):
        super().__init__(library=plotly_library(), channel=ipywidgets.Widget())
        self._lock = threading.Lock()
        self._views: dict[str, _View] = {}
        self._sent, self._drawn, self._sent_at = 0, 0, 0.0
        self._skeleton, self._last = None, None
        self._on_ready, self._on_alone, self._on_picture = on_ready, on_alone, on_picture
        self.channel.on_msg(self._receive)

    def close(self) -> None:
        self.channel.close()
        super().close()

    @property
    def wants_frame(self) -> bool:
        """Whether a browser is there and has kept up with the frames sent so far."""
        behind = self._sent - self._drawn >= UNANSWERED
        return bool(self._views) and (not behind or time.monotonic() - self._sent_at > PATIENCE)

    @property
    def left_alone(self) -> bool:
        """Whether pages had this figure, and none has answered its frames for a minute."""
        with self._lock:
            return bool(self._views) and all(view.silent for view in self._views.values())

    def show(self, specs: Sequence[dict], *, status="", texts=(), summary="", state=None, progress=None) -> None:
        """Show these figures now. From any thread.

        texts: (title, body) pairs, shown as plain text.  summary: one sentence with the data, for those who do
        not see the picture.  state: short strings that end as data attributes of the figure's element.
        progress: 0 to 1, shown as a bar.
        """
        skeleton, buffers = pack(list(specs))
        content = {
            "type": "frame",
            "status": status,
            "summary": summary,
            "progress": progress,
            "texts": [{"title": title, "body": body} for title, body in texts],
            "state": {name: str(value) for name, value in (state or {}).items()},
        }
        with self._lock:
            self._last = (skeleton, content, buffers)
            if self._views:
                self._send_frame(whole=False)

    def announce(self, status: str, *, progress: float | None = None) -> None:
        """Show another status line above the same figures. From any thread."""
        with self._lock:
            skeleton, content, buffers = self._last
            self._last = (skeleton, content | {"status": status, "progress": progress}, buffers)
            if self._views:
                self._send_frame(whole=False)

    def _send_frame(self, *, whole: bool) -> None:
        skeleton, content, buffers = self._last
        written = json.dumps(skeleton)
        if whole or written != self._skeleton:
            content = content | {"skeleton": skeleton}
            self._skeleton = written
        self._sent += 1
        self._sent_at = time.monotonic()
        for view in self._views.values():
            view.owes_since = view.owes_since or self._sent_at
        self.channel.send(content | {"n": self._sent}, buffers)

    def _receive(self, _widget, content, _buffers) -> None:
        kind = content["type"]
        if kind == "ready":
            self._greet(content)
        elif kind == "gone":
            with self._lock:
                self._views.pop(content["view"], None)
            if not self._views and self._on_alone:
                self._on_alone()
        else:
            self._heard(content)

    def _greet(self, content) -> None:
        here = _View(content.get("tab", content["view"]), content.get("load", ""))
        with self._lock:
            # A reloaded page has left its views behind, and a closed one answers no more.
            kept = {name: view for name, view in self._views.items()
                    if not view.silent and (view.tab != here.tab or view.load == here.load)}  # fmt: skip
            self._views = kept | {content["view"]: here}
            self._drawn = self._sent
            if self._last is not None:
                self._send_frame(whole=True)
        if self._on_ready:
            self._on_ready()

    def _heard(self, content) -> None:
        with self._lock:
            view = self._views.get(content.get("view"))
            if view is not None:
                view.owes_since = None
        if content["type"] == "drawn":
            self._drawn = max(self._drawn, int(content["n"]))
        elif content["type"] == "picture" and self._on_picture:
            self._on_picture(content["urls"], content["summary"])


def pack(value, buffers: list | None = None):
    """Replace the number arrays in a figure by references; returns (skeleton, float32 buffers, float64 if need be)."""
    buffers = [] if buffers is None else buffers
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        with np.errstate(over="ignore"):
            sent = np.ascontiguousarray(value, dtype=np.float32)
        wider = {}
        if not np.allclose(sent, value, rtol=1e-6, atol=0, equal_nan=True):  # a logarithmic axis may show 1e-50
            sent, wider = np.ascontiguousarray(value, dtype=np.float64), {"dtype": "float64"}
        buffers.append(memoryview(sent).cast("B"))
        return {"buffer": len(buffers) - 1, "shape": list(value.shape)} | wider, buffers
    if isinstance(value, dict):
        return {key: pack(part, buffers)[0] for key, part in value.items()}, buffers
    if isinstance(value, list | tuple):
        return [pack(part, buffers)[0] for part in value], buffers
    return (value.item() if isinstance(value, np.generic) else value), buffers
