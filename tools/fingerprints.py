"""What a study's results hang on: its point's code, and the functions, classes and constants of ours that it reaches.

Each is read as a syntax tree, not as bytecode, so that comments, docstrings, annotations, formatting and the version
of Python leave a fingerprint as it is. What is reached is what is named: `name`, or `module.name` where the module is
ours. A class is reached whole, and with it what its methods name. A table is reached with the statements that fill it
at the top level of its module; one that a function fills from elsewhere is not seen. A text that is a checkpoint's
name brings the checkpoint's content.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import course_utils

CHECKPOINTS = Path(course_utils.__file__).parent / "checkpoints"
ROOTS = ("course_utils", "chapters")  # the packages whose code is ours
UNREAD = {"ctx", "kind", "type_comment", "annotation", "returns", "lineno", "type_params"}  # change no result


@dataclass(frozen=True)
class Module:
    """The statements at a module's top level by the name they bind or fill, and the names that are imports."""

    statements: dict[str, list[ast.stmt]]
    imports: dict[str, tuple[str, str | None]]  # name -> (module, name in it, or None for the module itself)


def fingerprint(point: Callable) -> str:
    """Of the code that a study's point runs: 16 hexadecimal digits."""
    code = reached(point.__module__, point.__qualname__.split(".")[0])
    return hashlib.sha256("\n".join(f"{name}: {code[name]}" for name in sorted(code)).encode()).hexdigest()[:16]


def reached(module: str, name: str) -> dict[str, str]:
    """Everything of ours that a name leads to, as `module.name`, each with its code in one spelling."""
    roots = (*ROOTS, module.split(".")[0])
    code: dict[str, str] = {}
    seen, todo = set(), [(module, name)]
    while todo:
        place = todo.pop()
        if place in seen or place[0].split(".")[0] not in roots:
            continue
        seen.add(place)
        found, uses = _definition(*place)
        code |= found
        todo += uses
    return code


@cache
def _definition(module: str, name: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The code that a name stands for, and what this code names; nothing for a name that the module does not bind."""
    read = read_module(module) if is_module(module) else Module({}, {})
    if name in read.imports:
        return {}, _targets(*read.imports[name])
    statements = read.statements.get(name, [])
    code = {f"{module}.{name}": "; ".join(map(spelled, statements))} if statements else {}
    texts = {text for statement in statements for text in _texts(statement)}
    code |= {f"checkpoint {text}": _content(text) for text in texts if _content(text)}
    return code, [use for statement in statements for use in _uses(statement, module, read)]


@cache
def is_module(name: str) -> bool:
    """Whether a module with this name can be found, and has a source."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return bool(found and found.origin and found.origin.endswith(".py"))


@cache
def read_module(name: str) -> Module:
    """Read a module's source, without running it."""
    spec = importlib.util.find_spec(name)
    statements, imports = defaultdict(list), {}
    package = name if spec.submodule_search_locations else name.rpartition(".")[0]
    for statement in _top(ast.parse(Path(spec.origin).read_text()).body):
        if isinstance(statement, ast.Import):
            imports |= {alias.asname or alias.name.split(".")[0]:
                        (alias.name if alias.asname else alias.name.split(".")[0], None)
                        for alias in statement.names}  # fmt: skip
        elif isinstance(statement, ast.ImportFrom):
            source = importlib.util.resolve_name("." * statement.level + (statement.module or ""), package)
            imports |= {alias.asname or alias.name: (source, alias.name) for alias in statement.names}
        else:
            for bound in _bound(statement):
                statements[bound].append(statement)
    return Module(dict(statements), imports)


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    # What stands in an `if`, a `try` or a `with` at the top level is at the top level, too.
    for statement in body:
        if isinstance(statement, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            for field in ("body", "handlers", "orelse", "finalbody"):
                yield from _top(getattr(statement, field, []))
        else:
            yield statement


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a statement binds or fills: `a = 1`, `a[0] = 1`, `a.update(b)`, `def a`."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Expr):
        return {name.id for name in _first_names(statement.value)}
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", statement)]
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def _first_names(node: ast.AST) -> Iterator[ast.Name]:
    # `table` in `table["a"].update(b)`
    while not isinstance(node, ast.Name):
        node = getattr(node, "func", None) or getattr(node, "value", None)
        if not isinstance(node, ast.AST):
            return
    yield node


def _uses(statement: ast.stmt, module: str, read: Module) -> Iterator[tuple[str, str]]:
    """The names that a statement reads, each with its module; an import within a function counts, too."""
    imports = dict(read.imports)
    package = module if importlib.util.find_spec(module).submodule_search_locations else module.rpartition(".")[0]
    for node in ast.walk(statement):
        if isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            imports |= {alias.asname or alias.name: (source, alias.name) for alias in node.names}
    for node in _read_nodes(statement):
        if isinstance(node, ast.Attribute):
            yield from _attribute(node, imports)
        elif isinstance(node, ast.Name):
            yield from _targets(*imports[node.id]) if node.id in imports else [(module, node.id)]


def _targets(module: str, name: str | None) -> list[tuple[str, str]]:
    return [] if name is None or is_module(f"{module}.{name}") else [(module, name)]


def _attribute(node: ast.Attribute, imports: dict[str, tuple[str, str | None]]) -> Iterator[tuple[str, str]]:
    # `a.b.c`, where a is an imported module, and a.b may be one
    names = [node.attr]
    while isinstance(node.value, ast.Attribute):
        node = node.value
        names.insert(0, node.attr)
    if not isinstance(node.value, ast.Name) or node.value.id not in imports:
        return
    source, name = imports[node.value.id]
    place = f"{source}.{name}" if name else source
    for one in names:
        if is_module(place):
            yield place, one
        place = f"{place}.{one}"


def _read_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but annotations: what they name has no part in a result."""
    yield node
    for field, value in ast.iter_fields(node):
        if field not in UNREAD:
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.AST):
                    yield from _read_nodes(part)


def spelled(node: object) -> str:
    """A syntax tree as text that no version of Python and no docstring changes; `ast.dump` differs by version."""
    if isinstance(node, list):
        return f"[{', '.join(map(spelled, node))}]"
    if isinstance(node, ast.JoinedStr):  # versions cut an f-string's texts at different places
        parts = (part.value if isinstance(part, ast.Constant) else f"{{{spelled(part)}}}" for part in node.values)
        return f"JoinedStr({''.join(parts)!r})"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if name not in UNREAD and value not in (None, [])}
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
        fields["body"] = node.body[1:]
    return f"{type(node).__name__}({', '.join(f'{name}={spelled(value)}' for name, value in fields.items())})"


def _texts(statement: ast.stmt) -> Iterator[str]:
    nodes = (node for node in _read_nodes(statement) if isinstance(node, ast.Constant))
    return (node.value for node in nodes if isinstance(node.value, str) and node.value.isidentifier())


@cache
def _content(name: str) -> str:
    """A digest of a checkpoint's file; "" where no checkpoint has this name."""
    path = CHECKPOINTS / f"{name}.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
