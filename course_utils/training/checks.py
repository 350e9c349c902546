"""What an experiment is made of, checked when it is made: each slip gets one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from torch import nn

from course_utils.training.batches import kind_of

FUNCTIONS = {  # what each takes, and what is said of anything else
    "model": (1, "a function that builds a module, as lambda generator: MLP([64, 10]), or, in fit, a module"),
    "loss": (2, "loss(model, batch), as lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])"),
    "schedule": (1, "a function from a step to a factor, as cosine(1000)"),
    "batches": (1, "batches(generator), a list of batches, or a DataLoader"),
}


def _check_function(name: str, value: object) -> None:
    count, wanted = FUNCTIONS[name]
    problem = "" if callable(value) and not isinstance(value, type) else kind_of(value)
    if not problem and getattr(value, "__module__", "").startswith("torch.nn."):  # it would be given a model
        problem = "PyTorch's own function of tensors"
    if not problem and not _takes(value, count):
        problem = f"{kind_of(value)} of other arguments"
    if problem:
        raise TypeError(f"{name} is {problem}: expected {wanted}")


def _takes(function: Callable, count: int) -> bool:
    """Whether it can be called with this many values in a row; its keyword-only arguments are knobs."""
    try:
        signature = inspect.signature(function)
        knobs = {p.name: 0 for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
        signature.bind(*range(count), **knobs)
    except ValueError:  # written in C: it does not say
        return True
    except TypeError:
        return False
    return True


def check_fields(experiment: object) -> None:
    """TypeError or ValueError for the first field of an `Experiment` that cannot be what it should be."""
    for name in ("steps", "measure_every"):
        value = getattr(experiment, name)
        if not hasattr(value, "__index__") or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} {value!r}: expected 1 or more, a whole number")
    if isinstance(experiment.model, nn.Module):
        raise TypeError("model is a module: expected a function that builds one, lambda generator: MLP([64, 10])")
    if inspect.isgeneratorfunction(experiment.batches):
        name = experiment.batches.__name__
        raise TypeError(f"{name} yields batches: pass what it returns, {name}()")
    is_stream = hasattr(experiment.batches, "__iter__") or hasattr(experiment.batches, "__getitem__")
    for name in FUNCTIONS:
        if name != "batches" or callable(experiment.batches) or not is_stream:
            _check_function(name, getattr(experiment, name))
    for name in ("knobs", "measures", "levels"):
        if not isinstance(getattr(experiment, name), Mapping):
            raise TypeError(f"{name} is {kind_of(getattr(experiment, name))}: expected a dict, values by their names")
