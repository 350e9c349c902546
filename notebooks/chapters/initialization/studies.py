"""Digit networks with one start or another: the experiments of 04_initialization, and those that are stored."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils import data, runtime, sweeps, training
from course_utils.data.images import Split
from course_utils.initialization import initialize_
from course_utils.lesson.study import Row, Studies, Study
from course_utils.models import MLP

from . import studies_starts
from .probes import probe
from .theory import variance_map

UNITS = 8  # of the hidden layer that is looked at unit by unit
CONSTANT = 0.01  # small enough that tanh is not at its end


@cache
def split() -> Split:
    """The digits to train on, and those to test with."""
    return data.digits_split()


def digit_batches(generator: torch.Generator, *, batch_size: int = 32) -> tuple[Tensor, Tensor]:
    """Random training digits: (batch_size, 64) and (batch_size,)."""
    images, labels, *_ = split()
    rows = torch.randint(len(images), (batch_size,), generator=generator)
    return images[rows], labels[rows]


@cache
def unit_digits(rows: int) -> tuple[Tensor, Tensor]:
    """Training digits, each scaled to a mean square of 1: (rows, 64), and their labels, (rows,)."""
    images, labels = (part[:rows] for part in split()[:2])
    return images / images.square().mean(1, keepdim=True).sqrt(), labels


def symmetry_recipe(*, start: str = "constant", noise: float = 0.0, steps: int = 400) -> training.Experiment:
    """One hidden layer of 8 tanh units, SGD. noise: standard deviation of what is added to every weight."""

    def build(generator: torch.Generator) -> MLP:
        value = CONSTANT if start == "constant" else None
        model = initialize_(MLP([64, UNITS, 10], activation="tanh"), start, generator=generator, value=value)
        with torch.no_grad():
            for weight in model.parameters():
                weight += noise * torch.randn(weight.shape, generator=generator)
        return model

    digit = split().test_images[:1]

    def answers(model: MLP, _) -> dict[str, float]:
        hidden = model.act(model.layers[0](digit.to(model.layers[0].weight.device)))[0]  # (units,)
        return {f"unit {number}": value for number, value in enumerate(hidden.tolist(), start=1)}

    return training.Experiment(
        model=build,
        batches=digit_batches,
        optimizer="sgd",
        knobs={"lr": 0.3},
        measures={"units": answers},
        measure_every=5,
        steps=steps,
        levels={"one class for all": training_class_entropy()},
    )


def training_class_entropy() -> float:
    """The loss of the best constant guess on the training digits, in nats."""
    share = split().train_labels.bincount().double()
    share = share / share.sum()
    return -float((share * share.log()).sum())


# --- moments, layer by layer (section 3) ---------------------------------------------------------------------------

DEPTHS = (1, 2, 5, 10, 20, 50)
FIELDS = {  # activation -> sigma_w, sigma_b: at the edge where theory is exact, else with a variance that settles
    "relu": (2**0.5, 0.0),
    "linear": (1.0, 0.0),
    "tanh": (1.5, 0.3),
    "gelu": (1.2, 0.3),
}


def moments_points() -> Iterator[Row]:
    """ReLU and linear nets in number, also of other widths for ReLU; tanh and GELU where they are wide."""
    for activation in ("relu", "linear"):
        yield from ({"activation": activation, "width": 256, "seed": seed} for seed in range(200))
    for width, seeds in ((64, 200), (1000, 40)):
        yield from ({"activation": "relu", "width": width, "seed": seed} for seed in range(seeds))
    for activation in ("tanh", "gelu"):
        yield from ({"activation": activation, "width": 1000, "seed": seed} for seed in range(20))


@torch.no_grad()
def moments_point(*, activation: str, width: int, seed: int) -> Row:
    """Mean squares of what the layers at `DEPTHS` give, for one digit in a network of 50 layers."""
    sigma_w, sigma_b = FIELDS[activation]
    model = MLP([64, *[width] * max(DEPTHS), 10], activation=activation)
    initialize_(model, "lecun", generator=runtime.generator(seed), gain=sigma_w, bias_std=sigma_b)
    with probe(model) as seen:
        model(unit_digits(1)[0])
    return {"moments": [float(f"{seen.activations[f'layer {depth}'].second_moment:.5g}") for depth in DEPTHS]}


def expected_moments(activation: str) -> list[float]:
    """What theory says of `moments_point`, at the same depths."""
    sigma_w, sigma_b = FIELDS[activation]
    variance, found = sigma_w**2 + sigma_b**2, []  # of the first pre-activations: the digit's mean square is 1
    for _ in range(max(DEPTHS)):
        after = variance_map(variance, sigma_w, sigma_b, activation)
        found.append((after - sigma_b**2) / sigma_w**2)
        variance = after
    return [found[depth - 1] for depth in DEPTHS]


# --- deep networks, side by side (section 4) ------------------------------------------------------------------------

STARTS: dict[str, tuple[str, dict[str, float]]] = {  # name -> scheme and its options
    "zeros": ("zeros", {}),
    "constant 1/n": ("constant", {}),
    "normal 0.02": ("normal", {}),
    "uniform": ("uniform", {}),
    "lecun": ("lecun", {}),
    "xavier": ("xavier", {}),
    "he": ("he", {}),
    "orthogonal x √2": ("orthogonal", {"gain": 2**0.5}),
    "lsuv": ("lsuv", {}),
}
DEEP_LR = 0.02


@cache
def standard_split() -> Split:
    """The digits with mean 0 and standard deviation 1 over all training pixels."""
    images, labels, test_images, test_labels = split()
    mean, std = images.mean(), images.std()
    return Split((images - mean) / std, labels, (test_images - mean) / std, test_labels)


def standard_batches(generator: torch.Generator, *, batch_size: int = 32) -> tuple[Tensor, Tensor]:
    """Random training digits, standardized: (batch_size, 64) and (batch_size,)."""
    images, labels, *_ = standard_split()
    rows = torch.randint(len(images), (batch_size,), generator=generator)
    return images[rows], labels[rows]


def deep_network(start: str, *, depth: int, width: int, activation: str) -> sweeps.Build:
    """Builds a digit network with this many layers, from one of `STARTS`."""
    scheme, options = STARTS[start]
    if scheme == "constant":
        options = {"value": 1 / width}  # so that the signal neither vanishes nor explodes
    if scheme == "lsuv":
        options = {"inputs": standard_split().train_images[:256]}

    def build(generator: torch.Generator) -> MLP:
        model = MLP([64, *[width] * (depth - 1), 10], activation=activation)
        return initialize_(model, scheme, generator=generator, **options)

    return build


def deep_recipe(*, depth: int = 30, activation: str = "relu", steps: int = 800, starts: Sequence[str] = tuple(STARTS)):
    """Networks of this many layers of 64 units, one for each start, trained side by side with SGD."""
    builds = {start: deep_network(start, depth=depth, width=64, activation=activation) for start in starts}
    return fleet_recipe(builds, lr=DEEP_LR, steps=steps, measure_every=20)


def fleet_recipe(builds: Mapping[str, sweeps.Build], *, lr: float, steps: int, measure_every: int):
    """Digit networks by name, side by side, with SGD and a cosine; measures "NAME: loss" and "NAME: right"."""

    def measure(fleet: sweeps.Fleet, _) -> dict[str, float]:
        inputs, labels = (part.to(next(fleet.parameters()).device) for part in standard_split()[2:])
        logits = fleet(inputs)  # (networks, images, classes)
        loss = F.cross_entropy(logits.mT, labels.expand(logits.shape[:2]), reduction="none").mean(1)
        right = (logits.argmax(-1) == labels).float().mean(1)
        found = torch.stack([loss, right], 1).tolist()  # (networks, 2)
        return {f"{name}: {what}": value for name, pair in zip(builds, found, strict=True)
                for what, value in zip(("loss", "right"), pair, strict=True)}  # fmt: skip

    return training.Experiment(
        model=sweeps.fleet(list(builds.values())),
        batches=standard_batches,
        loss=sweeps.fleet_loss,
        optimizer="sgd",
        knobs={"lr": lr},
        schedule=training.cosine(steps),
        measures={"networks": measure},
        measure_every=measure_every,
        steps=steps,
    )


def deep_points() -> Iterator[Row]:
    """Every start at 30 layers, over ten seeds."""
    yield from ({"seed": seed} for seed in range(10))


def deep_point(*, seed: int) -> Row:
    """By start, the share of test digits that a network of 30 ReLU layers guesses right in the end."""
    history = training.finish(deep_recipe().start(seed)).history
    return {start: history[f"{start}: right"].last for start in STARTS}


# --- depth x scale (section 4) --------------------------------------------------------------------------------------

MAP_DEPTHS = (4, 8, 16, 32)
MAP_SCALES = (0.4, 0.8, 1.2, 1.5, 1.76, 2.2, 3.0, 4.0, 6.0)  # sigma_w squared
MAP_BIAS = 0.05  # sigma_b squared


def map_recipe(*, width: int = 64, steps: int = 300, depths: Sequence[int] = MAP_DEPTHS) -> training.Experiment:
    """tanh networks of every depth and scale, side by side: N(0, sigma_w² / n), biases N(0, sigma_b²)."""

    def network(depth: int, scale: float) -> sweeps.Build:
        def build(generator: torch.Generator) -> MLP:
            model = MLP([64, *[width] * depth, 10], activation="tanh")
            return initialize_(model, "lecun", generator=generator, gain=scale**0.5, bias_std=MAP_BIAS**0.5)

        return build

    builds = {map_name(depth, scale): network(depth, scale) for depth in depths for scale in MAP_SCALES}
    return fleet_recipe(builds, lr=0.03, steps=steps, measure_every=10)


def map_name(depth: int, scale: float) -> str:
    return f"{depth} layers, {scale}"


def map_points() -> Iterator[Row]:
    """The whole map, over eight seeds."""
    yield from ({"seed": seed} for seed in range(8))


def map_point(*, seed: int) -> Row:
    """The share of test digits guessed right in the end, a row for each depth and a column for each scale."""
    history = training.finish(map_recipe().start(seed)).history
    return {"right": [[round(history[f"{map_name(depth, scale)}: right"].last, 4) for scale in MAP_SCALES]
                      for depth in MAP_DEPTHS]}  # fmt: skip


def map_rate_points() -> Iterator[Row]:
    """The deep half of the map at other learning rates, over eight seeds."""
    for seed, lr, depth in itertools.product(range(8), (0.003, 0.01, 0.1), MAP_DEPTHS[2:]):
        yield {"depth": depth, "lr": lr, "seed": seed}


def map_rate_point(*, depth: int, lr: float, seed: int) -> Row:
    """The share of test digits guessed right in the end, by scale."""
    run = map_recipe(depths=(depth,)).start(seed)
    run.set("lr", lr)
    history = training.finish(run).history
    return {"right": [round(history[f"{map_name(depth, scale)}: right"].last, 4) for scale in MAP_SCALES]}


STUDIES = Studies(__file__, {
    "depth_scale": Study(map_points, map_point),
    "depth_scale_rates": Study(map_rate_points, map_rate_point),
    "deep_starts": Study(deep_points, deep_point),
    "moments": Study(moments_points, moments_point),
    **studies_starts.STUDIES,
})  # fmt: skip
