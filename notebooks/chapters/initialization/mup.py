"""Learning rates that follow the width: maximal-update parametrization for Adam (Yang & Hu 2021; Yang et al. 2022).

In the standard parametrization an Adam step of a given size moves the outputs of a wide model further than those
of a narrow one, so that the best learning rate falls as the model grows. Here it stays where it was at a base width,
where both parametrizations are the same. A GPT must grow by more heads, not by wider ones: attention divides by
the square root of a head's width, which then is a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from course_utils import runtime
from course_utils.initialization.places import places
from course_utils.initialization.schemes import initialize_
from course_utils.models import GPT, MLP, mean_cross_entropy
from course_utils.values import wide


def mup_learning_rates(model: MLP | GPT, *, base_width: int) -> dict[str, float]:
    """The factor on Adam's learning rate for every parameter by name, for a model started with the scheme "mup".

    base_width / width for matrices between hidden layers and for the output, else 1; with a tied head the output's
    factor goes to the final norm. TypeError for another kind of model.
    """
    if not isinstance(model, MLP | GPT):
        raise TypeError(f"no widths known for {type(model).__name__}: expected an MLP or a GPT")
    shrinking = {}
    for place in places(model):
        if place.kind in ("hidden", "output"):
            width = model.config.width if isinstance(model, GPT) else place.fan_in
            shrinking[place.layer.weight] = base_width / width
    if isinstance(model, GPT) and model.config.tied:
        shrinking |= dict.fromkeys(model.norm.parameters(), base_width / model.config.width)
    return {name: shrinking.get(parameter, 1.0) for name, parameter in model.named_parameters()}


def mup_groups(model: MLP | GPT, *, lr: float, base_width: int) -> list[dict]:
    """Parameter groups for `torch.optim.AdamW`, one for each learning rate that "mup" needs."""
    factors = mup_learning_rates(model, base_width=base_width)
    parameters = dict(model.named_parameters())
    return [
        {"params": [parameters[name] for name in factors if factors[name] == factor], "lr": lr * factor}
        for factor in sorted(set(factors.values()))
    ]


@dataclass(frozen=True)
class CoordinateCheck:
    """How far a model's outputs move in one step, by width: the root mean square of the change."""

    widths: tuple[int, ...]
    changes: tuple[float, ...]

    @property
    def slope(self) -> float:
        """The exponent of the width with which the change grows (a log-log fit): 0 where width does not matter."""
        return float(np.polyfit(np.log(self.widths), np.log(self.changes), 1)[0])


def coordinate_check(
    build: Callable[[int], MLP | GPT],
    widths: Sequence[int],
    inputs: Tensor,
    targets: Tensor,
    *,
    mup: bool,
    lr: float = 1e-3,
    base_width: int = 64,
    seed: int = 0,
) -> CoordinateCheck:
    """Take one Adam step on a batch with a model of each width, and see how far its outputs move.

    build: width -> a model, which is then started with "mup" or, for comparison, with "width".  inputs, targets:
    as the model reads them, on its device.
    """
    changes = []
    for width in widths:
        generator = runtime.generator(seed)
        model = build(width)
        if mup:
            initialize_(model, "mup", generator=generator, base_width=base_width)
            groups = mup_groups(model, lr=lr, base_width=base_width)
        else:
            initialize_(model, "width", generator=generator)
            groups = [{"params": list(model.parameters()), "lr": lr}]
        changes.append(_change(model, inputs, targets, torch.optim.Adam(groups)))
    return CoordinateCheck(tuple(widths), tuple(changes))


def _change(model: nn.Module, inputs: Tensor, targets: Tensor, optimizer: torch.optim.Optimizer) -> float:
    before = _outputs(model, inputs)  # (..., classes)
    mean_cross_entropy(before, targets).backward()
    optimizer.step()
    with torch.no_grad():
        return (wide(_outputs(model, inputs)) - wide(before)).square().mean().sqrt().item()


def _outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    out = model(inputs)
    return out[0] if isinstance(out, tuple) else out
