"""What theory says of each layer of an MLP at the start: the size of its signal, and of the gradient that comes back.

All averages are over the random weights. For linear and ReLU networks without residuals they are exact at any width
(He et al. 2015); for tanh and GELU, and with LayerNorm, they hold for wide layers (Poole et al. 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from course_utils.initialization.places import Place, places
from course_utils.initialization.schemes import INIT_SCHEMES, Options
from course_utils.initialization.theory import KERNELS
from course_utils.models import MLP

MEANS = {  # E f(u), u from N(0, q)
    "linear": lambda q: 0.0,
    "tanh": lambda q: 0.0,
    "relu": lambda q: math.sqrt(q / (2 * math.pi)),
    "gelu": lambda q: q / math.sqrt(2 * math.pi * (1 + q)),  # Stein's lemma
}


@dataclass(frozen=True)
class Predicted:
    """By hidden layer, in order.

    activations: the mean square of what its activation gives.  gradients: the mean square of the loss's gradient
    there, in units of that at the last hidden layer.
    """

    activations: tuple[float, ...]
    gradients: tuple[float, ...]


def predict_signal(model: MLP, scheme: str, *, mean_square: float = 1.0, mean: float = 0.0) -> Predicted | None:
    """What `probe` should find in a model that starts with this scheme, its options at their defaults.

    mean_square, mean: of the inputs.  None where there is no theory: for weights that are all one constant, and for
    activations without a kernel.
    """
    if model.activation not in KERNELS or scheme == "constant":
        return None
    kernel, average = KERNELS[model.activation], MEANS[model.activation]
    unit = scheme == "lsuv" or model.norms and any(True for _ in model.norms[0].parameters())
    square, middle, activations, factors = mean_square, mean, [], []
    for place in places(model)[:-1]:
        weight, bias = _variances(place, scheme) if scheme != "lsuv" else (1.0, 0.0)
        variance = weight * square + bias  # of the pre-activations
        slope = kernel.slopes(1.0, 1.0) if unit else kernel.slopes(variance, 1.0)
        if unit:  # scaled to variance 1, and its gradient with it
            weight, variance = (weight / variance if variance else 0.0), float(variance > 0)
        given = kernel.square(variance)
        adds = model.residual and place.fan_in == place.fan_out
        factors.append(weight * slope * place.fan_out / place.fan_in + adds)
        activations.append(given)
        square, middle = (square + given + 2 * middle * average(variance), middle + average(variance)) if adds else (
            given, average(variance))
    return Predicted(tuple(activations), _backwards(factors))


def _variances(place: Place, scheme: str) -> tuple[float, float]:
    """fan_in times the variance of the weights, and the variance of the biases."""
    std = INIT_SCHEMES[scheme].std(place, Options())
    return place.fan_in * std**2, std**2 if INIT_SCHEMES[scheme].random_bias else 0.0


def _backwards(factors: list[float]) -> tuple[float, ...]:
    """Products from the last layer on: what reaches layer l has passed all layers after it."""
    gradients = [1.0]
    for factor in reversed(factors[1:]):
        gradients.append(gradients[-1] * factor)
    return tuple(reversed(gradients))
