"""Writing many stories at once, fast enough to do it in every training step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils.models import GPT


@torch.no_grad()
def write(model: GPT, prompt: Tensor, *, steps: int, generator: torch.Generator, stop: int | None = None) -> Tensor:
    """Continue prompts (batch, tokens) by draws from the model: (batch, tokens + at most ``steps``).

    The same law as `pretraining.sample` at temperature 1, for texts that fit into the context: keys and values of
    earlier tokens are kept, so that each new token costs one token's work. With ``stop``, a row that has reached this
    token repeats it, and writing ends once all rows have.
    """
    if prompt.shape[1] + steps > model.config.context:
        need = f"{prompt.shape[1]} tokens and {steps} more"
        raise ValueError(f"{need} do not fit into a context of {model.config.context}: choose fewer steps")
    memory = [None] * len(model.blocks)
    tokens, fresh = prompt, prompt
    for _ in range(steps):
        logits = _read(model, fresh, tokens.shape[1] - fresh.shape[1], memory)  # (batch, vocabulary)
        chances = logits.softmax(-1).to(generator.device)
        fresh = torch.multinomial(chances, 1, generator=generator).to(tokens.device)
        if stop is not None:
            fresh = fresh.masked_fill(tokens[:, -1:] == stop, stop)
        tokens = torch.cat([tokens, fresh], 1)
        if stop is not None and (fresh == stop).all():
            break
    return tokens


def _read(model: GPT, fresh: Tensor, before: int, memory: list) -> Tensor:
    """Read new tokens (batch, new) after ``before`` known ones, remember them, and give the last one's logits."""
    places = torch.arange(before, before + fresh.shape[1], device=fresh.device)
    x = model.embed(fresh) + model.position(places)  # (batch, new, width)
    for number, block in enumerate(model.blocks):
        q, *new = block.attention.split(block.norm1(x))
        if memory[number] is not None:
            new = [torch.cat(pair, 2) for pair in zip(memory[number], new, strict=True)]
        memory[number] = new  # keys and values (batch, heads, tokens, width / heads)
        mixed = F.scaled_dot_product_attention(q, *new, is_causal=before == 0)
        x = x + block.attention.out(mixed.transpose(1, 2).reshape(x.shape))
        x = x + block.down(block.act(block.up(block.norm2(x))))
    return model.head(model.norm(x[:, -1]))
