"""What is measured in a network: the signals on their way forward, and the gradients on their way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from course_utils.models import GPT, MLP
from course_utils.values import wide

BINS = 61  # of a histogram; an odd number, so that the values that are exactly 0 stand in the middle


@dataclass(frozen=True)
class Statistics:
    """A tensor in a few numbers. active: the share of values above 0.

    counts: how many finite values lie in each of 61 equal bins from -reach to reach, the largest magnitude.
    """

    mean: float
    second_moment: float
    active: float
    counts: tuple[int, ...]
    reach: float


def statistics(values: Tensor) -> Statistics:
    """Describe a tensor; a value that is not finite shows in mean and second_moment, and not in the histogram."""
    flat = wide(values.detach()).flatten()
    finite = flat[flat.isfinite()]
    reach = finite.abs().max().item() if finite.numel() else 0.0
    counts = torch.histc(finite / reach, BINS, -1, 1) if reach else torch.zeros(BINS)  # all zero: no width to bin
    return Statistics(
        mean=flat.mean().item(),
        second_moment=flat.square().mean().item(),
        active=(flat > 0).to(flat.dtype).mean().item(),
        counts=tuple(int(count) for count in counts),
        reach=reach,
    )


@dataclass(frozen=True)
class Probe:
    """Statistics by name, of the latest pass through the model.

    activations: what each layer hands on, in order: the hidden layers of an MLP after their activation, the
    embedding and the blocks of a GPT, and the "output".  gradients: the loss's gradient there.  weight_gradients:
    its gradient by weight matrix.
    """

    activations: dict[str, Statistics] = field(default_factory=dict)
    gradients: dict[str, Statistics] = field(default_factory=dict)
    weight_gradients: dict[str, Statistics] = field(default_factory=dict)


@contextmanager
def probe(model: MLP | GPT) -> Iterator[Probe]:
    """Record what passes through a model within the ``with`` block; the model is left as it was.

    ``with probe(model) as seen: loss(model, batch).backward()``. TypeError for another kind of model.
    """
    if not isinstance(model, MLP | GPT):
        raise TypeError(f"cannot probe {type(model).__name__}: expected an MLP or a GPT")
    seen, hooks = Probe(), []

    def watch(name: str, signal: Tensor) -> None:
        seen.activations[name] = statistics(signal)
        if signal.requires_grad:
            hooks.append(signal.register_hook(partial(_note, seen.gradients, name)))

    try:
        attach = _attach_to_mlp if isinstance(model, MLP) else _attach_to_gpt
        hooks += attach(model, watch)
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and parameter.requires_grad:
                hooks.append(parameter.register_hook(partial(_note, seen.weight_gradients, name)))
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _note(record: dict[str, Statistics], name: str, gradient: Tensor) -> None:
    record[name] = statistics(gradient)


def _attach_to_mlp(model: MLP, watch: Callable[[str, Tensor], None]) -> list:
    """One activation module serves all hidden layers: its calls are counted, from 1 in each pass."""
    calls = []

    def count(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        calls.append(None)
        watch(f"layer {len(calls)}", output)

    return [
        model.register_forward_pre_hook(lambda module, inputs: calls.clear()),
        model.act.register_forward_hook(count),
        model.layers[-1].register_forward_hook(lambda module, inputs, output: watch("output", output)),
    ]


def _attach_to_gpt(model: GPT, watch: Callable[[str, Tensor], None]) -> list:
    named = [("embedding", model.embed)]
    named += [(f"block {number}", block) for number, block in enumerate(model.blocks, start=1)]
    named += [("output", model.head)]
    return [
        module.register_forward_hook(lambda module, inputs, output, name=name: watch(name, output))
        for name, module in named
    ]
