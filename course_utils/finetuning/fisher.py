"""Fisher information: how much a model's answers hang on each weight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from course_utils import models, runtime
from course_utils.values import narrow, one_of, wide


def _draw(log_p: Tensor, generator: torch.Generator) -> Tensor:
    p = log_p.detach().exp().float().to(generator.device)
    return torch.multinomial(p, 1, generator=generator).to(log_p.device)  # (tokens, 1)


# log p (tokens, classes), targets (tokens,), generator -> pairs: a share, and the log p to differentiate
FISHER_LABELS = {
    "exact": lambda log_p, targets, g: zip(log_p.detach().exp().flatten(), log_p.flatten(), strict=True),
    "sampled": lambda log_p, targets, g: [(1, log_p.gather(-1, _draw(log_p, g)).sum())],
    "empirical": lambda log_p, targets, g: [(1, log_p.gather(-1, targets[:, None]).sum())],
}


@torch.enable_grad()
def fisher_diagonal(
    model: nn.Module, batches: Iterable, *, labels: str = "exact", generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """How much the model's answers hang on each trained weight: the mean squared gradient of log p(labels).

    batches: pairs (inputs, targets), read once; targets (rows,) or (rows, tokens), -100 does not count. A row's
    log p is summed over its tokens; the mean is over rows. ``labels`` says whose labels the gradient is for:
    "exact", the expectation under the model's own p, at one backward pass per class and token (too many for a GPT);
    "sampled", one draw from p by ``generator`` (seed 0 by default), right on average; "empirical", the targets, which
    is another quantity. Returns a tensor of each trained weight's shape, by name: zeros for one that the answers do
    not hang on. The model answers in evaluation mode, so without dropout, and is left in the mode that it had.
    """
    one_of("labels", labels, FISHER_LABELS)
    models.check_module(model)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError("this model has no trainable weight: thaw it with freeze_(model, train='*')")
    generator = runtime.generator(0) if generator is None else generator
    total, rows = {name: torch.zeros_like(wide(p)) for name, p in trained.items()}, 0
    with models.evaluating(model):
        for row, target in _rows(batches):
            for share, log_likelihood in FISHER_LABELS[labels](*_answers(model, row, target), generator):
                if not log_likelihood.requires_grad:  # no trained weight is used
                    continue
                scores = torch.autograd.grad(
                    log_likelihood, list(trained.values()), retain_graph=True, materialize_grads=True
                )
                for name, score in zip(trained, scores, strict=True):
                    total[name] += share * wide(score).square()
            rows += 1
    if not rows:
        raise ValueError("batches gave no rows: give a list of (inputs, targets)")
    return {name: narrow(summed / rows, wide(trained[name], torch.float32)) for name, summed in total.items()}


def _rows(batches: Iterable) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in batches:
        if not isinstance(batch, list | tuple) or len(batch) != 2:
            raise ValueError(f"batches gave a {type(batch).__name__}: expected a list of pairs [(inputs, targets)]")
        inputs, targets = batch
        if len(targets) != len(inputs):
            raise ValueError(f"{len(targets)} targets for {len(inputs)} rows: give each row its own")
        yield from zip(inputs, targets, strict=True)


def _answers(model: nn.Module, row: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """What a model answers to one row where targets count: log p (tokens, classes), and these targets (tokens,)."""
    output = model(row[None])
    logits = wide(output[0] if isinstance(output, tuple) else output).flatten(0, -2)  # a GPT gives (logits, loss)
    target = target.reshape(-1)
    if len(logits) != len(target) or target.is_floating_point():
        have = f"{len(target)} targets, {target.dtype}, for a row with {len(logits)} answers"
        raise ValueError(f"{have}: expected one whole number for each")
    target = target.long()
    counted = target != models.IGNORE
    return logits.log_softmax(-1)[counted], target[counted]
