"""What LoRA's update is made of while it trains, to be set beside the full update."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn

from course_utils import checkpoint
from course_utils.finetuning.methods import LoRALinear, merge_lora_, moves
from course_utils.models import GPT
from course_utils.training import Experiment
from course_utils.values import number, wide

from . import questions

MATRICES = {"attention.qkv": "attention in", "attention.out": "attention out",
            "up": "up", "down": "down"}  # fmt: skip


@cache
def _start() -> GPT:
    return questions.untied(checkpoint.load("story_gpt"))


def with_layers(layer: Callable, generator: torch.Generator, *, rank: int = 4) -> GPT:
    """The pretrained GPT, frozen, with a learner's ``layer(base, rank, alpha)`` in place of each matrix of a block."""
    model = copy.deepcopy(_start()).requires_grad_(False)
    for name in _matrices(model):
        model.set_submodule(name, layer(model.get_submodule(name), rank, questions.ALPHA))
    return model


def _matrices(model: GPT) -> list[str]:
    """The names of the matrices in its blocks."""
    return [f"blocks.{block}.{name}" for block in range(model.config.layers) for name in MATRICES]


def merged(model: nn.Module) -> nn.Module:
    """A copy with plain matrices: what is used after training."""
    twin = copy.deepcopy(model)
    if any(isinstance(module, LoRALinear) for module in model.modules()):
        return merge_lora_(twin)
    for name in _matrices(twin):
        if not isinstance(twin.get_submodule(name), nn.Linear):
            twin.set_submodule(name, _plain(twin.get_submodule(name), _start().get_submodule(name)))
    return twin


@torch.no_grad()
def _plain(layer: nn.Module, like: nn.Linear) -> nn.Linear:
    """The plain layer that answers as a learner's does, whatever it is made of: found at 0 and the unit vectors."""
    made, device = copy.deepcopy(like), next(layer.parameters()).device
    bias = layer(torch.zeros(1, like.in_features, device=device))  # (1, out)
    made.weight = nn.Parameter((layer(torch.eye(like.in_features, device=device)) - bias).T.contiguous())
    made.bias = nn.Parameter(bias[0])
    return made


def spectra(model: GPT) -> dict[str, Tensor]:
    """Singular values of what has moved since the pretrained start, (width,), by matrix of a block."""
    found = spectrum_of_update(_start(), merged(model).cpu())
    return {
        f"{block + 1}: {label}": found[f"blocks.{block}.{name}.weight"]
        for block in range(model.config.layers)
        for name, label in MATRICES.items()
    }


@torch.no_grad()
def spectrum_of_update(before: nn.Module, after: nn.Module) -> dict[str, Tensor]:
    """Singular values of after - before for every matrix, by name: (min(rows, columns),) float64, largest first.

    Both need the same names: of a model with adapters give ``merge_lora_(copy.deepcopy(model))``.
    """
    matrices = {name: old for name, old in before.named_parameters() if old.ndim == 2}
    return {name: torch.linalg.svdvals(move.cpu().double()) for name, move in moves(after, matrices)}


def rank_for(singular_values: Tensor, share: float = 0.9) -> int:
    """The smallest rank that keeps this share of the squares, as Biderman et al. (2024) count; 0 for a zero matrix."""
    number("share", share, "above 0, up to 1", lambda part: 0 < part <= 1)
    squares = wide(singular_values).square().cumsum(0)
    return int((squares < share * squares[-1]).sum()) + 1 if squares[-1] > 0 else 0


def rank_recipe(*, rank: int = 4) -> Experiment:
    """LoRA on questions; measures too the spectrum of its update, and whether the merged model answers the same."""
    recipe = questions.question_recipe(moves="LoRA", rank=rank)
    return replace(recipe, measures=dict(recipe.measures) | {"spectra": _measured, "merged": _merges})


def _measured(model: GPT, generator: torch.Generator) -> dict[str, float]:
    """Curves "matrix #i": singular value i; curves "matrix": how many directions hold 90 % of the update."""
    found = spectra(model)
    values = {f"{name} #{i}": value for name, one in found.items() for i, value in enumerate(one.tolist())}
    return values | {name: float(rank_for(one, 0.9)) for name, one in found.items()}


@torch.no_grad()
def largest_difference(model: GPT) -> float:
    """The largest difference of a probability between a model with adapters and the same one merged."""
    device = next(model.parameters()).device
    rows = questions.held_out_questions()[0][:20].to(device)
    twin = merged(model)
    return (model(rows)[0].softmax(-1) - twin(rows)[0].softmax(-1)).abs().max().item()


def _merges(model: GPT, generator: torch.Generator) -> str:
    gap = largest_difference(model)
    return f"Merged into plain matrices, no probability changes by more than {max(gap, 1e-7):.0e}."
