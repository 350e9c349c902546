"""Digit networks with one start or another: the experiments of 04_initialization, and those that are stored."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from course_utils import data, training
from course_utils.initialization import initialize_
from course_utils.models import MLP
from course_utils.studies.study import Study

UNITS = 8  # of the hidden layer that is looked at unit by unit
CONSTANT = 0.01  # small enough that tanh is not at its end


@cache
def split() -> data.Split:
    """The digits to train on, and those to test with."""
    return data.digits_split()


def digit_batches(generator: torch.Generator, *, batch_size: int = 32) -> tuple[Tensor, Tensor]:
    """Random training digits: (batch_size, 64) and (batch_size,)."""
    images, labels, *_ = split()
    rows = torch.randint(len(images), (batch_size,), generator=generator)
    return images[rows], labels[rows]


@cache
def unit_digits(rows: int) -> tuple[Tensor, Tensor]:
    """Training digits, each scaled to a mean square of 1: (rows, 64), and their labels, (rows,)."""
    images, labels = (part[:rows] for part in split()[:2])
    return images / images.square().mean(1, keepdim=True).sqrt(), labels


def symmetry_recipe(*, start: str = "constant", noise: float = 0.0, steps: int = 400) -> training.Experiment:
    """One hidden layer of 8 tanh units, SGD. noise: standard deviation of what is added to every weight."""

    def build(generator: torch.Generator) -> MLP:
        value = CONSTANT if start == "constant" else None
        model = initialize_(MLP([64, UNITS, 10], activation="tanh"), start, generator=generator, value=value)
        with torch.no_grad():
            for weight in model.parameters():
                weight += noise * torch.randn(weight.shape, generator=generator)
        return model

    digit = split().test_images[:1]

    def answers(model: MLP, _) -> dict[str, float]:
        hidden = model.act(model.layers[0](digit.to(model.layers[0].weight.device)))[0]  # (units,)
        return {f"unit {number}": value for number, value in enumerate(hidden.tolist(), start=1)}

    return training.Experiment(
        model=build,
        batches=digit_batches,
        optimizer="sgd",
        knobs={"lr": 0.3},
        measures={"units": answers},
        measure_every=5,
        steps=steps,
        levels={"one class for all": training_class_entropy()},
    )


def training_class_entropy() -> float:
    """The loss of the best constant guess on the training digits, in nats."""
    share = split().train_labels.bincount().double()
    share = share / share.sum()
    return -float((share * share.log()).sum())


STUDIES: dict[str, Study] = {}
