"""Small networks of one shape side by side, each of whose operations is one for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F

from course_utils.models import ACTIVATIONS, IGNORE, MLP
from course_utils.training import default_loss
from course_utils.training.loop import kind_of

Batch = tuple[Tensor, ...]
Loss = Callable[[nn.Module, Batch], Tensor]
NARROW = 12  # units; products with fewer outputs have kernels of their own
PARTS = {MLP, nn.ModuleList, nn.Linear, nn.LayerNorm, nn.Identity, *ACTIVATIONS.values()}


class _Narrow(torch.autograd.Function):
    """x @ W.mT + bias by the products that `nn.Linear` makes: with few outputs, others add up in another order."""

    @staticmethod
    def forward(ctx, x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, matrix)
        return torch.bmm(x, matrix.mT) if bias is None else torch.baddbmm(bias, x, matrix.mT)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, matrix), (needs_x, _, needs_bias) = ctx.saved_tensors, ctx.needs_input_grad
        gradient = gradient.contiguous()
        return (torch.bmm(gradient, matrix) if needs_x else None, torch.bmm(gradient.mT, x),
                gradient.sum(1, keepdim=True) if needs_bias else None)  # fmt: skip


class Stack(nn.Module):
    """K `MLP`s of one shape side by side: input (batch, in) for all, or (K, batch, in) -> output (K, batch, classes).

    Its parameters are theirs in order: a matrix as (K, in, out), as the product takes it (a narrow one as it is in a
    network, (K, out, in)), a vector as (K, 1, values).
    """

    def __init__(self, networks: Sequence[MLP]):
        super().__init__()
        self.count, self.like = len(networks), (networks[0],)  # in a tuple: its weights are not this module's
        self.act = nn.ReLU(inplace=True) if isinstance(networks[0].act, nn.ReLU) else networks[0].act
        named = [dict(network.named_parameters()) for network in networks]
        for name in named[0]:
            weights = torch.stack([torch.atleast_2d(own[name].detach()) for own in named])
            if weights.shape[1] >= NARROW:  # the fused optimizer copies what does not lie in memory as it is read
                weights = weights.mT.contiguous()
            self.register_parameter(name.replace(".", " "), nn.Parameter(weights))

    def forward(self, x: Tensor) -> Tensor:
        (like,), weights = self.like, self._parameters
        x = x.expand(self.count, *x.shape[-2:])
        for number, norm in enumerate([*like.norms, None]):
            matrix, bias = weights[f"layers {number} weight"], weights.get(f"layers {number} bias")
            if like.layers[number].out_features < NARROW:
                out = _Narrow.apply(x, matrix, bias)  # (K, batch, out)
            else:
                out = torch.bmm(x, matrix) if bias is None else torch.baddbmm(bias, x, matrix)
            if norm is None:
                return out
            if isinstance(norm, nn.LayerNorm):
                out = F.layer_norm(out, norm.normalized_shape, eps=norm.eps)
                out = torch.addcmul(weights[f"norms {number} bias"], out, weights[f"norms {number} weight"])
            out = self.act(out)
            x = x + out if like.residual and out.shape == x.shape else out

    def losses(self, loss: Loss, batches: Sequence[Batch]) -> Tensor:
        """Every network's loss on its own batch, (K,)."""
        shared = all(batch is batches[0] for batch in batches)
        batch = batches[0] if shared else tuple(torch.stack(parts) for parts in zip(*batches, strict=True))
        if not isinstance(batch, list | tuple) or batch[0].ndim != (2 if shared else 3):
            what = batches[0] if isinstance(batches[0], Tensor) else batches[0][0]
            raise ValueError(f"a batch with {kind_of(what)}: expected ((batch, inputs), targets)")
        answers = self(batch[0])  # (K, batch, classes)
        if loss is default_loss and len(batch) == 2 and batch[1].ndim < batch[0].ndim:  # vmap takes its time
            each = F.cross_entropy(answers.mT, batch[1].expand(answers.shape[:2]), reduction="none")  # (K, batch)
            return each.sum(1) / (batch[1] != IGNORE).sum(-1)

        def one(answer: Tensor, batch: Batch) -> Tensor:
            def network(inputs: Tensor) -> Tensor:
                if inputs is not batch[0]:
                    raise ValueError("a sweep's loss may ask for model(batch[0]) only: train with `training.fit`")
                return answer

            return loss(network, batch)

        return vmap(one, in_dims=(0, None if shared else 0))(answers, batch)

    def named(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """The trained weights: their name in a network, the parameter, and by network: (K, ...)."""
        for (name, own), weights in zip(self.like[0].named_parameters(), self.parameters(), strict=True):
            turned = own.ndim > 1 and len(own) >= NARROW
            yield name, weights, (weights.detach().mT if turned else weights.detach().view(self.count, *own.shape))


class Alone(nn.Module):
    """Any other network, in the place of a `Stack` of one."""

    count = 1

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        (self.network,) = networks

    def forward(self, x: Tensor) -> Tensor:
        out = self.network(x)
        return (out[0] if isinstance(out, tuple) else out)[None]

    def losses(self, loss: Loss, batches: Sequence[Batch]) -> Tensor:
        return loss(self.network, batches[0])[None]

    def named(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        named = self.network.named_parameters()
        return ((name, weight, weight.detach()[None]) for name, weight in named if weight.requires_grad)


def shape_of(network: nn.Module) -> tuple:
    """What must agree for two networks to compute the same function of their weights."""
    parts = [(type(part), {key: vars(part)[key] for key in vars(part) if key[0] != "_"}) for part in network.modules()]
    return parts, [(name, weight.shape, weight.dtype) for name, weight in network.named_parameters()]


def is_plain(network: nn.Module) -> bool:
    """Whether it is an `MLP` as it was made: all of it trains, and no part was exchanged or hooked."""
    return type(network) is MLP and all(weight.requires_grad for weight in network.parameters()) and all(
        type(part) in PARTS and not part._forward_hooks and not part._forward_pre_hooks for part in network.modules()
    )
