"""What a panel did, as Python that runs as it stands and ends with the same weights."""

from __future__ import annotations

import ast
import functools
import inspect
import math
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, ModuleType

from course_utils.training import Run

GO = '''\
def go(run, steps):
    while run.status == "ready" and run.step_count < steps:
        run.step()
'''
CHECK = '''\
if experiment.about != began:
    raise ValueError(f"these runs began from {began} Put that file back: now there is {experiment.about}")
'''


def script(recipe: Callable, settings: Mapping, parts: Mapping[str, object], runs: Sequence[Run]) -> str:
    """recipe, settings: what described the experiment.  parts: what a learner wrote in place of its own.  runs: of one
    experiment, over seeds.

    Functions of a notebook are written out, with what they use from its cells. What cannot be written, such as data in
    a variable or a lambda, is named in a comment at its place. Where the experiment starts from a model that may be
    replaced, the code says so in place of ending with other weights.
    """
    needs = _Needs()
    made = f"{needs.refer(recipe)}({_arguments(settings)})"
    if parts:
        needs.imports.add("from dataclasses import replace")
        made = f"replace({made}, {', '.join(f'{part}={needs.refer(own)}' for part, own in parts.items())})"
    longest = max(runs, key=lambda run: run.step_count)
    began = [f"began = {longest.experiment.about!r}", CHECK] if longest.experiment.about else []
    lines = [f"experiment = {made}", *began, "runs = []", f"for seed in {[run.seed for run in runs]}:",
             "    run = experiment.start(seed)"]  # fmt: skip
    for event in longest.history.events:
        if event.step:
            lines.append(f"    go(run, {event.step})")
        lines.append(f'    run.set("{event.knob}", {_plain(event.value)})')
    lines += [f"    go(run, {longest.step_count})", "    print(run.explain())",
              "    runs.append(run)  # run.model holds the weights"]  # fmt: skip
    imports = ["from __future__ import annotations", "", *sorted(needs.imports)]
    return "\n".join([*imports, "", *needs.cells.values(), "", GO, *lines, ""])


def _arguments(settings: Mapping) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def _plain(value: float) -> str:
    return repr(value) if math.isfinite(value) else f'float("{value}")'


class _Needs:
    """What a piece of code needs before it: imports, and definitions by name in the order in which they are needed."""

    def __init__(self):
        self.imports: set[str] = set()
        self.cells: dict[str, str] = {}

    def refer(self, value: object) -> str:
        """An expression for a value, its needs noted."""
        if isinstance(value, functools.partial):
            self.imports.add("import functools")
            given = [self.refer(value.func), *map(self.refer, value.args)]
            given += [f"{name}={self.refer(one)}" for name, one in value.keywords.items()]
            return f"functools.partial({', '.join(given)})"
        name = getattr(value, "__name__", "")
        if _importable(value):
            self.imports.add(f"from {value.__module__} import {name}")
            return name
        if isinstance(value, FunctionType | type) and name.isidentifier():
            self._write(name, value)
            return name
        if _plain_data(value):
            return repr(value)
        return f"...  # {name or type(value).__name__}: write it here"

    def _write(self, name: str, value: FunctionType | type) -> None:
        if name in self.cells:
            return
        self.cells[name] = ""  # a function may call itself
        source = textwrap.dedent(inspect.getsource(value)).rstrip()
        known = value.__globals__ if isinstance(value, FunctionType) else vars(sys.modules["__main__"])
        for one in sorted(_names(source) & known.keys()):
            if known[one] is not value:
                self._define(one, known[one])
        del self.cells[name]  # to stand after what it uses
        self.cells[name] = f"\n{source}\n"

    def _define(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType):
            own = value.__name__
            self.imports.add(f"import {own}" if name == own else f"import {own} as {name}")
        elif _importable(value):
            own = value.__name__
            self.imports.add(f"from {value.__module__} import {own}" + (f" as {name}" if name != own else ""))
        elif isinstance(value, FunctionType | type):
            self._write(name, value)
        elif _plain_data(value):
            self.cells.setdefault(name, f"{name} = {value!r}")
        else:
            self.cells.setdefault(name, f"{name} = ...  # a {type(value).__name__} of the notebook: write it here")


def _plain_data(value: object) -> bool:
    """Whether `repr` writes it as it is."""
    if type(value) in (tuple, list):
        return all(map(_plain_data, value))
    return type(value) in (int, str, bool, type(None)) or type(value) is float and math.isfinite(value)


def _importable(value: object) -> bool:
    """Whether another process can import it by its name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", "")
    if module in (None, "__main__", "builtins"):
        return False
    return getattr(sys.modules.get(module), name, None) is value


def _names(source: str) -> set[str]:
    """The names in a piece of code, those of its defaults, decorators and bases among them."""
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
