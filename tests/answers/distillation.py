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


def first_layers(student, teacher, layers):
    by_modules(student, teacher, list(range(len(layers))))


def the_other_way(student, teacher, layers):
    by_modules(teacher, student, [0, 1, 0, 1])


RIGHT = {
    "soft-targets": [
        lambda z, t: (z / t).softmax(-1),
        lambda z, t: torch.exp(z / t - torch.logsumexp(z / t, -1, keepdim=True)),
        soft_by_numpy,
    ],
    "distillation-loss": [
        kl_div,
        loss_by_loop,
        lambda z, zt, y, t, a: distillation.distillation_loss(z, zt, y, temperature=t, alpha=a),
    ],
    "high-temperature": [
        lambda z, zt, t: (z - z.mean() - zt + zt.mean()) / (len(z) * t**2),
        lambda z, zt, t: ((z - zt) - np.mean((z - zt).numpy())) / (z.numel() * t * t),
        autograd_limit,
    ],
    "copy-layers": [
        by_state,
        by_modules,
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
    ],
    "distillation-loss": [
        (lambda *a: loss_with(*a, scale=1.0), "left out T²"),
        (lambda *a: loss_with(*a, over=a[0].numel()), "batchmean"),
        (lambda *a: loss_with(*a, swap=True), "swapped teacher and student"),
        (lambda z, zt, y, t, a: loss_with(z, zt, y, t, a, share=1 - a), "alpha belongs to the soft part"),
        (lambda z, zt, y, t, a: loss_with(z, zt, y, t, a, hard_t=t), "in the hard part too"),
        (log_of_softmax, "inf or nan"),
    ],
    "high-temperature": [
        (lambda z, zt, t: (z - zt) / (len(z) * t * t), "did not subtract the mean"),
        (lambda z, zt, t: (zt - z - (zt - z).mean()) / (len(z) * t * t), "the other way round"),
        (lambda z, zt, t: (z - zt - (z - zt).mean()) / len(z), "left out T²"),
        (lambda z, zt, t: (z - zt - (z - zt).mean()) / (t * t), "number of classes"),
    ],
    "copy-layers": [
        (first_layers, "must be the teacher's layer 2; it is layer 1"),
        (lambda s, t, layers: by_modules(s, t, sorted(layers)), "in this order"),
        (lambda s, t, layers: by_modules(s, t, layers, shared=True), "share weights"),
        (lambda s, t, layers: by_modules(s, t, layers, parts=("norm",)), "`embed` was not copied"),
        (lambda s, t, layers: by_modules(s, t, [], parts=("embed",)), "still its own"),
        (the_other_way, "the teacher's weights changed"),
    ],
}
