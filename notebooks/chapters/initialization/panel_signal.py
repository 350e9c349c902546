"""The signal lab: what becomes of a signal, and of the gradient that comes back, before any training."""

from __future__ import annotations

import numpy as np
from torch.nn import functional as F

from course_utils import figures, runtime
from course_utils.dice import Dice
from course_utils.initialization import INIT_SCHEMES, initialize_
from course_utils.live import Choice, Explorer, Shown, Slider
from course_utils.models import MLP

from .memory import training_memory
from .probes import Probe, Statistics, probe
from .signals import Predicted, predict_signal
from .studies import DEPTHS, STUDIES, unit_digits

WIDTHS = (64, 256, 1000)  # of the stored networks
ROWS = 128  # digits that are sent through
MOST_WEIGHTS = 4_200_000  # two seconds
SHAPE = np.linspace(-4, 4, 81)  # of a histogram, in units of the root mean square


def signal_lab() -> Explorer:
    """Scheme x depth x width x activation x residual x norm: every layer's signal and gradient, and the theory."""
    yes_no = ("no", "yes")
    return Explorer(_draw, title="Signal lab", controls={
        "scheme": (Choice(label="start", options=tuple(INIT_SCHEMES), help="The scheme for the first weights."), "he"),
        "depth": (Slider(label="hidden layers", low=2, high=60, step=1, whole=True, firm=True,
                         help="How many layers the signal passes."), 30),
        "width": (Slider(label="units per layer", low=8, high=256, step=8, whole=True,
                         help="How many units each of them has."), 128),
        "activation": (Choice(label="activation", options=("relu", "tanh", "gelu", "linear"),
                              help="What each unit applies to its sum."), "relu"),
        "residual": (Choice(label="residual", options=yes_no,
                            help="Add a layer's input to what it gives (section 6)."), "no"),
        "norm": (Choice(label="norm", options=yes_no,
                        help="LayerNorm before each activation: mean 0 and variance 1 over the units."), "no"),
        "seed": (Slider(label="seed", low=0, high=99, step=1, whole=True, help="Other dice, same scheme."), 0),
    })  # fmt: skip


def _draw(*, scheme, depth, width, activation, residual, norm, seed):
    sizes = _affordable([64, *[width] * depth, 10])
    # in float64, as a signal leaves float32 at either end within 60 layers; the first weights are the same numbers
    with Dice(seed):  # PyTorch's own start, which the scheme replaces
        model = MLP(sizes, activation=activation, residual=residual == "yes", norm=norm == "yes").double()
    images, labels = unit_digits(ROWS)
    images = images.double()
    data = {"inputs": images} if "inputs" in INIT_SCHEMES[scheme].options else {}
    initialize_(model, scheme, generator=runtime.generator(seed), **data)
    with probe(model) as seen:
        F.cross_entropy(model(images), labels).backward()
    theory = predict_signal(model, scheme, mean=images.mean().item())
    pictures = [_activations(seen, theory), _gradients(seen, theory)]
    for title, found in (("activations", seen.activations), ("gradients", seen.gradients)):
        pictures.append(_histograms(_hidden(seen, found), f"Histograms of {title}, layer by layer"))
    return Shown(figures=pictures, summary=_summary(seen, theory, model))


def _affordable(sizes: list[int]) -> list[int]:
    """These sizes; ValueError, with the reason, for a network that does not fit or would take too long."""
    if min(sizes) < 1 or len(sizes) < 3:
        raise ValueError("a network needs at least 1 hidden layer of 1 unit: choose more")
    weights = sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))
    need, have = 16 * weights, runtime.memory_available()  # the count for weights, before a single one is made
    if need > have:
        need, have = runtime.readable_bytes(need), runtime.readable_bytes(have)
        raise ValueError(f"not built: training it takes over {need}, {have} are free. Choose fewer or smaller layers")
    if weights > MOST_WEIGHTS:
        raise ValueError(f"not built: {weights:,} weights fit, but would take too long here. "
                         f"Choose fewer or smaller layers, for at most {MOST_WEIGHTS:,}")  # fmt: skip
    return sizes


def _hidden(seen: Probe, found: dict[str, Statistics]) -> list[Statistics]:
    return [found[name] for name in seen.activations if name != "output"]  # gradients come in from the end


def _line(name: str, values, style: int, **look) -> figures.Series:
    y = np.array(values, dtype=float)
    y[y <= 0] = np.nan  # a logarithmic axis has no zero
    return figures.Series(name=name, x=np.arange(1, len(y) + 1), y=y, style=style, **look)


def _activations(seen: Probe, theory: Predicted | None) -> dict:
    series = [_line("measured", [one.second_moment for one in _hidden(seen, seen.activations)], 0, markers=True)]
    if theory:
        series.append(_line("theory", theory.activations, 1))
    return _by_layer(series, "Forward: the signal", "mean square of activations")


def _by_layer(series: list[figures.Series], title: str, y_title: str) -> dict:
    return figures.lines(series, title=title, x_title="layer", y_title=y_title, y_log=True)


def _gradients(seen: Probe, theory: Predicted | None) -> dict:
    back = [one.second_moment for one in _hidden(seen, seen.gradients)]
    weights = [seen.weight_gradients[f"layers.{number}.weight"].second_moment for number in range(len(back))]
    series = [_line("back-propagated", back, 0, markers=True)]
    if theory:
        series.append(_line("theory, from the last layer on", [back[-1] * factor for factor in theory.gradients], 1))
    series.append(_line("of the weights", weights, 2, faded=True))
    return _by_layer(series, "Backward: the gradient", "mean square of gradients")


def _histograms(found: list[Statistics], title: str) -> dict:
    rows = [_density(one) for one in found]
    names = [str(number) for number in range(1, len(rows) + 1)]
    spec = figures.heatmap(np.stack(rows), title=title, x_title="value, in units of the layer's root mean square",
                           y_title="layer", z_range=(0, 1), z_title="density")  # fmt: skip
    step = max(1, len(rows) // 10)
    shown = list(range(0, len(rows), step))
    spec["layout"]["yaxis"] |= {"tickmode": "array", "tickvals": shown, "ticktext": [names[row] for row in shown]}
    ticks = list(range(0, len(SHAPE), 20))
    spec["layout"]["xaxis"] |= {"tickmode": "array", "tickvals": ticks, "ticktext": [f"{SHAPE[i]:g}" for i in ticks]}
    return spec


def _density(one: Statistics) -> np.ndarray:
    """How densely the values lie at each point of `SHAPE`; zero where there is no signal."""
    root = np.sqrt(one.second_moment)
    if not (one.reach > 0 and np.isfinite(root) and root > 0):
        return np.zeros(len(SHAPE))
    counts = np.array(one.counts, dtype=float)
    edge, width = one.reach / root, 2 * one.reach / root / len(counts)
    place = np.floor((SHAPE + edge) / width).astype(int)  # the bin of each point
    within = (place >= 0) & (place < len(counts))
    return np.where(within, counts[place.clip(0, len(counts) - 1)], 0.0) / counts.sum() / width


def _summary(seen: Probe, theory: Predicted | None, model: MLP) -> str:
    last = _hidden(seen, seen.activations)[-1]
    back = [one.second_moment for one in _hidden(seen, seen.gradients)]
    words = f"Mean square at the last hidden layer: {last.second_moment:.2g}"
    words += f" (theory {theory.activations[-1]:.2g})" if theory else " (no theory for this start)"
    words += f"; {last.active:.0%} of its values are above 0. "
    if back[-1] > 0:
        words += f"The gradient's mean square at layer 1 is {back[0] / back[-1]:.2g} times that at the last. "
    else:
        words += "No gradient comes back. "
    memory = runtime.readable_bytes(training_memory(model, batch=ROWS, optimizer="sgd").total)
    return words + f"Training it with SGD would take {memory}."


def spread_panel() -> Explorer:
    """How far apart networks of one start are, over depth, for three widths (stored runs of ReLU with He)."""
    rows = {width: STUDIES.stored("moments", activation="relu", width=width) for width in WIDTHS}
    spread = {width: np.std([np.log(row["moments"]) for row in found], axis=0) for width, found in rows.items()}

    def draw(*, against):
        series = []
        for style, width in enumerate(WIDTHS):
            x = np.array(DEPTHS) / (width if against == "depth / width" else 1)
            series.append(figures.Series(name=f"width {width}", x=x, y=spread[width], style=style, markers=True))
            theory = np.sqrt(5 * np.array(DEPTHS) / width)
            series.append(figures.Series(name=f"√(5 L/n), n = {width}", x=x, y=theory, style=style, faded=True))
        spec = figures.lines(series, title="Spread between networks at the start", x_title=against, x_log=True,
                             y_title="std of ln(mean square)", y_log=True)  # fmt: skip
        for axis in ("xaxis", "yaxis"):
            spec["layout"][axis]["dtick"] = "D2"  # 1, 2, 5: all nine digits would stand on one another
        deepest = ", ".join(f"{spread[width][-1]:.2f} at width {width}" for width in WIDTHS)
        return Shown(figures=[spec], summary=f"After {DEPTHS[-1]} layers, the spread is {deepest}.")

    choice = Choice(label="against", options=("depth", "depth / width"), help="What to put on the horizontal axis.")
    return Explorer(draw, title="Spread between networks", controls={"against": (choice, "depth")})
