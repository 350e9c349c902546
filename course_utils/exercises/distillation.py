"""Checks of 03_distillation."""

from __future__ import annotations

import torch

from course_utils import runtime
from course_utils.lesson import check, compare, exercise, law

__all__ = ["check"]  # a notebook takes it from here, so that its exercises are registered


@exercise("soft-targets", "soft targets")
def _(answer):
    """answer(logits (images, classes), temperature) -> probabilities (images, classes)."""
    logits = 3 * torch.randn(4, 5, generator=runtime.generator(0))
    wanted = (logits / 4).softmax(-1)
    mistakes = {
        "multiplied by the temperature: divide the logits by it": (4 * logits).softmax(-1),
        "ignored the temperature": logits.softmax(-1),
        "divided the probabilities by the temperature: divide the logits, before the softmax": logits.softmax(-1) / 4,
        "normalized over the images: each image's probabilities sum to 1": (logits / 4).softmax(0),
        "returned log probabilities": (logits / 4).log_softmax(-1),
        "divided the logits and stopped there: a softmax is missing": logits / 4,
        "took a sigmoid, which looks at each class alone: the classes share one softmax": (logits / 4).sigmoid(),
        "forgot to divide by the sum over the classes": (logits / 4).exp(),
    }  # fmt: skip
    yield compare(answer(logits.clone(), 4.0), wanted, mistakes=mistakes, what="the probabilities at temperature 4")
    large = torch.tensor([[2000.0, 0.0, 1000.0]])
    found = answer(large, 2.0)
    yield law(bool(torch.isfinite(torch.as_tensor(found)).all()),
              "large logits give inf or nan: use `softmax`, which subtracts the largest logit first")  # fmt: skip
    yield compare(found, [[1.0, 0.0, 0.0]], what="the probabilities of a very sure teacher")
    yield compare(answer(logits.clone(), 1e6), torch.full((4, 5), 0.2), atol=1e-4, what="the limit of a huge T")
