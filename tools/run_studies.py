"""Run the studies behind the notebooks, and store their results.

    python -m tools.run_studies              every study, hours on one core
    python -m tools.run_studies schedule     one of them

What is stored already is not run again, also where the code behind it has changed: delete the study's file then. Each
result is stored at once, so the command may be stopped.
"""

from __future__ import annotations

import importlib.util
import json
import pkgutil
import sys
import time
from pathlib import Path

import torch

import chapters
from course_utils import runtime
from course_utils.lesson.study import Row, Studies, command


def tables() -> dict[str, Studies]:
    """Every study's name, with the table that holds it."""
    found: dict[str, Studies] = {}
    for chapter in pkgutil.iter_modules(chapters.__path__, "chapters."):
        if chapter.ispkg and importlib.util.find_spec(f"{chapter.name}.studies"):
            table = importlib.import_module(f"{chapter.name}.studies").STUDIES
            found |= dict.fromkeys(table, table)
    return found


def make(table: Studies, name: str) -> None:
    """Run what is missing of a study, and forget results that are no longer among its points."""
    points = list(table[name].points())
    known = table.stored(name) if table.path(name).exists() else []
    rows = [row for row in known if any(point.items() <= row.items() for point in points)]
    if len(rows) < len(known):
        _write(table.path(name), rows)
    missing = [point for point in points if not any(point.items() <= row.items() for row in rows)]
    start = time.perf_counter()
    for done, point in enumerate(missing, 1):
        rows.append(point | {key: _short(value) for key, value in table.run_point(name, **point).items()})
        _write(table.path(name), rows)
        left = (time.perf_counter() - start) / done * (len(missing) - done)
        print(f"{name}: {done} of {len(missing)}, {runtime.readable_seconds(left)} left: {rows[-1]}", flush=True)


def _write(path: Path, rows: list[Row]) -> None:
    lines = ",\n".join(json.dumps(row) for row in rows)
    about = f'"command": "{command(path.stem)}", "torch": "{torch.__version__.split("+")[0]}"'
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{{{about}, \"rows\": [\n{lines}\n]}}\n")


def _short(value):
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> None:
    known = tables()
    unknown = [name for name in sys.argv[1:] if name not in known]
    if unknown:
        sys.exit(f"no study {', '.join(unknown)}: choose from {', '.join(known)}")
    for name in sys.argv[1:] or known:
        make(known[name], name)


if __name__ == "__main__":
    main()
