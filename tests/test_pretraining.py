"""The story GPT reaches its floor; sampling, counting and scaling follow their formulas; studies are what they say."""

import math
import re
import time

import numpy as np
import pytest
import torch

from chapters.pretraining import embeddings
from chapters.pretraining import panel_inside as inside
from chapters.pretraining import panel_scaling as scaling
from chapters.pretraining import panel_stories as stories
from chapters.pretraining import panel_texts as texts
from chapters.pretraining.characters import manual_text
from chapters.pretraining.ngrams import bigram_counts, ngram_tables
from chapters.pretraining.scaling import fit_scaling_law
from chapters.pretraining.studies import STUDIES as studies
from chapters.pretraining.studies import _copied
from chapters.pretraining.texts import text_recipe, unigram_entropy
from chapters.stories import (
    _questions,
    evaluate,
    held_out_loss,
    judge_written,
    question_recipe,
    story_pool,
    story_recipe,
)
from course_utils import checkpoint, data, initialization, pretraining, runtime, training
from course_utils.evidence import above
from course_utils.models import GPT, GPTConfig

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0])
FLOOR = data.stories_entropy()


@pytest.fixture(scope="module")
def gpt():
    return checkpoint.load("story_gpt")


# --- the story GPT ---------------------------------------------------------------------------------------------------


def test_a_thousand_steps_come_within_ten_percent_of_the_floor_and_not_below_it():
    run = training.finish(story_recipe(measured=False).start(1))
    loss = held_out_loss(run.model, stories=2000)
    assert FLOOR * 0.99 < loss < FLOOR * 1.1


def test_the_shipped_checkpoint_has_the_loss_that_its_card_says(gpt):
    told = float(re.search(r"held-out loss: ([\d.]+)", checkpoint.card("story_gpt"))[1])
    assert held_out_loss(gpt, stories=2000) == pytest.approx(told, abs=2e-3)
    knows = evaluate(gpt, runtime.generator(0))
    assert min(value for name, value in knows.items() if name != "held-out") > 0.9


def test_the_first_loss_is_ln_v():
    for seed in range(3):
        loss = story_recipe(measured=False).start(seed).step()
        assert loss == pytest.approx(math.log(len(data.STORY_VOCAB)), rel=0.1)


def test_a_shorter_context_sees_the_beginnings_of_stories():
    run = story_recipe(context=8, width=16).start(0)
    run.step()
    assert run.model.config.context == 8
    assert 0 < held_out_loss(run.model, stories=100) < 6


def test_what_a_model_writes_is_judged(gpt):
    right = judge_written(gpt, runtime.generator(0))
    assert set(right) == {f"written {name}" for name in ("syntax", "pronoun", "feeling", "thing", "place")}
    assert min(right.values()) > 0.5
    run = story_recipe(judged=True, measured=False).start(0)
    assert run.history["written syntax"].last == run.history["written thing"].last == 0  # words in no order


@pytest.mark.parametrize("options, message", [
    ({"schedule": "linear"}, "schedule 'linear': choose one of cosine, constant"),
    ({"width": 30}, "choose 28 or 32"),
])  # fmt: skip
def test_a_bad_recipe_says_what_to_do(options, message):
    with pytest.raises(ValueError, match=message):
        story_recipe(**options)


# --- sampling --------------------------------------------------------------------------------------------------------


def test_temperature_and_top_k_shape_the_probabilities():
    chances = pretraining.next_token_probabilities
    torch.testing.assert_close(chances(LOGITS), LOGITS.softmax(0))
    torch.testing.assert_close(chances(LOGITS, temperature=0.5), (2 * LOGITS).softmax(0))
    assert chances(LOGITS, temperature=0).tolist() == [1, 0, 0, 0]
    torch.testing.assert_close(chances(LOGITS, temperature=1e-8), chances(LOGITS, temperature=0))
    torch.testing.assert_close(chances(LOGITS, temperature=1e8), torch.full((4,), 0.25))
    cut = chances(LOGITS, top_k=2)
    torch.testing.assert_close(cut[:2], LOGITS[:2].softmax(0))
    assert cut[2:].tolist() == [0, 0] and torch.equal(chances(LOGITS, top_k=99), chances(LOGITS))
    for bad in ({"temperature": -1}, {"temperature": math.nan}, {"top_k": 0}):
        with pytest.raises(ValueError, match="expected"):
            chances(LOGITS, **bad)


def test_top_k_keeps_k_even_of_equal_ones_and_at_any_temperature():
    for temperature in (0.5, 1.0, math.inf):
        chances = pretraining.next_token_probabilities(torch.zeros(2, 6), top_k=2, temperature=temperature)
        assert (chances > 0).sum(-1).tolist() == [2, 2] and chances.sum(-1).tolist() == [1, 1]


@pytest.mark.parametrize("shape", [(3,), (1, 0)])
def test_a_prompt_is_rows_with_a_token(shape):
    model = GPT(GPTConfig(vocab_size=5, context=4, width=8, heads=2))
    with pytest.raises(ValueError, match="prompt of shape .*: expected .batch, tokens. with one token at least"):
        pretraining.sample(model, torch.zeros(shape, dtype=torch.long), steps=1, generator=runtime.generator(0))


@pytest.mark.parametrize("how", [{}, {"temperature": 0.5}, {"temperature": 2.0, "top_k": 3}])
def test_samples_are_as_frequent_as_their_probabilities_say(how):
    model = GPT(GPTConfig(vocab_size=5, context=4, width=8, heads=2))
    initialization.initialize_(model, "normal", std=0.5, generator=runtime.generator(0))
    prompts = torch.zeros(20_000, 1, dtype=torch.long)
    drawn = pretraining.sample(model, prompts, steps=1, generator=runtime.generator(0), **how)
    counts = drawn[:, 1].bincount(minlength=5).double()
    logits = model(torch.zeros(1, 1, dtype=torch.long))[0][0, 0].double() / how.get("temperature", 1.0)
    logits[logits.argsort()[: 5 - how.get("top_k", 5)]] = -math.inf
    expected = 20_000 * logits.softmax(0)
    assert counts[expected == 0].sum() == 0
    chi_squared = ((counts - expected)[expected > 0].square() / expected[expected > 0]).sum()
    assert chi_squared < 23.5  # a chance of 1 in 10,000 with four degrees of freedom


def test_a_sample_starts_with_its_prompt_repeats_with_its_seed_and_stops(gpt):
    tokenizer = data.StoryTokenizer()
    prompt = torch.tensor([[tokenizer.begin, *tokenizer.encode("Anna has")]] * 4)
    how = {"steps": 60, "stop": tokenizer.end}
    rows = pretraining.sample(gpt, prompt, generator=runtime.generator(3), **how)
    assert torch.equal(rows[:, :3], prompt)
    assert torch.equal(rows, pretraining.sample(gpt, prompt, generator=runtime.generator(3), **how))
    assert not torch.equal(rows[:1], pretraining.sample(gpt, prompt[:1], generator=runtime.generator(4), **how))
    for row in rows.tolist():
        end = row.index(tokenizer.end)
        assert set(row[end:]) == {tokenizer.end}


def test_sampling_goes_on_beyond_the_context():
    model = GPT(GPTConfig(vocab_size=5, context=4, width=8, heads=2))
    rows = pretraining.sample(model, torch.zeros(2, 1, dtype=torch.long), steps=9, generator=runtime.generator(0))
    assert rows.shape == (2, 10)


# --- counting and scaling ---------------------------------------------------------------------------------------------


def test_bigram_counts_count_every_counted_pair():
    inputs, targets = story_pool(50)
    counts = bigram_counts((inputs, targets))
    assert counts.sum() == (targets >= 0).sum()
    by_hand = sum(int(a == 5 and b == 40) for a, b in zip(inputs.flatten(), targets.flatten(), strict=True))
    assert counts[5, 40] == by_hand
    tables = ngram_tables((inputs, targets))
    for table in tables.values():
        torch.testing.assert_close(table.sum(1), torch.ones(len(counts), dtype=table.dtype))


def law_data(noise):
    sizes, tokens = (grid.ravel() for grid in np.meshgrid([5e3, 1e4, 3e4, 1e5], [1e5, 3e5, 1e6, 3e6]))
    excess = 20 / sizes**0.5 + 300 / tokens**0.6
    return sizes, tokens, 0.5 + excess * np.exp(noise * np.random.default_rng(0).normal(size=16))


def test_a_scaling_law_is_found_again():
    law = fit_scaling_law(*law_data(0.0), floor=0.5)
    assert (law.a, law.alpha, law.b, law.beta) == pytest.approx((20, 0.5, 300, 0.6), rel=1e-3)
    assert law.r_squared == pytest.approx(1) and float(law.loss(1e5, 1e6)) == pytest.approx(
        0.5 + 20 / 1e5**0.5 + 300 / 1e6**0.6
    )


def test_its_interval_holds_the_truth_and_grows_with_the_noise():
    truth = 0.5 + 20 / 2e5**0.5 + 300 / 6e6**0.6
    widths = []
    for noise in (0.02, 0.1):
        low, high = fit_scaling_law(*law_data(noise), floor=0.5).interval(2e5, 6e6)
        assert low < truth < high
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize(("place", "value", "message"), [
    (0, 0.0, "parameters .*: expected finite numbers above 0"),
    (2, math.nan, "losses .*: expected finite numbers above 0; leave out runs that diverged"),
    (0, None, "parameters are all 5000"),
    (1, None, "tokens are all 100000"),
])  # fmt: skip
def test_runs_that_cannot_tell_a_law_are_named(place, value, message):
    runs = list(law_data(0.0))
    if value is None:
        runs[place] = np.full_like(runs[place], runs[place][0])
    else:
        runs[place][3] = value
    with pytest.raises(ValueError, match=message):
        fit_scaling_law(*runs, floor=0.5)


def test_a_scaling_law_needs_five_runs_above_the_floor():
    sizes, tokens, losses = law_data(0.0)
    with pytest.raises(ValueError, match="five runs or more"):
        fit_scaling_law(sizes[:4], tokens[:4], losses[:4], floor=0.5)
    with pytest.raises(ValueError, match="not above the floor"):
        fit_scaling_law(sizes, tokens, losses, floor=0.7)


def test_real_text_is_learned_and_a_short_one_refused():
    run = training.finish(text_recipe(manual_text(), width=32, steps=60).start(0))
    assert run.history["held-out"].last < run.history.levels["ln V"] - 0.5
    assert isinstance(run.history.texts["sample"], str)
    with pytest.raises(ValueError, match="this text has 40 characters: choose one with 200 or more"):
        text_recipe("abcab" * 8)
    assert unigram_entropy(torch.tensor([0, 1, 0, 1])) == pytest.approx(math.log(2))


# --- studies --------------------------------------------------------------------------------------------------------


def test_a_point_runs_again_with_the_same_result():
    first = studies.run_point("schedule", lr=5e-3, warmup=5, horizon=20, steps=20, seed=3)
    assert first == studies.run_point("schedule", lr=5e-3, warmup=5, horizon=20, steps=20, seed=3)
    assert first != studies.run_point("schedule", lr=5e-3, warmup=5, horizon=20, steps=20, seed=4)
    assert set(studies.run_point("repeats", stories=20, steps=60, seed=0)) == {"learned", "loss", "copied", "control"}
    assert studies.run_point("scaling", width=8, steps=60, seed=0)["tokens"] > 10_000
    question = {"examples": 30, "steps": 12, "seed": 0}
    assert 0 <= studies.run_point("head_start", start="scratch", **question)["accuracy"] < 0.5


def test_the_longest_copied_span_is_found():
    tokenizer = data.StoryTokenizer()
    whole = "Anna has a red ball. She goes to the park with the ball."
    known = data.story_rows([whole])[0]
    new = torch.tensor([[tokenizer.begin, *tokenizer.encode("Ben has a red ball. She goes to the zoo.")]])
    assert _copied(new, known) == len(tokenizer.encode("has a red ball. She goes to the"))
    assert _copied(known, known) == len(tokenizer.encode(whole))


def test_the_head_start_is_asked_fairly():
    rows, answers = _questions(50, 7)
    assert ((answers >= 0).sum(1) == 1).all() and rows.shape == (50, 64)
    with pytest.raises(ValueError, match="start 'warm': choose one of pretrained, scratch"):
        question_recipe(start="warm")
    assert above(*(studies.column("head_start", "accuracy", start=start, examples=300, steps=300)
                   for start in ("pretrained", "scratch")))  # fmt: skip


# --- the panels -----------------------------------------------------------------------------------------------------


def test_the_guessers_lose_less_the_more_they_know(gpt):
    panel = stories.guesser_panel({"gpt": lambda: gpt})
    losses = []
    for who in panel.controls["who"].options:
        panel.controls["who"].value = who
        each = []
        for place in range(10, 40, 3):
            panel.controls["place"].value = place
            each.append(float(re.search(r"loss ([\d.]+)", panel.shown.summary)[1]))
        losses.append(sum(each))
    assert losses == sorted(losses, reverse=True)


def test_the_prompt_box_writes_on_and_refuses_what_it_cannot_read(gpt, monkeypatch):
    panel = stories.prompt_panel({"gpt": lambda: gpt})
    panel.controls["prompt"].value = "Ben finds a"
    assert panel.shown.texts[0][1].startswith("Ben finds a")
    panel.controls["top_k"].value = 1
    assert "between 1.0 equally likely" in panel.shown.summary
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    panel.controls["prompt"].value = "a dragon"
    assert "unknown word" in panel._notice.value and "dragon" in panel._notice.value
    panel.controls["prompt"].value = "the " * 64
    assert "reads at most 63" in panel._notice.value


def test_attention_and_embeddings_come_from_the_model_that_is_chosen(gpt, monkeypatch):
    models = {"one": lambda: gpt, "other": lambda: story_recipe(measured=False).start(5).model}
    attention = inside.attention_panel(models)
    before = attention.shown.figures[0]["data"][0]["z"].copy()
    assert np.allclose(before.sum(1), 1, atol=1e-4)
    attention.controls["model"].value = "other"
    assert not np.array_equal(before, attention.shown.figures[0]["data"][0]["z"])
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    attention.controls["layer"].value = 7
    assert "2 layers of 4 heads: choose among them" in attention._notice.value
    plane, share = inside.principal_plane(torch.randn(9, 2) @ torch.randn(2, 30))
    assert share == pytest.approx(1) and plane.shape == (9, 2)
    assert "This plane holds" in inside.embedding_panel(models).shown.summary


def test_embeddings_tell_kinds_and_pronouns_apart_once_they_are_learned(gpt):
    fresh = story_recipe(measured=False).start(0).model
    assert embeddings.nearest_is_of_kind(fresh) < 0.5 < 0.9 < embeddings.nearest_is_of_kind(gpt) <= 1
    with torch.no_grad():  # the same row for all names with one pronoun: read off exactly
        for side, names in ((1.0, embeddings.KINDS["she"]), (-1.0, embeddings.KINDS["he"])):
            for name in names:
                fresh.embed.weight[data.STORY_VOCAB.index(name)] = side
    assert embeddings.pronoun_is_read(fresh) == 1


def test_the_scaling_panel_predicts_what_the_law_says():
    rows = [{"parameters": n, "tokens": d, "steps": d, "loss": y} for n, d, y in zip(*law_data(0.05), strict=True)]
    law = fit_scaling_law(*law_data(0.05), floor=0.5)
    panel = scaling.scaling_panel(law, rows)
    panel.controls["parameters"].value = 2e4
    assert f"expect a loss of {float(law.loss(2e4, 1e6)):.3f}" in panel.shown.summary
    *pairs, yours = panel.shown.figures[0]["data"]
    assert [line["mode"] for line in pairs[:2]] == ["lines", "markers"] and len(set(yours["x"])) == 1
    low, high = law.interval(panel.controls["parameters"].value, panel.controls["tokens"].value)
    np.testing.assert_allclose(yours["y"][[0, -1]], np.array([low, high]) - law.floor)


FILES = [(b"", "empty"), (b"abc", "3 characters"), (bytes(range(256)) * 4, "UTF-8|binary"),
         (b"a " * 3_000_000, "limit"), ("".join(map(chr, range(0x4E00, 0x4F40))).encode(), "occurs twice")]  # fmt: skip


def test_the_text_panel_keeps_its_text_where_a_new_one_is_refused(monkeypatch):
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    panel = texts.TextPanel(title="Text test")
    title, picker = panel.box.children[1:3]
    assert "Text test" in title.value and picker is panel.picker, "the file is chosen below the title"
    before = panel.text
    for content, reason in FILES:
        panel.picker._receive(None, {"type": "file", "name": "x"}, [content])
        assert re.search(reason, panel._notice.value) and panel.text is before
    panel.picker._receive(None, {"type": "refused", "text": "x has 100.0 MB: the most is 5.0 MB"}, [])
    assert "100.0 MB" in panel._notice.value
    panel.picker._receive(None, {"type": "file", "name": "good.txt"}, [b"it was the best of times. " * 40])
    assert panel.text.startswith("it was") and panel._notice.value == ""
    panel.session.start(steps=2)
    while panel.session.running:
        time.sleep(0.01)
    assert panel.session.step_count == 2 and panel.error is None
    panel.close()
