"""Writing with a language model: from logits to probabilities to text."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.models import GPT
from course_utils.values import narrow, number, wide


def next_token_probabilities(logits: Tensor, *, temperature: float = 1.0, top_k: int | None = None) -> Tensor:
    """Probabilities of the next token from its logits, both (..., vocabulary).

    temperature: divides the logits; 0 puts everything on the largest one.  top_k: only the k likeliest may be chosen.
    """
    number("temperature", temperature, "0 or more", lambda value: value >= 0)
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k {top_k}: expected 1 or more, or None for all")
    given, logits = logits, wide(logits)
    if temperature == 0:
        return narrow(torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0), given)
    largest = logits.max(-1, keepdim=True).values
    scaled = (logits - largest) / temperature  # the largest is 0, so that no temperature overflows
    if top_k is not None and top_k < logits.shape[-1]:
        kept = logits.topk(top_k, -1).indices  # exactly k, of equal ones too
        scaled = torch.full_like(scaled, float("-inf")).scatter(-1, kept, scaled.gather(-1, kept))
    return narrow(scaled.softmax(-1), given)


@torch.no_grad()
def sample(
    model: GPT,
    prompt: Tensor,
    *,
    steps: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    stop: int | None = None,
) -> Tensor:
    """Continue prompts (batch, tokens) token by token: (batch, tokens + at most ``steps``).

    The model reads the newest tokens that fit into its context. With ``stop``, a row that has reached this token
    repeats it, and sampling ends once all rows have.
    """
    if prompt.ndim != 2 or not prompt.shape[1]:
        raise ValueError(f"prompt of shape {tuple(prompt.shape)}: expected (batch, tokens) with one token at least")
    tokens = prompt
    done = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    for _ in range(steps):
        logits, _ = model(tokens[:, -model.config.context :])
        chances = next_token_probabilities(logits[:, -1], temperature=temperature, top_k=top_k)
        drawn = torch.multinomial(chances.to(generator.device), 1, generator=generator).to(tokens.device)
        if stop is not None:
            drawn = drawn.masked_fill(done[:, None], stop)
            done |= drawn[:, 0] == stop
        tokens = torch.cat([tokens, drawn], 1)  # (batch, tokens + 1)
        if stop is not None and done.all():
            break
    return tokens
