"""Models that count: the rungs between knowing nothing and knowing a language."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils import data


def bigram_counts(rows: tuple[Tensor, Tensor]) -> Tensor:
    """How often each token (column) follows each token (row): (vocabulary, vocabulary).

    rows: inputs and targets, each (stories, tokens); a negative target does not count.
    """
    tokens, targets = (part.flatten().long() for part in rows)
    counted = targets >= 0
    size = len(data.STORY_VOCAB)
    pairs = tokens[counted] * size + targets[counted]
    return torch.bincount(pairs, minlength=size**2).view(size, size).double()


def ngram_tables(rows: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Next-token probabilities (vocabulary before, vocabulary) of three guessers, from what they have counted."""
    counts = bigram_counts(rows) + 1e-3  # a pair that was never seen keeps a little chance
    frequencies = counts.sum(0) / counts.sum()
    return {
        "nobody: all tokens alike": torch.full_like(counts, 1 / len(counts)),
        "how frequent tokens are": frequencies.expand_as(counts),
        "the token before": counts / counts.sum(1, keepdim=True),
    }
