"""Experiments that take minutes: their points, the code of one point, and the stored results.

A claim over many seeds needs more time than a notebook may take, so its runs are stored in ``results/``, with the
command that makes them: ``python -m tools.run_studies NAME``. `run_point` runs any one of them again, with the same
code. A module here holds the studies of a notebook, or of some of its sections.
"""

from __future__ import annotations

import json
from pathlib import Path

from course_utils.lesson.study import Row, Study
from course_utils.studies import (
    distillation,
    finetuning,
    forgetting,
    initialization,
    pretraining,
    starts,
    story_students,
)

RESULTS = Path(__file__).parent / "results"
STUDIES: dict[str, Study] = {
    **pretraining.STUDIES,
    **finetuning.STUDIES,
    **forgetting.STUDIES,
    **distillation.STUDIES,
    **story_students.STUDIES,
    **initialization.STUDIES,
    **starts.STUDIES,
}


def command(name: str) -> str:
    """The command that makes a study's results."""
    return f"python -m tools.run_studies {name}"


def _study(name: str) -> Study:
    if name not in STUDIES:
        raise ValueError(f"no study {name!r}: choose one of {', '.join(STUDIES)}")
    return STUDIES[name]


def run_point(name: str, **settings) -> Row:
    """Run one point of a study now, with the code that made the stored ones."""
    return _study(name).point(**settings)


def stored(name: str, **settings) -> list[Row]:
    """The stored rows of a study, in the order of their points; settings: only those rows that have these values.

    ValueError, with the command that makes them, if the file is missing or damaged.
    """
    _study(name)
    path = RESULTS / f"{name}.json"
    try:
        rows = json.loads(path.read_text())["rows"]
        return [row for row in rows if settings.items() <= row.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path.name} is missing or damaged: make it with `{command(name)}`") from None


def column(name: str, measured: str, **settings) -> list[float]:
    """One measured number of the rows that have these settings, by seed."""
    rows = sorted(stored(name, **settings), key=lambda row: row["seed"])
    if not rows:
        raise ValueError(f"no stored run of {name} has {settings}")
    return [row[measured] for row in rows]
