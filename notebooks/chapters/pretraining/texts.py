"""Pretraining on real text, character by character."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils import initialization
from course_utils.models import GPT, GPTConfig
from course_utils.pretraining.sampling import sample
from course_utils.training import Experiment, cosine

from .characters import CharTokenizer, counted, own_text, text_batches, text_rows, text_split

HELD_OUT_ROWS = 40  # windows of 64 characters measured on the way


def text_recipe(text: str, *, width: int = 64, layers: int = 2, context: int = 64, steps: int = 1000) -> Experiment:
    """Pretrain a character GPT on a text: AdamW, 16 windows a step; its last tenth is held out.

    ValueError for what is no text to learn from (`own_text`), or too short for a window.
    """
    text = own_text(text)
    tokenizer = CharTokenizer(text)
    learned, kept = text_split(text)
    if len(learned) <= context:
        part = f"this text has {counted(len(text))}, {len(learned)} to train on"
        raise ValueError(f"{part}: a context of {context} needs more than {context}; choose a longer text")
    config = GPTConfig(vocab_size=len(tokenizer), context=context, width=width, layers=layers)
    rows, targets = text_rows(kept, tokenizer, context=context)

    def held_out(model: GPT, generator: torch.Generator) -> dict[str, float]:
        device = next(model.parameters()).device
        return {"held-out": model(rows[:HELD_OUT_ROWS].to(device), targets[:HELD_OUT_ROWS].to(device))[1].item()}

    def sample_text(model: GPT, generator: torch.Generator) -> str:
        start = torch.tensor([tokenizer.encode(learned[:8])], device=next(model.parameters()).device)
        return tokenizer.decode(sample(model, start, steps=160, generator=generator, temperature=0.8)[0])

    return Experiment(
        model=lambda generator: initialization.initialize_(GPT(config), "width", generator=generator),
        batches=text_batches(learned, tokenizer, context=context),
        knobs={"lr": 5e-3, "weight_decay": 0.0},
        schedule=cosine(steps, warmup=min(50, steps - 1)),
        steps=steps,
        measures={"held-out": held_out, "sample": sample_text},
        levels={"ln V": math.log(len(tokenizer)), "unigram": unigram_entropy(torch.tensor(tokenizer.encode(text)))},
    )


def unigram_entropy(tokens: Tensor) -> float:
    """Entropy in nats of how frequent the tokens (any shape) are: the loss of one who knows only that."""
    share = torch.bincount(tokens.flatten()).double() / tokens.numel()
    return torch.special.entr(share).sum().item()
