"""Answers to the exercises of 01_pretraining."""

import math
from functools import partial

import numpy as np
import torch
from torch.nn import functional as F


def loss_by_loop(logits, tokens):
    losses = []
    for i in range(len(tokens) - 1):
        shifted = logits[i] - logits[i].max()
        losses.append(float(torch.log(torch.exp(shifted).sum()) - shifted[tokens[i + 1]]))
    return sum(losses) / len(losses)


def loss_in_place(logits, tokens):
    logits -= logits.detach().amax(-1, keepdim=True)
    log_p = logits - logits.exp().sum(-1, keepdim=True).log()
    return -log_p[torch.arange(len(tokens) - 1), tokens[1:]].double().mean()


def loss_over_itself(logits, tokens):
    logits -= logits.logsumexp(-1, keepdim=True)
    return -logits[torch.arange(len(tokens) - 1), tokens[1:]].mean()


@torch.no_grad()
def loss_without_gradient(logits, tokens):
    return F.cross_entropy(logits[:-1], tokens[1:])


def loss_through_numpy(logits, tokens):
    rows = logits.numpy()[:-1]
    return torch.tensor(np.mean(np.logaddexp.reduce(rows, 1) - rows[np.arange(len(rows)), tokens[1:].numpy()]))


def bigram_by_loop(counts):
    total, loss = float(counts.sum()), 0.0
    for row in counts.tolist():
        for count in row:
            if count:
                loss -= count / total * math.log(count / sum(row))
    return loss


def bigram_by_numpy(counts):
    table = np.asarray(counts, dtype=float)
    rows = table.sum(1)
    shares = [row[row > 0] / row.sum() for row in table]
    return np.dot(rows / table.sum(), [-(share * np.log(share)).sum() for share in shares])


def gumbel(logits, temperature, generator):
    noise = -torch.log(-torch.log(torch.rand(len(logits), generator=generator)))
    return int((logits / temperature + noise).argmax())


def sample_in_place(logits, temperature, generator):
    logits /= temperature
    return np.int64(torch.multinomial(logits.softmax(-1), 1, generator=generator).item())


def sample_by_loop(logits, temperature, generator):
    left = torch.rand((), generator=generator, dtype=torch.float64)
    for token, chance in enumerate((logits.double() / temperature).softmax(0)):
        left = left - chance
        if left < 0:
            return torch.tensor(token, dtype=torch.int16)


def sample_reseeded(logits, temperature, generator):
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator.manual_seed(5)).item()


def inverse_cdf(logits, temperature, generator):
    steps = (logits / temperature).softmax(0).cumsum(0)
    return torch.searchsorted(steps, torch.rand(1, generator=generator)).clamp(max=len(logits) - 1)[0]


def warm(step, steps, warmup, shape):
    return (step + 1) / warmup if step < warmup else shape((step - warmup) / (steps - warmup))


def loop(order="zero backward step", kept=lambda loss: loss.item(), most=None):
    """A training loop that does these things in this order."""

    def train(model, batches, optimizer):
        losses = []
        for inputs, targets in batches if most is None else list(batches)[:most]:
            loss = model(inputs, targets)[1]
            for act in order.split():
                {"zero": optimizer.zero_grad, "backward": loss.backward, "step": optimizer.step}[act]()
            losses.append(kept(loss))
        return losses

    return train


def loop_by_hand(model, batches, optimizer):
    losses = []
    for batch in batches:
        loss = model(*batch)[1]
        for weight in model.parameters():
            weight.grad = None
        loss.backward()
        optimizer.step()
        losses += [loss.detach()]
    return torch.stack(losses)


def loop_with_closure(model, batches, optimizer):
    def closure(batch):
        optimizer.zero_grad()
        loss = model(*batch)[1]
        loss.backward()
        return loss.item()

    return np.array([optimizer.step(partial(closure, batch)) for batch in batches])


def loop_on_the_first(model, batches, optimizer):
    batches = list(batches)
    return loop()(model, batches[:1] * len(batches), optimizer)


def loop_that_looks_after(model, batches, optimizer):
    losses = []
    for inputs, targets in batches:
        loop()(model, [(inputs, targets)], optimizer)
        losses.append(model(inputs, targets)[1].item())
    return losses


def loop_without_its_last_step(model, batches, optimizer):
    *most, last = batches
    return loop()(model, most, optimizer) + [model(*last)[1].item()]


def attend(scale=-0.5, ahead=1, dim=-1):
    def attention(q, k, v):
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** scale
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(ahead)
        return scores.masked_fill(hidden, -torch.inf).softmax(dim) @ v

    return attention


def attend_by_loop(q, k, v):
    rows = []
    for i in range(q.shape[2]):
        scores = torch.einsum("bhd,bhjd->bhj", q[:, :, i], k[:, :, : i + 1]) / math.sqrt(q.shape[-1])
        rows.append(torch.einsum("bhj,bhjd->bhd", scores.softmax(-1), v[:, :, : i + 1]))
    return torch.stack(rows, 2)


def attend_by_tril(q, k, v):
    scores = torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5
    odds = (scores - scores.amax(-1, keepdim=True).detach()).exp().tril()
    return odds / odds.sum(-1, keepdim=True) @ v


def attend_masked_late(q, k, v):
    return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1).tril() @ v


def attend_masked_by_zero(q, k, v):
    return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).tril().softmax(-1) @ v


RIGHT = {
    "attention": [
        attend(),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        attend_by_loop,
        attend_by_tril,
    ],
    "training-loop": [
        loop(),
        loop("backward step zero"),
        loop_by_hand,
        loop_with_closure,
        loop(kept=lambda loss: loss.detach().numpy()),
    ],
    "next-token-loss": [
        lambda logits, tokens: F.cross_entropy(logits[:-1], tokens[1:]),
        lambda logits, tokens: -logits.log_softmax(-1)[:-1].gather(1, tokens[1:, None]).mean().item(),
        loss_by_loop,
        loss_in_place,
        lambda logits, tokens: np.float32(loss_by_loop(logits.double(), tokens)),
    ],
    "sample-token": [
        lambda logits, t, g: torch.multinomial((logits / t).softmax(-1), 1, generator=g).item(),
        gumbel,
        inverse_cdf,
        sample_in_place,
        sample_by_loop,
        lambda logits, t, g: torch.multinomial((logits / t).softmax(-1), 1, generator=g).numpy(),
    ],
    "bigram-level": [
        lambda c: -torch.xlogy(c, c / c.sum(1, keepdim=True).clamp(min=1)).sum() / c.sum(),
        bigram_by_loop,
        bigram_by_numpy,
        lambda c: np.float32((torch.xlogy(c.sum(1), c.sum(1)).sum() - torch.xlogy(c, c).sum()) / c.sum()),
        lambda c: -(c * (c / c.sum(1, keepdim=True)).log()).nan_to_num(0.0).sum(dtype=torch.float64) / c.sum(),
    ],
    "cosine-warmup": [
        lambda s, n, w: warm(s, n, w, lambda p: 0.5 * (1 + math.cos(math.pi * p))),
        lambda s, n, w: warm(s, n, w, lambda p: math.cos(math.pi * p / 2) ** 2),
        lambda s, n, w: min((s + 1) / w if s < w else 1.0, 0.5 + 0.5 * np.cos(np.pi * max(0, s - w) / (n - w))),
        lambda s, n, w: torch.tensor(warm(s, n, w, lambda p: torch.tensor(math.pi * p).cos().item() / 2 + 0.5)),
        lambda s, n, w: np.float64((s + 1) / w) if s < w else np.float32(1 + np.cos(np.pi * (s - w) / (n - w))) / 2,
    ],
}  # fmt: skip
WRONG = {
    "attention": [
        (attend(ahead=99), "hid nothing"),
        (attend(scale=0), "did not divide"),
        (attend(scale=-1), "divided by the size, and not by its root"),
        (attend(scale=0.5), "multiplied by the root"),
        (attend(dim=-2, ahead=99), "over the tokens that look"),
        (attend(ahead=0), "nan"),
        (attend(ahead=2), "hid one token too few"),
        (attend_masked_late, "after the softmax"),
        (attend_masked_by_zero, "with 0 before the softmax"),
        (lambda q, k, v: attend()(k, q, v), "exchanged queries and keys"),
        (lambda q, k, v: attend()(q, k, v).transpose(1, 2), "shape"),
        (lambda q, k, v: attend()(q * (q.shape[-1] / q.shape[-2]) ** 0.5, k, v), "number of tokens"),
        (lambda q, k, v: attend(scale=0)(q / 2, k, v), "lists of 9 numbers"),
        (attend(dim=1), "over the last dimension"),
        (lambda q, k, v: attend()(q.detach(), k, v), "no gradient"),
    ],
    "training-loop": [
        (loop("backward step"), "never cleared the gradients"),
        (loop("backward zero step"), "moved no weight"),
        (loop("zero backward"), "moved no weight"),
        (loop("step zero backward"), "stepped before `backward`"),
        (loop(kept=lambda loss: loss), "loss.item"),
        (loop_on_the_first, "the first batch again and again"),
        (loop_that_looks_after, "after the step"),
        (loop_without_its_last_step, "weights after the last batch"),
        (loop(most=5), "list of 6 losses, got"),
        (lambda model, batches, optimizer: loop()(model, batches, optimizer)[-1], "list of 6 losses, got"),
        (lambda model, batches, optimizer: np.cumsum(loop()(model, batches, optimizer)), "added up the losses"),
        (lambda model, batches, optimizer: [loss for _ in loop()(model, batches, optimizer) for loss in ()], "of 6"),
    ],
    "next-token-loss": [
        (lambda logits, tokens: F.cross_entropy(logits, tokens), "row i predicts token i \\+ 1"),
        (lambda logits, tokens: F.cross_entropy(logits[:-1], tokens[1:], reduction="sum"), "take the mean"),
        (lambda logits, tokens: -logits[:-1].gather(1, tokens[1:, None]).mean(), "apply `log_softmax` first"),
        (lambda logits, tokens: -logits.softmax(-1)[:-1].gather(1, tokens[1:, None]).log().mean(), "inf or nan"),
        (lambda logits, tokens: F.cross_entropy(logits[:-1], tokens[1:], reduction="none"), "shape"),
        (lambda logits, tokens: F.cross_entropy(logits[:-1].softmax(-1), tokens[1:]), "softmax before"),
        (lambda logits, tokens: F.cross_entropy(logits[1:], tokens[1:]), "left out the first"),
        (lambda logits, tokens: F.cross_entropy(logits[:-1], tokens[1:]).exp(), "took exp"),
        (lambda logits, tokens: F.cross_entropy(logits[:-1], tokens[:-1]), "left out the last"),
        (lambda logits, tokens: -logits[:-1].softmax(-1).gather(1, tokens[1:, None]).mean().log(), "mean of the log"),
        (loss_without_gradient, "no gradient flows"),
        (lambda logits, tokens: F.cross_entropy(logits[:-1], tokens[1:]).detach(), "no gradient flows"),
        (loss_through_numpy, "no gradient flows"),
        (loss_over_itself, "changed in place"),
        (lambda logits, tokens: F.nll_loss((logits[:-1].softmax(-1) + 1e-9).log(), tokens[1:]), "hides most of it"),
        (lambda logits, tokens: F.nll_loss(logits[:-1].softmax(-1).clamp(1e-12).log(), tokens[1:]), "hides most of it"),
        (lambda logits, tokens: F.cross_entropy(logits[:-1], tokens[1:]) * (1 - 1 / len(tokens)), "is not predicted"),
    ],
    "sample-token": [
        (lambda logits, t, g: torch.multinomial((logits * t).softmax(-1), 1, generator=g).item(), "divide the logits"),
        (lambda logits, t, g: torch.multinomial(logits.softmax(-1), 1, generator=g).item(), "ignored the temperature"),
        (lambda logits, t, g: int((logits / t).argmax()), "draw one"),
        (lambda logits, t, g: torch.multinomial((logits / t).softmax(-1), 1).item(), "generator=generator"),
        (lambda logits, t, g: (logits / t).softmax(-1), "one token number"),
        (lambda logits, t, g: float(torch.multinomial((logits / t).softmax(-1), 1, generator=g)), "an int, got"),
        (lambda logits, t, g: torch.multinomial(logits / t, 1, generator=g).item(), "raised RuntimeError"),
        (lambda logits, t, g: torch.multinomial(logits.softmax(-1) / t, 1, generator=g).item(), "before the softmax"),
        (sample_reseeded, "seeded the generator anew"),
        (lambda logits, t, g: 1 + torch.multinomial((logits / t).softmax(-1), 1, generator=g).item(), "from 0 to 3"),
        (lambda logits, t, g: int(torch.randint(4, (1,), generator=g)), "the same chance"),
        (lambda logits, t, g: [torch.multinomial((logits / t).softmax(-1), 1, generator=g).item()], "an int, got"),
    ],
    "bigram-level": [
        (lambda c: -(c / c.sum(1, keepdim=True)).log().mul(c).sum() / c.sum(), "nan"),
        (lambda c: -(c / c.sum(1, keepdim=True)).log().mean(), "infinite"),
        (lambda c: -torch.xlogy(c, c / c.sum(1)).sum() / c.sum(), "keepdim=True"),
        (lambda c: -torch.xlogy(c, c / c.sum(1, keepdim=True)).sum(), "divide by their number"),
        (lambda c: -torch.xlogy(c, c / c.sum(1, keepdim=True)).mean(), "cells of the table"),
        (lambda c: -torch.xlogy(c, c / c.sum(0)).sum() / c.sum(), "normalized the columns"),
        (lambda c: -torch.xlogy(c / c.sum(1, keepdim=True), c / c.sum(1, keepdim=True)).sum() / 3, "weigh each pair"),
        (lambda c: -torch.xlogy(c.sum(0), c.sum(0) / c.sum()).sum() / c.sum(), "unigram level"),
        (lambda c: -torch.xlogy(c, c / c.sum(1, keepdim=True)).sum() / c.sum(), "nan where a row is empty"),
        (lambda c: -torch.xlogy(c, (c + 1) / (c + 1).sum(1, keepdim=True)).sum() / c.sum(), "added 1 to every count"),
        (lambda c: -torch.xlogy(c, c / c.sum(1, keepdim=True).clamp(min=1)).sum() / c.sum() / math.log(2), "base 2"),
    ],
    "cosine-warmup": [
        (lambda s, n, w: warm(s, n, w, lambda p: math.cos(math.pi * p * 90 / 89 / 2) ** 2), "one later"),
        (lambda s, n, w: (s + 1) / (w + 1) if s < w else math.cos(math.pi / 2 * (s - w) / (n - w)) ** 2, "warmup ."),
        (lambda s, n, w: warm(s, 100, w, lambda p: math.cos(math.pi * p / 2) ** 2), "from step 4 to step 40"),
        (lambda s, n, w: str(warm(s, n, w, lambda p: math.cos(math.pi * p / 2) ** 2)), "a str, expected a number"),
        (lambda s, n, w: [warm(s, n, w, lambda p: math.cos(math.pi * p / 2) ** 2)], "shape"),
        (lambda s, n, w: s / w if s < w else warm(s, n, w, lambda p: math.cos(math.pi * p / 2) ** 2), "step 0 gets 1"),
        (lambda s, n, w: 0.5 * (1 + math.cos(math.pi * s / n)), "forgot the warmup"),
        (lambda s, n, w: warm(s, n, w, lambda p: 1 - p), "straight line"),
        (lambda s, n, w: warm(s, n, w, lambda p: math.cos(math.pi * p / 2)), "quarter of a period"),
        (lambda s, n, w: (s + 1) / w if s <= w else warm(s, n, w, lambda p: math.cos(math.pi * p / 2) ** 2), "go on"),
        (lambda s, n, w: (s + 1) / w if s < w else 0.5 * (1 + math.cos(math.pi * (s - w) / n)), "divided by all"),
        (lambda s, n, w: warm(s, n, w, lambda p: math.cos(math.pi * p)), "shift and halve"),
    ],
}  # fmt: skip
