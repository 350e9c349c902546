"""Answers to the exercise of 00_start_here."""

import math

import numpy as np
import torch

RIGHT = {
    "uniform-loss": [lambda n: math.log(n), lambda n: -np.log(1 / n), lambda n: torch.tensor(float(n)).log()],
}
WRONG = {
    "uniform-loss": [
        (lambda n: math.log2(n), "base 2"),
        (lambda n: 1 / n, "the probability and not the loss"),
        (lambda n: math.log(1 / n), "forgot the minus sign"),
        (lambda n: 5.01, "the loss for 2 words|the loss for 150"),
    ],
}
