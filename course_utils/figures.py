"""Pictures: arrays in, a plotly figure out, in one look for the whole course.

A figure here is plotly's own description of one as plain data, ``{"data": [...], "layout": {...}}``: it takes
microseconds to make, so a training thread can afford ten a second. ``plotly.graph_objects.Figure(spec)`` turns it
into plotly's object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Okabe & Ito's palette, which readers with any colour vision can tell apart; black is left to text and axes.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
NEUTRAL = "#7f7f7f"  # readable on white and on black
MAX_POINTS = 500  # a curve on a screen shows no more
MAX_LABELS = 6  # the newest marks have their words beside them
HEIGHT = 360  # pixels


@dataclass(frozen=True, kw_only=True)
class Series:
    """One named line: x and y, (points,). low, high: edges of its band, as long.

    style: which colour and dash.  faded: a pinned, older run.  markers: a dot at each point.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    style: int = 0
    faded: bool = False
    markers: bool = False


def lines(
    series: Sequence[Series | None],
    *,
    title: str,
    x_title: str,
    y_title: str,
    levels: Mapping[str, float] | None = None,
    marks: Mapping[float, str] | None = None,
    x_log: bool = False,
    y_log: bool = False,
    y_range: tuple[float, float] | None = None,
) -> dict:
    """Lines with bands, dotted reference ``levels`` (name -> y), and vertical ``marks`` (x -> text, oldest first).

    None among the series is a line that has no values yet.
    """
    data = [trace for one in series if one is not None for trace in _line(one)]
    drawn = {axis: [trace[axis] for trace in data] for axis in "xy"}
    y_axis = _axis(y_title, log=y_log, drawn=drawn["y"], ends=y_range)
    layout = _layout(title, _axis(x_title, log=x_log, drawn=drawn["x"]), y_axis, legend=True)
    layout["shapes"], layout["annotations"] = [], []
    if levels:
        _add_levels(layout, levels, y_log)
    if marks:
        _add_marks(layout, marks, x_log)
    return {"data": data, "layout": layout}


def _line(one: Series) -> list[dict]:
    colour = PALETTE[one.style % len(PALETTE)]
    pen = {"color": colour, "width": 1.6 if one.faded else 2.2, "dash": DASHES[one.style % len(DASHES)]}
    look = {"type": "scatter", "line": pen, "opacity": 0.55 if one.faded else 1.0, "legendgroup": one.name}
    mode = "lines+markers" if one.markers or len(one.x) == 1 else "lines"
    x, y = thin(one.x, one.y)
    main = look | {"name": one.name, "x": x, "y": y, "mode": mode, "marker": {"size": 6}}
    if one.low is None or one.high is None:
        return [main]
    _, low = thin(one.x, one.low)
    _, high = thin(one.x, one.high)
    edge = {"type": "scatter", "mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    fill = {"fill": "tonexty", "fillcolor": _transparent(colour), "legendgroup": one.name}
    return [edge | {"x": x, "y": low, "legendgroup": one.name}, edge | fill | {"x": x, "y": high}, main]


def thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `MAX_POINTS` points: the means of neighbours, at each group's last x. The last point always stays."""
    group = -(-len(x) // MAX_POINTS)
    if group <= 1:
        return np.asarray(x), np.asarray(y)
    whole = len(x) // group * group
    xs = np.asarray(x)[group - 1 : whole : group]
    ys = np.asarray(y)[:whole].reshape(-1, group).mean(1)
    if whole < len(x):
        xs, ys = np.append(xs, x[-1]), np.append(ys, np.mean(y[whole:]))
    return xs, ys


def bars(
    labels: Sequence[str],
    values: Sequence[float],
    *,
    title: str,
    x_title: str,
    y_title: str,
    highlight: Sequence[int] = (),
    y_range: tuple[float, float] | None = None,
) -> dict:
    """One bar for each label; those in ``highlight`` (positions) take a second colour."""
    colours = [PALETTE[1] if i in highlight else PALETTE[0] for i in range(len(labels))]
    layout = _layout(title, _axis(x_title) | {"type": "category"}, _axis(y_title, ends=y_range))
    bar = {"type": "bar", "x": list(labels), "y": np.asarray(values, dtype=float), "marker": {"color": colours}}
    return {"data": [bar], "layout": layout}


def heatmap(
    z: np.ndarray,
    *,
    title: str,
    x_title: str,
    y_title: str,
    x: Sequence | None = None,
    y: Sequence | None = None,
    z_title: str = "",
    z_range: tuple[float, float] | None = None,
) -> dict:
    """A matrix (rows, columns) as colours; the first row is at the top."""
    trace = {"type": "heatmap", "z": np.asarray(z, dtype=float), "colorscale": "Viridis"}
    trace["colorbar"] = {"title": {"text": z_title}, "thickness": 12}
    if z_range is not None:
        trace |= {"zmin": z_range[0], "zmax": z_range[1]}
    layout = _layout(title, _axis(x_title), _axis(y_title) | {"autorange": "reversed"})
    for axis, names in (("xaxis", x), ("yaxis", y)):
        if names is not None:  # positions with names, because a label may occur twice
            layout[axis] |= {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": list(names)}
    return {"data": [trace], "layout": layout}


def points(
    x: np.ndarray,
    y: np.ndarray,
    labels: Sequence[str],
    *,
    title: str,
    x_title: str,
    y_title: str,
    groups: Sequence[str],
) -> dict:
    """Labelled points, coloured by ``groups``."""
    data = []
    for style, group in enumerate(dict.fromkeys(groups)):
        chosen = [i for i, name in enumerate(groups) if name == group]
        colour = PALETTE[style % len(PALETTE)]
        data.append({
            "type": "scatter", "name": group, "showlegend": True, "mode": "markers+text",
            "x": np.asarray(x)[chosen], "y": np.asarray(y)[chosen], "text": [labels[i] for i in chosen],
            "textposition": "top center", "textfont": {"size": 11}, "cliponaxis": False,
            "line": {"color": colour, "width": 1.6, "dash": DASHES[style % len(DASHES)]},
            "marker": {"size": 9, "color": colour, "symbol": style},
        })  # fmt: skip
    return {"data": data, "layout": _layout(title, _axis(x_title), _axis(y_title), legend=True)}


def _axis(title: str, *, log: bool = False, drawn: Sequence = (), ends: tuple[float, float] | None = None) -> dict:
    look = {"gridcolor": "rgba(127,127,127,0.25)", "zeroline": False, "linecolor": NEUTRAL, "automargin": True}
    kind = {"type": "linear"}
    if log:  # 0.2 and 20 in full, where plotly writes 2 and 2; powers of ten only beyond what can be read
        values = np.concatenate([[1.0], *drawn])
        far = ((values > 0) & (values < 1e-5) | (values > 1e7)).any()
        kind = {"type": "log", "minorloglabels": "complete", "exponentformat": "power" if far else "none"}
    return look | {"title": {"text": title}} | kind | ({} if ends is None else {"range": list(ends)})


def _layout(title: str, x: dict, y: dict, *, legend: bool = False) -> dict:
    return {
        "title": {"text": title, "x": 0, "xref": "paper", "font": {"size": 14}},
        "xaxis": x,
        "yaxis": y,
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#333333"},
        "margin": {"l": 56, "r": 16, "t": 40, "b": 92 if legend else 56},  # two lines
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "height": HEIGHT,
        "uirevision": "keep",  # a learner's zoom outlives the next frame
    }


# All lines of a kind are one path: plotly takes a millisecond for each shape, and as much for each annotation.


def _add_levels(layout: dict, levels: Mapping[str, float], y_log: bool) -> None:
    path = " ".join(f"M0,{y} H1" for y in levels.values())
    layout["shapes"].append({"type": "path", "xref": "paper", "yref": "y", "path": path, "line": _pen("dot")})
    for name, y in levels.items():
        layout["annotations"].append({
            "xref": "paper", "x": 1, "xanchor": "right", "y": float(np.log10(y)) if y_log else y,
            "yanchor": "top" if y == min(levels.values()) else "bottom",  # the lowest has curves above it
            "text": f"{name} {y:.2f}", "showarrow": False, "font": {"size": 11, "color": NEUTRAL},
        })  # fmt: skip


def _add_marks(layout: dict, marks: Mapping[float, str], x_log: bool) -> None:
    path = " ".join(f"M{x},0 V1" for x in marks)
    layout["shapes"].append({"type": "path", "xref": "x", "yref": "paper", "path": path, "line": _pen("dash")})
    for x, text in list(marks.items())[-MAX_LABELS:]:
        layout["annotations"].append({
            "x": float(np.log10(x)) if x_log else x, "xanchor": "left",
            "yref": "paper", "y": 1, "yanchor": "top", "textangle": 90, "text": text,
            "showarrow": False, "font": {"size": 10, "color": NEUTRAL},
        })  # fmt: skip


def _pen(dash: str) -> dict:
    return {"color": NEUTRAL, "width": 1, "dash": dash}


def _transparent(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
