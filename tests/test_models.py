"""The models do what their papers say; `transformers`' GPT-2 is the oracle for ours."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from course_utils import models, runtime
from course_utils.models import GPT, MLP, GPTConfig

SMALL = GPTConfig(vocab_size=50, context=16, width=32, heads=4, layers=3)


def tokens(batch=2, length=16, seed=0):
    return torch.randint(0, 50, (batch, length), generator=runtime.generator(seed))


def from_gpt2(theirs, config):
    """Our GPT with the weights of a `transformers` GPT-2, whose Conv1D keeps its matrices transposed."""
    names = {"attn.c_attn": "attention.qkv", "attn.c_proj": "attention.out", "mlp.c_fc": "up", "mlp.c_proj": "down",
             "ln_1": "norm1", "ln_2": "norm2"}  # fmt: skip
    state = {}
    for name, value in theirs.state_dict().items():
        name = name.removeprefix("transformer.")
        name = name.replace("wte", "embed").replace("wpe", "position").replace("ln_f", "norm")
        name = name.replace("h.", "blocks.", 1)
        name = name if "lm_head" not in name else "head.weight"
        for old, new in names.items():
            if f".{old}." in name:
                name = name.replace(old, new)
                value = value.T if value.ndim == 2 else value
        state[name] = value
    ours = GPT(config)
    ours.load_state_dict(state)
    return ours


def test_the_same_logits_and_gradients_as_transformers_gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    shape = {"n_positions": 16, "n_embd": 32, "n_head": 4, "n_layer": 3}
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=50, **shape, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))
    with torch.no_grad():  # biases and norms start at 0 and 1 there: make every weight count
        for p in theirs.parameters():
            p.add_(0.1 * torch.randn_like(p))
    ours = from_gpt2(theirs, SMALL)
    x = tokens()
    expected = theirs(input_ids=x, labels=x)
    logits, loss = ours(x[:, :-1], x[:, 1:])
    torch.testing.assert_close(logits, expected.logits[:, :-1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(loss, expected.loss, atol=1e-5, rtol=1e-5)
    loss.backward()
    expected.loss.backward()
    torch.testing.assert_close(ours.embed.weight.grad, theirs.transformer.wte.weight.grad, atol=1e-5, rtol=1e-3)


def test_the_future_does_not_reach_the_past():
    gpt = GPT(SMALL)
    x = tokens()
    y = x.clone()
    y[:, 9:] = (y[:, 9:] + 1) % 50
    assert torch.allclose(gpt(x)[0][:, :9], gpt(y)[0][:, :9], atol=1e-6)
    assert not torch.allclose(gpt(x)[0][:, 9:], gpt(y)[0][:, 9:], atol=1e-6)


def test_ignored_targets_do_not_count():
    gpt = GPT(SMALL)
    x = tokens()
    targets = tokens(seed=1)
    targets[:, 5:] = models.IGNORE
    logits, loss = gpt(x, targets)
    by_hand = F.cross_entropy(logits[:, :5].reshape(-1, 50), targets[:, :5].reshape(-1))
    assert torch.allclose(loss, by_hand)
    assert gpt(x)[1] is None


def test_attention_maps_are_causal_distributions_that_give_back_the_forward_pass():
    gpt = GPT(SMALL)
    x = tokens()
    maps = gpt.attention_maps(x)
    assert maps.shape == (3, 2, 4, 16, 16)
    assert torch.allclose(maps.sum(-1), torch.ones(3, 2, 4, 16), atol=1e-6)
    assert maps.triu(1).abs().max() == 0
    attention = gpt.blocks[0].attention
    normed = gpt.blocks[0].norm1(gpt.start(x))
    _, _, v = attention.split(normed)
    mixed = attention.out((maps[0] @ v).transpose(1, 2).reshape(normed.shape))
    assert torch.allclose(mixed, attention(normed), atol=1e-5)


def test_a_tied_head_is_counted_once():
    tied, untied = GPT(SMALL), GPT(GPTConfig(vocab_size=50, context=16, width=32, heads=4, layers=3, tied=False))
    assert models.count_parameters(untied) - models.count_parameters(tied) == 50 * 32
    width, layers = 32, 3
    blocks = layers * (12 * width**2 + 13 * width)  # the textbook count
    assert models.count_parameters(tied) == (50 + 16) * width + blocks + 2 * width
    tied.embed.weight.requires_grad_(False)
    assert models.count_parameters(tied, trainable_only=True) == models.count_parameters(tied) - 50 * 32


def test_a_context_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="17 tokens do not fit into a context of 16"):
        GPT(SMALL)(tokens(length=17))


@pytest.mark.parametrize("shape", [(5,), (1, 2, 5)])
def test_tokens_are_rows(shape):
    with pytest.raises(ValueError, match="tokens of shape .*: expected \\(batch, tokens\\)"):
        GPT(SMALL)(torch.zeros(shape, dtype=torch.long))


@pytest.mark.parametrize("token", [-1, 50])
def test_a_token_outside_the_vocabulary_is_named(token):
    with pytest.raises(IndexError, match=f"tokens from .*{token}.*: this GPT knows 0 to 49"):
        GPT(SMALL)(torch.tensor([[3, token]]))


@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_no_tokens_give_no_logits(shape):
    assert GPT(SMALL)(torch.zeros(shape, dtype=torch.long))[0].shape == (*shape, 50)


def test_without_blocks_there_is_no_attention_to_show():
    gpt = GPT(GPTConfig(vocab_size=50, width=32, layers=0))
    maps = gpt.attention_maps(tokens())
    assert maps.shape == (0, 2, 4, 16, 16) and maps.dtype == torch.float32


def test_sizes_of_numpy_become_plain_numbers():
    config = GPTConfig(vocab_size=np.int64(50), width=np.int64(32))
    assert json.loads(json.dumps(asdict(config)))["width"] == 32


@pytest.mark.parametrize(
    "options, message",
    [
        ({"width": 32.0}, "width 32.0: expected a whole number"),
        ({"heads": "4"}, "heads '4': expected a whole number"),
        ({"width": 30}, "width 30 is not divisible by heads 4: choose 28 or 32"),
        ({"width": 2}, "width 2 is not divisible by heads 4: choose 4"),
        ({"heads": 0}, "heads 0: expected 1 or more"),
        ({"layers": -1}, "layers -1: expected 0 or more"),
    ],
)
def test_impossible_shapes_say_what_to_do(options, message):
    with pytest.raises(ValueError, match=message):
        GPTConfig(vocab_size=50, **options)


def test_an_mlp_is_its_layers_one_after_the_other():
    mlp = MLP([3, 5, 2], activation="tanh")
    x = torch.randn(7, 3)
    first, head = mlp.layers
    assert torch.allclose(mlp(x), head(torch.tanh(first(x))))


def test_residual_adds_the_input_where_the_width_stays():
    mlp = MLP([4, 4, 4, 2], activation="linear", residual=True)
    for layer in mlp.layers[:-1]:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x = torch.randn(5, 4)
    assert torch.allclose(mlp(x), mlp.layers[-1](x))


def test_norm_makes_hidden_signals_unit_sized():
    mlp = MLP([4, 64, 2], activation="linear", norm=True)
    hidden = mlp.norms[0](mlp.layers[0](100 * torch.randn(8, 4)))
    assert torch.allclose(hidden.var(-1, correction=0), torch.ones(8), atol=1e-3)


@pytest.mark.parametrize(
    "sizes, options",
    [([3], {}), ([3, 0], {}), ([3.5, 2], {}), (64, {}), ([3, 2], {"activation": "sine"})],
)
def test_a_bad_mlp_is_refused(sizes, options):
    with pytest.raises(ValueError, match="sizes|choose one of relu"):
        MLP(sizes, **options)
