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
from collections.abc import Sequence
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import traitlets

FOLDER = Path(__file__).parent
UNANSWERED = 2  # frames that may be under way to a browser that has not yet drawn them
PATIENCE = 2.0  # seconds after which a silent browser gets a frame all the same
SILENCE = 60.0  # seconds without any answer after which its page must have been closed: a hidden page answers too


class PlotlyLibrary(ipywidgets.Widget):
    """plotly.min.js from the installed plotly package, gzipped. One per kernel."""

    code = traitlets.Bytes().tag(sync=True)


@functools.cache
def plotly_library() -> PlotlyLibrary:
    script = importlib.resources.files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    return PlotlyLibrary(code=gzip.compress(script, compresslevel=6))


class LiveFigure(anywidget.AnyWidget):
    """Shows plotly figures, a status line and texts, and redraws them when told to.

    on_ready: called, on a widget callback's thread, when a browser view appears.
    on_alone: called when the last view has gone.
    """

    _esm = FOLDER / "figure.js"
    _css = FOLDER / "style.css"
    library = traitlets.Instance(PlotlyLibrary).tag(sync=True, **ipywidgets.widget_serialization)
    # anywidget drops all messages to a model that was not up within two seconds, as on a busy page. A plain widget
    # carries the frames: it is up at once.
    channel = traitlets.Instance(ipywidgets.Widget).tag(sync=True, **ipywidgets.widget_serialization)

    def __init__(self, *, on_ready=None, on_alone=None):
        super().__init__(library=plotly_library(), channel=ipywidgets.Widget())
        self._lock = threading.Lock()
        self._views: set[str] = set()
        self._sent, self._drawn, self._sent_at = 0, 0, 0.0
        self._unanswered_since: float | None = None
        self._skeleton, self._last = None, None
        self._on_ready, self._on_alone = on_ready, on_alone
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
        since = self._unanswered_since
        return bool(self._views) and since is not None and time.monotonic() - since > SILENCE

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
        self._unanswered_since = self._unanswered_since or self._sent_at
        self.channel.send(content | {"n": self._sent}, buffers)

    def _receive(self, _widget, content, _buffers) -> None:
        kind = content.get("type")
        if kind != "gone":
            self._unanswered_since = None
        if kind == "drawn":
            self._drawn = max(self._drawn, int(content["n"]))
        elif kind == "ready":
            with self._lock:
                self._views.add(content["view"])
                self._drawn = self._sent
                if self._last is not None:
                    self._send_frame(whole=True)
            if self._on_ready:
                self._on_ready()
        elif kind == "gone":
            self._views.discard(content["view"])
            if not self._views and self._on_alone:
                self._on_alone()


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
