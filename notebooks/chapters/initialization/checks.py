"""Checks of 04_initialization."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch

from course_utils import runtime
from course_utils.lesson import check, compare, exercise, law

from .theory import initial_loss

__all__ = ["check"]  # a notebook takes it from here, so that its exercises are registered


@exercise("different-units", "counting units that differ")
def _(answer):
    """answer(incoming (hidden, inputs), outgoing (outputs, hidden)) -> how many different hidden units there are."""
    incoming = torch.randn(12, 4, generator=runtime.generator(0))
    outgoing = torch.randn(3, 12, generator=runtime.generator(1))
    yield compare(answer(incoming, outgoing), 12, what="the count of twelve random units")
    for unit in (3, 5, 8, 9):
        incoming[unit], outgoing[:, unit] = incoming[1], outgoing[:, 1]
    for unit in (4, 7, 10):  # the same inputs, but other outputs
        incoming[unit] = incoming[1]
    for unit in (2, 6):  # and the other way round
        outgoing[:, unit] = outgoing[:, 1]
    mistakes = {
        "compared only the weights that come in: those that go out must agree too": 5,
        "compared only the weights that go out: those that come in must agree too": 6,
        "counted only the units that have no twin: twins count once": 7,
        "took away each pair of equal units: five equal ones are ten pairs, and only four too many": 2,
        "counted the twins: count the units that differ": 4,
        "compared neighbours only: twins may lie apart": 11,
        "counted all units, with their twins": 12,
    }
    yield compare(answer(incoming, outgoing), 8, mistakes=mistakes, what="the count with some twins")
    same = torch.full((6, 4), 0.1), torch.full((3, 6), 0.1)
    yield compare(answer(same[0], same[1]), 1, what="the count where all weights are 0.1")
    turned = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])
    found = answer(turned, torch.full((1, 3), 3.0))
    yield compare(found, 2, what="the count where one of three units has the same weights in another order")
    near = same[0].clone()
    near[2, 0] += 1e-6
    yield compare(answer(near, same[1]), 2, what="the count where one weight differs by a millionth",
                  mistakes={"took nearly equal weights for equal (one differs by a millionth): compare exactly": 1})
    yield compare(answer(near[:1], same[1][:, :1]), 1, what="the count of a single unit")


@exercise("he-std", "the standard deviation of a start")
def _(answer):
    """answer(fan_in, slope) -> std for which a leaky ReLU layer keeps the mean square of its signal."""
    def start(fan_in, slope):
        return math.sqrt(2 / ((1 + slope**2) * fan_in))

    yield compare(answer(50, 0.0), start(50, 0.0), what="the std for 50 inputs and ReLU (slope 0)", mistakes={
        "returned the variance: the standard deviation is its square root": 2 / 50,
        "forgot that ReLU lets only half of the mean square through": math.sqrt(1 / 50),
        "returned the bound of a uniform start: its standard deviation is √3 times smaller": math.sqrt(6 / 50),
        "returned the gain alone: divide it by the root of the number of inputs": math.sqrt(2),
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
    "averaged the standard deviations of the units: take that of all outputs together":
        partial(_lsuv, factor=lambda outputs: 1 / outputs.std(0).mean()),
    "averaged the standard deviations of the rows: take that of all outputs together":
        partial(_lsuv, factor=lambda outputs: 1 / outputs.std(1).mean()),
    "left out the ReLU between the layers": partial(_lsuv, act=lambda x: x),
    "scaled by the standard deviation of the weights: measure the layer's outputs":
        lambda weights, signal: [weight / weight.std(unbiased=False) for weight in weights],
}  # fmt: skip


def _close(one, other) -> bool:
    one = torch.as_tensor(one)
    return one.shape == other.shape and torch.allclose(one.float(), other, rtol=5e-3)


EXACT = 0.008  # nats: the formula stops after its second order, and is 0.003 off


@exercise("initial-loss", "the loss at step 0")
def _(answer):
    """answer(vocab, std) -> expected loss in nats when logits are N(0, std²), whatever the target."""
    yield compare(answer(50, 0.0), math.log(50), what="the loss for 50 tokens and logits of 0", rtol=0.005, mistakes={
        "took the logarithm to base 2: nats use the natural one": math.log2(50),
        "returned the probability and not the loss": 1 / 50,
        "forgot the minus sign: the loss is −ln(1/V)": -math.log(50),
    })  # fmt: skip
    # Few tokens, so that the last term of the formula shows. An answer that draws is off to either side from one
    # vocabulary to the next, also where it seeds its draws, and a formula is not: that is the answer's own error.
    vocabs, std = range(6, 22), 0.8
    base, wanted = (np.mean([initial_loss(vocab, s) for vocab in vocabs]) for s in (0.0, std**2))
    found = [float(answer(vocab, std)) for vocab in vocabs]
    off = np.std(np.diff([one - initial_loss(vocab, std**2) for one, vocab in zip(found, vocabs, strict=True)], 2))
    off /= math.sqrt(6)  # second differences of independent numbers, which leave out what is smooth
    mistakes = {
        "left out what the spread of the logits adds": base,
        "added the standard deviation and not half of its square": base + std,
        "added half of the standard deviation: it is half of its square": base + std / 2,
        "added the whole variance: it is half of it": base + std**2,
        "took the spread away: confidence without reason costs": base - std**2 / 2,
        "left out the last term, which counts where tokens are few: −(e^s − 1) / (2V)": base + std**2 / 2,
        "added the last term: it is taken away": 2 * base + std**2 - wanted,
        "left out the 2 below the last term: it is (e^s − 1) / (2V)": 2 * wanted - base - std**2 / 2,
    }
    what = "the loss for logits of std 0.8, as a mean over 6 to 21 tokens"
    error = off / math.sqrt(len(found))
    yield law(error < 0.03, f"your losses scatter by about {off:.2g}: draw more logits, 1,000 rows of them or so")
    if compare(np.mean(found), wanted, atol=EXACT + 4 * error, rtol=0):
        what += f", which scatter by {off:.2g}," if off > EXACT else ""
        yield compare(np.mean(found), wanted, mistakes=mistakes if off < EXACT else {}, atol=EXACT, rtol=0, what=what)
    yield compare(answer(1000, 0.5), initial_loss(1000, 0.25), what="the loss for 1,000 tokens, std 0.5",
                  atol=0.01 + 4 * off)  # fmt: skip
