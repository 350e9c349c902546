"""What a learner writes trains in a panel; what is wrong with it is told with its line."""

import threading
import time
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from course_utils import runtime
from course_utils.live import TrainingPanel
from course_utils.live import workshop as workshops
from course_utils.models import MLP
from course_utils.training import Experiment, fit

DATA = torch.randn(64, 4, generator=runtime.generator(0)), torch.arange(64) % 3


def batches(generator):
    chosen = torch.randint(64, (8,), generator=generator)
    return DATA[0][chosen], DATA[1][chosen]


def recipe(*, width=16):
    return Experiment(model=lambda g: MLP([4, width, 3]), batches=batches, knobs={"lr": 0.01}, steps=3000)


@pytest.fixture
def trained():
    """Trains a panel with these parts until it has made some steps, or failed."""
    made = []

    def train(steps=20, **own):
        panel = TrainingPanel(recipe, title="Hands", settings=["width"], **own)
        made.append(panel)
        panel.start(steps)
        end = time.monotonic() + 20
        while panel.session.running and time.monotonic() < end:
            time.sleep(0.01)
        panel.pause()
        return panel

    yield train
    for panel in made:
        panel.close()
    assert not [one for one in threading.enumerate() if one.name == "course-training"]


def test_an_odd_but_right_loss_trains_and_its_prints_are_shown(trained, capsys):
    calls = []

    def my_loss(model, batch):
        calls.append(1)
        print("call", len(calls))
        return F.cross_entropy(model(batch[0]), batch[1]) * 1

    panel = trained(loss=my_loss)
    assert panel.session.step_count == 20 == len(calls) and panel.error is None
    assert panel.texts()[-1] == ("Printed by your code", "\n".join(f"call {n}" for n in range(13, 21)))
    assert "call" not in capsys.readouterr().out, "not in a cell"
    assert panel.hands.whose() == "This panel trains with `my_loss` as its loss: yours."
    assert "the same" in panel.hands.remark() and "not the same" not in panel.hands.remark()
    wanted = fit(recipe().model, batches, steps=20, lr=0.01, loss=my_loss)
    assert panel.session.runs[0].history.loss.tolist() == wanted.loss.tolist()


def blank_loss(model, batch):
    """The mean cross-entropy."""
    ...


@pytest.mark.parametrize("part", ["loss", "model", "batches", "schedule"])
def test_a_blank_part_leaves_the_recipes_own(trained, part):
    panel = trained(**{part: blank_loss})
    assert panel.session.step_count == 20 and panel.error is None
    assert panel.hands.whose() == ("`blank_loss` is still blank. Write it, run its cell, then run this one again. "
                                   f"Until then the recipe's own {part} trains.")  # fmt: skip


def test_model_batches_and_schedule_of_ones_own(trained):
    seen = []
    panel = trained(model=lambda g: MLP([4, 7, 3]), batches=[(DATA[0][:5], DATA[1][:5])],
                    schedule=lambda step: seen.append(step) or 0.5)  # fmt: skip
    assert panel.model.sizes == [4, 7, 3] and seen == list(range(20))
    rows = [rate["lr"] for rate in panel.session.runs[0].optimizer.param_groups]
    assert set(rows) == {0.005}
    assert panel.hands.whose() == ("This panel trains with `<lambda>` as its model and your answer as its batches and "
                                   "`<lambda>` as its schedule: yours.")  # fmt: skip


def weighed(of, model, batch, *, width, factor=2.0):
    return factor * of(model(batch[0]), batch[1]) * (width == 16)


def of_logits(logits, targets):
    return F.cross_entropy(logits, targets)


def blank_of_logits(logits, targets): ...


def wrong_of_logits(logits, targets):
    return F.cross_entropy(logits.T, targets)


def test_a_partial_is_as_much_the_learners_as_what_it_is_given_and_is_told_settings(trained, monkeypatch):
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    panel = trained(loss=partial(weighed, of_logits))
    assert panel.hands.whose() == "This panel trains with `of_logits` in its loss: yours."
    assert panel.error is None and panel.session.step_count == 20 and panel.session.runs[0].knobs["factor"] == 2
    assert "replace(recipe(width=16), loss=functools.partial(weighed, of_logits, width=16))" in panel.code()
    panel.settings["width"].value = 32
    panel.step()
    panel.pause()
    assert panel.session.runs[0].history.loss.tolist() == [0.0]
    assert trained(loss=partial(weighed, blank_of_logits)).hands.whose().startswith("`blank_of_logits` is still blank.")
    wrong = trained(loss=partial(weighed, wrong_of_logits))
    assert "`wrong_of_logits` raised " in str(wrong.error)
    assert f"at line {line(wrong_of_logits) + 1}: `return F.cross_entropy(logits.T, targets)`" in str(wrong.error)


def wrong_axis(model, batch):
    logits = model(batch[0])
    return F.cross_entropy(logits.T, batch[1])


def number(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1]).item()


def each(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def detached(model, batch):
    return F.cross_entropy(model(batch[0]).detach(), batch[1])


def stops(model, batch):
    breakpoint()  # noqa: T100


def later(step):
    return 1.0 if step < 3 else None


def line(function):
    return function.__code__.co_firstlineno


@pytest.mark.parametrize("own, at, said", [
    ({"loss": wrong_axis}, 1, f"at line {line(wrong_axis) + 2}: `return F.cross_entropy(logits.T, batch[1])`. "
     "In this step: inputs a tensor of shape (8, 4), targets a tensor of shape (8,), the model's output a tensor of "
     "shape (8, 3)."),
    ({"loss": number}, 1, f"line {line(number)}: `def number(model, batch):`), TypeError: loss gave a float"),
    ({"loss": each}, 1, "loss gave a tensor of shape (8,): expected a tensor that is one number"),
    ({"loss": detached}, 1, "loss gave a tensor without a gradient"),
    ({"loss": stops}, 1, "breakpoint() has no prompt where a panel trains: print"),
    ({"schedule": later}, 4, f"with `later` (line {line(later)}: `def later(step):`), TypeError: schedule gave None"),
])  # fmt: skip
def test_an_error_stops_the_run_at_its_step_and_names_the_line(trained, monkeypatch, own, at, said):
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    panel = trained(**own)
    assert str(panel.error).startswith(f"Step {at}: ") and said in str(panel.error)
    assert panel.session.step_count == at - 1 and panel.session.status == "ready"
    assert "Traceback" in panel._notice.value
    again = trained(loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]))
    assert again.error is None and again.session.step_count == 20


@pytest.mark.parametrize("own, said", [
    (lambda g: 3, "model gave a int: expected a module"), (lambda g: {}["x"], "KeyError: 'x' at line"),
    (lambda: 3, "expected a function that builds a module"), (MLP([4, 3]), "model is a module"),
])  # fmt: skip
def test_a_part_that_cannot_begin_leaves_the_recipes_own(trained, monkeypatch, own, said):
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    panel = trained(model=own)
    assert said in str(panel.error) and str(panel.error).endswith("Until then the recipe's own trains.")
    assert panel.model.sizes == [4, 16, 3] and panel.session.step_count == 20
    panel.settings["width"].value = 32
    assert panel.model.sizes == [4, 32, 3] and said in str(panel.error)


@pytest.mark.parametrize("factor, said", [
    (8, "A sum in place of a mean"), (-1, "Yours was below 0: is a minus sign missing"), (1.001, ": the same."),
])  # fmt: skip
def test_finite_nonsense_stands_beside_the_recipes_own_value(trained, factor, said):
    panel = trained(loss=lambda model, batch: factor * F.cross_entropy(model(batch[0]), batch[1]))
    assert said in panel.hands.remark() and panel.error is None


def test_pause_ends_what_does_not_come_back(monkeypatch):
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    monkeypatch.setattr(workshops, "PATIENCE", 0.2)

    def endless(model, batch):
        while True:
            time.sleep(0.01)

    panel = TrainingPanel(recipe, title="Hands", loss=endless)
    panel.start()
    time.sleep(0.3)
    panel.pause()
    assert not panel.session.running
    assert "did not come back, and was ended at line" in str(panel.error)
    panel.close()


def test_a_slow_step_of_the_courses_own_is_waited_for(monkeypatch):
    monkeypatch.setattr(workshops, "PATIENCE", 0.1)

    def slow(generator):
        time.sleep(0.5)
        return batches(generator)

    panel = TrainingPanel(lambda: Experiment(model=lambda g: MLP([4, 3]), batches=slow), title="Hands",
                          loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]))  # fmt: skip
    panel.start()
    time.sleep(0.2)
    panel.pause()
    assert panel.session.step_count == 1 and panel.error is None
    panel.close()
