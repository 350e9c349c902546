"""What a model of the stories has learned: a story's facts, accuracy by ability, a judge of free text."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.data.grammar import (
    CAUSES,
    KIND_OF,
    PRONOUN_OF,
    PRONOUNS,
    SENTENCES,
    STORY_VOCAB,
    STYLES,
    grammatical,
    key_of,
    readings,
    words_of,
)
from course_utils.data.rungs import sentence_weights
from course_utils.models import IGNORE
from course_utils.values import wide

SPELLING = {word.lower(): word for word in STORY_VOCAB}


@dataclass(frozen=True, kw_only=True)
class StoryFacts:
    """What a reader of a story knows. friend: the other person, or None."""

    name: str
    pronoun: str
    colour: str
    object: str
    place: str
    feeling: str
    cause: str
    friend: str | None


def story_facts(text: str, *, style: str = "tale") -> StoryFacts:
    """The facts of a story. ValueError for a text outside the language."""
    found = readings(text, style=style)
    if not found:
        raise ValueError(f"not a {style} of the story language: {text!r}")
    facts = {slot: SPELLING[word] for slot, word in found[0][1].items()}
    feeling = next(word for word in words_of(text) if word in CAUSES)
    return StoryFacts(
        name=facts["name"],
        pronoun=PRONOUN_OF[facts["name"].lower()],
        colour=facts["colour"],
        object=facts["object"],
        place=facts["place"],
        feeling=feeling,
        cause=CAUSES[feeling].format_map(facts),
        friend=facts.get("friend"),
    )


# --- kinds of words -----------------------------------------------------------------------------------


@cache
def _kinds() -> dict[str, str]:
    """Word -> its kind: "{he}" for he and she, "{colour}" for any colour; most words are their own kind."""
    kinds = {word.lower(): word for word in STORY_VOCAB}
    kinds |= {word: f"{{{kind}}}" for word, kind in KIND_OF.items()} | dict.fromkeys(CAUSES, "{feeling}")
    return kinds | {word: f"{{{slot}}}" for forms in PRONOUNS.values() for slot, word in forms.items()}


@cache
def _clues() -> dict[str, str]:
    """Word -> the feeling it gives away: words of one cause that stand nowhere else."""
    elsewhere = set(key_of(" ".join(text for table in SENTENCES.values() for text in table)).split())
    words = {feeling: set(key_of(cause).split()) - elsewhere for feeling, cause in CAUSES.items()}
    counts = Counter(itertools.chain(*words.values()))
    return {word: feeling for feeling, own in words.items() for word in sorted(own) if counts[word] == 1}


class _Tables(NamedTuple):
    number: dict[str, int]  # kind -> its number
    kind: Tensor  # (vocabulary,) number of each token's kind
    clue: Tensor  # (vocabulary,) whether a token gives a feeling away
    forced: Tensor  # (kinds, kinds) the only kind that follows two kinds, or -1


@cache
def _tables() -> _Tables:
    kinds = _kinds()
    number = {kind: place for place, kind in enumerate(dict.fromkeys(kinds.values()))}
    follows = defaultdict(set)
    for sentence in itertools.chain(*map(sentence_weights, STYLES)):
        words = sentence.replace("{friend}", "{name}").split()
        found = [number[kinds.get(word, word)] for word in words]
        for first, second, third in zip(found, found[1:], found[2:], strict=False):
            follows[first, second].add(third)
    forced = torch.full((len(number), len(number)), -1)
    for pair, third in follows.items():
        if len(third) == 1:
            forced[pair] = min(third)
    kind = torch.tensor([number[kinds[word.lower()]] for word in STORY_VOCAB])
    return _Tables(number, kind, torch.tensor([word.lower() in _clues() for word in STORY_VOCAB]), forced)


# --- accuracy by ability ------------------------------------------------------------------------------


def ability_masks(inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """For each ability, which targets test it: a bool table of the same shape, (rows, tokens).

    syntax: the two words before leave only one kind of word.  pronoun: he or she, his or her.
    feeling: its cause, or the feeling, came before.  thing: a colour or an object that came before.
    place: one that came before.
    """
    tables, inputs, targets = _tables(), inputs.long(), targets.long()  # a uint8 index would be a mask
    kind, number = tables.kind.to(inputs.device), tables.number
    read, target = kind[inputs], kind[targets.clamp(min=0)]  # (rows, tokens)
    syntax = torch.zeros_like(targets, dtype=torch.bool)
    syntax[:, 1:] = tables.forced.to(inputs.device)[read[:, :-1], read[:, 1:]] >= 0

    def repeated(name: str) -> Tensor:
        return (target == number[name]) & ((read == number[name]).cumsum(1) > 0)

    told = (tables.clue.to(inputs.device)[inputs] | (read == number["{feeling}"])).cumsum(1) > 0
    masks = {
        "syntax": syntax,
        "pronoun": (target == number["{he}"]) | (target == number["{his}"]),
        "feeling": (target == number["{feeling}"]) & told,
        "thing": repeated("{colour}") | repeated("{object}"),
        "place": repeated("{place}"),
    }
    return {name: mask & (targets != IGNORE) for name, mask in masks.items()}


def ability_accuracy(logits: Tensor, inputs: Tensor, targets: Tensor) -> dict[str, float]:
    """How often the most likely word is right, by ability; NaN where no target tests it.

    logits: (rows, tokens, vocabulary).  For syntax, any word of the right kind is right. For the others the
    choice is among words of the target's kind (he or she, which colour): the story might well go on with
    another kind of word, and that would be no mistake.
    """
    kind, logits, targets = _tables().kind.to(logits.device), wide(logits, torch.float32), targets.long()
    target = kind[targets.clamp(min=0)]  # (rows, tokens)
    among = logits.masked_fill(kind != target[..., None], float("-inf")).argmax(-1) == targets
    syntax = kind[logits.argmax(-1)] == target
    accuracy = {}
    for name, mask in ability_masks(inputs, targets).items():
        right = syntax if name == "syntax" else among
        accuracy[name] = right[mask].float().mean().item()
    return accuracy


# --- a judge of free text -----------------------------------------------------------------------------


def judge(text: str, *, style: str = "tale") -> dict[str, bool | None]:
    """What is right in any text, by ability; None where it does not show the ability.

    syntax: the grammar can produce all of it.  pronoun: all fit the first name.  feeling: all fit the one
    cause told.  thing: one colour and one object throughout.  place: one throughout.
    """
    found = defaultdict(list)
    for word in words_of(text):
        found[_kinds().get(word)].append(word)
        if word in _clues():
            found["clue"].append(_clues()[word])
    people, places = found["{name}"], found["{place}"]
    own = PRONOUNS[PRONOUN_OF[people[0]]].values() if people else ()
    pronouns = set(found["{he}"] + found["{his}"])
    felt = set(found["{feeling}"] + found["clue"])
    things = [set(found[kind]) for kind in ("{colour}", "{object}") if len(found[kind]) > 1]
    return {
        "syntax": grammatical(text, style=style),
        "pronoun": pronouns <= set(own) if people and pronouns else None,
        "feeling": len(felt) == 1 if found["{feeling}"] and found["clue"] else None,
        "thing": all(len(words) == 1 for words in things) if things else None,
        "place": len(set(places)) == 1 if len(places) > 1 else None,
    }
