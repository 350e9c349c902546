"""Questions about stories: the task that a pretrained story model is fine-tuned on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from course_utils.data.grammar import Plan, draw, plans, sentence_case
from course_utils.data.rows import Rows, story_rows
from course_utils.models import IGNORE
from course_utils.values import seed_of

from .abilities import story_facts

QUESTIONS = {  # kind -> wording, and the fact that answers it; no story is worded like this
    "place": ("where is {name}?", "place"),
    "colour": ("what colour is it?", "colour"),
    "feeling": ("how is {name}?", "feeling"),
    "who": ("who has the {object}?", "name"),
}


class Question(NamedTuple):
    """A story, a question about it, and the one word that answers it."""

    story: str
    question: str
    answer: str
    kind: str


@cache
def _quiet_plans() -> list[Plan]:
    """Plans of tales in which nobody asks: otherwise some stories would hold the answer twice."""
    return [plan for plan in plans() if " asks " not in plan.key]


def draw_questions(n: int, *, seed: int = 0, kinds: Sequence[str] = tuple(QUESTIONS)) -> list[Question]:
    """n questions, each about a new story, the same ones for the same seed."""
    wrong = [kind for kind in kinds if kind not in QUESTIONS]
    if wrong or not kinds:
        raise ValueError(f"kinds {list(kinds)}: choose from {', '.join(QUESTIONS)}")
    rng = random.Random(seed_of(seed))
    made = []
    for story in draw(_quiet_plans(), n, rng):
        kind = rng.choice(kinds)
        wording, fact = QUESTIONS[kind]
        facts = vars(story_facts(story))
        made.append(Question(story, sentence_case(wording.format_map(facts)), facts[fact], kind))
    return made


def question_rows(items: Sequence[Question], *, context: int = 64) -> Rows:
    """A row for each question: its story, the question and the answer; the answer is the only target.

    Inputs and targets are (questions, context) int64, laid out as by `story_rows`.
    """
    texts = [f"{item.story} {item.question} {item.answer}" for item in items]
    inputs, targets = story_rows(texts, context=context)
    ends = (targets != IGNORE).sum(1, keepdim=True)  # (questions, 1) words and the end token
    answers = targets.gather(1, ends - 2)  # (questions, 1)
    return inputs, targets.fill_(IGNORE).scatter_(1, ends - 2, answers)
