"""Where training starts: `initialize_` and the table of schemes behind it.

Every scheme is a distribution of unit variance times a standard deviation that depends on a layer's place in the
model. Biases start at zero, norms at weight 1 and bias 0, unless a scheme says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_utils.initialization.lsuv import unit_variance_
from course_utils.initialization.places import Place, places, reset_norms_and_biases_
from course_utils.models import GPT, MLP
from course_utils.values import number, whole, wide

EMBEDDING_STD = 0.1  # of the schemes "width", "zero_branches" and "mup"
GPT2_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `initialize_` may be told besides the scheme. gain: a factor on every weight."""

    std: float = GPT2_STD
    value: float = 0.1
    gain: float = 1.0
    bias_std: float = 0.0
    base_width: int = 64
    inputs: Tensor | None = None

    def __post_init__(self):
        for name in ("std", "gain", "bias_std"):
            number(name, getattr(self, name), "a finite number, 0 or more", lambda value: 0 <= value < math.inf)
        number("value", self.value, "a finite number", math.isfinite)
        whole("base_width", self.base_width)


def _nothing(module: nn.Module, options: Options) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """One way to start.

    draw: (shape, generator) -> weights with a mean square of 1.  std: (place, options) -> the factor on them.
    formula, paper, predicts: for a reader; predicts says what becomes of a signal's mean square in each layer.
    options: what it may be told.  random_bias: biases are drawn as the weights are.  check, finish: what happens
    before the first and after the last layer.
    """

    draw: Callable[[torch.Size, torch.Generator], Tensor]
    std: Callable[[Place, Options], float]
    formula: str
    paper: str
    predicts: str
    options: tuple[str, ...] = ("gain", "bias_std")
    random_bias: bool = False
    check: Callable[[nn.Module, Options], None] = _nothing
    finish: Callable[[nn.Module, Options], None] = _nothing

    @property
    def random(self) -> bool:
        return self.draw is not _ones


# --- distributions with a mean square of 1 --------------------------------------------------------------------
# Always float32 on the generator's device: a model then starts from the same numbers in every dtype, everywhere.


def _ones(shape: torch.Size, generator: torch.Generator | None) -> Tensor:
    return torch.ones(shape)


def _normal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def _uniform(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return math.sqrt(3) * (2 * torch.rand(shape, generator=generator, device=generator.device) - 1)


def _orthogonal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Rows or columns orthogonal, whichever are fewer, and uniform among all such matrices.

    A row is all that one output reads, so that a convolution's is a whole filter.
    """
    rows, columns = shape[0], shape[1:].numel()
    tall = _normal((max(rows, columns), min(rows, columns)), generator).double()
    basis, triangle = torch.linalg.qr(tall)
    basis = basis * triangle.diagonal().sign()  # without it the result depends on how QR chooses its signs
    return (basis if rows >= columns else basis.T).reshape(shape) * math.sqrt(max(rows, columns))


# --- the table -------------------------------------------------------------------------------------------------


def _glorot(place: Place, options: Options) -> float:
    return options.gain * math.sqrt(2 / (place.fan_in + place.fan_out))


def _he(place: Place, options: Options) -> float:
    return options.gain * math.sqrt(2 / place.fan_in)


def _one_over_fan_in(place: Place, options: Options) -> float:
    return options.gain / math.sqrt(place.fan_in)


def _isometric(place: Place, options: Options) -> float:
    return options.gain / math.sqrt(max(place.fan_in, place.fan_out // place.window))


def _width(place: Place, options: Options) -> float:
    return EMBEDDING_STD if place.kind == "embedding" else 1 / math.sqrt(place.fan_in)


def _gpt2(place: Place, options: Options) -> float:
    return GPT2_STD / math.sqrt(place.branches) if place.ends_branch else GPT2_STD


def _zero_branches(place: Place, options: Options) -> float:
    return 0.0 if place.ends_branch else _width(place, options)


def _mup(place: Place, options: Options) -> float:
    narrower = math.sqrt(options.base_width / place.fan_in) if place.kind == "output" else 1.0
    return narrower * _width(place, options)


def _shrink_tied_output_(module: nn.Module, options: Options) -> None:
    """A tied head cannot be smaller than the embedding that it is, so the norm in front of it makes up for it."""
    for part in module.modules():
        if isinstance(part, GPT) and part.config.tied:
            part.norm.weight.fill_(options.base_width / part.config.width)


def _check_branches(module: nn.Module, options: Options) -> None:
    for part in module.modules():
        if isinstance(part, MLP) and part.residual and part.activation in ("relu", "sigmoid"):
            raise ValueError(
                f"zero_branches on a residual MLP with {part.activation}: its branches end in the activation, which "
                "must be 0 at 0 and have a slope there (relu's gradient is 0); choose tanh, gelu or silu"
            )


def _check_inputs(module: nn.Module, options: Options) -> None:
    if options.inputs is None:
        raise ValueError("scheme 'lsuv' needs data: pass inputs=, a batch that the module can read")
    if any(parameter.is_meta for parameter in module.parameters()):
        raise ValueError("scheme 'lsuv' measures what layers give: a module on 'meta' has no numbers")


def _unit_variance_(module: nn.Module, options: Options) -> None:
    unit_variance_(module, options.inputs)


INIT_SCHEMES = {
    "zeros": Scheme(
        draw=_ones, std=lambda place, options: 0.0, options=(),
        formula="W = 0", paper="the start that does not work",
        predicts="nothing passes: x0",
    ),
    "constant": Scheme(
        draw=_ones, std=lambda place, options: options.value,
        options=("value",),
        formula="W = value (0.1)", paper="the other start that does not work",
        predicts="all units of a layer stay the same unit",
    ),
    "normal": Scheme(
        draw=_normal, std=lambda place, options: options.std, options=("std", "bias_std"),
        formula="N(0, std²), std = 0.02", paper="none: one number for every layer",
        predicts="linear and small tanh: x n std²; ReLU: half of it",
    ),
    "uniform": Scheme(
        draw=_uniform, std=lambda place, options: options.gain / math.sqrt(3 * place.fan_in),
        options=("gain",), random_bias=True,
        formula="U(±1/sqrt(n)), biases too", paper="the older rule in Glorot & Bengio 2010, and PyTorch's own",
        predicts="linear and small tanh: x1/3; ReLU: x1/6",
    ),
    "lecun": Scheme(
        draw=_normal, std=_one_over_fan_in,
        formula="N(0, 1/n)", paper="LeCun et al. 1998",
        predicts="linear and small tanh: x1; ReLU: x1/2",
    ),
    "xavier": Scheme(
        draw=_normal, std=_glorot,
        formula="N(0, 2/(n + m))", paper="Glorot & Bengio 2010",
        predicts="equal widths as lecun; a compromise between forward (n) and backward (m)",
    ),
    "xavier_uniform": Scheme(
        draw=_uniform, std=_glorot,
        formula="U(±sqrt(6/(n + m)))", paper="Glorot & Bengio 2010",
        predicts="as xavier",
    ),
    "he": Scheme(
        draw=_normal, std=_he,
        formula="N(0, 2/n)", paper="He et al. 2015",
        predicts="ReLU: x1; linear: x2",
    ),
    "he_uniform": Scheme(
        draw=_uniform, std=_he,
        formula="U(±sqrt(6/n))", paper="He et al. 2015",
        predicts="as he",
    ),
    "orthogonal": Scheme(
        draw=_orthogonal, std=_isometric,
        formula="orthonormal rows or columns, times gain", paper="Saxe et al. 2013",
        predicts="linear: x1 for every signal, not only on average; ReLU: x1/2",
    ),
    "lsuv": Scheme(
        draw=_orthogonal, std=_isometric, options=("inputs",),
        check=_check_inputs, finish=_unit_variance_,
        formula="orthonormal, then each layer divided by its outputs' std", paper="Mishkin & Matas 2016",
        predicts="each layer's output has variance 1 on the given inputs",
    ),
    "gpt2": Scheme(
        draw=_normal, std=_gpt2, options=(),
        formula="N(0, 0.02²), the last layer of each branch over sqrt(branches)", paper="Radford et al. 2019",
        predicts="the residual stream does not grow with depth; chosen for width 768",
    ),
    "width": Scheme(
        draw=_normal, std=_width, options=(),
        formula="N(0, 1/n), embeddings N(0, 0.1²)", paper="lecun, with embeddings of their own",
        predicts="as lecun, at every width",
    ),
    "zero_branches": Scheme(
        draw=_normal, std=_zero_branches, options=(), check=_check_branches,
        formula="as width, the last layer of each residual branch 0", paper="Zhang et al. 2019 (Fixup)",
        predicts="each block passes its input on unchanged: x1 at every depth",
    ),
    "mup": Scheme(
        draw=_normal, std=_mup, options=("base_width",), finish=_shrink_tied_output_,
        formula="as width, output layer times sqrt(base_width / n)", paper="Yang & Hu 2021; Yang et al. 2022",
        predicts="as width for hidden layers; logits vanish as 1/sqrt(n), for their updates to stay of one size",
    ),
}  # fmt: skip


def _scheme(name: str) -> Scheme:
    if name not in INIT_SCHEMES:
        raise ValueError(f"no scheme {name!r}: choose one of {', '.join(INIT_SCHEMES)}")
    return INIT_SCHEMES[name]


def _options(scheme: str, **given) -> Options:
    given = {name: option for name, option in given.items() if option is not None}
    takes = INIT_SCHEMES[scheme].options
    for name in given:
        if name not in takes:
            raise ValueError(f"scheme {scheme!r} takes no {name}; it takes {', '.join(takes) or 'no option'}")
    return Options(**given)


@torch.no_grad()
def initialize_(
    module: nn.Module,
    scheme: str,
    *,
    generator: torch.Generator | None = None,
    std: float | None = None,
    value: float | None = None,
    gain: float | None = None,
    bias_std: float | None = None,
    base_width: int | None = None,
    inputs: Tensor | None = None,
) -> nn.Module:
    """Give every parameter of a module its start, in place; returns the module.

    module: an MLP, a GPT, or anything built of linear, convolution, embedding and norm layers; only in an MLP and a
    GPT is it known which layer is the output or ends a residual branch.  scheme: a name in `INIT_SCHEMES`.  An
    embedding counts as the tied head that it may also be: its fan_in is its width.

    std: for "normal" (0.02).  value: for "constant" (0.1).  gain, bias_std: for the schemes that name them, a factor
    on the weights (1) and the standard deviation of the biases (0); `mean_field` describes a network that starts
    with ``"lecun", gain=sigma_w, bias_std=sigma_b``.  base_width: for "mup" (64).  inputs: a batch, for "lsuv".

    Only the generator decides: not what was there before, nor torch's global generator, nor dtype and device. On
    "meta" nothing is drawn. ValueError for an unknown scheme, an option that it does not take, or one that it
    lacks; TypeError for a layer of another kind, or one whose weight is computed, as by weight norm or pruning. The
    row of an embedding that stands for padding is 0.
    """
    chosen, found = _scheme(scheme), places(module)
    options = _options(
        scheme, std=std, value=value, gain=gain, bias_std=bias_std, base_width=base_width, inputs=inputs
    )
    if chosen.random and not isinstance(generator, torch.Generator):
        raise ValueError(f"scheme {scheme!r} is random: pass generator=runtime.generator(seed)")
    chosen.check(module, options)
    reset_norms_and_biases_(module)
    for place in found:
        if not place.layer.weight.is_meta:
            _start_(place, chosen, options, generator)
    chosen.finish(module, options)
    return module


def _start_(place: Place, scheme: Scheme, options: Options, generator: torch.Generator | None) -> None:
    weight, bias = place.layer.weight, getattr(place.layer, "bias", None)
    std = scheme.std(place, options)
    weight.copy_(std * _drawn(scheme, weight, generator))
    if getattr(place.layer, "padding_idx", None) is not None:
        weight[place.layer.padding_idx] = 0
    if bias is None:
        return
    if scheme.random_bias:
        bias.copy_(std * _drawn(scheme, bias, generator))
    elif options.bias_std:
        bias.copy_(options.bias_std * _drawn(scheme, bias, generator, _normal))


def _drawn(scheme: Scheme, like: Tensor, generator: torch.Generator | None, draw: Callable | None = None) -> Tensor:
    """Numbers with a mean square of 1, wide enough for a product with any std that the parameter can hold."""
    return wide((draw or scheme.draw)(like.shape, generator), like.dtype)
