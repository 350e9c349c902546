"""Answers to the exercise of 00_start_here."""

import math
from fractions import Fraction

import numpy as np
import torch

RIGHT = {
    "uniform-loss": [
        lambda n: math.log(n),
        lambda n: -np.log(1 / n),
        lambda n: torch.tensor(float(n)).log(),
        lambda n: Fraction(math.log(n)),
        lambda n: torch.nn.functional.cross_entropy(torch.zeros(1, n), torch.tensor([n - 1])).double(),
        lambda n: sum(-math.log(1 / n) for _ in range(n)) / n,
    ],
}
WRONG = {
    "uniform-loss": [
        (lambda n: math.log2(n), "base 2"),
        (lambda n: 1 / n, "the probability and not the loss"),
        (lambda n: math.log(1 / n), "forgot the minus sign"),
        (lambda n: n, "the number of words"),
        (lambda n: math.log10(n), "base 10"),
        (lambda n: -math.log(1 / n) / n, "all of them have the same loss"),
        (lambda n: 5.01, "the loss for 2 words|the loss for 150"),
    ],
}
