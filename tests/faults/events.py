"""What a browser may do to a panel or a card, as Hypothesis draws it, and how it is done without one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import ipywidgets as w
from hypothesis import strategies as st
from ipywidgets.widgets.widget_selection import _Selection

from chapters.distillation.canvas import PixelCanvas
from chapters.pretraining.picker import FilePicker
from course_utils.live.controls import Dial
from course_utils.live.figure import LiveFigure

PATIENCE = 120.0  # seconds, on a machine that has other things to do

ODD = st.sampled_from([0.0, -1.0, 0.5, 1e-9, 1e9, 2.0**63, 1e300, math.inf, -math.inf, math.nan])
PLAIN = st.one_of(st.integers(-5, 10_000).map(float), st.floats(0, 2), st.floats())
TYPED = st.booleans().flatmap(lambda odd: ODD if odd else PLAIN)  # half of them odd: `one_of` would count kinds alike
WRITTEN = st.one_of(
    st.sampled_from(["", " ", "Anna", "<b>&amp;</b><script>alert(1)</script>", "Anna has a " * 2000, "\0", "\ud800",
                     "anna HAS a\n\n", "日本語 🎈", "%s {0} \\n", "`code`"]),
    st.text(max_size=40),
)  # fmt: skip
FILES = st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode),
                  st.sampled_from([b"", b"a" * 5000, bytes(range(256)) * 40, "Anna hat ein Haus. 🎈\n".encode() * 200]))
SEEN = st.sampled_from(["a", "b"])  # two views of one figure, on two pages
MESSAGES = st.one_of(
    st.fixed_dictionaries({"type": st.just("ready"), "view": SEEN, "tab": SEEN, "load": SEEN}),
    st.fixed_dictionaries({"type": st.just("drawn"), "view": SEEN, "n": st.integers(0, 1000)}),
    st.fixed_dictionaries({"type": st.just("waiting"), "view": SEEN}),
    st.fixed_dictionaries({"type": st.just("gone"), "view": SEEN}),
    st.fixed_dictionaries({"type": st.just("picture"), "view": SEEN, "urls": st.just(["data:,"]),
                           "summary": st.text(max_size=5)}),
)  # fmt: skip


def is_panel(card) -> bool:
    return hasattr(card, "figure")


def is_training(card) -> bool:
    return hasattr(card, "session")


def parts_of(widget: w.Widget) -> Iterator[w.Widget]:
    """What can be worked in a box, down to the dials."""
    if isinstance(widget, Dial) or not hasattr(widget, "children"):
        yield widget
    else:
        for child in widget.children:
            yield from parts_of(child)


def actions(part: w.Widget) -> st.SearchStrategy:
    """What may be done to one part: (verb, value)."""
    table = {
        Dial: lambda: st.one_of(slides(part).map(lambda value: ("slide", value)), st.tuples(st.just("type"), TYPED)),
        _Selection: lambda: st.tuples(st.just("choose"), st.integers(0, len(part.options) - 1)),
        w.Text: lambda: st.tuples(st.just("write"), WRITTEN),
        w.Button: lambda: st.just(("press", None)),
        PixelCanvas: lambda: st.tuples(st.just("draw"), st.lists(
            st.integers(0, part.darkest), min_size=part.side**2, max_size=part.side**2)),
        FilePicker: lambda: st.tuples(st.just("upload"), FILES),
        LiveFigure: lambda: st.tuples(st.just("say"), MESSAGES),
    }  # fmt: skip
    for kind, make in table.items():
        if isinstance(part, kind):
            return make()
    if isinstance(part, w.HTML | w.Label | w.Output):
        return st.nothing()
    raise TypeError(f"no events for a {type(part).__name__}: say here what a browser may do to it")


def slides(dial) -> st.SearchStrategy:
    """The values that a hand can give a slider."""
    slider = dial.slider
    steps = st.integers(0, round((slider.max - slider.min) / slider.step))
    if isinstance(slider, w.FloatLogSlider):
        return steps.map(lambda step: slider.base ** min(slider.max, slider.min + step * slider.step))
    return steps.map(lambda step: min(slider.max, slider.min + step * slider.step))


def events_of(card) -> st.SearchStrategy:
    """Any event on a card: (number of the part, its words, verb, value)."""
    each = []
    if is_training(card):  # three of a kind, so that about every fifth event is training
        each = [st.tuples(st.just(-1), st.just("Start"), st.just("train"), st.integers(1, n)) for n in (1, 4, 20)]
    for number, part in enumerate(parts_of(card.box)):
        words = getattr(part, "description", "") or type(part).__name__
        for _ in range(2 if isinstance(part, Dial) else 1):  # two things are done to a dial: it slides, and is typed
            each.append(actions(part).map(lambda done, number=number, words=words: (number, words, *done)))
    return st.one_of(each)


def do(card, number: int, verb: str, value) -> None:
    """One event, as the browser would bring it."""
    part = list(parts_of(card.box))[number]
    if verb == "train":
        train(card, value)
    elif verb == "slide":
        part.slider.value = value
    elif verb == "type":
        part.box.value = value
    elif verb == "choose":
        part.index = value
    elif verb in ("write", "draw"):
        part.value = value
    elif verb == "press":
        part.click()
    elif verb == "upload":
        part._receive(part, {"type": "file", "name": "<i>mine</i>.txt"}, [memoryview(value)])
    else:
        part._receive(None, value, [])


def train(card, steps: int) -> None:
    """Press Start, and leave the run alone for some steps; it goes on then."""
    card.buttons["start"].click()
    session, enough = card.session, card.session.step_count + steps
    until(lambda: not session.running or session.step_count >= enough, f"{steps} steps")


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until this holds; AssertionError if it takes too long."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"still not after {PATIENCE:.0f} s: {what}"
        time.sleep(0.005)
