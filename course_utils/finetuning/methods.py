"""Fine-tuning: what may move, and how far it may move from the start.

Freezing and LoRA decide which weights train. Replay, L2 to the start and EWC hold on to what was learned before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import models, runtime
from course_utils.values import number, wide

BIASES = "*bias"  # a pattern for `freeze_`: train the biases alone (BitFit, Ben Zaken et al. 2022)
Weights = nn.Module | Mapping[str, Tensor]  # a model, or tensors by the names of its parameters


# --- what may move ----------------------------------------------------------------------------------------------------


def freeze_(model: nn.Module, *, train_last=0, train_first=0, train: str | Sequence[str] = ()) -> list[str]:
    """Freeze every weight but the chosen ones; returns the names of those that train.

    train_last, train_first: this many stages from the output or the input. An MLP's stages are its layers; a GPT's
    are its embeddings, each block, and the final norm with the head. A tied matrix belongs to the embeddings.
    train: patterns of names, as `BIASES` or ``["head*", "norm*"]``; ``"*"`` thaws the model. Choices add up; with
    none, everything is frozen. A linear probe is ``train_last=1``; probe-then-full thaws the model after it.
    A part without a weight that trains answers as before: in a run it stays in evaluation mode, so that its dropout
    is off and its running statistics stand.
    Errors: more stages than there are; a pattern that matches no name.
    """
    patterns = [train] if isinstance(train, str) else list(train)
    models.check_module(model)
    weights = dict(model.named_parameters())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in weights):
            raise ValueError(f"train {pattern!r} matches no weight: this model has {', '.join(weights)}")
    by_depth = _in_stages(model, train_last, train_first) if train_last or train_first else set()
    for name, weight in weights.items():
        weight.requires_grad_(id(weight) in by_depth or any(fnmatchcase(name, pattern) for pattern in patterns))
    return [name for name, weight in weights.items() if weight.requires_grad]


def _stages(model: nn.Module) -> list[list[nn.Module]]:
    match model:
        case models.GPT():
            return [[model.embed, model.position], *([block] for block in model.blocks), [model.norm, model.head]]
        case models.MLP():
            hidden = zip(model.layers[:-1], model.norms, strict=True)
            return [*map(list, hidden), [model.layers[-1]]]
    raise TypeError(f"the stages of a {type(model).__name__} are not known: choose by name, as train='head*'")


def _in_stages(model: nn.Module, last: int, first: int) -> set[int]:
    stages = _stages(model)
    for option, count in (("train_last", last), ("train_first", first)):
        if count not in range(len(stages) + 1):
            raise ValueError(f"{option} {count}: this model has {len(stages)} stages, choose 0 to {len(stages)}")
    owner: dict[int, int] = {}  # a shared matrix keeps its first stage, since every later one reads through it
    for place, stage in enumerate(stages):
        for weight in nn.ModuleList(stage).parameters():
            owner.setdefault(id(weight), place)
    return {key for key, place in owner.items() if place < first or place >= len(stages) - last}


# --- LoRA (Hu et al. 2022) --------------------------------------------------------------------------------------------


class LoRALinear(nn.Module):
    """A frozen linear layer plus a trained update of low rank: y = Wx + b + (alpha / rank) B A x.

    A (rank, in) is uniform in ±1/sqrt(in), B (out, rank) is zero: at the start the layer answers as before.
    Input (..., in) -> output (..., out).
    """

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float, generator: torch.Generator):
        super().__init__()
        self.base, self.scale = base, alpha / rank
        self.in_features, self.out_features = base.in_features, base.out_features
        unit = torch.rand(rank, base.in_features, generator=generator, device=generator.device)
        self.A = nn.Parameter(((2 * unit - 1) / math.sqrt(base.in_features)).to(base.weight))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        self.train(base.training)

    @property
    def weight(self) -> Tensor:
        """The merged matrix, (out, in): what PyTorch's attention and its fast path read without calling the layer."""
        return self.base.weight + self.update

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    @property
    def update(self) -> Tensor:
        """What is added to the frozen matrix: (out, in)."""
        return self.scale * self.B @ self.A

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scale * F.linear(F.linear(x, self.A), self.B)  # (..., out)


def add_lora_(
    model: nn.Module, rank: int = 4, alpha: float = 8, targets: Sequence[str] | None = None,
    *, generator: torch.Generator | None = None,
) -> dict[str, LoRALinear]:  # fmt: skip
    """Freeze the model and give linear layers trainable updates of low rank; returns them by name.

    targets: names of linear layers or how they end, as ``["qkv", "blocks.0.up"]``; by default every linear layer
    but the last one in the model, its head. alpha / rank scales the update. generator: draws A; by default seed 0.
    Trains rank * (in + out) numbers a layer. Errors: a model that has adapters; targets that match nothing; rank
    outside 1 to min(in, out); a layer that shares its matrix, as a tied head, or computes it, as by weight norm.
    """
    if _adapters(model):
        raise ValueError("this model already has LoRA adapters: merge_lora_ first, or start from a fresh copy")
    number("alpha", alpha, "a finite number, as twice the rank", math.isfinite)
    layers = _lora_targets(model, targets)
    for name, layer in layers.items():
        most = min(layer.in_features, layer.out_features)
        if rank not in range(1, most + 1):
            raise ValueError(f"rank {rank}: {name} is {layer.out_features} x {layer.in_features}, choose 1 to {most}")
    generator = runtime.generator(0) if generator is None else generator
    freeze_(model)
    adapters = {name: LoRALinear(layers[name], rank=int(rank), alpha=alpha, generator=generator) for name in layers}
    for name, adapter in adapters.items():
        model.set_submodule(name, adapter)
    return adapters


def _lora_targets(model: nn.Module, targets: Sequence[str] | None) -> dict[str, nn.Linear]:
    if isinstance(model, nn.Linear):
        raise TypeError("LoRA replaces layers within a model: put this one into nn.Sequential(layer), and name it '0'")
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    endings = [targets] if isinstance(targets, str) else list(layers)[:-1] if targets is None else list(targets)
    if not endings:
        raise ValueError(f"no layer to adapt: name some in targets, of {', '.join(layers) or 'none in this model'}")
    for end in endings:
        if not any(f".{name}".endswith(f".{end}") for name in layers):
            raise ValueError(f"targets {end!r} matches no linear layer: this model has {', '.join(layers)}")
    uses = [id(weight) for _, weight in model.named_parameters(remove_duplicate=False)]
    chosen = {name: layers[name] for name in layers if any(f".{name}".endswith(f".{end}") for end in endings)}
    for name, layer in chosen.items():
        models.check_plain(layer, name)
        if uses.count(id(layer.weight)) > 1:
            raise ValueError(f"{name} shares its matrix, and a merge would change both: give a model with tied=False")
    return chosen


def _adapters(model: nn.Module) -> dict[str, LoRALinear]:
    models.check_module(model)
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


@torch.no_grad()
def merge_lora_(model: nn.Module) -> nn.Module:
    """Add each update to its matrix and put the plain layers back; returns the model.

    The model has the names it had before `add_lora_`, answers as with adapters, and trains in full again.
    """
    adapters = _adapters(model)
    if not adapters:
        raise ValueError("this model has no LoRA adapters: call add_lora_ first")
    for name, adapter in adapters.items():
        models.check_plain(adapter, name)
    for name, adapter in adapters.items():
        adapter.base.weight += adapter.update
        model.set_submodule(name, adapter.base)
    return model.requires_grad_(True)


# --- not forgetting ---------------------------------------------------------------------------------------------------


def replay_batches(new: Callable, old: Callable) -> Callable:
    """Batches in which each row comes from ``old`` with probability ``replay``, a knob; else from ``new``.

    new, old: ``batches(generator)`` that give tensors of equal shapes, as (inputs, targets), rows first.
    Both draw at every step, so runs that differ in ``replay`` alone see the same rows from each.
    """

    def batches(generator: torch.Generator, *, replay: float = 0.05) -> tuple[Tensor, ...]:
        if not 0 <= replay <= 1:
            raise ValueError(f"replay {replay}: expected a share from 0 to 1")
        fresh, known = new(generator), old(generator)
        shapes = [[tuple(part.shape) for part in batch] for batch in (fresh, known)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"new rows are {shapes[0]}, old rows {shapes[1]}: give both the same shapes")
        draws = torch.rand(len(fresh[0]), generator=generator, device=generator.device).to(fresh[0].device)  # (rows,)
        picks = [(draws < replay).view(-1, *[1] * (part.ndim - 1)) for part in fresh]
        return tuple(torch.where(*parts) for parts in zip(picks, known, fresh, strict=True))

    return batches


def l2_sp_penalty(model: nn.Module, reference: Weights) -> Tensor:
    """Half the squared distance from the start: 1/2 sum (w - w0)² (L2-SP, Li et al. 2018).

    reference: a copy of the model at its start, or the weights by name; only the named ones are held.
    """
    return 0.5 * sum(move.square().sum() for _, move in moves(model, reference))


def ewc_penalty(model: nn.Module, fisher: Mapping[str, Tensor], reference: Weights) -> Tensor:
    """Half the squared distance from the start, weighed by importance: 1/2 sum F (w - w0)².

    fisher: from `fisher_diagonal` on the old task, at ``reference``, which is given as in `l2_sp_penalty`.
    Elastic weight consolidation (Kirkpatrick et al. 2017, equation 3, without its lambda).
    """
    start = _by_name(reference)
    missing = [name for name in fisher if name not in start]
    if missing:
        raise ValueError(f"reference has no {', '.join(missing)}: fisher and reference must come from one model")
    moved = moves(model, {name: start[name] for name in fisher})
    return 0.5 * sum((_fitting(name, fisher[name], move) * move.square()).sum() for name, move in moved)


def _fitting(name: str, importance: Tensor, move: Tensor) -> Tensor:
    if importance.shape != move.shape:
        shapes = f"fisher has {tuple(importance.shape)}, the model {tuple(move.shape)}"
        raise ValueError(f"{name}: {shapes}; measure it with fisher_diagonal on this model")
    return importance


def _by_name(weights: Weights) -> Mapping[str, Tensor]:
    return dict(weights.named_parameters()) if isinstance(weights, nn.Module) else weights


def moves(model: nn.Module, start: Weights) -> Iterator[tuple[str, Tensor]]:
    """How far each named weight is from the start, in its parameter's shape. ValueError where they do not fit."""
    now = dict(model.named_parameters(remove_duplicate=False))
    for name, old in _by_name(start).items():
        if name not in now or now[name].shape != old.shape:
            have = tuple(now[name].shape) if name in now else "nothing"
            raise ValueError(f"{name}: the model has {have}, the reference {tuple(old.shape)}; give equal models")
        if not old.is_meta and old.data_ptr() == now[name].data_ptr():
            raise ValueError("reference shares the model's memory, so it moves along: give copy.deepcopy(model)")
        yield name, wide(now[name], torch.float32) - wide(old.detach(), torch.float32)
