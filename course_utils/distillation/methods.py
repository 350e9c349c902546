"""Distillation: a teacher's outputs, hidden layers or weights train a student; then only the student answers.

The losses are pure functions of logits. `on_policy_loss` puts a teacher behind the shape that training expects:
``loss(model, batch)`` with knobs as keyword-only arguments. Divergences are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import models
from course_utils.values import narrow, number, one_of, wide

SATURATED = 1e30  # logits beyond this count as this, infinite ones too: inf - inf is not a number


# --- losses on logits -------------------------------------------------------------------------------------------------


def _log_p(logits: Tensor, temperature: float) -> Tensor:
    return (wide(logits).clamp(-SATURATED, SATURATED) / _checked(temperature)).log_softmax(-1)


def _checked(temperature: float | Tensor) -> float | Tensor:
    value = number("temperature", temperature, "a finite number above 0", lambda t: 0 < t < math.inf)
    return wide(value).reshape(()) if isinstance(value, Tensor) else value


def soft_targets(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """softmax(logits / T), (..., classes): T = 1 is the model's own answer, a large T makes all classes alike."""
    return narrow(_log_p(logits, temperature).exp(), logits)


def _mean_counted(values: Tensor, labels: Tensor | None) -> Tensor:
    if labels is None and values.numel():
        return values.mean()
    counted = torch.ones_like(values) if labels is None else labels.long() != models.IGNORE
    return (values * counted).sum() / counted.sum().clamp(min=1)  # 0 where nothing counts


def _check_shapes(student: Tensor, teacher: Tensor, labels: Tensor | None) -> None:
    if student.shape != teacher.shape:
        shapes = f"student logits are {tuple(student.shape)}, teacher logits {tuple(teacher.shape)}"
        raise ValueError(f"{shapes}: give both models the same inputs and classes")
    if labels is not None and (labels.shape != student.shape[:-1] or labels.is_floating_point()):
        raise ValueError(f"labels {tuple(labels.shape)}, {labels.dtype}: expected {tuple(student.shape[:-1])} integers")


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _divergence(of: Callable, student: Tensor, teacher: Tensor, labels: Tensor | None, temperature: float) -> Tensor:
    _check_shapes(student, teacher, labels)
    values = of(_log_p(teacher.detach(), temperature), _log_p(student, temperature))  # (batch, [tokens])
    return _mean_counted(values, labels)


def forward_kl(student: Tensor, teacher: Tensor, labels: Tensor | None = None, *, temperature=1.0) -> Tensor:
    """KL(teacher || student): the student must cover all that the teacher might say.

    student, teacher: logits (batch, classes) or (batch, tokens, classes). The mean is over places; labels, (batch,) or
    (batch, tokens), only say which of them count: those that are not -100. No gradient reaches the teacher.
    """
    return narrow(_divergence(_kl, student, teacher, labels, temperature), student)


def reverse_kl(student: Tensor, teacher: Tensor, labels: Tensor | None = None, *, temperature=1.0) -> Tensor:
    """KL(student || teacher): the student must say nothing the teacher would not. Arguments as in `forward_kl`."""
    flipped = _divergence(lambda log_p, log_q: _kl(log_q, log_p), student, teacher, labels, temperature)
    return narrow(flipped, student)


def jensen_shannon(
    student: Tensor, teacher: Tensor, labels: Tensor | None = None, *, temperature=1.0, beta=0.5
) -> Tensor:
    """beta KL(teacher || mix) + (1 - beta) KL(student || mix), where mix = beta teacher + (1 - beta) student.

    Between the two KLs: divided by beta it tends to the forward one as beta -> 0, divided by 1 - beta to the reverse
    one as beta -> 1 (Agarwal et al. 2024, GKD). Never above ln 2. Other arguments as in `forward_kl`.
    """
    number("beta", beta, "a share between 0 and 1; at the ends the mix is one of the two", lambda b: 0 < b < 1)

    def of(log_p: Tensor, log_q: Tensor) -> Tensor:
        mix = torch.logaddexp(log_p + math.log(beta), log_q + math.log(1 - beta))
        return beta * _kl(log_p, mix) + (1 - beta) * _kl(log_q, mix)

    return narrow(_divergence(of, student, teacher, labels, temperature), student)


DIVERGENCES = {"forward": forward_kl, "reverse": reverse_kl, "mix": jensen_shannon}


def distillation_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor | None = None, *, temperature=4.0, alpha=0.9
) -> Tensor:
    """alpha T² KL(teacher at T || student at T) + (1 - alpha) cross-entropy(labels) (Hinton et al. 2015).

    alpha weighs the soft part: at 1 the labels' values do not matter (and may be None), at 0 the teacher's do not.
    T² keeps the soft gradient's size as T grows; the hard part is at T = 1. Both parts are means over the places
    whose label is not -100, over all without labels, and 0 where no place counts. Logits (batch, classes) or
    (batch, tokens, classes), labels without the last axis. No gradient reaches the teacher.
    """
    number("alpha", alpha, "from 0 (labels alone) to 1 (teacher alone)", lambda a: 0 <= a <= 1)
    if labels is None and alpha < 1:
        raise ValueError(f"alpha {alpha} needs labels for its hard part: give labels, or alpha=1")
    _check_shapes(student_logits, teacher_logits, labels)
    student, loss, scale = wide(student_logits), 0.0, _checked(temperature) ** 2
    if alpha > 0:
        # T² multiplies what a narrower number would have rounded away
        loss = loss + alpha * scale * _divergence(_kl, student, teacher_logits, labels, temperature)
    if alpha < 1:
        loss = loss + (1 - alpha) * label_smoothing(student, labels, smoothing=0.0)
    return narrow(loss, student_logits)


def label_smoothing(logits: Tensor, labels: Tensor, *, smoothing: float = 0.1) -> Tensor:
    """Cross-entropy with labels that give each class smoothing / classes: what softness brings without a teacher.

    Logits (batch, classes) or (batch, tokens, classes); the mean is over labels that are not -100.
    """
    number("smoothing", smoothing, "a share from 0 to 1", lambda share: 0 <= share <= 1)
    _check_shapes(logits, logits, labels)
    flat, classes = wide(logits).reshape(-1, logits.shape[-1]), labels.flatten().long()
    values = F.cross_entropy(flat, classes, ignore_index=models.IGNORE, label_smoothing=smoothing, reduction="none")
    return narrow(_mean_counted(values.view(labels.shape), labels), logits)


def hint_loss(student_hidden: Tensor, teacher_hidden: Tensor, regressor: nn.Module | None = None) -> Tensor:
    """1/2 |teacher's hidden - regressor(student's hidden)|², mean over places (FitNets, Romero et al. 2015, eq. 3).

    (..., student width), (..., teacher width). The regressor maps one width to the other; equal ones need none.
    """
    guess = student_hidden if regressor is None else regressor(student_hidden)
    if guess.shape != teacher_hidden.shape:
        shapes = f"{tuple(guess.shape)} cannot match a hint of {tuple(teacher_hidden.shape)}"
        raise ValueError(f"{shapes}: give a regressor from the student's width to the teacher's")
    return narrow(0.5 * (wide(guess) - wide(teacher_hidden.detach())).square().sum(-1).mean(), guess)


def high_temperature_gradient(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """What one place's soft cross-entropy at T (without T²) sends to the student's logits when T is large.

    (z_s - z_t) / (N T²) with both centred over the N classes (Hinton et al. 2015, equation 4): (..., classes).
    """
    gap = wide(student_logits) - wide(teacher_logits)
    return narrow((gap - gap.mean(-1, keepdim=True)) / (gap.shape[-1] * _checked(temperature) ** 2), student_logits)


# --- losses for training: loss(model, batch), where batch is (inputs, labels) -----------------------------------------


def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    output = model(inputs)
    return output[0] if isinstance(output, tuple) else output  # a GPT gives (logits, loss)


def on_policy_loss(teacher: nn.Module, sampler: Callable, *, divergence: str = "reverse") -> Callable:
    """A divergence from the teacher on what the student itself says, with the knob ``temperature`` (GKD, MiniLLM).

    sampler: ``sampler(student, batch) -> (tokens, targets)``, both (batch, tokens); -100 marks what the student did
    not say. No gradient passes through the sampling. divergence: a name in `DIVERGENCES`.
    """
    one_of("divergence", divergence, DIVERGENCES)

    def loss(model: nn.Module, batch: object, *, temperature: float = 1.0) -> Tensor:
        with torch.no_grad():
            tokens, targets = sampler(model, batch)
            taught = _logits(teacher, tokens)
        return DIVERGENCES[divergence](_logits(model, tokens), taught, targets, temperature=temperature)

    return loss


def hidden(model: models.GPT | models.MLP, inputs: Tensor, layer: int) -> Tensor:
    """Activations after this many layers or blocks: (batch, [tokens,] width); after 0, what the first reads."""
    depth = _depth(model)
    if layer not in range(depth + 1):
        raise ValueError(f"layer {layer}: this model has hints after 0 to {depth} layers")
    places = [*model.blocks, model.norm] if isinstance(model, models.GPT) else model.layers
    seen = []
    hook = places[layer].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    try:
        model(inputs)
    finally:
        hook.remove()
    return seen[0]


# --- weights from the teacher -----------------------------------------------------------------------------------------


def _depth(model: nn.Module) -> int:
    """The number of its blocks or hidden layers."""
    if isinstance(model, models.GPT | models.MLP):
        return len(model.blocks if isinstance(model, models.GPT) else model.norms)
    raise TypeError(f"the layers of a {type(model).__name__} are not known: expected GPTs or MLPs")


def copy_layers_(student: nn.Module, teacher: nn.Module, *, layers: Sequence[int]) -> dict[str, str]:
    """Start the student from the teacher, its i-th layer from layer ``layers[i]``; returns each weight's origin.

    Layers are a GPT's blocks, or an MLP's hidden layers with their norms. All else is copied too: embeddings, final
    norm, head (as DistilBERT starts, Sanh et al. 2019). Errors, before anything is copied: models of two kinds or
    settings, a layer that the teacher does not have, not one number for each layer, shapes that differ.
    """
    for model in (student, teacher):
        models.check_plain(model)
    wanted, depth, mine, theirs = _depth(student), _depth(teacher), models.settings(student), models.settings(teacher)
    if mine != theirs:
        raise ValueError(f"the student has {mine}, the teacher {theirs}: build the student with the teacher's settings")
    if len(layers) != wanted:
        raise ValueError(f"layers {list(layers)}: give one number for each of the student's {wanted} layers")
    for layer in layers:
        if layer not in range(depth):
            raise ValueError(f"layer {layer}: the teacher's layers are 0 to {depth - 1}")
    origin = [*map(int, layers), depth]  # an MLP's head is the layer after the hidden ones
    given, taken = teacher.state_dict(), {}
    for name, weight in student.state_dict().items():
        kind, place, *rest = name.split(".")
        source = ".".join([kind, str(origin[int(place)]), *rest]) if place.isdigit() else name
        has = given[source].shape if source in given else ()
        if has != weight.shape:
            shapes = f"student {tuple(weight.shape)}, teacher {tuple(has) or 'nothing'}"
            raise ValueError(f"{name} from {source}: {shapes}; build the student with the teacher's widths")
        taken[name] = source
    student.load_state_dict({name: given[source] for name, source in taken.items()})
    return taken


# --- measures ---------------------------------------------------------------------------------------------------------


def pseudo_labels(teacher_logits: Tensor, *, threshold: float = 0.0) -> Tensor:
    """The teacher's best class as a hard label, -100 where its probability is under the threshold: (...,) int64."""
    number("threshold", threshold, "a probability from 0 to 1", lambda p: 0 <= p <= 1)
    confidence, best = soft_targets(teacher_logits).max(-1)
    return best.masked_fill(confidence < threshold, models.IGNORE)


def agreement(a: Tensor, b: Tensor, labels: Tensor | None = None) -> float:
    """Share of places where two models choose the same class. Logits (..., classes); labels only mask with -100.

    Not accuracy: a student may be as good as its teacher and disagree with it often (Stanton et al. 2021).
    """
    _check_shapes(a, b, labels)
    return _mean_counted((a.argmax(-1) == b.argmax(-1)).float(), labels).item()
