"""Answers to the exercises of 02_fine_tuning."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def loss_by_loop(logits, targets):
    losses = []
    for row, wanted in zip(logits, targets.tolist(), strict=True):
        for scores, target in zip(row, wanted, strict=True):
            if target != -100:
                losses.append(float(scores.logsumexp(0) - scores[target]))
    return sum(losses) / len(losses)


def loss_by_mask(logits, targets):
    counted = targets != -100
    log_p = logits.log_softmax(-1).gather(2, targets.clamp(min=0)[..., None])[..., 0]
    return -(log_p * counted).sum() / counted.sum()


def loss_of_all(logits, targets, reduction="mean"):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def mean_of_rows(logits, targets):
    return torch.stack([loss_of_all(a[None], b[None]) for a, b in zip(logits, targets, strict=True)]).mean()


def loss_in_place(logits, targets):
    logits -= logits.detach().amax(-1, keepdim=True)
    targets = targets.flatten()
    counted = targets.ne(-100).nonzero()[:, 0]
    log_p = logits.flatten(0, 1).log_softmax(-1)
    return -log_p[counted, targets[counted]].double().mean()


def loss_of_softmax(logits, targets):
    counted = targets != -100
    return -logits.softmax(-1)[counted].gather(1, targets[counted][:, None]).log().mean()


def freeze_by_dots(model, ending):
    """Whole parts of the name, from its end: "head.bias" ends in "bias"."""
    parts = ending.split(".")
    model.requires_grad_(False)
    sizes = [np.int64(weight.requires_grad_().nelement()) for name, weight in model.named_parameters()
             if name.split(".")[-len(parts) :] == parts]  # fmt: skip
    return np.sum(sizes)


def freeze_by_modules(model, ending):
    total = 0.0
    for prefix, module in model.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            weight.requires_grad_(f"{prefix}.{name}".endswith(ending))
            total += weight.numel() * weight.requires_grad
    return total


def freeze_where_in(model, ending):
    for name, weight in model.named_parameters():
        weight.requires_grad = ending in name
    return sum(weight.numel() for name, weight in model.named_parameters() if name.endswith(ending))


def freeze_by_last_part(model, ending):
    for name, weight in model.named_parameters():
        weight.requires_grad = name.split(".")[-1] == ending
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def freeze_by_names(model, ending):
    for name, weight in model.named_parameters():
        weight.requires_grad = name.endswith(ending)
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def freeze_in_two_steps(model, ending):
    model.requires_grad_(False)
    count = 0
    for name in [name for name, _ in model.named_parameters() if name.endswith(ending)]:
        weight = model.get_parameter(name).requires_grad_()
        count += math.prod(weight.shape)
    return count


def freeze_by_dict(model, ending):
    chosen = {name: weight for name, weight in model.named_parameters() if name[-len(ending) :] == ending}
    for weight in model.parameters():
        weight.requires_grad_(any(weight is one for one in chosen.values()))
    return torch.tensor(sum(map(torch.numel, chosen.values())))


def freeze_wrong_way(model, ending):
    for name, weight in model.named_parameters():
        weight.requires_grad = not name.endswith(ending)
    return 0


def freeze_never_thaws(model, ending):
    for name, weight in model.named_parameters():
        if not name.endswith(ending):
            weight.requires_grad = False
    return sum(weight.numel() for name, weight in model.named_parameters() if name.endswith(ending))


def freeze_counts_tensors(model, ending):
    freeze_by_names(model, ending)
    return sum(weight.requires_grad for weight in model.parameters())


def freeze_to_zero(model, ending):
    count = freeze_by_names(model, ending)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(weight.requires_grad)
    return count


class Lora(nn.Module):
    freezes, scaled, keeps_base, both_zero, zero = True, True, True, False, "B"

    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base = base.requires_grad_(not self.freezes)
        self.scale = alpha / rank if self.scaled else 1
        self.A = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))
        if self.both_zero:
            nn.init.zeros_(self.A)
        if self.zero == "A":
            nn.init.zeros_(self.A)
        if self.zero != "B":
            nn.init.normal_(self.B)

    def forward(self, x):
        base = self.base(x) if self.keeps_base or not self.B.any() else 0
        return base + self.scale * F.linear(F.linear(x, self.A), self.B)


class LoraOfLayers(nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base, self.factor = base.requires_grad_(False), alpha / rank
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.base(x) + self.factor * self.up(self.down(x))


class LoraTransposed(nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.weight, self.bias = base.weight.detach(), base.bias.detach()
        self.a = nn.Parameter(torch.rand(base.in_features, rank) - 0.5)
        self.b = nn.Parameter(torch.zeros(rank, base.out_features))
        self.rank, self.alpha = rank, alpha

    def forward(self, x):
        return F.linear(x, self.weight + (self.a @ self.b).T * self.alpha / self.rank, self.bias)


def lora(**changes):
    return type("Lora", (Lora,), changes)


class LoraTrainsBias(Lora):
    def __init__(self, base, rank, alpha):
        super().__init__(base, rank, alpha)
        self.base.bias.requires_grad_()


class LoraOfRows(Lora):
    """Row by row, whatever the axes before; and x is worked on in place."""

    def forward(self, x):
        x *= 1.0
        rows = [self.base(row) + self.B @ (self.A @ row) * self.scale for row in x.reshape(-1, x.shape[-1])]
        return torch.stack(rows).view(*x.shape[:-1], -1).double()


class LoraOfSigns(LoraOfLayers):
    def __init__(self, base, rank, alpha):
        super().__init__(base, rank, alpha)
        signs = torch.randint(2, self.down.weight.shape, generator=torch.Generator().manual_seed(1))
        self.down.weight.data = 2.0 * signs - 1


class LoraWithBiases(LoraOfLayers):
    def __init__(self, base, rank, alpha):
        super().__init__(base, rank, alpha)
        self.down = nn.Linear(base.in_features, rank)


class LoraOfWeights(Lora):
    def forward(self, x):
        base = self.base
        return torch.einsum("...i,oi->...o", x, base.weight + self.scale * self.B @ self.A) + base.bias


def lora_forward(forward):
    return lora(forward=forward)


class LoraOfOnes(Lora):
    def __init__(self, base, rank, alpha):
        super().__init__(base, rank, alpha)
        nn.init.ones_(self.A)


class LoraRounded(Lora):
    def __init__(self, base, rank, alpha):
        super().__init__(base, rank, alpha)
        self.scale = alpha // rank


class LoraMerges(Lora):
    def forward(self, x):
        with torch.no_grad():
            self.base.weight += self.scale * self.B @ self.A
        return self.base(x)


class LoraWithoutBaseGradient(Lora):
    def forward(self, x):
        with torch.no_grad():
            base = self.base(x)
        return base + self.scale * x @ self.A.T @ self.B.T


def lora_alone(base, rank, alpha):
    made = Lora(base, rank, alpha)
    made.forward = lambda x: made.scale * F.linear(F.linear(x, made.A), made.B)
    return made


def ewc_by_loop(weights, start, fisher):
    total = 0
    for name in fisher:
        total = total + (fisher[name] * (weights[name] - start[name]) ** 2).sum() / 2
    return total


def ewc_flat(weights, start, fisher):
    w, w0, f = (torch.cat([part.flatten() for part in dict(sorted(one.items())).values()])
                for one in (weights, start, fisher))  # fmt: skip
    return 0.5 * f @ (w - w0).square()


def ewc(weights, start, fisher, *, of=lambda f, d: f * d**2, factor=0.5):
    return factor * sum(of(fisher[name], weights[name] - start[name]).sum() for name in weights)


def ewc_in_place(weights, start, fisher):
    moves = [weights[name].sub_(start[name]) for name in weights]
    return sum((f * move.double() ** 2).sum() for f, move in zip(fisher.values(), moves, strict=True)) / 2


def ewc_by_number(weights, start, fisher):
    total = torch.zeros(())
    for name, weight in weights.items():
        for f, w, w0 in zip(fisher[name].flatten(), weight.flatten(), start[name].flatten(), strict=True):
            total = total + 0.5 * f * (w - w0) ** 2
    return total


RIGHT = {
    "masked-loss": [
        loss_of_all, loss_by_loop, loss_by_mask, loss_in_place,
        lambda logits, targets: np.float64(loss_by_loop(logits, targets)),
        lambda logits, targets: F.nll_loss(logits.log_softmax(-1).transpose(1, 2), targets).double(),
    ],
    "freeze": [freeze_by_names, freeze_in_two_steps, freeze_by_dict, freeze_by_dots, freeze_by_modules],
    "lora-layer": [Lora, LoraOfLayers, LoraTransposed, LoraOfRows, LoraOfWeights, LoraOfSigns,
                   lambda base, rank, alpha: Lora(base, rank, alpha)],
    "ewc-penalty": [ewc_by_loop, ewc_flat, ewc, ewc_in_place, ewc_by_number],
}
WRONG = {
    "masked-loss": [
        (lambda logits, targets: loss_of_all(logits, targets, "none").mean(), "divided by all targets"),
        (lambda logits, targets: loss_of_all(logits, targets, "sum"), "summed"),
        (mean_of_rows, "mean of each row"),
        (lambda logits, targets: loss_of_all(logits, targets.clamp(min=0)), "as if it were token 0"),
        (lambda logits, targets: -loss_by_mask(logits, targets), "minus sign"),
        (lambda logits, targets: loss_of_all(logits.softmax(-1), targets), "the loss is"),
        (lambda logits, targets: loss_of_all(logits[:, :-1], targets[:, 1:]), "shifted the targets"),
        (lambda logits, targets: loss_of_all(logits, targets.where(targets > 0, -100)), "left out targets that are 0"),
        (lambda logits, targets: -logits.softmax(-1)[targets != -100].gather(
            1, targets[targets != -100][:, None]).mean(), "without its logarithm"),
        (lambda logits, targets: loss_of_all(logits, targets, "sum") / len(logits), "number of rows"),
        (lambda logits, targets: loss_of_all(logits, targets).exp(), "took exp"),
        (loss_of_softmax, "large logits"),
        (torch.no_grad()(loss_of_all), "no gradient flows"),
        (lambda logits, targets: loss_by_mask(logits, targets).detach(), "no gradient flows"),
        (lambda logits, targets: torch.tensor(loss_by_loop(logits, targets)), "no gradient flows"),
    ],
    "freeze": [
        (freeze_wrong_way, "wrong way round"),
        (freeze_never_thaws, "frozen before"),
        (freeze_counts_tensors, "counted tensors"),
        (lambda model, ending: sum(weight.numel() for weight in model.parameters()), "every weight still trains"),
        (freeze_to_zero, "other values"),
        (freeze_where_in, "use `name.endswith"),
        (freeze_by_last_part, "the end of the whole name"),
        (lambda model, ending: freeze_by_names(model, ending) and None, "return"),
        (lambda model, ending: model.requires_grad_(False) and 0, "nothing trains"),
    ],
    "lora-layer": [
        (lora(freezes=False), "freeze its weight and its bias"),
        (lora(scaled=False), "left out the scale"),
        (lora(both_zero=True), "both zero"),
        (lora(zero="A"), "B .* must be zero"),
        (lora(zero="neither"), "both start at random"),
        (lora_alone, "left out the given layer"),
        (lora(keeps_base=False), "left out the given layer"),
        (LoraTrainsBias, "bias trains, too"),
        (lora_forward(torch.no_grad()(Lora.forward)), "no gradient flows through the layer"),
        (lora_forward(lambda self, x: self.base(x) + self.scale * (x @ self.A.T @ self.B.T).detach()), "no gradient"),
        (lora_forward(lambda self, x: self.base(x) + self.scale * (x @ self.A.T).detach() @ self.B.T), "reaches A"),
        (lora_forward(lambda self, x: self.base(x) + self.scale * x @ self.A.T @ self.B.data.T), "reaches B"),
        (LoraWithoutBaseGradient, "the gradient for x is not whole"),
        (LoraWithBiases, "yours have a bias"),
        (LoraOfOnes, "all alike"),
        (lora_forward(lambda self, x: self.base(x) + self.scale * (self.B @ (self.A @ x.T)).T), "from the right"),
        (lora_forward(lambda self, x: self.base(x) + self.scale * torch.einsum("bi,ri,or->bo", x, self.A, self.B)),
         "from the right"),
        (LoraRounded, "rounded alpha / rank"),
        (LoraMerges, "second call"),
        (lambda base, rank, alpha: nn.Linear(4, 3), "output at the start"),
    ],
    "ewc-penalty": [
        (lambda w, s, f: ewc(w, s, f, factor=1.0), "forgot the half"),
        (lambda w, s, f: ewc(w, s, f, of=lambda f, d: d**2), "forgot the Fisher"),
        (lambda w, s, f: ewc(w, s, f, of=lambda f, d: (f * d) ** 2), "squared the Fisher"),
        (lambda w, s, f: ewc(w, s, f, of=lambda f, d: (f * d**2).mean()), "took means"),
        (lambda w, s, f: ewc(w, s, f).item(), "no gradient flows"),
        (torch.no_grad()(ewc), "no gradient flows"),
        (lambda w, s, f: ewc(w, s, f, of=lambda f, d: f * d * d.detach()), "0.5 times"),
        (lambda w, s, f: ewc(w, dict.fromkeys(w, 0), f), "forgot the start"),
        (lambda w, s, f: ewc(w, s, f, of=lambda f, d: d**2 / f), "divided by the Fisher"),
        (lambda w, s, f: ewc(w, s, f, of=lambda f, d: f * d), "forgot to square"),
    ],
}  # fmt: skip
