"""Checks of 02_fine_tuning."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from course_utils import runtime
from course_utils.dice import Dice
from course_utils.lesson import check, compare, exercise, is_finite, law, teaches
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
        "divided by the number of rows: divide by the number of targets that count": each.sum() / 2,
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
        "took exp of the loss, the number of tokens it hesitates between": wanted.exp(),
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
    targets[1] = -100
    yield compare(answer(logits, targets), each[:4][counted[0]].mean(), what="the loss where one row has no answer")
    yield compare(answer(logits[:1], targets[:1]), each[:4][counted[0]].mean(), what="the loss of a single row")
    found = answer(torch.tensor([[[0.0, 2000.0]]]), torch.tensor([[0]]))
    yield law(is_finite(found),
              "large logits give inf or nan: take `log_softmax`, not the logarithm of a softmax")  # fmt: skip
    yield compare(found, 2000.0, what="the loss of a sure and wrong prediction")
    yield teaches(answer, lambda z, t: F.cross_entropy(z.flatten(0, 1), t.flatten()), logits, targets)


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
        yield law(found or ending == "bias", f"with {ending!r} nothing trains: compare the end of the whole name, and "
                  "not only its last part")  # fmt: skip
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
    with Dice(0):
        model = nn.ModuleDict({"bias": nn.Linear(2, 2), "head": nn.Linear(2, 3)})
    count = answer(model, "bias")
    yield law("bias.weight" not in trains(model), "with 'bias', `bias.weight` trains, whose name has it elsewhere than "
              "at its end: use `name.endswith(ending)`")  # fmt: skip
    yield compare(count, 5, what="the number of trained numbers where a layer is called `bias`")
    model = small().requires_grad_(False)
    answer(model, "bias")
    yield law(trains(model) == {"layers.0.bias", "layers.1.bias"},
              "on a model that was frozen before, nothing trains: set True for the chosen ones")  # fmt: skip


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


@exercise("lora-layer", "a LoRA layer")
def _(answer):
    """answer(base, rank, alpha) -> a module: base(x) + alpha / rank * B A x, with base frozen and B zero at first."""
    rank, alpha, x = 2, 5.0, torch.randn(5, 4, generator=runtime.generator(1))
    base = _linear()
    wanted = base(x).detach()
    layer = answer(base, rank, alpha)
    yield law(isinstance(layer, nn.Module), "expected an `nn.Module`: call `super().__init__()` first")
    trained = [weight for weight in layer.parameters() if weight.requires_grad]
    numbers = sum(weight.numel() for weight in trained)
    both = rank * (4 + 3)
    yield law(numbers not in (both + rank, both + rank + 3), "A and B are matrices alone, and yours have a bias: "
              "`nn.Linear(..., bias=False)`")  # fmt: skip
    yield law(numbers != both or not all(weight.any() for weight in trained),
              "A and B both start at random, so the output changes at once: B (out, rank) must be zero at first")
    yield compare(layer(x.clone()), wanted, what="the output at the start, where B is zero,", atol=1e-5,
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
    wide = answer(nn.Linear(32, 3), 2, alpha)  # so wide that no two rows are alike by chance
    a = next(weight for weight in wide.parameters() if weight.requires_grad and 32 in weight.shape)
    rows = a if a.shape == (2, 32) else a.T
    yield law(not (rows == rows[0]).all(), "the rows of A are all alike, and will learn alike: draw A at random")
    again = [weight for weight in answer(_linear(), 1, alpha).parameters() if weight.requires_grad]
    yield law(sum(weight.numel() for weight in again) == 7, "with rank 1, expected 1 · (4 + 3) = 7 trained numbers")


def _after_training(layer, x, wanted, trained, scale):
    """The laws of a LoRA layer whose B is no longer zero."""
    b, a = sorted(trained, key=lambda weight: 4 in weight.shape)
    with torch.no_grad():
        b.copy_(torch.randn(b.shape, generator=runtime.generator(2)))
    down = a if a.shape == (2, 4) else a.T
    up = b if b.shape == (3, 2) else b.T

    def output(x, scale=scale):
        return _linear()(x) + scale * x @ down.T @ up.T

    mistakes = {
        "left out the scale: multiply B A x by alpha / rank": output(x, 1),
        "multiplied by alpha: divide it by the rank": output(x, 2 * scale),
        "divided by alpha: the scale is alpha / rank": output(x, 1 / scale),
        "rounded alpha / rank to a whole number: divide with `/`": output(x, scale // 1),
        "left out the given layer: add its output": output(x) - wanted,
        "left out A and B": wanted,
    }
    yield compare(layer(x.clone()), output(x), mistakes=mistakes, what="the output once B is not zero", atol=1e-4)
    yield law(compare(layer(x.clone()), output(x), atol=1e-4) is None,
              "a second call gives another output: `forward` must leave all weights as they are")  # fmt: skip
    for shape in ((2, 3, 4), (1, 4), (4,)):
        many = torch.randn(shape, generator=runtime.generator(3))
        try:
            problem = compare(layer(many.clone()), output(many), atol=1e-4)
        except (RuntimeError, ValueError, IndexError) as error:
            problem = str(error).partition("\n")[0]
        yield law(not problem, f"x of shape {shape} goes wrong ({problem}): x is (..., d_in), so multiply from the "
                  "right, and transpose A and B alone, `x @ A.T @ B.T`")  # fmt: skip
    yield from _gradients(layer, output, x, a, b)


def _gradients(layer, output, x, a, b):
    """The laws of what flows back through a LoRA layer: to A, to B, and to the layers before it."""
    x.requires_grad_()
    found = layer(x.clone())
    cut = "without `torch.no_grad()` and `.detach()`"
    yield law(found.requires_grad, f"no gradient flows through the layer: compute the output {cut}")
    found, wanted = (torch.autograd.grad(one.square().sum(), (a, b, x), allow_unused=True, materialize_grads=True)
                     for one in (found, output(x)))  # fmt: skip
    for name, got, right in zip("AB", found, wanted, strict=False):
        yield law(got.any(), f"no gradient reaches {name}: compute the update from the parameter itself, {cut}")
        yield compare(got, right, rtol=1e-3, what=f"the gradient of {name}")
    yield law(compare(found[2], wanted[2], rtol=1e-3) is None, "the gradient for x is not whole, and the layers before "
              f"this one learn by it: `requires_grad` freezes the given layer's weights; call it {cut}")  # fmt: skip


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
    slopes = torch.autograd.grad(found, list(moving.values()), allow_unused=True, materialize_grads=True)
    slopes = dict(zip(moving, slopes, strict=True))
    yield compare(slopes, {name: fisher[name] * moves[name] for name in shapes}, what="the gradient of the penalty")
