"""Figures are plotly's, keep what they are given, and stay small."""

import numpy as np
import plotly.graph_objects as go
import pytest

from course_utils import figures
from course_utils.figures import Series

AXES = {"title": "t", "x_title": "step", "y_title": "loss (nats)"}
X = np.arange(5.0)


def every_figure():
    band = Series(name="a", x=X, y=X, low=X - 1, high=X + 1)
    return {
        "lines": figures.lines([band, Series(name="b", x=X, y=2 * X, style=1, faded=True)], **AXES,
                               levels={"floor": 1.5}, marks={2: "lr 0.1"}),
        "log lines": figures.lines([band], **AXES, x_log=True, y_log=True, levels={"floor": 10.0}, y_range=(1, 10)),
        "bars": figures.bars(["the", "the", "cat"], [0.5, 0.3, 0.2], **AXES, highlight=[1], y_range=(0, 1)),
        "heatmap": figures.heatmap(np.eye(3), **AXES, x=["a", "b", "a"], y=["a", "b", "a"], z_range=(0, 1)),
        "points": figures.points(X, X, list("abcde"), **AXES, groups=["one", "two", "one", "two", "one"]),
    }  # fmt: skip


@pytest.mark.parametrize("name", every_figure())
def test_plotly_accepts_every_figure(name):
    figure = go.Figure(every_figure()[name])  # raises on a property plotly does not know
    assert figure.layout.xaxis.title.text == "step" and figure.layout.yaxis.title.text == "loss (nats)"


def test_a_band_runs_from_low_to_high_around_its_line():
    low, high, main = figures.lines([Series(name="a", x=X, y=X, low=X - 1, high=X + 2)], **AXES)["data"]
    assert (low["y"] == X - 1).all() and (high["y"] == X + 2).all() and (main["y"] == X).all()
    assert high["fill"] == "tonexty" and main["name"] == "a" and not low["showlegend"]


def test_lines_differ_in_more_than_colour():
    data = figures.lines([Series(name=str(i), x=X, y=X, style=i) for i in range(6)], **AXES)["data"]
    assert len({trace["line"]["dash"] for trace in data}) == len({trace["line"]["color"] for trace in data}) == 6


@pytest.mark.parametrize("count", [1, 499, 500, 501, 12_345])
def test_thinning_keeps_the_mean_the_order_and_the_last_point(count):
    x, y = np.arange(count), np.random.default_rng(0).normal(size=count)
    xs, ys = figures.thin(x, y)
    assert len(xs) == len(ys) <= figures.MAX_POINTS + 1
    assert xs[-1] == x[-1] and (np.diff(xs) > 0).all()
    group = -(-count // figures.MAX_POINTS)
    sizes = np.diff(np.append(-1, xs))
    assert sizes.max() == group
    assert (ys * sizes).sum() == pytest.approx(y.sum())


def test_labelled_points_are_grouped_in_the_order_given():
    one, two = every_figure()["points"]["data"]
    assert (one["name"], two["name"]) == ("one", "two")
    assert (list(two["x"]), list(two["text"])) == ([1, 3], ["b", "d"])


def test_a_level_on_a_logarithmic_axis_is_labelled_where_it_is_drawn():
    layout = every_figure()["log lines"]["layout"]
    assert layout["shapes"][0]["path"] == "M0,10.0 H1"  # shapes take values,
    assert layout["annotations"][0]["y"] == 1.0  # annotations take their logarithm


@pytest.mark.parametrize(("y", "wanted"), [([0.3, 30], "none"), ([0, 2e-5, float("nan")], "none"), ([1e-9, 1], "power"),
                                           ([1, 2e8], "power")])  # fmt: skip
def test_a_logarithmic_axis_has_its_numbers_in_full_as_long_as_they_can_be_read(y, wanted):
    series = [Series(name="a", x=np.arange(len(y)), y=np.array(y)), Series(name="none yet", x=X[:0], y=X[:0])]
    axis = figures.lines(series, **AXES, y_log=True)["layout"]["yaxis"]
    assert (axis["minorloglabels"], axis["exponentformat"]) == ("complete", wanted)  # not 2 and 5 at 0.2, 0.5, 2, 5
