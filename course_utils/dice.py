"""The global generators of PyTorch, NumPy and Python, lent to a run while it works.

What is not ours may draw from them: dropout, a loader that shuffles without a seed, `random.shuffle` in a batch. So a
run has states of its own for all of them, puts them in before anything that may draw, and the former ones back after.

These generators belong to the process, not to a thread. What holds: two runs on two threads take turns, and each draws
its own numbers. What does not: a cell that draws from a global generator while a panel trains on another thread may
meet the run's state, and its draws are then part of the run; a cell that passes a generator of its own never does.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

import numpy as np
import torch

BATCHES, DRAW, TRAIN, MEASURE = range(1, 5)  # what a run needs numbers for, beside its model
PATIENCE = 5.0  # seconds to wait for another thread that has the generators


def derived(seed: int, purpose: int) -> int:
    """A run's seed for one of its purposes: what is drawn for one must not depend on what is drawn for another."""
    return (int(seed) + purpose * 2**32) % 2**63


class _Turn:
    """Which thread has the generators. Who waits gets them next, and the thread that has them may take them again."""

    def __init__(self):
        self._queue, self._lock = threading.Lock(), threading.Lock()
        self._owner, self._depth = 0, 0

    def take(self) -> bool:
        """False after `PATIENCE`: a thread that has the turn may be waiting for this one, as `panel.model` does."""
        if self._owner != threading.get_ident():
            if not self._queue.acquire(timeout=PATIENCE):
                return False
            try:  # whoever has just given its turn back queues behind those who wait
                if not self._lock.acquire(timeout=PATIENCE):
                    return False
            finally:
                self._queue.release()
            self._owner = threading.get_ident()
        self._depth += 1
        return True

    def give(self) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = 0
            self._lock.release()


_turn = _Turn()


class TorchDice:
    """States of PyTorch's global generators, on the CPU and on each GPU in use; ``with`` puts them in.

    also: further generators, as a loader's own. Each begins where it stands, and stands there again after.
    """

    def __init__(self, seed: int, *, also: Sequence[torch.Generator] = ()):
        self._common = [torch.default_generator, *torch.cuda.default_generators]
        if torch.backends.mps.is_available():
            self._common.append(torch.mps._get_default_mps_generator())
        self._also = list(also)
        fresh = [torch.Generator(one.device).manual_seed(seed) for one in self._common]
        self._states = [one.get_state() for one in (*fresh, *also)]

    def _swap(self) -> None:
        generators = (*self._common, *self._also)
        present = [one.get_state() for one in generators]
        for one, state in zip(generators, self._states, strict=True):
            one.set_state(state)
        self._states = present

    def __enter__(self):
        self._swap()
        return self

    def __exit__(self, *_):
        self._swap()

    def __deepcopy__(self, memo):
        twin = object.__new__(type(self))
        twin.__dict__.update(vars(self))  # generators are shared, and a state is replaced, never changed
        twin._states = list(self._states)
        return twin


class Dice(TorchDice):
    """States of all global generators: PyTorch's, NumPy's and Python's. Windows of one run may be nested."""

    def __init__(self, seed: int):
        super().__init__(seed)
        self._numpy, self._python = np.random.MT19937(seed), random.Random(seed).getstate()
        self._depth = 0

    def __enter__(self):
        if not self._depth:
            self._has_turn = _turn.take()
            try:
                if self._has_turn:
                    self._put_in()
            except BaseException:  # a cell that is stopped just here
                _turn.give()
                raise
        elif self._has_turn:
            np.random.set_bit_generator(np.random.get_bit_generator())  # forgets half a pair, as each window's end does
        self._depth += 1
        return self

    def __exit__(self, *_):
        self._depth -= 1
        if not self._depth and self._has_turn:
            try:
                self._put_back()
            finally:
                _turn.give()

    def _put_in(self) -> None:
        self._swap()
        # NumPy's state takes 30 us to read and as long to write, so its generator itself is exchanged. That forgets
        # the second half of a pair of normal numbers, which is given back to the learner's from its state.
        self._others_pair = np.random.get_state(legacy=False)
        self._others = np.random.get_bit_generator()
        np.random.set_bit_generator(self._numpy)
        self._swap_python()

    def _put_back(self) -> None:
        self._swap()
        self._numpy = np.random.get_bit_generator()
        np.random.set_bit_generator(self._others)
        if self._others_pair["has_gauss"]:
            np.random.set_state(self._others_pair)
        self._swap_python()

    def _swap_python(self) -> None:
        present = random.getstate()
        random.setstate(self._python)
        self._python = present

    def __deepcopy__(self, memo):
        twin = super().__deepcopy__(memo)
        twin._numpy = np.random.MT19937()
        twin._numpy.state = self._numpy.state
        return twin
