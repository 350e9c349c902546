"""Run the studies behind the notebooks, and store their results.

    python -m tools.run_studies              every study, about 40 minutes on one core
    python -m tools.run_studies schedule     one of them

What is stored already is not run again; each result is stored at once, so the command may be stopped.
"""

from __future__ import annotations

import json
import sys
import time

import torch

from course_utils import runtime
from course_utils.studies import RESULTS, STUDIES, command, run_point, stored


def make(name: str) -> None:
    """Run what is missing of a study."""
    path = RESULTS / f"{name}.json"
    rows = stored(name) if path.exists() else []
    missing = [point for point in STUDIES[name].points() if not any(point.items() <= row.items() for row in rows)]
    start = time.perf_counter()
    for done, point in enumerate(missing, 1):
        rows.append(point | {key: _short(value) for key, value in run_point(name, **point).items()})
        lines = ",\n".join(json.dumps(row) for row in rows)
        about = f'"command": "{command(name)}", "torch": "{torch.__version__.split("+")[0]}"'
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{{{about}, \"rows\": [\n{lines}\n]}}\n")
        left = (time.perf_counter() - start) / done * (len(missing) - done)
        print(f"{name}: {done} of {len(missing)}, {runtime.readable_seconds(left)} left: {rows[-1]}", flush=True)


def _short(value):
    return float(f"{value:.5g}") if isinstance(value, float) else value


if __name__ == "__main__":
    for chosen in sys.argv[1:] or STUDIES:
        make(chosen)
