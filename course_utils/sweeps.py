"""Many small networks trained at once, each as if it were alone.

A small network's step is mostly overhead: dozens of operations, each on little data. A `Stack` holds K `models.MLP`s
of one shape, and each of its operations is one for all of them. A `Fleet` is a module of such stacks whose loss gives
each network the gradient that it has alone, so that the one training loop trains them all: live with `fleet`, headless
with `train_many`, where each may have a seed, a learning rate and a weight decay of its own. Each network gives the
numbers that `training.fit` gives for it, up to the order of float32 sums.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F

from course_utils.models import ACTIVATIONS, IGNORE, MLP
from course_utils.training import OPTIMIZERS, Experiment, Run, constant, default_loss, finish
from course_utils.training.loop import diverged, kind_of

Build = Callable[[torch.Generator], nn.Module]
Batch = tuple[Tensor, ...]
Loss = Callable[[nn.Module, Batch], Tensor]
PARTS = {MLP, nn.ModuleList, nn.Linear, nn.LayerNorm, nn.Identity, *ACTIVATIONS.values()}


class Stack(nn.Module):
    """K `MLP`s of one shape side by side: input (batch, in) for all, or (K, batch, in) -> output (K, batch, classes).

    Its parameters are theirs in order, a matrix as (K, in, out) and a vector as (K, 1, out).
    """

    def __init__(self, networks: Sequence[MLP]):
        super().__init__()
        self.count, self.like = len(networks), (networks[0],)  # in a tuple: its weights are not this module's
        self.act = nn.ReLU(inplace=True) if isinstance(networks[0].act, nn.ReLU) else networks[0].act
        named = [dict(network.named_parameters()) for network in networks]
        for name in named[0]:
            # a product gives the gradient of a matrix that lies this way as it lies: another one would be copied
            turned = torch.stack([torch.atleast_2d(own[name].detach().t()) for own in named])
            self.register_parameter(name.replace(".", " "), nn.Parameter(turned.contiguous()))

    def forward(self, x: Tensor) -> Tensor:
        (like,), weights = self.like, self._parameters
        x = x.expand(self.count, *x.shape[-2:])
        for number, norm in enumerate([*like.norms, None]):
            matrix, bias = weights[f"layers {number} weight"], weights.get(f"layers {number} bias")
            out = torch.bmm(x, matrix) if bias is None else torch.baddbmm(bias, x, matrix)  # (K, batch, out)
            if norm is None:
                return out
            if isinstance(norm, nn.LayerNorm):
                out = F.layer_norm(out, norm.normalized_shape, eps=norm.eps)
                out = torch.addcmul(weights[f"norms {number} bias"], out, weights[f"norms {number} weight"])
            out = self.act(out)
            x = x + out if like.residual and out.shape == x.shape else out

    def losses(self, loss: Loss, batches: Sequence[Batch]) -> Tensor:
        """Every network's loss on its own batch, (K,)."""
        shared = all(batch is batches[0] for batch in batches)
        batch = batches[0] if shared else tuple(torch.stack(parts) for parts in zip(*batches, strict=True))
        answers = self(batch[0])  # (K, batch, classes)
        if loss is default_loss:  # written out, because vmap takes its time
            each = F.cross_entropy(answers.mT, batch[1].expand(answers.shape[:2]), reduction="none")  # (K, batch)
            return each.sum(1) / (batch[1] != IGNORE).sum(-1)

        def one(answer: Tensor, batch: Batch) -> Tensor:
            def network(inputs: Tensor) -> Tensor:
                if inputs is not batch[0]:
                    raise ValueError("a sweep's loss(model, batch) may ask for model(batch[0]) only: use `training.fit`")
                return answer

            return loss(network, batch)

        return vmap(one, in_dims=(0, None if shared else 0))(answers, batch)

    @torch.no_grad()
    def networks(self) -> list[MLP]:
        """Each network as a module of its own, with a copy of its weights."""
        made = [copy.deepcopy(self.like[0]).to(next(self.parameters()).device) for _ in range(self.count)]
        for k, network in enumerate(made):
            for own, stacked in zip(network.parameters(), self.parameters(), strict=True):
                own.copy_(stacked[k].t() if own.ndim == 2 else stacked[k, 0])
        return made


def _shape(network: nn.Module) -> str:
    """What must agree for two networks to compute the same function of their weights."""
    parts = [
        (name, type(part), {key: value for key, value in vars(part).items() if not key.startswith("_")})
        for name, part in network.named_modules()
    ]
    return str((parts, [(name, weight.shape, weight.dtype) for name, weight in network.named_parameters()]))


def _plain(network: nn.Module) -> bool:
    """Whether it is an `MLP` as it was made, with no part exchanged or hooked."""
    parts = list(network.modules())
    return type(network) is MLP and all(
        type(part) in PARTS and not part._forward_hooks and not part._forward_pre_hooks for part in parts
    )


class Fleet(nn.Module):
    """`MLP`s as one module, neighbours of one shape in one `Stack`. lr, weight_decay: factors on the run's knobs.

    lr_factors: factors on the learning rate by parameter name. Input (batch, in) -> output (networks, batch, classes).
    """

    def __init__(self, networks: Sequence[MLP], *, lr: Sequence[float] = (), weight_decay: Sequence[float] = (),
                 lr_factors: Mapping[str, float] | None = None):  # fmt: skip
        super().__init__()
        if not all(map(_plain, networks)):
            raise ValueError("a fleet is made of plain MLPs: train others one by one")
        ones = [1.0] * len(networks)
        self.settings, self.lr_factors = list(zip(lr or ones, weight_decay or ones, strict=True)), lr_factors or {}
        self.stacks = nn.ModuleList(Stack(list(alike)) for _, alike in groupby(networks, key=_shape))
        self.rows: list[tuple[Tensor, list[Tensor]]] = []  # weights, and their rows of each learning rate
        self.seen: list[list[float]] = []  # every step's losses
        self.diverged_at: list[int | None] = [None] * len(networks)
        self.stopped = [False] * len(networks)  # whether it had diverged before this step

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([stack(x) for stack in self.stacks])

    def loss(self, batches: Sequence[Batch], loss: Loss = default_loss) -> Tensor:
        """The mean loss of those that have not diverged, with the gradient of the sum. batches: one for each network."""
        given = iter(batches)
        each = torch.cat([stack.losses(loss, list(islice(given, stack.count))) for stack in self.stacks])
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
        for k, (value, first) in enumerate(zip(values, self.seen[0], strict=True)):
            if not self.stopped[k] and diverged(value, first):
                self.diverged_at[k] = len(self.seen)
        going = [value for value, step in zip(values, self.diverged_at, strict=True) if step is None]
        return sum(going) / len(going) if going else math.nan

    def parameter_groups(self) -> list[dict]:
        """For the run's optimizer: what has one learning rate and one weight decay, together."""
        groups: dict[tuple[float, float], list[Tensor]] = {}
        settings = iter(self.settings)
        for stack in self.stacks:
            own = [(both, len(list(same))) for both, same in groupby(islice(settings, stack.count))]
            for (name, one), weights in zip(stack.like[0].named_parameters(), stack.parameters(), strict=True):
                rows = [weights]
                if len(own) > 1:
                    rows = [part.requires_grad_() for part in weights.detach().split([count for _, count in own])]
                    self.rows.append((weights, rows))
                for ((lr, decay), _), part in zip(own, rows, strict=True):
                    factors = lr * self.lr_factors.get(name, 1.0), decay if one.ndim >= 2 else 0.0
                    groups.setdefault(factors, []).append(part)
        return [{"params": params, "rate": rate, "decays": decays} for (rate, decays), params in groups.items()]

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """Around the optimizer's step: lends rows their gradients, and keeps the weights of who had diverged before."""
        for weights, rows in self.rows:
            for part, gradient in zip(rows, weights.grad.split([len(part) for part in rows]), strict=True):
                part.grad = gradient
        masks = torch.tensor(self.stopped).split([stack.count for stack in self.stacks]) if any(self.stopped) else ()
        kept = [(weights.detach(), mask, weights.detach()[mask])
                for mask, stack in zip(masks, self.stacks, strict=False) for weights in stack.parameters()]  # fmt: skip
        yield
        for weights, mask, before in kept:
            weights[mask] = before
        for weights, _ in self.rows:
            weights.grad = None  # the optimizer clears those of the rows only


def fleet(builds: Sequence[Build]) -> Callable[[torch.Generator], Fleet]:
    """For `training.Experiment(model=...)`: `MLP`s that each start as one alone does with the run's seed."""

    def build(generator: torch.Generator) -> Fleet:
        return Fleet([Experiment(model=one, batches=()).start(generator.initial_seed()).model for one in builds])

    return build


def fleet_loss(fleet: Fleet, batch: Batch) -> Tensor:
    """For `training.Experiment(loss=...)`: the mean of those that have not diverged, with the gradient of the sum."""
    return fleet.loss([batch] * len(fleet.stopped))


@dataclass(frozen=True)
class Sweep:
    """What K networks did.

    losses: (steps, K) float64, nan after the step at which a network diverged.  diverged_at: that step for each,
    counted from 1, or None.  networks: each with its final weights.  accuracy: (K,), the share of the test batch
    that is guessed right, nan for a network that diverged; None without a test batch.
    """

    losses: Tensor
    diverged_at: tuple[int | None, ...]
    networks: list[nn.Module]
    accuracy: Tensor | None

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The final weights by name, (K, ...)."""
        named = [dict(network.named_parameters()) for network in self.networks]
        return {name: torch.stack([weights[name].detach() for weights in named]) for name in named[0]}


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
    `initialization.mup_learning_rates` gives.  test: (inputs, targets) for the final accuracy.

    A network whose loss diverges stops there, with the weights it has, and leaves the others untouched. ValueError
    where lengths or shapes do not match, or a model has buffers or frozen weights.
    """
    builds, rates, seeds, decays = _spread(model=model, lr=lr, seed=seed, weight_decay=weight_decay)
    runs = [
        Experiment(model=build, batches=batches, loss=loss, optimizer=optimizer, schedule=schedule, steps=steps,
                   knobs={"lr": rate, "weight_decay": decay}).start(own_seed, device=device)
        for build, rate, own_seed, decay in zip(builds, rates, seeds, decays, strict=True)
    ]  # fmt: skip
    _check_alike([run.model for run in runs], lr_factors or {})
    train = _side_by_side if all(_plain(run.model) for run in runs) else _one_by_one
    losses = torch.full((steps, len(runs)), math.nan, dtype=torch.float64)
    found, diverged_at, networks = zip(*train(runs, lr_factors or {}), strict=True)
    for k, own in enumerate(found):
        losses[: len(own), k] = torch.tensor(own, dtype=torch.float64)
    accuracy = None if test is None else torch.tensor([math.nan if step else _accuracy(network, *test)
                                                       for network, step in zip(networks, diverged_at, strict=True)])  # fmt: skip
    return Sweep(losses, diverged_at, networks, accuracy)


Done = tuple[Sequence[float], "int | None", nn.Module]  # losses, the step of divergence, the trained network


def _side_by_side(runs: Sequence[Run], lr_factors: Mapping[str, float]) -> list[Done]:
    ordered = sorted(runs, key=lambda run: (run.knobs["lr"], run.knobs["weight_decay"]))
    alone, own = runs[0].experiment, callable(runs[0].experiment.batches)
    draws = {run.seed if own else 0: run._draw for run in runs}  # networks of one seed share their batches
    experiment = replace(
        alone,
        model=lambda _: Fleet([run.model for run in ordered], lr=[run.knobs["lr"] for run in ordered],
                              weight_decay=[run.knobs["weight_decay"] for run in ordered], lr_factors=lr_factors),
        batches=lambda _: {seed: draw() for seed, draw in draws.items()},
        loss=lambda fleet, drawn: fleet.loss([drawn[run.seed if own else 0] for run in ordered], alone.loss),
        knobs={"lr": 1.0, "weight_decay": 1.0},
    )  # fmt: skip
    fleet = finish(experiment.start(device=runs[0].device)).model
    trained = zip(zip(*fleet.seen, strict=True), fleet.diverged_at, fleet.stacks[0].networks(), strict=True)
    found = dict(zip(ordered, trained, strict=True))
    return [found[run] for run in runs]


def _one_by_one(runs: Sequence[Run], lr_factors: Mapping[str, float]) -> Iterator[Done]:
    for run in runs:
        if lr_factors:
            groups = [{"params": [weight], "decays": weight.ndim >= 2, "rate": lr_factors.get(name, 1.0)}
                      for name, weight in run.model.named_parameters()]  # fmt: skip
            run.optimizer = OPTIMIZERS[run.experiment.optimizer](groups, run.device)
        losses = []
        while run.status == "ready":
            losses.append(run.step())
        yield losses, len(losses) if run.status == "diverged" else None, run.model


@torch.no_grad()
def _accuracy(network: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """The share of targets that it guesses right; a target below 0 does not count."""
    device = next(network.parameters()).device
    out = network(inputs.to(device))
    guess = (out[0] if isinstance(out, tuple) else out).argmax(-1).cpu()
    return ((guess == targets.cpu()).sum() / (targets >= 0).sum().cpu()).item()


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
    first = _shape(networks[0])
    for number, network in enumerate(networks):
        if _shape(network) != first:
            raise ValueError(f"network {number} is built differently from network 0: one sweep trains one shape")
        if next(network.buffers(), None) is not None:
            raise ValueError(f"{type(network).__name__} has buffers: a sweep hands weights back, and nothing else")
        if not all(weight.requires_grad for weight in network.parameters()):
            raise ValueError(f"network {number} has frozen weights: a sweep trains them all")
    if unknown := lr_factors.keys() - {name for name, _ in networks[0].named_parameters()}:
        raise ValueError(f"lr_factors: no parameter {', '.join(sorted(unknown))}")
