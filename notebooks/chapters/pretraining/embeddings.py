"""What the embeddings of the story GPT have in common: words of a kind, and names with the same pronoun."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils import data
from course_utils.data.grammar import CAUSES, NAMES, WORDS
from course_utils.models import GPT

KINDS = {"she": NAMES["she"], "he": NAMES["he"], "feeling": tuple(CAUSES)} | {
    kind: WORDS[kind] for kind in ("colour", "object", "place")
}
SAME = {"she": "name", "he": "name"}


def rows_of(model: GPT, words: tuple[str, ...]) -> Tensor:
    """The embeddings of these words, (words, width), on the CPU."""
    ids = {word: number for number, word in enumerate(data.STORY_VOCAB)}
    return model.embed.weight.detach()[[ids[word] for word in words]].cpu()


def nearest_is_of_kind(model: GPT) -> float:
    """The share of the words in `KINDS` whose nearest other one, by cosine, is of the same kind; all names are one."""
    words = sum(KINDS.values(), ())
    kinds = [SAME.get(kind, kind) for kind, group in KINDS.items() for _ in group]
    unit = F.normalize(rows_of(model, words), dim=-1)  # (words, width)
    nearest = (unit @ unit.T).fill_diagonal_(-2).argmax(1).tolist()  # no cosine is below -1
    return sum(kinds[i] == kinds[j] for i, j in enumerate(nearest)) / len(words)


def pronoun_is_read(model: GPT) -> float:
    """The share of names whose embedding is nearer to the mean of the other names with their own pronoun."""
    she, he = (rows_of(model, NAMES[pronoun]) for pronoun in ("she", "he"))  # (names, width)
    right = 0
    for own, others in ((she, he), (he, she)):
        for i, row in enumerate(own):
            rest = torch.cat([own[:i], own[i + 1 :]]).mean(0)
            right += bool((row - rest).norm() < (row - others.mean(0)).norm())
    return right / (len(she) + len(he))
