"""Real text: Python's own manual, or a text of the learner's own, as characters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from course_utils.data.rows import Batches, Rows, draw_rows
from course_utils.models import IGNORE

MOST_BYTES = 5_000_000
FEWEST_CHARACTERS = 200
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
COVERED = 0.99  # of a text that its vocabulary has room for, with 128 to 2,048 entries
SMALLEST, LARGEST = 128, 2048


def counted(characters: int) -> str:
    """A number of characters in words."""
    return f"{characters:,} character" + "s" * (characters != 1)


def manual_text() -> str:
    """Python's manual as it ships with Python: about 450,000 characters of English, a little of it code."""
    from pydoc_data.topics import topics  # half a megabyte: read only when asked for

    text = "\n\n".join(topics[name] for name in sorted(topics))
    text = re.sub(r"^[*=\-~^]{3,}$", "", text, flags=re.MULTILINE)  # the lines under headings
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def own_text(source: bytes | str, *, most_bytes: int = MOST_BYTES) -> str:
    """A learner's own text, checked: what it cannot be used for is said in a ValueError.

    source: a file's bytes, or text.  Line ends become "\\n", and a byte order mark is left out.
    """
    if len(source) > most_bytes:  # before anything that takes time
        size, most = len(source) / 1e6, most_bytes / 1e6
        raise ValueError(f"this text has {size:,.1f} MB, the limit is {most:g} MB: choose a part of it")
    text = source if isinstance(source, str) else _decoded(bytes(source))
    text = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise ValueError("this text is empty: choose a file with words in it")
    if "\0" in text:
        raise ValueError("this looks like a binary file (it contains a zero byte): choose a plain text file")
    if len(text) < FEWEST_CHARACTERS:
        raise ValueError(f"this text has {counted(len(text))}: choose one with {FEWEST_CHARACTERS} or more")
    if len(set(text)) == 1:
        raise ValueError(f"this text is {text[0]!r} again and again, so there is nothing to learn: choose another")
    if len(set(text)) == len(text):
        raise ValueError("no character of this text occurs twice, so nothing can be learned: choose another")
    return text


def _decoded(source: bytes) -> str:
    try:
        return source.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"this is not UTF-8 text (byte {error.start + 1} is 0x{source[error.start]:02x}): "
            "choose a plain text file, or save it as UTF-8"
        ) from None


class CharTokenizer:
    """Characters to numbers and back. Id 0 is the unknown mark, for each character that is rare in ``text``.

    size: the largest vocabulary, by default one that covers 99 % of the text, from 128 to 2,048; a character that
    occurs only once is always rare.
    """

    def __init__(self, text: str, *, size: int | None = None):
        counts = sorted(Counter(text).items(), key=lambda item: (-item[1], item[0]))
        if size is None:
            covered = accumulate(count for _, count in counts)
            size = min(LARGEST, max(SMALLEST, 2 + sum(so_far < COVERED * len(text) for so_far in covered)))
        if size < 2:
            raise ValueError(f"size {size}: expected 2 or more")
        kept = [character for character, count in counts if count > 1 and character != UNKNOWN][: size - 1]
        self.vocab = (UNKNOWN, *sorted(kept))
        self.ids = {character: number for number, character in enumerate(self.vocab)}

    def __len__(self) -> int:
        return len(self.vocab)

    def unknown_share(self, text: str) -> float:
        """The share of a text's characters that are not in the vocabulary."""
        return sum(character not in self.ids for character in text) / max(1, len(text))

    def encode(self, text: str) -> list[int]:
        """The ids of a text's characters; 0 for a character that is not in the vocabulary."""
        return [self.ids.get(character, 0) for character in text]

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """Ids as text; the unknown mark stands for rare characters."""
        numbers = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        wrong = [number for number in numbers if not 0 <= number < len(self)]
        if wrong:
            raise ValueError(f"id {wrong[0]}: expected 0 to {len(self) - 1}")
        return "".join(self.vocab[number] for number in numbers)


def text_split(text: str, *, held_out: float = 0.1) -> tuple[str, str]:
    """The beginning of a text to train on, and its last part held out."""
    if not 0 < held_out < 1:
        raise ValueError(f"held_out {held_out}: expected a share between 0 and 1")
    cut = len(text) - max(1, round(len(text) * held_out))
    return text[:cut], text[cut:]


def _check_context(context: int) -> None:
    if context < 1:
        raise ValueError(f"context {context}: expected 1 or more")


def _encoded(text: str, tokenizer: CharTokenizer) -> Tensor:
    if len(text) < 2:
        raise ValueError(f"a text of {counted(len(text))} has nothing to predict: expected 2 or more")
    return torch.tensor(tokenizer.encode(text))


def text_rows(text: str, tokenizer: CharTokenizer, *, context: int = 64) -> Rows:
    """A whole text as windows side by side: inputs and targets, (windows, context) int64.

    Each character but the first is a target once. The last window is filled up with id 0 and target -100.
    """
    _check_context(context)
    ids = _encoded(text, tokenizer)
    missing = -(len(ids) - 1) % context
    inputs = torch.cat([ids[:-1], ids.new_zeros(missing)])
    targets = torch.cat([ids[1:], ids.new_full((missing,), IGNORE)])
    return inputs.view(-1, context), targets.view(-1, context)


def text_batches(text: str, tokenizer: CharTokenizer, *, context: int = 64, batch_size: int = 16) -> Batches:
    """Random windows of a text: ``batches(generator, *, batch_size) -> (inputs, targets)``.

    Both are (batch, context) int64, targets one character ahead. ValueError for a text without one window.
    """
    _check_context(context)
    ids = _encoded(text, tokenizer)
    if len(ids) <= context:
        raise ValueError(f"context {context}: a text of {counted(len(ids))} allows {len(ids) - 1} or less")
    windows = ids.unfold(0, context + 1, 1)  # (windows, context + 1) a view, not a copy
    size = batch_size

    def batches(generator: torch.Generator, *, batch_size: int = size) -> Rows:
        drawn = windows[draw_rows(len(windows), batch_size, generator)]
        return drawn[:, :-1], drawn[:, 1:]

    return batches
