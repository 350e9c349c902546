"""A source of symbols in which each depends on the two before it, with every level of its ladder known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from course_utils import runtime

SYMBOLS, CONTEXT = 8, 32
SHARPNESS = 2.0  # standard deviation of the logits that the table is drawn from
SOURCE_SEED = 2


@dataclass(frozen=True)
class Markov:
    """An order-2 Markov source.

    chances: (symbols, symbols, symbols), the next symbol after a pair.  pairs: (symbols, symbols), how often each
    pair occurs in the long run.
    """

    chances: Tensor
    pairs: Tensor

    def rows(self, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets, each (count, 32) int64; a row begins anywhere in the stream."""
        begin = torch.multinomial(self.pairs.flatten(), count, replacement=True, generator=generator)
        symbols = [begin // SYMBOLS, begin % SYMBOLS]
        while len(symbols) < CONTEXT + 1:
            after = self.chances[symbols[-2], symbols[-1]]  # (count, symbols)
            symbols.append(torch.multinomial(after, 1, generator=generator)[:, 0])
        stream = torch.stack(symbols, dim=1)
        return stream[:, :-1], stream[:, 1:]

    def ladder(self) -> dict[str, float]:
        """Exact levels in nats per symbol, as `data.ladder`; the floor counts a row's first target, too.

        The first target has one symbol before it and can be known no better than from that one.
        """
        after_one = (self.pairs[..., None] * self.chances).sum(0)  # (symbols, symbols): a pair and its successor
        single = self.pairs.sum(0)
        bigram = _entropy(after_one) - _entropy(single)
        full = _entropy(self.pairs[..., None] * self.chances) - _entropy(self.pairs)
        return {
            "ln V": math.log(SYMBOLS),
            "unigram": _entropy(single),
            "bigram": bigram,
            "floor": (bigram + (CONTEXT - 1) * full) / CONTEXT,
        }


def _entropy(chances: Tensor) -> float:
    return torch.special.entr(chances).sum().item()


@cache
def markov_source(seed: int = SOURCE_SEED) -> Markov:
    """The course's source of 8 symbols: each pair's logits are N(0, 2^2)."""
    logits = SHARPNESS * torch.randn(SYMBOLS, SYMBOLS, SYMBOLS, generator=runtime.generator(seed), dtype=torch.float64)
    chances = logits.softmax(-1)
    pairs = torch.full((SYMBOLS, SYMBOLS), SYMBOLS**-2, dtype=torch.float64)
    for _ in range(1000):  # far more than it takes to forget where it began
        pairs = (pairs[..., None] * chances).sum(0)
    return Markov(chances, pairs)
