"""Where a layer stands in its model, which decides how it should start and how fast it should learn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from course_utils.models import GPT, MLP, Block, check_plain

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A linear, convolution or embedding layer and where it stands.

    kind: "embedding", "input" (the first layer of an MLP), "output" (the last one, and a GPT's head if it has a
    matrix of its own), else "hidden".  fan_in, fan_out: as PyTorch counts them, so that both hold a convolution's
    window, the number of positions in a filter.  ends_branch: its output is added to a residual stream; branches:
    how many such layers the model has.
    """

    kind: str
    fan_in: int
    fan_out: int
    window: int = 1
    layer: nn.Module | None = None
    ends_branch: bool = False
    branches: int = 1


def places(module: nn.Module) -> list[Place]:
    """Every layer of a module that has a weight matrix, in order; a tied head is the embedding that it shares.

    TypeError for a layer with parameters of another kind: not linear, convolution, embedding or norm; for one that
    is not plain (`models.check_plain`); and for what is no module.
    """
    check_plain(module)
    kinds, ends, seen, found = _kinds(module), _branch_ends(module), set(), []
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Linear, nn.Embedding, *CONVOLUTIONS)):
            if layer.weight in seen:
                continue
            seen.add(layer.weight)
            fan_out, fan_in, window = *layer.weight.shape[:2], layer.weight.shape[2:].numel()
            kind = "embedding" if isinstance(layer, nn.Embedding) else kinds.get(layer, "hidden")
            found.append(Place(
                kind=kind, fan_in=fan_in * window, fan_out=fan_out * window, window=window, layer=layer,
                ends_branch=layer in ends, branches=max(1, len(ends)),
            ))  # fmt: skip
        elif not isinstance(layer, NORMS) and next(layer.parameters(recurse=False), None) is not None:
            raise TypeError(
                f"no scheme for {type(layer).__name__} at {name or 'the top'!r}: expected linear, "
                "convolution, embedding and norm layers"
            )
    return found


def _kinds(module: nn.Module) -> dict[nn.Module, str]:
    kinds = {}
    for part in module.modules():
        if isinstance(part, MLP):
            kinds |= {part.layers[-1]: "output", part.layers[0]: "input"}  # an only layer reads the data
        elif isinstance(part, GPT):
            kinds[part.head] = "output"
    return kinds


def _branch_ends(module: nn.Module) -> set[nn.Module]:
    ends = set()
    for part in module.modules():
        if isinstance(part, Block):
            ends |= {part.attention.out, part.down}
        elif isinstance(part, MLP) and part.residual:
            ends |= {layer for layer in part.layers[:-1] if layer.in_features == layer.out_features}
    return ends


@torch.no_grad()
def reset_norms_and_biases_(module: nn.Module) -> None:
    """Weight 1 for every norm, and bias 0 for every layer, one whose matrix is another's too."""
    for layer in module.modules():
        if isinstance(layer, NORMS):
            layer.reset_parameters()
        elif isinstance(layer, (nn.Linear, *CONVOLUTIONS)) and layer.bias is not None:
            layer.bias.zero_()
