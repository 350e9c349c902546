"""Kind 3: too narrow a number. Widened first, computed, narrowed last, and never to a whole number."""

import math

import numpy as np
import pytest
import torch

from chapters.digits import shift_digits
from chapters.distillation.measures import calibration
from chapters.finetuning import ranks
from chapters.initialization.panel_signal import signal_lab
from chapters.initialization.probes import statistics
from chapters.initialization.theory import relu_second_moment
from chapters.pretraining.ngrams import bigram_counts
from chapters.stories.abilities import ability_accuracy
from course_utils import data, finetuning, initialization, runtime
from course_utils import distillation as d
from course_utils.data import STORY_VOCAB
from course_utils.live.figure import pack
from course_utils.models import GPT, MLP, GPTConfig, mean_cross_entropy
from course_utils.pretraining.sampling import next_token_probabilities

WHOLE = (torch.int64, torch.int32, torch.int16, torch.uint8)
HALF = (torch.float16, torch.bfloat16)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=runtime.generator(seed), dtype=torch.float64)


def unpacked(skeleton, buffers):
    """An array as the browser reads it."""
    return np.frombuffer(buffers[skeleton["buffer"]], dtype=skeleton.get("dtype", "float32")).reshape(skeleton["shape"])


# --- the signal lab, and what it draws with -------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "depth", "last"), [("normal", 40, 8.7e-65), ("constant", 30, 2.7e65)])
def test_the_signal_lab_sees_every_layer_of_a_deep_network(start, depth, last):
    lab = signal_lab()
    first = {name: widget.value for name, widget in lab.controls.items()}
    shown = lab.draw(**first | {"scheme": start, "depth": depth, "width": 128})
    forward, backward, *histograms = shown.figures
    measured = forward["data"][0]["y"]
    assert measured[-1] == pytest.approx(last, rel=0.01) and f"{last:.2g}" in shown.summary
    for spec in (forward, backward):
        assert all(np.isfinite(line["y"]).all() and (line["y"] > 0).all() for line in spec["data"])
        for line in spec["data"]:
            np.testing.assert_allclose(unpacked(*pack(line["y"])), line["y"], rtol=1e-6)
    for spec in histograms:
        assert (spec["data"][0]["z"].sum(1) > 0).all()  # no row is blank


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF, *WHOLE, torch.bool])
def test_statistics_count_every_value_of_any_kind(dtype):
    found = statistics(torch.tensor([0, 1, 1]).to(dtype))
    assert sum(found.counts) == 3
    assert (found.second_moment, found.active, found.mean) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


@pytest.mark.parametrize("values", [[2e38, -2e38, 1e38], [1e300, -1e300, 0.0], [1e-300, 5e-324, 0.0]])
def test_statistics_count_what_is_huge_or_tiny(values):
    exact = torch.tensor(values, dtype=torch.float64)
    assert sum(statistics(exact).counts) == 3


@pytest.mark.parametrize("values", [[2e38, -2e38, 1e38], [1e-30, 1e-38, 0.0]])
def test_a_mean_square_beyond_float32_is_measured(values):
    found = statistics(torch.tensor(values))
    assert sum(found.counts) == 3
    assert found.second_moment == pytest.approx(sum(value**2 for value in values) / 3, rel=1e-6)


@pytest.mark.parametrize("dtype", HALF)
def test_a_start_fitted_to_data_measures_half_precision_in_full(dtype):
    layer = torch.nn.Linear(4, 4).to(dtype)
    initialization.initialize_(layer, "constant", value=100.0)
    images = (100 * normal(64, 4)).to(dtype)
    exact = images.double() @ layer.weight.double().T
    assert initialization.output_stds(layer, images)[0] == pytest.approx(exact.std(unbiased=False).item(), rel=0.01)


def test_a_float64_model_takes_a_std_beyond_float32():
    model = initialization.initialize_(MLP([30, 30]).double(), "normal", std=1e-60, generator=runtime.generator(0))
    assert model.layers[0].weight.std().item() == pytest.approx(1e-60, rel=0.1)


@pytest.mark.parametrize("values", [
    [1e-50, 1e39], [1e-45, 1.0], [-1e300, math.nan, math.inf], [2**31, 2**31 + 2**20], [0, 1, 2], [0.5, -0.25, 1e38],
])  # fmt: skip
def test_a_figures_numbers_arrive(values):
    values = np.array(values)
    np.testing.assert_allclose(unpacked(*pack(values)), values, rtol=1e-6)


def test_ordinary_numbers_still_travel_as_float32():
    skeleton, buffers = pack({"y": np.linspace(0, 5, 100)})
    assert buffers[0].nbytes == 400 and skeleton["y"] == {"buffer": 0, "shape": [100]}


def test_a_moment_beyond_all_numbers_is_infinite():
    assert relu_second_moment(512, 1.0, 130) == math.inf
    assert relu_second_moment(512, 1.0, 120) == 256.0**120
    assert relu_second_moment(2, 1e-3, 10_000) == 0


# --- logits and labels of any kind ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", WHOLE[:3])
def test_whole_numbers_are_logits_too(dtype):
    student, teacher = torch.tensor([[2, 0, -1], [0, 3, 1]]), torch.tensor([[0, 1, 3], [1, 1, -2]])
    labels, whole = torch.tensor([0, 1]), (torch.tensor([[2, 0, -1], [0, 3, 1]]).to(dtype), teacher.to(dtype))
    real = student.double(), teacher.double()
    assert d.soft_targets(whole[0])[0].tolist() == pytest.approx([0.844, 0.114, 0.042], abs=5e-4)
    for loss in (d.forward_kl, d.reverse_kl, d.jensen_shannon, lambda a, b: d.distillation_loss(a, b, labels),
                 lambda a, b: d.label_smoothing(a, labels), d.hint_loss):  # fmt: skip
        assert loss(*whole).item() == pytest.approx(loss(*real).item(), rel=1e-6)
    assert d.high_temperature_gradient(*whole, 100.0).is_floating_point()
    assert d.pseudo_labels(whole[0], threshold=0.8).tolist() == [0, 1]
    assert d.agreement(*whole) == d.agreement(*real)
    assert next_token_probabilities(whole[0]).sum().item() == pytest.approx(2)
    assert next_token_probabilities(whole[0], temperature=0).tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("dtype", WHOLE)
def test_labels_may_be_any_whole_numbers(dtype):
    logits, labels = normal(6, 200), torch.tensor([0, 1, 2, 100, 156, 199])
    narrow = labels.to(dtype)  # as uint8, -100 would be 156
    assert calibration(logits, narrow).ece == calibration(logits, labels).ece
    assert calibration(logits, narrow).brier == calibration(logits, labels).brier
    for loss in (d.label_smoothing, mean_cross_entropy, lambda a, b: d.distillation_loss(a, a, b)):
        assert torch.equal(loss(logits, narrow), loss(logits, labels))
    model = MLP([5, 3])
    rows = torch.randn(4, 5, generator=runtime.generator(1)), torch.tensor([0, 1, 2, 0])
    one, two = (finetuning.fisher_diagonal(model, [(rows[0], rows[1].to(kind))], labels="empirical")
                for kind in (torch.int64, dtype))  # fmt: skip
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_stories_may_be_counted_in_few_bits(dtype):
    rows = data.story_rows(data.stories(5, seed=0))
    targets = rows[1].clamp(min=0)  # an unsigned number has no -100
    small = rows[0].to(dtype), targets.to(dtype)
    assert torch.equal(bigram_counts(small), bigram_counts((rows[0], targets)))
    logits = normal(*targets.shape, len(STORY_VOCAB))
    found, right = (ability_accuracy(logits, *pair) for pair in (small, (rows[0], targets)))
    assert found == pytest.approx(right, nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float64])
@pytest.mark.parametrize("shift", ["moved", "noisy", "rotated"])
def test_images_of_any_kind_are_shifted_alike(shift, dtype):
    images = (data.digits()[0][:5] > 0.5).float()
    shifted = shift_digits(images.to(dtype), shift)
    assert shifted.dtype == (dtype if dtype.is_floating_point else torch.float32)
    torch.testing.assert_close(shifted.double(), shift_digits(images, shift).double(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 256.0, 1e4, 1e20])
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_distils_at_any_temperature(dtype, temperature):
    student, teacher = (3 * normal(4, 5)).to(dtype).requires_grad_(), (3 * normal(4, 5, seed=1)).to(dtype)
    labels = torch.tensor([0, 1, 2, 3])
    loss = d.distillation_loss(student, teacher, labels, temperature=temperature)
    loss.backward()
    wide = student.detach().double().requires_grad_()
    exact = d.distillation_loss(wide, teacher.double(), labels, temperature=temperature)
    exact.backward()
    assert loss.dtype == dtype and loss.item() == pytest.approx(exact.item(), rel=0.01)
    torch.testing.assert_close(student.grad.double(), wide.grad, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("temperature", [1e-50, 1e-320, 1e50])
def test_a_temperature_beyond_float32_samples(temperature):
    chances = next_token_probabilities(torch.tensor([[0.0, 1.0, 1.0]]), temperature=temperature)
    torch.testing.assert_close(chances, torch.tensor([[0, 0.5, 0.5]]) if temperature < 1 else torch.full((1, 3), 1 / 3))


def test_half_precision_sums_are_wide():
    logits, labels = normal(40_000, 20).half(), torch.zeros(40_000).long()
    assert mean_cross_entropy(logits, labels).item() == pytest.approx(
        mean_cross_entropy(logits.double(), labels).item(), rel=1e-3)
    model = MLP([100, 100]).half()
    start = {name: weight.detach() + 20 for name, weight in model.named_parameters()}
    assert finetuning.l2_sp_penalty(model, start).item() == pytest.approx(0.5 * 400 * 10_100, rel=0.01)
    assert ranks.rank_for(torch.tensor([300.0, 300.0, 1.0]).half(), 0.9) == 2
    big = MLP([2, 2]).half()
    with torch.no_grad():
        big.layers[0].weight.fill_(60_000.0)
    assert torch.equal(finetuning.interpolate(big, big, 3.0).layers[0].weight, big.layers[0].weight)


def test_a_small_gradient_has_its_square():
    model = MLP([3, 2])
    images = 1e-25 * torch.ones(2, 3)
    fisher = finetuning.fisher_diagonal(model.double(), [(images.double(), torch.zeros(2).long())])
    assert (fisher["layers.0.weight"] > 0).all() and fisher["layers.0.weight"].dtype == torch.float64
    half = finetuning.fisher_diagonal(MLP([3, 2]).bfloat16(), [(images.bfloat16(), torch.zeros(2).long())])
    assert half["layers.0.weight"].dtype == torch.float32


def test_no_places_give_no_loss():
    nothing = torch.zeros(0, 3)
    assert d.forward_kl(nothing, nothing) == d.distillation_loss(nothing, nothing, torch.zeros(0).long()) == 0
    gpt = GPT(GPTConfig(vocab_size=5))
    assert gpt(torch.zeros(0, 3).long(), torch.zeros(0, 3).long())[1] == 0
