"""What a run will cost in time and memory, before it runs."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from course_utils.training.loop import Experiment


@dataclass(frozen=True)
class Cost:
    """Seconds a step, and bytes held in training."""

    step_seconds: float
    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def memory(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


def estimate(experiment: Experiment, *, seed: int = 0, trial_steps: int = 3) -> Cost:
    """Measure what one step costs on a throwaway copy of the run (a few steps)."""
    run = replace(experiment, measures={}, steps=trial_steps + 2).start(seed)
    held = set()
    sizes = []

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            held.add(storage.data_ptr())
            sizes.append(storage.nbytes())
        return tensor

    held.update(p.untyped_storage().data_ptr() for p in run.model.parameters())
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        run.step()
    start, steps = time.perf_counter(), 0
    while run.status == "ready" and steps < trial_steps:  # some of the course's runs diverge at once
        run.step()
        steps += 1
    seconds = (time.perf_counter() - start) / max(1, steps)
    state = [t for s in run.optimizer.state.values() for t in s.values() if isinstance(t, Tensor)]
    trained = [p for p in run.model.parameters() if p.requires_grad]
    return Cost(seconds, _bytes(run.model.parameters()), _bytes(trained), _bytes(state), sum(sizes))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


# --- the most that any work holds ---------------------------------------------------------------------------------


def peak_memory(work: Callable[[], object]) -> int:
    """The most bytes that tensors made within ``work()`` held at one time, on whatever device."""
    with _Watch() as watch:
        kept = work()  # so that what it returns is still held
    del kept
    return watch.peak


class _Watch(TorchDispatchMode):
    """Sees every operation's result, forward and backward, and when its memory is given back."""

    def __init__(self):
        super().__init__()
        self.now, self.peak, self.sizes = 0, 0, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for part in tree_leaves(out):
            if isinstance(part, torch.Tensor):
                self._hold(part.untyped_storage())
        return out

    def _hold(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self.sizes:
            return
        self.sizes[storage._cdata] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, storage._cdata)

    def _release(self, key: int) -> None:
        self.now -= self.sizes.pop(key)
