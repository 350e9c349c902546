"""What a head of the story GPT does: where it looks when a fact comes again, and what fails without it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from course_utils import data
from course_utils.data.grammar import NAMES, WORDS
from course_utils.models import GPT

KINDS = {"name": sum(NAMES.values(), ()), **{kind: WORDS[kind] for kind in ("colour", "object", "place")}}


@torch.no_grad()
def looks_at_answer(model: GPT, rows: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """For each kind of word: how much each head looks at where the next token stood before, (layers, heads).

    A mean over the targets of that kind that came before. rows, targets: (stories, tokens), as from `story_pool`.
    """
    maps = model.attention_maps(rows)  # (layers, stories, heads, tokens, tokens)
    stood = (rows[:, None, :] == targets[:, :, None]).tril()  # (stories, tokens, tokens)
    looks = (maps * stood[None, :, None]).sum(-1).movedim(2, 1)  # (layers, heads, stories, tokens)
    ids = data.StoryTokenizer().ids
    found = {}
    for kind, words in KINDS.items():
        asked = torch.isin(targets, torch.tensor([ids[word.lower()] for word in words])) & stood.any(-1)
        found[kind] = looks[:, :, asked].mean(-1)
    return found


def without_head(model: GPT, layer: int, head: int) -> GPT:
    """A copy of the model in which one head says nothing. layer, head: counted from 1, as in the panels.

    ValueError for a head that the model does not have.
    """
    config = model.config
    if not (1 <= layer <= config.layers and 1 <= head <= config.heads):
        raise ValueError(f"layer {layer}, head {head}: choose layers 1 to {config.layers}, heads 1 to {config.heads}")
    silent = copy.deepcopy(model)
    size = config.width // config.heads
    with torch.no_grad():
        silent.blocks[layer - 1].attention.out.weight[:, (head - 1) * size : head * size] = 0
    return silent
