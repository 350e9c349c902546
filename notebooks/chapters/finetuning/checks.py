"""Checks of 02_fine_tuning."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from course_utils import runtime
from course_utils.dice import Dice
from course_utils.lesson import check, compare, exercise, law
from course_utils.models import MLP

__all__ = ["check"]  # a notebook takes it from here, so that its exercises are registered


@exercise("masked-loss", "the loss on the answer only")
def _(answer):
    """answer(logits (rows, tokens, vocabulary), targets (rows, tokens)) -> mean loss over targets that are not -100."""
    logits = 2 * torch.randn(2, 4, 5, generator=runtime.generator(0))
    targets = torch.tensor([[-100, 3, -100, 1], [-100, -100, 4, -100]])
    counted = targets >= 0
    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none").view(2, 4)
    wanted = each.sum() / 3
    mistakes = {
        "divided by all targets: divide by the number of those that count": each.mean(),
        "summed: take the mean over the targets that count": each.sum(),
        "took the mean of each row and then of the rows: the longer answer has more targets":
            (each.sum(1) / counted.sum(1)).mean(),
        "counted every target, with -100 as if it were token 0":
            F.cross_entropy(logits.flatten(0, 1), targets.clamp(min=0).flatten()),
        "counted every target, with -100 as if it were a place from the end of the vocabulary":
            -logits.log_softmax(-1).gather(2, (targets % 5)[..., None]).mean(),
        "shifted the targets: `logits[i, j]` belongs to `targets[i, j]` already":
            F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100),
        "took the probability without its logarithm: use `log_softmax`":
            -logits.softmax(-1)[counted].gather(1, targets[counted][:, None]).mean(),
        "forgot the minus sign": -wanted,
        "used logits as if they were log probabilities: apply `log_softmax` first":
            -logits[counted].gather(1, targets[counted][:, None]).mean(),
    }  # fmt: skip
    yield compare(answer(logits, targets), wanted, mistakes=mistakes, what="the loss")
    every = targets.clamp(min=0)
    each = F.cross_entropy(logits.flatten(0, 1), every.flatten(), reduction="none")
    dropped = {"left out targets that are 0: only those that are -100 do not count": each[every.flatten() > 0].mean()}
    yield compare(answer(logits, every), each.mean(), mistakes=dropped,
                  what="the loss where every target counts")  # fmt: skip
    moved = torch.where(counted[..., None], logits, logits + torch.arange(5.0))
    yield compare(answer(moved, targets), wanted, what="the loss after changing logits that do not count")


@exercise("freeze", "freezing all but some weights")
def _(answer):
    """answer(model, ending) -> how many numbers train: those of the weights whose name ends so; the rest freezes."""
    def small():
        with Dice(0):  # PyTorch's own layers start from the global generator
            return MLP([4, 6, 3])

    def trains(model):
        return {name for name, weight in model.named_parameters() if weight.requires_grad}

    for ending in ("bias", "layers.1.weight"):
        model, before = small(), small().state_dict()
        names = {name for name, _ in model.named_parameters()}
        chosen = {name for name in names if name.endswith(ending)}
        count = answer(model, ending)
        found = trains(model)
        yield law(found != names, "every weight still trains: set `requires_grad` of the others to False")
        yield law(found != names - chosen, f"it is the wrong way round: what ends in {ending!r} is what trains")
        yield law(found == chosen, f"with {ending!r}, {_listed(found)} trains, expected {_listed(chosen)}")
        sizes = {name: weight.numel() for name, weight in model.named_parameters()}
        mistakes = {
            "counted tensors: sum their `numel()`": len(chosen),
            "counted the whole model": sum(sizes.values()),
            "counted what is frozen": sum(sizes[name] for name in names - chosen),
        }
        wanted = sum(sizes[name] for name in chosen)
        yield compare(count, wanted, mistakes=mistakes, what="the number of trained numbers")
        same = all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
        yield law(same, "the weights have other values now: freezing changes `requires_grad` alone")
    model = small().requires_grad_(False)
    answer(model, "bias")
    yield law(trains(model) == {"layers.0.bias", "layers.1.bias"},
              "on a model that was frozen before, nothing trains: set True for the chosen ones")  # fmt: skip


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


@exercise("lora-layer", "a LoRA layer")
def _(answer):
    """answer(base, rank, alpha) -> a module: base(x) + alpha / rank * B A x, with base frozen and B zero at first."""
    rank, alpha, x = 2, 6.0, torch.randn(5, 4, generator=runtime.generator(1))
    base = _linear()
    wanted = base(x).detach()
    layer = answer(base, rank, alpha)
    yield law(isinstance(layer, nn.Module), "expected an `nn.Module`: call `super().__init__()` first")
    trained = [weight for weight in layer.parameters() if weight.requires_grad]
    numbers = sum(weight.numel() for weight in trained)
    both = rank * (4 + 3)
    yield law(numbers != both or not all(weight.any() for weight in trained),
              "A and B both start at random, so the output changes at once: B (out, rank) must be zero at first")
    yield compare(layer(x), wanted, what="the output at the start, where B is zero,", atol=1e-5,
                  mistakes={"left out the given layer: add its output": torch.zeros_like(wanted)})  # fmt: skip
    yield law(numbers != both + 15, "the given layer trains, too: freeze its weight and its bias")
    yield law(numbers != both + 3, "the given layer's bias trains, too: freeze it")
    yield law(numbers != both + 12, "the given layer's weight trains, too: freeze it")
    yield law(numbers == both and len(trained) == 2,
              f"{numbers} numbers in {len(trained)} tensors train, expected A and B with {both}: make each an "
              "`nn.Parameter`, A (rank, in) and B (out, rank)")  # fmt: skip
    shapes = sorted(tuple(sorted(weight.shape)) for weight in trained)
    yield law(shapes == [(2, 3), (2, 4)], f"A and B have shapes {shapes}, expected (2, 4) and (3, 2)")
    zero = [weight for weight in trained if not weight.any()]
    yield law(len(zero) != 2, "A and B are both zero: then neither ever gets a gradient; draw A at random")
    yield law(zero and 3 in zero[0].shape, "B (out, rank) must be zero at first, and A random")
    yield from _after_training(layer, x, wanted, trained, alpha / rank)
    again = [weight for weight in answer(_linear(), 1, alpha).parameters() if weight.requires_grad]
    yield law(sum(weight.numel() for weight in again) == 7, "with rank 1, expected 1 · (4 + 3) = 7 trained numbers")


def _after_training(layer, x, wanted, trained, scale):
    """The laws of a LoRA layer whose B is no longer zero."""
    b, a = sorted(trained, key=lambda weight: 4 in weight.shape)
    with torch.no_grad():
        b.copy_(torch.randn(b.shape, generator=runtime.generator(2)))
    down = a if a.shape == (2, 4) else a.T
    up = b if b.shape == (3, 2) else b.T
    move = x @ down.T @ up.T
    mistakes = {
        "left out the scale: multiply B A x by alpha / rank": wanted + move,
        "multiplied by alpha: divide it by the rank": wanted + 2 * scale * move,
        "divided by alpha: the scale is alpha / rank": wanted + move / scale,
        "left out the given layer: add its output": scale * move,
        "left out A and B": wanted,
    }
    yield compare(layer(x), wanted + scale * move, mistakes=mistakes, what="the output once B is not zero", atol=1e-4)


def _linear() -> nn.Linear:
    made = nn.Linear(4, 3)
    with torch.no_grad():
        for seed, weight in enumerate(made.parameters()):
            weight.copy_(torch.randn(weight.shape, generator=runtime.generator(seed)))
    return made


@exercise("ewc-penalty", "the EWC penalty")
def _(answer):
    """answer(weights, start, fisher), each a dict of tensors by name -> 1/2 sum F (w - w0)²."""
    rng = runtime.generator(0)
    shapes = {"layer.weight": (3, 2), "layer.bias": (3,)}
    weights, start = ({name: torch.randn(shape, generator=rng) for name, shape in shapes.items()} for _ in range(2))
    fisher = {name: torch.rand(shape, generator=rng) for name, shape in shapes.items()}
    moves = {name: weights[name] - start[name] for name in shapes}

    def total(of, **how):
        return sum(of(fisher[name], moves[name], **how) for name in shapes)

    wanted = 0.5 * total(lambda f, d: (f * d**2).sum())
    mistakes = {
        "forgot the half": 2 * wanted,
        "forgot the Fisher: that is L2 to the start": 0.5 * total(lambda f, d: (d**2).sum()),
        "forgot to square the move": 0.5 * total(lambda f, d: (f * d).sum()),
        "squared the Fisher, too: F (w - w0)², and not (F (w - w0))²": 0.5 * total(lambda f, d: (f * d).square().sum()),
        "took means: sum over all weights": 0.5 * total(lambda f, d: (f * d**2).mean()),
        "forgot the start: it is the move that is squared": 0.5 * sum(
            (fisher[name] * weights[name] ** 2).sum() for name in shapes),
        "used only the last tensor: sum over all of them":
            0.5 * (fisher["layer.bias"] * moves["layer.bias"] ** 2).sum(),
        "divided by the Fisher: it is a weight, not a variance": 0.5 * total(lambda f, d: (d**2 / f).sum()),
    }  # fmt: skip

    yield compare(answer(weights, start, fisher), wanted, mistakes=mistakes, what="the penalty")
    yield compare(answer(start, start, fisher), 0.0, what="the penalty at the start")
    moving = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
    found = answer(moving, start, fisher)
    yield law(isinstance(found, torch.Tensor) and found.requires_grad,
              "no gradient flows through the penalty: keep it a tensor, without `.item()` or `.detach()`")  # fmt: skip
    slopes = dict(zip(moving, torch.autograd.grad(found, list(moving.values())), strict=True))
    yield compare(slopes, {name: fisher[name] * moves[name] for name in shapes}, what="the gradient of the penalty")
