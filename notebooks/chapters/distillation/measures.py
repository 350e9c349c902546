"""How long a model takes to answer."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_utils.values import whole


@dataclass(frozen=True)
class AnswerTime:
    """Seconds for one forward pass: median and quartiles of the repeats."""

    median: float
    lower: float
    upper: float


def answer_time(model: nn.Module, inputs: Tensor, *, repeats: int = 30, warmup: int = 3) -> AnswerTime:
    """How long the model takes to answer these inputs, without the first ``warmup`` answers, and without gradients."""
    if whole("repeats", repeats, 0) < 1 or whole("warmup", warmup, -1) < 0:
        raise ValueError(f"repeats {repeats}, warmup {warmup}: expected 1 or more, and 0 or more")
    # an accelerator returns before it has finished: each answer is waited for
    wait = torch.accelerator.synchronize if inputs.device.type != "cpu" else lambda: None
    seconds = []
    with torch.inference_mode():
        for _ in range(warmup + repeats):
            wait()
            start = time.perf_counter()
            model(inputs)
            wait()
            seconds.append(time.perf_counter() - start)
    lower, median, upper = torch.tensor(seconds[warmup:]).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    return AnswerTime(median, lower, upper)
