"""How weights start: what each scheme draws, what theory says of it, and what is measured."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from chapters.initialization.memory import NAMED_MODELS, parameter_count, training_memory
from chapters.initialization.mup import coordinate_check, mup_groups, mup_learning_rates
from chapters.initialization.probes import probe, statistics
from chapters.initialization.theory import correlation_map, edge_of_chaos, initial_loss, variance_map
from course_utils import data, initialization, training
from course_utils.initialization import (
    INIT_SCHEMES,
    initialize_,
    mean_field,
)
from course_utils.models import GPT, MLP, GPTConfig, count_parameters
from course_utils.runtime import generator

RANDOM = [name for name, scheme in INIT_SCHEMES.items() if scheme.random]
TOKENS = torch.randint(50, (4, 16), generator=generator(1))
PIXELS = torch.randn(64, 20, generator=generator(2))


def small_gpt(**options):
    return GPT(GPTConfig(**{"vocab_size": 50, "context": 16, "width": 32, "heads": 2, "layers": 2} | options))


MODELS = {
    "linear": (lambda: nn.Linear(20, 30), PIXELS),
    "convolution": (lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4, 5)), nn.Conv2d(1, 6, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(), nn.Conv2d(6, 4, 2),
        nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(24, 5), nn.RMSNorm(5)), PIXELS),
    "mlp": (lambda: MLP([20, 32, 32, 5], activation="tanh", residual=True, norm=True), PIXELS),
    "tied gpt": (small_gpt, TOKENS),
    "untied gpt": (partial(small_gpt, tied=False), TOKENS),
}


def started(module, scheme, seed=0, **options):
    return initialize_(module, scheme, generator=generator(seed), **options)


def what_it_needs(scheme, inputs):
    return {"inputs": inputs} if scheme == "lsuv" else {}


def weights(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


# --- every scheme on every model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", INIT_SCHEMES)
@pytest.mark.parametrize("kind", MODELS)
def test_only_scheme_and_generator_decide(kind, scheme):
    build, inputs = MODELS[kind]
    options = what_it_needs(scheme, inputs)
    state = torch.random.get_rng_state()
    model = build()
    torch.random.set_rng_state(state)
    assert started(model, scheme, **options) is model
    assert torch.equal(state, torch.random.get_rng_state())
    first = weights(model)
    for parameter in model.parameters():
        parameter.data.fill_(7.0)
    assert all(map(torch.equal, weights(started(model, scheme, **options)), first))
    other = weights(started(build(), scheme, seed=1, **options))
    assert all(map(torch.equal, other, first)) != INIT_SCHEMES[scheme].random


@pytest.mark.parametrize("scheme", INIT_SCHEMES)
@pytest.mark.parametrize("kind", MODELS)
def test_biases_norms_and_tied_heads_start_as_they_should(kind, scheme):
    build, inputs = MODELS[kind]
    model = started(build(), scheme, **what_it_needs(scheme, inputs))
    for part in model.modules():
        if isinstance(part, nn.LayerNorm):
            shrunk = scheme == "mup" and part is getattr(model, "norm", None) and model.config.tied
            assert (part.weight == (64 / 32 if shrunk else 1.0)).all()
            assert (part.bias == 0).all()
        if isinstance(part, nn.Linear) and part.bias is not None:
            assert (part.bias == 0).all() != (scheme == "uniform")
    if kind == "tied gpt":
        assert model.head.weight is model.embed.weight


@pytest.mark.parametrize("scheme", [name for name in INIT_SCHEMES if name != "lsuv"])
def test_every_dtype_starts_from_the_same_numbers_and_meta_from_none(scheme):
    single, double, half = (started(small_gpt().to(dtype), scheme) for dtype in (
        torch.float32, torch.float64, torch.bfloat16))  # fmt: skip
    for a, b, c in zip(single.parameters(), double.parameters(), half.parameters(), strict=True):
        assert torch.allclose(a.double(), b, rtol=1e-6, atol=1e-8)
        assert torch.equal(a.bfloat16(), c)
    assert all(weight.is_meta for weight in started(small_gpt().to("meta"), scheme).parameters())


def test_an_embedding_and_a_norm_without_weights_pose_no_problem():
    model = started(nn.Sequential(nn.Embedding(9, 4), nn.LayerNorm(4, elementwise_affine=False)), "he")
    assert model[0].weight.std() > 0


def test_a_layer_that_shares_its_matrix_has_a_bias_of_its_own():
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    started(nn.Sequential(first, second), "he")
    assert (second.bias == 0).all() and second.weight is first.weight
    assert torch.equal(first.weight, started(nn.Linear(6, 6), "he").weight)


# --- distributions --------------------------------------------------------------------------------------------------

IN, OUT = 600, 300
EXPECTED_STD = {
    "normal": 0.02, "uniform": (3 * IN) ** -0.5, "lecun": IN**-0.5, "xavier": (2 / (IN + OUT)) ** 0.5,
    "xavier_uniform": (2 / (IN + OUT)) ** 0.5, "he": (2 / IN) ** 0.5, "he_uniform": (2 / IN) ** 0.5,
    "orthogonal": IN**-0.5, "gpt2": 0.02, "width": IN**-0.5, "zero_branches": IN**-0.5, "mup": IN**-0.5,
}  # fmt: skip


@pytest.mark.parametrize("scheme", EXPECTED_STD)
def test_a_linear_layers_weights_have_the_papers_standard_deviation(scheme):
    weight = started(nn.Linear(IN, OUT), scheme).weight
    assert weight.std().item() == pytest.approx(EXPECTED_STD[scheme], rel=0.01)
    assert abs(weight.mean().item()) < 0.01 * weight.std().item()


@pytest.mark.parametrize("scheme", ["uniform", "xavier_uniform", "he_uniform"])
def test_uniform_schemes_stay_within_their_bound_and_reach_it(scheme):
    bound = 3**0.5 * EXPECTED_STD[scheme]
    assert 0.999 * bound < started(nn.Linear(IN, OUT), scheme).weight.abs().max().item() <= bound


def test_the_older_uniform_start_is_the_one_pytorch_makes():
    ours, theirs = started(nn.Linear(IN, OUT), "uniform"), nn.Linear(IN, OUT)
    for a, b in [(ours.weight, theirs.weight), (ours.bias, theirs.bias)]:
        assert a.abs().max().item() == pytest.approx(b.abs().max().item(), rel=0.02)
        assert a.std().item() == pytest.approx(b.std().item(), rel=0.1)


def test_options_do_what_they_say():
    layer = nn.Linear(IN, OUT)
    assert started(layer, "normal", std=0.5).weight.std().item() == pytest.approx(0.5, rel=0.01)
    assert (started(layer, "constant", value=0.3).weight == 0.3).all()
    plain = started(nn.Linear(IN, OUT), "lecun")
    scaled = started(layer, "lecun", gain=3.0, bias_std=0.2)
    assert torch.allclose(scaled.weight, 3 * plain.weight)
    assert scaled.bias.std().item() == pytest.approx(0.2, rel=0.15)


@pytest.mark.parametrize("shape", [(40, 40), (40, 70), (70, 40)])
def test_orthogonal_rows_or_columns_are_orthonormal(shape):
    weight = started(nn.Linear(*shape), "orthogonal").weight
    small = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
    assert torch.allclose(small, torch.eye(len(small)), atol=1e-5)


@pytest.mark.parametrize("make", [
    lambda: nn.Conv2d(20, 60, 5), lambda: nn.Conv1d(40, 90, 7, groups=2), lambda: nn.Conv3d(8, 32, 3)])  # fmt: skip
def test_a_convolution_starts_with_the_fans_that_pytorch_counts(make):
    layer = make()
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)
    for scheme, std in (("he", (2 / fan_in) ** 0.5), ("xavier", (2 / (fan_in + fan_out)) ** 0.5)):
        started(layer, scheme)
        assert layer.weight.std().item() == pytest.approx(std, rel=4 / (2 * layer.weight.numel()) ** 0.5)
    started(layer, "orthogonal")
    assert (torch.linalg.svdvals(layer.weight.flatten(1).double()) - 1).abs().max() < 1e-5


def test_a_deep_linear_orthogonal_net_keeps_every_direction_and_a_relu_net_does_not():
    model = started(MLP([64] * 31, activation="linear"), "orthogonal")
    jacobian = model(torch.eye(64)).detach()
    assert (torch.linalg.svdvals(jacobian) - 1).abs().max() < 1e-5
    relu = started(MLP([64] * 31, activation="relu"), "orthogonal")
    through = torch.autograd.functional.jacobian(relu, torch.ones(64))
    assert torch.linalg.svdvals(through).min() < 1e-3


def test_orthogonal_matrices_prefer_no_sign():
    layers = [started(nn.Linear(3, 3), "orthogonal", seed=seed) for seed in range(600)]
    diagonals = torch.stack([layer.weight.diagonal() for layer in layers])
    assert diagonals.mean().abs().item() < 4 / (3 * 1800) ** 0.5  # QR's own signs would give about 0.5


# --- schemes of whole models ----------------------------------------------------------------------------------------


def test_gpt2_divides_what_enters_the_residual_stream_by_the_root_of_its_branches():
    model = started(GPT(GPTConfig(vocab_size=400, width=128, heads=2, layers=8)), "gpt2")
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            ends = name.endswith(("attention.out.weight", "down.weight"))
            assert weight.std().item() == pytest.approx(0.02 / (4 if ends else 1), rel=0.03), name


def test_width_takes_the_root_of_the_width_and_a_tenth_for_embeddings():
    model = started(small_gpt(width=128, tied=False), "width")
    assert model.embed.weight.std().item() == pytest.approx(0.1, rel=0.05)
    assert model.position.weight.std().item() == pytest.approx(0.1, rel=0.05)
    assert model.head.weight.std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert model.blocks[0].down.weight.std().item() == pytest.approx(512**-0.5, rel=0.05)


def residual_growth(scheme, blocks=24):
    """Mean squares of the residual stream: at the start, and after each block."""
    model = started(small_gpt(layers=blocks, width=64), scheme)
    with probe(model) as seen, torch.no_grad():
        model(TOKENS)
        start = model.start(TOKENS).square().mean().item()
    return start, np.array([seen.activations[f"block {number}"].second_moment for number in range(1, blocks + 1)])


def test_the_residual_stream_grows_linearly_in_depth_unless_it_is_scaled():
    start, unscaled = residual_growth("normal")
    slope = np.polyfit(np.log(np.arange(1, 25)), np.log(unscaled - start), 1)[0]
    assert 0.9 < slope < 1.1
    start, scaled = residual_growth("gpt2")
    assert scaled[-1] / start < 2


@pytest.mark.parametrize("layers", [1, 5])
def test_zeroed_branches_hide_the_depth(layers):
    model = started(small_gpt(layers=layers), "zero_branches")
    assert torch.equal(model(TOKENS)[0], model.head(model.norm(model.start(TOKENS))))
    mlp = started(MLP([20, *[32] * (layers + 1), 5], activation="tanh", residual=True), "zero_branches")
    assert torch.equal(mlp(PIXELS), mlp.layers[-1](torch.tanh(mlp.layers[0](PIXELS))))


def test_64_blocks_with_zeroed_branches_train():
    split = data.digits_split()
    batches = [(split.train_images[:128], split.train_labels[:128])]
    model = started(MLP([64, *[32] * 65, 10], activation="tanh", residual=True), "zero_branches")
    history = training.fit(model, batches, steps=40, lr=1e-3, device="cpu")
    assert history.loss[0] > 2.2
    assert history.loss[-1] < 0.1


def test_zeroed_relu_branches_would_never_wake_and_are_refused():
    mlp = MLP([20, 32, 32, 5], activation="relu", residual=True)
    before = weights(mlp)
    with pytest.raises(ValueError, match="residual MLP with relu.*choose tanh, gelu or silu"):
        started(mlp, "zero_branches")
    assert all(map(torch.equal, weights(mlp), before))
    nn.init.zeros_(mlp.layers[1].weight)
    nn.init.zeros_(mlp.layers[1].bias)
    mlp(PIXELS).sum().backward()
    assert (mlp.layers[1].weight.grad == 0).all()


@pytest.mark.parametrize("options", [
    {"activation": "tanh"}, {"activation": "relu"}, {"activation": "gelu", "residual": True}, {"norm": True},
])  # fmt: skip
def test_lsuv_gives_every_layers_outputs_variance_1(options):
    model = started(MLP([20, 64, 32, 32, 5], **options), "lsuv", inputs=PIXELS)
    assert_unit_variance(model, PIXELS)


@pytest.mark.parametrize("tied", [True, False])
def test_lsuv_on_a_gpt_leaves_embeddings_alone(tied):
    model = started(small_gpt(tied=tied), "lsuv", inputs=TOKENS)
    assert_unit_variance(model, TOKENS, tied_head=model.head if tied else None)
    assert torch.equal(model.embed.weight, started(small_gpt(tied=tied), "orthogonal").embed.weight)


def assert_unit_variance(model, inputs, tied_head=None):
    variances = []
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer is not tied_head:
            assert not layer._forward_hooks
            layer.register_forward_hook(lambda layer, given, output: variances.append(output.var(unbiased=False)))
    with torch.no_grad():
        model(inputs)
    assert len(variances) >= 4
    assert all(variance.item() == pytest.approx(1, abs=0.1) for variance in variances)


# --- the two starts that do not work --------------------------------------------------------------------------------


def test_from_zeros_only_the_output_bias_learns_and_the_loss_stays_at_the_class_entropy():
    labels = torch.tensor([0] * 8 + [1] * 4 + [2] * 4)
    inputs = PIXELS[:16]
    model = started(MLP([20, 16, 16, 3]), "zeros")
    F.cross_entropy(model(inputs), labels).backward()
    silent = {name for name, weight in model.named_parameters() if (weight.grad == 0).all()}
    assert silent == {name for name, _ in model.named_parameters()} - {"layers.2.bias"}
    history = training.fit(model, [(inputs, labels)], steps=300, lr=0.5, optimizer="sgd", device="cpu")
    share = labels.bincount() / len(labels)
    assert history.loss[-1] == pytest.approx(-(share * share.log()).sum().item(), abs=1e-4)


def test_from_a_constant_all_units_of_a_layer_stay_the_same_unit():
    model = started(MLP([20, 16, 16, 3], activation="tanh"), "constant")
    labels = torch.arange(64) % 3
    training.fit(model, [(PIXELS, labels)], steps=20, lr=1e-2, device="cpu")
    first, second, last = (layer.weight for layer in model.layers)
    assert torch.allclose(first, first[:1].expand_as(first), atol=1e-5)
    assert torch.allclose(second, second[:1, :1].expand_as(second), atol=1e-5)
    assert torch.allclose(last, last[:, :1].expand_as(last), atol=1e-5)
    assert not torch.allclose(first, torch.full_like(first, 0.1), atol=1e-3)  # it did train


def test_lsuv_measures_as_in_use_and_leaves_the_mode():
    model, inputs = nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Dropout(), nn.Linear(40, 5)), PIXELS
    model[3].eval()
    before = torch.get_rng_state()
    started(model, "lsuv", inputs=inputs)
    assert torch.equal(torch.get_rng_state(), before)
    assert [part.training for part in model] == [True, True, True, False]
    assert initialization.output_stds(model, inputs) == pytest.approx([1, 1], abs=1e-5)


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "options", "message"), [
    ("kaiming", {}, "no scheme 'kaiming': choose one of zeros, constant, normal"),
    ("he", {"generator": None}, "scheme 'he' is random: pass generator="),
    ("he", {"generator": 0}, "scheme 'he' is random: pass generator="),
    ("constant", {"value": math.inf, "generator": None}, "value inf: expected a finite number"),
    ("normal", {"std": -1.0}, "std -1.0: expected a finite number, 0 or more"),
    ("lecun", {"gain": math.nan}, "gain nan: expected a finite number"),
    ("he", {"std": 0.1}, "scheme 'he' takes no std; it takes gain, bias_std"),
    ("zeros", {"gain": 2.0}, "scheme 'zeros' takes no gain; it takes no option"),
    ("mup", {"base_width": 0}, "base_width 0: expected 1 or more"),
    ("lsuv", {}, "scheme 'lsuv' needs data: pass inputs="),
    ("lsuv", {"inputs": torch.zeros(8, 20)}, "outputs of layer 'layers.0' do not vary"),
])  # fmt: skip
def test_bad_input_says_what_to_do(scheme, options, message):
    with pytest.raises(ValueError, match=message):
        initialize_(MLP([20, 8, 5]), scheme, **{"generator": generator(0)} | options)


def test_fixed_schemes_need_no_generator():
    assert (initialize_(nn.Linear(2, 2), "zeros").weight == 0).all()


def test_lsuv_has_nothing_to_measure_on_meta():
    with pytest.raises(ValueError, match="'meta' has no numbers"):
        started(MLP([20, 8, 5]).to("meta"), "lsuv", inputs=PIXELS.to("meta"))


def test_a_layer_of_another_kind_is_refused_before_anything_changes():
    model = nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4))
    before = weights(model)
    with pytest.raises(TypeError, match="no scheme for LSTM at '1'"):
        started(model, "he")
    assert all(map(torch.equal, weights(model), before))


# --- the first loss -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vocab", "variance"), [(20, 0.5), (56, 1.0), (5, 0.25)])
def test_initial_loss_is_the_mean_over_random_logits(vocab, variance):
    logits = variance**0.5 * torch.randn(400_000, vocab, generator=generator(4))
    measured = (logits.logsumexp(-1) - logits[:, 0]).mean().item()
    assert initial_loss(vocab, variance) == pytest.approx(measured, abs=0.01)


def test_initial_loss_without_variance_is_the_log_of_the_vocabulary():
    assert initial_loss(96) == pytest.approx(math.log(96))
    with pytest.raises(ValueError, match="logit_variance 1.5: the formula holds from 0 to 1"):
        initial_loss(96, 1.5)
    with pytest.raises(ValueError, match="vocab 0"):
        initial_loss(0)


def test_initial_loss_of_a_real_start():
    model = started(small_gpt(vocab_size=50, tied=False), "width")
    targets = torch.randint(50, TOKENS.shape, generator=generator(9))
    logits, loss = model(TOKENS, targets)
    assert loss.item() == pytest.approx(initial_loss(50, min(1.0, logits.var().item())), abs=0.3)


# --- mean field -----------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "tanh": math.tanh,
    "relu": lambda u: max(u, 0.0),
    "gelu": lambda u: u * 0.5 * (1 + math.erf(u / 2**0.5)),
    "linear": lambda u: u,
}


def normal_average(f):
    """E f(z), z from N(0, 1), by adaptive quadrature: slow and independent of ours."""
    return integrate.quad(lambda z: f(z) * math.exp(-z * z / 2), -10, 10, points=[0], limit=200)[0] / math.tau**0.5


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("variance", [0.01, 1.0, 30.0, 400.0])
def test_the_variance_map_is_its_integral(activation, variance):
    f = FUNCTIONS[activation]
    expected = 2.25 * normal_average(lambda z: f(variance**0.5 * z) ** 2) + 0.04
    assert variance_map(variance, 1.5, 0.2, activation) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize(("variance", "correlation"), [(1.0, -0.7), (0.3, 0.0), (5.0, 0.6), (1.0, 1.0)])
def test_the_correlation_map_is_its_integral(activation, variance, correlation):
    f, root = FUNCTIONS[activation], variance**0.5

    def given(z):
        rest = (1 - correlation**2) ** 0.5
        return f(root * z) * normal_average(lambda y: f(root * (correlation * z + rest * y)))

    covariance = 2.25 * normal_average(given) + 0.04
    ours = correlation_map(correlation, 1.5, 0.2, activation, variance=variance)
    assert ours == pytest.approx(covariance / variance_map(variance, 1.5, 0.2, activation), abs=1e-6)


def test_relu_and_he_bring_orthogonal_inputs_together_layer_by_layer():
    correlation, by_layer = 0.0, {}
    for layer in range(1, 21):
        correlation = by_layer[layer] = correlation_map(correlation, 2**0.5, 0.0, "relu")
    published = {1: 0.3183, 2: 0.4937, 5: 0.7360, 10: 0.8715, 20: 0.9484}
    assert {layer: by_layer[layer] for layer in published} == pytest.approx(published, abs=1e-4)


def test_a_wide_network_follows_the_maps():
    model = started(MLP([1000, *[4000] * 3, 1], activation="tanh"), "lecun", gain=1.5, bias_std=0.3)
    a = torch.randn(1000, generator=generator(5))
    b = 0.5 * a + 0.75**0.5 * torch.randn(1000, generator=generator(6))
    pair = torch.stack([a, b]) / torch.stack([a, b]).square().mean(-1, keepdim=True).sqrt()
    correlation, variance = F.cosine_similarity(*pair, dim=0).item(), 1.0
    first = 1.5**2 + 0.3**2  # the inputs pass no activation before the first layer
    correlation, variance = (1.5**2 * correlation + 0.3**2) / first, first
    active = pair
    for layer in list(model.layers)[:3]:
        signal = layer(active)
        assert signal.square().mean().item() == pytest.approx(variance, rel=0.06)
        assert F.cosine_similarity(*signal, dim=0).item() == pytest.approx(correlation, abs=0.04)
        correlation = correlation_map(correlation, 1.5, 0.3, "tanh", variance=variance)
        variance = variance_map(variance, 1.5, 0.3, "tanh")
        active = torch.tanh(signal)


@pytest.mark.parametrize(("bias_variance", "weight_variance"), [(0, 1), (0.01, 1.4242), (0.05, 1.7610), (0.1, 1.9861)])
def test_the_edge_of_chaos_of_tanh_is_the_published_one(bias_variance, weight_variance):
    sigma_w = edge_of_chaos(bias_variance**0.5)
    assert sigma_w**2 == pytest.approx(weight_variance, abs=1e-3)
    at_edge = mean_field(sigma_w, bias_variance**0.5)
    assert at_edge.chi_1 == pytest.approx(1)
    assert at_edge.xi_c == math.inf
    assert mean_field(0.98 * sigma_w, bias_variance**0.5).chi_1 < 1 < mean_field(
        1.02 * sigma_w, bias_variance**0.5).chi_1  # fmt: skip


GRID = [("tanh", 0.8, 0.3), ("tanh", 1.3, 0.1), ("tanh", 2.5, 0.3), ("tanh", 6.0, 0.0), ("tanh", 1.01, 0.0),
        ("relu", 1.2, 0.5), ("gelu", 1.2, 0.3), ("gelu", 1.41, 0.6), ("linear", 0.7, 0.4)]  # fmt: skip


@pytest.mark.parametrize(("activation", "sigma_w", "sigma_b"), GRID)
def test_fixed_points_stay_where_they_are_and_are_approached_at_the_stated_rate(activation, sigma_w, sigma_b):
    found = mean_field(sigma_w, sigma_b, activation)
    q, c = found.q_star, found.c_star
    assert variance_map(q, sigma_w, sigma_b, activation) == pytest.approx(q, rel=1e-9)
    step = partial(correlation_map, sigma_w=sigma_w, sigma_b=sigma_b, activation=activation, variance=q)
    assert step(c) == pytest.approx(c, abs=1e-9)
    away = 1e-5
    assert math.exp(-1 / found.xi_c) == pytest.approx(abs(step(c - away) - c) / away, rel=0.01)
    assert found.chi_1 == pytest.approx((1 - step(1 - away)) / away, rel=0.02)
    moved = variance_map(q * (1 + away), sigma_w, sigma_b, activation) - q
    assert math.exp(-1 / found.xi_q) == pytest.approx(moved / (q * away), rel=0.01)
    assert (found.c_star < 1) == (found.chi_1 > 1)


def test_sigmas_may_be_tensors():
    found = mean_field(torch.tensor(1.5), torch.tensor(0.3))
    assert found == mean_field(1.5, torch.tensor(0.3).item()) and isinstance(found.chi_1, float)


def test_where_there_is_no_fixed_point_none_is_invented():
    diverging = [("relu", 1.5, 0.0), ("relu", 2**0.5, 0.1), ("gelu", 2.0, 0.1), ("linear", 1.0, 1.0)]
    for activation, sigma_w, sigma_b in diverging:
        found = mean_field(sigma_w, sigma_b, activation)
        assert found.q_star == math.inf
        assert found.chi_1 >= 1
        assert math.isnan(found.c_star) and math.isnan(found.xi_c) and math.isnan(found.xi_q)


def test_borderline_cases():
    he = mean_field(2**0.5, 0.0, "relu")
    assert (he.q_star, he.c_star, he.xi_c, he.xi_q) == (1.0, 1.0, math.inf, math.inf)
    silent = mean_field(0.0, 0.5)
    assert (silent.q_star, silent.c_star, silent.chi_1, silent.xi_c, silent.xi_q) == (0.25, 1.0, 0.0, 0.0, 0.0)
    assert mean_field(0.0, 0.0).q_star == 0.0
    fading = mean_field(0.9, 0.0)
    assert fading.q_star == 0.0
    assert fading.xi_c == pytest.approx(-1 / math.log(0.81))
    assert math.isnan(correlation_map(0.5, 0.0, 0.0, "tanh"))


def test_edges_of_other_activations():
    assert edge_of_chaos(0.3, "relu") == pytest.approx(2**0.5)
    assert edge_of_chaos(0.3, "linear") == 1
    assert mean_field(edge_of_chaos(0.5, "gelu"), 0.5, "gelu").chi_1 == pytest.approx(1)
    for sigma_b in (0.0, 0.2):
        with pytest.raises(ValueError, match="no stable variance has chi_1 = 1; raise sigma_b"):
            edge_of_chaos(sigma_b, "gelu")


@pytest.mark.parametrize(("call", "message"), [
    (lambda: mean_field(-1.0, 0.1), "sigma_w -1.0: expected a finite number, 0 or more"),
    (lambda: mean_field(1.0, math.inf), "sigma_b inf: expected a finite number"),
    (lambda: mean_field(1.0, 0.1, "swish"), "activation 'swish': choose one of tanh, relu, gelu, linear"),
    (lambda: correlation_map(1.2, 1.0, 0.1, "tanh"), "correlation 1.2: expected a number from -1 to 1"),
])  # fmt: skip
def test_bad_theory_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- probes ---------------------------------------------------------------------------------------------------------


def hooks_of(model):
    found = [hook for part in model.modules() for hook in (*part._forward_hooks, *part._forward_pre_hooks)]
    return found + [hook for weight in model.parameters() for hook in (weight._backward_hooks or ())]


def test_a_probe_sees_what_an_mlp_hands_on_and_gets_back():
    model = started(MLP([20, 40, 40, 5]), "he")
    labels = torch.arange(64) % 5
    with probe(model) as seen:
        F.cross_entropy(model(PIXELS), labels).backward()
    first = model.layers[0](PIXELS).relu()
    second = model.layers[1](first).relu()
    signals = {"layer 1": first, "layer 2": second, "output": model.layers[2](second)}
    loss = F.cross_entropy(signals["output"], labels)
    gradients = torch.autograd.grad(loss, list(signals.values()))
    assert list(seen.activations) == list(signals)
    for (name, signal), gradient in zip(signals.items(), gradients, strict=True):
        assert seen.activations[name] == statistics(signal)
        assert seen.gradients[name] == statistics(gradient)
    matrices = {name: weight for name, weight in model.named_parameters() if weight.ndim == 2}
    assert seen.weight_gradients.keys() == matrices.keys()
    for name, weight in matrices.items():
        assert seen.weight_gradients[name] == statistics(weight.grad)


def test_a_probe_follows_a_gpt_and_keeps_the_latest_pass():
    model = started(small_gpt(layers=3), "gpt2")
    with probe(model) as seen:
        model(TOKENS)
        outputs = model(TOKENS.flip(0), TOKENS)
        outputs[1].backward()
    assert list(seen.activations) == ["embedding", "block 1", "block 2", "block 3", "output"]
    assert seen.gradients.keys() == seen.activations.keys()
    assert seen.activations["output"] == statistics(outputs[0])
    assert seen.activations["embedding"] == statistics(model.embed(TOKENS.flip(0)))


def test_half_of_the_relu_units_are_active_at_the_start():
    model = started(MLP([20, *[500] * 4, 5]), "he")
    with probe(model) as seen, torch.no_grad():
        model(PIXELS)
    assert seen.gradients == {}
    for number in range(1, 5):
        assert seen.activations[f"layer {number}"].active == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("kind", ["mlp", "tied gpt"])
def test_a_probe_leaves_the_model_as_it_was_even_after_an_error(kind):
    build, inputs = MODELS[kind]
    model = build()
    before = model(inputs)
    outputs = []
    with pytest.raises(RuntimeError, match="on purpose"), probe(model) as seen:
        outputs.append(model(inputs))
        assert len(hooks_of(model)) > 0
        raise RuntimeError("on purpose")
    assert hooks_of(model) == []
    as_tensor = [out[0] if isinstance(out, tuple) else out for out in (before, outputs[0])]
    assert torch.equal(*as_tensor)
    as_tensor[1].sum().backward()  # a graph made within the block no longer reports
    assert seen.gradients == {} and seen.weight_gradients == {}


def test_a_probe_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match="cannot probe Linear: expected an MLP or a GPT"), probe(nn.Linear(2, 2)):
        pass


def test_statistics_in_numbers():
    found = statistics(torch.tensor([-2.0, 0.0, 1.0, 2.0]))
    assert (found.mean, found.second_moment, found.active, found.reach) == (0.25, 2.25, 0.5, 2.0)
    assert len(found.counts) == 61 and sum(found.counts) == 4
    assert sum(found.counts[:30]) == 1
    silent = statistics(torch.zeros(5))
    assert (silent.second_moment, silent.reach, sum(silent.counts)) == (0.0, 0.0, 0)
    broken = statistics(torch.tensor([1.0, math.nan, math.inf]))
    assert math.isnan(broken.mean) and broken.reach == 1.0 and sum(broken.counts) == 1
    assert statistics(torch.ones(3, dtype=torch.bfloat16)).mean == 1.0


# --- memory ---------------------------------------------------------------------------------------------------------


class Held:
    """Bytes that autograd keeps for the backward pass, at the fullest moment; weights do not count."""

    def __init__(self, model):
        self.weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        self.users, self.now, self.peak = {}, 0, 0

    def pack(self, tensor):
        place = tensor.untyped_storage().data_ptr()
        return tensor if place in self.weights else Handle(self, tensor, place)


class Handle:
    def __init__(self, held, tensor, place):
        self.held, self.tensor, self.place = held, tensor, place
        self.size = tensor.untyped_storage().nbytes()
        if not held.users.get(place):
            held.now += self.size
        held.users[place] = held.users.get(place, 0) + 1
        held.peak = max(held.peak, held.now)

    def __del__(self):
        self.held.users[self.place] -= 1
        if not self.held.users[self.place]:
            self.held.now -= self.size


def fullest(model, loss):
    held = Held(model)
    with torch.autograd.graph.saved_tensors_hooks(held.pack, lambda kept: getattr(kept, "tensor", kept)):
        loss().backward()
    return held.peak


def gpt_loss(model, tokens, checkpointing):
    if not checkpointing:
        return model(tokens, tokens)[1]
    x = model.start(tokens)
    for block in model.blocks:
        x = checkpoint(block, x, use_reentrant=True)
    return F.cross_entropy(model.head(model.norm(x)).flatten(0, 1), tokens.flatten())


SHAPES = [
    (GPTConfig(vocab_size=100, context=32, width=64, layers=2), 16),
    (GPTConfig(vocab_size=56, context=64, width=128, heads=8, layers=6), 8),
    (GPTConfig(vocab_size=500, context=16, width=32, heads=2, layers=1, tied=False), 3),
]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize(("config", "batch"), SHAPES)
def test_a_gpts_activations_are_counted_as_they_are_held(config, batch, precision, checkpointing):
    model = started(GPT(config), "gpt2").to(DTYPES[precision])
    tokens = torch.randint(config.vocab_size, (batch, config.context), generator=generator(0))
    measured = fullest(model, lambda: gpt_loss(model, tokens, checkpointing))
    counted = training_memory(config, batch=batch, precision=precision, checkpointing=checkpointing).activations
    assert counted == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "linear", "gelu", "silu"])
@pytest.mark.parametrize("options", [{}, {"residual": True}, {"norm": True}, {"residual": True, "norm": True}])
def test_an_mlps_activations_are_counted_as_they_are_held(activation, options):
    model = MLP([64, 128, 128, 32, 32, 10], activation=activation, **options)
    images = torch.randn(50, 64, generator=generator(0))
    labels = torch.arange(50) % 10
    measured = fullest(model, lambda: F.cross_entropy(model(images), labels))
    assert training_memory(model, batch=50).activations == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weights_gradients_and_moments_are_counted_as_they_are_held(optimizer):
    tokens = torch.randint(50, (4, 16), generator=generator(0))
    run = training.Experiment(
        model=lambda _: small_gpt(), batches=[(tokens, tokens)], optimizer=optimizer, knobs={"lr": 1e-3}, steps=1
    ).start(0, device="cpu")
    run.step()
    moments = [value for state in run.optimizer.state.values() for value in state.values() if value is not None]
    held = {
        "weights": sum(weight.nbytes for weight in run.model.parameters()),
        "gradients": sum(weight.grad.nbytes for weight in run.model.parameters()),
        "optimizer": sum(moment.nbytes for moment in moments if moment.ndim),
    }
    counted = training_memory(run.model, batch=4, optimizer=optimizer)
    assert {name: getattr(counted, name) for name in held} == held
    assert counted.total == sum(held.values()) + counted.activations + counted.working


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(("build", "batch"), [
    (lambda: MLP([64, 128, 10]), 32),
    (lambda: MLP([64, *[64] * 30, 10], activation="tanh"), 64),
    (lambda: MLP([64, 512, 512, 512, 10], residual=True, norm=True), 256),
    (lambda: MLP([64, 1024, 1024, 10], activation="gelu"), 32),
    (lambda: MLP([64, 10], activation="linear"), 512),
    (lambda: MLP([64, 128, 10], activation="linear"), 512),
    (lambda: MLP([64, 128, 10]), 512),
    (lambda: MLP([64, 256, 256, 10], activation="tanh", norm=True), 512),
    (lambda: MLP([64, 128, 128, 10], activation="gelu", residual=True, norm=True), 512),
    (lambda: GPT(GPTConfig(vocab_size=116, width=32, layers=1)), 16),
    (lambda: GPT(GPTConfig(vocab_size=116)), 16),
    (lambda: GPT(GPTConfig(vocab_size=116, width=128, layers=4)), 16),
])  # fmt: skip
def test_two_training_steps_peak_where_they_are_said_to(build, batch, optimizer):
    reads_tokens = isinstance(build(), GPT)

    def batches(rng):
        if reads_tokens:
            tokens = torch.randint(116, (batch, 65), generator=rng)
            return tokens[:, :-1].clone(), tokens[:, 1:].clone()
        return torch.randn(batch, 64, generator=rng), torch.randint(10, (batch,), generator=rng)

    experiment = training.Experiment(model=lambda _: build(), batches=batches, optimizer=optimizer, steps=2)
    peak = training.peak_memory(lambda: training.finish(experiment.start(0, device="cpu")))
    assert training_memory(build(), batch=batch, optimizer=optimizer).total == pytest.approx(peak, rel=0.1)


def test_peak_memory_counts_what_is_held_at_one_time():
    def work():
        for _ in range(5):
            torch.zeros(1000) + 1  # two at a time
        return torch.zeros(100)

    assert training.peak_memory(work) == pytest.approx(8000, abs=100)
    assert training.peak_memory(lambda: None) == 0


def test_the_parameters_of_well_known_models():
    published = {
        "gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200,
        "smollm2-135m": 134_515_008, "llama-2-7b": 6_738_415_616, "llama-2-13b": 13_015_864_320,
        "llama-2-70b": 68_976_648_192,
    }  # fmt: skip
    assert {name: parameter_count(name) for name in NAMED_MODELS} == published
    with torch.device("meta"):
        assert count_parameters(GPT(NAMED_MODELS["gpt2"])) == published["gpt2"]
    for model in (small_gpt(), small_gpt(tied=False), MLP([3, 4, 5], norm=True, bias=False)):
        assert parameter_count(model) == count_parameters(model)


def test_16_bytes_a_parameter_with_adam_in_either_precision():
    for precision in DTYPES:
        memory = training_memory("llama-2-70b", precision=precision)
        assert memory.weights + memory.gradients + memory.optimizer == 16 * 68_976_648_192
    assert training_memory("llama-2-7b", precision="float32", optimizer="sgd").optimizer == 0
    assert training_memory("llama-2-7b", precision="bfloat16", optimizer="sgd").optimizer == 4 * 6_738_415_616


def test_checkpointing_trades_memory_and_memory_grows_with_the_batch():
    full, kept = (training_memory("llama-2-7b", checkpointing=choice).activations for choice in (False, True))
    assert kept < full / 5
    assert training_memory("gpt2", batch=6).activations == 6 * training_memory("gpt2").activations
    assert training_memory("gpt2", tokens=512).activations * 2 == training_memory("gpt2").activations


@pytest.mark.parametrize(("call", "message"), [
    (lambda: training_memory("gpt5"), "model 'gpt5': choose one of gpt2, gpt2-medium"),
    (lambda: training_memory("gpt2", precision="int8"), "precision 'int8': choose one of float32, bfloat16"),
    (lambda: training_memory("gpt2", optimizer="lion"), "optimizer 'lion': choose one of sgd, adamw"),
    (lambda: training_memory("gpt2", tokens=2000), "tokens 2000: expected 1 to 1024"),
    (lambda: training_memory("gpt2", batch=0), "batch 0: expected 1 or more"),
    (lambda: training_memory(MLP([2, 2]), tokens=3), "an MLP reads none"),
    (lambda: training_memory(MLP([2, 2]), checkpointing=True), "an MLP has no blocks"),
])  # fmt: skip
def test_bad_memory_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("count", [parameter_count, training_memory])
@pytest.mark.parametrize("model", [nn.Linear(2, 3), None, 7])
def test_memory_refuses_what_it_cannot_count(count, model):
    with pytest.raises(TypeError, match="expected an MLP, a GPT, a shape, or a model's name"):
        count(model)


# --- width ----------------------------------------------------------------------------------------------------------


def test_at_the_base_width_mup_is_the_standard_start_and_rate():
    gpt = partial(small_gpt, width=64)
    for build in (partial(MLP, [20, 64, 64, 5]), gpt, partial(gpt, tied=False)):
        mup, standard = started(build(), "mup", base_width=64), started(build(), "width")
        for a, b in zip(mup.parameters(), standard.parameters(), strict=True):
            assert torch.allclose(a, b)
        assert set(mup_learning_rates(mup, base_width=64).values()) == {1.0}


def test_the_rates_fall_with_the_width_where_they_should():
    rates = mup_learning_rates(MLP([20, 256, 128, 5]), base_width=64)
    assert rates == {
        "layers.0.weight": 1.0, "layers.0.bias": 1.0, "layers.1.weight": 64 / 256, "layers.1.bias": 1.0,
        "layers.2.weight": 64 / 128, "layers.2.bias": 1.0,
    }  # fmt: skip
    tied = mup_learning_rates(small_gpt(width=128), base_width=32)
    assert {tied[name] for name in ("embed.weight", "position.weight", "blocks.0.norm1.weight")} == {1.0}
    assert {tied[name] for name in ("blocks.0.down.weight", "blocks.1.attention.qkv.weight", "norm.weight")} == {0.25}
    untied = mup_learning_rates(small_gpt(width=128, tied=False), base_width=32)
    assert (untied["head.weight"], untied["norm.weight"], untied["embed.weight"]) == (0.25, 1.0, 1.0)
    with pytest.raises(TypeError, match="no widths known for Linear: expected an MLP or a GPT"):
        mup_learning_rates(nn.Linear(2, 2), base_width=2)


def test_every_parameter_is_in_one_group_at_its_rate():
    model = small_gpt(width=128)
    groups = mup_groups(model, lr=0.01, base_width=32)
    rate_of = {weight: group["lr"] for group in groups for weight in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rate_of) == len(list(model.parameters()))
    factors = mup_learning_rates(model, base_width=32)
    assert all(rate_of[weight] == pytest.approx(0.01 * factors[name]) for name, weight in model.named_parameters())


@pytest.mark.parametrize(("build", "widths", "inputs", "targets"), [
    (lambda width: MLP([20, width, width, width, 10]), (64, 128, 256, 512, 1024), PIXELS, torch.arange(64) % 10),
    (lambda width: small_gpt(width=width, heads=width // 16), (128, 256, 512), TOKENS, TOKENS.roll(1, 0)),
], ids=["mlp", "tied gpt"])  # fmt: skip
def test_a_step_moves_wide_models_further_unless_they_are_mup(build, widths, inputs, targets):
    standard, mup = (coordinate_check(build, widths, inputs, targets, mup=choice) for choice in (False, True))
    assert standard.slope >= 0.4
    assert -0.2 <= mup.slope <= 0.1
