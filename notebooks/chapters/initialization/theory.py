"""What theory predicts at the start, beside the fixed points of `mean_field`: one layer's step, the edge of chaos, and
the first loss."""

from __future__ import annotations

import math

from course_utils.initialization import mean_field
from course_utils.initialization.theory import LARGEST, check_finite, kernel_of
from course_utils.values import number, whole


def variance_map(variance: float, sigma_w: float, sigma_b: float, activation: str) -> float:
    """One layer's step of the variance: q -> sigma_w^2 E f(u)^2 + sigma_b^2, u from N(0, q) (Poole, eq. 3)."""
    check_finite(sigma_w=sigma_w, sigma_b=sigma_b)
    check_finite(variance=variance, most=4 * LARGEST**2)
    return sigma_w**2 * kernel_of(activation).square(variance) + sigma_b**2


def correlation_map(
    correlation: float, sigma_w: float, sigma_b: float, activation: str, *, variance: float = 1.0
) -> float:
    """One layer's step of the correlation between two inputs of this variance (Poole, eq. 5).

    Returns the covariance over the next layer's variance; nan if nothing is left of the signal.
    """
    number("correlation", correlation, "a number from -1 to 1", lambda c: -1 <= c <= 1)
    after = variance_map(variance, sigma_w, sigma_b, activation)
    covariance = sigma_w**2 * kernel_of(activation).product(variance, correlation) + sigma_b**2
    return max(-1.0, min(1.0, covariance / after)) if after > 0 else math.nan


def edge_of_chaos(sigma_b: float, activation: str = "tanh") -> float:
    """The sigma_w at which chi_1 is 1, so that neither signals nor gradients explode or vanish.

    For relu and linear chi_1 does not depend on the variance, so that the edge is the same for each sigma_b;
    with sigma_b above 0 the variance diverges there. ValueError where no stable fixed point has chi_1 = 1
    (gelu with a small sigma_b: its variance falls to nearly 0 or diverges).
    """
    check_finite(sigma_b=sigma_b)
    kernel = kernel_of(activation)
    if kernel.slopes(0.0, 1.0) == kernel.slopes(1.0, 1.0):
        return kernel.slopes(1.0, 1.0) ** -0.5

    def surplus(q: float) -> float:  # 0 where q is a fixed point for the sigma_w that has chi_1 = 1
        return q - kernel.square(q) / kernel.slopes(q, 1.0) - sigma_b**2

    low, high = 0.0, 1.0
    while surplus(high) < 0:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if surplus(middle) < 0 else (low, middle)
    sigma_w = kernel.slopes(high if sigma_b else 0.0, 1.0) ** -0.5
    if mean_field(sigma_w, sigma_b, activation).q_star == math.inf:
        raise ValueError(f"{activation} with sigma_b {sigma_b}: no stable variance has chi_1 = 1; raise sigma_b")
    return sigma_w


def initial_loss(vocab: int, logit_variance: float = 0.0) -> float:
    """The cross-entropy before training, in nats, when logits are N(0, logit_variance) whatever the target.

    ln V + s/2 - (e^s - 1) / (2 V): the second order of E ln sum exp. ValueError above a variance of 1, where
    it no longer holds.
    """
    whole("vocab", vocab)
    if not 0 <= logit_variance <= 1:
        raise ValueError(f"logit_variance {logit_variance}: the formula holds from 0 to 1")
    return math.log(vocab) + logit_variance / 2 - math.expm1(logit_variance) / (2 * vocab)


def relu_second_moment(width: int, sigma2: float, depth: int) -> float:
    """E |h_L|^2 / |h_0|^2 for a bias-free ReLU network with weights N(0, sigma2): (n sigma2 / 2)^L (He et al. 2015).

    inf where that is beyond 1.8e308, the largest of floating-point numbers.
    """
    whole("width", width)
    whole("depth", depth)
    check_finite(sigma2=sigma2, most=1e300)
    try:
        return (width * sigma2 / 2) ** depth
    except OverflowError:
        return math.inf
