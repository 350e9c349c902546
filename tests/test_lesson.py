import html
import json
import os
import threading
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from torch import nn

from course_utils.evidence import Interval
from course_utils.lesson import (
    Question,
    check,
    claim,
    compare,
    exercise,
    is_finite,
    judge,
    law,
    predict,
    quiz,
    recall,
    teaches,
    written,
)
from course_utils.lesson.cards import folded
from course_utils.lesson.compare import CheckerError
from course_utils.lesson.progress import Progress, Record, my_progress

OPTIONS = ["0", "ln 96 ≈ 4.56", "96"]
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(autouse=True)
def _own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setenv("COURSE_STRICT", "1")


def ask():
    return predict("first-loss", "What is the loss at step 0?", options=OPTIONS)


def bring_back():
    return recall("first-loss", answer="ln 96 ≈ 4.56", because="a uniform guess costs ln V.")


def shown(widget) -> bool:
    return widget.layout.display != "none"


# Progress


def test_a_record_survives_its_file():
    progress = my_progress()
    progress.predict("é", "0")
    progress.predict("é", "96")
    progress.reveal("é")
    progress.solve("lora")
    progress.score("quiz", 4, 5)
    again = Progress(progress.path)
    assert again.read() == progress.read() == Record.from_json(progress.read().to_json())
    assert again.read().predictions["é"].first == "0" and again.read().predictions["é"].last == "96"
    assert my_progress() is progress


def test_nothing_is_written_before_something_is_done():
    progress = my_progress()
    progress.read()
    progress.reveal("never asked")
    progress.forget()
    assert not progress.path.exists()


def test_a_prediction_changes_until_it_is_revealed():
    progress = my_progress()
    progress.predict("a", "x")
    progress.predict("a", "y")
    progress.reveal("a")
    progress.predict("a", "z")
    assert progress.read().predictions["a"].last == "y"


def test_the_best_quiz_score_is_kept():
    progress = my_progress()
    for right in (2, 4, 3):
        progress.score("quiz", right, 5)
    assert progress.read().quizzes["quiz"] == (4, 5)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "{",
        "[]",
        "null",
        '{"predictions": {}}',
        '{"predictions": {"a": {"first": 3, "last": "x"}}, "exercises": [], "quizzes": {}}',
        '{"predictions": {"a": {"first": "x"}}, "exercises": [], "quizzes": {}}',
        '{"predictions": {}, "exercises": "abc", "quizzes": {}}',
        '{"predictions": {}, "exercises": [1], "quizzes": {}}',
        '{"predictions": {}, "exercises": [], "quizzes": {"q": [1]}}',
        '{"predictions": {}, "exercises": [], "quizzes": {"q": ["4", "5"]}}',
        '{"predictions": {"p": {"first": "a", "last": "a", "revealed": "no"}}, "exercises": [], "quizzes": {}}',
        "[" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_a_damaged_file_is_kept_aside_and_said_once(bad, tmp_path):
    path = tmp_path / "progress.json"
    path.write_bytes(bad if isinstance(bad, bytes) else bad.encode())
    before = path.read_bytes()
    card = ask()
    assert "is damaged. It is kept as progress.json.damaged" in card._notice.value and shown(card._notice)
    assert (tmp_path / "progress.json.damaged").read_bytes() == before
    card.choice.value = "96"
    assert Progress(path).read().predictions["first-loss"].last == "96"
    assert not shown(bring_back()._notice)


def test_a_second_damaged_file_does_not_replace_the_first(tmp_path):
    path = tmp_path / "progress.json"
    progress = Progress(path)
    for text in ("first", "second"):
        path.write_text(text)
        progress.read()
    assert (tmp_path / "progress.json.damaged").read_text() == "first"
    assert (tmp_path / "progress.json.damaged.damaged").read_text() == "second"


def test_what_is_remembered_outlives_a_damaged_or_deleted_file():
    progress = my_progress()
    progress.solve("a")
    progress.path.write_text("{")
    progress.solve("b")
    progress.path.unlink()
    progress.solve("c")
    assert Progress(progress.path).read().exercises == {"a", "b", "c"}
    assert "is damaged" in (notice := progress.take_notice()) and "is gone" in notice
    assert progress.take_notice() == ""


def test_a_folder_in_the_files_place_is_left_alone(tmp_path):
    folder = tmp_path / "progress.json"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    card = ask()
    card.choice.value = "96"
    assert "kept until this kernel stops" in card._notice.value
    assert "You predicted: <b>96</b>" in bring_back().body.value
    assert (folder / "mine.txt").read_text() == "mine" and os.listdir(tmp_path) == ["progress.json"]


def test_a_file_in_the_folders_place_is_survived(tmp_path, monkeypatch):
    (tmp_path / "blocker").write_text("")
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "blocker" / "progress.json"))
    card = ask()
    card.choice.value = "0"
    assert my_progress().read().predictions["first-loss"].last == "0"
    assert "kept until this kernel stops" in card._notice.value


def test_a_read_only_folder_keeps_memory_until_it_can_be_written(tmp_path, monkeypatch):
    progress = my_progress()
    progress.solve("a")
    before = progress.path.read_text()
    with monkeypatch.context() as patch:

        def refuse(source, target):
            raise PermissionError(13, "Permission denied")

        patch.setattr(os, "replace", refuse)
        progress.solve("b")
        progress.solve("c")
        assert progress.take_notice().count("cannot be written (Permission denied)") == 1
        progress.solve("e")
    assert progress.take_notice() == ""
    assert progress.path.read_text() == before and os.listdir(tmp_path) == ["progress.json"]
    assert progress.read().exercises == {"a", "b", "c", "e"}
    progress.solve("d")
    assert Progress(progress.path).read().exercises == set("abcde")


def test_an_unreadable_file_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "progress.json"
    path.write_text("secret")

    def refuse(self, **_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", refuse)
        progress = Progress(path)
        progress.solve("a")
    assert path.read_text() == "secret" and os.listdir(tmp_path) == ["progress.json"]
    assert "cannot be read (Permission denied)" in progress.take_notice()


def test_two_threads_and_two_kernels_lose_nothing(tmp_path):
    progress = Progress(tmp_path / "p.json")
    threads = [
        threading.Thread(target=lambda k=k: [progress.solve(f"{k}-{i}") for i in range(40)]) for k in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other_kernel = Progress(tmp_path / "p.json")
    other_kernel.solve("other")
    progress.solve("last")
    names = {f"{k}-{i}" for k in range(2) for i in range(40)} | {"other", "last"}
    assert Progress(tmp_path / "p.json").read().exercises == names
    assert os.listdir(tmp_path) == ["p.json"]


def test_cards_drawn_by_two_threads_do_not_wait_for_each_other():
    cards = [ask(), bring_back()]

    def click(options):
        for option in options * 20:
            my_progress().predict("first-loss", option)

    threads = [
        threading.Thread(target=click, args=(order,), daemon=True) for order in (OPTIONS, OPTIONS[::-1])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
    for card in cards:
        card.refresh()
    assert cards[0].choice.value == my_progress().read().predictions["first-loss"].last


def test_the_file_stays_where_it_was_when_the_folder_changes(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("COURSE_PROGRESS", "relative.json")
    monkeypatch.chdir(tmp_path / "notebooks")
    my_progress()
    monkeypatch.chdir(tmp_path)
    my_progress().solve("a")
    assert (tmp_path / "notebooks" / "relative.json").exists() and not (tmp_path / "relative.json").exists()


# Predictions


def test_nothing_is_chosen_until_the_learner_chooses():
    card = ask()
    assert card.choice.value is None and not my_progress().path.exists()
    card.choice.value = "96"
    assert json.loads(my_progress().path.read_text())["predictions"]["first-loss"]["first"] == "96"
    assert "Recorded: <b>96</b>" in card.status.value
    assert ask().choice.value == "96"


def test_the_first_choice_is_kept_and_the_answer_locks_the_last():
    card = ask()
    card.choice.value = "96"
    card.choice.value = "0"
    back = bring_back()
    assert "You predicted: <b>0</b> (at first: 96)" in back.body.value
    assert "The answer: <b>ln 96 ≈ 4.56</b>. Because a uniform guess costs ln V." in back.body.value
    assert card.choice.disabled and not shown(back.button)
    card.choice.value = "96"  # as a message that was under way
    assert card.choice.value == "0" and my_progress().read().predictions["first-loss"].last == "0"


def test_a_right_prediction_has_a_tick():
    ask().choice.value = "ln 96 ≈ 4.56"
    assert "<b>ln 96 ≈ 4.56</b> ✓" in bring_back().body.value


def test_drawing_an_old_state_is_not_taken_for_a_choice(monkeypatch):
    card, chosen = ask(), []
    card.choice.value = "96"
    old = card.progress.read()
    card.choice.value = "0"
    monkeypatch.setattr(card.progress, "read", lambda: old)  # another thread has read it a moment too early
    monkeypatch.setattr(card.progress, "predict", lambda *choice: chosen.append(choice))
    card.refresh()
    assert card.choice.value == "96" and chosen == []


def test_without_a_prediction_the_answer_waits_for_a_click():
    ask()
    back = bring_back()
    assert back.body.value == "<p>You have made no prediction here.</p>" and shown(back.button)
    back.button.click()
    assert "The answer: " in back.body.value and not shown(back.button)


def test_a_prediction_made_after_run_all_reaches_the_answers_card():
    card, back = ask(), bring_back()
    card.choice.value = "96"
    assert back.body.value == "<p>You predicted: <b>96</b></p>" and not card.choice.disabled
    back.button.click()
    assert "The answer: " in back.body.value and card.choice.disabled


def test_text_does_not_depend_on_the_learner():
    fresh = [ask(), bring_back(), five()]
    texts = [card._repr_mimebundle_()["text/plain"] for card in fresh]
    fresh[0].choice.value = "96"
    fresh[2].choices[0].value = "right"
    stored = [ask(), bring_back(), five()]
    assert texts == [card._repr_mimebundle_()["text/plain"] for card in stored] == [repr(c) for c in stored]
    assert texts[0] == "Predict: What is the loss at step 0?\n   ○ 0\n   ○ ln 96 ≈ 4.56\n   ○ 96"
    assert texts[1] == "The answer: ln 96 ≈ 4.56. Because a uniform guess costs ln V."
    for card in stored:
        bundle = card._repr_mimebundle_()
        assert set(bundle) == {"text/plain", VIEW} and bundle[VIEW]["model_id"] == card.box.model_id


def all_html(widget) -> str:
    own = widget.value if isinstance(widget, widgets.HTML) else ""
    return own + "".join(all_html(child) for child in getattr(widget, "children", ()))


def test_texts_are_escaped():
    bad = "<img src=x onerror=alert(1)>"
    card = predict("x", bad, options=[bad, "b"])
    card.choice.value = bad
    back = recall("x", answer=bad, because=bad)
    test = quiz("x", [Question(bad, {bad: bad, "b": bad}, bad)])
    test.choices[0].value = bad
    for one in (card, back, test):
        assert bad not in all_html(one.box) and html.escape(bad) in all_html(one.box)


@pytest.mark.parametrize("options", [[], ["only"], ["a", "a"]])
def test_options_must_differ(options):
    with pytest.raises(ValueError, match="two or more different options"):
        predict("x", "?", options=options)


def test_an_answer_is_one_of_the_options():
    ask()
    with pytest.raises(ValueError, match="must be one of"):
        recall("first-loss", answer="4.56", because="it is so.")


def test_an_error_in_a_callback_is_shown_and_raised_only_when_strict(monkeypatch):
    card = ask()

    def fail(*_):
        raise RuntimeError("<broken>")

    monkeypatch.setattr(card.progress, "predict", fail)
    with pytest.raises(RuntimeError):
        card.choice.value = "96"
    monkeypatch.delenv("COURSE_STRICT")
    card.choice.value = "0"
    assert "<summary>RuntimeError: &lt;broken&gt;</summary>" in card._notice.value and shown(card._notice)
    assert "test_lesson.py" in card._notice.value


# Quiz


def five():
    replies = {"right": "because it is so", "wrong": "because it is not"}
    return quiz("q", [Question(f"Question {i}?", replies, "right") for i in range(5)])


def test_the_first_choice_of_each_question_counts():
    card = five()
    card.choices[0].value = "wrong"
    assert "✗ Not this one.</b> because it is not" in card.replies[0].value
    card.choices[0].value = "right"
    assert "✓ Right.</b> because it is so" in card.replies[0].value
    for choice in card.choices[1:4]:
        choice.value = "right"
    card.choices[0].value = "wrong"
    assert "q" not in my_progress().read().quizzes
    card.choices[4].value = "right"
    assert my_progress().read().quizzes["q"] == (4, 5) and "<b>4 of 5</b> right" in card.score.value
    assert "best so far: 4 of 5" in five().score.value


@pytest.mark.parametrize(
    "replies, answer, message",
    [
        ({"a": "x", "b": "y"}, "c", "must be one of"),
        ({"a": "x", "b": " "}, "a", "'b' is right or wrong"),
        ({"a": "x"}, "a", "two or more different options"),
    ],
)
def test_a_question_needs_an_answer_and_a_reply_to_each_option(replies, answer, message):
    with pytest.raises(ValueError, match=message):
        Question("?", replies, answer)


def test_a_quiz_needs_a_question():
    with pytest.raises(ValueError, match="needs one question"):
        quiz("q", [])


# Exercise checks

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0]])


@exercise("soft", "soft targets")
def _check_soft(answer):
    right = torch.softmax(LOGITS / 2, -1)
    mistakes = {
        "forgot to divide by T": torch.softmax(LOGITS, -1),
        "multiplied by T": torch.softmax(LOGITS * 2, -1),
        "normalized over the batch": torch.softmax(LOGITS / 2, 0),
    }
    yield compare(answer(LOGITS, 2.0), right, mistakes=mistakes)
    yield law(answer(LOGITS, 50.0).max() < 0.4, "a higher temperature must flatten the targets")


def blank(logits, temperature):
    """Soft targets."""
    ...


def blank_pass(logits, temperature):
    pass


def blank_raise(logits, temperature):
    raise NotImplementedError


@pytest.mark.parametrize(
    "answer",
    [
        lambda z, t: torch.softmax(z / t, -1),
        lambda z, t: (z / t).exp() / (z / t).exp().sum(-1, keepdim=True),
        lambda z, t: torch.softmax(z.double() / t, -1),
        lambda z, t: torch.log_softmax(z / t, -1).exp().requires_grad_(),
        lambda z, t: np.exp(z.numpy() / t) / np.exp(z.numpy() / t).sum(-1, keepdims=True),
    ],
)
def test_any_right_answer_passes(answer, capsys):
    check("soft", answer)
    assert capsys.readouterr().out == "✓ soft targets: right\n"
    assert "soft" in my_progress().read().exercises


@pytest.mark.parametrize(
    "answer, hint",
    [
        (lambda z, t: torch.softmax(z, -1), "it looks as if you forgot to divide by T"),
        (lambda z, t: torch.softmax(z * t, -1), "it looks as if you multiplied by T"),
        (lambda z, t: torch.softmax(z / t, 0), "it looks as if you normalized over the batch"),
        (lambda z, t: torch.softmax(z / 2, -1), "a higher temperature must flatten the targets"),
        (lambda z, t: torch.softmax(z / t, -1)[0], "your result has shape (3,), expected (2, 3)"),
        (lambda z, t: torch.softmax(z / t, -1).T, "has shape (3, 2), expected (2, 3) (transposed?)"),
        (lambda z, t: 3 * torch.softmax(z / t, -1), "your result is 3 times what is expected"),
        (lambda z, t: -torch.softmax(z / t, -1), "your result has the wrong sign"),
        (lambda z, t: print(end=""), "your result is None: is a `return` missing?"),
        (lambda z, t: "soft", "your result is a str, expected an array of shape (2, 3)"),
        (lambda z: z, "the check could not use `<lambda>` (TypeError: "),
        (3.0, "the check could not use your answer (TypeError: 'float' object is not callable)"),
    ],
)
def test_wrong_answers_get_the_hint_for_their_mistake(answer, hint):
    verdict = judge("soft", answer)
    assert not verdict.passed and verdict.line.startswith("not yet: ") and hint in verdict.line


@pytest.mark.parametrize("answer", [blank, blank_pass, blank_raise])
def test_a_blank_stub_is_called_blank(answer, capsys):
    check("soft", answer)
    line = f"not yet: `{answer.__name__}` is still blank. Write it, run its cell, then run this one again.\n"
    assert capsys.readouterr().out == line
    assert not my_progress().path.exists()


@pytest.mark.parametrize("answer", [None, ...])
def test_a_blank_value_is_called_blank(answer):
    assert judge("soft", answer).line.startswith("not yet: the answer is still blank.")


def test_a_half_filled_stub_is_told_so():
    def half(logits, temperature):
        scaled = ...
        return torch.softmax(scaled, -1)

    def returns_it(logits, temperature):
        targets = ...
        return targets

    def by_einsum(logits, temperature):
        return torch.einsum("ijkl->ij", logits)

    assert "there is a `...` left in `half`" in judge("soft", half).line
    assert "by_einsum` raised RuntimeError: einsum()" in judge("soft", by_einsum).line, "its message has the word"
    assert judge("soft", returns_it).line == "not yet: your result is still `...`"


def test_an_exception_is_a_hint_with_its_line_and_a_folded_traceback(capsys):
    def divides(logits, temperature):
        def inner():
            return 1 / 0

        return inner()

    verdict = judge("soft", divides)
    line = divides.__code__.co_firstlineno + 2
    said = f"not yet: `divides` raised ZeroDivisionError: division by zero at line {line}: `return 1 / 0`"
    assert verdict.line == said
    assert "ZeroDivisionError" in verdict.trace and "_check_soft" not in verdict.trace
    check("soft", divides)
    assert capsys.readouterr().out.startswith(said + "\n")


def test_a_traceback_is_folded_and_escaped():
    said = folded("The traceback", "<b>")
    assert said == "<details><summary>The traceback</summary><pre>&lt;b&gt;</pre></details>"


def test_a_solution_is_judged_and_not_recorded(capsys):
    check("soft", lambda z, t: torch.softmax(z / t, -1), solution=True)
    assert capsys.readouterr().out == "✓ soft targets: right\n"
    assert not my_progress().path.exists()


@exercise("scale", "a layer that scales")
def _check_layer(answer):
    layer = answer(2.0)
    yield compare(layer(torch.ones(3)), torch.full((3,), 2.0))
    yield law(list(layer.parameters()) == [], "the factor is no parameter: keep it a plain number")


def test_a_class_is_checked_like_a_function():
    class Blank(nn.Module):
        def __init__(self, factor):
            super().__init__()

        def forward(self, x): ...

    class Broken(nn.Module):
        def __init__(self, factor):
            self.layer = nn.Linear(1, 1)

        def forward(self, x): ...

    class Learned(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(factor))

        def forward(self, x):
            return self.factor * x

    assert judge("scale", Blank).line.startswith("not yet: `Blank.forward` is still blank.")
    assert "`Broken` raised AttributeError: cannot assign module before" in judge("scale", Broken).line
    assert judge("scale", Learned).line == "not yet: the factor is no parameter: keep it a plain number"


def test_a_result_that_a_law_cannot_use_names_the_missing_return():
    @exercise("positive", "a positive number")
    def checker(answer):
        yield law(answer(1) > 0, "positive")

    def forgets(x):
        x + 1

    assert "`forgets` returned None: is a `return` missing?" in judge("positive", forgets).line


def test_a_mistake_that_leads_to_the_right_answer_is_raised_for_the_checkers_author():
    @exercise("bad-mistake", "x")
    def mistake(answer):
        yield compare(1.0, 1.0, mistakes={"guessed": 1.0})

    with pytest.raises(CheckerError, match="'guessed' leads"):
        judge("bad-mistake", lambda: 1)


def test_a_name_that_no_checker_has_says_which_there_are():
    with pytest.raises(LookupError, match="soft"):
        judge("sotf", lambda: 1)


@exercise("spread", "the mean square")
def _check_spread(answer):
    yield compare(answer(LOGITS), LOGITS.square().mean())
    yield teaches(answer, lambda z: z.square().mean(), LOGITS)


def spread_in_place(z):
    z *= 2
    return (z**2).mean() / 4


def spread_over_itself(z):
    squares = z**2
    z += 1
    return squares.mean()


@pytest.mark.parametrize(
    "answer", [spread_in_place, lambda z: z.double().square().mean(), lambda z: z.square().mean().item(),
               lambda z: np.mean(z.numpy() ** 2), lambda z: sum(float(one) ** 2 for one in z.flatten()) / z.numel()]
)  # fmt: skip
def test_a_loss_teaches_or_is_a_plain_number(answer):
    assert judge("spread", answer).passed


@pytest.mark.parametrize(
    "answer, hint",
    [
        (torch.no_grad()(lambda z: z.square().mean()), "no gradient flows through the loss"),
        (lambda z: z.square().mean().detach(), "no gradient flows through the loss"),
        (lambda z: torch.tensor(z.square().mean().item()), "no gradient flows through the loss"),
        (lambda z: torch.tensor(np.mean(z.numpy() ** 2)), "no gradient flows through the loss"),
        (lambda z: (z * z.detach()).mean(), "the gradient of the loss is 0.5 times what is expected"),
        (spread_over_itself, "was changed in place"),
        (lambda z: z.square().mean() if not z.requires_grad else z.view(7), "shape '[7]' is invalid"),
    ],
)
def test_a_loss_that_teaches_nothing_is_told_why(answer, hint):
    verdict = judge("spread", answer)
    assert not verdict.passed and hint in verdict.line


@pytest.mark.parametrize("value", [1, True, np.float32(2), [1.0, 2.0], torch.ones(2), [torch.ones(2)] * 2, "soft"])
def test_numbers_are_finite_and_other_things_are_left_to_compare(value):
    assert is_finite(value)


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), [0.0, -np.inf], [torch.ones(1) / 0, torch.ones(1)]])
def test_a_single_nan_or_inf_is_found(value):
    assert not is_finite(value)


# Comparing


@pytest.mark.parametrize(
    "result, expected",
    [
        (2, 2.0),
        (torch.tensor(2.0, requires_grad=True), 2.0),
        (np.float32(0.1), 0.1),
        (Fraction(1, 4), 0.25),
        ([Decimal("0.5"), np.int8(2)], [0.5, 2]),
        ([1, 2.0], torch.tensor([1.0, 2.0])),
        ([torch.tensor(1.0), torch.tensor(2.0)], (1, 2)),
        (torch.tensor([1.0, 2.0], dtype=torch.bfloat16), [1.0, 2.0]),
        (torch.tensor([True, False]), np.array([True, False])),
        ((torch.ones(2), 3.0), (np.ones(2), 3.0)),
        ({"w": torch.ones(2)}, {"w": [1, 1]}),
        ([-np.inf, 0.0], torch.tensor([-np.inf, 0.0])),
        ("abc", "abc"),
        (["a", "b"], ["a", "b"]),
        (None, None),
        (torch.ones(2, 3).shape, (2, 3)),
    ],
)
def test_equal_things_are_equal(result, expected):
    assert compare(result, expected) is None


@pytest.mark.parametrize(
    "result, expected, hint",
    [
        (1.5, 1.25, "your result is 1.5, expected 1.25"),
        (float("nan"), 1.0, "your result is nan, expected 1"),
        ([1.0, float("nan")], [1.0, 2.0], "your result contains nan"),
        ([1.0, 2.0, 9.0], [1.0, 2.0, 3.0], "your result at [2] is 9, expected 3 (1 of 3 values differ)"),
        ([np.inf, 1.0], [-np.inf, 1.0], "your result at [0] is inf, expected -inf (1 of 2 values differ)"),
        (torch.ones(1), 1.0, "your result has shape (1,), expected ()"),
        ([1, 0], [True, False], "your result holds numbers, expected booleans"),
        ([True, True], [True, False], "your result at [1] is True, expected False (1 of 2 values differ)"),
        (torch.ones(2), (torch.ones(2), 3.0), "your result is a Tensor, expected 2 items"),
        ((torch.ones(2),), (torch.ones(2), 3.0), "your result has 1 items, expected 2"),
        ((torch.ones(2), 4.0), (torch.ones(2), 3.0), "item 1 of your result is 4, expected 3"),
        ({"w": 1}, {"w": 1, "b": 2}, "your result has no entry 'b'"),
        ({"w": 1, "b": 2}, {"w": 1}, "your result has an entry 'b' too many"),
        ({"w": 1}, {"w": 2}, "entry 'w' of your result is 1, expected 2"),
        ([1], {"w": 2}, "your result is a list, expected a dict"),
        ("abd", "abc", "your result is 'abd', expected 'abc'"),
        (np.ones(2), "abc", "your result is array([1., 1.]), expected 'abc'"),
        (None, 1.0, "your result is None: is a `return` missing?"),
        ("1", 1.0, "your result is a str, expected a number"),
    ],
)
def test_a_difference_is_named(result, expected, hint):
    assert compare(result, expected) == hint


def test_tolerance_is_relative_and_absolute():
    assert compare(1.00009, 1.0) is None and compare(1.0002, 1.0) is not None
    assert compare(9e-7, 0.0) is None and compare(2e-6, 0.0) is not None
    assert compare(1.1, 1.0, rtol=0.2) is None


def test_a_right_answer_passes_even_if_a_mistake_is_nearby():
    assert compare(1.00008, 1.0, mistakes={"rounded": 1.00015}) is None


def test_a_mistake_of_another_shape_is_recognized():
    hint = compare(torch.tensor(3.0), torch.ones(3), mistakes={"summed over the batch": 3.0})
    assert hint == "it looks as if you summed over the batch"


# Claims


def test_a_claim_is_one_line(capsys):
    claim("He reaches 60 %\n where Xavier stays under 20 %", torch.tensor(0.7) > 0.6)
    claim("it holds", np.float64(2) > 1, loss=1.0)
    claim("Xavier is best", False, he_accuracy=0.71349, xavier=torch.tensor(0.098), note="10 seeds")
    claim("it holds", False)
    assert capsys.readouterr().out.splitlines() == [
        "✓ He reaches 60 % where Xavier stays under 20 %",
        "✓ it holds",
        "✗ Xavier is best (measured: he accuracy 0.7135, xavier 0.098, note 10 seeds)",
        "✗ it holds",
    ]


@pytest.mark.parametrize("ok", [0.63, 1, "yes", None, torch.tensor([True, True]), np.array([True])])
def test_a_claim_takes_a_comparison_only(ok):
    with pytest.raises(TypeError, match="pass a comparison"):
        claim("x", ok)


def test_a_claim_that_fails_shows_whatever_was_measured(capsys):
    claim("it holds", False, step=None, on=True, losses=[1, 2], loss=torch.tensor(1.5))
    assert capsys.readouterr().out == "✗ it holds (measured: step None, on True, losses [1, 2], loss 1.5)\n"


def test_a_claim_over_stored_runs_is_marked_and_shows_what_they_gave(capsys):
    gap, other = Interval(0.123, 0.08, 0.16, 8), Interval(-0.5, -0.6, -0.4, 8)
    claim("three of them end below 1", True, stored=True)
    claim("a ends above b", True, found=gap, unit="nats")
    claim("a answers more than b,\n and c fewer", True, found=[gap, other], unit="points", of="checkpoints")
    claim("a ends above b", False, found=gap, worst=0.05)
    assert capsys.readouterr().out.splitlines() == [
        "● three of them end below 1",
        "● a ends above b (0.12 nats, 0.08 to 0.16; 8 seeds)",
        "● a answers more than b, and c fewer (12 points, 8 to 16; −50 points, −60 to −40; 8 checkpoints)",
        "✗ a ends above b (0.12, 0.08 to 0.16; 8 seeds) (measured: worst 0.05)",
    ]


def test_what_was_measured_now_is_not_printed_where_it_holds(capsys):
    claim("the loss is below 1", True, loss=0.123456)
    assert capsys.readouterr().out == "✓ the loss is below 1\n"


# Which function a cell uses


def test_a_cell_uses_the_learners_function_with_numbers_of_its_own_or_the_courses_while_theirs_is_blank(capsys):
    def halve(x):
        x /= 2
        return x

    def blank(x): ...

    numbers = torch.ones(2)
    assert torch.equal(written(halve, None)(numbers), numbers / 2) and numbers.tolist() == [1, 1]
    assert capsys.readouterr().out == "Used here: your `halve`.\n"
    assert written(blank, halve) is halve
    assert capsys.readouterr().out == ("`blank` is still blank. Write it, run its cell, then run this one again. "
                                       "Until then the course's own is used here.\n")  # fmt: skip


@pytest.mark.parametrize("units", [2, 4, 7])
def test_an_interval_of_too_few_units_is_no_claim_however_it_comes(units):
    with pytest.raises(ValueError, match=f"{units} units of replication are too few"):
        claim("a", True, found=[Interval(0.1, 0.05, 0.15, 8), Interval(0.1, 0.05, 0.15, units)])
    with pytest.raises(ValueError, match=f"{units} units of replication are too few"):
        claim("a", True, stored=True, found=Interval(0.1, 0.05, 0.15, units))
