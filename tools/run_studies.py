"""Run the studies behind the notebooks, and store their results.

    python -m tools.run_studies              every study, hours on one core
    python -m tools.run_studies schedule     one of them

What is stored already is not run again, also where the code behind it has changed: delete the study's file then. Each
result is stored at once, so the command may be stopped.
"""

from __future__ import annotations

import json
import sys
import time

import torch

from course_utils import runtime
from course_utils.lesson.study import Row
from course_utils.studies import RESULTS, STUDIES, command, run_point, stored


def make(name: str) -> None:
    """Run what is missing of a study, and forget results that are no longer among its points."""
    points = list(STUDIES[name].points())
    known = stored(name) if (RESULTS / f"{name}.json").exists() else []
    rows = [row for row in known if any(point.items() <= row.items() for point in points)]
    if len(rows) < len(known):
        _write(name, rows)
    missing = [point for point in points if not any(point.items() <= row.items() for row in rows)]
    start = time.perf_counter()
    for done, point in enumerate(missing, 1):
        rows.append(point | {key: _short(value) for key, value in run_point(name, **point).items()})
        _write(name, rows)
        left = (time.perf_counter() - start) / done * (len(missing) - done)
        print(f"{name}: {done} of {len(missing)}, {runtime.readable_seconds(left)} left: {rows[-1]}", flush=True)


def _write(name: str, rows: list[Row]) -> None:
    lines = ",\n".join(json.dumps(row) for row in rows)
    about = f'"command": "{command(name)}", "torch": "{torch.__version__.split("+")[0]}"'
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(f"{{{about}, \"rows\": [\n{lines}\n]}}\n")


def _short(value):
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> None:
    unknown = [name for name in sys.argv[1:] if name not in STUDIES]
    if unknown:
        sys.exit(f"no study {', '.join(unknown)}: choose from {', '.join(STUDIES)}")
    for name in sys.argv[1:] or STUDIES:
        make(name)


if __name__ == "__main__":
    main()
