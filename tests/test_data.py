"""Laws of the data: the story language and its exact probabilities, abilities, questions, digits, text."""

import itertools
import math
import re
import subprocess
import sys
import time
from collections import Counter
from statistics import fmean, stdev

import numpy as np
import pytest
import torch

from chapters.digits import SHIFTS, shift_digits
from chapters.pretraining.characters import CharTokenizer, manual_text, own_text, text_batches, text_rows, text_split
from chapters.stories.abilities import ability_accuracy, ability_masks, judge, story_facts
from chapters.stories.questions import draw_questions, question_rows
from course_utils import data
from course_utils.data import grammar, images, rungs
from course_utils.models import IGNORE

STYLES = ("tale", "letter")
TALE = "Anna has a red ball. She takes it to the park. The ball breaks, so she is sad."


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- the language --------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_stories_are_the_same_for_a_seed_and_all_in_the_language(style):
    first = data.stories(300, seed=3, style=style)
    assert first == data.stories(300, seed=3, style=style)
    assert first != data.stories(300, seed=4, style=style)
    assert data.stories(40, seed=3, style=style) != first[40:80]
    assert all(data.grammatical(story, style=style) for story in first)
    other = STYLES[1 - STYLES.index(style)]
    assert not any(data.grammatical(story, style=other) for story in first)


def test_ten_thousand_stories_take_less_than_a_second():
    data.stories(1)  # lists the plans
    start = time.process_time()
    assert len(data.stories(10_000, seed=1)) == 10_000
    assert time.process_time() - start < 1


def test_the_vocabulary_is_what_the_course_says():
    sizes = {kind: len(words) for kind, words in grammar.WORDS.items()}
    assert sizes == {"name": 16, "colour": 8, "object": 16, "place": 16}
    assert [len(names) for names in grammar.NAMES.values()] == [8, 8]
    assert len(grammar.CAUSES) == 6
    assert len(set(data.STORY_VOCAB)) == len(data.STORY_VOCAB) <= 120
    told = " ".join(story for style in STYLES for story in data.stories(3000, style=style))
    assert set(grammar.words_of(told)) == {word.lower() for word in data.STORY_VOCAB[3:]}


@pytest.mark.parametrize("style", STYLES)
def test_a_story_fits_into_64_tokens_with_begin_and_end(style):
    assert max(len(plan.key.split()) for plan in grammar.plans(style)) + 2 <= 64


@pytest.mark.parametrize("style", STYLES)
def test_the_grammar_is_unambiguous(style):
    keys = [plan.key for plan in grammar.plans(style)]
    assert len(set(keys)) == len(keys)
    swap = {"{name}": "{friend}", "{friend}": "{name}"}
    swapped = {" ".join(swap.get(token, token) for token in key.split()) for key in keys if "{friend}" in key}
    assert not swapped & set(keys)


@pytest.mark.parametrize("style", STYLES)
def test_the_probabilities_of_all_stories_sum_to_one(style):
    # Facts have equal chances, so one story of each plan stands for all the ways to fill that plan.
    facts = {"name": "Mia", "friend": "Leo", "he": "she", "He": "She", "his": "her", "His": "Her"}
    facts |= {"colour": "red", "object": "kite", "place": "zoo"}
    ways = {"name": 16, "friend": 15, "colour": 8, "object": 16, "place": 16}
    total = math.fsum(
        math.exp(data.story_log_prob(plan.text.format_map(facts), style=style))
        * math.prod(number for slot, number in ways.items() if f"{{{slot}}}" in plan.text)
        for plan in grammar.plans(style)
    )
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("text", [
    "",
    "Hello world",
    "Anna",
    "{name} has a {colour} {object}.",
    "{name}",
    TALE.replace("She", "He"),
    TALE.replace("sad", "happy"),
    TALE.replace("The ball", "The bell"),
    TALE.removesuffix("."),
    TALE + " Anna and Tom play at the zoo.",
    TALE + " Anna and Anna play at the park.",
    TALE + " Zoe asks: How are you? She says: I am sad. She and Tom play with it at the park.",
    TALE.replace("red", "🟥"),
    "<begin> " + TALE,
    "\0\n\t%s {0} {",
])  # fmt: skip
def test_a_text_outside_the_language_has_probability_zero(text):
    assert data.story_log_prob(text) == -math.inf
    assert not data.grammatical(text)


def test_capital_letters_and_spaces_do_not_matter():
    assert data.story_log_prob(TALE) > -math.inf
    assert data.story_log_prob(" ".join(grammar.words_of(TALE))) == data.story_log_prob(TALE)


def test_a_story_s_probability_by_hand():
    # Order, feeling, "has", "takes it to", ", so", no talk, no end; then name, colour, object and place.
    choices = (1 / 2, 1 / 6, 2 / 4, 1 / 4, 1 / 4, 2 / 18, 1 / 4)
    by_hand = math.log(math.prod(choices)) - math.log(16 * 8 * 16 * 16)
    assert data.story_log_prob(TALE) == pytest.approx(by_hand)


@pytest.mark.parametrize("style", ["poem", "", "tales"])
def test_an_unknown_style_is_refused(style):
    for call in (lambda: data.stories(1, style=style), lambda: data.story_log_prob(TALE, style=style),
                 lambda: data.stories_entropy(style=style)):  # fmt: skip
        with pytest.raises(ValueError, match=f"style '{style}': choose one of tale, letter"):
            call()


@pytest.mark.parametrize("seed", [None, -1, 1.0, "1", True])
@pytest.mark.parametrize("draw", [
    lambda seed: data.stories(1, seed=seed),
    lambda seed: draw_questions(1, seed=seed),
    lambda seed: data.digits_split(seed),
    lambda seed: shift_digits(torch.zeros(1, 64), "noisy", seed=seed),
])  # fmt: skip
def test_a_seed_that_is_no_whole_number_is_refused(draw, seed):
    with pytest.raises(ValueError, match=f"seed {seed!r}: expected a whole number"):
        draw(seed)


def test_seeds_of_numpy_give_what_plain_ones_give():
    assert data.stories(3, seed=np.int64(5)) == data.stories(3, seed=5)
    assert torch.equal(data.digits_split(np.int64(5)).test_labels, data.digits_split(5).test_labels)


def test_a_negative_number_of_stories_is_refused():
    assert data.stories(0) == []
    with pytest.raises(ValueError, match="n -1: expected 0 or more"):
        data.stories(-1)


# --- entropy and the other rungs -----------------------------------------------------------------------


def entropy(weights):
    total = sum(weights)
    return -sum(w / total * math.log(w / total) for w in weights if w)


@pytest.mark.parametrize("style", STYLES)
def test_the_floor_is_the_chain_rule_s(style):
    # The choices are made one after the other and independently, so their entropies and lengths add up.
    slots = grammar.STYLES[style][0]
    tables = [grammar.SENTENCES[slot] for slot in slots]
    chosen = (
        math.log(len(grammar.STYLES[style])) + math.log(6) + sum(entropy(table.values()) for table in tables)
    )
    without = math.prod(
        sum(w for text, w in table.items() if "{friend}" not in text) / sum(table.values())
        for table in tables
    )
    facts = math.log(16 * 8 * 16 * 16) + (1 - without) * math.log(15)

    def tokens(text):
        told = [text.replace("{cause}", cause) for cause in grammar.CAUSES.values()]
        return fmean(len(grammar.key_of(one).split()) for one in told)

    lengths = [sum(w * tokens(text) for text, w in table.items()) / sum(table.values()) for table in tables]
    expected = (chosen + facts) / (sum(lengths) + 1)  # and the end token
    assert data.stories_entropy(style=style) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("style", STYLES)
def test_the_floor_is_the_mean_surprise_of_many_stories(style):
    told = data.stories(10_000, seed=7, style=style)
    targets = (data.story_rows(told)[1] != IGNORE).sum(1).tolist()
    floor = data.stories_entropy(style=style)
    # Mean loss per token is a quotient of sums; what is above the floor must have mean 0.
    above = [
        -data.story_log_prob(story, style=style) - floor * n for story, n in zip(told, targets, strict=True)
    ]
    assert abs(fmean(above)) < 4 * stdev(above) / len(above) ** 0.5


@pytest.mark.parametrize("style", STYLES)
def test_unigram_and_bigram_rungs_are_what_counting_finds(style):
    pairs, before, tokens = Counter(), Counter(), Counter()
    for story in data.stories(20_000, seed=5, style=style):
        line = ["<begin>", *grammar.words_of(story), "<end>"]
        pairs.update(itertools.pairwise(line))
        before.update(line[:-1])
        tokens.update(line[1:])
    count = tokens.total()
    rungs_of = data.ladder(style=style)
    assert list(rungs_of) == ["ln V", "unigram", "bigram", "floor"]
    assert list(rungs_of.values()) == sorted(rungs_of.values(), reverse=True)
    assert rungs_of["ln V"] == math.log(len(data.STORY_VOCAB))
    assert rungs_of["floor"] == data.stories_entropy(style=style)
    assert rungs_of["unigram"] == pytest.approx(entropy(tokens.values()), abs=0.01)
    counted = -sum(w * math.log(w / before[first]) for (first, _), w in pairs.items()) / count
    assert rungs_of["bigram"] == pytest.approx(counted, abs=0.01)


@pytest.fixture
def tiny(monkeypatch):
    """A language so small that every story can be listed; some of its stories can be read in two ways."""
    caches = (grammar.plans, grammar.key_probabilities, rungs._ladder)
    words = {"name": ("Anna", "Mia", "Ben", "Tom"), "colour": ("red", "blue")}
    words |= {"object": ("key",), "place": ("zoo",)}
    sentences = {
        "open": {
            "{he} and {his} {object} are at the {place}.": 3,
            "the {colour} {object} is at the {place}.": 1,
        },
        "event": {
            "": 1,
            "{cause}, so everyone is {feeling}.": 1,
            "everyone is {feeling} because {cause}.": 2,
        },
        "end": {"{name} comes.": 2, "{name} and {friend} play.": 1, "{friend} and {name} play.": 3},
    }
    monkeypatch.setattr(grammar, "WORDS", words)
    monkeypatch.setattr(rungs, "WORDS", words)
    monkeypatch.setattr(grammar, "SENTENCES", sentences)
    monkeypatch.setattr(grammar, "STYLES", {"tiny": (("open", "event", "end"), ("end", "event", "open"))})
    for cached in caches:
        cached.cache_clear()
    yield sentences
    for cached in caches:
        cached.cache_clear()


def every_story(sentences):
    """Every derivation of the tiny language as tokens, with its probability: written out, nothing shared."""
    for order, (feeling, cause) in itertools.product([(0, 1, 2), (2, 1, 0)], grammar.CAUSES.items()):
        for parts in itertools.product(*(table.items() for table in sentences.values())):
            share = math.prod(
                w / sum(t.values()) for (_, w), t in zip(parts, sentences.values(), strict=True)
            )
            text = (
                " ".join(parts[i][0] for i in order).replace("{cause}", cause).replace("{feeling}", feeling)
            )
            colours = ("red", "blue") if "{colour}" in text else ("",)
            people = [
                (a, b) for a in ("Anna", "Mia", "Ben", "Tom") for b in ("Anna", "Mia", "Ben", "Tom") if a != b
            ]
            if "{friend}" not in text:
                people = [(a, "") for a in ("Anna", "Mia", "Ben", "Tom")]
            for (name, friend), colour in itertools.product(people, colours):
                he, his = ("she", "her") if name in ("Anna", "Mia") else ("he", "his")
                told = text.format(
                    name=name, friend=friend, colour=colour, object="key", place="zoo", he=he, his=his
                )
                yield tuple(grammar.words_of(told)), share / 12 / len(people) / len(colours)


def test_a_tiny_language_agrees_with_listing_all_its_stories(tiny):
    chances, derivations = Counter(), Counter()
    for story, chance in every_story(tiny):
        chances[story] += chance
        derivations[story] += 1
    assert max(derivations.values()) > 1  # two readings of one text must be added up
    assert math.fsum(chances.values()) == pytest.approx(1)
    for story, chance in chances.items():
        assert data.story_log_prob(" ".join(story), style="tiny") == pytest.approx(math.log(chance)), story

    unigrams, pairs, before = Counter(), Counter(), Counter()
    for story, chance in chances.items():
        line = ("<begin>", *story, "<end>")
        for first, second in itertools.pairwise(line):
            pairs[first, second] += chance
            before[first] += chance
            unigrams[second] += chance
    length = unigrams.total()
    rungs_of = data.ladder(style="tiny")
    assert rungs_of["unigram"] == pytest.approx(entropy(unigrams.values()))
    by_pair = -sum(w * math.log(w / before[first]) for (first, _), w in pairs.items()) / length
    assert rungs_of["bigram"] == pytest.approx(by_pair)


def test_stories_of_a_tiny_language_come_as_often_as_their_probability_says(tiny):
    drawn = Counter(tuple(grammar.words_of(story)) for story in data.stories(40_000, seed=2, style="tiny"))
    for story, count in drawn.most_common(50):
        chance = math.exp(data.story_log_prob(" ".join(story), style="tiny"))
        assert abs(count - 40_000 * chance) < 5 * (40_000 * chance) ** 0.5


# --- tokens, rows and batches --------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_decoding_what_was_encoded_gives_the_story_back(style):
    tokenizer = data.StoryTokenizer()
    for story in data.stories(500, seed=1, style=style):
        ids = tokenizer.encode(story)
        assert tokenizer.decode(ids) == story
        framed = torch.tensor([tokenizer.begin, *ids, tokenizer.end, tokenizer.pad])
        assert tokenizer.decode(framed) == story
    assert len(tokenizer) == len(tokenizer.vocab)


def test_an_unknown_word_is_named_with_the_nearest_known_ones():
    tokenizer = data.StoryTokenizer()
    with pytest.raises(ValueError, match="unknown word 'balloon'.*nearest are 'ball'"):
        tokenizer.encode("Anna has a red balloon.")
    with pytest.raises(ValueError, match="unknown word '!'"):
        tokenizer.encode("Anna!")
    with pytest.raises(ValueError, match=f"id {len(tokenizer)}: expected 0 to {len(tokenizer) - 1}"):
        tokenizer.decode([len(tokenizer)])
    with pytest.raises(ValueError, match="id -100"):
        tokenizer.decode([3, -100])


def test_rows_are_shifted_by_one_and_padded():
    tokenizer = data.StoryTokenizer()
    told = data.stories(200, seed=2)
    inputs, targets = data.story_rows(told)
    assert inputs.shape == targets.shape == (200, 64)
    assert inputs.dtype == targets.dtype == torch.int64
    for story, row, target in zip(told, inputs.tolist(), targets.tolist(), strict=True):
        ids = [tokenizer.begin, *tokenizer.encode(story), tokenizer.end]
        empty = 65 - len(ids)
        assert row == ids[:-1] + [tokenizer.pad] * empty
        assert target == ids[1:] + [IGNORE] * empty


def test_rows_refuse_what_does_not_fit():
    longest = max(data.stories(200), key=lambda story: len(grammar.words_of(story)))
    tokens = len(grammar.words_of(longest)) + 1
    assert data.story_rows([longest], context=tokens)[0].shape == (1, tokens)
    with pytest.raises(
        ValueError, match=f"context 20: a story takes {tokens} tokens, choose {tokens} or more"
    ):
        data.story_rows([longest], context=20)
    with pytest.raises(ValueError, match="unknown word 'elephant'"):
        data.story_rows(["Anna has a red elephant."])
    assert data.story_rows([])[0].shape == (0, 64)


def test_batches_are_the_generator_s_and_come_from_the_pool():
    rows = data.story_rows(data.stories(50, seed=1))
    batches = data.row_batches(*rows, batch_size=8)
    inputs, targets = batches(generator(3))
    again, _ = batches(generator(3))
    other, _ = batches(generator(4))
    assert inputs.shape == targets.shape == (8, 64)
    assert torch.equal(inputs, again) and not torch.equal(inputs, other)
    pool = {(tuple(x), tuple(y)) for x, y in zip(rows[0].tolist(), rows[1].tolist(), strict=True)}
    assert all((tuple(x), tuple(y)) in pool for x, y in zip(inputs.tolist(), targets.tolist(), strict=True))
    assert batches(generator(), batch_size=3.0)[0].shape == (3, 64)  # a knob may arrive as a float


@pytest.mark.parametrize("size", [0, 0.5, -3])
def test_a_batch_has_one_row_at_least(size):
    text = "abcd" * 100
    for batches in (data.row_batches(torch.zeros(4, 2), torch.zeros(4)),
                    text_batches(text, CharTokenizer(text))):  # fmt: skip
        assert len(batches(generator(), batch_size=1.0)[0]) == 1
        with pytest.raises(ValueError, match=f"batch_size {size}: expected 1 or more"):
            batches(generator(), batch_size=size)


def test_one_story_is_not_a_list_of_stories():
    with pytest.raises(ValueError, match="texts is one text: expected a list"):
        data.story_rows(data.stories(1)[0])


@pytest.mark.parametrize("make", [text_rows, text_batches])
def test_a_context_has_one_character_at_least(make):
    text = "abcd" * 100
    with pytest.raises(ValueError, match="context 0: expected 1 or more"):
        make(text, CharTokenizer(text), context=0)


def test_batches_refuse_rows_that_do_not_match():
    for inputs, targets in ((3, 2), (0, 0)):
        with pytest.raises(ValueError, match=f"{inputs} inputs, {targets} targets"):
            data.row_batches(torch.zeros(inputs, 4), torch.zeros(targets, 4))


# --- abilities -----------------------------------------------------------------------------------------


def words_by_ability(story, style="tale"):
    """The words of a story that test each ability, with their positions."""
    inputs, targets = data.story_rows([story])
    words = [*grammar.words_of(story), "<end>"]
    masks = ability_masks(inputs, targets)
    return {
        name: [(i, words[i]) for i in mask[0].nonzero().flatten().tolist()] for name, mask in masks.items()
    }


def test_which_words_test_which_ability():
    story = (
        "Tom has a red key. A storm comes to the mill. Now he is scared. He and his red key are at the mill."
    )
    story += " Anna asks: What colour is the key? He says: It is red."
    assert data.grammatical(story)
    found = {name: [word for _, word in words] for name, words in words_by_ability(story).items()}
    assert found["pronoun"] == ["he", "he", "his", "he"]
    assert found["feeling"] == ["scared"]
    assert found["thing"] == ["red", "key", "key", "red"]
    assert found["place"] == ["mill"]
    late = "Tom has a red key. Tom is scared because a storm comes to the mill. He takes it to the mill."
    assert data.grammatical(late)
    assert words_by_ability(late)["feeling"] == []  # nothing before it gives it away


def test_facts_are_tested_where_a_reader_knows_them():
    kinds = {"thing": ("colour", "object"), "place": ("place",)}
    for story in data.stories(300, seed=8):
        words = grammar.words_of(story)
        found = words_by_ability(story)
        for ability, own in kinds.items():
            expected = [
                (i, word)
                for i, word in enumerate(words)
                if grammar.KIND_OF.get(word) in own and word in words[:i]
            ]
            assert found[ability] == expected
        assert [word for _, word in found["pronoun"]] == [
            w for w in words if w in ("he", "she", "his", "her")
        ]


def test_syntax_is_tested_where_two_words_leave_one_kind():
    kind = {word: kind for kind, words in grammar.WORDS.items() for word in map(str.lower, words)}
    kind |= dict.fromkeys(grammar.CAUSES, "feeling") | dict(he="he", she="he", his="his", her="his")
    follows, tested = {}, set()
    for story in data.stories(3000, seed=6) + data.stories(1000, seed=6, style="letter"):
        kinds = ["<begin>", *(kind.get(word, f"={word}") for word in grammar.words_of(story)), "<end>"]
        for first, second, third in zip(kinds, kinds[1:], kinds[2:], strict=False):
            follows.setdefault((first, second), set()).add(third)
        tested |= {(kinds[i - 1], kinds[i]) for i, _ in words_by_ability(story)["syntax"]}
    # Which sentence comes after a full stop is a choice, whatever the word before it was.
    assert tested == {pair for pair, third in follows.items() if pair[1] != "=." and len(third) == 1}


def logits_of(targets, scores=None):
    """Logits of a model that is certain of every target, plus scores."""
    sure = torch.nn.functional.one_hot(targets.clamp(min=0), len(data.STORY_VOCAB)).float()
    return sure if scores is None else sure + scores


def test_a_perfect_model_has_every_ability_and_a_confused_one_lacks_its_own():
    inputs, targets = data.story_rows(data.stories(200, seed=4))
    perfect = ability_accuracy(logits_of(targets), inputs, targets)
    assert perfect == dict.fromkeys(("syntax", "pronoun", "feeling", "thing", "place"), 1.0)
    scores = torch.zeros(len(data.STORY_VOCAB))
    scores[[data.STORY_VOCAB.index(colour) for colour in ("red", "blue")]] = torch.tensor([-2.0, 2.0])
    blue = ability_accuracy(logits_of(targets, scores), inputs, targets)
    assert blue["thing"] < 1
    assert {**blue, "thing": 1.0, "syntax": 1.0} == perfect


def test_a_model_that_guesses_is_right_by_chance():
    inputs, targets = data.story_rows(data.stories(2000, seed=4))
    noise = torch.randn(*targets.shape, len(data.STORY_VOCAB), generator=generator())
    accuracy = ability_accuracy(noise, inputs, targets)
    masks = ability_masks(inputs, targets)
    for ability, chance in {"pronoun": 1 / 2, "feeling": 1 / 6, "place": 1 / 16}.items():
        error = (chance * (1 - chance) / masks[ability].sum().item()) ** 0.5
        assert abs(accuracy[ability] - chance) < 4 * error
    assert accuracy["syntax"] < 0.2


def test_an_ability_that_is_not_tested_has_no_accuracy():
    inputs, targets = data.story_rows(["Anna has a red ball."])
    assert math.isnan(ability_accuracy(logits_of(targets), inputs, targets)["place"])
    assert not any(mask.any() for mask in ability_masks(inputs, targets.fill_(IGNORE)).values())


@pytest.mark.parametrize("style", STYLES)
def test_the_judge_finds_nothing_wrong_with_a_story(style):
    for story in data.stories(500, seed=9, style=style):
        verdict = judge(story, style=style)
        assert verdict["syntax"] is True
        assert False not in verdict.values()


@pytest.mark.parametrize(("text", "wrong"), [
    (TALE.replace("She", "He"), {"pronoun"}),
    (TALE.replace("she", "his"), {"pronoun"}),
    (TALE.replace("sad", "proud"), {"feeling"}),
    (TALE + " She likes her blue ball.", {"thing"}),
    (TALE.replace("The ball", "The bell"), {"thing"}),
    (TALE + " Anna and Tom play at the zoo.", {"place"}),
    (TALE + " Tom Tom", set()),
    ("She is sad because Anna has a purple elephant!", set()),
])  # fmt: skip
def test_the_judge_says_what_is_wrong(text, wrong):
    verdict = judge(text)
    assert verdict["syntax"] is False
    assert {name for name, right in verdict.items() if right is False} == wrong | {"syntax"}


def test_the_judge_keeps_silent_where_nothing_shows():
    assert judge("") == {"syntax": False, "pronoun": None, "feeling": None, "thing": None, "place": None}
    assert judge("Anna has a red ball.")["thing"] is None
    assert judge("She has a red ball. A red ball!")["pronoun"] is None


def test_facts_are_what_the_story_says():
    story = "Zoe finds a pink hat. Zoe is angry because a dog takes the hat. She takes it to the farm."
    story += " Leo asks: Where are you? She says: I am at the farm."
    facts = story_facts(story)
    assert vars(facts) == {
        "name": "Zoe", "pronoun": "she", "colour": "pink", "object": "hat", "place": "farm",
        "feeling": "angry", "cause": "a dog takes the hat", "friend": "Leo",
    }  # fmt: skip
    assert story_facts(TALE).friend is None
    letter = (
        "Dear Leo, I am at the farm with a pink hat. The hat breaks, and I am sad. Who is with you? From Zoe."
    )
    assert story_facts(letter, style="letter").name == "Zoe"
    with pytest.raises(ValueError, match="not a tale of the story language: 'Zoe finds.'"):
        story_facts("Zoe finds.")


# --- questions -----------------------------------------------------------------------------------------


def test_a_question_s_answer_is_a_fact_of_its_story():
    fact = {"place": "place", "colour": "colour", "feeling": "feeling", "who": "name"}
    items = draw_questions(400, seed=1)
    assert items == draw_questions(400, seed=1) != draw_questions(400, seed=2)
    assert {item.kind for item in items} == set(fact)
    for item in items:
        assert item.answer == vars(story_facts(item.story))[fact[item.kind]]
        assert " asks: " not in item.story
        assert item.question.endswith("?") and item.question[0].isupper()
    assert {item.kind for item in draw_questions(50, kinds=("who",))} == {"who"}


def test_what_is_asked_does_not_depend_on_the_story():
    items = draw_questions(6000, seed=3)
    for feeling in grammar.CAUSES:
        kinds = Counter(item.kind for item in items if f" {feeling}" in item.story)
        for count in kinds.values():
            assert abs(count - kinds.total() / 4) < 4 * (kinds.total() * 3 / 16) ** 0.5


def test_no_story_is_worded_like_a_question():
    told = " ".join(data.stories(5000, seed=1))
    assert not any(item.question in told for item in draw_questions(400))


def test_the_answer_is_the_only_target():
    tokenizer = data.StoryTokenizer()
    items = draw_questions(100, seed=5)
    inputs, targets = question_rows(items)
    assert inputs.shape == targets.shape == (100, 64)
    for item, row, target in zip(items, inputs, targets, strict=True):
        (position,) = (target != IGNORE).nonzero().flatten().tolist()
        assert tokenizer.decode(target[position : position + 1]).lower() == item.answer.lower()
        assert tokenizer.decode(row[: position + 1]) == f"{item.story} {item.question}"


@pytest.mark.parametrize("kinds", [("why",), ()])
def test_unknown_kinds_of_questions_are_refused(kinds):
    with pytest.raises(ValueError, match="choose from place, colour, feeling, who"):
        draw_questions(3, kinds=kinds)


# --- digits --------------------------------------------------------------------------------------------


def test_digits_are_scikit_learn_s():
    from sklearn.datasets import load_digits

    theirs = load_digits()
    ours, labels = data.digits()
    assert ours.shape == (1797, 64) and ours.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert torch.equal(ours, torch.tensor(theirs.data / 16).float())
    assert torch.equal(labels, torch.tensor(theirs.target))


def test_changing_the_digits_does_not_change_them_for_others():
    first, _ = data.digits()
    first.zero_()
    assert data.digits()[0].max() == 1


def test_nothing_is_read_at_import_and_scikit_learn_never():
    code = (
        "import sys; from course_utils import data; from course_utils.data import grammar, images;"
        "print(grammar.plans.cache_info().currsize, images._read.cache_info().currsize);"
        "print('pydoc_data.topics' in sys.modules); data.digits(); print('sklearn' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["0", "0", "False", "False"]


def test_a_missing_scikit_learn_is_named(monkeypatch):
    images._read.cache_clear()
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        data.digits()


def test_a_split_holds_out_each_image_once():
    split = data.digits_split(seed=1, test=500)
    assert [len(part) for part in split] == [1297, 1297, 500, 500]
    both = (
        torch.cat([split.train_images, split.test_images]),
        torch.cat([split.train_labels, split.test_labels]),
    )
    rows = sorted(torch.cat([both[0], both[1][:, None].float()], dim=1).tolist())
    images_, labels = data.digits()
    assert rows == sorted(torch.cat([images_, labels[:, None].float()], dim=1).tolist())
    assert torch.equal(split.test_images, data.digits_split(1, 500).test_images)
    assert not torch.equal(split.test_images, data.digits_split(2, 500).test_images)
    assert len(data.digits_split().test_labels) == 540
    for test in (0, 1797):
        with pytest.raises(ValueError, match=f"test {test}: expected 1 to 1796"):
            data.digits_split(test=test)


@pytest.mark.parametrize("shift", SHIFTS)
def test_shifts_keep_shape_and_range_and_follow_their_seed(shift):
    images_, _ = data.digits()
    before = images_.clone()
    shifted = shift_digits(images_, shift, seed=3)
    assert shifted.shape == images_.shape and shifted.dtype == torch.float32
    assert 0 <= shifted.min() and shifted.max() <= 1
    assert torch.equal(images_, before)
    assert torch.equal(shifted, shift_digits(images_, shift, seed=3))
    assert not torch.equal(shifted, shift_digits(images_, shift, seed=4))
    assert not torch.equal(shifted, images_)


def test_a_moved_digit_is_itself_one_pixel_away():
    images_ = data.digits()[0][:200].view(-1, 8, 8)
    ways = set()
    for image, moved in zip(images_, shift_digits(images_, "moved"), strict=True):
        found = []
        for step, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            rolled = image.roll(step, axis)
            rolled.select(axis, 0 if step == 1 else -1).zero_()
            found += [(step, axis)] if torch.equal(rolled, moved) else []
        assert found
        ways.update(found)
    assert len(ways) == 4


def test_noise_has_the_spread_it_says_and_turning_keeps_the_ink():
    grey = torch.full((500, 64), 0.5)
    cut = 0.5 / 0.3  # black and white are this many standard deviations from grey
    outside, height = math.erfc(cut / 2**0.5), math.exp(-(cut**2) / 2) / (2 * math.pi) ** 0.5
    spread = 0.3 * (1 - outside - 2 * cut * height + cut**2 * outside) ** 0.5  # of a normal cut at both ends
    assert shift_digits(grey, "noisy").std().item() == pytest.approx(spread, rel=0.01)
    ring = torch.zeros(200, 8, 8)
    ring[:, 3:5, 3:5] = 1  # turning its own middle changes little of a square
    turned = shift_digits(ring, "rotated")
    assert torch.allclose(turned.sum((1, 2)), torch.tensor(4.0), atol=0.8)
    rows, columns = torch.meshgrid(torch.arange(8.0) - 3.5, torch.arange(8.0) - 3.5, indexing="ij")
    for axis in (rows, columns):  # it stays where it was
        assert torch.allclose((turned * axis).sum((1, 2)), torch.tensor(0.0), atol=1e-4)
    with pytest.raises(ValueError, match="shift 'blurred': choose one of moved, noisy, rotated"):
        shift_digits(grey, "blurred")


# --- real text -----------------------------------------------------------------------------------------


def test_python_s_manual_is_long_and_tidy():
    text = manual_text()
    assert len(text) > 300_000
    assert "assert" in text and "generator" in text
    assert not re.search(r"^[*=\-~^]{3,}$|[ \t]$|\n\n\n", text, flags=re.MULTILINE)
    assert own_text(text) == text


ENOUGH = "The cat sat on the mat. " * 20


@pytest.mark.parametrize(("source", "message"), [
    ("", "empty"),
    (b" \n\n ", "empty"),
    ("abc", "3 characters: choose one with 200 or more"),
    (b"a", "1 character: choose"),
    (ENOUGH[:199], "199 characters"),
    (ENOUGH.encode() + b"\0", "binary"),
    (b"\x89PNG\r\n\x1a\n" + bytes(500), "not UTF-8 text .byte 1 is 0x89"),
    (ENOUGH.encode("utf-16"), "not UTF-8 text .byte 1 is 0xff"),
    ("a" * 1000, "'a' again and again, so there is nothing to learn"),
    ("".join(map(chr, range(0x4E00, 0x4E00 + 300))), "no character of this text occurs twice"),
])  # fmt: skip
def test_unusable_text_is_refused_with_its_reason(source, message):
    with pytest.raises(ValueError, match=message):
        own_text(source)


def test_a_text_that_is_far_too_long_is_refused_at_once():
    huge = bytes(100_000_000)
    start = time.process_time()
    with pytest.raises(ValueError, match="100.0 MB, the limit is 5 MB"):
        own_text(huge)
    assert time.process_time() - start < 0.05
    with pytest.raises(ValueError, match="the limit is 0.0004 MB"):
        own_text(ENOUGH, most_bytes=400)


def test_usable_text_comes_back_with_plain_line_ends():
    assert own_text(ENOUGH) == own_text(ENOUGH.encode()) == ENOUGH
    assert own_text(b"\xef\xbb\xbf" + ENOUGH.encode() + b"a\r\nb\rc\n") == ENOUGH + "a\nb\nc\n"
    assert own_text(bytearray("Größe, 大きさ. ".encode() * 30)) == "Größe, 大きさ. " * 30


def test_characters_survive_unless_they_are_rare():
    tokenizer = CharTokenizer("abcabcabx")
    assert tokenizer.vocab == ("\N{REPLACEMENT CHARACTER}", "a", "b", "c")
    assert tokenizer.decode(tokenizer.encode("cab")) == "cab"
    assert tokenizer.encode("xyz") == [0, 0, 0]
    assert tokenizer.decode(torch.tensor([1, 0])) == "a\N{REPLACEMENT CHARACTER}"
    small = CharTokenizer("aaabbcccc", size=3)
    assert small.vocab[1:] == ("a", "c")
    manual = manual_text()
    full = CharTokenizer(manual)
    known = "".join(character for character in manual if character in full.ids)
    assert len(full) <= 128 and len(known) > 0.999 * len(manual)
    assert full.decode(full.encode(known)) == known
    with pytest.raises(ValueError, match="id 4: expected 0 to 3"):
        tokenizer.decode([4])
    with pytest.raises(ValueError, match="size 1: expected 2 or more"):
        CharTokenizer("aa", size=1)


def test_a_text_is_split_into_beginning_and_end():
    train, held_out = text_split(ENOUGH, held_out=0.25)
    assert train + held_out == ENOUGH
    assert len(held_out) == len(ENOUGH) // 4
    for share in (0, 1):
        with pytest.raises(ValueError, match=f"held_out {share}: expected a share"):
            text_split(ENOUGH, held_out=share)


@pytest.mark.parametrize("length", [2, 64, 65, 66, 1000])
def test_rows_of_text_predict_each_character_once(length):
    text = (ENOUGH * 3)[:length]
    tokenizer = CharTokenizer(ENOUGH)
    inputs, targets = text_rows(text, tokenizer)
    assert inputs.shape == targets.shape and inputs.shape[1] == 64
    counted = targets != IGNORE
    assert tokenizer.decode(inputs[counted]) == text[:-1]
    assert tokenizer.decode(targets[counted]) == text[1:]


def test_batches_of_text_are_its_windows():
    tokenizer = CharTokenizer(ENOUGH)
    batches = text_batches(ENOUGH, tokenizer, context=32, batch_size=4)
    inputs, targets = batches(generator(1))
    assert inputs.shape == targets.shape == (4, 32)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert all(tokenizer.decode(row) in ENOUGH for row in inputs)
    assert torch.equal(inputs, batches(generator(1))[0])
    starts = {tokenizer.decode(row)[:1] for row in batches(generator(1), batch_size=500)[0]}
    assert starts == set(ENOUGH)  # windows start anywhere
    whole = text_batches("abab", CharTokenizer("abab"), context=3)(generator())[0]
    assert whole.tolist() == [[1, 2, 1]] * 16
    with pytest.raises(ValueError, match="context 480: a text of 480 characters allows 479 or less"):
        text_batches(ENOUGH, tokenizer, context=480)
    with pytest.raises(ValueError, match="a text of 1 character has nothing to predict"):
        text_rows("a", tokenizer)
