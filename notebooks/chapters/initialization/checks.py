"""Checks of 04_initialization."""

from __future__ import annotations

import math
from functools import partial

import torch

from course_utils import runtime
from course_utils.lesson import check, compare, exercise, law

from .theory import initial_loss

__all__ = ["check"]  # a notebook takes it from here, so that its exercises are registered


@exercise("different-units", "counting units that differ")
def _(answer):
    """answer(incoming (hidden, inputs), outgoing (outputs, hidden)) -> how many different hidden units there are."""
    incoming = torch.randn(10, 4, generator=runtime.generator(0))
    outgoing = torch.randn(3, 10, generator=runtime.generator(1))
    yield compare(answer(incoming, outgoing), 10, what="the count of ten random units")
    for unit, twin in ((3, 1), (5, 1), (8, 0), (9, 2)):
        incoming[unit], outgoing[:, unit] = incoming[twin], outgoing[:, twin]
    incoming[4] = incoming[7] = incoming[1]  # the same inputs, but other outputs
    outgoing[:, 6] = outgoing[:, 1]  # and the other way round
    mistakes = {
        "compared only the weights that come in: those that go out must agree too": 4,
        "compared only the weights that go out: those that come in must agree too": 5,
        "counted only the units that have no twin: twins count once": 3,
        "counted all units, with their twins": 10,
    }
    yield compare(answer(incoming, outgoing), 6, mistakes=mistakes, what="the count with some twins")
    same = torch.full((6, 4), 0.1), torch.full((3, 6), 0.1)
    yield compare(answer(same[0], same[1]), 1, what="the count where all weights are 0.1")
    turned = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])
    found = answer(turned, torch.full((1, 3), 3.0))
    yield compare(found, 2, what="the count where one of three units has the same weights in another order")
    near = same[0].clone()
    near[2, 0] += 1e-6
    yield compare(answer(near, same[1]), 2, what="the count where one weight differs by a millionth")


@exercise("he-std", "the standard deviation of a start")
def _(answer):
    """answer(fan_in, slope) -> std for which a leaky ReLU layer keeps the mean square of its signal."""
    def start(fan_in, slope):
        return math.sqrt(2 / ((1 + slope**2) * fan_in))

    yield compare(answer(50, 0.0), start(50, 0.0), what="the std for 50 inputs and ReLU (slope 0)", mistakes={
        "returned the variance: the standard deviation is its square root": 2 / 50,
        "forgot that ReLU lets only half of the mean square through": math.sqrt(1 / 50),
        "doubled where you should halve: the weights must make up for what ReLU takes away": math.sqrt(1 / 100),
        "used two thirds of what is needed: half of the values are 0, and so is half of the mean square":
            math.sqrt(4 / 150),
    })  # fmt: skip
    yield compare(answer(50, 1.0), start(50, 1.0), what="the std for 50 inputs and slope 1, which is no ReLU at all",
                  mistakes={
        "ignored the slope": start(50, 0.0),
        "squared 1 + s as a whole: the two halves add up to (1 + s²)/2": math.sqrt(2 / (4 * 50)),
    })  # fmt: skip
    yield compare(answer(200, 0.3), start(200, 0.3), what="the std for 200 inputs and slope 0.3", mistakes={
        "did not square the slope: a value times s has s² times the square": math.sqrt(2 / (1.3 * 200)),
        "added the slope to the whole and not to a half: the values above 0 give 1/2, the others s²/2":
            math.sqrt(1 / ((1 + 0.09) * 200)),
        "counted only the values below 0": math.sqrt(2 / (0.09 * 200)),
    })  # fmt: skip


@exercise("lsuv", "unit variance, layer by layer")
def _(answer):
    """answer(weights: list of (outputs, inputs), signal (rows, inputs)) -> scaled weights, in order.

    Between the layers stands a ReLU; each layer's outputs, before it, get standard deviation 1.
    """
    rng = runtime.generator(0)
    shapes = [(30, 20), (40, 30), (10, 40)]
    weights = [scale * torch.randn(shape, generator=rng) for scale, shape in zip((3.0, 0.1, 0.5), shapes, strict=True)]
    signal = torch.randn(200, 20, generator=rng)
    right = _lsuv(weights, signal)
    found = answer(weights, signal)
    yield law(isinstance(found, list | tuple) and len(found) == 3,
              "expected a list with the scaled weights of all 3 layers, in order")  # fmt: skip
    for wrong, way in LSUV_MISTAKES.items():
        same = all(_close(one, other) for one, other in zip(found, way(weights, signal), strict=True))
        yield law(not same, f"it looks as if you {wrong}")
    for number, (one, wanted) in enumerate(zip(found, right, strict=True), start=1):
        yield compare(one, wanted, rtol=5e-3, what=f"the weights of layer {number}")


def _one_over_std(outputs):
    return 1 / outputs.std(unbiased=False)


def _lsuv(weights, signal, *, factor=_one_over_std, scaled_before=True, act=torch.relu):
    """Each weight times a factor of its outputs; the options make a mistake of it."""
    scaled = []
    for weight in weights:
        scaled.append(weight * factor(signal @ weight.T))
        signal = act(signal @ (scaled[-1] if scaled_before else weight).T)
    return scaled


LSUV_MISTAKES = {
    "measured each layer behind layers that are not yet scaled: pass on what the scaled layer gives":
        partial(_lsuv, scaled_before=False),
    "divided by the variance: divide by the standard deviation":
        partial(_lsuv, factor=lambda outputs: 1 / outputs.var(unbiased=False)),
    "measured after the ReLU: the outputs before it get standard deviation 1":
        partial(_lsuv, factor=lambda outputs: 1 / outputs.relu().std(unbiased=False)),
    "multiplied by the standard deviation: divide by it":
        partial(_lsuv, factor=lambda outputs: outputs.std(unbiased=False)),
    "divided by the root of the mean square: the outputs of a layer behind a ReLU do not have mean 0":
        partial(_lsuv, factor=lambda outputs: outputs.square().mean().rsqrt()),
    "scaled each unit on its own: divide the whole layer by one number":
        partial(_lsuv, factor=lambda outputs: 1 / outputs.std(0, unbiased=False)[:, None]),
    "left out the ReLU between the layers": partial(_lsuv, act=lambda x: x),
    "scaled by the standard deviation of the weights: measure the layer's outputs":
        lambda weights, signal: [weight / weight.std(unbiased=False) for weight in weights],
}  # fmt: skip


def _close(one, other) -> bool:
    one = torch.as_tensor(one)
    return one.shape == other.shape and torch.allclose(one.float(), other, rtol=5e-3)


@exercise("initial-loss", "the loss at step 0")
def _(answer):
    """answer(vocab, std) -> expected loss in nats when logits are N(0, std²), whatever the target."""
    yield compare(answer(50, 0.0), math.log(50), what="the loss for 50 tokens and logits of 0", rtol=0.005, mistakes={
        "took the logarithm to base 2: nats use the natural one": math.log2(50),
        "returned the probability and not the loss": 1 / 50,
        "forgot the minus sign: the loss is −ln(1/V)": -math.log(50),
    })  # fmt: skip
    wanted = initial_loss(50, 0.8**2)
    yield compare(answer(50, 0.8), wanted, what="the loss for 50 tokens and logits of std 0.8", rtol=0.006, mistakes={
        "left out what the spread of the logits adds": math.log(50),
        "added the standard deviation and not half of its square": math.log(50) + 0.8,
        "added half of the standard deviation: it is half of its square": math.log(50) + 0.4,
        "added the whole variance: it is half of it": math.log(50) + 0.64,
        "took the spread away: confidence without reason costs": math.log(50) - 0.32,
    })  # fmt: skip
    yield compare(answer(1000, 0.5), initial_loss(1000, 0.25), what="the loss for 1,000 tokens, std 0.5", rtol=0.006)
