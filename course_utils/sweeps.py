"""Many small networks trained at once, each as if it were alone.

A small network's step is mostly overhead: dozens of operations, each on little data. Here K networks of one shape
share every operation (`torch.func.vmap`), so that a sweep over seeds, learning rates and starts takes little longer
than a few runs. Starts, batches, optimizers and the rule for divergence are those of `training`: each network gives
the numbers that `training.fit` gives for it, up to the order of float32 sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from course_utils import runtime
from course_utils.training import OPTIMIZERS, Experiment, batch_generator, constant, default_loss
from course_utils.training.loop import DIVERGED

Build = Callable[[torch.Generator], nn.Module]
Batch = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class Sweep:
    """What K networks did.

    losses: (steps, K), nan after the step at which a network diverged.  diverged_at: that step for each, counted
    from 1, or None.  parameters: the final weights by name, (K, ...).  accuracy: (K,), the share of the test batch
    that is guessed right, nan for a network that diverged; None without a test batch.
    """

    losses: Tensor
    diverged_at: tuple[int | None, ...]
    parameters: dict[str, Tensor]
    accuracy: Tensor | None


def train_many(
    model: Build | Sequence[Build],
    batches: Callable[[torch.Generator], Batch] | Sequence[Batch],
    *,
    steps: int,
    lr: float | Sequence[float],
    loss: Callable[[nn.Module, Batch], Tensor] = default_loss,
    seed: int | Sequence[int] = 0,
    optimizer: str = "adamw",
    weight_decay: float | Sequence[float] = 0.0,
    schedule: Callable[[int], float] = constant,
    lr_factors: Mapping[str, float] | None = None,
    test: tuple[Tensor, Tensor] | None = None,
    device: torch.device | str | None = None,
) -> Sweep:
    """Train K networks of one shape side by side; the arguments are those of `training.fit`.

    model, lr, seed, weight_decay: one for all, or K of them; builders may start their networks differently.
    Networks with the same seed see the same batches; a list of batches is the same for all.  optimizer: "adamw", or
    "sgd" without momentum.  lr_factors: a factor on the learning rate by parameter name, as `mup_learning_rates`
    gives.  test: (inputs, targets) for the final accuracy.

    A network whose loss diverges stops there, with the weights it has, and leaves the others untouched. ValueError
    where lengths or shapes do not match, or a model has buffers or frozen weights.
    """
    device = runtime.device() if device is None else torch.device(device)
    settings = _spread(model=model, lr=lr, seed=seed, weight_decay=weight_decay)
    networks = [
        Experiment(
            model=build, batches=batches, optimizer=optimizer, knobs={"lr": lr, "weight_decay": decay}
        ).start(seed, device=device).model
        for build, lr, seed, decay in zip(*settings.values(), strict=True)
    ]  # fmt: skip
    _check(networks, steps)
    stack = _Stack(networks, lr_factors or {})
    losses, diverged_at = _train(
        stack, OPTIMIZERS[optimizer](stack.groups(settings["lr"], settings["weight_decay"]), device), loss, schedule,
        _source(batches, settings["seed"], device), steps,
    )  # fmt: skip
    return Sweep(losses, diverged_at, stack.parameters(), _accuracy(stack, test, diverged_at))


class _Stack:
    """The weights of K networks as one matrix, (K, weights), and one module that lends its shape to all of them."""

    def __init__(self, networks: list[nn.Module], lr_factors: Mapping[str, float]):
        self.module, shapes = networks[0], {}
        self.parts = {}  # (decays, factor) -> the columns of weights that an optimizer treats alike
        named = dict(self.module.named_parameters())
        unknown = lr_factors.keys() - named.keys()
        if unknown:
            raise ValueError(f"lr_factors name no parameter: {', '.join(sorted(unknown))}")
        kind = {name: (weight.ndim >= 2, lr_factors.get(name, 1.0)) for name, weight in named.items()}
        end = 0
        for name in sorted(named, key=kind.get):  # stable: alike ones side by side
            shapes[name], start, end = named[name].shape, end, end + named[name].numel()
            first = self.parts.get(kind[name], slice(start, end)).start
            self.parts[kind[name]] = slice(first, end)
        self.shapes = shapes
        states = [dict(network.named_parameters()) for network in networks]
        self.weights = torch.stack([torch.cat([state[name].detach().flatten() for name in shapes]) for state in states])

    def groups(self, lr: Sequence[float], weight_decay: Sequence[float]) -> list[dict]:
        """A parameter group for every network and part, network by network."""
        return [
            {"params": [row[columns]], "network": k, "columns": columns, "base_lr": lr[k] * factor,
             "weight_decay": weight_decay[k] if decays else 0.0}
            for k, row in enumerate(self.weights)
            for (decays, factor), columns in self.parts.items()
        ]  # fmt: skip

    def unflatten(self, weights: Tensor) -> dict[str, Tensor]:
        """(..., weights) -> tensors by name, (..., *shape)."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        pieces = weights.split(sizes, dim=-1)
        return {name: piece.unflatten(-1, self.shapes[name] or (1,)) for name, piece in zip(self.shapes, pieces, strict=True)}

    def parameters(self) -> dict[str, Tensor]:
        names = [name for name, _ in self.module.named_parameters()]
        tensors = self.unflatten(self.weights)
        return {name: tensors[name].clone() for name in names}


class _Applied(nn.Module):
    """A loss as a module, so that `functional_call` can lend it other weights."""

    def __init__(self, model: nn.Module, loss: Callable):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> Tensor:
        return self.loss(self.model, batch)
