"""The ladder of losses above a model of the story language: what can be reached by knowing how much."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from functools import cache

from course_utils.data.grammar import (
    BEGIN,
    END,
    PRONOUNS,
    STORY_VOCAB,
    WORDS,
    key_probabilities,
    log_fillings,
)


def stories_entropy(*, style: str = "tale") -> float:
    """Entropy of the language in nats per predicted token: the mean loss that no model can beat.

    It is the entropy of a story over the expected number of its targets: words, punctuation marks and the end
    token. The mean loss over all targets of many rows, padding left out, tends to the same quotient.
    """
    return ladder(style=style)["floor"]


def ladder(*, style: str = "tale") -> dict[str, float]:
    """Losses to compare a model with, from the highest to the lowest, in nats per token.

    "ln V" knows nothing, "unigram" how frequent each token is, "bigram" the token before, "floor" the whole
    grammar. All four are exact.
    """
    return dict(_ladder(style))


@cache
def _ladder(style: str) -> dict[str, float]:
    pairs, before, tokens = Counter(), Counter(), Counter()
    for first, second, weight in _bigrams(style):
        pairs[first, second] += weight
        before[first] += weight
        tokens[second] += weight
    length = math.fsum(tokens.values())
    table = key_probabilities(style).items()
    return {
        "ln V": math.log(len(STORY_VOCAB)),
        "unigram": -math.fsum(w * math.log(w / length) for w in tokens.values()) / length,
        "bigram": -math.fsum(w * math.log(w / before[first]) for (first, _), w in pairs.items()) / length,
        "floor": math.fsum(p * (log_fillings(key) - math.log(p)) for key, p in table) / length,
    }


def sentence_weights(style: str) -> Counter[str]:
    """Key of a sentence, with the full stop before it -> how often a story has it on average.

    Neighbouring sentences share their full stop, so that every pair of neighbouring tokens is in one of them.
    """
    weights = Counter()
    for key, probability in key_probabilities(style).items():
        for sentence in f"{BEGIN} {key} {END}".replace(" . ", " .|. ").split("|"):
            weights[sentence] += probability
    return weights


def _bigrams(style: str) -> Iterator[tuple[str, str, float]]:
    """Neighbouring tokens and how often a story has them on average.

    Facts that stand side by side are independent, so a pair of open facts splits evenly.
    """
    fillers = dict(WORDS) | {"friend": WORDS["name"]}
    fillers |= {slot: tuple(forms[slot] for forms in PRONOUNS.values()) for slot in ("he", "his")}
    options = {f"{{{slot}}}": words for slot, words in fillers.items()}
    for sentence, weight in sentence_weights(style).items():
        for pair in itertools.pairwise(sentence.split()):
            firsts, seconds = (options.get(token, (token,)) for token in pair)
            for first, second in itertools.product(firsts, seconds):
                yield first, second, weight / len(firsts) / len(seconds)
