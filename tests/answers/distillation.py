"""Answers to the exercises of 03_distillation."""

import numpy as np
import torch


def soft_by_numpy(logits, temperature):
    scaled = np.asarray(logits, dtype=float) / temperature
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


RIGHT = {
    "soft-targets": [
        lambda z, t: (z / t).softmax(-1),
        lambda z, t: torch.exp(z / t - torch.logsumexp(z / t, -1, keepdim=True)),
        soft_by_numpy,
    ],
}
WRONG = {
    "soft-targets": [
        (lambda z, t: (z * t).softmax(-1), "divide the logits by it"),
        (lambda z, t: z.softmax(-1) / t, "before the softmax"),
        (lambda z, t: (z / t).softmax(0), "each image's probabilities sum to 1"),
        (lambda z, t: (z / t).exp() / (z / t).exp().sum(-1, keepdim=True), "inf or nan"),
        (lambda z, t: (z / t).sigmoid(), "share one softmax"),
    ],
}
