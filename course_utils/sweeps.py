"""Many small networks trained at once, each as if it were alone.

A small network's step is mostly overhead: dozens of operations, each on little data. Here K networks of one shape
share every operation (`torch.func.vmap`), so that a sweep over seeds, learning rates and starts takes little longer
than a few runs. `train_many` does it headless; a `Fleet` is one module that a live run can train. Starts, batches,
optimizers and the rule for divergence are those of `training`: each network gives the numbers that `training.fit`
gives for it, up to the order of float32 sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from course_utils import runtime
from course_utils.training import OPTIMIZERS, Experiment, batch_generator, constant, default_loss
from course_utils.training.loop import DIVERGED, again_and_again, kind_of, to_device

Build = Callable[[torch.Generator], nn.Module]
Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class Sweep:
    """What K networks did.

    losses: (steps, K) float64, nan after the step at which a network diverged.  diverged_at: that step for each,
    counted from 1, or None.  parameters: the final weights by name, (K, ...).  accuracy: (K,), the share of the
    test batch that is guessed right, nan for a network that diverged; None without a test batch.
    """

    losses: Tensor
    diverged_at: tuple[int | None, ...]
    parameters: dict[str, Tensor]
    accuracy: Tensor | None


@torch.enable_grad()
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
    "sgd" without momentum.  lr_factors: a factor on the learning rate by parameter name, as
    `initialization.mup_learning_rates` gives.  test: (inputs, targets) for the final accuracy.

    A network whose loss diverges stops there, with the weights it has, and leaves the others untouched. ValueError
    where lengths or shapes do not match, or a model has buffers or frozen weights.
    """
    device = runtime.device(device)
    builds, rates, seeds, decays = _spread(model=model, lr=lr, seed=seed, weight_decay=weight_decay)
    networks = []
    for build, rate, own_seed, decay in zip(builds, rates, seeds, decays, strict=True):
        knobs = {"lr": rate, "weight_decay": decay}
        alone = Experiment(model=build, batches=batches, loss=loss, optimizer=optimizer, knobs=knobs, steps=steps)
        networks.append(alone.start(own_seed, device=device).model)
    _check_alike(networks)
    stack = _Stack(networks, _kinds(networks[0], lr_factors or {}, any(decays)))
    stepper = OPTIMIZERS[optimizer](_groups(stack, rates, decays), device)
    runtime.use_threads(stack.weights.shape[1])
    with sdpa_kernel(SDPBackend.MATH):  # networks can share attention's plain operations, not the fused one
        losses, diverged_at = _train(stack, stepper, _draws(batches, seeds, device), loss, schedule, steps)
        accuracy = None if test is None else _accuracy(stack, [part.to(device) for part in test], diverged_at)
    return Sweep(losses, diverged_at, stack.by_name(stack.weights.detach()), accuracy)


def _spread(**settings: object) -> list[list]:
    """Every setting as a list of K; arrays and tensors as the plain numbers in them."""
    plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in settings.items()}
    lists = {name: list(value) if hasattr(value, "__len__") else [value] for name, value in plain.items()}
    count = max(len(values) for values in lists.values())
    for name, values in lists.items():
        if len(values) not in (1, count):
            raise ValueError(f"{name} has {len(values)} values and another setting {count}: give one or {count}")
    return [values * (count // len(values)) for values in lists.values()]


def _check_alike(networks: list[nn.Module]) -> None:
    first = _shape(networks[0])
    for number, network in enumerate(networks):
        if _shape(network) != first:
            raise ValueError(f"network {number} is built differently from network 0: one sweep trains one shape")
        if next(network.buffers(), None) is not None:
            raise ValueError(f"{type(network).__name__} has buffers, which networks in a sweep would share")
        if not all(weight.requires_grad for weight in network.parameters()):
            raise ValueError(f"network {number} has frozen weights: a sweep trains them all")


def _shape(network: nn.Module) -> list:
    """What must agree for two networks to compute the same function of their weights."""
    return [
        (name, type(part), {key: value for key, value in vars(part).items() if not key.startswith("_")})
        for name, part in network.named_modules()
    ]


class _Stack:
    """The weights of K networks as one matrix (K, weights), and one module that lends its forward pass to all.

    Weights that an optimizer treats alike lie side by side, so that it has few tensors to step through.
    """

    def __init__(self, networks: list[nn.Module], kinds: dict[str, tuple]):
        self.module = networks[0]
        self.shapes = {name: weight.shape for name, weight in self.module.named_parameters()}
        canonical = {weight: name for name, weight in self.module.named_parameters()}
        everywhere = self.module.named_parameters(remove_duplicate=False)  # a tied weight has two names
        self.aliases = {alias: canonical[weight] for alias, weight in everywhere}
        self.order = sorted(kinds, key=kinds.get)
        self.sizes = [self.shapes[name].numel() for name in self.order]
        self.parts, start = {}, 0  # kind -> columns
        for kind, names in groupby(self.order, key=kinds.get):
            end = start + sum(self.shapes[name].numel() for name in names)
            self.parts[kind] = slice(start, end)
            start = end
        states = [dict(network.named_parameters()) for network in networks]
        rows = [torch.cat([state[name].detach().flatten() for name in self.order]) for state in states]
        self.weights = torch.stack(rows)  # (K, weights)

    def by_name(self, weights: Tensor) -> dict[str, Tensor]:
        """(..., weights) as tensors by name, each (..., *shape), which share its memory."""
        pieces = zip(self.order, weights.split(self.sizes, dim=-1), strict=True)
        return {name: piece.unflatten(-1, self.shapes[name]) for name, piece in pieces}

    def apply(self, function: Callable, found: dict[str, Tensor], *inputs: object) -> Tensor:
        """``function(model, *inputs)`` for the model with these weights by name."""
        named = {f"model.{alias}": found[name] for alias, name in self.aliases.items()}
        return functional_call(_Applied(self.module, function), named, inputs, tie_weights=False)


class Fleet(nn.Module):
    """Networks as one module: its loss has for each of them the gradient that this network has alone.

    So one `training.Experiment` trains them all side by side, with ``model=lambda generator: Fleet(...)`` and
    ``loss=fleet_loss``, live knobs included. Networks of one shape share every operation; each other shape costs as
    much again. A network whose loss diverges (as in `training`) no longer counts, and leaves the others alone.
    Give it no weight decay: it has no matrices and biases that an optimizer could tell apart.
    """

    def __init__(self, builds: Sequence[Build], generator: torch.Generator):
        """Every network starts from a generator of its own, with the seed of this one, as it would alone."""
        super().__init__()
        seed = generator.initial_seed()
        networks = [build(runtime.generator(seed)) for build in builds]
        shapes = [str(_shape(network)) for network in networks]
        self.members = [[k for k, other in enumerate(shapes) if other == shape] for shape in dict.fromkeys(shapes)]
        self.stacks = []
        for alike in self.members:
            group = [networks[k] for k in alike]
            _check_alike(group)
            self.stacks.append(_Stack(group, _kinds(group[0], {}, decay=False)))
        self.weights = nn.ParameterList(stack.weights for stack in self.stacks)
        self.first: Tensor | None = None  # each network's first loss

    def each(self, function: Callable[..., Tensor], *inputs: object) -> Tensor:
        """``function(network, *inputs)`` for every network, (networks, ...), in the order they were given in."""
        dimensions = (0, *[None] * len(inputs))
        found = [vmap(partial(stack.apply, function), dimensions)(stack.by_name(weights), *inputs)
                 for stack, weights in zip(self.stacks, self.weights, strict=True)]  # fmt: skip
        order = [k for alike in self.members for k in alike]
        return torch.cat(found)[torch.tensor(order).argsort().to(found[0].device)]


def fleet_loss(fleet: Fleet, batch: Batch) -> Tensor:
    """The mean loss of the networks that have not diverged, with the gradient of the sum."""
    losses = fleet.each(default_loss, batch)  # (networks,)
    with torch.no_grad():
        fleet.first = losses.detach().abs().clamp(min=1.0) if fleet.first is None else fleet.first
        going = losses.isfinite() & (losses <= DIVERGED * fleet.first)
    total = torch.where(going, losses, 0.0).sum()
    return (total / going.sum().clamp(min=1)).detach() + (total - total.detach())


class _Applied(nn.Module):
    """A function of a model as a module, so that `functional_call` can run it with other weights."""

    def __init__(self, model: nn.Module, function: Callable):
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *inputs: object) -> Tensor:
        return self.function(self.model, *inputs)


def _kinds(module: nn.Module, lr_factors: Mapping[str, float], decay: bool) -> dict[str, tuple[bool, float]]:
    """By parameter: whether it decays (matrices do, as in `training`), and the factor on its learning rate."""
    named = dict(module.named_parameters())
    unknown = lr_factors.keys() - named.keys()
    if unknown:
        raise ValueError(f"lr_factors: no parameter {', '.join(sorted(unknown))}")
    return {name: (decay and weight.ndim >= 2, lr_factors.get(name, 1.0)) for name, weight in named.items()}


@dataclass(frozen=True)
class _Piece:
    """The weights of one network that one learning rate moves: a view into the stack."""

    network: int
    columns: slice
    weights: Tensor


def _groups(stack: _Stack, lr: list[float], weight_decay: list[float]) -> list[dict]:
    """Parameter groups for the optimizer: all pieces, of whichever network, with the same settings together."""
    pieces: dict[tuple[float, float], list[_Piece]] = {}
    for k, row in enumerate(stack.weights):
        for (decays, factor), columns in stack.parts.items():
            settings = lr[k] * factor, weight_decay[k] if decays else 0.0
            pieces.setdefault(settings, []).append(_Piece(k, columns, row[columns]))
    return [
        {"params": [piece.weights for piece in alike], "pieces": alike, "full_lr": rate, "weight_decay": decay}
        for (rate, decay), alike in pieces.items()
    ]


def _draws(batches, seeds: list[int], device: torch.device) -> Callable[[], tuple[Batch, int | None]]:
    """A function that gives the next batch and its vmap dimension: 0 for K batches, None for a shared one."""
    if not callable(batches):
        stream = again_and_again(batches)
        return lambda: (to_device(next(stream), device), None)
    generators = {seed: batch_generator(seed) for seed in seeds}
    place = {seed: number for number, seed in enumerate(generators)}
    owners = torch.tensor([place[seed] for seed in seeds], device=device)

    def draw() -> tuple[Batch, int | None]:
        drawn = [batches(generator) for generator in generators.values()]
        if len(drawn) == 1:
            return to_device(drawn[0], device), None
        stacked = [torch.stack(parts).to(device) for parts in zip(*drawn, strict=True)]
        return tuple(part[owners] for part in stacked), 0  # each (K, batch, ...)

    return draw


def _train(stack: _Stack, optimizer, draw, loss, schedule, steps: int) -> tuple[Tensor, tuple[int | None, ...]]:
    """Step all networks that have not diverged. Returns the losses (steps, K) and who diverged when."""
    losses = torch.full((steps, len(stack.weights)), math.nan, dtype=torch.float64)
    first: list[float] = []
    diverged_at: list[int | None] = [None] * len(stack.weights)
    weights = {name: weight.requires_grad_() for name, weight in stack.by_name(stack.weights).items()}
    gradients = torch.empty_like(stack.weights)
    places = stack.by_name(gradients)
    for step in range(steps):
        batch, dimension = draw()
        now = vmap(partial(stack.apply, loss), in_dims=(0, dimension))(weights, batch)  # (K,)
        if now.ndim != 1:
            raise TypeError(f"loss gave {kind_of(now[0])}: expected a tensor that is one number, such as a mean")
        found = torch.autograd.grad(now.sum(), list(weights.values()))  # no loss depends on another's weights
        for place, gradient in zip(places.values(), found, strict=True):
            place.copy_(gradient)
        for group in optimizer.param_groups:
            group["lr"] = group["full_lr"] * schedule(step)
            for piece in group["pieces"]:
                stopped = diverged_at[piece.network] is not None
                piece.weights.grad = None if stopped else gradients[piece.network, piece.columns]
        optimizer.step()
        values = now.tolist()
        first = first or values
        seen = [math.nan if diverged_at[k] else value for k, value in enumerate(values)]
        losses[step] = torch.tensor(seen, dtype=torch.float64)
        for k, value in enumerate(values):
            too_far = not math.isfinite(value) or abs(value) > DIVERGED * max(1.0, abs(first[k]))
            if diverged_at[k] is None and too_far:
                diverged_at[k] = step + 1
        if None not in diverged_at:
            break
    return losses, tuple(diverged_at)


def _accuracy(stack: _Stack, test: Sequence[Tensor], diverged_at: Sequence[int | None]) -> Tensor:
    """The share of targets that each network guesses right, (K,); a negative target does not count."""
    inputs, targets = test

    def right(model: nn.Module) -> Tensor:
        out = model(inputs)
        guess = (out[0] if isinstance(out, tuple) else out).argmax(-1)
        return (guess == targets).sum() / (targets >= 0).sum()

    with torch.no_grad():
        shares = vmap(partial(stack.apply, right))(stack.by_name(stack.weights)).cpu()
    lost = torch.tensor([step is not None for step in diverged_at])
    return shares.masked_fill(lost, math.nan)
