"""Still pictures of figures and texts, for notebooks that are read without a kernel."""

from __future__ import annotations

import base64
import html
import io
import textwrap
from collections.abc import Sequence

WIDTH, SCALE = 520, 1.5
TRIES = 3  # on a busy machine a message between kaleido and its browser is now and then cut in two


def png(specs: Sequence[dict], texts: Sequence[tuple[str, str]] = ()) -> str:
    """Figures and texts side by side, two in a row, as a base64 PNG. Needs the ``build`` extra (kaleido, Pillow)."""
    from PIL import Image  # build time only

    cards = [*specs, *(_text_card(*text) for text in texts)]
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


def _drawn(spec: dict) -> bytes:
    import kaleido  # build time only: it starts a browser

    for left in reversed(range(TRIES)):
        try:
            return kaleido.calc_fig_sync(_plain(spec), opts=_options(spec))
        except Exception:
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


def _text_card(title: str, body: str) -> dict:
    lines = [piece for line in body.splitlines() for piece in textwrap.wrap(line, 62) or [""]][:14]
    note = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "xanchor": "left", "yanchor": "top", "align": "left"}
    font = {"family": "monospace", "size": 12, "color": "#333333"}
    layout = {
        "title": {"text": html.escape(title), "font": {"size": 13, "color": "#333333"}},
        "xaxis": {"visible": False},
        "yaxis": {"visible": False},
        "annotations": [note | {"text": "<br>".join(map(html.escape, lines)), "showarrow": False, "font": font}],
        "height": 90 + 16 * len(lines),
        "margin": {"l": 20, "r": 10, "t": 40, "b": 10},
    }
    return {"data": [], "layout": layout}
