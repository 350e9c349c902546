"""What theory predicts before any training: variances, correlations, depth scales, the first loss.

The mean-field picture (Poole et al. 2016; Schoenholz et al. 2017) describes a wide, fully connected network
whose weights are drawn from N(0, sigma_w^2 / fan_in) and biases from N(0, sigma_b^2). Two numbers then say all
about a layer: the variance q of its pre-activations, and the correlation c between two inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from course_utils.values import number

DIVERGED = 1e8  # a variance this many times what a layer makes of ±1 has no fixed point to settle at
VANISHED = 1e-12  # below this, without biases to feed it, a variance counts as 0
TOLERANCE = 1e-13  # a search ends when a layer would move the variance by less than this share of it
LARGEST = 1e8  # of a sigma: beyond it, two correlations that a layer tells apart are one floating-point number
STEP = 0.1  # of a quadrature
FLAT = 20.0  # tanh's slope here is 1e-17
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(40)
MARGINAL = 1e-9  # a slope this near to 1 counts as 1: its length is infinite


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """Averages over the Gaussian pre-activations of one nonlinearity f. (u, v): variance q, correlation c."""

    square: Callable[[float], float]  # q -> E f(u)^2
    square_slope: Callable[[float], float]  # q -> d/dq E f(u)^2
    product: Callable[[float, float], float]  # q, c -> E f(u) f(v)
    slopes: Callable[[float, float], float]  # q, c -> E f'(u) f'(v)


def _points(std: float, reach: float = math.inf) -> tuple[np.ndarray, np.ndarray]:
    """Points u as far as 9 std, or as reach, and their weights under N(0, std^2).

    Equal steps of asinh u: close together at 0, where tanh turns, even if the normal curve is far wider than the
    turn. Tanh and the curve have no pole near such a path, so that the sum is exact to rounding.
    """
    scale = max(1.0, std)
    end = math.asinh(scale * min(9.0, reach / std if std else 9.0))
    steps = np.arange(-math.ceil(end / STEP), math.ceil(end / STEP) + 1) * STEP
    z = np.sinh(steps) / scale
    return std * z, STEP * np.cosh(steps) / scale * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _saturating(f: Callable, slope: Callable, curvature: Callable) -> Kernel:
    """The kernel of a smooth, odd nonlinearity whose slope is 0 for |u| > `FLAT`, by quadrature."""

    def average(g: Callable, q: float) -> float:
        points, weights = _points(math.sqrt(q))
        return float(weights @ g(points))

    def square(q: float) -> float:
        return average(lambda u: f(u) ** 2, q)

    def slopes(q: float, c: float) -> float:  # u = along + across, v = along - across
        along, along_weights = _points(math.sqrt(q * (1 + c) / 2), FLAT)
        across, across_weights = _points(math.sqrt(q * (1 - c) / 2), FLAT)
        both = slope(along[:, None] + across) * slope(along[:, None] - across)
        return float(along_weights @ both @ across_weights)

    def product(q: float, c: float) -> float:
        # d/dc E f(u) f(v) = q E f'(u) f'(v) (Price 1958), integrated down from c = 1 over the angle acos c
        scale = max(1.0, math.sqrt(q))
        end = math.asinh(scale * math.acos(abs(c)))
        parts = 1 + int(end / 10)
        steps = (np.arange(parts)[:, None] + (NODES + 1) / 2).ravel() * end / parts
        weights = np.tile(NODE_WEIGHTS, parts) * end / parts / 2 * np.cosh(steps) / scale
        lost = q * float(weights @ [slopes(q, math.cos(a)) * math.sin(a) for a in np.sinh(steps) / scale])
        return math.copysign(square(q) - lost, c) if c else 0.0

    return Kernel(
        square=square,
        square_slope=lambda q: average(lambda u: slope(u) ** 2 + f(u) * curvature(u), q),
        product=product,
        slopes=slopes,
    )


def _tanh_slope(u: np.ndarray) -> np.ndarray:
    return 1 - np.tanh(u) ** 2


def _gelu_product(q: float, c: float) -> float:
    """E f(u) f(v) for f(u) = u Phi(u): Stein's lemma, with every remaining average a Gaussian integral."""
    p = q * c
    d = math.sqrt((1 + q - p) * (1 + q + p))
    rest = (q * (q - p) * (q + p) + q * q + p * p) / ((1 + q) * d)
    return p / 4 + (p * math.asin(p / (1 + q)) + rest) / (2 * math.pi)


def _gelu_slopes(q: float, c: float) -> float:
    p = q * c
    d = math.sqrt((1 + q - p) * (1 + q + p))
    return 0.25 + (math.asin(p / (1 + q)) + 2 * p / ((1 + q) * d) + p / d**3) / (2 * math.pi)


def _gelu_square_slope(q: float) -> float:
    d = math.sqrt(1 + 2 * q)
    rest = 5 * q / ((1 + q) * d) - 2 * q * q / ((1 + q) * d) * (1 / (1 + q) + 1 / d**2)
    return 0.25 + (math.asin(q / (1 + q)) + rest) / (2 * math.pi)


KERNELS = {
    "tanh": _saturating(np.tanh, _tanh_slope, lambda u: -2 * np.tanh(u) * _tanh_slope(u)),
    "relu": Kernel(  # the arc-cosine kernels of Cho and Saul (2009)
        square=lambda q: q / 2,
        square_slope=lambda q: 0.5,
        product=lambda q, c: q * (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / (2 * math.pi),
        slopes=lambda q, c: (math.pi - math.acos(c)) / (2 * math.pi),
    ),
    "gelu": Kernel(
        square=lambda q: _gelu_product(q, 1.0),
        square_slope=_gelu_square_slope,
        product=_gelu_product,
        slopes=_gelu_slopes,
    ),
    "linear": Kernel(
        square=lambda q: q, square_slope=lambda q: 1.0, product=lambda q, c: q * c, slopes=lambda q, c: 1.0
    ),
}


@dataclass(frozen=True)
class MeanField:
    """Where a deep network's signals settle, and over how many layers.

    q_star: the variance of the pre-activations after many layers (from a start at 1); inf if it diverges.
    c_star: the correlation that two different inputs end with; nan if q_star is inf.
    chi_1: the factor by which a layer multiplies the mean square gradient; 1 is the edge of chaos.
    xi_c, xi_q: the number of layers over which correlation and variance approach these ends by a factor e;
    inf at the edge, nan where there is nothing to approach.
    """

    q_star: float
    c_star: float
    chi_1: float
    xi_c: float
    xi_q: float


def kernel_of(activation: str) -> Kernel:
    """The averages of an activation; ValueError for one without a theory."""
    if activation not in KERNELS:
        raise ValueError(f"no mean-field theory for activation {activation!r}: choose one of {', '.join(KERNELS)}")
    return KERNELS[activation]


def check_finite(*, most: float = LARGEST, **numbers: float) -> None:
    """ValueError for the first of these that is negative, not finite, or too large to compute with."""
    for name, value in numbers.items():
        number(name, value, f"a finite number, 0 or more, at most {most:g}", lambda x: 0 <= x <= most)


def mean_field(sigma_w: float, sigma_b: float, activation: str = "tanh") -> MeanField:
    """The fixed points of variance and correlation, and their depth scales (Schoenholz et al. 2017, eq. 5-9).

    activation: "tanh", "relu", "gelu" or "linear". ValueError for another, or for a negative sigma.
    A network trains down to about 6 xi_c layers, says the paper.
    """
    check_finite(sigma_w=sigma_w, sigma_b=sigma_b)
    sigma_w, sigma_b, kernel = float(sigma_w), float(sigma_b), kernel_of(activation)
    q = _settled_variance(kernel, sigma_w**2, sigma_b**2)
    if q == math.inf:
        gradient_gain = sigma_w**2 * kernel.slopes(DIVERGED, 1.0)
        return MeanField(math.inf, math.nan, gradient_gain, math.nan, math.nan)
    chi_1 = sigma_w**2 * kernel.slopes(q, 1.0)
    c = 1.0 if chi_1 <= 1 + MARGINAL else _settled_correlation(kernel, sigma_w**2, sigma_b**2, q)
    return MeanField(
        q_star=q,
        c_star=c,
        chi_1=chi_1,
        xi_c=_length(sigma_w**2 * kernel.slopes(q, c)),
        xi_q=_length(sigma_w**2 * kernel.square_slope(q)),
    )


def _length(slope: float) -> float:
    """Layers over which a distance that shrinks by `slope` per layer falls by a factor e."""
    if slope <= 0:
        return 0.0
    return math.inf if slope >= 1 - MARGINAL else -1 / math.log(slope)


def _settled_variance(kernel: Kernel, weight: float, bias: float) -> float:
    """The fixed point of the variance map that is reached from 1; inf if there is none."""
    q = 1.0
    for _ in range(1000):
        excess = weight * kernel.square(q) + bias - q
        slope = weight * kernel.square_slope(q) - 1
        if abs(excess) <= TOLERANCE * q:
            return q
        if slope < 0:
            q = max(bias, q - excess / slope)  # Newton's step
        else:  # leaving an unstable point: up in leaps, since it may be far; down as the layers go
            q = 2 * q if excess > 0 else q + excess
        if q > DIVERGED * max(1.0, weight + bias):
            return math.inf
        if q < VANISHED and bias == 0:
            return 0.0
    return q


def _settled_correlation(kernel: Kernel, weight: float, bias: float, q: float) -> float:
    """The stable fixed point below 1, where chaos drives two inputs.

    The map is convex (a power series with positive terms), so Newton's steps from 0 rise to it and never pass it.
    """
    c, step = 0.0, 1.0
    while step > TOLERANCE:
        excess = (weight * kernel.product(q, c) + bias) / q - c
        step = excess / (1 - weight * kernel.slopes(q, c))
        c = min(1.0, c + max(0.0, step))
    return c
