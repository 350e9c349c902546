"""Where a run's batches come from, and how they get to its device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from course_utils import runtime
from course_utils.dice import BATCHES, derived


def batch_generator(seed: int) -> torch.Generator:
    """The generator a run draws its batches from: its own, so that the model's size does not change the data."""
    return runtime.generator(derived(seed, BATCHES))


def own_generators(batches: object) -> list[torch.Generator]:
    """The generators that a DataLoader was given: a second run with it must see the same batches again."""
    holders = (batches, getattr(batches, "sampler", None), getattr(batches, "batch_sampler", None))
    found = [getattr(holder, "generator", None) for holder in holders]
    return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())


class Stream:
    """An iterable's batches without end, by `next`; ValueError once a pass gives none."""

    def __init__(self, batches: Iterable):
        self._batches, self._pass = batches, iter(())

    def __next__(self) -> object:
        for _ in range(2):  # the rest of this pass, then a new one
            for batch in self._pass:
                return batch
            self._pass = iter(self._batches)
        raise ValueError(
            "batches gave no batch: it is empty, or an iterator that can be read once; "
            "give a list, a DataLoader, or a function batches(generator)"
        )


def to_device(batch: object, device: torch.device) -> object:
    """A batch, its parts by place or by name, on the device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {name: to_device(part, device) for name, part in batch.items()}
    if isinstance(batch, list | tuple):
        parts = [to_device(part, device) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)  # a named tuple has fields
    return batch


def kind_of(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if value is None or isinstance(value, type):
        return "None" if value is None else f"the class {value.__name__}"
    return f"a {type(value).__name__}"
