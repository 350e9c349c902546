"""Starts: what the Markov source is, what each recipe builds, and what its panels show."""

import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from chapters.initialization import board, deep, slicing, starts, warm, widths
from chapters.initialization import panel_board as boards
from chapters.initialization import panel_starts as panels
from chapters.initialization import studies_starts as studies
from chapters.initialization.markov import CONTEXT, SYMBOLS, markov_source
from chapters.initialization.theory import initial_loss
from course_utils import data, initialization, sweeps, training
from course_utils.models import GPT, GPTConfig
from course_utils.runtime import generator
from tools.picture import COLUMNS

SPLIT = data.digits_split()

# --- the Markov source ----------------------------------------------------------------------------------------------


def test_the_source_keeps_its_pairs_and_its_ladder_descends():
    source = markov_source()
    after = (source.pairs[..., None] * source.chances).sum(0)
    assert torch.allclose(after, source.pairs, atol=1e-12)
    levels = list(source.ladder().values())
    assert levels == sorted(levels, reverse=True)
    assert levels[0] == pytest.approx(math.log(SYMBOLS))


def test_its_own_chances_reach_the_floor_and_counted_pairs_the_bigram_level():
    source = markov_source()
    tokens, targets = source.rows(generator(0), 4000)
    assert tokens.shape == targets.shape == (4000, CONTEXT)
    assert torch.equal(tokens[:, 1:], targets[:, :-1])
    pairs = (source.pairs[..., None] * source.chances).sum(0)
    after_one = pairs / pairs.sum(1, keepdim=True)
    loss = -source.chances[tokens[:, :-1], tokens[:, 1:], targets[:, 1:]].log()
    first = -after_one[tokens[:, 0], targets[:, 0]].log()
    assert torch.cat([first[:, None], loss], 1).mean().item() == pytest.approx(source.ladder()["floor"], rel=0.01)
    assert -after_one[tokens, targets].log().mean().item() == pytest.approx(source.ladder()["bigram"], rel=0.01)


# --- scales and the first loss --------------------------------------------------------------------------------------


def test_both_scales_are_what_they_say():
    gpt = starts.scaled_gpt(GPTConfig(vocab_size=116), embedding=0.3, linear=0.05, generator=generator(0))
    for name, weight in gpt.named_parameters():
        if weight.ndim == 2:
            expected = 0.3 if name.startswith(("embed", "position")) else 0.05
            assert weight.std().item() == pytest.approx(expected, rel=0.05), name


def test_the_first_loss_follows_the_formula_where_the_layers_drown_the_token_just_read():
    for embedding in (0.02, 0.1):
        found = starts.first_loss(embedding=embedding, linear=0.125)
        expected = initial_loss(len(data.STORY_VOCAB), starts.WIDTH * embedding**2)
        assert found.loss == pytest.approx(expected, rel=0.03)
        assert found.spread == pytest.approx(8 * embedding, rel=0.1)
    loud = starts.first_loss(embedding=1.0, linear=0.02)
    assert loud.own > 5 * loud.spread


def test_an_unknown_source_is_named():
    with pytest.raises(ValueError, match="source 'novels': choose one of stories, markov"):
        starts.scales_recipe(source="novels")


# --- residual networks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["zeroed", "gated"])
def test_branches_that_start_at_zero_hide_the_depth_and_then_learn(start):
    network = deep.deep_network(generator(0), blocks=6, start=start)
    mlp = network.mlp if start == "gated" else network
    plain = mlp.layers[-1](F.gelu(mlp.layers[0](SPLIT.train_images)))
    assert torch.allclose(network(SPLIT.train_images), plain, atol=1e-6)
    F.cross_entropy(network(SPLIT.train_images), SPLIT.train_labels).backward()
    awake = network.gates.grad if start == "gated" else torch.stack([layer.weight.grad for layer in mlp.layers[1:-1]])
    assert (awake.flatten(1).abs().sum(1) > 0).all() if awake.ndim > 1 else (awake != 0).all()


def test_without_normalization_a_plain_stream_grows_as_a_power_and_a_shrunk_one_does_not():
    def size(start, blocks):
        with torch.no_grad():
            return deep.deep_network(generator(0), blocks=blocks, start=start)(SPLIT.train_images).square().mean()

    assert size("plain", 64) / size("plain", 32) > 1e3
    assert size("1/sqrt(blocks)", 64) / size("1/sqrt(blocks)", 32) < 3


# --- the board ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_network_on_the_board_is_the_one_that_trains_alone(optimizer):
    run = training.finish(board.board_recipe(optimizer=optimizer, steps=10).start(3, device="cpu"))
    split, lr = data.digits_split(), board.LR * board.SHARE[optimizer]
    for network, scheme in (("norm", "xavier"), ("norm + residual", "lsuv")):
        build = partial(board.board_network, network=network, scheme=scheme)
        batches = data.row_batches(split.train_images, split.train_labels, batch_size=board.BATCH)
        alone = sweeps.train_many(build, batches, steps=10, lr=lr, seed=3, optimizer=optimizer, device="cpu",
                                  test=(split.test_images, split.test_labels))  # fmt: skip
        shown = run.history[f"{network}, {scheme}"].last
        assert shown == pytest.approx(alone.accuracy.item(), abs=0.01)


def test_a_field_is_what_its_best_rate_gives_alone():
    builds = {scheme: partial(board.board_network, network="norm + residual", scheme=scheme)
              for scheme in ("he", "lsuv")}  # fmt: skip
    row = studies.best_rates(builds, optimizer="sgd", steps=5)
    split, batch = data.digits_split(), board.BATCH
    for scheme, build in builds.items():
        lr = 10 ** row[f"{scheme}, log10 lr"]
        assert min(abs(lr / rate - 1) for rate in studies.RATES["sgd"]) < 1e-6
        alone = sweeps.train_many(build, data.row_batches(split.train_images, split.train_labels, batch_size=batch),
                                  steps=5, lr=lr, seed=studies.SEEDS, optimizer="sgd",
                                  test=(split.test_images, split.test_labels))  # fmt: skip
        assert row[scheme] == pytest.approx(alone.accuracy.tolist(), abs=0.01)


def test_the_tuned_board_names_what_is_lost():
    shares = np.full((len(board.SCHEMES), len(board.NETWORKS)), 0.9)
    shares[2, 1] = 0.1
    panel = boards.stored_board_panel(lambda _: shares, lambda _: np.full_like(shares, 0.01))
    assert panel.shown.summary == "Under 20%: xavier in norm."
    assert "90% 1e-02" in panel.shown.texts[0][1]
    assert max(map(len, panel.shown.texts[0][1].splitlines())) <= COLUMNS  # more would scroll


# --- slices ---------------------------------------------------------------------------------------------------------


def doubled(small, config):
    """A GPT twice as wide in which every unit and every head stands twice, and which computes the same."""
    big = GPT(config)
    wide = dict(big.named_parameters())
    with torch.no_grad():
        for name, weight in small.named_parameters():
            layer = name.split(".")[-2]
            if layer == "qkv":  # whole heads are doubled
                weight = weight.unflatten(0, (3, 2, -1)).repeat_interleave(2, 1).flatten(0, 2)
            else:
                weight = weight if layer in ("embed", "position") else weight.repeat_interleave(2, 0)
            if weight.ndim == 2 and layer == "out":
                weight = weight.unflatten(1, (2, -1)).repeat_interleave(2, 1).flatten(1) / 2
            elif weight.ndim == 2:
                weight = weight.repeat_interleave(2, 1) / (1 if layer in ("embed", "position") else 2)
            wide[name].copy_(weight)
    return big


def test_a_slice_takes_whole_heads_and_the_same_places_everywhere():
    narrow = GPTConfig(vocab_size=20, context=8, width=16, heads=2)
    small = initialization.initialize_(GPT(narrow), "width", generator=generator(0))
    big = doubled(small, GPTConfig(vocab_size=20, context=8, width=32, heads=4))
    tokens = torch.arange(8)[None]
    assert torch.allclose(big(tokens)[0], 2 * small(tokens)[0], atol=1e-4)  # the output sums over twice as many
    cut = slicing.slice_gpt(big, 16)
    for (name, a), b in zip(cut.named_parameters(), small.parameters(), strict=True):
        summed = a.ndim == 2 and not name.startswith(("embed", "position"))
        assert torch.allclose(a * (2 if summed else 1), b), name


@pytest.mark.parametrize("width", [0, 10, 32, 48])
def test_a_width_that_cannot_be_cut_is_refused(width):
    big = GPT(GPTConfig(vocab_size=20, context=8, width=32, heads=2))
    with pytest.raises(ValueError, match=f"width {width}: expected a multiple of 16"):
        slicing.slice_gpt(big, width)


def test_a_shuffled_slice_keeps_every_number_and_loses_their_order():
    cut, mixed = (slicing.small_recipe(start=start).start(0, device="cpu").model for start in ("sliced", "shuffled"))
    for (name, weight), other in zip(cut.named_parameters(), mixed.parameters(), strict=True):
        assert torch.equal(weight.flatten().sort().values, other.flatten().sort().values), name
        assert weight.ndim == 1 or not torch.equal(weight, other), name


# --- warm starts ----------------------------------------------------------------------------------------------------


def test_a_warm_start_is_the_old_network_and_a_shrunk_one_lies_between():
    old = {name: weight.detach() for name, weight in warm.fresh_network(generator(9), shape="wide").named_parameters()}

    def begun(start):
        network = warm.continued(generator(0), old=lambda: old, start=start, shape="wide")
        return dict(network.named_parameters())

    fresh, kept, shrunk = (begun(start) for start in warm.STARTS)
    for name, weight in warm.fresh_network(generator(0), shape="wide").named_parameters():
        assert torch.equal(fresh[name], weight)
        assert torch.equal(kept[name], old[name])
        assert torch.allclose(shrunk[name], 0.4 * old[name] + 0.4 * weight, atol=1e-6)
    with pytest.raises(ValueError, match="start 'cold': choose one of fresh, warm, shrunk"):
        begun("cold")


def test_a_live_warm_start_has_learned_the_first_half():
    network = warm.warm_recipe(start="warm").start(0, device="cpu").model
    images, labels = warm.noisy_digits()["half"]
    assert (network(images).argmax(-1) == labels).float().mean() > 0.98


# --- width ----------------------------------------------------------------------------------------------------------


def test_both_parametrizations_are_one_at_the_base_width():
    losses = [widths.sweep(width=widths.BASE, parametrization=name, lrs=(1e-3, 1e-2), steps=12)
              for name in widths.SCHEMES]
    assert torch.allclose(*losses, rtol=1e-5)


# --- the panels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("build", "moves", "summary"), [
    (panels.first_loss_panel, {"embedding": 1.0, "source": "markov"}, r"ln V is 2\.08"),
    (panels.stream_panel, {"blocks": 3}, "after 3 blocks: plain .*, zeroed 0.02"),
    (panels.lsuv_panel, {"activation": "relu", "scaled": 12}, "All layers scaled: standard deviations from 1.000"),
    (boards.coordinate_panel, {"lr": 1e-2}, "to the power of"),
])  # fmt: skip
def test_an_explorer_follows_its_controls(build, moves, summary):
    panel = build()
    before = panel.shown.summary
    for name, value in moves.items():
        panel.controls[name].value = value
    assert panel.shown.summary != before
    assert re.search(summary, panel.shown.summary)
    assert all(np.isfinite(curve["y"]).all() for curve in panel.shown.figures[0]["data"])


@pytest.mark.parametrize("build", [panels.scales_panel, panels.deep_panel, boards.board_panel, boards.small_panel,
                                   boards.warm_panel])
def test_a_training_panel_takes_a_step_with_every_choice_of_its_first_setting(build):
    panel = build()
    name, setting = next(iter(panel.settings.items()))
    for value in setting.options:
        setting.value = value
        panel.step()
        panel.pause()
        assert panel.session.step_count == 1, (name, value)
    panel.close()
