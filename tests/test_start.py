"""What the first notebook has for itself: the course map, and the card of this machine."""

import json

import pytest
import torch

from chapters.start.course_map import CourseMap, course_map
from chapters.start.machine import MachineCard
from course_utils.lesson import predict
from course_utils.lesson.progress import Progress, Record, my_progress
from course_utils.models import MLP
from course_utils.training import Experiment


@pytest.fixture(autouse=True)
def _own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setenv("COURSE_STRICT", "1")


def shown(widget) -> bool:
    return widget.layout.display != "none"


# --- the course map ---------------------------------------------------------------------------------------------------


def write_notebook(path, *sources):
    cells = [{"cell_type": "code", "source": source.splitlines(keepends=True)} for source in sources]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": 'check("no")'}, *cells]}))


def table(card) -> str:
    return card.table.outputs[0]["data"]["text/html"]


def test_the_map_counts_what_each_notebook_asks(tmp_path):
    write_notebook(
        tmp_path / "01_pretraining.ipynb",
        'from course_utils import lesson\nlesson.predict("a", "?", options=[])\npredict("b", "?")',
        'check("loss", f)\ncheck("loss", solution, solution=True)',
        '%time check("magic", f)',
        'quiz("q1", [])\n# predict("c")',
    )
    (tmp_path / "02_finetuning.ipynb").write_text("half sav")
    card = CourseMap(tmp_path, my_progress())
    row = '<a href="01_pretraining.ipynb">01 Pretraining</a></th><td>{}</td><td>{}</td><td>{}</td>'
    assert row.format("0 of 2", "0 of 1", "not yet") in table(card)
    assert '<a href="02_finetuning.ipynb">02 Fine-tuning</a></th><td>none</td>' in table(card)
    assert '03 Distillation</th><td colspan="3">to come</td>' in table(card)
    my_progress().predict("a", "x")
    my_progress().predict("elsewhere", "x")
    my_progress().solve("loss")
    my_progress().score("q1", 4, 5)
    assert row.format("1 of 2", "1 of 1 ✓", "4 of 5 right") in table(card)


def test_forgetting_asks_first_and_reaches_every_card(tmp_path):
    question = predict("first-loss", "What is the loss at step 0?", options=["0", "96"])
    question.choice.value = "96"
    card = CourseMap(tmp_path, my_progress())
    assert shown(card.forget) and not shown(card.really)
    card.forget.click()
    assert not shown(card.forget) and shown(card.really)
    card.keep.click()
    assert shown(card.forget) and my_progress().read() != Record()
    card.forget.click()
    card.really.click()
    assert Progress(my_progress().path).read() == Record() and question.choice.value is None
    question.choice.value = "96"
    assert my_progress().read().predictions["first-loss"].last == "96"


def test_the_maps_text_does_not_depend_on_the_learner(tmp_path):
    write_notebook(tmp_path / "01_pretraining.ipynb", 'predict("a", "?")')
    text = repr(CourseMap(tmp_path, my_progress()))
    my_progress().predict("a", "x")
    card = course_map()
    assert text == repr(card) == card._repr_mimebundle_()["text/plain"]


# --- the machine ------------------------------------------------------------------------------------------------------


def test_the_machine_card_says_what_a_run_costs_here():
    card = MachineCard(Experiment(model=lambda g: MLP([4, 3]), batches=[(torch.ones(8, 4), torch.arange(8) % 3)],
                                  steps=3000))  # fmt: skip
    assert "3,000 steps" in card.facts.value and "of memory free" in card.facts.value
    before, card.facts.value = card.facts.value, ""
    card.again.click()
    assert "ms for the story GPT" in card.facts.value and before
    assert repr(card) == card._repr_mimebundle_()["text/plain"]
