"""Kind 8: calls that were silently wrong, or whose error said nothing."""

import math

import pytest
import torch
from scipy.integrate import quad
from torch import nn

from chapters.finetuning import ranks
from chapters.initialization.memory import training_memory
from chapters.initialization.theory import correlation_map, edge_of_chaos, initial_loss
from course_utils import data, finetuning, runtime
from course_utils import distillation as d
from course_utils.initialization import initialize_, mean_field
from course_utils.initialization.theory import KERNELS
from course_utils.models import GPT, MLP, GPTConfig
from course_utils.pretraining.sampling import next_token_probabilities

# --- mean field at any scale ----------------------------------------------------------------------------------------

KNOWN = {20: (10.857166, 2.4261034), 50: (26.810909, 2.2951504), 100: (53.405778, 2.2541679)}  # sigma_w: chi_1, xi_c
SCALES = (1.5, 20, 50, 100, 1e3, 1e5)
SIGN = 0.789832628  # where c = (2/pi asin c + 1) / 2: tanh of very wide layers is a sign


def normal_mean(g, q):
    """E g(u), u from N(0, q), for an even g: by scipy, piece by piece."""
    std, edges = math.sqrt(q), (0, 1, 3, 10, 30)
    edges = [edge for edge in edges if edge < 9 * std] + [10.0**k for k in range(2, 9) if 30 < 10.0**k < 9 * std]
    density = 1 / math.sqrt(2 * math.pi * q)
    pieces = zip(edges, [*edges[1:], 12 * std], strict=True)
    return 2 * density * math.fsum(
        quad(lambda u: g(u) * math.exp(-u * u / (2 * q)), *ends, epsabs=0, epsrel=1e-12)[0] for ends in pieces)


def squared_slope(u):
    return math.cosh(min(u, 300)) ** -4


@pytest.mark.parametrize("sigma_w", KNOWN)
def test_mean_field_knows_what_is_known(sigma_w):
    found = mean_field(sigma_w, 0.0)
    assert (found.chi_1, found.xi_c) == pytest.approx(KNOWN[sigma_w], rel=1e-7)
    assert found.c_star == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("sigma_b", [0.0, 0.5, 40.0])
@pytest.mark.parametrize("sigma_w", SCALES)
def test_mean_field_is_its_integrals_at_any_scale(sigma_w, sigma_b):
    found = mean_field(sigma_w, sigma_b)
    q = found.q_star
    assert q == pytest.approx(sigma_w**2 * normal_mean(lambda u: math.tanh(u) ** 2, q) + sigma_b**2, rel=1e-9)
    if sigma_w**2 * normal_mean(squared_slope, q) > 1:
        assert found.chi_1 == pytest.approx(sigma_w**2 * normal_mean(squared_slope, q), rel=1e-8)
    here = correlation_map(found.c_star, sigma_w, sigma_b, "tanh", variance=q)
    assert here == pytest.approx(found.c_star, abs=1e-8)
    step = 1e-6  # the slope of the map there is what xi_c says
    ahead, behind = (correlation_map(found.c_star + side * step, sigma_w, sigma_b, "tanh", variance=q)
                     for side in (0 if found.c_star == 1 else 1, -1))  # fmt: skip
    slope = (ahead - behind) / (step if found.c_star == 1 else 2 * step)
    assert found.xi_c == pytest.approx(-1 / math.log(slope), rel=1e-3)


@pytest.mark.parametrize("correlation", [-1.0, -0.999, -0.4, 0.0, 1e-9, 0.3, 0.99, 1.0])
def test_a_wide_tanh_is_a_sign(correlation):
    """E sign(u) sign(v) = 2/pi asin c, from which tanh of a variance of 1e12 differs by about 1e-6."""
    found = correlation_map(correlation, 1.0, 0.0, "tanh", variance=1e12)
    assert found == pytest.approx(2 / math.pi * math.asin(correlation), abs=2e-6)


@pytest.mark.parametrize("sigma", [1e4, 1e6, 1e8])
def test_mean_field_of_signs(sigma):
    found = mean_field(sigma, sigma)
    assert found.c_star == pytest.approx(SIGN, abs=0.5 / sigma)
    assert found.q_star == pytest.approx(2 * sigma**2, rel=1e-3)
    assert found.xi_c == pytest.approx(-1 / math.log(1 / (math.pi * math.sqrt(1 - found.c_star**2))), rel=1e-3)
    assert mean_field(sigma, 0.0).xi_c == pytest.approx(-1 / math.log(2 / math.pi), rel=1e-3)


def test_a_large_variance_is_no_divergence():
    assert mean_field(3e4, 0.0).q_star == pytest.approx(9e8, rel=1e-3)
    for activation in ("relu", "gelu", "linear"):
        assert math.isfinite(mean_field(0.5, 1e6, activation).q_star)
        assert mean_field(10.0, 0.0, activation).q_star == math.inf
    kernel = KERNELS["gelu"]
    assert kernel.square(1e8) == pytest.approx(0.5e8, rel=1e-6)  # a wide GELU is a ReLU
    assert edge_of_chaos(100.0) > edge_of_chaos(10.0) > edge_of_chaos(1.0)


# --- the loss of a GPT ----------------------------------------------------------------------------------------------


def gpt():
    return GPT(GPTConfig(vocab_size=7))


@pytest.mark.parametrize("shape", [(3, 2), (2, 4), (6,), (1, 2, 3)])
def test_targets_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"targets of shape .*tokens \(2, 3\): expected the same, one target for each"):
        gpt()(torch.zeros(2, 3).long(), torch.zeros(shape).long())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_where_no_target_counts_every_loss_is_zero(dtype):
    model, tokens = gpt().to(dtype), torch.zeros(2, 3).long()
    nothing = torch.full_like(tokens, -100)
    logits, loss = model(tokens, nothing)
    loss.backward()
    assert loss == 0 and all(weight.grad is None or weight.grad.abs().max() == 0 for weight in model.parameters())
    for alpha in (0, 0.5, 1):
        assert d.distillation_loss(logits, logits.flip(0), nothing, alpha=alpha) == 0
    assert d.label_smoothing(logits, nothing) == d.forward_kl(logits, logits.flip(-1), nothing) == 0


def test_a_loss_of_some_targets_is_pytorchs():
    model, tokens = gpt(), torch.arange(6).view(2, 3)
    targets = torch.tensor([[1, -100, 3], [-100, 0, 6]])
    logits, loss = model(tokens, targets)
    assert torch.equal(loss, nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()))


# --- what is said of a wrong argument -------------------------------------------------------------------------------

MODULE = "is no model: expected a module, such as MLP"
STUDENT = torch.randn(2, 3), torch.randn(2, 3), torch.tensor([0, 1])


def distilled(**knobs):
    return d.distillation_loss(*STUDENT, **knobs)


def fisher(inputs, targets):
    return finetuning.fisher_diagonal(MLP([4, 3]), [(inputs, targets)])


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: GPT({"vocab_size": 5}), TypeError, "config is a dict: expected GPTConfig"),
    (lambda: GPT(5), TypeError, "config is a int: expected GPTConfig"),
    (lambda: GPTConfig(vocab_size=True), ValueError, "vocab_size True: expected a whole number"),
    (lambda: MLP([4, 2.5]), ValueError, "sizes .*: expected whole numbers"),
    (lambda: initialize_(torch.zeros(3), "he"), TypeError, f"a Tensor {MODULE}"),
    (lambda: initialize_(MLP, "he", generator=runtime.generator(0)), TypeError, f"a type {MODULE}"),
    (lambda: initialize_([nn.Linear(2, 2)], "zeros"), TypeError, f"a list {MODULE}"),
    (lambda: initialize_(MLP([2, 2]), "normal", std="x", generator=runtime.generator(0)), ValueError,
     "std 'x': expected a finite number, 0 or more"),
    (lambda: initialize_(MLP([2, 2]), "mup", base_width=1.5, generator=runtime.generator(0)), ValueError,
     "base_width 1.5: expected a whole number"),
    (lambda: finetuning.freeze_(torch.zeros(3)), TypeError, f"a Tensor {MODULE}"),
    (lambda: finetuning.add_lora_({}), TypeError, f"a dict {MODULE}"),
    (lambda: finetuning.merge_lora_(torch.zeros(3)), TypeError, f"a Tensor {MODULE}"),
    (lambda: finetuning.interpolate(MLP([2, 2]), torch.zeros(3), 0.5), TypeError, f"a Tensor {MODULE}"),
    (lambda: finetuning.interpolate(MLP([2, 2]), MLP([2, 2]), "half"), ValueError, "alpha 'half': expected a finite"),
    (lambda: finetuning.add_lora_(MLP([2, 2, 2]), alpha="8"), ValueError, "alpha '8': expected a finite number"),
    (lambda: finetuning.fisher_diagonal(torch.zeros(3), []), TypeError, f"a Tensor {MODULE}"),
    (lambda: fisher(torch.zeros(20, 4), torch.zeros(3).long()), ValueError, "3 targets for 20 rows"),
    (lambda: fisher(torch.zeros(20, 4), torch.zeros(60).long()), ValueError, "60 targets for 20 rows"),
    (lambda: fisher(torch.zeros(2, 4), torch.zeros(2, 3).long()), ValueError, "3 targets, .* a row with 1 answers"),
    (lambda: fisher(torch.zeros(2, 4), torch.zeros(2)), ValueError, "float32.*expected one whole number for each"),
    (lambda: finetuning.fisher_diagonal(MLP([4, 3]), (torch.zeros(2, 4), torch.zeros(2).long())), ValueError,
     r"batches gave a Tensor: expected a list of pairs \[\(inputs, targets\)\]"),
    (lambda: ranks.rank_for(torch.ones(3), math.nan), ValueError, "share nan: expected above 0"),
    (lambda: training_memory("gpt2", batch=math.nan), ValueError, "batch nan: expected a whole number"),
    (lambda: training_memory("gpt2", batch=1.5), ValueError, "batch 1.5: expected a whole number"),
    (lambda: training_memory("gpt2", batch="2"), ValueError, "batch '2': expected a whole number"),
    (lambda: training_memory("gpt2", tokens=1.5), ValueError, "tokens 1.5: expected a whole number"),
    (lambda: training_memory(MLP([2, 2]), batch=-1), ValueError, "batch -1: expected 1 or more"),
    (lambda: mean_field("2", 0.1), ValueError, "sigma_w '2': expected a finite number, 0 or more"),
    (lambda: mean_field(1e200, 0.1), ValueError, r"sigma_w 1e\+200: expected a finite number.* at most 1e\+08"),
    (lambda: correlation_map(math.nan, 1.0, 0.1, "tanh"), ValueError, "correlation nan: expected a number from -1"),
    (lambda: initial_loss(math.nan), ValueError, "vocab nan: expected a whole number"),
    (lambda: d.pseudo_labels(torch.zeros(2, 3), threshold=math.nan), ValueError, "threshold nan: expected"),
    (lambda: d.label_smoothing(STUDENT[0], STUDENT[2], smoothing="a"), ValueError, "smoothing 'a': expected a share"),
    (lambda: d.jensen_shannon(*STUDENT, beta="half"), ValueError, "beta 'half': expected a share between 0 and 1"),
    (lambda: distilled(alpha="9"), ValueError, "alpha '9': expected from 0"),
    (lambda: d.copy_layers_(torch.zeros(2), MLP([2, 2]), layers=[]), TypeError, f"a Tensor {MODULE}"),
    (lambda: next_token_probabilities(STUDENT[0], temperature="1"), ValueError, "temperature '1': expected 0 or more"),
    (lambda: next_token_probabilities(STUDENT[0], temperature=math.nan), ValueError, "temperature nan: expected 0"),
    (lambda: data.row_batches(*STUDENT[1:])(runtime.generator(0), batch_size=math.inf), ValueError, "batch_size inf"),
    (lambda: data.row_batches(*STUDENT[1:])(runtime.generator(0), batch_size="4"), ValueError, "batch_size '4'"),
])  # fmt: skip
def test_a_wrong_call_gets_a_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("wrong", ["4", 0, -1, math.nan, math.inf, None, [4], torch.ones(2), torch.tensor(0.0), 1j])
def test_a_temperature_is_one_number_above_zero(wrong):
    for call in (distilled, lambda temperature: d.soft_targets(STUDENT[0], temperature),
                 lambda temperature: d.forward_kl(*STUDENT, temperature=temperature)):  # fmt: skip
        with pytest.raises(ValueError, match="temperature .*: expected a finite number above 0"):
            call(temperature=wrong)


def test_a_tensor_of_one_number_is_a_temperature_that_can_be_learned():
    plain = distilled(temperature=3.0)
    for tensor in (torch.tensor(3.0), torch.tensor([3.0]), torch.tensor(3), torch.tensor(3.0, dtype=torch.float16)):
        found = distilled(temperature=tensor)
        assert found.shape == () and found.item() == pytest.approx(plain.item())
    learned = torch.tensor(3.0, requires_grad=True)
    distilled(temperature=learned).backward()
    ahead, behind = (distilled(temperature=3.0 + step).item() for step in (1e-2, -1e-2))
    assert learned.grad.item() == pytest.approx((ahead - behind) / 2e-2, rel=0.01)
