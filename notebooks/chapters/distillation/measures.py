"""How long a model takes to answer, and whether it is right as often as it says."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils.distillation import soft_targets
from course_utils.models import IGNORE
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


@dataclass(frozen=True, eq=False)
class Calibration:
    """Whether a model is right as often as it says. Per bin of confidence: (bins,), nan where a bin is empty.

    share: of the places.  ece: mean |accuracy - confidence|, weighed by share (Guo et al. 2017).
    brier: mean squared distance of p from the label's one-hot vector, 0 to 2.
    """

    confidence: Tensor
    accuracy: Tensor
    share: Tensor
    ece: float
    brier: float


@torch.no_grad()
def calibration(logits: Tensor, labels: Tensor, *, bins: int = 15) -> Calibration:
    """Calibration over equal bins of the best class's probability. Logits (..., classes), labels (...,), -100 masks."""
    labels = labels.long()
    counted = labels != IGNORE
    if whole("bins", bins, 0) < 1 or not counted.any():
        raise ValueError(f"bins {bins}, {counted.sum()} labels that count: expected 1 or more of each")
    p, labels = soft_targets(logits[counted].cpu().double()), labels[counted].cpu()  # (places, classes)
    confidence, best = p.max(-1)
    place = (confidence * bins).long().clamp(max=bins - 1)
    number = torch.bincount(place, minlength=bins).double()
    means = [torch.bincount(place, x.double(), minlength=bins) / number for x in (confidence, best == labels)]
    share = number / number.sum()
    ece = (share * (means[1] - means[0]).abs()).nansum().item()
    brier = (p - F.one_hot(labels, p.shape[-1])).square().sum(-1).mean().item()
    return Calibration(*means, share, ece, brier)
