"""What a study is: an experiment that takes minutes, its points, the code of one point, and the stored results.

A claim over many seeds needs more time than a notebook may take, so its runs are stored, with the command that makes
them: ``make studies NAME=...``. `Studies.run_point` runs any one of them again, with the same code. Whether that code
has changed since is asked where notebooks are built, and never on a learner's machine: see ``tools/run_studies.py``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

Row = dict[str, float | int | str | list]  # what `json` can store


@dataclass(frozen=True)
class Study:
    """points: the settings and seeds that are stored.  point: runs one of them."""

    points: Callable[[], Iterator[Row]]
    point: Callable[..., Row]


def command(name: str) -> str:
    """The command that makes a study's results."""
    return f"make studies NAME={name}"


class Studies(dict[str, Study]):
    """A chapter's studies by name. Their results lie in ``results/``, beside the module that holds them (`file`)."""

    def __init__(self, file: str, studies: Mapping[str, Study]):
        super().__init__(studies)
        self.results = Path(file).parent / "results"

    def path(self, name: str) -> Path:
        """The file with a study's results. ValueError for a name that no study has."""
        if name not in self:
            raise ValueError(f"no study {name!r}: choose one of {', '.join(self)}")
        return self.results / f"{name}.json"

    def run_point(self, name: str, **settings) -> Row:
        """Run one point of a study now, with the code that made the stored ones."""
        return self[name].point(**settings)

    def stored(self, name: str, **settings) -> list[Row]:
        """The stored rows of a study, in the order of their points; settings: only those rows that have these values.

        ValueError, with the command that makes them, if the file is missing or damaged, or a build says it is stale.
        """
        path = self.path(name)
        if name in os.environ.get("COURSE_STALE", "").split(","):
            raise ValueError(f"the code behind the stored runs of {name} has changed: run `{command(name)}`")
        try:
            rows = json.loads(path.read_text())["rows"]
            return [row for row in rows if settings.items() <= row.items()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{path.name} is missing or damaged: make it with `{command(name)}`") from None

    def column(self, name: str, measured: str, **settings) -> list[float]:
        """One measured number of the rows that have these settings, by seed."""
        rows = sorted(self.stored(name, **settings), key=lambda row: row["seed"])
        if not rows:
            raise ValueError(f"no stored run of {name} has {settings}")
        return [row[measured] for row in rows]
