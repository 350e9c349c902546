"""Whose module it is, and which of its parts train."""

from __future__ import annotations

import copy

from torch import Tensor, nn


def own_copy(model: nn.Module, memo: dict | None = None) -> nn.Module:
    """A copy that shares nothing with the model: a builder may have given one that a learner still holds."""
    memo = {} if memo is None else memo
    computed = [value for part in model.modules() for value in vars(part).values()
                if isinstance(value, Tensor) and not value.is_leaf]  # fmt: skip
    try:
        # What a layer has computed from its weights, as weight_norm does, cannot be copied with its gradient.
        memo |= {id(value): value.detach().clone() for value in computed}
        return copy.deepcopy(model, memo)
    except Exception as error:
        problem = f"this {type(model).__name__} cannot be copied ({error}), and a run must not change yours"
        raise TypeError(f"{problem}: train it in place, by fit(model, ...)") from error


def train_(model: nn.Module) -> None:
    """Training mode for what trains; what is frozen answers as it did, so it stays in evaluation mode.

    Frozen is a part whose weights are all frozen, with the parts inside it, and one that was put into evaluation mode
    by itself, in a model that was not; running statistics without weights are if nothing before them trains.
    """
    modes = {part: part.training for part in model.modules()}
    by_hand = {part for part, training in modes.items() if not training} if any(modes.values()) else set()
    model.train()
    thawed = all(weight.requires_grad for weight in model.parameters())
    reached = False  # whether a weight that trains stands before this part
    for part in model.modules():
        weights = list(part.parameters())
        is_frozen = bool(weights) and not any(weight.requires_grad for weight in weights)
        adrift = not weights and any(True for _ in part.buffers()) and not thawed and not reached
        if is_frozen or adrift:
            part.eval()
        reached = reached or any(weight.requires_grad for weight in part.parameters(recurse=False))
    for part in by_hand:
        part.training = False
