"""The story language: a small grammar of our own whose probabilities are known exactly.

A story is a plan (which sentences, in which order, with which feeling) filled with facts (who, which coloured
thing, where). There are few enough plans to list them all, so what the language knows of itself, a story's
probability and the entropy, is a sum over that list: nothing is estimated.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from course_utils.values import one_of, seed_of

NAMES = {
    "she": ("Anna", "Ella", "Lily", "Mia", "Nora", "Rosa", "Sara", "Zoe"),
    "he": ("Adam", "Ben", "Finn", "Leo", "Max", "Noah", "Sam", "Tom"),
}
PRONOUNS = {"she": {"he": "she", "his": "her"}, "he": {"he": "he", "his": "his"}}
WORDS = {
    "name": NAMES["she"] + NAMES["he"],
    "colour": ("red", "blue", "green", "yellow", "pink", "white", "black", "brown"),
    "object": ("ball", "bell", "boat", "book", "box", "car", "coat", "cup",
               "doll", "drum", "hat", "key", "kite", "lamp", "ring", "shoe"),
    "place": ("bakery", "beach", "bridge", "castle", "farm", "harbour", "lake", "library",
              "market", "mill", "museum", "park", "river", "school", "station", "zoo"),
}  # fmt: skip
CAUSES = {  # feeling -> what causes it
    "happy": "a friend comes to the {place}",
    "sad": "the {object} breaks",
    "angry": "a dog takes the {object}",
    "scared": "a storm comes to the {place}",
    "tired": "it is late at the {place}",
    "proud": "everyone likes the {object}",
}
ASKING = ("{friend} asks: ", "then {friend} comes and asks: ")
TALK = (
    "where is the {colour} {object}? {he} says: it is at the {place}.",
    "where are you? {he} says: I am at the {place}.",
    "what colour is the {object}? {he} says: it is {colour}.",
    "what is it? {he} says: it is a {colour} {object}.",
    "how are you? {he} says: I am {feeling}.",
    "why are you {feeling}? {he} says: because {cause}.",
    "who has the {colour} {object}? {he} says: I have it.",
    "who is at the {place}? {he} says: I am.",
)
SENTENCES = {  # slot -> sentence -> weight; an empty sentence leaves the slot out
    "open": {
        "{name} has a {colour} {object}.": 2,
        "{name} finds a {colour} {object}.": 1,
        "this is {name} and {his} {colour} {object}.": 1,
    },
    "go": {
        "{he} takes it to the {place}.": 1,
        "{he} takes the {colour} {object} to the {place}.": 1,
        "{he} goes to the {place} with the {object}.": 1,
        "{he} and {his} {colour} {object} are at the {place}.": 1,
    },
    "event": {
        "{cause}, so {he} is {feeling}.": 1,
        "{cause}. this makes {name} {feeling}.": 1,
        "{cause}. now {he} is {feeling}.": 1,
        "{name} is {feeling} because {cause}.": 1,
    },
    "talk": {"": 2} | {asking + talk: 1 for asking in ASKING for talk in TALK},
    "end": {
        "": 1,
        "{he} likes {his} {colour} {object}.": 1,
        "{name} and {friend} play at the {place}.": 1,
        "{he} and {friend} play with it at the {place}.": 1,
    },
    "greeting": {"dear {friend},": 2, "dear {friend}, how are you?": 1},
    "mine": {
        "I have a {colour} {object}, and I am at the {place} with it.": 1,
        "I am at the {place} with a {colour} {object}.": 1,
        "I am at the {place}. what have I? a {colour} {object}.": 1,
    },
    "news": {
        "I am {feeling} because {cause}.": 1,
        "{cause}, and I am {feeling}.": 1,
        "why am I {feeling}? {cause}.": 1,
    },
    "wish": {
        "are you at home?": 1,
        "who is with you?": 1,
        "what colour is the {object}? it is {colour}.": 1,
    },
    "signature": {"from {name}.": 1, "from {name} at the {place}.": 1},
}
STYLES = {  # style -> orders of its slots, equally likely
    "tale": (("open", "go", "event", "talk", "end"), ("open", "event", "go", "talk", "end")),
    "letter": (("greeting", "mine", "news", "wish", "signature"),),
}
PAD, BEGIN, END = "<pad>", "<begin>", "<end>"


# --- words ------------------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """A text's words and punctuation marks, in lower case: the tokens of the language."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def key_of(text: str) -> str:
    """A sentence with open facts as tokens, joined by spaces."""
    return " ".join(re.findall(r"\{\w+\}|\w+|[^\w\s]", text.lower()))


def sentence_case(text: str) -> str:
    """The same text with a capital letter, or a capital {He} or {His}, at the start of each sentence."""
    return re.sub(r"(^|[.?:] )(\{(?=h)|)([a-z])", lambda found: found[1] + found[2] + found[3].upper(), text)


def _vocabulary() -> tuple[str, ...]:
    """Special tokens, punctuation, plain words, feelings, then names, colours, objects and places."""
    texts = [text for table in SENTENCES.values() for text in table] + list(CAUSES.values())
    plain = {word for word in key_of(" ".join(texts)).split() if "{" not in word}
    plain |= {word for forms in PRONOUNS.values() for word in forms.values()}
    marks = sorted(word for word in plain if not word.isalpha())
    words = ["I" if word == "i" else word for word in sorted(plain.difference(marks))]
    return (PAD, BEGIN, END, *marks, *words, *CAUSES, *itertools.chain(*WORDS.values()))


STORY_VOCAB = _vocabulary()
KIND_OF = {word.lower(): kind for kind, words in WORDS.items() for word in words}
PRONOUN_OF = {name.lower(): pronoun for pronoun, names in NAMES.items() for name in names}


# --- plans ------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """A story, or a sentence of it, with its facts left open; key is the same as tokens joined by spaces."""

    text: str
    key: str
    probability: float


def _sentences(slot: str, feeling: str) -> list[Plan]:
    """A slot's sentences once the feeling is known."""
    total = sum(SENTENCES[slot].values())
    found = []
    for text, weight in SENTENCES[slot].items():
        text = text.replace("{cause}", CAUSES[feeling]).replace("{feeling}", feeling)
        found.append(Plan(sentence_case(text), key_of(text), weight / total))
    return found


@cache
def plans(style: str = "tale") -> tuple[Plan, ...]:
    """Every plan of a style; their probabilities sum to 1."""
    one_of("style", style, STYLES)
    share = 1 / (len(STYLES[style]) * len(CAUSES))
    found = []
    for slots in STYLES[style]:
        for feeling in CAUSES:
            for parts in itertools.product(*(_sentences(slot, feeling) for slot in slots)):
                texts, keys, probabilities = zip(*parts, strict=True)
                text, key = " ".join(filter(None, texts)), " ".join(filter(None, keys))
                found.append(Plan(text, key, share * math.prod(probabilities)))
    return tuple(found)


@cache
def key_probabilities(style: str) -> Counter[str]:
    """Key -> probability: plans that read the same add up."""
    table = Counter()
    for plan in plans(style):
        table[plan.key] += plan.probability
    return table


def log_fillings(key: str) -> float:
    """ln of the number of ways to fill a plan with facts; all are equally likely."""
    numbers = {kind: len(words) for kind, words in WORDS.items()}
    numbers["friend"] = numbers["name"] - 1  # somebody else
    return sum(math.log(number) for slot, number in numbers.items() if f"{{{slot}}}" in key)


# --- stories and their probability ------------------------------------------------------------------


def stories(n: int, *, seed: int = 0, style: str = "tale") -> list[str]:
    """n stories drawn from the language, the same ones for the same seed. style: "tale" or "letter"."""
    return draw(plans(style), n, random.Random(seed_of(seed)))


def draw(options: Sequence[Plan], n: int, rng: random.Random) -> list[str]:
    """n stories: a plan by its probability, then each fact with equal chances."""
    if n < 0:
        raise ValueError(f"n {n}: expected 0 or more stories")
    weights = list(itertools.accumulate(plan.probability for plan in options))
    names = WORDS["name"]
    made = []
    for plan in rng.choices(options, cum_weights=weights, k=n):
        facts = {kind: words[int(len(words) * rng.random())] for kind, words in WORDS.items()}
        ahead = 1 + int((len(names) - 1) * rng.random())
        facts["friend"] = names[(names.index(facts["name"]) + ahead) % len(names)]
        made.append(plan.text.format_map(facts | _forms(facts["name"])))
    return made


@cache
def _forms(name: str) -> dict[str, str]:
    """A name's pronouns, small and capital: {"he": "she", "He": "She", ...}."""
    forms = PRONOUNS[PRONOUN_OF[name.lower()]]
    return forms | {slot.capitalize(): word.capitalize() for slot, word in forms.items()}


def readings(text: str, *, style: str = "tale") -> list[tuple[float, dict[str, str]]]:
    """Every way the grammar can produce a text: its log probability in nats, and its facts in lower case."""
    table, words = key_probabilities(style), words_of(text)
    found = {kind: [] for kind in WORDS}
    for word in dict.fromkeys(words):
        if word in KIND_OF:
            found[KIND_OF[word]].append(word)
    names = found.pop("name")
    if not 1 <= len(names) <= 2:
        return []
    result = []
    for people in itertools.permutations(names):
        facts = dict(zip(("name", "friend"), people, strict=False))
        facts |= {kind: seen[0] for kind, seen in found.items() if seen}
        slots = {word: f"{{{slot}}}" for slot, word in (facts | PRONOUNS[PRONOUN_OF[people[0]]]).items()}
        key = " ".join(slots.get(word, word) for word in words)
        if key in table:
            result.append((math.log(table[key]) - log_fillings(key), facts))
    return result


def story_log_prob(text: str, *, style: str = "tale") -> float:
    """Exact log probability of a story in nats; -inf for a text that the grammar cannot produce."""
    ways = [log_prob for log_prob, _ in readings(text, style=style)]
    return math.log(math.fsum(map(math.exp, ways))) if ways else -math.inf


def grammatical(text: str, *, style: str = "tale") -> bool:
    """Whether the grammar can produce a text."""
    return bool(readings(text, style=style))
