"""Copying from context: what is asked stood before, no position tells where, and the measure knows a perfect head."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from chapters.pretraining import copying, heads
from chapters.pretraining.studies import STUDIES as studies
from chapters.stories import HELD_OUT_SEED, story_pool
from chapters.stories.abilities import ability_accuracy
from course_utils import checkpoint, runtime, training
from course_utils.models import GPT, IGNORE, GPTConfig


def test_what_is_asked_stood_before_and_only_that():
    rows, targets = copying.copying_rows(runtime.generator(0), 200)
    assert rows.shape == targets.shape == (200, 32)
    assert (targets[:, : copying.FIRST - 1] < 0).all()
    for row, wanted in zip(rows.tolist(), targets.tolist(), strict=True):
        first = row[: copying.FIRST]
        assert len(set(first)) == copying.FIRST and set(row) <= set(first)
        for place in (place for place, target in enumerate(wanted) if target >= 0):
            assert first[first.index(row[place]) + 1] == wanted[place]


def test_no_position_tells_where_to_look():
    rows, targets = copying.copying_rows(runtime.generator(1), 4000)
    asked = targets[:, 20] >= 0
    places = (rows[asked, : copying.FIRST] == rows[asked, 20, None]).float().argmax(1)
    counts = torch.bincount(places, minlength=copying.FIRST - 1)
    assert counts.min() > 0 and counts.max() / counts.sum() < 0.25


def test_attention_that_sees_what_comes_reads_all_but_the_last_place():
    def attention(q, k, v):
        return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ v

    sees = replace(copying.copying_recipe(layers=1), model=partial(copying.attending, attention, layers=1))
    run = training.finish(sees.start(0))
    assert 0.1 < run.history["held-out"].last < 0.2
    rows, targets = copying.copying_rows(runtime.generator(1), 500)
    with torch.no_grad():
        before, last = (run.model(rows, targets.masked_fill(left, IGNORE))[1].item()
                        for left in (torch.arange(32) == 31, torch.arange(32) < 31))  # fmt: skip
    assert before < 0.01 and last > 2


def test_a_perfect_induction_head_scores_one_and_an_even_one_little():
    rows, _ = copying.copying_rows(runtime.generator(0), 20)

    class Perfect(GPT):
        def attention_maps(self, tokens):
            maps = torch.zeros(1, len(tokens), 2, 32, 32)
            maps[:, :, 0] = torch.ones(32, 32).tril() / torch.arange(1, 33)[:, None]
            for row, line in enumerate(tokens.tolist()):
                for place in range(32):
                    seen = [i for i in range(place) if line[i] == line[place]]
                    maps[0, row, 1, place, seen[0] + 1 if seen else 0] = 1
            return maps

    even, perfect = copying.induction(Perfect(GPTConfig(vocab_size=24, context=32, width=8, heads=2)), rows)[0]
    assert perfect == pytest.approx(1) and even < 0.12


def test_a_point_is_deterministic():
    runs = [studies.run_point("copying", layers=2, width=8, seed=seed, steps=60) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_a_silent_head_is_one_without_a_say():
    model = GPT(GPTConfig(vocab_size=9, context=6, width=8, heads=2, layers=1))
    silent = heads.without_head(heads.without_head(model, 1, 1), 1, 2)
    rows = torch.randint(9, (2, 6), generator=runtime.generator(0))
    embedded = model.embed(rows)
    torch.testing.assert_close(silent.blocks[0].attention(embedded), model.blocks[0].attention.out.bias.expand(2, 6, 8))
    with pytest.raises(ValueError, match="choose layers 1 to 1, heads 1 to 2"):
        heads.without_head(model, 0, 1)


def test_the_shipped_model_has_a_head_for_places_and_needs_it():
    model = checkpoint.load("story_gpt")
    rows, targets = story_pool(200, HELD_OUT_SEED)
    looks = heads.looks_at_answer(model, rows, targets)["place"]
    assert looks[0, 2] > 0.9 and looks.flatten().topk(2).values[1] < 0.3
    with torch.no_grad():
        before, after = (ability_accuracy(gpt(rows, targets)[0], rows, targets)
                         for gpt in (model, heads.without_head(model, 1, 3)))  # fmt: skip
    assert before["place"] - after["place"] > 0.5
    assert all(before[name] - after[name] < 0.1 for name in ("syntax", "pronoun", "feeling", "thing"))
