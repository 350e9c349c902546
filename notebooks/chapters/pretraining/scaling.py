"""A scaling law: how the loss falls with parameters and data (Kaplan et al. 2020, Hoffmann et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ScalingLaw:
    """L(N, D) = E + A / N^alpha + B / D^beta, in nats per token.

    E is the floor, which here is known and not fitted.  covariance: of (ln A, alpha, ln B, beta).  r_squared: of
    ln(L - E), the share of its variance that the law explains.  scatter: standard deviation of its residuals.
    """

    floor: float
    a: float
    alpha: float
    b: float
    beta: float
    covariance: np.ndarray
    r_squared: float
    scatter: float

    def loss(self, parameters, tokens) -> np.ndarray:
        """Expected loss for model sizes and token counts, broadcast against each other."""
        excess = self.a / np.asarray(parameters, float) ** self.alpha + self.b / np.asarray(tokens, float) ** self.beta
        return self.floor + excess

    def interval(self, parameters: float, tokens: float, *, sigmas: float = 2.0) -> tuple[float, float]:
        """Where the loss of one new run should lie: the fit's uncertainty and the runs' own scatter together."""
        size = self.a / parameters**self.alpha
        data = self.b / tokens**self.beta
        slope = np.array([size, -size * np.log(parameters), data, -data * np.log(tokens)]) / (size + data)
        spread = sigmas * np.sqrt(slope @ self.covariance @ slope + self.scatter**2)
        return tuple(self.floor + (size + data) * np.exp([-spread, spread]))


def fit_scaling_law(
    parameters: Sequence[float], tokens: Sequence[float], losses: Sequence[float], *, floor: float
) -> ScalingLaw:
    """Least squares on ln(L - E), so that a run near the floor counts as much as one far above it.

    parameters, tokens, losses: one entry a run.  ValueError for fewer than five runs, runs of one size or with one
    number of tokens only, or a loss not above the floor.
    """
    from scipy.optimize import curve_fit  # half a second to import, and only a fit needs it

    sizes, data, losses = (np.asarray(values, float) for values in (parameters, tokens, losses))
    if not len(sizes) == len(data) == len(losses) >= 5:
        given = f"{len(sizes)} sizes, {len(data)} token counts, {len(losses)} losses"
        raise ValueError(f"{given}: expected one of each a run, and five runs or more")
    for name, values in {"parameters": sizes, "tokens": data, "losses": losses}.items():
        if not (np.isfinite(values).all() and values.min() > 0):
            raise ValueError(f"{name} {values.tolist()}: expected finite numbers above 0; leave out runs that diverged")
        if name != "losses" and values.min() == values.max():
            raise ValueError(f"{name} are all {values[0]:g}: what they change needs runs with different ones")
    if losses.min() <= floor:
        raise ValueError(f"a loss of {losses.min():.4f} is not above the floor {floor:.4f}: average more held-out data")

    def log_excess(_, log_a, alpha, log_b, beta):
        return np.logaddexp(log_a - alpha * np.log(sizes), log_b - beta * np.log(data))

    seen = np.log(losses - floor)
    start = (0.5 * np.log(sizes.min()), 0.5, 0.5 * np.log(data.min()), 0.5)
    best, covariance = curve_fit(log_excess, None, seen, p0=start, maxfev=20_000)
    residuals = seen - log_excess(None, *best)
    scatter = float(np.sqrt((residuals**2).sum() / max(1, len(seen) - 4)))
    r_squared = float(1 - (residuals**2).sum() / ((seen - seen.mean()) ** 2).sum())
    log_a, alpha, log_b, beta = map(float, best)
    return ScalingLaw(floor, np.exp(log_a), alpha, np.exp(log_b), beta, covariance, r_squared, scatter)
