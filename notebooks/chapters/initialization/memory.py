"""What training holds in memory, counted from a model's shape: no model has to be built to know that it will not fit.

Activations are the tensors that the backward pass needs again. They are counted as this course's models keep them:
norms and attention as one operation each (no attention matrix is kept), no dropout. For MLP and GPT the tests
compare the count with what PyTorch really holds; for Llama it is a count of the same kind, not a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from course_utils.models import GPT, MLP, GPTConfig, count_parameters
from course_utils.values import whole

INDEX_BYTES = 8  # of a token or a label
STATISTIC_BYTES = 4  # attention keeps one float32 for each head and token


@dataclass(frozen=True, kw_only=True)
class Llama:
    """The shape of a Llama 2 (Touvron et al. 2023): rotary positions, RMSNorm, a gated MLP, no biases.

    kv_heads: heads of keys and values, which groups of query heads share; hidden: the width within the MLP.
    """

    vocab_size: int = 32_000
    context: int = 4096
    width: int
    heads: int
    kv_heads: int
    layers: int
    hidden: int
    tied: bool = False


NAMED_MODELS = {
    "gpt2": GPTConfig(vocab_size=50_257, context=1024, width=768, heads=12, layers=12),
    "gpt2-medium": GPTConfig(vocab_size=50_257, context=1024, width=1024, heads=16, layers=24),
    "gpt2-large": GPTConfig(vocab_size=50_257, context=1024, width=1280, heads=20, layers=36),
    "gpt2-xl": GPTConfig(vocab_size=50_257, context=1024, width=1600, heads=25, layers=48),
    "smollm2-135m": Llama(
        vocab_size=49_152, context=8192, width=576, heads=9, kv_heads=3, layers=30, hidden=1536, tied=True
    ),
    "llama-2-7b": Llama(width=4096, heads=32, kv_heads=32, layers=32, hidden=11_008),
    "llama-2-13b": Llama(width=5120, heads=40, kv_heads=40, layers=40, hidden=13_824),
    "llama-2-70b": Llama(width=8192, heads=64, kv_heads=8, layers=80, hidden=28_672),
}


@dataclass(frozen=True)
class Precision:
    """Bytes that each number takes in training. master: a second, exact copy of each weight for the optimizer."""

    weight: int
    gradient: int
    moment: int
    master: int
    activation: int


PRECISIONS = {
    "float32": Precision(weight=4, gradient=4, moment=4, master=0, activation=4),
    # mixed precision as in Rajbhandari et al. (2020): 16 bytes a parameter with Adam, as float32 has
    "bfloat16": Precision(weight=2, gradient=2, moment=4, master=4, activation=2),
}
MOMENTS = {"sgd": 0, "adamw": 2}  # numbers that an optimizer remembers for each parameter
SAVES_INPUT = ("gelu", "silu")  # activations whose backward pass needs what went in
SAVES_OUTPUT = ("relu", "tanh", "sigmoid")  # and those that need what came out


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes held at the fullest moment of a training step, by use. working: for the operation at hand."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    working: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.working


@dataclass(frozen=True)
class _Kept:
    """Numbers kept for the backward pass: what layers or blocks read, what else they keep, and after the last one.

    widest: the largest tensor of a step; forward, backward: how many more of it there are for a moment, at the end
    of the way forward and at the start of the way back.  statistics: what they keep in float32 whatever the
    precision.  blocks: how many alike there are.
    """

    reads: int
    inner: int
    end: int
    widest: int
    forward: int = 1
    backward: int = 2
    statistics: int = 0
    blocks: int = 1


def training_memory(
    model: MLP | GPT | GPTConfig | Llama | str,
    *,
    batch: int = 1,
    tokens: int | None = None,
    precision: str = "float32",
    optimizer: str = "adamw",
    checkpointing: bool = False,
) -> TrainingMemory:
    """What training a model holds, in bytes.

    model: an MLP or a GPT (on "meta" will do), a `GPTConfig`, a `Llama`, or a name in `NAMED_MODELS`.
    batch: rows in a step; tokens: in each row, the model's context by default.  precision: "float32" or "bfloat16"
    (mixed: a float32 copy of the weights stays with the optimizer).  optimizer: "adamw" or "sgd".
    checkpointing: keep only what each block reads, and compute the rest again when it is its turn (Chen et al.
    2016).  ValueError for an unknown name, more tokens than the context, or checkpointing of an MLP; TypeError for
    another kind of model.
    """
    shape = _shape(model)
    size = _choose(PRECISIONS, precision, "precision")
    moments = _choose(MOMENTS, optimizer, "optimizer")
    batch = whole("batch", batch)
    if isinstance(shape, MLP):
        if tokens is not None:
            raise ValueError("tokens: an MLP reads none; its rows are given by batch")
        if checkpointing:
            raise ValueError("checkpointing: counted block by block, and an MLP has no blocks; leave it out")
        kept, indices = _kept_by_mlp(shape, batch), batch
    else:
        rows = batch * _tokens(shape, tokens)
        kept, indices = (_kept_by_gpt if isinstance(shape, GPTConfig) else _kept_by_llama)(shape, rows), 2 * rows
    parameters, passing = parameter_count(shape), kept.widest * size.activation
    gradients = parameters * size.gradient
    return TrainingMemory(
        weights=parameters * size.weight,
        gradients=gradients,
        optimizer=parameters * (moments * size.moment + size.master),
        activations=_fullest(kept, size.activation, checkpointing) + indices * INDEX_BYTES,
        # the way back starts without the gradients that it makes
        working=max(kept.forward * passing, kept.backward * passing - gradients),
    )


def parameter_count(model: MLP | GPT | GPTConfig | Llama | str) -> int:
    """Number of weights, from the shape alone."""
    shape = _shape(model)
    if isinstance(shape, MLP):
        return count_parameters(shape)
    width, ends = shape.width, shape.vocab_size * shape.width * (1 if shape.tied else 2)
    if isinstance(shape, GPTConfig):
        return ends + shape.context * width + shape.layers * (12 * width**2 + 13 * width) + 2 * width
    attention = 2 * width**2 + 2 * width**2 * shape.kv_heads // shape.heads
    return ends + shape.layers * (attention + 3 * width * shape.hidden + 2 * width) + width


def _shape(model: MLP | GPT | GPTConfig | Llama | str) -> MLP | GPTConfig | Llama:
    shape = _choose(NAMED_MODELS, model, "model") if isinstance(model, str) else getattr(model, "config", model)
    if not isinstance(shape, MLP | GPTConfig | Llama):
        raise TypeError(f"cannot count a {type(model).__name__}: expected an MLP, a GPT, a shape, or a model's name")
    return shape


def _choose(table: dict, name: str, what: str):
    if name not in table:
        raise ValueError(f"{what} {name!r}: choose one of {', '.join(table)}")
    return table[name]


def _tokens(shape: GPTConfig | Llama, tokens: int | None) -> int:
    tokens = shape.context if tokens is None else tokens
    if not 1 <= whole("tokens", tokens, 0) <= shape.context:
        raise ValueError(f"tokens {tokens}: expected 1 to {shape.context}, the model's context")
    return tokens


def _fullest(kept: _Kept, size: int, checkpointing: bool) -> int:
    """Bytes at the fullest moment: the end of the forward pass or, recomputing, the last block's turn."""
    inner = size * kept.inner + STATISTIC_BYTES * kept.statistics
    if not checkpointing:
        return size * (kept.reads + kept.end) + inner
    return size * kept.reads + max(size * kept.end, inner // kept.blocks)


def _kept_by_mlp(model: MLP, rows: int) -> _Kept:
    norm = any(isinstance(part, nn.LayerNorm) for part in model.norms)
    from_output = model.activation in SAVES_OUTPUT or len(model.sizes) == 2  # logits become log-probabilities
    inner, added = 0, False
    for before, width in pairwise(model.sizes[:-1]):
        added = model.residual and before == width
        # what an activation gives is mostly what the next layer reads, and then it is kept once
        copies = norm + (model.activation in SAVES_INPUT) + (from_output and added)
        inner += copies * width + 2 * norm
    reads, end = rows * sum(model.sizes[:-1]), rows * model.sizes[-1]
    # an activation that needs its output keeps it while a gradient of that size comes in and another goes out
    return _Kept(
        reads=reads, inner=rows * inner, end=end, widest=rows * max(model.sizes[1:]),
        forward=int(from_output != added), backward=2 if from_output and not added else 1,
    )  # fmt: skip


def _kept_by_gpt(config: GPTConfig, rows: int) -> _Kept:
    width = config.width
    # norm, q, k, v, mixed values, stream, norm; the MLP before and after its activation; two norms' statistics
    block = 7 * width + 2 * 4 * width + 4
    return _kept_by_blocks(config, rows, block, end=2 * width + 2 + config.vocab_size)


def _kept_by_llama(shape: Llama, rows: int) -> _Kept:
    width, keys = shape.width, 2 * shape.width * shape.kv_heads // shape.heads
    # as a GPT's block, with fewer keys and values; of the MLP two inner tensors, the activated one, and a product
    block = 5 * width + keys + 4 * shape.hidden + 2
    return _kept_by_blocks(shape, rows, block, end=2 * width + 1 + shape.vocab_size)


def _kept_by_blocks(shape: GPTConfig | Llama, rows: int, block: int, end: int) -> _Kept:
    """From what one block keeps of one token besides the stream that it reads, and what is kept after the last."""
    return _Kept(
        reads=rows * shape.layers * shape.width,
        inner=rows * shape.layers * block,
        end=rows * end,
        widest=rows * max(shape.vocab_size, shape.width),
        statistics=rows * shape.layers * shape.heads,
        blocks=max(1, shape.layers),
    )
