"""Checks of 01_pretraining."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from course_utils import runtime
from course_utils.lesson import check, compare, exercise, is_finite, law, teaches
from course_utils.lesson.compare import as_numbers
from course_utils.pretraining import sampling
from course_utils.training import cosine

__all__ = ["check"]  # a notebook takes it from here, so that its exercises are registered


@exercise("next-token-loss", "the next-token loss")
def _(answer):
    """answer(logits (tokens, vocabulary), tokens (tokens,)) -> mean loss in nats over all tokens but the first."""
    logits = 2 * torch.randn(6, 5, generator=runtime.generator(0))
    tokens = torch.tensor([0, 3, 1, 4, 4, 2])
    each = F.cross_entropy(logits[:-1], tokens[1:], reduction="none")
    mistakes = {
        "compared each row of logits with the token it stands on: row i predicts token i + 1":
            F.cross_entropy(logits, tokens),
        "compared row i + 1 with token i: it is the other way round": F.cross_entropy(logits[1:], tokens[:-1]),
        "summed over the tokens: take the mean": each.sum(),
        "divided by the number of tokens, but the first one is not predicted": each.sum() / 6,
        "forgot the minus sign": -each.mean(),
        "took the logarithm to base 2: nats use the natural one": each.mean() / math.log(2),
        "used logits as if they were log probabilities: apply `log_softmax` first":
            -logits[:-1].gather(1, tokens[1:, None]).mean(),
        "applied a softmax before `cross_entropy`, which applies its own":
            F.cross_entropy(logits[:-1].softmax(-1), tokens[1:]),
        "took -p: the loss is -ln p": -logits[:-1].softmax(-1).gather(1, tokens[1:, None]).mean(),
        "took the softmax over the tokens of the text: each row has its own, over the vocabulary (dim -1)":
            -logits[:-1].log_softmax(0).gather(1, tokens[1:, None]).mean(),
        "averaged over the whole vocabulary: only the token that came counts": -logits[:-1].log_softmax(-1).mean(),
        "paired row i with token i, and left out the first: row i predicts token i + 1":
            F.cross_entropy(logits[1:], tokens[1:]),
        "paired row i with token i, and left out the last: row i predicts token i + 1":
            F.cross_entropy(logits[:-1], tokens[:-1]),
        "took the logarithm of the mean probability: take the mean of the logarithms":
            -logits[:-1].softmax(-1).gather(1, tokens[1:, None]).mean().log(),
        "took exp of the loss, the number of tokens it hesitates between": each.mean().exp(),
    }  # fmt: skip
    yield compare(answer(logits, tokens), each.mean(), mistakes=mistakes, what="the loss")
    flat = torch.zeros(4, 7)
    yield compare(answer(flat, torch.tensor([1, 2, 3, 4])), math.log(7), what="the loss of equal logits over 7 words")
    large = torch.tensor([[0.0, 2000.0], [0.0, 0.0]])
    sure = answer(large, torch.tensor([1, 0]))
    yield law(is_finite(sure),
              "large logits give inf or nan: take `log_softmax`, not the logarithm of a softmax")  # fmt: skip
    clipped = as_numbers(sure) is not None and as_numbers(sure).size == 1 and 10 < float(sure) < 110
    yield law(not clipped, "a sure and wrong prediction costs 2000 here, and a small number added to the probability, "
              "or a `clamp`, hides most of it: take `log_softmax`")  # fmt: skip
    yield compare(sure, 2000.0, what="the loss of a sure and wrong prediction")
    yield teaches(answer, lambda z, t: F.cross_entropy(z[:-1], t[1:]), logits, tokens)


@exercise("training-loop", "the training loop")
def _(answer):
    """answer(model, batches, optimizer) -> the losses, one for each batch; the model is trained in place."""
    dice = runtime.generator(0)
    batches = [torch.randint(5, (2, 4, 3), generator=dice).unbind(0) for _ in range(6)]
    wanted, table = _looped("zero backward step", batches)
    mistakes = {
        "never cleared the gradients: they add up over the batches, so call `optimizer.zero_grad()` for each":
            _looped("backward step", batches)[0],
        "moved no weight: `backward` and then `step`, with `zero_grad` before the two and not between them":
            _looped("", batches)[0],
        "stepped before `backward`, along the gradient of the batch before": _looped("step zero backward", batches)[0],
        "trained on the first batch again and again": _looped("zero backward step", batches[:1] * 6)[0],
        "computed the loss after the step: return the one that `backward` was called on":
            _looped("zero backward step after", batches)[0],
        "added up the losses: return each batch's own": torch.tensor(wanted).cumsum(0).tolist(),
        "made two steps a batch": _looped("zero backward step step", batches)[0],
    }  # fmt: skip
    model = _Table()
    found = answer(model, iter(batches), torch.optim.SGD(model.parameters(), lr=2.0))
    yield law(found is not None, "the loop returned None: return the list of losses")
    yield law(_length(found) == 6, f"for 6 batches, expected a list of 6 losses, got {_shown(found)}")
    yield law(not any(isinstance(one, torch.Tensor) and one.requires_grad for one in found),
              "a loss that is returned as a tensor keeps all that its gradient was computed from in memory: return the "
              "number, `loss.item()`")  # fmt: skip
    yield compare([float(one) for one in found], wanted, mistakes=mistakes, what="the losses")
    yield compare(model.table.weight.detach(), table, what="the weights after the last batch")


class _Table(torch.nn.Module):
    """A model without dice: a row of logits for each of five tokens."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(5, 5, _weight=torch.linspace(-1, 1, 25).view(5, 5))

    def forward(self, inputs, targets):
        logits = self.table(inputs)  # (texts, tokens, 5)
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def _looped(order: str, batches) -> tuple[list[float], torch.Tensor]:
    """The losses and last weights of a loop that does these things in this order."""
    model, losses = _Table(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    for inputs, targets in batches:
        _, loss = model(inputs, targets)
        acts = {"zero": optimizer.zero_grad, "backward": loss.backward, "step": optimizer.step, "after": lambda: None}
        for name in order.split():
            acts[name]()
        losses.append((model(inputs, targets)[1] if "after" in order else loss).item())
    return losses, model.table.weight.detach()


def _length(value: object) -> int | None:
    return len(value) if hasattr(value, "__len__") and getattr(value, "shape", (1,)) else None


@exercise("attention", "causal attention")
def _(answer):
    """answer(q, k, v), each (batch, heads, tokens, size) -> (batch, heads, tokens, size)."""
    q, k, v = torch.randn(3, 2, 3, 5, 4, generator=runtime.generator(0)).mul(2).unbind(0)
    wanted = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores, hidden = q @ k.transpose(-2, -1) / 2, torch.ones(5, 5, dtype=torch.bool).triu(1)

    def mixed(scores, hidden=hidden):
        return scores.masked_fill(hidden, -math.inf).softmax(-1) @ v

    mistakes = {
        "hid nothing: token i sees tokens 0 to i, and none after it": scores.softmax(-1) @ v,
        "did not divide the scores by the root of the size, here 2": mixed(2 * scores),
        "divided by the size, and not by its root": mixed(scores / 2),
        "divided by the root of the number of tokens: it is the size, the last dimension": mixed(2 * scores / 5**0.5),
        "multiplied by the root of the size: divide by it": mixed(4 * scores),
        "hid what comes after the softmax, so that a row no longer sums to 1: give it -inf before":
            scores.softmax(-1).tril() @ v,
        "hid what comes with 0 before the softmax: exp(0) is 1, give it -inf": scores.tril().softmax(-1) @ v,
        "hid one token too few: token i must not see token i + 1": mixed(scores, hidden.triu(2)),
        "exchanged queries and keys: row i of the scores belongs to query i": mixed(scores.transpose(-2, -1)),
        "took the softmax over the tokens that look: each row has its own (dim -1)": scores.softmax(-2) @ v,
        "hid the past, and not what comes": mixed(scores, hidden.T),
    }  # fmt: skip
    found = answer(q, k, v)
    yield law(is_finite(found),
              "your result has nan or infinite numbers: token i sees itself, too (`triu(1)`), and the softmax goes "
              "over the last dimension, once what comes is hidden")  # fmt: skip
    yield compare(found, wanted, mistakes=mistakes, rtol=1e-3, what="what each token gets")
    long = torch.randn(3, 1, 2, 3, 9, generator=runtime.generator(1)).unbind(0)
    yield compare(answer(*long), F.scaled_dot_product_attention(*long, is_causal=True), rtol=1e-3,
                  what="the same for 3 tokens and lists of 9 numbers, whose root is 3,")  # fmt: skip
    yield compare(answer(q[:1, :1, :1], k[:1, :1, :1], v[:1, :1, :1]), v[:1, :1, :1], what="what a lone token gets")
    for name, given in {"queries": q, "keys": k, "values": v}.items():
        given.requires_grad_()
        out = answer(q, k, v)
        sent = torch.autograd.grad(out.sum(), given, allow_unused=True) if out.requires_grad else (None,)
        yield law(sent[0] is not None, f"no gradient reaches the {name}: compute with the given tensors alone")
        given.requires_grad_(False)


@exercise("sample-token", "sampling with temperature")
def _(answer):
    """answer(logits (vocabulary,), temperature, generator) -> one token, a whole number."""
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    first = answer(logits, 1.0, runtime.generator(0))
    yield law(_is_whole(first), f"expected one token number, an int, got {_shown(first)}{_remedy(first)}")
    twice = [_drawn(answer, logits, 1.0, seed=3, draws=20) for _ in range(2)]
    yield law(twice[0] == twice[1],
              "the same seed gives different tokens: pass `generator=generator` to `torch.multinomial`")  # fmt: skip
    for temperature in (1.0, 0.5, 3.0):
        tokens = _drawn(answer, logits, temperature, seed=1, draws=3000)
        yield law(set(tokens) <= {0, 1, 2, 3}, f"token {max(tokens, key=abs)} of four tokens: they count from 0 to 3")
        seen = torch.bincount(torch.tensor(tokens), minlength=4) / len(tokens)
        wanted = sampling.next_token_probabilities(logits, temperature=temperature)
        if torch.allclose(seen, wanted, atol=0.05):
            yield None
            continue
        plausible = {
            "multiplied by the temperature: divide the logits by it": (logits * temperature).softmax(0),
            "ignored the temperature, or divided the probabilities by it, which draws the same: divide the logits, "
            "before the softmax": logits.softmax(0),
            "took the likeliest token: draw one, with `torch.multinomial`": F.one_hot(logits.argmax(), 4).float(),
            "seeded the generator anew at every call: draw with it as it comes": F.one_hot(seen.argmax(), 4).float(),
            "drew every token with the same chance": torch.full((4,), 0.25),
        }  # fmt: skip
        named = [name for name, chances in plausible.items() if torch.allclose(seen, chances, atol=0.05)]
        hint = f"it looks as if you {named[0]}" if named else (
            f"at temperature {temperature:g} the four tokens came with frequencies {_list(seen)}, "
            f"expected about {_list(wanted)}")  # fmt: skip
        yield hint


@exercise("bigram-level", "the bigram level")
def _(answer):
    """answer(counts (vocabulary, vocabulary)) -> mean loss in nats of predicting each token from the one before."""
    counts = torch.tensor([[0.0, 6.0, 2.0], [1.0, 0.0, 3.0], [4.0, 4.0, 0.0]])
    rows, total = counts.sum(1, keepdim=True), counts.sum()
    wanted = -torch.xlogy(counts, counts / rows).sum() / total
    mistakes = {
        "averaged over rows as if each came equally often: weigh each pair by its count":
            -torch.xlogy(counts / rows, counts / rows).sum() / 3,
        "normalized the whole table: divide each row by its own sum":
            -torch.xlogy(counts / total, counts / total).sum(),
        "normalized the columns: the row is the token before":
            -torch.xlogy(counts, counts / counts.sum(0)).sum() / total,
        "forgot the minus sign": -wanted,
        "took the logarithm to base 2: nats use the natural one": wanted / math.log(2),
        "computed the unigram level: use the token before, too":
            -torch.xlogy(counts.sum(0), counts.sum(0) / total).sum() / total,
        "divided column b by the sum of row b: a row's sum needs `keepdim=True` to divide its own row":
            -torch.xlogy(counts, counts / counts.sum(1)).sum() / total,
        "summed over the pairs: divide by their number": total * wanted,
        "divided by the number of cells of the table: divide by the number of pairs counted": total * wanted / 9,
        "added 1 to every count: what never came costs nothing":
            -torch.xlogy(counts, (counts + 1) / (rows + 3)).sum() / total,
        "averaged over kinds of pairs as if each came equally often: weigh each by its count":
            -(counts / rows)[counts > 0].log().mean(),
    }  # fmt: skip
    found = answer(counts)
    yield law(is_finite(found), "your result is nan or infinite: a pair that never occurs counts 0, and 0 · ln 0 is "
                                "0 here (`torch.xlogy`)")  # fmt: skip
    yield compare(found, wanted, mistakes=mistakes, what="the level")
    yield compare(answer(10 * counts), wanted, what="the level of ten times the same counts")
    yield compare(answer(torch.eye(3)), 0.0, what="the level where each token tells the next one")
    counts[1] = 0.0
    found = answer(counts)
    yield law(is_finite(found), "your result is nan where a row is empty: a token that only ends texts has no pairs, "
              "and 0 / 0 is nan; divide by at least 1, with `clamp(min=1)`")  # fmt: skip
    wanted = -torch.xlogy(counts, counts / rows).sum() / counts.sum()
    yield compare(found, wanted, what="the level where one token never comes first")


@exercise("cosine-warmup", "a cosine schedule with warmup")
def _(answer):
    """answer(step, steps, warmup) -> factor on the learning rate."""
    yield compare(answer(55, 100, 10), 0.5, atol=1e9, what="the factor at step 55 of 100")  # a number, whichever

    def curve(function):
        return [float(function(step, 100, 10)) for step in (0, 4, 9, 10, 55, 99)]

    right = cosine(100, warmup=10)
    wanted = curve(lambda step, *_: right(step))

    def warm(shape):
        return curve(lambda s, n, w: (s + 1) / w if s < w else shape(s, n, w))

    mistakes = {
        "began the warmup at 0: the first step then does nothing; step 0 gets 1 / warmup":
            curve(lambda s, n, w: s / w if s < w else right(s)),
        "used half a period too much: the cosine runs from 0 to π": warm(
            lambda s, n, w: 0.5 * (1 + math.cos(2 * math.pi * (s - w) / (n - w)))),
        "used a quarter of a period: half a cosine runs from 0 to π": warm(
            lambda s, n, w: math.cos(math.pi / 2 * (s - w) / (n - w))),
        "left out π: half a cosine runs from 0 to π": warm(lambda s, n, w: 0.5 * (1 + math.cos((s - w) / (n - w)))),
        "made it rise from 0 to 1 after the warmup: it falls from 1 to 0": warm(
            lambda s, n, w: 0.5 * (1 - math.cos(math.pi * (s - w) / (n - w)))),
        "started the cosine at step 0 and not where the warmup ends": warm(
            lambda s, n, w: 0.5 * (1 + math.cos(math.pi * s / n))),
        "divided by all steps: the cosine has only those after the warmup": warm(
            lambda s, n, w: 0.5 * (1 + math.cos(math.pi * (s - w) / n))),
        "began the cosine a step early: at step `warmup` it is still 1": warm(
            lambda s, n, w: 0.5 * (1 + math.cos(math.pi * (s + 1 - w) / (n - w)))),
        "let the warmup go on at step `warmup`: the cosine begins there, with 1": curve(
            lambda s, n, w: (s + 1) / w if s <= w else right(s)),
        "reached 0 at the last step: it comes there at step `steps`, one later": warm(
            lambda s, n, w: 0.5 * (1 + math.cos(math.pi * (s - w) / (n - 1 - w)))),
        "divided by warmup + 1: step warmup − 1 gets 1": curve(
            lambda s, n, w: (s + 1) / (w + 1) if s < w else right(s)),
        "forgot the warmup": curve(lambda s, n, w: 0.5 * (1 + math.cos(math.pi * s / n))),
        "fell along a straight line": warm(lambda s, n, w: 1 - (s - w) / (n - w)),
        "let the cosine run from 1 to -1: shift and halve it": warm(
            lambda s, n, w: math.cos(math.pi * (s - w) / (n - w))),
    }  # fmt: skip
    yield compare(curve(answer), wanted, mistakes=mistakes, what="your factors at steps 0, 4, 9, 10, 55 and 99 of 100")
    yield compare(float(answer(22, 40, 4)), 0.5, what="the factor halfway from step 4 to step 40")
    yield compare(float(answer(0, 50, 0)), 1.0, what="the factor at step 0 without a warmup")
    yield compare(float(answer(100, 100, 10)), 0.0, what="the factor at the end")


def _drawn(answer, logits, temperature: float, *, seed: int, draws: int) -> list[int]:
    rng = runtime.generator(seed)
    return [int(as_numbers(answer(logits, temperature, rng)).item()) for _ in range(draws)]


def _is_whole(value: object) -> bool:
    numbers = None if isinstance(value, list | tuple) else as_numbers(value)
    return numbers is not None and numbers.size == 1 and numbers.dtype.kind in "iu"


def _remedy(value: object) -> str:
    return ": use `.item()`" if isinstance(value, torch.Tensor) and value.numel() == 1 else ""


def _shown(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)


def _list(chances) -> str:
    return ", ".join(f"{chance:.2f}" for chance in chances.tolist())
