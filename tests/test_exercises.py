"""Each check accepts several right answers and refuses plausible wrong ones, naming the mistake."""

import importlib
import pkgutil
import re

import pytest

import chapters
from course_utils.lesson import checks, judge
from tests import answers

CHAPTERS = [module.name for module in pkgutil.iter_modules(chapters.__path__)
            if module.ispkg and module.name != "stories"]  # the recipes that all chapters share
CHECKS = [f"chapters.{chapter}.checks" for chapter in CHAPTERS]
for module in CHECKS:  # importing a chapter's checks registers its exercises
    importlib.import_module(module)
ANSWERS = [importlib.import_module(f"{answers.__name__}.{module.name}")
           for module in pkgutil.iter_modules(answers.__path__)]
RIGHT = {name: given for module in ANSWERS for name, given in module.RIGHT.items()}
WRONG = {name: given for module in ANSWERS for name, given in module.WRONG.items()}


@pytest.mark.parametrize("name, index", [(name, i) for name, answers in RIGHT.items() for i in range(len(answers))])
def test_right_answers_pass(name, index):
    verdict = judge(name, RIGHT[name][index])
    assert verdict.passed, verdict.line


@pytest.mark.parametrize("name, index", [(name, i) for name, answers in WRONG.items() for i in range(len(answers))])
def test_wrong_answers_get_a_hint_that_names_the_mistake(name, index):
    answer, hint = WRONG[name][index]
    verdict = judge(name, answer)
    assert not verdict.passed
    assert re.search(hint, verdict.line), verdict.line


@pytest.mark.parametrize("name", RIGHT)
def test_a_blank_answer_is_said_to_be_blank(name):
    def blank(*args): ...

    verdict = judge(name, blank)
    assert not verdict.passed and "blank" in verdict.line


def test_every_exercise_has_three_right_and_three_wrong_answers():
    known = {name for name, one in checks.EXERCISES.items() if one.checker.__module__ in CHECKS}
    assert known == set(RIGHT) == set(WRONG)
    assert all(len(answers) >= 3 for answers in [*RIGHT.values(), *WRONG.values()])
