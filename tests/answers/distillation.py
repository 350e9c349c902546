"""Answers to the exercises of 03_distillation."""

import copy

import numpy as np
import torch
from torch.nn import functional as F

from course_utils import distillation


def soft_by_numpy(logits, temperature):
    scaled = np.asarray(logits, dtype=float) / temperature
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def kl_div(z, zt, y, t, alpha):
    soft = F.kl_div((z / t).log_softmax(-1), (zt / t).log_softmax(-1), reduction="batchmean", log_target=True)
    return alpha * t**2 * soft + (1 - alpha) * F.cross_entropy(z, y)


def kl_div_of(z, zt, y, t, alpha, *, given=F.log_softmax, target=F.softmax, **how):
    soft = F.kl_div(given(z / t, -1), target(zt / t, -1), **{"reduction": "batchmean", **how})
    return alpha * t**2 * soft + (1 - alpha) * F.cross_entropy(z, y)


def loss_in_place(z, zt, y, t, alpha):
    hard = F.nll_loss(z.log_softmax(-1), y)
    z -= z.detach().amax(-1, keepdim=True)
    zt /= t
    return (alpha * t * t * F.kl_div((z / t).log_softmax(-1), zt.softmax(-1), reduction="sum") / len(z)
            + (1 - alpha) * hard).double()  # fmt: skip


def hard_part_cut(z, zt, y, t, alpha):
    return kl_div(z, zt, y, t, alpha) + (1 - alpha) * (F.cross_entropy(z, y).detach() - F.cross_entropy(z, y))


def loss_by_loop(z, zt, y, t, alpha):
    total = 0.0
    for student, teacher, label in zip(z, zt, y, strict=True):
        p, q = (teacher / t).softmax(0), (student / t).log_softmax(0)
        soft = sum(float(pi) * (float(pi.log()) - float(qi)) for pi, qi in zip(p, q, strict=True) if pi > 0)
        total += alpha * t * t * soft - (1 - alpha) * float(student.log_softmax(0)[label])
    return total / len(z)


def loss_with(z, zt, y, t, alpha, *, scale=None, over=None, swap=False, share=None, hard_t=1.0):
    share = alpha if share is None else share
    given, wanted = ((zt, z) if swap else (z, zt))
    each = F.kl_div((given / t).log_softmax(-1), (wanted / t).softmax(-1), reduction="none")
    soft = each.sum() / (over or len(z))
    return share * (t * t if scale is None else scale) * soft + (1 - share) * F.cross_entropy(z / hard_t, y)


def log_of_softmax(z, zt, y, t, alpha):
    p, q = (zt / t).softmax(-1), (z / t).softmax(-1)
    soft = torch.xlogy(p, p).sum(-1) - (p * q.log()).nan_to_num(nan=0.0, neginf=-torch.inf).sum(-1)
    return alpha * t * t * soft.mean() + (1 - alpha) * F.cross_entropy(z, y)


def exact_gradient(z, zt, t):
    z = z.clone().requires_grad_()
    return torch.autograd.grad(F.kl_div((z / t).log_softmax(-1), (zt / t).softmax(-1), reduction="sum"), z)[0]


def limit_in_place(z, zt, t):
    z -= zt
    z -= z.mean()
    z /= len(z) * t**2
    return z.double()


def limit_by_loop(z, zt, t):
    gaps = [float(one) - float(other) for one, other in zip(z, zt, strict=True)]
    return [(gap - sum(gaps) / len(gaps)) / len(gaps) / t**2 for gap in gaps]


def autograd_limit(z, zt, t):
    z, zt = z.double().requires_grad_(), zt.double()
    z2 = z - z.mean()
    half = (z2 - (zt - zt.mean())).square().sum() / (2 * len(z) * t * t)
    return torch.autograd.grad(half, z)[0]


def by_state(student, teacher, layers):
    given = teacher.state_dict()
    for name, weight in student.state_dict().items():
        if name.startswith("blocks."):
            _, layer, rest = name.split(".", 2)
            name = f"blocks.{layers[int(layer)]}.{rest}"
        weight.copy_(given[name])


def by_modules(student, teacher, layers, *, shared=False, parts=("embed", "position", "norm", "head")):
    for i, layer in enumerate(layers):
        block = teacher.blocks[layer]
        student.blocks[i] = block if shared else copy.deepcopy(block)
    for part in parts:
        getattr(student, part).load_state_dict(getattr(teacher, part).state_dict())


@torch.no_grad()
def by_parameters(student, teacher, layers):
    """Each weight by itself, in place; the head is the embedding already."""
    own, given = dict(student.named_parameters()), dict(teacher.named_parameters())
    for name, weight in own.items():
        origin = name
        for i, layer in enumerate(layers):
            if name.startswith(f"blocks.{i}."):
                origin = name.replace(f"blocks.{i}.", f"blocks.{layer}.")
        weight.data = given[origin].detach().clone()


def by_copies(student, teacher, layers, *, tied=True):
    """New modules in place of the old ones."""
    by_modules(student, teacher, layers, parts=())
    for part in ("embed", "position", "norm", "head"):
        setattr(student, part, copy.deepcopy(getattr(teacher, part)))
    if tied:
        student.head.weight = student.embed.weight


def unties_the_head(student, teacher, layers):
    by_modules(student, teacher, layers)
    student.head.weight = torch.nn.Parameter(teacher.head.weight.detach().clone())


def freezes_too(student, teacher, layers):
    by_modules(student, teacher, layers)
    student.requires_grad_(False)


def first_layers(student, teacher, layers):
    by_modules(student, teacher, list(range(len(layers))))


def the_other_way(student, teacher, layers):
    by_modules(teacher, student, [0, 1, 0, 1])


RIGHT = {
    "soft-targets": [
        lambda z, t: (z / t).softmax(-1),
        lambda z, t: torch.exp(z / t - torch.logsumexp(z / t, -1, keepdim=True)),
        soft_by_numpy,
        lambda z, t: [(row / t).softmax(0) for row in z],
        lambda z, t: z.double().div_(t).softmax(-1).tolist(),
        lambda z, t: z.div_(t).sub_(z.amax(-1, keepdim=True)).exp_().div_(z.sum(-1, keepdim=True)),
    ],
    "distillation-loss": [
        kl_div,
        loss_by_loop,
        loss_in_place,
        kl_div_of,
        lambda *a: np.float64(loss_by_loop(*a)),
        lambda z, zt, y, t, a: distillation.distillation_loss(z, zt, y, temperature=t, alpha=a),
    ],
    "high-temperature": [
        lambda z, zt, t: (z - z.mean() - zt + zt.mean()) / (len(z) * t**2),
        lambda z, zt, t: ((z - zt) - np.mean((z - zt).numpy())) / (z.numel() * t * t),
        autograd_limit,
        limit_in_place,
        limit_by_loop,
    ],
    "copy-layers": [
        by_state,
        by_modules,
        by_parameters,
        by_copies,
        lambda student, teacher, layers: distillation.copy_layers_(student, teacher, layers=layers),
    ],
}
WRONG = {
    "soft-targets": [
        (lambda z, t: (z * t).softmax(-1), "divide the logits by it"),
        (lambda z, t: z.softmax(-1) / t, "before the softmax"),
        (lambda z, t: (z / t).softmax(0), "each image's probabilities sum to 1"),
        (lambda z, t: (z / t).exp() / (z / t).exp().sum(-1, keepdim=True), "inf or nan"),
        (lambda z, t: (z / t).sigmoid(), "share one softmax"),
        (lambda z, t: z.softmax(-1) / t / (z.softmax(-1) / t).sum(-1, keepdim=True), "divided the probabilities"),
        (lambda z, t: z.softmax(-1), "ignored the temperature"),
        (lambda z, t: (z / t).softmax(-1).squeeze(), "shape"),
        (lambda z, t: (z / 4).softmax(-1), "huge T"),
    ],
    "distillation-loss": [
        (lambda *a: loss_with(*a, scale=1.0), "left out T²"),
        (lambda *a: loss_with(*a, over=a[0].numel()), "batchmean"),
        (lambda *a: loss_with(*a, swap=True), "swapped teacher and student"),
        (lambda z, zt, y, t, a: loss_with(z, zt, y, t, a, share=1 - a), "alpha belongs to the soft part"),
        (lambda z, zt, y, t, a: loss_with(z, zt, y, t, a, hard_t=t), "in the hard part too"),
        (log_of_softmax, "inf or nan"),
        (lambda *a: kl_div_of(*a, given=F.softmax), "`kl_div` wants their `log_softmax`"),
        (lambda *a: kl_div_of(*a, given=lambda z, _: z), "logits for log probabilities"),
        (lambda *a: kl_div_of(*a, target=F.log_softmax), "nan or infinite.*log_target=True"),
        (lambda *a: kl_div_of(*a, log_target=True), "said `log_target=True`"),
        (lambda *a: kl_div_of(*a, reduction="mean"), "batchmean"),
        (lambda z, zt, y, t, a: kl_div(z, zt, y, t, a) + a * F.cross_entropy(z, y), "1 - alpha"),
        (lambda z, zt, y, t, a: kl_div(z, zt, y, t, 1.0) + (1 - a) * F.cross_entropy(z, y), "left out alpha"),
        (lambda z, zt, y, t, a: kl_div(z, zt, y, t, a) + (1 - a) * (
            F.cross_entropy(zt, y) - F.cross_entropy(z, y)), "the teacher against the labels"),
        (lambda z, zt, y, t, a: a * t * t * F.kl_div((z / t).log_softmax(0), (zt / t).softmax(0), reduction="batchmean")
         + (1 - a) * F.cross_entropy(z, y), "each image has its own"),
        (torch.no_grad()(kl_div), "no gradient flows"),
        (lambda z, *rest: kl_div(z.detach(), *rest), "no gradient flows"),
        (hard_part_cut, "the gradient of the loss"),
        (lambda z, zt, y, t, a: kl_div(z, zt, y, t, 0) + a * t * t * F.cross_entropy(
            z / t, (zt / t).softmax(-1)) - a * F.cross_entropy(z, y), "subtract the teacher's entropy"),
    ],
    "high-temperature": [
        (lambda z, zt, t: (z - zt) / (len(z) * t * t), "did not subtract the mean"),
        (lambda z, zt, t: (zt - z - (zt - z).mean()) / (len(z) * t * t), "the other way round"),
        (lambda z, zt, t: (z - zt - (z - zt).mean()) / len(z), "left out T²"),
        (lambda z, zt, t: (z - zt - (z - zt).mean()) / (t * t), "number of classes"),
        (exact_gradient, "the gradient itself"),
        (lambda z, zt, t: ((z / t).softmax(0) - (zt / t).softmax(0)) / t, "no softmax left"),
        (lambda z, zt, t: ((z / t).softmax(0) - (zt / t).softmax(0)) * t, "times T²"),
        (lambda z, zt, t: (z - zt - (z - zt).mean()) / (len(z) * t), "divided by T and not"),
    ],
    "copy-layers": [
        (first_layers, "must be the teacher's layer 2; it is layer 1"),
        (lambda s, t, layers: by_modules(s, t, sorted(layers)), "in this order"),
        (lambda s, t, layers: by_modules(s, t, layers, shared=True), "share weights"),
        (lambda s, t, layers: by_modules(s, t, layers, parts=("norm",)), "`embed` was not copied"),
        (lambda s, t, layers: by_modules(s, t, [], parts=("embed",)), "still its own"),
        (the_other_way, "the teacher's weights changed"),
        (unties_the_head, "one matrix and are two now"),
        (lambda s, t, layers: by_copies(s, t, layers, tied=False), "one matrix and are two now"),
        (freezes_too, "do not train now"),
        (lambda s, t, layers: by_modules(s, t, layers[:2]), "with layers \\[3, 1, 0\\]"),
        (lambda s, t, layers: by_modules(s, t, [layer + 1 for layer in layers]), "it is layer 1"),
    ],
}
