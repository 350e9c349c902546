"""Many small networks trained at once, each as if it were alone.

A small network's step is mostly overhead: dozens of operations, each on little data. A `Stack` holds K `models.MLP`s
of one shape, and each of its operations is one for all of them. A `Fleet` is a module of such stacks whose loss gives
each network the gradient that it has alone, so that the one training loop trains them all: live with `fleet`, headless
with `train_many`, where each may have a seed, a learning rate and a weight decay of its own. Each network gives the
numbers that `training.fit` gives for it, up to the order of float32 sums.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

import torch
from torch import Tensor, nn

from course_utils import runtime
from course_utils.models import count_parameters
from course_utils.stacks import Alone, Batch, Loss, Stack, is_plain, shape_of
from course_utils.training import Experiment, constant, default_loss, finish
from course_utils.training.knobs import checked
from course_utils.training.loop import built, divergence, kind_of
from course_utils.training.modes import own_copy

Build = Callable[[torch.Generator], nn.Module]
KNOBS = {"lr": 0.0, "weight_decay": 0.0}  # those that each network has


class Fleet(nn.Module):
    """Networks as one module: neighbours that are plain `MLP`s of one shape in one `Stack`, others one by one.

    lr, weight_decay: for each network, a factor on the run's knob.  lr_factors: one more, by parameter name.
    Input (batch, ...) for all -> output (networks, batch, ...).
    """

    def __init__(self, networks: Sequence[nn.Module], *, lr: Sequence[float] = (), weight_decay: Sequence[float] = (),
                 lr_factors: Mapping[str, float] | None = None):  # fmt: skip
        super().__init__()
        ones = [1.0] * len(networks)
        self.settings, self.lr_factors = list(zip(lr or ones, weight_decay or ones, strict=True)), lr_factors or {}
        groups = groupby(networks, key=lambda network: shape_of(network) if is_plain(network) else object())
        alike = [list(group) for _, group in groups]
        self.stacks = nn.ModuleList(Stack(group) if is_plain(group[0]) else Alone(group) for group in alike)
        self.rows: list[tuple[Tensor, list[Tensor]]] = []  # weights, and their rows of each learning rate
        self.seen: list[list[float]] = []  # every step's losses
        self.limits: list[float] = []  # the loss from which on each has diverged
        self.diverged_at: list[int | None] = [None] * len(networks)
        self.stopped = [False] * len(networks)  # whether it had diverged before this step

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([stack(x) for stack in self.stacks])

    def loss(self, batches: Sequence[Batch], loss: Loss = default_loss) -> Tensor:
        """The mean loss of those that have not diverged, with the gradient of the sum; a batch for each network."""
        given = iter(batches)
        found = [stack.losses(loss, list(islice(given, stack.count))) for stack in self.stacks]
        each = torch.cat(found) if len(found) > 1 else found[0]  # (networks,)
        if each.ndim != 1:
            raise TypeError(f"loss gave {kind_of(each[0])}: expected a tensor that is one number, such as a mean")
        self.stopped = [step is not None for step in self.diverged_at]
        total = each[~torch.tensor(self.stopped)].sum() if any(self.stopped) else each.sum()
        if not total.is_meta:
            total.detach().fill_(self._record(each.tolist()))  # another value, and still the gradient of the sum
        return total

    def _record(self, values: list[float]) -> float:
        """Note what each network's loss is, and who diverges. Returns the mean of the others, nan if there is none."""
        values = [math.nan if stopped else value for value, stopped in zip(values, self.stopped, strict=True)]
        self.seen.append(values)
        self.limits = self.limits or [divergence(first) for first in values]
        for k, (value, limit) in enumerate(zip(values, self.limits, strict=True)):
            if not abs(value) <= limit and not self.stopped[k]:  # written so that nan has run away, too
                self.diverged_at[k] = len(self.seen)
        going = [value for value, step in zip(values, self.diverged_at, strict=True) if step is None]
        return sum(going) / len(going) if going else math.nan

    def parameter_groups(self) -> list[dict]:
        """For the run's optimizer: what has one learning rate and one weight decay, together."""
        groups: dict[tuple[float, float], list[Tensor]] = {}
        settings = iter(self.settings)
        for stack in self.stacks:
            own = [(both, len(list(same))) for both, same in groupby(islice(settings, stack.count))]
            for name, weights, by_network in stack.named():
                rows = [weights]
                if len(own) > 1:
                    rows = [part.requires_grad_() for part in weights.detach().split([count for _, count in own])]
                    self.rows.append((weights, rows))
                for ((lr, decay), _), part in zip(own, rows, strict=True):
                    factors = lr * self.lr_factors.get(name, 1.0), decay if by_network.ndim > 2 else 0.0
                    groups.setdefault(factors, []).append(part)
        return [{"params": params, "rate": rate, "decays": decays} for (rate, decays), params in groups.items()]

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """Around the optimizer's step: lends rows their gradients, and keeps the weights of who had diverged before."""
        for weights, rows in self.rows:
            for part, gradient in zip(rows, weights.grad.split([len(part) for part in rows]), strict=True):
                part.grad = gradient
        masks = torch.tensor(self.stopped).split([stack.count for stack in self.stacks]) if any(self.stopped) else ()
        kept = [(weights, mask, weights[mask]) for mask, stack in zip(masks, self.stacks, strict=False)
                for *_, weights in stack.named()]  # fmt: skip
        yield
        for weights, mask, before in kept:
            weights[mask] = before
        for weights, _ in self.rows:
            weights.grad = None  # the optimizer clears those of the rows only


def fleet(builds: Sequence[Build]) -> Callable[[torch.Generator], Fleet]:
    """For `training.Experiment(model=...)`: networks that each start as one alone does with the run's seed."""

    def build(generator: torch.Generator) -> Fleet:
        return Fleet([Experiment(model=one, batches=()).start(generator.initial_seed(), device="cpu").model
                      for one in builds])  # fmt: skip

    return build


def fleet_loss(fleet: Fleet, batch: Batch) -> Tensor:
    """For `training.Experiment(loss=...)`: the mean of those that have not diverged, with the gradient of the sum."""
    return fleet.loss([batch] * len(fleet.stopped))


@dataclass(frozen=True)
class Sweep:
    """What K networks did.

    losses: (steps, K) float64, nan after the step at which a network diverged.  diverged_at: that step for each,
    counted from 1, or None.  parameters: the final weights by name, (K, ...).  accuracy: (K,), the share of the test
    batch that is guessed right, nan for a network that diverged; None without a test batch.
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
    loss: Loss = default_loss,
    seed: int | Sequence[int] = 0,
    optimizer: str = "adamw",
    weight_decay: float | Sequence[float] = 0.0,
    schedule: Callable[[int], float] = constant,
    lr_factors: Mapping[str, float] | None = None,
    test: tuple[Tensor, Tensor] | None = None,
    device: torch.device | str | None = None,
) -> Sweep:
    """Train K networks of one shape side by side (`MLP`s; others one by one); arguments are those of `training.fit`.

    model, lr, seed, weight_decay: one for all, or K of them; builders may start their networks differently.
    Networks with the same seed see the same batches; a list of batches is the same for all.  loss: of an `MLP`, it may
    ask for ``model(batch[0])`` only.  lr_factors: a factor on the learning rate by parameter name, as
    maximal update gives.  test: (inputs, targets) for the final accuracy.

    A network whose loss diverges stops there, with the weights it has, and leaves the others untouched. ValueError
    where lengths or shapes do not match, or a model has buffers or frozen weights.
    """
    builds, rates, seeds, decays = _spread(model=model, lr=lr, seed=seed, weight_decay=weight_decay)
    experiment = Experiment(model=builds[0], batches=batches, loss=loss, optimizer=optimizer, schedule=schedule,
                            steps=steps)  # fmt: skip
    for build in set(builds):
        replace(experiment, model=build)  # says what is no builder
    rates = [(checked("lr", rate, KNOBS), checked("weight_decay", decay, KNOBS))
             for rate, decay in zip(rates, decays, strict=True)]  # fmt: skip
    generators = [runtime.generator(own) for own in seeds]
    networks = [built(build, own) for build, own in zip(builds, generators, strict=True)]
    _check_alike(networks, lr_factors or {})
    networks = [network if is_plain(network) else own_copy(network) for network in networks]  # a stack copies
    order = sorted(range(len(networks)), key=rates.__getitem__)  # those of one learning rate side by side
    back = sorted(range(len(networks)), key=order.__getitem__)
    lrs, decays = zip(*(rates[k] for k in order), strict=True)
    whose = [generators[k].initial_seed() if callable(batches) else 0 for k in order]
    # One run for all networks of a seed, to draw their batches.
    draws = {seed: experiment.start(seed, device=device)._draw for seed in dict.fromkeys(whose)}
    together = replace(
        experiment,
        model=lambda _: Fleet([networks[k] for k in order], lr=lrs, weight_decay=decays, lr_factors=lr_factors),
        batches=lambda _: {seed: draw() for seed, draw in draws.items()},
        loss=lambda fleet, drawn: fleet.loss([drawn[seed] for seed in whose], loss),
        knobs={"lr": 1.0, "weight_decay": 1.0},
    )
    run = together.start(device=device)
    runtime.use_threads(count_parameters(networks[0]))  # as one alone: on a busy machine a second thread waits
    fleet = finish(run).model
    losses = torch.full((steps, len(networks)), math.nan, dtype=torch.float64)
    losses[: len(fleet.seen)] = torch.tensor(fleet.seen, dtype=torch.float64)[:, back]
    ended = len(fleet.seen) if len(fleet.seen) < steps else None  # the run's own rule can stop the last ones with it
    diverged_at = tuple(fleet.diverged_at[place] or ended for place in back)
    named = zip(*(stack.named() for stack in fleet.stacks), strict=True)
    parameters = {same[0][0]: torch.cat([weights for *_, weights in same])[back] for same in named}
    return Sweep(losses, diverged_at, parameters, test and _accuracy(fleet, *test)[back])


@torch.no_grad()
def _accuracy(fleet: Fleet, inputs: Tensor, targets: Tensor) -> Tensor:
    """The share of targets that each network guesses right, (K,); a target below 0 does not count."""
    device = next(fleet.parameters()).device
    right = fleet(inputs.to(device)).argmax(-1).cpu() == targets.cpu()  # (K, ...)
    lost = torch.tensor([step is not None for step in fleet.diverged_at])
    return (right.flatten(1).sum(1) / (targets >= 0).sum().cpu()).masked_fill(lost, math.nan)


def _spread(**settings: object) -> list[list]:
    """Every setting as a list of K; arrays and tensors as the plain numbers in them."""
    plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in settings.items()}
    lists = {name: list(value) if hasattr(value, "__len__") else [value] for name, value in plain.items()}
    count = max(len(values) for values in lists.values())
    for name, values in lists.items():
        if len(values) not in (1, count):
            raise ValueError(f"{name} has {len(values)} values and another setting {count}: give one or {count}")
    return [values * (count // len(values)) for values in lists.values()]


def _check_alike(networks: Sequence[nn.Module], lr_factors: Mapping[str, float]) -> None:
    first = shape_of(networks[0])
    for number, network in enumerate(networks):
        if shape_of(network) != first:
            raise ValueError(f"network {number} is built differently from network 0: one sweep trains one shape")
        if next(network.buffers(), None) is not None:
            raise ValueError(f"{type(network).__name__} has buffers: a sweep hands weights back, and nothing else")
        if not all(weight.requires_grad for weight in network.parameters()):
            raise ValueError(f"network {number} has frozen weights: a sweep trains them all")
    if unknown := lr_factors.keys() - {name for name, _ in networks[0].named_parameters()}:
        raise ValueError(f"lr_factors: no parameter {', '.join(sorted(unknown))}")
