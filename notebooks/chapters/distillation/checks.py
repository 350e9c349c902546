"""Checks of 03_distillation."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from course_utils import runtime
from course_utils.distillation import distillation_loss, high_temperature_gradient
from course_utils.lesson import check, compare, exercise, is_finite, law, teaches
from course_utils.models import GPT, GPTConfig

__all__ = ["check"]  # a notebook takes it from here, so that its exercises are registered


@exercise("soft-targets", "soft targets")
def _(answer):
    """answer(logits (images, classes), temperature) -> probabilities (images, classes)."""
    logits = 3 * torch.randn(4, 5, generator=runtime.generator(0))
    wanted = (logits / 4).softmax(-1)
    mistakes = {
        "multiplied by the temperature: divide the logits by it": (4 * logits).softmax(-1),
        "ignored the temperature, or divided the probabilities by it and normalized them again: divide the logits, "
        "before the softmax": logits.softmax(-1),
        "divided the probabilities by the temperature: divide the logits, before the softmax": logits.softmax(-1) / 4,
        "normalized over the images: each image's probabilities sum to 1": (logits / 4).softmax(0),
        "returned log probabilities": (logits / 4).log_softmax(-1),
        "divided the logits and stopped there: a softmax is missing": logits / 4,
        "took a sigmoid, which looks at each class alone: the classes share one softmax": (logits / 4).sigmoid(),
        "forgot to divide by the sum over the classes": (logits / 4).exp(),
    }  # fmt: skip
    yield compare(answer(logits, 4.0), wanted, mistakes=mistakes, what="the probabilities at temperature 4")
    large = torch.tensor([[2000.0, 0.0, 1000.0]])
    found = answer(large, 2.0)
    yield law(is_finite(found),
              "large logits give inf or nan: use `softmax`, which subtracts the largest logit first")  # fmt: skip
    yield compare(found, [[1.0, 0.0, 0.0]], what="the probabilities of a very sure teacher")
    yield compare(answer(logits, 1e6), torch.full((4, 5), 0.2), atol=1e-4, what="the limit of a huge T")


def _kl(p_logits, q_logits):
    """KL(p || q), one value a row."""
    return (p_logits.softmax(-1) * (p_logits.log_softmax(-1) - q_logits.log_softmax(-1))).sum(-1)


def _against(p, log_q):
    """What `kl_div(log_q, p, reduction="batchmean")` computes, whatever it is given as log_q."""
    return (p * (p.log() - log_q)).sum(-1).mean()


@exercise("distillation-loss", "the distillation loss")
def _(answer):
    """answer(student_logits, teacher_logits, labels, temperature, alpha) -> a number, in nats."""
    rng = runtime.generator(1)
    student, teacher = (2 * torch.randn(6, 5, generator=rng) for _ in range(2))
    labels = torch.tensor([0, 3, 1, 4, 4, 2])
    t, alpha = 3.0, 0.7
    soft, hard = _kl(teacher / t, student / t), F.cross_entropy(student, labels)

    p, q = (teacher / t).softmax(-1), (student / t).softmax(-1)

    def total(soft_part, hard_part=hard, share=alpha):
        return share * soft_part + (1 - share) * hard_part

    mistakes = {
        "left out T²: without it the soft part fades as T grows": total(soft.mean()),
        "multiplied by T and not by T²": total(t * soft.mean()),
        "divided the mean by the number of classes too, as `KLDivLoss` does unless `reduction='batchmean'`":
            total(t * t * soft.mean() / 5),
        "summed over the images: take the mean": total(t * t * soft.sum()),
        "swapped teacher and student: it is KL(teacher || student)":
            total(t * t * _kl(student / t, teacher / t).mean()),
        "weighed the hard part with alpha: alpha belongs to the soft part": total(t * t * soft.mean(), share=1 - alpha),
        "used the temperature in the hard part too": total(t * t * soft.mean(), F.cross_entropy(student / t, labels)),
        "multiplied the hard part by T² too": t * t * total(soft.mean()),
        "left out alpha: it belongs to the soft part": t * t * soft.mean() + (1 - alpha) * hard,
        "left out 1 - alpha: it belongs to the hard part": alpha * t * t * soft.mean() + hard,
        "held the teacher against the labels: the hard part is the student's":
            total(t * t * soft.mean(), F.cross_entropy(teacher, labels)),
        "took the softmax over the images: each image has its own, over the classes":
            total(t * t * _kl(teacher.T / t, student.T / t).sum() / 6),
        "added both parts without alpha": t * t * soft.mean() + hard,
        "ignored the temperature": total(_kl(teacher, student).mean()),
        "took the student's probabilities without a logarithm: `kl_div` wants their `log_softmax` first":
            total(t * t * _against(p, q)),
        "took the student's logits for log probabilities: `kl_div` wants their `log_softmax` first":
            total(t * t * _against(p, student / t)),
        "said `log_target=True` and gave the teacher's probabilities: take their `log_softmax`, or leave it out":
            total(t * t * (p.exp() * (p - q.log())).sum(-1).mean()),
    }  # fmt: skip
    wanted = distillation_loss(student, teacher, labels, temperature=t, alpha=alpha)
    found = answer(student, teacher, labels, t, alpha)
    entropy = torch.special.entr((teacher / t).softmax(-1)).sum(-1).mean()
    mistakes["took the soft cross-entropy: subtract the teacher's entropy for a KL"] = wanted + alpha * t * t * entropy
    yield law(is_finite(found), "your result is nan or infinite: `kl_div` wants the teacher's probabilities, or their "
              "logarithms and `log_target=True`")  # fmt: skip
    yield compare(found, wanted, mistakes=mistakes, what="the loss at T = 3, alpha = 0.7")
    yield compare(answer(student[:1], teacher[:1], labels[:1], t, 1.0), t * t * soft[0], what="the loss of one image")
    yield compare(answer(student, teacher, labels, 5.0, 0.0), hard, what="the loss at alpha = 0, the labels alone")
    alike = answer(teacher, teacher, labels, 5.0, 1.0)
    yield compare(alike, 0.0, atol=1e-5, what="the loss of a student like its teacher, alpha = 1,")
    large = torch.tensor([[300.0, 0.0, -300.0]])
    found = answer(-large, large, torch.tensor([0]), 1.0, 1.0)
    yield law(is_finite(found),
              "large logits give inf or nan: take `log_softmax`, not the logarithm of a softmax")  # fmt: skip
    yield teaches(answer, lambda z, *rest: distillation_loss(z, *rest[:2], temperature=t, alpha=alpha),
                  student, teacher, labels, t, alpha)  # fmt: skip


@exercise("high-temperature", "the gradient at a high temperature")
def _(answer):
    """answer(student_logits (classes,), teacher_logits (classes,), temperature) -> (classes,), the limit."""
    student, teacher = torch.tensor([3.0, -1.0, 2.0, 0.5]), torch.tensor([0.0, 1.0, -2.0, 5.0])
    t = 200.0
    wanted = high_temperature_gradient(student, teacher, t)
    gap = student - teacher
    centred = gap - gap.mean()
    exact = ((student / t).softmax(-1) - (teacher / t).softmax(-1)) / t
    mistakes = {
        "returned the gradient itself: its limit for a large T has no softmax left, and is linear in the logits": exact,
        "returned the gradient itself, times T²: the limit has no softmax left, and no factor T²": exact * t * t,
        "did not subtract the mean: adding one number to all logits changes no probability": gap / (4 * t * t),
        "subtracted the student from the teacher: it is the other way round": -centred / (4 * t * t),
        "left out the number of classes": centred / (t * t),
        "divided by T and not by T²": centred / (4 * t),
        "left out T²": centred / 4,
        "multiplied by T² already: that is the loss's own factor": centred / 4 * t * t,
    }  # fmt: skip
    found = answer(student, teacher, t)
    yield compare(found, wanted, mistakes=mistakes, atol=1e-9, what="the gradient at T = 200")
    moved = answer(student + 7, teacher - 3, t)
    yield compare(moved, wanted, atol=1e-9, what="the gradient after adding 7 to all the student's logits")


@exercise("copy-layers", "a student from some of the teacher's layers")
def _(answer):
    """answer(student, teacher, layers): two GPTs; changes the student, whose layer i is the teacher's layers[i]."""
    teacher, student = _gpt(4, 0), _gpt(2, 1)
    before = {name: weight.clone() for name, weight in teacher.state_dict().items()}
    own = {name: weight.clone() for name, weight in student.state_dict().items()}
    answer(student, teacher, [0, 2])
    found = student.state_dict()
    kept = teacher.state_dict()
    yield law(all(torch.equal(kept[name], weight) for name, weight in before.items()),
              "the teacher's weights changed: copy from the teacher into the student")  # fmt: skip
    yield law(not {w.data_ptr() for w in teacher.parameters()} & {w.data_ptr() for w in student.parameters()},
              "student and teacher share weights: training one would change the other; copy the values")  # fmt: skip
    for layer in range(2):
        names = [name for name in own if name.startswith(f"blocks.{layer}.")]
        origin = [other for other in range(4) if _same(found, before, names, layer, other)]
        if all(torch.equal(found[name], own[name]) for name in names):
            yield f"the student's layer {layer} is still its own: copy every weight of the teacher's block"
        else:
            wanted = [0, 2][layer]
            told = f"layer {origin[0]}" if origin else "no layer of the teacher, or only a part of one"
            yield law(origin == [wanted], f"with layers [0, 2] the student's layer {layer} must be the teacher's layer "
                      f"{wanted}; it is {told}")  # fmt: skip
    yield law(student.head.weight is student.embed.weight,
              "the student's `head` and `embed` were one matrix and are two now: copy the values into the parts that "
              "it has, with `load_state_dict`")  # fmt: skip
    yield law(all(weight.requires_grad for weight in student.parameters()),
              "some of the student's weights do not train now: copy values, and leave `requires_grad`")  # fmt: skip
    for part in ("embed", "position", "norm", "head"):
        names = [name for name in own if name.startswith(f"{part}.")]
        yield law(all(torch.equal(found[name], before[name]) for name in names),
                  f"`{part}` was not copied: the copied layers expect what the teacher's gave them")  # fmt: skip
    student = _gpt(3, 1)
    own = student.state_dict()
    answer(student, teacher, [3, 1, 0])
    for layer, wanted in enumerate([3, 1, 0]):
        names = [name for name in own if name.startswith(f"blocks.{layer}.")]
        yield law(_same(student.state_dict(), before, names, layer, wanted),
                  "with layers [3, 1, 0] the student's are others: take them as given, in this order")  # fmt: skip


def _gpt(layers, seed):
    gpt = GPT(GPTConfig(vocab_size=7, context=5, width=8, heads=2, layers=layers))
    rng = runtime.generator(seed)
    with torch.no_grad():
        for weight in gpt.parameters():
            weight.copy_(torch.randn(weight.shape, generator=rng))
    return gpt


def _same(found, before, names, layer, other):
    return all(torch.equal(found[name], before[name.replace(f"blocks.{layer}.", f"blocks.{other}.")]) for name in names)
