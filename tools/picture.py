"""Still pictures of figures and texts, for notebooks that are read without a kernel."""

from __future__ import annotations

import asyncio
import atexit
import base64
import contextlib
import html
import io
import logging
import textwrap
import threading
from collections.abc import Coroutine, Sequence

from PIL import Image

WIDTH, SCALE = 520, 1.5
LINES, COLUMNS = 14, 68  # of a text: as many columns as a panel has at 700 pixels
TRIES = 3  # on a busy machine a message between kaleido and its browser is now and then cut in two
PATIENCE = 60  # seconds for a browser to start, or to draw: one that lost a message may never answer


def png(specs: Sequence[dict], texts: Sequence[tuple[str, str]] = ()) -> str:
    """Figures and texts side by side, two in a row, as a base64 PNG."""
    cards = [*map(_literal, specs), *(_text_card(*text) for text in texts)]
    tiles = [Image.open(io.BytesIO(_drawn(spec))) for spec in cards]
    rows = [tiles[i : i + 2] for i in range(0, len(tiles), 2)]
    width = max(sum(tile.width for tile in row) for row in rows)
    sheet = Image.new("RGB", (width, sum(max(t.height for t in row) for row in rows)), "white")
    top = 0
    for row in rows:
        left = 0
        for tile in row:
            sheet.paste(tile, (left, top))
            left += tile.width
        top += max(tile.height for tile in row)
    out = io.BytesIO()
    sheet.quantize(128).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


class _Browser:
    """A browser that draws: it stays open, because starting one takes ten times as long as a picture."""

    def __init__(self):
        import kaleido  # slow to import, and a check of cells draws nothing

        logging.getLogger("choreographer").setLevel(logging.ERROR)  # a warning that a browser died would be an output
        self._kaleido = kaleido.Kaleido(mathjax=False)  # MathJax would be fetched from outside
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="course-pictures", daemon=True).start()
        atexit.register(self.close)
        self._done(self._kaleido.open())

    def draw(self, figure: dict, options: dict) -> bytes:
        return self._done(self._kaleido.calc_fig(figure, opts=options))

    def close(self) -> None:
        atexit.unregister(self.close)
        with contextlib.suppress(Exception):  # it may be what has failed
            self._done(self._kaleido.close())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _done(self, work: Coroutine):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)


_browser: _Browser | None = None


def _drawn(spec: dict) -> bytes:
    """A figure as PNG, by the browser that is open, or else by a new one."""
    global _browser
    figure = _plain(spec)
    for left in reversed(range(TRIES)):
        try:
            _browser = _browser or _Browser()
            return _browser.draw(figure, _options(spec))
        except Exception:
            if _browser:
                _browser.close()
            _browser = None
            if not left:
                raise


def _plain(spec: dict) -> dict:
    """A figure on white paper, as kaleido takes it."""
    import plotly.graph_objects as go  # slow to import, and only pictures need it

    figure = go.Figure(spec)
    figure.update_layout(paper_bgcolor="white", plot_bgcolor="white")
    return figure.to_plotly_json()


def _options(spec: dict) -> dict:
    return {"format": "png", "width": WIDTH, "height": spec["layout"]["height"], "scale": SCALE}


def _literal(value):
    """Texts, in a figure or alone, as plotly shows them letter by letter: it shows an entity of a quote as such."""
    if isinstance(value, dict):
        return {key: _literal(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_literal(part) for part in value]
    return html.escape(value, quote=False) if isinstance(value, str) else value


def _text_card(title: str, body: str) -> dict:
    lines = [piece for line in body.splitlines() for piece in textwrap.wrap(line, COLUMNS) or [""]]
    lines = lines if len(lines) <= LINES else [*lines[:LINES - 1], "…"]
    note = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "xanchor": "left", "yanchor": "top", "align": "left"}
    font = {"family": "monospace", "size": 12, "color": "#333333"}
    layout = {
        "title": {"text": _literal(title), "font": {"size": 13, "color": "#333333"}},
        "xaxis": {"visible": False},
        "yaxis": {"visible": False},
        "annotations": [note | {"text": "<br>".join(map(_literal, lines)), "showarrow": False, "font": font}],
        "height": 90 + 16 * len(lines),
        "margin": {"l": 14, "r": 10, "t": 40, "b": 10},
    }
    return {"data": [], "layout": layout}
