"""What a learner writes drives the next cells: each cell below an exercise that names its stub runs with a right answer
that counts and prints, with another answer, with one that raises, and with none."""

import ast
import builtins
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from jupytext import read

from course_utils.lesson import checks
from course_utils.live import TrainingPanel
from tests.answers.finetuning import lora
from tests.test_exercises import CHECKS, RIGHT, WRONG

SOURCES = sorted((Path(__file__).parent.parent / "notebooks" / "src").glob("*.py"))
STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """other: an answer with another effect, by default the first of `WRONG`.  right: by default the first of `RIGHT`.
    instead: for a name, code in place of the line that makes it and takes long.  settings: of a panel, moved before it
    trains.  seen: what shows the effect of a cell that prints nothing.  own_dice: right answers draw other numbers, and
    only the first loss is alike.
    """

    other: object = None
    right: object = None
    instead: dict[str, str] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    seen: str = "None"
    own_dice: bool = False


CASES = {  # of exercises for which the defaults will not do
    "next-token-loss": Case(right=RIGHT["next-token-loss"][1]),
    "cosine-warmup": Case(right=lambda step, steps, warmup: RIGHT["cosine-warmup"][0](step, steps, warmup),
                          other=lambda step, steps, warmup: 1.0),
    "sample-token": Case(other=lambda logits, temperature, generator: logits.argmax().item()),
    "lora-layer": Case(own_dice=True, instead={"full": "full = questions.question_recipe().start(0).model"}),
    "copy-layers": Case(settings={"copied": "1 and 3"}),
    "different-units": Case(other=lambda incoming, outgoing: 3, seen="counts(models.MLP([64, 16, 16, 10]))"),
    "he-std": Case(seen="round(he[0].activations['layer 30'].second_moment, 3)"),
    "initial-loss": Case(other=lambda vocab, std: 9.0),
}  # fmt: skip


# --- the notebooks' cells ---------------------------------------------------------------------------------------------


def names(tree, kind):
    """The names that code reads (ast.Load) or makes (ast.Store), also within its functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, kind):
            yield node.id
        elif kind is ast.Store and isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif kind is ast.Store and isinstance(node, ast.arg):
            yield node.arg
        elif kind is ast.Store and isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]


def makes(tree):
    """The names that a cell leaves behind."""
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)
             for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if id(node) not in inner:
            yield from names(ast.Module([node], []), ast.Store)


def cells(path):
    return [ast.parse(cell.source) for cell in read(path, fmt="py:percent").cells if cell.cell_type == "code"]


def exercises():
    """Each exercise: its notebook's cells, the stub's cell, the stub's name, and the cells that use it."""
    for path in SOURCES:
        found = cells(path)
        for number, tree in enumerate(found):
            for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
                if getattr(call.func, "id", "") == "check" and not call.keywords:
                    stub = call.args[1].id
                    users = [i for i in range(number + 1, len(found)) if stub in names(found[i], ast.Load)]
                    yield call.args[0].value, (found, number, stub, users)


EXERCISES = dict(exercises())
USED = [(name, user) for name, (*_, users) in EXERCISES.items() for user in users]


def lighter(tree, instead):
    """A cell with code of `instead` in place of the lines that make its names."""
    made = [next(filter(instead.get, names(line, ast.Store)), None) for line in tree.body]
    return ast.Module([ast.parse(instead[name]).body[0] if name else line
                       for line, name in zip(tree.body, made, strict=True)], [])  # fmt: skip


def needed(found, number):
    """The earlier cells that a cell needs, in order."""
    wanted, chosen = [number], set()
    while wanted:
        tree = found[one := wanted.pop()]
        for name in set(names(tree, ast.Load)) - set(names(tree, ast.Store)) - set(dir(builtins)):
            before = [i for i in range(one) if name in makes(found[i])]
            if before and before[-1] not in chosen:
                chosen.add(before[-1])
                wanted.append(before[-1])
    return [found[i] for i in sorted(chosen)]


def run(tree, space):
    """Run a cell; the value of its last line, if that is an expression."""
    last = tree.body[-1]
    exec(compile(ast.Module(tree.body[:-1], []), "<cell>", "exec"), space)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "<cell>", "eval"), space)
    return exec(compile(ast.Module([last], []), "<cell>", "exec"), space)


# --- answers, and what comes of them ----------------------------------------------------------------------------------


def counting(answer, calls):
    """An odd but right version of an answer: it counts its calls, and prints."""

    def odd(*given, **named):
        calls.append(1)
        print("call", len(calls))
        return answer(*given, **named)

    if isinstance(answer, type):
        return type("odd", (answer,), {"forward": lambda self, x: (calls.append(1), print("call", len(calls)),
                                                                   answer.forward(self, x))[-1]})  # fmt: skip
    return odd


def slip(*given, **named):
    raise ValueError("a slip")


class SlipOfALayer(lora()):
    def forward(self, x):
        raise ValueError("a slip")


def trained(panel, settings):
    """The losses of some steps."""
    for name, value in settings.items():
        panel.settings[name].value = value
    for _ in range(STEPS):
        panel.step()
        end = time.monotonic() + 30
        while panel.session.running and time.monotonic() < end:
            time.sleep(0.005)
    return panel.session.runs[0].history.loss.tolist() if panel.session.step_count else []


class Desk:
    """Runs the stub's cell with an answer in the stub's place, and then a cell that uses it."""

    def __init__(self, name, user, capsys):
        case = CASES.get(name, Case())
        self.case = replace(case, right=case.right or RIGHT[name][0], other=case.other or WRONG[name][0][0])
        self.capsys, self.panels, self.space = capsys, [], {"__name__": "__main__"}
        found, number, self.stub, _ = EXERCISES[name]
        found = [lighter(tree, self.case.instead) for tree in found]
        self.written, self.user = found[number], found[user]
        for tree in needed(found, user):
            run(tree, self.space)

    def outcome(self, answer=None):
        """What the cell says of whose code it uses, and its effect: a panel's losses, or what it prints."""
        for node in self.written.body if answer is not None else ():
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == self.stub:
                self.space[self.stub] = answer
            else:
                run(ast.Module([node], []), self.space)
        self.capsys.readouterr()
        panel = run(self.user, self.space)
        if isinstance(panel, TrainingPanel):
            self.panels.append(panel)
            losses = trained(panel, self.case.settings)
            return panel.hands.whose(), losses[: 1 if self.case.own_dice and answer is not self.case.other else None]
        seen = eval(self.case.seen, self.space)
        lines = [line for line in self.capsys.readouterr().out.splitlines() if not line.startswith("call ")]
        whose = [line for line in lines if "is still blank" in line or line.startswith("Used here")]
        return " ".join(whose), [line for line in lines if line not in whose] + [seen]


@pytest.fixture
def desk(request, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    made = Desk(*request.param, capsys)
    yield made
    for panel in made.panels:
        panel.close()


def test_each_exercise_has_a_cell_that_uses_what_is_written():
    known = {name for name, one in checks.EXERCISES.items() if one.checker.__module__ in CHECKS}
    assert set(CASES) <= known == set(EXERCISES)
    assert [name for name, (*_, users) in EXERCISES.items() if not users] == []


@pytest.mark.parametrize("desk", USED, indirect=True, ids=lambda used: f"{used[0]}-{used[1]}")
def test_what_is_written_is_used_and_a_slip_in_it_is_told_with_its_line(desk):
    case, calls = desk.case, []
    whose, ours = desk.outcome()
    assert f"`{desk.stub}" in whose and "is still blank" in whose

    whose, mine = desk.outcome(counting(case.right, calls))
    assert "`odd`" in whose and "blank" not in whose and calls
    assert mine == (pytest.approx(ours[: len(mine)], rel=1e-3) if desk.panels else ours)
    if desk.panels:
        shown = dict(desk.panels[-1].texts()).get("Printed by your code", "") + desk.capsys.readouterr().out
        assert f"call {len(calls)}" in shown, "a model is built where the panel is, and all else trains on its thread"

    _, others = desk.outcome(case.other)
    assert others != pytest.approx(ours, rel=1e-3) if desk.panels else others != ours

    wrong = SlipOfALayer if isinstance(case.other, type) else slip
    line = wrong.forward.__code__ if wrong is SlipOfALayer else wrong.__code__
    if desk.panels:
        desk.outcome(wrong)
        assert f'a slip at line {line.co_firstlineno + 1}: `raise ValueError("a slip")`' in str(desk.panels[-1].error)
    else:
        with pytest.raises(ValueError, match="a slip") as told:
            desk.outcome(wrong)
        assert traceback.extract_tb(told.value.__traceback__)[-1].lineno == line.co_firstlineno + 1
