"""The course's two models. Each forward pass fits on one screen.

`MLP` is a plain multilayer perceptron. `GPT` is GPT-2's architecture (Radford et al. 2019): given the weights of
`transformers`' GPT-2 it returns the same logits. Both start with PyTorch's default weights; how they should
start is the subject of `course_utils.initialization`. A GPT's embeddings alone are smaller, as GPT-2's are: with
PyTorch's own N(0, 1) its first loss would be 32 to 45 nats, and so it is near ln V.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from course_utils.values import IGNORE, one_of, whole

ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "linear": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
}
EMBEDDING_STD = 0.02  # of a new GPT
UNDO = {  # what the functions of torch.nn.utils add to a layer's names, and how they are taken back
    "_g": "torch.nn.utils.remove_weight_norm(layer)",
    "_u": "torch.nn.utils.remove_spectral_norm(layer)",
    "_mask": "torch.nn.utils.prune.remove(layer, {name!r})",
}
PARAMETRIZED = "torch.nn.utils.parametrize.remove_parametrizations(layer, {name!r})"


class MLP(nn.Module):
    """A multilayer perceptron.

    sizes: width of the input, of each hidden layer, and of the output, e.g. ``[64, 128, 10]``.
    activation: a name in `ACTIVATIONS`.
    residual: add a layer's input to its output wherever both have the same width.
    norm: LayerNorm before each hidden layer's activation.

    Input (batch, sizes[0]) -> output (batch, sizes[-1]).
    """

    def __init__(self, sizes, *, activation="relu", residual=False, norm=False, bias=True):
        super().__init__()
        try:
            sizes = [whole("size", size, -math.inf) for size in sizes]
        except (TypeError, ValueError):
            raise ValueError(f"sizes {sizes}: expected whole numbers, e.g. [64, 128, 10]") from None
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes {sizes}: expected at least an input and an output width, each 1 or more")
        one_of("activation", activation, ACTIVATIONS)
        self.sizes, self.activation, self.residual = sizes, activation, residual
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in pairs)
        self.norms = nn.ModuleList(nn.LayerNorm(b) if norm else nn.Identity() for _, b in pairs[:-1])
        self.act = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        *hidden, head = self.layers
        for layer, norm in zip(hidden, self.norms, strict=True):
            out = self.act(norm(layer(x)))  # (batch, width)
            x = x + out if self.residual and out.shape == x.shape else out
        return head(x)  # (batch, classes)


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """The shape of a `GPT`. context: the most tokens it reads at once; tied: one matrix for input and output."""

    vocab_size: int
    context: int = 64
    width: int = 64
    heads: int = 4
    layers: int = 2
    tied: bool = True

    def __post_init__(self):
        for name, least in {"vocab_size": 1, "context": 1, "width": 1, "heads": 1, "layers": 0}.items():
            # NumPy's integers cannot be written to a file
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        if self.width % self.heads:
            low = self.width // self.heads * self.heads
            nearby = f"{low} or {low + self.heads}" if low else f"{self.heads}"
            raise ValueError(f"width {self.width} is not divisible by heads {self.heads}: choose {nearby}")


class Attention(nn.Module):
    """Causal self-attention with several heads (Vaswani et al. 2017)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (batch, heads, tokens, width / heads)."""
        batch, tokens, width = x.shape
        return self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        mixed = self.mix(q, k, v)  # (batch, heads, tokens, width / heads)
        return self.out(mixed.transpose(1, 2).reshape(x.shape))  # (batch, tokens, width)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What each token takes from itself and the earlier ones; another function may take this one's place."""
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def weights(self, x: Tensor) -> Tensor:
        """How much each token looks at each earlier one: (batch, heads, tokens, tokens), rows sum to 1."""
        q, k, _ = self.split(x)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        return scores.masked_fill(ahead, float("-inf")).softmax(-1)


class Block(nn.Module):
    """One transformer block: attention and a two-layer MLP, each added to the residual stream."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.norm2 = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, 4 * config.width)
        self.act = nn.GELU(approximate="tanh")  # as GPT-2
        self.down = nn.Linear(4 * config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(self.act(self.up(self.norm2(x))))  # (batch, tokens, width)


class GPT(nn.Module):
    """A small GPT-2: token and position embeddings, blocks, a final norm, and a head that gives logits."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        if not isinstance(config, GPTConfig):
            raise TypeError(f"config is a {type(config).__name__}: expected GPTConfig(vocab_size=..., width=...)")
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.position = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        with torch.no_grad():  # scaled, not drawn again: the global generator moves as for PyTorch's own start
            for layer in (self.embed, self.position):
                layer.weight.mul_(EMBEDDING_STD)
        if config.tied:
            self.head.weight = self.embed.weight

    def start(self, tokens: Tensor) -> Tensor:
        """The residual stream before the first block: (batch, tokens, width)."""
        if tokens.ndim != 2:
            raise ValueError(f"tokens of shape {tuple(tokens.shape)}: expected (batch, tokens)")
        length = tokens.shape[1]
        if length > self.config.context:
            raise ValueError(f"{length} tokens do not fit into a context of {self.config.context}")
        try:
            embedded = self.embed(tokens)
        except IndexError:
            found, last = f"tokens from {tokens.min()} to {tokens.max()}", self.config.vocab_size - 1
            raise IndexError(f"{found}: this GPT knows 0 to {last}") from None
        return embedded + self.position(torch.arange(length, device=tokens.device))

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits (batch, tokens, vocabulary) and, with targets, the mean cross-entropy in nats per token.

        tokens, targets: (batch, tokens) whole numbers; a target of -100 does not count, and where none does the loss
        is 0. ValueError where tokens and targets differ in shape.
        """
        if targets is not None and targets.shape != tokens.shape:
            shapes = f"targets of shape {tuple(targets.shape)}, tokens {tuple(tokens.shape)}"
            raise ValueError(f"{shapes}: expected the same, one target for each token")
        x = self.start(tokens)  # (batch, tokens, width)
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))  # (batch, tokens, vocabulary)
        if targets is None:
            return logits, None
        return logits, mean_cross_entropy(logits, targets)

    @torch.no_grad()
    def attention_maps(self, tokens: Tensor) -> Tensor:
        """Every head's attention: (layers, batch, heads, tokens, tokens)."""
        x, maps = self.start(tokens), []
        for block in self.blocks:
            maps.append(block.attention.weights(block.norm1(x)))
            x = block(x)
        batch, length = tokens.shape
        return torch.stack(maps) if maps else x.new_zeros(0, batch, self.config.heads, length, length)


def mean_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats over the targets that are not -100; 0 where there are none.

    Logits (..., classes), targets (...) whole numbers.
    """
    flat = targets.flatten() if targets.is_floating_point() else targets.flatten().long()
    rows = logits.flatten(0, -2)  # (places, classes)
    rows = rows.float() if rows.dtype == torch.float16 else rows  # whose sum over a large batch is infinite
    loss = F.cross_entropy(rows, flat, ignore_index=IGNORE).to(logits.dtype)
    return torch.where((flat != IGNORE).any(), loss, 0.0)


@contextmanager
def same_modes(model: nn.Module) -> Iterator[nn.Module]:
    """Afterwards each part of the model is in the mode, training or evaluation, that it had."""
    modes = {part: part.training for part in model.modules()}
    try:
        yield model
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode, and afterwards each part in the mode that it had."""
    with same_modes(model):
        yield model.eval()


def settings(model: nn.Module) -> dict[str, object]:
    """What beside its weights decides what a GPT or an MLP answers; of another module, nothing is known."""
    match model:
        case GPT():
            return {"heads": model.config.heads, "tied": model.config.tied}
        case MLP():
            has = {"norm": any(isinstance(one, nn.LayerNorm) for one in model.norms)}
            has["bias"] = model.layers[0].bias is not None
            return {"activation": model.activation, "residual": model.residual, **has}
    return {}


def check_module(model: object) -> None:
    """TypeError for what is no module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"a {type(model).__name__} is no model: expected a module, such as MLP([64, 128, 10])")


def check_plain(module: nn.Module, name: str = "") -> None:
    """TypeError for a layer whose weight is computed anew in each pass, and for what is no module.

    Weight norm, spectral norm, pruning and parametrizations do so: what is written into such a weight is lost.
    """
    check_module(module)
    for place, layer in module.named_modules(prefix=name):
        kept = layer._parameters.keys() | layer._buffers.keys()
        undo = {weight: how for weight in vars(layer) for end, how in UNDO.items() if weight + end in kept}
        if parametrize.is_parametrized(layer):
            undo |= dict.fromkeys(layer.parametrizations, PARAMETRIZED)
        for weight, how in undo.items():
            raise TypeError(
                f"the {weight} of layer {place or type(layer).__name__!r} is computed anew in each pass, so a change "
                f"of it would be lost: call {how.format(name=weight)} first"
            )


def has_run_away(model: nn.Module) -> bool:
    """Whether a weight is over a million, or no number: products of such weights leave float32, and answers are nan."""
    return not all(weight.abs().max() <= 1e6 for weight in model.parameters() if weight.numel())


def count_parameters(model: nn.Module, *, trainable_only: bool = False) -> int:
    """Number of weights, shared ones counted once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)
