"""A start fitted to data: each layer scaled until its outputs have variance one (Mishkin & Matas 2016)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_utils.initialization.places import places
from course_utils.models import evaluating
from course_utils.values import wide


@torch.no_grad()
def unit_variance_(module: nn.Module, inputs: Tensor) -> nn.Module:
    """Divide each layer's weights by the standard deviation of its outputs on `inputs`; returns the module.

    One forward pass does: the biases are zero, so that a layer's outputs scale with its weights, and each layer
    sees what the scaled layers before it hand on. Dropout is off meanwhile. An embedding, and a head tied to it, stay
    as they are. ValueError for a layer whose outputs do not vary.
    """

    def scale(layer: nn.Module, _, output: Tensor) -> Tensor:
        std = wide(output).std(unbiased=False)
        if not (torch.isfinite(std) and std > 0):
            name = next(name for name, other in module.named_modules() if other is layer)
            raise ValueError(f"lsuv: the outputs of layer {name!r} do not vary on these inputs (std {std.item():g})")
        layer.weight.div_(std)
        return (wide(output) / std).to(output.dtype)

    _pass_through(module, inputs, scale)
    return module


@torch.no_grad()
def output_stds(module: nn.Module, inputs: Tensor) -> list[float]:
    """The standard deviation of what each linear layer or convolution gives on `inputs`, without dropout, in order."""
    stds = []

    def note(layer: nn.Module, _, output: Tensor) -> None:
        stds.append(wide(output).std(unbiased=False).item())

    _pass_through(module, inputs, note)
    return stds


def _pass_through(module: nn.Module, inputs: Tensor, hook: Callable) -> None:
    """One forward pass as in use, with a hook on each layer that has a matrix of its own and is no embedding."""
    layers = [place.layer for place in places(module) if not isinstance(place.layer, nn.Embedding)]
    hooks = [layer.register_forward_hook(hook) for layer in layers]
    try:
        with evaluating(module):
            module(inputs)
    finally:
        for handle in hooks:
            handle.remove()
