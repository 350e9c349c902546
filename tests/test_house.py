"""The rules of the house, read from the source: who imports whom, how long a module is, what it may call."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "course_utils"
NOTEBOOKS = ROOT / "notebooks"
FILES = sorted(PACKAGE.rglob("*.py"))
CHAPTERS = sorted((NOTEBOOKS / "chapters").rglob("*.py"))
SOURCES = sorted((NOTEBOOKS / "src").glob("*.py"))
SHARED = {"stories", "digits"}  # the recipes that every chapter may use
ROWS = (  # a module of the engine imports only from rows above its own
    ("values", "learner"),
    ("runtime", "dice", "evidence", "data", "models"),
    ("initialization", "training", "checkpoint"),
    ("stacks",),
    ("sweeps",),
    ("pretraining",),
    ("finetuning", "distillation"),
    ("figures",),
    ("kernel",),
    ("live",),
    ("lesson",),
)
ROW = {module: row for row, modules in enumerate(ROWS) for module in modules}
LINES = 350
BUDGET = 7500  # lines of the whole engine
SLOWER = 1.15  # how much longer importing the course may take than importing torch
ON_DEMAND = {"plotly", "scipy", "sklearn", "transformers", "matplotlib", "kaleido", "PIL"}
WIDGETS = {"IPython", "ipywidgets", "anywidget"}
DISTRIBUTION = {"IPython": "ipython", "sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow",
                "distributed": "dask"}  # fmt: skip
UNDECLARED = {"ray"}  # another cluster than ours for studies: who has one has its package
PICKLED = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve"}


def name_of(path):
    """The module of the house that a file belongs to: itself, or the package it lies in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def label(path):
    return str(path.relative_to(ROOT))


def imported(path):
    """Every dotted name that a file imports, at its top or within a function, as (line, name)."""
    home = path.relative_to(NOTEBOOKS if path in CHAPTERS else ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = home[:len(home) - node.level + 1] if node.level else ()
            base = ".".join([*above, *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def called(path):
    """Every call in a file, as (line, what is called)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def test_every_module_has_its_row():
    modules = {name_of(path) for path in FILES} - {"__init__"}
    assert modules <= ROW.keys(), "give the new module its row in ROWS"


@pytest.mark.parametrize("path", FILES, ids=label)
def test_a_module_imports_only_from_rows_above_its_own(path):
    own = name_of(path)
    if own == "__init__":  # the package's front door opens on all of them
        return
    for line, name in imported(path):
        package, _, rest = name.partition(".")
        module = rest.partition(".")[0]
        if package == "course_utils" and module != own:
            assert ROW[module] < ROW[own], f"{label(path)}:{line} imports {module}, which is not above {own}"


def chapters_of(path):
    """The folders in chapters/ that a file imports from."""
    names = (name.split(".") for _, name in imported(path))
    return {parts[1] for parts in names if parts[0] == "chapters" and len(parts) > 1} - SHARED


@pytest.mark.parametrize("path", FILES, ids=label)
def test_the_engine_knows_no_chapter(path):
    assert [line for line, name in imported(path) if name.partition(".")[0] in {"chapters", "notebooks"}] == []


@pytest.mark.parametrize("path", CHAPTERS, ids=label)
def test_a_chapter_knows_no_other_chapter(path):
    room = path.relative_to(NOTEBOOKS / "chapters").parts[:-1]  # () for the shared recipes
    assert chapters_of(path) <= set(room), "put what two chapters need into a shared recipe, or into course_utils"


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_a_notebook_needs_one_chapter(path):
    assert len(chapters_of(path)) <= 1, "put what two notebooks need into a shared recipe, or into course_utils"


def words_of(node):
    """Every name that a piece of source reads: variables, attributes, and what it imports."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr
        elif isinstance(part, ast.ImportFrom):
            yield from (alias.name for alias in part.names)


def defined(node):
    """The names that a statement at a module's top defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}


@cache
def readers():
    """For each name that anything but a test reads: the statements that do, as (file, line of the statement)."""
    folders = [ROOT / "tools", ROOT / "benchmarks"]
    files = [path for path in FILES if path.name != "__init__.py"] + CHAPTERS + SOURCES
    found = defaultdict(set)
    for path in files + [path for folder in folders for path in folder.rglob("*.py")]:
        for node in ast.parse(path.read_text()).body:
            for word in words_of(node):
                found[word].add((path, node.lineno))
    for path in (ROOT / "binder").glob("*.json"):  # settings name classes
        for word in re.findall(r"\w+", path.read_text()):
            found[word].add((path, 0))
    found["load_ipython_extension"] = found["kernel"]  # what IPython calls in a module that settings name
    return found


@pytest.mark.parametrize("path", FILES, ids=label)
def test_a_public_name_is_used_by_more_than_tests(path):
    alone = [f"line {node.lineno}: {name}" for node in ast.parse(path.read_text()).body for name in defined(node)
             if not name.startswith("_") and not readers()[name] - {(path, node.lineno)}]  # fmt: skip
    assert alone == [], "use it in a chapter, or take it out with its tests"


@pytest.mark.parametrize("path", FILES + CHAPTERS, ids=label)
def test_a_module_is_short_enough_to_be_read(path):
    lines = len(path.read_text().splitlines())
    assert lines <= LINES, f"{lines} lines, at most {LINES}: split it by what changes together"


@pytest.mark.parametrize("path", FILES + CHAPTERS, ids=label)
def test_a_checkpoint_is_never_pickled(path):
    for line, name in imported(path):
        assert name.partition(".")[0] not in PICKLED, f"line {line}: use safetensors"
    for line, name in called(path):
        assert name not in {"torch.load", "torch.save"}, f"line {line}: use safetensors"


@pytest.mark.parametrize("path", [path for path in FILES if name_of(path) != "lesson"] + CHAPTERS, ids=label)
def test_only_lessons_print(path):
    assert [line for line, name in called(path) if name == "print"] == []


def test_the_engine_stays_within_its_budget():
    lines = sum(len(path.read_text().splitlines()) for path in PACKAGE.rglob("*")
                if path.suffix in {".py", ".js", ".css"})  # fmt: skip
    assert lines <= BUDGET, f"course_utils has {lines} lines: what one notebook needs alone belongs beside it"


def declared(*extras):
    """The packages that pyproject.toml names, for the course and for some extras."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = about["dependencies"] + sum((about["optional-dependencies"][extra] for extra in extras), [])
    return {Requirement(line).name for line in lines}


@pytest.mark.parametrize(("folder", "extras"), [
    ("course_utils", []),
    ("notebooks/src", []),
    ("notebooks/chapters", []),
    ("tools", ["build", "test", "cluster"]),
    ("tests", ["build", "test", "cluster"]),
    ("benchmarks", ["build", "test", "bench"]),
])
def test_every_imported_package_is_declared(folder, extras):
    ours = {"chapters", "course_utils", "tools", "tests", "benchmarks"} | sys.stdlib_module_names | UNDECLARED
    undeclared = []
    for path in (ROOT / folder).rglob("*.py"):
        siblings = {sibling.stem for sibling in path.parent.glob("*.py")}
        tops = {(line, name.partition(".")[0]) for line, name in imported(path)}
        undeclared += [f"{label(path)}:{line}: {top}" for line, top in sorted(tops) if top not in ours | siblings
                       and DISTRIBUTION.get(top, top).replace("_", "-") not in declared(*extras)]
    assert undeclared == []


# --- what importing the course costs --------------------------------------------------------------------------------


def fresh(code):
    """What a fresh Python prints."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def headless():
    """The modules that need no notebook: all that stand above the kernel and are there."""
    below = ROW["kernel"]
    return sorted(f"course_utils.{name}" for name in {name_of(path) for path in FILES} & ROW.keys()
                  if ROW[name] < below)


def everything():
    engine = {"course_utils." + name_of(path) for path in FILES if name_of(path) != "__init__"}
    return sorted(engine | {".".join(path.relative_to(NOTEBOOKS).with_suffix("").parts) for path in CHAPTERS})


@pytest.mark.parametrize(("modules", "unwanted"), [(headless, ON_DEMAND | WIDGETS), (everything, ON_DEMAND)])
def test_importing_the_course_imports_nothing_heavy(modules, unwanted):
    loaded = fresh(f"import sys, {', '.join(modules())}; print(*sys.modules)").split()
    assert "torch" in loaded
    assert unwanted & set(loaded) == set()


def seconds_to_import(modules):
    """How long a fresh Python takes to import torch, and then these modules: two times in seconds."""
    # A learner's Python keeps the bytecode it has compiled, so the one that is timed keeps it too.
    keeps = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = ("from time import perf_counter as now; start = now(); import torch; torch_is_in = now(); "
            f"import {modules}; print(torch_is_in - start, now() - torch_is_in)")
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=keeps, capture_output=True, check=True)
    return [float(seconds) for seconds in answer.stdout.split()]


def test_importing_the_headless_course_takes_hardly_longer_than_importing_torch():
    # The fastest of each counts: other work on the machine can only make an import slower.
    times = [seconds_to_import(", ".join(headless())) for _ in range(6)]
    torch, course = (min(column) for column in zip(*times, strict=True))
    ratio = 1 + course / torch
    print(f"importing torch and all headless modules takes {ratio:.3f} times as long as torch alone ({torch:.2f} s)")
    assert ratio <= SLOWER
