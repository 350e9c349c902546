"""The optimizers by name, and which weights decay."""

from __future__ import annotations

import torch
from torch import nn


def _adamw(groups, on: torch.device):
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), fused=on.type in ("cpu", "cuda"))


OPTIMIZERS = {"adamw": _adamw, "sgd": lambda groups, on: torch.optim.SGD(groups, lr=0.0)}


def parameter_groups(model: nn.Module) -> list[dict]:
    """Matrices decay, biases and norms do not (as GPT-2 and its successors train), unless the model has a rule."""
    if hasattr(model, "parameter_groups"):  # each with "decays" and "rate", its factors on the knobs
        return model.parameter_groups()
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("this model has no trainable parameter: unfreeze one (requires_grad = True)")
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "decays": True},
        {"params": [p for p in trained if p.ndim < 2], "decays": False},
    ]
    return [group for group in groups if group["params"]]
