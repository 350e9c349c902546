"""Between models: weights on the line from one to another, and their mean."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence

from torch import nn

from course_utils import models
from course_utils.finetuning.methods import LoRALinear
from course_utils.values import number, wide


def interpolate(a: nn.Module, b: nn.Module, alpha: float) -> nn.Module:
    """A new model with weights (1 - alpha) a + alpha b (WiSE-FT, Wortsman et al. 2022); a and b stay as they are.

    Equal to a at 0 and to b at 1, bit for bit; beyond these it extrapolates. Integer buffers come from the nearer.
    ValueError for models that differ in anything but their weights, or an alpha that is not finite. TypeError for
    layers whose weight is computed: with weight norm or LoRA, the line is another one.
    """
    number("alpha", alpha, "a finite number, 0 for the first model and 1 for the second", math.isfinite)
    return _combined([a, b], [1 - alpha, alpha])


def average(parts: Iterable[nn.Module]) -> nn.Module:
    """A new model whose weights are the mean of several models' (a uniform soup, Wortsman et al. 2022)."""
    parts = list(parts)
    if not parts:
        raise ValueError("no models to average: give one or more")
    return _combined(parts, [1 / len(parts)] * len(parts))


def _combined(parts: Sequence[nn.Module], shares: Sequence[float]) -> nn.Module:
    for part in parts:
        models.check_plain(part)
        for name, layer in part.named_modules():
            if isinstance(layer, LoRALinear):
                raise TypeError(f"layer {name!r} has a LoRA adapter, so the line is another one: merge_lora_ first")
    states = [part.state_dict() for part in parts]
    _check_alike(parts)
    nearest, result = states[shares.index(max(shares))], copy.deepcopy(parts[0])
    used = [(share, state) for share, state in zip(shares, states, strict=True) if share]  # 0 * inf would be nan
    for name, tensor in result.state_dict().items():
        mixed = sum(share * wide(state[name]) for share, state in used)
        tensor.copy_(mixed if tensor.is_floating_point() else nearest[name])
    return result


def _check_alike(parts: Sequence[nn.Module]) -> None:
    shapes = [{name: tuple(tensor.shape) for name, tensor in part.state_dict().items()} for part in parts]
    for other, part in zip(shapes, parts, strict=True):
        for name in shapes[0] | other:
            one, two = (shape.get(name, "nothing") for shape in (shapes[0], other))
            if one != two:
                raise ValueError(f"{name}: one model has {one}, another {two}; give models of one shape")
        one, two = (", ".join(f"{name} {value!r}" for name, value in models.settings(model).items())
                    or type(model).__name__ for model in (parts[0], part))  # fmt: skip
        if one != two:
            raise ValueError(f"one model has {one}, another {two}: their weights do not mean the same")
