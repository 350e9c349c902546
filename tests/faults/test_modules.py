"""Kind 4: modules less plain than they look. Done right, or a TypeError that names the layer and what to do."""

import copy
import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from course_utils import finetuning, initialization, runtime
from course_utils.distillation import copy_layers_
from course_utils.initialization import INIT_SCHEMES, initialize_
from course_utils.models import GPT, MLP, GPTConfig

SIZES = [4, 5, 5, 3]


def old_weight_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


WRAPPERS = {  # how a layer comes to compute its weight -> what the error tells to call
    "weight_norm": (old_weight_norm, "remove_weight_norm"),
    "spectral_norm": (nn.utils.spectral_norm, "remove_spectral_norm"),
    "pruned": (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), "prune.remove.layer, 'weight'"),
    "pruned twice": (lambda layer: prune.random_unstructured(prune.identity(layer, "weight"), "weight", 1),
                     "prune.remove"),
    "pruned bias": (lambda layer: prune.l1_unstructured(layer, "bias", 0.5), "prune.remove.layer, 'bias'"),
    "new weight_norm": (parametrizations.weight_norm, "remove_parametrizations.layer, 'weight'"),
    "new spectral_norm": (parametrizations.spectral_norm, "remove_parametrizations"),
    "orthogonal": (parametrizations.orthogonal, "remove_parametrizations"),
    "own": (lambda layer: parametrize.register_parametrization(layer, "weight", Doubled()), "remove_parametrizations"),
}


def wrapped(kind, *, after=None):
    """An MLP whose second layer computes its weight."""
    model = MLP(SIZES)
    if after is not None:
        after(model)
    layer = model.layers[1]
    WRAPPERS[kind][0](getattr(layer, "base", layer))
    return model


WRITERS = {  # what writes into weights
    "initialize_": lambda kind: initialize_(wrapped(kind), "he", generator=runtime.generator(0)),
    "unit_variance_": lambda kind: initialization.unit_variance_(wrapped(kind), torch.randn(9, 4)),
    "add_lora_": lambda kind: finetuning.add_lora_(wrapped(kind), rank=1),
    "merge_lora_": lambda kind: finetuning.merge_lora_(wrapped(kind, after=lambda m: finetuning.add_lora_(m, rank=1))),
    "copy to": lambda kind: copy_layers_(wrapped(kind), MLP(SIZES), layers=[0, 1]),
    "copy from": lambda kind: copy_layers_(MLP(SIZES), wrapped(kind), layers=[0, 1]),
    "interpolate": lambda kind: finetuning.interpolate(wrapped(kind), wrapped(kind), 0.5),
    "average": lambda kind: finetuning.average([MLP(SIZES), wrapped(kind)]),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_layer_that_computes_its_weight_is_named_and_refused(kind, writer):
    with pytest.raises(TypeError, match=rf"of layer 'layers\.1(\.base)?' is computed .*{WRAPPERS[kind][1]}"):
        WRITERS[writer](kind)


@pytest.mark.parametrize("kind", WRAPPERS)
def test_what_the_error_tells_to_do_helps(kind):
    model = wrapped(kind)
    layer, name = model.layers[1], "bias" if kind == "pruned bias" else "weight"
    undo = WRAPPERS[kind][1].partition(".layer")[0]
    if undo.startswith("remove_param"):
        parametrize.remove_parametrizations(layer, name)
    elif undo == "prune.remove":
        prune.remove(layer, name)
    else:
        getattr(nn.utils, undo)(layer)
    initialize_(model, "he", generator=runtime.generator(0))
    plain = initialize_(MLP(SIZES), "he", generator=runtime.generator(0))
    images = torch.randn(3, 4, generator=runtime.generator(1))
    assert torch.equal(model(images), plain(images))


@pytest.mark.parametrize("kind", WRAPPERS)
def test_freezing_and_fisher_are_right_on_such_a_layer(kind):
    model = wrapped(kind)
    names = finetuning.freeze_(model, train="layers.1*")
    assert names and all(name.startswith("layers.1.") for name in names)
    found = finetuning.fisher_diagonal(model, [(torch.randn(3, 4), torch.zeros(3).long())])
    assert set(found) == set(names)
    finetuning.freeze_(model, train_last=1)
    assert not any(weight.requires_grad for weight in model.layers[1].parameters())


def test_a_layer_beside_the_adapted_ones_may_compute_its_weight():
    model = wrapped("weight_norm")
    images = torch.randn(3, 4)
    adapters = finetuning.add_lora_(model, rank=1, targets=["layers.0"])
    shake_(adapters)
    before = model(images)
    torch.testing.assert_close(finetuning.merge_lora_(model)(images), before)


@pytest.mark.parametrize("scheme", INIT_SCHEMES)
def test_the_row_for_padding_stays_zero(scheme):
    for padding in (0, 3, -1):
        model = nn.Sequential(nn.Embedding(5, 4, padding_idx=padding), nn.Linear(4, 4))
        inputs = {"inputs": torch.arange(5)} if "inputs" in INIT_SCHEMES[scheme].options else {}
        initialize_(model, scheme, generator=runtime.generator(0), **inputs)
        rows = model[0].weight.abs().sum(1)
        assert rows[padding] == 0 and (scheme == "zeros" or (rows > 0).sum() == 4)


def shake_(adapters):
    with torch.no_grad():
        for number, adapter in enumerate(adapters.values()):
            adapter.B.normal_(generator=runtime.generator(number))


def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    return nn.TransformerEncoder(layer, 2)


@pytest.mark.parametrize("targets", [None, ["linear1"], ["linear2", "out_proj"]])
def test_lora_on_pytorchs_encoder_counts_in_evaluation_too(targets):
    model, x = encoder().eval(), torch.randn(2, 5, 8, generator=runtime.generator(0))
    plain = model(x).detach()
    adapters = finetuning.add_lora_(model, rank=2, targets=targets)
    torch.testing.assert_close(model(x), plain)
    shake_(adapters)
    slow = model(x).detach()  # gradients are on: each layer is called
    assert (slow - plain).abs().max() > 0.1
    for context in (torch.no_grad, torch.inference_mode):  # the fast path reads matrices
        with context():
            torch.testing.assert_close(model(x), slow, rtol=0, atol=1e-5)
    torch.testing.assert_close(finetuning.merge_lora_(model)(x), slow, rtol=0, atol=1e-5)


def test_lora_on_pytorchs_attention_trains_what_it_reads():
    attention, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(2, 5, 8)
    adapter = finetuning.add_lora_(attention, rank=2, targets="out_proj")["out_proj"]
    attention(x, x, x)[0].square().sum().backward()
    assert adapter.B.grad.abs().max() > 0
    shake_({"out_proj": adapter})
    before = attention(x, x, x)[0]
    assert torch.equal(adapter.weight, adapter.base.weight + adapter.update) and adapter.bias is adapter.base.bias
    finetuning.merge_lora_(attention)
    torch.testing.assert_close(attention(x, x, x)[0], before)
    with pytest.raises(ValueError, match="no layer to adapt: name some in targets, of out_proj"):
        finetuning.add_lora_(nn.MultiheadAttention(8, 2))


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(4, 3)
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.5)

    def forward(self, x):
        return self.used(self.drop(self.norm(self.body(x))))


@pytest.mark.parametrize("labels", ["exact", "sampled", "empirical"])
def test_fisher_is_zero_for_a_head_that_the_model_does_not_use(labels):
    model, rows = TwoHeads(), [(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, -100, 1]))]
    model.norm.eval()
    modes, mean = [part.training for part in model.modules()], model.norm.running_mean.clone()
    found, again = (finetuning.fisher_diagonal(model, rows, labels=labels) for _ in range(2))
    assert found["unused.weight"].abs().max() == 0 < found["used.weight"].abs().max()
    assert all(torch.equal(found[name], again[name]) for name in found)  # without dropout
    assert [part.training for part in model.modules()] == modes and torch.equal(model.norm.running_mean, mean)
    finetuning.freeze_(model, train="unused*")
    assert all(part.abs().max() == 0 for part in finetuning.fisher_diagonal(model, rows, labels=labels).values())


def test_fisher_puts_the_mode_back_after_an_error():
    model = TwoHeads()
    with pytest.raises(ValueError, match="expected one whole number for each"):
        finetuning.fisher_diagonal(model, [(torch.randn(2, 4), torch.zeros(2, 5).long())])
    assert all(part.training for part in model.modules())


def test_adapters_are_merged_before_their_models_are_started_mixed_or_copied():
    model = MLP(SIZES)
    finetuning.add_lora_(model, rank=1)
    with pytest.raises(TypeError, match="layer 'layers.0' has a LoRA adapter.*merge_lora_ first"):
        finetuning.interpolate(model, copy.deepcopy(model), 0.5)
    for residual in (False, True):
        adapted = MLP([4, 4, 4], residual=residual)
        finetuning.add_lora_(adapted, rank=1)
        with pytest.raises(TypeError, match="no scheme for LoRALinear at 'layers.0'"):
            initialize_(adapted, "he", generator=runtime.generator(0))
    for pair in ((MLP(SIZES), model), (model, MLP(SIZES))):
        with pytest.raises(ValueError, match="teacher nothing"):
            copy_layers_(*pair, layers=[0, 1])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("vocab", [8, 116, 5000])
def test_a_bare_gpt_begins_near_ln_v(vocab, tied):
    state = torch.get_rng_state()
    losses = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = GPT(GPTConfig(vocab_size=vocab, tied=tied))
        tokens = torch.randint(vocab, (8, 65), generator=runtime.generator(seed))
        losses.append(model(tokens[:, :-1], tokens[:, 1:])[1].item())
    torch.set_rng_state(state)
    assert all(math.log(vocab) - 0.1 < loss < math.log(vocab) + 0.25 for loss in losses)
