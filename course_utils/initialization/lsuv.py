"""A start fitted to data: each layer scaled until its outputs have variance one (Mishkin & Matas 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils.initialization.places import places


@torch.no_grad()
def unit_variance_(module: nn.Module, inputs: Tensor) -> nn.Module:
    """Divide each linear layer's weights by the standard deviation of its outputs on `inputs`; returns the module.

    One forward pass does: the biases are zero, so that a layer's outputs scale with its weights, and each layer
    sees what the scaled layers before it hand on. An embedding, and a head tied to it, stay as they are.
    ValueError for a layer whose outputs do not vary.
    """
    hooks = []

    def scale(layer: nn.Linear, _, output: Tensor) -> Tensor:
        std = output.float().std(unbiased=False)
        if not (torch.isfinite(std) and std > 0):
            name = next(name for name, other in module.named_modules() if other is layer)
            raise ValueError(f"lsuv: the outputs of layer {name!r} do not vary on these inputs (std {std.item():g})")
        layer.weight.div_(std)
        return output / std

    try:
        linear = [place.layer for place in places(module) if isinstance(place.layer, nn.Linear)]
        hooks += [layer.register_forward_hook(scale) for layer in linear]
        module(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return module


@torch.no_grad()
def output_stds(module: nn.Module, inputs: Tensor) -> list[float]:
    """The standard deviation of what each linear layer gives on `inputs`, before any activation, in order."""
    stds, hooks = [], []

    def note(layer: nn.Linear, _, output: Tensor) -> None:
        stds.append(output.float().std(unbiased=False).item())

    try:
        linear = [place.layer for place in places(module) if isinstance(place.layer, nn.Linear)]
        hooks += [layer.register_forward_hook(note) for layer in linear]
        module(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return stds
