"""Stories as numbers: the tokenizer, rows of tokens with their targets, and batches of rows."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from course_utils.data.grammar import BEGIN, END, PAD, STORY_VOCAB, sentence_case, words_of
from course_utils.values import IGNORE, number

Rows = tuple[Tensor, Tensor]  # inputs and targets, one row each
Batches = Callable[..., Rows]


class StoryTokenizer:
    """Words and punctuation marks of the story language to numbers and back.

    pad, begin, end: ids of the three tokens that are no words.  len(tokenizer): the size of the vocabulary.
    """

    def __init__(self):
        self.vocab = STORY_VOCAB
        self.pad, self.begin, self.end = (STORY_VOCAB.index(token) for token in (PAD, BEGIN, END))
        self.ids = {word.lower(): number for number, word in enumerate(STORY_VOCAB)}

    def __len__(self) -> int:
        return len(self.vocab)

    def encode(self, text: str) -> list[int]:
        """The ids of a text's words; capital letters and spaces do not matter.

        ValueError for a word that is not in the stories.
        """
        try:
            return [self.ids[word] for word in words_of(text)]
        except KeyError as missing:
            raise ValueError(self._unknown(missing.args[0])) from None

    def _unknown(self, word: str) -> str:
        near = difflib.get_close_matches(word, list(self.ids)[3:], n=3, cutoff=0.0)
        near = ", ".join(repr(self.vocab[self.ids[match]]) for match in near)
        return f"unknown word {word!r}: the stories know {len(self) - 3} words; the nearest are {near}"

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """Ids as readable text, without the begin, end and padding tokens."""
        numbers = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        wrong = [number for number in numbers if not 0 <= number < len(self)]
        if wrong:
            raise ValueError(f"id {wrong[0]}: expected 0 to {len(self) - 1}")
        special = (self.pad, self.begin, self.end)
        text = " ".join(self.vocab[number] for number in numbers if number not in special)
        return sentence_case(re.sub(r" ([.,:?])", r"\1", text))


def story_rows(texts: Sequence[str], *, context: int = 64) -> Rows:
    """A row for each story, from its beginning: inputs and targets, (stories, context) int64.

    Inputs are the begin token and the story, targets the story and the end token. From there on, inputs are
    the padding token and targets -100. ValueError for an unknown word or a story that is too long.
    """
    if isinstance(texts, str):
        raise ValueError("texts is one text: expected a list of stories, [text]")
    tokenizer = StoryTokenizer()
    ids = [[tokenizer.begin, *tokenizer.encode(text), tokenizer.end] for text in texts]
    return _padded([row[:-1] for row in ids], context), _padded([row[1:] for row in ids], context, IGNORE)


def _padded(ids: list[list[int]], context: int, padding: int = 0) -> Tensor:
    """Lists of different lengths as one table: (rows, context)."""
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    longest = max(lengths, default=0)
    if longest > context:
        raise ValueError(f"context {context}: a story takes {longest} tokens, choose {longest} or more")
    table = np.full((len(ids), context), padding)
    table[np.arange(context) < lengths[:, None]] = np.fromiter(itertools.chain(*ids), np.int64)
    return torch.from_numpy(table)


def draw_rows(count: int, batch_size: float, generator: torch.Generator) -> Tensor:
    """Numbers of rows, drawn with replacement: (batch,) int64."""
    number("batch_size", batch_size, "1 or more", lambda size: 1 <= size < math.inf)
    return torch.randint(count, (int(batch_size),), generator=generator)


def row_batches(inputs: Tensor, targets: Tensor, *, batch_size: int = 16) -> Batches:
    """Batches drawn from a pool of rows: ``batches(generator, *, batch_size) -> (inputs, targets)``.

    Rows are drawn with replacement. Works for stories, questions and images alike.
    """
    if len(inputs) != len(targets) or not len(inputs):
        raise ValueError(f"{len(inputs)} inputs, {len(targets)} targets: expected the same number, 1 or more")
    size = batch_size

    def batches(generator: torch.Generator, *, batch_size: int = size) -> Rows:
        drawn = draw_rows(len(inputs), batch_size, generator)
        return inputs[drawn], targets[drawn]

    return batches
